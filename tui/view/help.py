"""Keys and what they do → the page that explains them, in as many columns as there is room for."""

from collections.abc import Sequence
from dataclasses import dataclass

from tui.view.paint import Cell, cut, wrap
from tui.view.picture import Line, Picture

_COLUMN = 48
_KEYS = 14


@dataclass(frozen=True, slots=True)
class Section:
    """Where some keys hold."""

    title: str
    keys: tuple[tuple[str, str], ...]
    """The keys, as they are shown, and what they do."""


def help_page(sections: Sequence[Section], *, width: int) -> Picture:
    """Sections stay whole, and are dealt to columns of about one height in their order."""
    count = max(1, min(len(sections), width // _COLUMN))
    room = width // count - 2
    blocks = [_block(section, room) for section in sections]
    columns: list[list[Line]] = [[]]
    height = sum(map(len, blocks)) / count
    for block in blocks:
        if len(columns) < count and columns[-1] and len(columns[-1]) + len(block) / 2 > height:
            columns.append([])
        columns[-1] += block
    lines: list[Line] = []
    for number in range(max(map(len, columns))):
        cells: list[Cell] = []
        for column in columns:
            line = column[number] if number < len(column) else ()
            cells += [Cell(text="  "), *line, Cell(text=" " * (room - sum(len(cell.text) for cell in line)))]
        lines.append(tuple(cells))
    return Picture(lines=tuple(lines))


def _block(section: Section, room: int) -> list[Line]:
    lines: list[Line] = [(), (Cell(text=cut(section.title, room), style="bold"),)]
    for keys, does in section.keys:
        for number, part in enumerate(wrap(does, width=room - _KEYS - 1, indent="")):
            shown = "" if number else cut(keys, _KEYS)
            lines.append((Cell(text=f"{shown:{_KEYS}} ", style="key"), Cell(text=cut(part, room - _KEYS - 1))))
    return lines
