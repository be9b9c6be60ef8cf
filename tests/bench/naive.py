"""The dashboard that one writes in an afternoon with Textual's own widgets: what ours is measured beside.

`python -m tests.bench.naive SOCKET`: a table of workloads, bars and a sparkline for each GPU, all told
anew twice a second.
"""

import sys
import threading
from collections import deque

from textual.app import App, ComposeResult
from textual.containers import Grid, Vertical
from textual.widgets import DataTable, Footer, Header, Label, ProgressBar, Sparkline

from reconciler.client import Client
from reconciler.model.live import Live
from reconciler.model.status import GpuStatus, Status

COLUMNS = ("name", "engine", "ready", "state", "gpus", "req/s", "tok/s", "queue")


class Gpu(Vertical):
    """One card."""

    DEFAULT_CSS = "Gpu { height: 4; padding: 0 1; } Gpu ProgressBar Bar { width: 1fr; }"

    def __init__(self, card: GpuStatus) -> None:
        super().__init__()
        self._card = card
        self._past = deque[float](maxlen=60)

    def compose(self) -> ComposeResult:
        yield Label(id="name")
        yield ProgressBar(total=100, show_eta=False, id="busy")
        yield ProgressBar(total=self._card.memory, show_eta=False, id="memory")
        yield Sparkline(id="past")

    def tell(self, card: GpuStatus, live: Live) -> None:
        """Show what it does now."""
        meters = live.meters[card.uuid]
        self._past.append(meters.busy or 0)
        self.query_one("#name", Label).update(f"GPU {card.index} {meters.celsius} °C {meters.watts or 0:.0f} W")
        self.query_one("#busy", ProgressBar).update(progress=meters.busy or 0)
        self.query_one("#memory", ProgressBar).update(progress=card.used)
        self.query_one("#past", Sparkline).data = list(self._past)


class Naive(App[None]):
    """All of it."""

    CSS = "Grid { grid-size: 4; grid-rows: 4; height: 9; } DataTable { height: 1fr; }"

    def __init__(self, client: Client) -> None:
        super().__init__()
        self._client = client
        self._status: Status | None = None
        self._live: Live | None = None

    def compose(self) -> ComposeResult:
        yield Header(show_clock=True)
        yield Grid()
        yield DataTable[str](cursor_type="row")
        yield Footer()

    def on_mount(self) -> None:
        """Begin."""
        table = self.query_one(DataTable)
        for title in COLUMNS:
            table.add_column(title, key=title)
        for read in (self._read_status, self._read_live):
            threading.Thread(target=read, daemon=True).start()

    def _read_status(self) -> None:
        for status in self._client.statuses():
            self._status = status
            self.call_later(self.tell)

    def _read_live(self) -> None:
        for live in self._client.live(0.5):
            self._live = live
            self.call_later(self.tell)

    async def tell(self) -> None:
        """Show what is known now."""
        status, live = self._status, self._live
        if status is None or live is None:
            return
        grid = self.query_one(Grid)
        if not grid.children:
            await grid.mount_all(Gpu(card) for card in status.gpus)
        for card, shown in zip(status.gpus, self.query(Gpu), strict=True):
            shown.tell(card, live)
        table = self.query_one(DataTable)
        for name, workload in status.workloads.items():
            wanted = live.traffic.get(name)
            rated = wanted.traffic if wanted is not None else None
            cells = (
                name,
                workload.engine,
                f"{sum(replica.state == 'ready' for replica in workload.replicas)}/{workload.wanted}",
                ", ".join(sorted({replica.state for replica in workload.replicas})),
                ", ".join(str(gpu) for replica in workload.replicas for gpu in replica.gpus),
                f"{rated.requests:.1f}" if rated else "",
                f"{rated.tokens:.0f}" if rated else "",
                str(wanted.waiting) if wanted else "",
            )
            if name not in table.rows:
                table.add_row(*cells, key=name)
            else:
                for title, cell in zip(COLUMNS, cells, strict=True):
                    table.update_cell(name, title, cell)


if __name__ == "__main__":
    Naive(Client(sys.argv[1])).run()
