"""Which run's log: chosen from those that are kept."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from reconciler.model.answers import Run
from tui.screens.question import Question
from tui.view.clock import moment
from tui.view.log_runs import NEWEST, log_runs
from tui.widgets.canvas import Canvas

Choice = tuple[str, int] | None
"""Slot and run; None: whichever is the newest."""


class Runs(Question[tuple[Choice] | None]):
    """Gives what was chosen; None where it was left."""

    DEFAULT_CSS = """
    Runs { align: center middle; background: $background 60%; }
    Runs > Vertical { width: 110; max-width: 95%; height: auto; max-height: 80%; padding: 1 2; background: $panel; }
    Runs Canvas { height: auto; }
    Runs Static { height: 2; color: $ink-dim; padding-top: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,r", "leave", "leave it")]

    def __init__(self, runs: tuple[Run, ...], now: float) -> None:
        """`now`: seconds since the epoch."""
        super().__init__()
        self._runs, self._now = runs, now
        self._canvas = Canvas(id="runs")
        """Held, as it cannot be looked up where the dashboard is left before this is put together."""

    def compose(self) -> ComposeResult:
        """The list and its keys."""
        with Vertical():
            yield self._canvas
            yield Static(Content("enter  read it    esc  leave it"))

    def on_mount(self) -> None:
        """Show it."""
        self._canvas.styles.height = min(len(self._runs) + 2, max(4, self.size.height * 8 // 10 - 4))
        self._canvas.focus()
        self.on_resize()

    def on_resize(self) -> None:
        """As wide as there is room."""
        width = min(110, self.size.width * 95 // 100) - 4
        picture = log_runs(self._runs, now=self._now, clock=self._clock, width=width)
        self._canvas.show(picture)

    def _clock(self, at: float) -> str:
        """With its day where that is another than today."""
        then, today = moment(at), moment(self._now)
        if then is None:
            return "?"
        return f"{then:%H:%M:%S}" if today is not None and then.date() == today.date() else f"{then:%m-%d %H:%M:%S}"

    def on_canvas_chosen(self, chosen: Canvas.Chosen) -> None:
        """This one."""
        if chosen.key == NEWEST:
            self.dismiss((None,))
        else:
            slot, _, run = chosen.key.rpartition(" ")
            self.dismiss(((slot, int(run)),))

    def action_leave(self) -> None:
        """None of them."""
        self.dismiss(None)
