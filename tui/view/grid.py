"""Tables as lines of a Picture: columns have a rank, and where the screen is narrow those of the highest go first."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from tui.view.paint import Cell, Style, pad, width
from tui.view.picture import Line

GAP = 2
"""Columns of the terminal between two of a table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: its title, and how it yields."""

    title: str
    rank: int = 0
    """0 stays; of the others the greatest goes first where there is no room."""
    least: int = 0
    """It is never narrower. Figures have a width of their own here, so that nothing moves when they change."""
    most: int = 64
    """It is never wider."""
    right: bool = False
    """Figures stand to the right."""


def fit(columns: Sequence[Column], needed: Sequence[int], room: int) -> tuple[int, ...]:
    """How wide each is in `room` columns of the terminal; 0: left out. `needed`: of the widest cell of each.

    A column with a rank and a need of 0 is left out. What goes last gives way to no other: then those that can be
    narrower are, from the widest.
    """
    widths = [
        0 if column.rank and not need else min(column.most, max(need, column.least, width(column.title)))
        for column, need in zip(columns, needed, strict=True)
    ]
    least = [min(size, column.least or width(column.title)) for column, size in zip(columns, widths, strict=True)]
    for number in sorted(range(len(columns)), key=lambda number: -columns[number].rank):
        if _all(least) <= room or not columns[number].rank:
            break
        widths[number] = least[number] = 0
    while _all(widths) > room:
        spare, number = max((widths[number] if widths[number] > least[number] else 0, number) for number in _at(widths))
        if not spare:
            break
        widths[number] -= 1
    return tuple(widths)


def _at(widths: Sequence[int]) -> range:
    return range(len(widths))


def _all(widths: Sequence[int]) -> int:
    shown = [size for size in widths if size]
    return sum(shown) + GAP * max(0, len(shown) - 1)


def titles(columns: Sequence[Column], widths: Sequence[int]) -> Line:
    """The head of the table."""
    return row([Cell(text=column.title, style="head") for column in columns], columns, widths)


def row(cells: Sequence[Cell], columns: Sequence[Column], widths: Sequence[int]) -> Line:
    """One line of it: each cell in its column, cut where it is too long."""
    line: list[Cell] = []
    for cell, column, size in zip(cells, columns, widths, strict=True):
        if size:
            line.append(_placed(cell.text, cell.style, size, column.right, GAP if line else 0))
    return tuple(line)


@lru_cache(8192)
def _placed(text: str, style: Style, size: int, right: bool, gap: int) -> Cell:
    return Cell(text=" " * gap + pad(text, size, right=right), style=style)


def measure(rows: Sequence[Sequence[Cell]], columns: Sequence[Column]) -> list[int]:
    """What the widest cell of each column needs."""
    return [max((width(cells[number].text) for cells in rows), default=0) for number in range(len(columns))]
