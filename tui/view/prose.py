"""Markdown, as models write it, as lines: clean, calm, wrapped, and never acted upon."""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

from tui.view.clean import clean
from tui.view.code import highlighted
from tui.view.flow import flow
from tui.view.paint import Cell, Style, width
from tui.view.picture import Line

_NARROWEST = 8
_LONGEST = 8_000
"""Characters of a block, but of a table, which can be four times as long; the rest is another."""
_LONG, _OFTEN = 4_000, 32
"""A block that grows and has more characters is laid out again each time that it has grown by such a part."""
_STRETCH = 60
"""Lines of code that are laid out at once."""
_FENCE = re.compile(r"( *)(`{3,}|~{3,})(.*)")


class _Block(NamedTuple):
    """Some of a text that can be laid out apart from the rest."""

    text: str
    at: int
    """Where it begins."""
    lead: str
    """The line that opened the code which this goes on with."""


class Prose:
    """A text in so many columns. It may grow: what is whole of it is laid out once, its last block each time."""

    def __init__(self, columns: int, *, plain: Style | None = None) -> None:
        """`plain`: it is no Markdown, and all of it looks so."""
        self._columns = max(_NARROWEST, columns)
        self._plain: Style | None = plain
        self._whole = ""
        self._lead = ""
        self._lines: list[Line] = []
        self._told: tuple[str, list[Line]] = "", []

    def lines(self, text: str, *, grows: bool = False) -> list[Line]:
        """All of it; of one that `grows`, the last few words may be missing where its last block is long.

        A table cannot be laid out in part, and a long one takes longer than a word takes to come.
        """
        if not text.startswith(self._whole):
            self._whole, self._lead, self._lines = "", "", []
        told, shown = self._told
        long = len(told) - len(self._whole)
        if grows and long > _LONG and text.startswith(told) and len(text) - len(told) < long // _OFTEN:
            return shown
        found = self._all(text)
        self._told = text, found
        return found

    def _all(self, text: str) -> list[Line]:
        last: list[Line] = []
        at = len(self._whole)
        for block in _blocks(text, at, self._lead):
            self._lines += last
            last = self._laid_out(block)
            if self._lines and last and not block.lead:
                last.insert(0, ())
            at, self._lead = block.at, block.lead
        self._whole = text[:at]
        return [*self._lines, *last]

    def _laid_out(self, block: _Block) -> list[Line]:
        text, columns = clean(block.text).expandtabs(4), self._columns
        if self._plain is not None:
            return flow([Cell(text=text.strip("\n"), style=self._plain)], columns)
        lead = clean(block.lead)
        tree = SyntaxTreeNode(_parser().parse(f"{lead}\n{text}" if lead else text))
        lines = _stack(tree.children, columns) or flow([Cell(text=text.strip("\n"))], columns)
        return lines[1:] if lead and _label(lead) else lines


def prose(text: str, columns: int) -> list[Line]:
    """A text that does not grow."""
    return Prose(columns).lines(text)


def behind(lines: Sequence[Line], first: Cell, rest: Cell | None = None) -> list[Line]:
    """Lines, each after a mark: the first, and the others."""
    rest = rest if rest is not None else Cell(text=" " * width(first.text))
    return [(first if number == 0 else rest, *line) for number, line in enumerate(lines)]


def _broken(word: Iterable[Cell]) -> Iterator[Cell]:
    return (Cell(text=char, style=cell.style) for cell in word for char in cell.text)


def _joined(line: Line | Sequence[Cell]) -> Line:
    """The same in as few pieces as there are styles."""
    found: list[Cell] = []
    for cell in line:
        if found and found[-1].style == cell.style:
            found[-1] = Cell(text=found[-1].text + cell.text, style=cell.style)
        else:
            found.append(cell)
    return tuple(found)


# -- blocks


def _blocks(text: str, at: int, fence: str) -> Iterator[_Block]:
    """Where it can be taken apart: at empty lines before what is not indented, and in long stretches of code.

    From `at` on, where one begins, within the code that the line `fence` opened.
    """
    here = begin = at
    lead, size, blank, empty = fence, 0, False, True
    while here < len(text):
        end = text.find("\n", here, here + _LONGEST)
        after = end + 1 if end >= 0 else min(len(text), here + _LONGEST)
        line = text[here : end if end >= 0 else after]
        outside = not fence and blank and line[:1].strip()
        far = fence and not fence.startswith(" ") and size >= _STRETCH
        long = here - begin > (4 * _LONGEST if line.startswith("|") else _LONGEST)
        if (outside or far or long) and not empty:
            yield _Block(text[begin:here], begin, lead)
            begin, lead, size, empty = here, fence, 0, True
        mark = _FENCE.fullmatch(line)
        if mark is not None and not fence:
            fence = line
        elif mark is not None and _closes(fence, mark):
            fence = ""
        blank = not line.strip()
        empty = empty and blank
        size += 1
        here = after
    if not empty:
        yield _Block(text[begin:], begin, lead)


def _closes(fence: str, mark: "re.Match[str]") -> bool:
    opened = _FENCE.fullmatch(fence)
    return opened is not None and mark[2].startswith(opened[2]) and not mark[3].strip()


@cache
def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


