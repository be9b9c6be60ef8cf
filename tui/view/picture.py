"""What a screen shows, as a value: lines of pieces, and what each line stands for."""

from collections.abc import Sequence
from dataclasses import dataclass

from tui.view.paint import Cell, cut, paint, width

Line = tuple[Cell, ...]
"""Pieces from left to right, without gaps between them."""


Lines = list[tuple[str, Line]]
"""Lines, each with what it stands for; empty: nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Made for one width; drawn by `tui.widgets.canvas`."""

    lines: tuple[Line, ...] = ()
    keys: tuple[str, ...] = ()
    """What each line stands for, or nothing at all. Lines in a row with one key are one thing, which can be chosen; an
    empty key cannot."""
    head: int = 0
    """So many of the first lines stay where they are when the others scroll."""


def text(*lines: str) -> tuple[Line, ...]:
    """Plain lines."""
    return tuple((Cell(text=each),) for each in lines)


def printed(line: Line, *, colour: bool) -> str:
    """A line as a terminal takes it, without spaces at its end."""
    return "".join(paint(cell.text, cell.style, colour=colour) for cell in line).rstrip()


def wide(cells: Sequence[Cell]) -> int:
    """How many columns they take."""
    return sum(width(cell.text) for cell in cells)


def clipped(cells: Sequence[Cell], room: int) -> Line:
    """As much of them as fits."""
    kept: list[Cell] = []
    for cell in cells:
        if room <= 0:
            break
        kept.append(Cell(text=cut(cell.text, room), style=cell.style))
        room -= width(cell.text)
    return tuple(kept)


def beside(left: Sequence[tuple[str, Line]], right: Sequence[Line], *, at: int) -> list[tuple[str, Line]]:
    """Two columns, the second from column `at` on. What lines stand for, the first says."""
    lines: Lines = []
    for number in range(max(len(left), len(right))):
        key, one = left[number] if number < len(left) else ("", ())
        other = right[number] if number < len(right) else ()
        gap = Cell(text=" " * (at - wide(one)))
        lines.append((key, (*one, gap, *other) if other else one))
    return lines
