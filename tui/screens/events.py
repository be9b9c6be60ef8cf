"""What happened, as it happens."""

from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget

from tui.screens.place import Place
from tui.view.events import SEVERITIES, Journal, Sought, about, heading
from tui.view.picture import Picture
from tui.view.world import World
from tui.widgets.canvas import Canvas
from tui.widgets.filter import Filter


class Events(Place):
    """The newest last, and followed while the cursor is on it."""

    place = "Events"
    DEFAULT_CSS = """
    Events > #about { height: 1; background: $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "filter", tooltip="only those in which all words occur", key_display="/"),
        Binding("v", "severity", "severity", tooltip="warnings and errors, errors, or all"),
        Binding("f", "follow", "follow", tooltip="follow what happens, or stay"),
        Binding("escape", "show_all", "show all", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._sought = Sought()
        self._journal = Journal()
        self._follows = True

    def body(self) -> Iterable[Widget]:
        """What is shown of them, and they."""
        yield Canvas(id="about", focusable=False)
        yield Canvas(id="events")
        yield Filter("a workload, a reason: words that must occur")

    def paint(self, world: World) -> None:
        """All that are sought."""
        canvas = self.query_one("#events", Canvas)
        room = self.size.width - 1
        left = canvas.key not in ("", next(reversed(canvas.picture.keys), ""))  # by a key of which we hear yet
        canvas.show(self._journal.picture(world, self._sought, room=room, chosen=canvas.key))
        if self._follows and not left:
            canvas.action_end(1)
        self.query_one(Filter).tell(self._journal.shown, self._journal.all)
        told = heading(self._journal, self._sought, follows=self._follows, room=room)
        self.query_one("#about", Canvas).show(Picture(lines=(told,)))

    # -- what is asked by keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Nothing is shown again where nothing is left out."""
        if action == "show_all":
            return self._sought != Sought()
        return super().check_action(action, parameters)

    def on_canvas_moved(self, moved: Canvas.Moved) -> None:
        """It is followed from its end, and nowhere else; and another one shows all of its message."""
        self._follows = moved.canvas.key == next(reversed(moved.canvas.picture.keys), "")
        self.draw()
        moved.canvas.point(moved.canvas.key)

    def on_canvas_chosen(self, chosen: Canvas.Chosen) -> None:
        """Open the workload that it is about."""
        self.open_workload(about(self.board.world, chosen.key))

    def action_follow(self) -> None:
        """To the newest, and stay there; or stay here."""
        self._follows = not self._follows
        if self._follows:
            self.query_one("#events", Canvas).action_end(1)
        self.draw()

    def action_severity(self) -> None:
        """All, warnings and errors, errors."""
        at = SEVERITIES.index(self._sought.severity) + 1
        self._seek(replace(self._sought, severity=SEVERITIES[at % len(SEVERITIES)]))

    def action_filter(self) -> None:
        """Type what is looked for."""
        self.query_one(Filter).open()

    def action_show_all(self) -> None:
        """Nothing is looked for any more."""
        self.query_one(Filter).clear()
        self._seek(Sought())

    def on_filter_changed(self, changed: Filter.Changed) -> None:
        """Show what is left."""
        self._seek(replace(self._sought, filter=changed.text))

    def on_filter_left(self, _left: Filter.Left) -> None:
        """The keys are those of the events again."""
        self.query_one("#events", Canvas).focus()

    def _seek(self, sought: Sought) -> None:
        self._sought = sought
        self.draw()
