"""How a meter went, with axes: what fills it, where it begins, since when."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, isfinite, log10

from tui.view.chart import history
from tui.view.paint import Cell, Style, cut, pad, span, width
from tui.view.picture import Line
from tui.view.world import KEPT

_AXIS = 7
"""Columns of the figures at the side, and the axis."""
_STEPS = (1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """One meter and its past."""

    title: str
    """With its unit: `first byte, ms`."""
    samples: Sequence[float]
    """Oldest first; NaN where it was not known."""
    count: int
    """How many there ever were."""
    seconds: float
    """How long all that is kept takes."""
    style: Style = "accent"
    least: float = 1.0
    """What it is drawn against at least: so that next to nothing does not look like much."""


def plot(meter: Meter, *, columns: int, rows: int = 4) -> list[Line]:
    """Title with the figure of now, so many rows of dots, and the axis of time, `columns` wide."""
    known = [sample for sample in meter.samples if isfinite(sample)]
    most = max(known, default=0.0)
    top = _round(max(most, meter.least))
    newest = meter.samples[-1] if meter.samples and isfinite(meter.samples[-1]) else None
    now = figure(newest) if newest is not None else "-"
    said = f"most {figure(most)}" if known else "nothing yet"
    room = columns - width(meter.title) - 2
    head = pad(cut(f"{now}  {said}", max(0, room)), max(0, room), right=True)
    lines: list[Line] = [
        (Cell(text=cut(meter.title, columns), style="bold"), Cell(text="  "), Cell(text=head, style="dim"))
    ]
    cells = max(4, columns - _AXIS)
    dots = history(meter.samples, meter.count, cells, top=top, rows=rows, kept=KEPT)
    for number, row in enumerate(dots):
        label = figure(top) if not number else "0" if number == rows - 1 else ""
        axis = f"{pad(label, _AXIS - 2, right=True)} {'┤' if label else '│'}"
        lines.append((Cell(text=axis, style="dim"), Cell(text=row, style=meter.style)))
    ago = f"{span(meter.seconds)} ago" if meter.seconds >= 1 else ""
    lines.append((Cell(text=" " * _AXIS + ago + pad("now", max(3, cells - width(ago)), right=True), style="dim"),))
    return lines


def figure(value: float) -> str:
    """In at most five columns: `0`, `0.25`, `12`, `340`, `15k`, `2.1M`."""
    if not isfinite(value):
        return "?"
    for bound, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= bound:
            scaled = value / (1e3 if unit == "k" else bound)
            return f"{scaled:.0f}{unit}" if abs(scaled) < 9999 else "lots"
    if value == int(value):
        return f"{value:.0f}"
    return f"{value:.2g}" if abs(value) < 1 else f"{value:.1f}" if abs(value) < 10 else f"{value:.0f}"


def _round(value: float) -> float:
    """The next of 1, 2, 5, 10, 20 …: the scale changes seldom."""
    if not isfinite(value) or value <= 0 or value > 1e300:
        return 1.0 if not value > 1e300 else value
    power = 10.0 ** floor(log10(value))
    return next(step * power for step in _STEPS if step * power >= value or step == _STEPS[-1])
