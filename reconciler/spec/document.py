"""Text → documents of plain data, as YAML 1.2 core means it, with the place of every key and value.

A fast parser without positions reads what is plain; everything else, and whatever is wrong, goes through events with
positions. Neither builds objects, follows an alias or recurses deep.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, cast

import ryaml
import yaml

from reconciler.model.source import Problem
from reconciler.spec.scalar import NoNumber, plain_scalar

DEEPEST = 64
MOST_PROBLEMS = 100
Keys = tuple[str | int, ...]
Place = tuple[int, int, int, int]
"""Line and column of the key, line and column of the value; the first is 1."""
Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"
"""What a document is made of."""

_BEFORE = r"""(?<![^\s,\[\]{}:?'"-]"""  # what a token may follow: a break, a space, an indicator
_SPECIAL = re.compile(
    rf"&{_BEFORE}&)\S|\*{_BEFORE}\*)\S|!{_BEFORE}!)"  # an anchor, an alias or a tag may begin here
    r"|%(?<![^\r\n]%)|<<|\r(?!\n)"
    r"|\\(?:0|x00|u0000|U00000000)"
    "|[\x85\u2028\u2029\ufeff]"
)
"""What only the slow parser reads rightly."""
_NUMBER = re.compile(r"0[box](?<![^-+\s,\[{:]0.)")
"""The same: the fast parser takes 0b1 and -0x1 for numbers."""
_UNMARKED = bytes({*b"\t\n", *range(0x20, 0x7F), *range(0x80, 0x100)} - set(b"&*!%\\<[{"))
"""Where nothing but this stands, all of it ASCII, nothing is special or forbidden."""
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MARKER = re.compile(r"\n(?:---|\.\.\.)")
_BEGINNING = re.compile(r"(?:#[^\n]*+\n| *+(?:#[^\n]*+)?\r?\n)*+")
_loads = cast("Callable[[str], Plain]", ryaml.loads)  # pyright: ignore[reportPrivateImportUsage]
_loads_all = cast("Callable[[str], list[Plain] | None]", ryaml.loads_all)  # pyright: ignore[reportPrivateImportUsage]
_parse = cast("Callable[..., Iterator[yaml.Event]]", yaml.parse)  # pyright: ignore[reportUnknownMemberType]
_LONG_LINE = 4096
_LONG_WORD = 300
_FEW_BRACKETS = 512  # the fast parser's time grows with the square of what is left open


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document of a file."""

    data: Plain
    line: int
    """Where its content begins."""
    places: Mapping[Keys, Place] = field(default_factory=dict[Keys, Place])
    """By key path; empty where the fast parser read it."""
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """What a file holds."""

    documents: tuple[Document, ...]
    problem: Problem | None = None
    """Where the text stops being YAML: nothing is known of what follows."""
    unfinished: Document | None = None
    """What had been read of the document that stops there."""


def decode(data: bytes, path: str) -> str | Problem:
    """The text of a file, which must be UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        line, column = _position(before, len(before))
        return Problem(path=path, line=line, column=column, message="cannot be read: not UTF-8; save the file as UTF-8")


def read_fast(texts: Sequence[str]) -> list[list[tuple[Plain, int]] | None]:
    """Of each text, data and first line of its documents; None where only `read_slow` can tell what the text means.

    Stage by stage for all, not text by text: a processor whose caches hold one stage at a time is a fifth faster.
    """
    begun = [(text, _begin(text)) for text in texts]
    simple = [_is_simple(text) for text in texts]
    loaded = [_load(*each) if is_simple else None for each, is_simple in zip(begun, simple, strict=True)]
    sure = [found if found is not None and _is_sure(found) else None for found in loaded]
    return [None if found is None else _located(*each, found) for each, found in zip(begun, sure, strict=True)]


def _is_simple(text: str) -> bool:
    """Whether the fast parser may try. Nearly every text shows at a glance that it is neither odd nor heavy."""
    marks = text.encode("utf-8", "surrogatepass").translate(None, _UNMARKED)
    odd = marks.translate(None, b"[{")
    if (odd or not text.isascii()) and (_SPECIAL.search(text) or _FORBIDDEN.search(text)):
        return False
    if _NUMBER.search(text) is not None:
        return False
    return not _is_heavy(text, len(marks) - len(odd))


def _begin(text: str) -> int | None:
    """Where its one document begins, behind comments; None where it may have several."""
    if _MARKER.search(text) is not None or text.startswith(("---", "...")):
        return None
    before = _BEGINNING.match(text)
    return before.end() if before is not None else 0


def _load(text: str, begin: int | None) -> list[Plain] | None:
    try:
        return (_loads_all(text) or []) if begin is None else [_loads(text[begin:])]
    except ValueError:
        return None


def _is_sure(found: list[Plain]) -> bool:
    """Whether every document is a mapping or a list, and what it holds is for certain what it looks like."""
    for data in found:  # all() would cost as much again
        if data is not None and not (isinstance(data, dict | list) and _is_plain(data, DEEPEST)):
            return False
    return True


def _located(text: str, begin: int | None, found: list[Plain]) -> list[tuple[Plain, int]] | None:
    """Each document that is not empty, with its first line."""
    if begin is not None:
        return [(data, text.count("\n", 0, begin) + 1) for data in found if data is not None]
    lines = _first_lines(text.split("\n"))
    if len(lines) != len(found):
        return [] if found == [None] and not lines else None
    return [(data, line) for data, line in zip(found, lines, strict=True) if data is not None]


def _is_heavy(text: str, brackets: int) -> bool:
    """Whether it may be nested so that the fast parser takes much time or memory before it says so."""
    if brackets > _FEW_BRACKETS:
        return True
    return len(text) > _LONG_LINE and len(max(text.split("\n"), key=len)) > _LONG_LINE


def read_slow(text: str, path: str) -> Text:
    """Every document with its places and problems, as far as the text is YAML."""
    forbidden = _FORBIDDEN.search(text)
    if forbidden is not None and not (forbidden.start() == 0 and text[0] == "\ufeff"):
        line, column = _position(text, forbidden.start())
        what = f"character U+{ord(forbidden[0]):04X}"
        message = f"cannot be read: {what} is not allowed in YAML; remove it, or write it as an escape in quotes"
        return Text(documents=(), problem=Problem(path=path, line=line, column=column, message=message))
    documents: list[Document] = []
    try:
        documents.extend(_Composer(path).documents(text))
    except _Stopped as stopped:
        return Text(documents=tuple(documents), problem=stopped.problem, unfinished=stopped.unfinished)
    return Text(documents=tuple(documents))


def _position(text: str, index: int) -> tuple[int, int]:
    line = text.count("\n", 0, index) + 1
    return line, index - (text.rfind("\n", 0, index) + 1) + 1


def _is_plain(inside: "list[Plain] | dict[str, Plain]", room: int) -> bool:
    """Whether a mapping or list of the fast parser is for certain what YAML 1.2 core means, and within bounds."""
    if room == 0:
        return False
    if isinstance(inside, dict):
        for key in inside:
            if type(key) is not str or len(key) > _LONG_WORD:  # pyright: ignore[reportUnnecessaryComparison]
                return False
        values = inside.values()
    else:
        values = inside
    for inner in values:
        if type(inner) is str:
            if len(inner) > _LONG_WORD and inner.isascii() and inner.lstrip("+-").isdigit():
                return False  # too long a number for the fast parser
        elif type(inner) is dict or type(inner) is list:
            if not _is_plain(inner, room - 1):
                return False
        elif type(inner) is float and not -1e15 < inner < 1e15:
            return False
    return True


def _first_lines(rows: list[str]) -> list[int]:
    """The line where each document's content begins, or its marker where it has none."""
    found: list[int] = []
    waiting, marker = True, 0
    for number, line in enumerate(rows, 1):
        if line.startswith("---") and (len(line) == 3 or line[3] in " \t\r"):
            if waiting and marker:
                found.append(marker)
            waiting, marker = True, number
            line = line[3:]
        elif line.startswith("...") and not line[3:].strip():
            if waiting and marker:
                found.append(marker)
            waiting, marker = True, 0
            continue
        if waiting and (rest := line.strip()) and not rest.startswith("#"):
            found.append(number)
            waiting = False
    if waiting and marker:
        found.append(marker)
    return found


class _Stopped(Exception):  # noqa: N818 a way out, not an error of ours
    def __init__(self, problem: Problem, unfinished: Document | None) -> None:
        super().__init__()
        self.problem = problem
        self.unfinished = unfinished


_DROP = object()
"""Stands for a key that cannot be one: its value is read and forgotten."""
_NONE = object()


@dataclass(slots=True)
class _Open:
    """A mapping or sequence whose end has not come yet."""

    inside: dict[str, Plain] | list[Plain]
    keys: Keys
    key: object = _NONE
    key_at: tuple[int, int] = (0, 0)
    seen: dict[str, int] = field(default_factory=dict[str, int])


class _Composer:
    """Events → documents, with a stack of its own."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._reset()

    def _reset(self) -> None:
        self._root: Plain = None
        self._line = 0
        self._stack: list[_Open] = []
        self._places: dict[Keys, Place] = {}
        self._problems: list[Problem] = []

    def documents(self, text: str) -> Iterator[Document]:
        """Raises _Stopped where the text ends being YAML, or is too deep."""
        try:
            for event in _parse(text, Loader=yaml.CSafeLoader):
                done = self._take(event)
                if done is not None:
                    yield done
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
            raise self._stop(line, column, _syntax(error, text)) from None
        except (yaml.YAMLError, UnicodeError):
            raise self._stop(1, 1, "cannot be read as YAML; save the file as UTF-8 text") from None

    def _stop(self, line: int, column: int, message: str) -> _Stopped:
        unfinished = self._document() if self._root is not None else None
        return _Stopped(Problem(path=self._path, line=line, column=column, message=message), unfinished)

    def _document(self) -> Document:
        document = Document(
            data=self._root, line=self._line, places=self._places, problems=tuple(self._problems[:MOST_PROBLEMS])
        )
        self._reset()
        return document

    def _take(self, event: yaml.Event) -> Document | None:
        at = (event.start_mark.line + 1, event.start_mark.column + 1)
        match event:
            case yaml.ScalarEvent():
                self._scalar(event, at)
            case yaml.MappingStartEvent():
                self._begin({}, event, at)
            case yaml.SequenceStartEvent():
                self._begin([], event, at)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._stack.pop()
            case yaml.AliasEvent():
                self._note(at, self._keys(), "cannot refer to an anchor (`*`); write it out")
                self._put(None, at, plain_key=None)
            case yaml.DocumentStartEvent():
                self._line = at[0]
                self._directives(event, at)
            case yaml.DocumentEndEvent():
                if self._root is not None or self._problems:
                    return self._document()
                self._reset()
            case _:
                pass
        return None

    def _directives(self, event: yaml.DocumentStartEvent, at: tuple[int, int]) -> None:
        version: tuple[int, int] | None = event.version
        if version is not None and version != (1, 2):
            self._note(at, (), f"cannot be read as YAML {version[0]}.{version[1]}; remove the %YAML line")
        if event.tags:
            self._note(at, (), "cannot use tags; remove the %TAG line")

    def _note(self, at: tuple[int, int], keys: Keys, message: str) -> None:
        if len(self._problems) < MOST_PROBLEMS:
            key = ".".join(map(str, keys))
            self._problems.append(Problem(path=self._path, line=at[0], column=at[1], key=key, message=message))

    def _keys(self) -> Keys:
        """Key path of what comes next."""
        if not self._stack:
            return ()
        top = self._stack[-1]
        if isinstance(top.inside, list):
            return (*top.keys, len(top.inside))
        return (*top.keys, top.key) if isinstance(top.key, str) else top.keys

    def _marks(self, event: yaml.NodeEvent, at: tuple[int, int]) -> None:
        if event.anchor is not None:
            self._note(at, self._keys(), "cannot be an anchor (`&`); remove it, and write out what refers to it")
        tag: str | None = getattr(event, "tag", None)
        if tag is not None:
            self._note(at, self._keys(), "cannot have a tag (`!`); remove it")

    def _scalar(self, event: yaml.ScalarEvent, at: tuple[int, int]) -> None:
        self._marks(event, at)
        text: str = event.value
        if "\0" in text:
            self._note(at, self._keys(), "cannot hold the character NUL; remove it")
        plain: bool = event.implicit[0]
        value = plain_scalar(text) if plain else text
        if isinstance(value, NoNumber):
            message = "cannot be this number: more than 64 bits, or not finite; write it in quotes if text is meant"
            self._note(at, self._keys(), message)
            value = None
        self._put(value, at, plain_key=text if plain else None)

    def _begin(self, inside: dict[str, Plain] | list[Plain], event: yaml.NodeEvent, at: tuple[int, int]) -> None:
        self._marks(event, at)
        keys = self._keys()
        if len(self._stack) >= DEEPEST:
            raise self._stop(*at, f"cannot be nested more than {DEEPEST} deep; write it flatter")
        self._put(inside, at, plain_key=None)
        self._stack.append(_Open(inside, keys))

    def _put(self, value: Plain, at: tuple[int, int], *, plain_key: str | None) -> None:
        if not self._stack:
            self._root = value
            self._line = at[0]
            self._places[()] = (*at, *at)
            return
        top = self._stack[-1]
        if isinstance(top.inside, list):
            self._places[(*top.keys, len(top.inside))] = (*at, *at)
            top.inside.append(value)
        elif top.key is _NONE:
            top.key, top.key_at = self._key(top, value, at, plain_key), at
        else:
            if isinstance(top.key, str):
                self._places[(*top.keys, top.key)] = (*top.key_at, *at)
                top.inside[top.key] = value
            top.key = _NONE

    def _key(self, top: _Open, value: Plain, at: tuple[int, int], plain: str | None) -> object:
        if not isinstance(value, str):
            self._note(at, top.keys, "cannot have a key that is not text; write it in quotes")
            return _DROP
        keys = (*top.keys, value)
        if plain == "<<":
            self._note(at, keys, "cannot merge (`<<`): a file says all it means where it means it; write the keys out")
            return _DROP
        if value in top.seen:
            first = top.seen[value]
            self._note(at, keys, f"cannot be written twice, on lines {first} and {at[0]}; remove one of them")
            return _DROP
        top.seen[value] = at[0]
        return value


def _syntax(error: yaml.MarkedYAMLError, text: str) -> str:
    """What libyaml says; it never quotes the text."""
    what = f"cannot be read as YAML: {error.problem or 'broken'}"
    if error.context:
        what += f", {error.context}"
        if error.context_mark is not None:
            what += f" that began on line {error.context_mark.line + 1}"
    mark = error.problem_mark
    if mark is not None:
        lines = text.split("\n")
        line = lines[mark.line] if mark.line < len(lines) else ""
        if line[mark.column : mark.column + 1] == "\t":
            what += "; indent with spaces, not tabs"
    return what