def _stack(nodes: Sequence[SyntaxTreeNode], columns: int, *, tight: bool = False) -> list[Line]:
    lines: list[Line] = []
    for node in nodes:
        laid = _block(node, columns)
        if lines and laid and not tight:
            lines.append(())
        lines += laid
    return lines


def _block(node: SyntaxTreeNode, columns: int) -> list[Line]:
    match node.type:
        case "heading":
            return flow(_inline(node.children, "bold"), columns)
        case "bullet_list" | "ordered_list":
            return _list(node, columns)
        case "blockquote":
            mark = Cell(text="│ ", style="dim")
            return behind(_stack(node.children, _less(columns, 2)), mark, mark)
        case "fence" | "code_block":
            return _code(node, columns)
        case "table":
            return _table(node, columns)
        case "hr":
            return [(Cell(text="─" * min(columns, 24), style="dim"),)]
        case "paragraph":
            return flow(_inline(node.children), columns)
        case _:
            return flow([Cell(text=node.content)], columns) if not node.children else _stack(node.children, columns)


def _less(columns: int, by: int) -> int:
    return max(_NARROWEST, columns - by)


def _list(node: SyntaxTreeNode, columns: int) -> list[Line]:
    lines: list[Line] = []
    number = int(node.attrs.get("start", 1)) if node.type == "ordered_list" else None
    for item in node.children:
        mark = "• " if number is None else f"{number}. "
        tight = any(child.type == "paragraph" and child.hidden for child in item.children)
        laid = _stack(item.children, _less(columns, width(mark)), tight=tight) or [()]
        if lines and not tight and item.children:
            lines.append(())
        lines += behind(laid, Cell(text=mark, style="dim"))
        number = None if number is None else number + 1
    return lines


def _label(opener: str) -> str:
    """What language the code is in, as the line says that opens it."""
    return next(iter(opener.strip(" `~").split()), "")[:24]


def _code(node: SyntaxTreeNode, columns: int) -> list[Line]:
    language = _label(node.info) if node.type == "fence" else ""
    mark = Cell(text="▎ ", style="dim")
    lines = [(Cell(text=language, style="dim"),)] if language else []
    for line in highlighted(node.content.removesuffix("\n").expandtabs(4), language):
        lines += _chopped(line, _less(columns, 2))
    return behind(lines, mark, mark)


def _chopped(line: Line, columns: int) -> list[Line]:
    """A line of code as it stands; what does not fit goes on in the next."""
    if sum(width(cell.text) for cell in line) <= columns:
        return [_joined(line)]
    found: list[Line] = []
    kept: list[Cell] = []
    room = columns
    for cell in _broken(line):
        if width(cell.text) > room:
            found.append(_joined(kept))
            kept, room = [], columns
        kept.append(cell)
        room -= width(cell.text)
    return [*found, _joined(kept)]


def _table(node: SyntaxTreeNode, columns: int) -> list[Line]:
    """Columns as wide as they need; where that is too much, the widest wrap."""
    rows = [row for part in node.children for row in part.children]
    cells = [[_inline(cell.children, "bold" if cell.type == "th" else "") for cell in row.children] for row in rows]
    needed = [max(sum(width(part.text) for part in cell) for cell in column) for column in zip(*cells, strict=False)]
    while sum(needed) + 2 * (len(needed) - 1) > columns and max(needed) > 3:
        needed[needed.index(max(needed))] -= 1
    lines: list[Line] = []
    for number, row in enumerate(cells):
        laid = [flow(cell, size) for cell, size in zip(row, needed, strict=False)]
        for at in range(max(map(len, laid), default=0)):
            line: list[Cell] = []
            for column, size in zip(laid, needed, strict=False):
                part = column[at] if at < len(column) else ()
                gap = size - sum(width(cell.text) for cell in part)
                line += [*part, Cell(text=" " * (max(0, gap) + 2))]
            lines.append(tuple(line[:-1]))
        if number == 0:
            lines.append((Cell(text="─" * min(columns, sum(needed) + 2 * (len(needed) - 1)), style="dim"),))
    return lines


def _inline(nodes: Sequence[SyntaxTreeNode], style: Style = "") -> list[Cell]:
    found: list[Cell] = []
    for node in nodes:
        match node.type:
            case "text":
                found.append(Cell(text=node.content, style=style))
            case "softbreak":
                found.append(Cell(text=" ", style=style))
            case "hardbreak":
                found.append(Cell(text="\n", style=style))
            case "code_inline":
                found.append(Cell(text=node.content, style="accent"))
            case "strong":
                found += _inline(node.children, "bold")
            case "s":
                found += _inline(node.children, "dim")
            case "link" | "image":
                found += _link(node, style)
            case _:
                found += _inline(node.children, style) if node.children else [Cell(text=node.content, style=style)]
    return found


def _link(node: SyntaxTreeNode, style: Style) -> list[Cell]:
    """Its text, and where it leads: nobody can look before they click."""
    shown = _inline(node.children, style) if node.children else [Cell(text=node.content, style=style)]
    where = str(node.attrs.get("href") or node.attrs.get("src") or "")
    if where in ("", "".join(cell.text for cell in shown)):
        return shown
    return [*shown, Cell(text=f" ({where})", style="dim")]
