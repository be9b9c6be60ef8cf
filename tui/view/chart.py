"""Meters and their past, in cells: bars of several parts, and histories of dots."""

from collections.abc import Sequence
from functools import lru_cache
from math import ceil, isfinite

from tui.view.paint import Cell, Style
from tui.view.picture import Line

_LEFT, _RIGHT = (0x40, 0x04, 0x02, 0x01), (0x80, 0x20, 0x10, 0x08)
"""Dots of a braille cell from below: its left half, its right half."""
_DOTS = [
    [chr(0x2800 + sum(_LEFT[:left]) + sum(_RIGHT[:right])) if left or right else " " for right in range(5)]
    for left in range(5)
]
"""A cell by how many dots are lit in each half."""
_MOST = 2.0**60  # no sum of them is infinite
FULL, FREE, HATCHED = "▇", "▁", "▒"


def stack(parts: Sequence[tuple[float, Style]], whole: float, cells: int) -> Line:
    """A bar with a piece for each part, in order: `▇▇▇▇▒▁▁▁`. Anything at all shows as one cell.

    A part is how much, and whose: a stranger's is hatched. What is left of `whole` is free.
    """
    some: list[tuple[float, Style]] = [
        (min(amount, _MOST), style) for amount, style in parts if isfinite(amount) and amount > 0
    ]
    whole = max(whole if isfinite(whole) else 0.0, sum(amount for amount, _ in some))
    pieces: list[Cell] = []
    left, held, shown = cells, 0.0, 0
    for number, (amount, style) in enumerate(some):
        held += amount
        size = max(1, round(cells * held / whole) - shown)
        size = max(0, min(size, left - (len(some) - number - 1) if left > len(some) - number - 1 else left))
        shown, left = shown + size, left - size
        if size:
            pieces.append(Cell(text=(HATCHED if style == "stranger" else FULL) * size, style=style))
    return (*pieces, *((Cell(text=FREE * left, style="dim"),) if left else ()))


def history(
    samples: Sequence[float], count: int, cells: int, *, top: float, rows: int = 1, kept: int = 120
) -> list[str]:
    """How a meter went, in `rows` lines of `cells` columns, the newest to the right; `top` is what fills it.

    `kept` samples take the whole width, several of them one column of dots: which ones go together is told by `count`,
    how many there ever were, so a history stands still until a column is full. What was not known (NaN) is blank, and
    nothing at all is a line of dots.
    """
    each = max(1, ceil(kept / (2 * cells)))
    last = (count - 1) // each | 1  # the column that is the right half of the newest cell
    older = count - len(samples)  # so many are not known any more
    ends = range((last - 2 * cells + 2) * each - older, (last + 1) * each - older + 1, each)
    samples = tuple(samples)
    heights = [_height(samples[max(0, end - each) : end], top, 4 * rows) if end > 0 else 0 for end in ends]
    texts: list[str] = []
    for row in reversed(range(rows)):
        lit = heights if rows == 1 else [_lit(height, row) for height in heights]
        texts.append("".join([_DOTS[left][right] for left, right in zip(lit[::2], lit[1::2], strict=True)]))
    return texts


@lru_cache(16_384)
def _height(samples: tuple[float, ...], top: float, dots: int) -> int:
    """Of a column of dots; all but the newest columns are the same the next time."""
    known = [each for each in samples if isfinite(each)]
    if not known:
        return 0
    share = sum(known) / len(known) / top if top > 0 else 0.0
    return dots if share >= 1 else (round(dots * share) or 1) if share > 0 else 1


def _lit(height: int, row: int) -> int:
    """How many of the four dots of a row's cell, from below."""
    return min(4, max(0, height - 4 * row))
