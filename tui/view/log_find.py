"""What is looked for in logs: a pattern as a person types it, over lines, and quickly over many of them at once.

No pattern, however it is made, takes longer than its text is long, and none keeps others from running meanwhile.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, cast

from tui.view.clean import GONE, clean
from tui.view.log_level import Level
from tui.view.log_line import LONGEST, LogLine, plain

_ESCAPED = re.compile(r"\\.")
_ALONE = re.compile(r"\\[Az]|\(\?\w*-\w*m")
"""Means the ends of a text, not of a line: over many lines at once that would be another thing."""
_HIDDEN = "[" + "".join(f"\\x{{{code:x}}}" for code in sorted(GONE) if code >= 0x80) + "]"
_SPANS = 500
"""Places of a line that are told: more than can be seen of it."""


class _Found(Protocol):
    def span(self) -> tuple[int, int]: ...


class _Compiled(Protocol):
    def search(self, text: str | bytes) -> _Found | None: ...
    def finditer(self, text: str | bytes) -> Iterator[_Found]: ...


def _compile(pattern: str, *, folds: bool = False) -> _Compiled:
    """Raises ValueError, with what is wrong in words."""
    import re2 as untyped  # noqa: PLC0415  only who searches pays for it

    re2 = cast("Any", untyped)
    options = re2.Options()
    options.case_sensitive, options.never_capture, options.log_errors = not folds, True, False
    try:
        return re2.compile(clean(pattern), options)
    except re2.error as error:
        raise ValueError(f"no regular expression: {error.args[0].decode('utf-8', 'replace')}") from None


class Pattern:
    """A regular expression as RE2 takes them; letters of both cases match, unless it has a capital."""

    def __init__(self, text: str) -> None:
        """Raises ValueError, with what is wrong in words, where it is no regular expression."""
        self.text = text
        bare = _ESCAPED.sub("", text)
        folds = bare == bare.lower()
        self._one = _compile(text, folds=folds)
        self._many = None if _ALONE.search(text) else _compile(f"(?m){text}", folds=folds)
        self._hidden = _compile(_HIDDEN)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def matches(self, text: str) -> bool:
        """Whether it is in a line."""
        return self._one.search(text) is not None

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where it is in a line."""
        found = [each.span() for each in islice(self._one.finditer(text), _SPANS)]
        return [(begin, end) for begin, end in found if end > begin]

    def may_match(self, data: bytes) -> bool:
        """Whether it may be in one of many lines; False only where it is in none."""
        data = plain(data)
        if self._many is None or b"\x1b" in data or _has_pieces(data):
            return True
        if not data.isascii():
            data = data.decode("utf-8", "replace").encode()
            if self._hidden.search(data):
                return True
        return self._many.search(data) is not None


def _has_pieces(data: bytes) -> bool:
    """Whether a line may be so long that it is shown in pieces, which begin and end where no line does."""
    half = LONGEST // 2
    return any(data.find(b"\n", at, at + half) < 0 for at in range(0, len(data) - half, half))


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which lines are shown."""

    patterns: tuple[Pattern, ...] = ()
    """All of them match."""
    least: Level = Level.DEBUG

    def keeps(self, line: LogLine) -> bool:
        """Whether this one is. What we say ourselves always is."""
        return line.note or (line.level >= self.least and all(each.matches(line.text) for each in self.patterns))

    def may_keep(self, data: bytes) -> bool:
        """Whether one of many lines may be; False only where none is."""
        return all(each.may_match(data) for each in self.patterns)

    def __bool__(self) -> bool:
        return bool(self.patterns) or self.least > Level.DEBUG
