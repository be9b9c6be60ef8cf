"""Colours, columns, bars and quantities, as text of a given width. Meaning is never in the colour alone."""

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal

Style = Literal[
    "", "good", "busy", "bad", "dim", "bold", "head", "accent", "key",
    "stranger", "hue0", "hue1", "hue2", "hue3", "hue4", "hue5", "hue6", "hue7",
    "hit", "found",
]  # fmt: skip
"""What a text means. `hue…` tell models apart, by their order; `stranger` is nobody's of ours; `hit` and `found` are
what was searched for, and where one is."""
_FILL = "\0"
_LEAST = 8
"""Columns of a text that is wrapped; where there are fewer, it is cut."""
_CODES: dict[Style, str] = {"good": "32", "busy": "33", "bad": "31", "dim": "2", "bold": "1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A piece of text and how it looks."""

    text: str
    style: Style = ""


def paint(text: str, style: Style, *, colour: bool) -> str:
    """The text in a style, where colours are wanted."""
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if colour and style in _CODES and text else text


_ODD = re.compile(
    r"[^ -~\u00a0-\u00ac\u00ae-\u02ff\u0370-\u0482\u2010-\u2027\u2190-\u21ff\u2500-\u25fc\u2716\u2800-\u28ff]"
)
"""What may be wider than a column, or no wider than nothing."""


def width(text: str) -> int:
    """How many columns of a terminal the text takes."""
    if text.isascii() or _ODD.search(text) is None:
        return len(text)
    from rich.cells import cell_len  # noqa: PLC0415  dear, and rarely wanted

    return cell_len(text)


_wide = width  # where a width is meant too


def cut(text: str, most: int) -> str:
    """The text in at most `most` columns; what is missing shows as an ellipsis."""
    if width(text) <= most:
        return text
    kept = text[: max(0, most - 1)]
    while width(kept) > most - 1 and kept:
        kept = kept[:-1]
    return kept + "…"[: max(0, most)]


def pad(text: str, size: int, *, right: bool = False) -> str:
    """The text in exactly `size` columns, cut where it is longer, to the left or to the right."""
    text = cut(text, size)
    space = " " * (size - width(text))
    return space + text if right else text + space


def columns(rows: Sequence[Sequence[Cell]], *, width: int, colour: bool, gap: int = 2) -> list[str]:
    """Rows in aligned columns. The last column is cut where a line is too long, then others from the widest."""
    if not rows:
        return []
    widths = [max(_wide(row[number].text) for row in rows) for number in range(len(rows[0]))]
    room = width - gap * (len(widths) - 1)
    if sum(widths) > room:
        widths[-1] = max(min(widths[-1], 4), room - sum(widths[:-1]))
    while sum(widths) > room and max(widths) > 4:
        widths[widths.index(max(widths))] -= 1
    lines: list[str] = []
    for row in rows:
        parts = [
            paint(text := cut(cell.text, size), cell.style, colour=colour) + " " * (size - _wide(text))
            for cell, size in zip(row, widths, strict=True)
        ]
        lines.append((" " * gap).join(parts).rstrip())
    return lines


def wrap(text: str, *, width: int, indent: str) -> list[str]:
    """The text in lines of at most `width` columns, the first with the indent, the others as far in."""
    odd = _wide(text) > len(text)
    if odd:  # something behind each that takes two columns, for what counts characters; it may be torn off it: one less
        text = "".join(char + _FILL * (_wide(char) - 1) for char in text)
    lines = textwrap.wrap(
        text,
        max(len(indent) + _LEAST, width) - odd,
        initial_indent=indent,
        subsequent_indent=" " * len(indent),
        break_on_hyphens=False,
    )
    return [line.replace(_FILL, "") for line in lines] if odd else lines


def bar(part: float, whole: float, *, cells: int = 10) -> str:
    """How full something is: `▇▇▇▁▁▁▁▁▁▁`. Anything at all shows as one cell."""
    share = part / whole if whole > 0 else 0.0
    full = min(cells, max(round(share * cells), 1 if share > 0 else 0))
    return "▇" * full + "▁" * (cells - full)


def gib(size: int) -> str:
    """Bytes in GiB with one decimal, without the unit."""
    return f"{size / 2**30:.1f}"


def size(amount: int) -> str:
    """Bytes, short: `512M`, `21.4G`, `141G`, `1.5T`."""
    if not 0 <= amount < 2**60:
        return "?"
    unit, letter = (2**40, "T") if amount >= 0.9995 * 2**40 else (2**30, "G")
    if amount < 0.9995 * 2**30:
        return f"{amount / 2**20:.0f}M"
    return f"{amount / unit:.1f}{letter}" if amount < 99.95 * unit else f"{amount / unit:.0f}{letter}"


def taken(part: int, whole: int) -> str:
    """A part of some bytes, in the unit of the whole: `18.2/80.0G`, `118/141G`."""
    if not (0 <= part < 2**60 and 0 < whole < 2**60):
        return f"{size(part)}/{size(whole)}"
    unit, letter = (2**40, "T") if whole >= 0.9995 * 2**40 else (2**30, "G")
    some = part / unit
    return f"{some:.1f}/{size(whole)}" if whole < 99.95 * unit else f"{some:.0f}/{whole / unit:.0f}{letter}"


def span(seconds: float) -> str:
    """How long, as a person needs it: `4s`, `12m`, `3h05m`, `2d4h`."""
    if not isfinite(seconds):
        return "?"
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    days = whole // 86400
    return f"{days}d{whole % 86400 // 3600}h" if days < 10**5 else "?"


def rate(each_second: float) -> str:
    """How many in a second: `0.4`, `12`, `15.3k`, `1.2M`."""
    if not 0 <= each_second < 1e12:
        return "?"
    if each_second >= 999_950:
        return f"{each_second / 1e6:.1f}M"
    if each_second >= 10_000:
        return f"{each_second / 1000:.1f}k"
    return f"{each_second:.1f}" if each_second < 9.95 else f"{each_second:.0f}"


def brief(seconds: float) -> str:
    """How long something quick took: `0.4ms`, `180ms`, `2.3s`."""
    if seconds >= 0.9995:
        return f"{seconds:.1f}s"
    return f"{seconds * 1000:.0f}ms" if seconds >= 0.00995 else f"{seconds * 1000:.1f}ms"


def counted(number: int, noun: str) -> str:
    """`1 model`, `5 models`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
