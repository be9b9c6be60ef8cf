"""Colours, columns, bars and quantities, as text of a given width. Meaning is never in the colour alone."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Style = Literal["", "good", "busy", "bad", "dim", "bold"]
_CODES = {"good": "32", "busy": "33", "bad": "31", "dim": "2", "bold": "1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A piece of text and how it looks."""

    text: str
    style: Style = ""


def paint(text: str, style: Style, *, colour: bool) -> str:
    """The text in a style, where colours are wanted."""
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if colour and style and text else text


def cut(text: str, width: int) -> str:
    """The text in at most `width` columns; what is missing shows as an ellipsis."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def columns(rows: Sequence[Sequence[Cell]], *, width: int, colour: bool, gap: int = 2) -> list[str]:
    """Rows in aligned columns. The last column is cut where a line is too long, then others from the widest."""
    if not rows:
        return []
    widths = [max(len(row[number].text) for row in rows) for number in range(len(rows[0]))]
    room = width - gap * (len(widths) - 1)
    if sum(widths) > room:
        widths[-1] = max(min(widths[-1], 4), room - sum(widths[:-1]))
    while sum(widths) > room and max(widths) > 4:
        widths[widths.index(max(widths))] -= 1
    lines: list[str] = []
    for row in rows:
        parts = [
            paint(cut(cell.text, size), cell.style, colour=colour) + " " * (size - len(cut(cell.text, size)))
            for cell, size in zip(row, widths, strict=True)
        ]
        lines.append((" " * gap).join(parts).rstrip())
    return lines


def wrap(text: str, *, width: int, indent: str) -> list[str]:
    """The text in lines of at most `width` columns, the first with the indent, the others as far in."""
    return textwrap.wrap(
        text,
        max(24, width),
        initial_indent=indent,
        subsequent_indent=" " * len(indent),
        break_on_hyphens=False,
    )


def bar(part: float, whole: float, *, cells: int = 10) -> str:
    """How full something is: `▇▇▇▁▁▁▁▁▁▁`. Anything at all shows as one cell."""
    share = part / whole if whole > 0 else 0.0
    full = min(cells, max(round(share * cells), 1 if share > 0 else 0))
    return "▇" * full + "▁" * (cells - full)


def gib(size: int) -> str:
    """Bytes in GiB with one decimal, without the unit."""
    return f"{size / 2**30:.1f}"


def span(seconds: float) -> str:
    """How long, as a person needs it: `4s`, `12m`, `3h05m`, `2d4h`."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600}h"


def counted(number: int, noun: str) -> str:
    """`1 model`, `5 models`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
