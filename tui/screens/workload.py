"""One workload: how it does, its files, how it was started, its runs, what clients and engine do; and orders to it."""

from collections.abc import Iterable
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.events import Click
from textual.widget import Widget

from reconciler.client import Client
from tui.reading import Reading
from tui.screens.workloads import OnWorkload
from tui.view.entry import moment
from tui.view.log_line import Cutter, LogLine, beginning
from tui.view.workload import TABS, Told, tab_at, workload_picture
from tui.view.world import Row, World, index
from tui.widgets.canvas import Canvas

_ENGINE = 5.0
"""Seconds between two questions to the engine."""
_LOG = 2.0
"""Seconds between two looks at its log."""
_TAIL = 16 * 1024
"""Bytes of the log that are read."""


class WorkloadScreen(OnWorkload):
    """Four pages. What the streams do not tell is asked in threads, while it is looked at."""

    place = "Workload"
    DEFAULT_CSS = "WorkloadScreen > #workload { margin: 1 1 0 1; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "turn(1)", "page", tooltip="overview, file, launch, runs"),
        Binding("right", "turn(1)", "next page", show=False),
        Binding("left,shift+tab", "turn(-1)", "page before", show=False),
    ]

    def __init__(self, key: str) -> None:
        """`key`: see `Row.key`."""
        super().__init__()
        self._key = key
        self._machine, _, self._workload = key.rpartition("/")
        self._tab = TABS[0]
        self._slot = f"{self._workload}/0"

    def body(self) -> Iterable[Widget]:
        """One page."""
        client, name, wake = self.board.client(self._machine), self._workload, self.board.wake
        self._about = Reading(lambda: client.about(name), wake)
        self._metrics = Reading(lambda: client.metrics(name), wake)
        self._log = Reading(lambda: _tail(client, self._slot), wake)
        yield Canvas(id="workload")

    def paint(self, world: World) -> None:
        """What was last told; and ask, where that is old."""
        if (row := self.row) is not None and not row.machine.away:
            self._ask(row)
        canvas = self.query_one("#workload", Canvas)
        width, height = self.size
        picture = workload_picture(world, self._key, self._told, tab=self._tab, width=width - 3, height=height - 4)
        canvas.show(picture, follow=canvas.at_end)  # who reads the log goes on to see it

    def _ask(self, row: Row) -> None:
        """What this page needs."""
        if self._tab != TABS[0]:
            self._about.want(row.workload)
            return
        now = moment(row.machine)
        if row.workload.kind == "Model":
            self._metrics.want((row.workload, now // _ENGINE))
        self._log.want((self._slot, row.workload, now // _LOG))

    @property
    def _told(self) -> Told:
        slot, log = self._log.value or (self._slot, None)
        return Told(
            about=self._about.value,
            about_error=self._about.error,
            metrics=self._metrics.value,
            metrics_error=self._metrics.error,
            log=log,
            log_of=slot,
            log_error=self._log.error,
        )

    @property
    def row(self) -> Row | None:
        """That which it is about, while it is there."""
        return self.board.world.find(self._key)

    @property
    def index(self) -> int | None:
        """Of the replica under the cursor, where that is on one of several."""
        row, key = self.row, self.query_one("#workload", Canvas).key
        several = row is not None and len(row.workload.replicas) > 1
        return index(key) if several else None

    def on_canvas_moved(self, moved: Canvas.Moved) -> None:
        """Another replica: its log."""
        if index(moved.key) is not None:
            self._slot = moved.key
            self.draw()

    def on_canvas_chosen(self, _chosen: Canvas.Chosen) -> None:
        """All of its log."""
        self.board.visit("Logs", self._key)

    def action_turn(self, by: int) -> None:
        """To another page."""
        self._open(TABS[(TABS.index(self._tab) + by) % len(TABS)])

    def _open(self, tab: str) -> None:
        self._tab = tab
        canvas = self.query_one("#workload", Canvas)
        self.draw()
        canvas.action_end(-1)

    def on_click(self, event: Click) -> None:
        """A tab, perhaps."""
        canvas = self.query_one("#workload", Canvas)
        if event.widget is canvas and (tab := tab_at(canvas.picture, event.x, event.y)):
            self._open(tab)


def _tail(client: Client, slot: str) -> tuple[str, tuple[LogLine, ...]]:
    """Of which slot, and the last lines of its log."""
    page = client.log_page(slot.rpartition("/")[0], index(slot) or 0, size=_TAIL)
    begin = max(0, beginning(page.data, enough=True)) if page.at > page.first else 0
    cutter = Cutter(0, page.at + begin)
    lines = cutter.feed(page.data[begin:], page.at + begin)
    rest = cutter.unfinished()
    return slot, (*lines, *((rest,) if rest is not None else ()))
