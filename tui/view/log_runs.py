"""The runs of a workload of which a log is kept → a Picture to choose from."""

from collections.abc import Callable, Sequence

from reconciler.model.answers import Run
from reconciler.model.quantity import print_size
from tui.view.clean import line
from tui.view.grid import Column, fit, measure, row, titles
from tui.view.paint import Cell, span
from tui.view.picture import Picture

NEWEST = "newest"
_COLUMNS = (
    Column(title=""),
    Column(title="INSTANCE"),
    Column(title="RUN", right=True),
    Column(title="BEGAN", rank=3),
    Column(title="FOR", rank=2, right=True),
    Column(title="SIZE", rank=1, right=True),
    Column(title="HOW IT ENDED", least=12),
)


def log_runs(runs: Sequence[Run], *, now: float, clock: Callable[[float], str], width: int) -> Picture:
    """By slot, the newest first; above them what is never chosen wrong. `now`: seconds since the epoch, as theirs."""
    cells = [_cells(run, now=now, clock=clock) for run in runs]
    widths = fit(_COLUMNS, measure(cells, _COLUMNS), width)
    return Picture(
        lines=(
            (Cell(text="●  ", style="good"), Cell(text="whichever run is the newest, after a restart too")),
            titles(_COLUMNS, widths),
            *(row(each, _COLUMNS, widths) for each in cells),
        ),
        keys=(NEWEST, "", *(f"{run.slot} {run.run}" for run in runs)),
    )


def _cells(run: Run, *, now: float, clock: Callable[[float], str]) -> list[Cell]:
    took = "" if run.began is None else span((run.ended if run.ended is not None else now) - run.began)
    runs = run.outcome == "runs"
    mark = Cell(text="●", style="good") if runs else Cell(text="✖" if run.first_failure else " ", style="bad")
    outcome = f"first failure: {run.outcome}" if run.first_failure else run.outcome
    return [
        mark,
        Cell(text=line(run.slot)),
        Cell(text=str(run.run)),
        Cell(text=clock(run.began) if run.began is not None else "", style="dim"),
        Cell(text=took),
        Cell(text=print_size(run.size) if run.size else "-"),
        Cell(text=line(outcome), style="" if runs or run.first_failure else "dim"),
    ]
