"""Home: every workload, every GPU, the last events."""

from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.widget import Widget

from tui.screens.workloads import OnWorkload
from tui.view.events import Journal
from tui.view.fleet import ORDERS, Asked, Table, groupings
from tui.view.home import SHORT, Layout, arrange, side
from tui.view.notes import notes
from tui.view.world import Row, World
from tui.widgets.canvas import Canvas
from tui.widgets.filter import Filter


class Ground(Container):
    """What others stand on, and cover."""

    BLANK = True


class Fleet(OnWorkload):
    """The fleet."""

    place = "Fleet"
    DEFAULT_CSS = """
    Fleet > #notes { height: 1; }
    Fleet > #body { layout: vertical; height: 1fr; }
    Fleet > #body.-beside { layout: horizontal; }
    Fleet #side { height: 0; background: $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "filter", tooltip="only those in which all words occur", key_display="/"),
        Binding("o", "order_by", "order", tooltip="order by trouble, name, memory, requests, …"),
        Binding("b", "group_by", "group", tooltip="group by state, engine, machine, a label"),
        Binding("escape", "show_all", "show all", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._asked = Asked()
        self._table = Table()
        self._journal = Journal()
        self._layout = Layout(False, 0, 0)

    def body(self) -> Iterable[Widget]:
        """Notes above; the table, and beside or beneath it meters and events."""
        yield Canvas(id="notes", focusable=False)
        with Ground(id="body"):
            with Ground():
                yield Canvas(id="fleet")
                yield Filter("a name, a state, an engine, a label: words that must occur")
            yield Canvas(id="side", focusable=False)

    def paint(self, world: World) -> None:
        """All of it."""
        width, height = self.size
        short = height < SHORT
        told = notes(world, room=width, short=short)
        most = max(2, height // 4)
        if len(told.lines) > most:
            told = notes(world, room=width - 1, short=short)  # beside a scroll bar
        above = self.query_one("#notes", Canvas)
        above.styles.height = min(most, len(told.lines))
        above.can_focus = len(told.lines) > most  # so that what does not fit can be read
        above.show(told)
        body = height - 2 - min(most, len(told.lines))
        layout = arrange(world, width=width, height=body, short=short)
        if layout != self._layout:
            self._arrange(layout)
        self._paint_table(world)
        self.query_one("#side", Canvas).show(side(world, self._journal, layout))

    def _arrange(self, layout: Layout) -> None:
        self._layout = layout
        beneath = self.query_one("#side", Canvas)
        beneath.styles.width = layout.width if layout.beside else "1fr"
        beneath.styles.height = "1fr" if layout.beside else layout.height
        self.query_one("#body").set_class(layout.beside, "-beside")

    def _paint_table(self, world: World) -> None:
        canvas, layout = self.query_one("#fleet", Canvas), self._layout
        room = self.size.width - (layout.width if layout.beside else 0)
        canvas.show(self._table.picture(world, self._asked, room=room - 1, chosen=canvas.key))
        self.query_one(Filter).tell(self._table.shown, self._table.all)

    @property
    def row(self) -> Row | None:
        """The workload under the cursor."""
        return self.board.world.find(self.query_one("#fleet", Canvas).key) if self.is_mounted else None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Nothing is shown again where nothing is left out."""
        if action == "show_all":
            return bool(self._asked.filter)
        return super().check_action(action, parameters)

    # -- what is asked by keys

    def on_canvas_moved(self, _moved: Canvas.Moved) -> None:
        """Another one shows all of its reason, and other things can be done to it."""
        if not self.board.is_running:
            return  # told while all is taken down
        self._paint_table(self.board.world)
        self.draw_keys()
        canvas = self.query_one("#fleet", Canvas)
        canvas.point(canvas.key)

    def on_canvas_chosen(self, chosen: Canvas.Chosen) -> None:
        """Open it."""
        self.board.visit("Workload", chosen.key)

    def action_filter(self) -> None:
        """Type what is looked for."""
        self.query_one(Filter).open()

    def action_show_all(self) -> None:
        """Nothing is looked for any more."""
        self.query_one(Filter).clear()

    def on_filter_changed(self, changed: Filter.Changed) -> None:
        """Show what is left."""
        self._ask(replace(self._asked, filter=changed.text))

    def on_filter_left(self, _left: Filter.Left) -> None:
        """The keys are the table's again."""
        self.query_one("#fleet", Canvas).focus()

    def action_order_by(self) -> None:
        """By the next figure."""
        at = ORDERS.index(self._asked.order) + 1
        order = ORDERS[at % len(ORDERS)]
        self._ask(replace(self._asked, order=order))
        self.board.say(f"ordered by {order}")

    def action_group_by(self) -> None:
        """By the next thing that they have in common."""
        some = groupings(self.board.world)
        at = some.index(self._asked.group) + 1 if self._asked.group in some else 0
        group = some[at % len(some)]
        self._ask(replace(self._asked, group=group))
        self.board.say(f"grouped by {group}" if group else "not grouped")

    def _ask(self, asked: Asked) -> None:
        self._asked = asked
        if not self.board.is_running:
            return
        self._paint_table(self.board.world)
        self.draw_keys()
        self.query_one("#fleet", Canvas).strayed = 0.0  # where that went was asked for
