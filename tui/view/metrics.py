"""What engines measure of themselves, as a table."""

from collections.abc import Sequence

from reconciler.model.metrics import Histogram, ReplicaMetrics
from tui.view.clean import line
from tui.view.grid import Column, fit, measure, row, titles
from tui.view.paint import Cell, wrap
from tui.view.picture import Line, printed

_COLUMNS = (
    Column(title="SLOT", least=8, most=32),
    Column(title="ENGINE", rank=3, least=6, most=16),
    Column(title="RUNNING", rank=1, right=True),
    Column(title="WAITING", rank=1, right=True),
    Column(title="CACHE", rank=1, right=True),
    Column(title="READ", rank=2, least=7, right=True),
    Column(title="WRITTEN", rank=2, least=7, right=True),
    Column(title="FIRST TOKEN", rank=1, right=True),
    Column(title="NEXT TOKEN", rank=1, right=True),
    Column(title="REQUEST", rank=1, right=True),
)
_LONG = 2000
"""Characters of a text that are shown."""


def metrics_text(found: Sequence[ReplicaMetrics], *, width: int, colour: bool) -> str:
    """A row for each instance; why there is none below."""
    return "\n".join(printed(each, colour=colour) for each in metric_lines(found, width=width))


def metric_lines(found: Sequence[ReplicaMetrics], *, width: int) -> list[Line]:
    """The same in pieces."""
    rows = [_row(one) for one in found if one.metrics is not None]
    widths = fit(_COLUMNS, measure(rows, _COLUMNS), width)
    lines = [titles(_COLUMNS, widths), *(row(cells, _COLUMNS, widths) for cells in rows)] if rows else []
    for one in found:
        if one.metrics is None:
            why = f"{line(one.slot)}: none: {line(one.detail[:_LONG])}"
            lines += [(Cell(text=text, style="dim"),) for text in wrap(why, width=width, indent="")]
    return lines or [(Cell(text="no engine is up", style="dim"),)]


def _row(one: ReplicaMetrics) -> list[Cell]:
    told = one.metrics
    if told is None:
        return []
    counts = [_count(number) for number in (told.running, told.waiting)]
    cache = "-" if told.cache is None else f"{told.cache:.0%}"
    tokens = [_count(number) for number in (told.prompt_tokens, told.generated_tokens)]
    times = [_mean(times) for times in (told.first_token, told.next_token, told.request)]
    return [Cell(text=text) for text in (line(one.slot), line(one.engine), *counts, cache, *tokens, *times)]


def _count(number: int | None) -> str:
    return "-" if number is None else str(number)


def _mean(times: Histogram | None) -> str:
    """On average, in seconds or thousandths of one."""
    mean = times.mean if times is not None else None
    if mean is None:
        return "-"
    return f"{mean * 1000:.0f}ms" if mean < 1 else f"{mean:.1f}s"
