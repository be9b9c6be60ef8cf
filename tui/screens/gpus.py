"""Every GPU: who holds what of it, and how its meters went."""

from collections.abc import Iterable

from textual.widget import Widget

from tui.screens.workloads import OnWorkload
from tui.view.gpus import blocks, workload
from tui.view.world import Row, World
from tui.widgets.canvas import Canvas


class Gpus(OnWorkload):
    """The GPUs."""

    place = "GPUs"

    def body(self) -> Iterable[Widget]:
        """One picture."""
        yield Canvas(id="gpus")

    def paint(self, world: World) -> None:
        """All of them."""
        self.query_one("#gpus", Canvas).show(blocks(world, room=self.size.width - 1))

    @property
    def row(self) -> Row | None:
        """The workload that holds what is under the cursor."""
        return self.board.world.find(workload(self.query_one("#gpus", Canvas).key)) if self.is_mounted else None

    def on_canvas_chosen(self, chosen: Canvas.Chosen) -> None:
        """Open it."""
        self.open_workload(workload(chosen.key))
