"""Pieces of text as lines, wrapped between words."""

import re
from collections.abc import Iterable, Iterator, Sequence

from tui.view.paint import Cell, width
from tui.view.picture import Line

_WIDE = (
    "\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60\uffe0-\uffe6\U0001f300-\U0003fffd"
)
_GAP = re.compile(r"[^\S\n]+")
_PARTS = re.compile(rf"\n|[^\S\n]+|[{_WIDE}]|[^\s{_WIDE}]+")
"""A line may end after each: words, and signs of scripts that have none."""


def flow(cells: Iterable[Cell], columns: int) -> list[Line]:
    """Pieces of text, wrapped between words; a word that is too long is broken."""
    parts: list[Cell] = []
    gap = False
    for cell in cells:
        text = _GAP.sub(" ", cell.text)
        if text := text[1:] if gap and text.startswith(" ") else text:
            parts.append(Cell(text=text, style=cell.style))
            gap = text.endswith(" ")
    return _cut(parts, _wrapped("".join(cell.text for cell in parts), columns))


def _wrapped(text: str, columns: int) -> Iterator[tuple[int, int]]:
    """Where each line begins and ends; what lies between two is left out."""
    plain = text.isascii()
    begin = end = room = -1
    for match in _PARTS.finditer(text):
        at, to = match.span()
        if text[at] == "\n":
            yield (begin, end) if begin >= 0 else (at, at)
            begin = -1
        if text[at].isspace():
            continue
        size = to - at if plain else width(text[at:to])
        if begin >= 0 and at - end + size > room:
            yield begin, end
            begin = -1
        if begin < 0:
            begin, end, room = at, at, columns
        if size > columns:
            for end in range(at, to):
                one = width(text[end])
                if one > room and begin < end:
                    yield begin, end
                    begin, room = end, columns
                room -= one
        else:
            room -= at - end + size
        end = to
    if begin >= 0:
        yield begin, end


def _cut(parts: Sequence[Cell], spans: Iterable[tuple[int, int]]) -> list[Line]:
    """Those pieces of what the parts are together, one after the other: each in as few as there are styles."""
    lines: list[Line] = []
    number = here = 0
    for begin, end in spans:
        line: list[Cell] = []
        while number < len(parts):
            text, style = parts[number].text, parts[number].style
            piece = text[max(0, begin - here) : end - here]
            if line and piece and line[-1].style == style:
                line[-1] = Cell(text=line[-1].text + piece, style=style)
            elif piece:
                line.append(Cell(text=piece, style=style))
            if here + len(text) >= end:
                break
            here += len(text)
            number += 1
        lines.append(tuple(line))
    return lines
