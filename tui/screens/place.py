"""What every screen of the dashboard has: a header, a body, and the keys. It draws only while it is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, ClassVar, Protocol, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.dom import DOMNode
from textual.events import Resize, ScreenResume
from textual.screen import Screen
from textual.widget import Widget

from tui.view.frame import LEAST, header, too_small
from tui.view.world import Row, World
from tui.widgets.canvas import Canvas
from tui.widgets.header import Header
from tui.widgets.keys import Keys

if TYPE_CHECKING:
    from textual.app import App

    from reconciler.client import Client
    from reconciler.client.gateway import Gateway

PLACES = (("1", "Fleet"), ("2", "Plan"), ("3", "GPUs"), ("4", "Events"), ("5", "Chat"))
"""Where a key leads from everywhere."""


class Board(Protocol):
    """What screens ask of the app; `tui.app.Dashboard` is it."""

    world: World

    @property
    def is_running(self) -> bool:
        """Whether it has not begun to end."""
        ...

    def client(self, machine: str) -> Client:
        """The daemon of a machine."""
        ...

    def gateway(self, machine: str) -> Gateway:
        """Where its models are reached. Raises HoldfastError, or OSError where the key's file cannot be read."""
        ...

    def order(self, row: Row, name: str, index: int | None = None) -> None:
        """Do one of `tui.actions.VERBS` to a workload or one of its instances, once it is consented to what is lost."""
        ...

    def wear(self, theme: str) -> None:
        """Other colours, and from now on."""
        ...

    def say(self, text: str) -> None:
        """Show it for a moment."""
        ...

    def ask(self, machine: str, what: Callable[[Client], str]) -> None:
        """Ask its daemon in a thread; what that says, or why it cannot, is shown for a moment."""
        ...

    async def run_action(self, action: str, default_namespace: DOMNode) -> bool:
        """What a key would do, by its binding's action and the node that declares it."""
        ...

    def draw(self) -> None:
        """Draw the screen that is looked at, with all that is known now."""
        ...

    def wake(self) -> None:
        """Something is new, and to be drawn; from any thread."""
        ...

    def get_key_display(self, binding: Binding) -> str:
        """How a key is shown."""
        ...

    def visit(self, place: str, key: str = "") -> None:
        """Go to a screen: a place, or `Workload` or `Logs` of the workload with that key."""
        ...


class Place(Screen[None]):
    """One screen."""

    DEFAULT_CSS = """
    Place { layers: base; }
    Place > #header { height: auto; max-height: 2; background: $surface; }
    Place > #small { display: none; }
    Place.-small > * { display: none; }
    Place.-small > #small { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = []
    place: ClassVar[str] = ""
    """Its title."""

    def __init__(self) -> None:
        super().__init__()
        self._wears: object = None
        """What its styles were worked out for: see `_wear`."""

    def compose(self) -> ComposeResult:
        """Header, body, keys."""
        yield Header(PLACES)
        yield from self.body()
        yield Keys()
        yield Canvas(id="small", focusable=False)

    def body(self) -> Iterable[Widget]:
        """What is between header and keys."""
        raise NotImplementedError

    def paint(self, world: World) -> None:
        """Show what is known now. Called at most at the app's pace, and only while it is looked at."""
        raise NotImplementedError

    def arrive(self, key: str) -> None:
        """Somebody comes from a workload, by its key: be about it from now on."""

    def refusal(self, key: str) -> str:  # noqa: ARG002  of other screens
        """Why a key of this screen does nothing now, in words, and what would; empty where that is not worth a word."""
        return ""

    def open_workload(self, key: str) -> None:
        """The screen of a workload, if it is there. `key`: see `Row.key`."""
        if self.board.world.find(key) is not None:
            self.board.visit("Workload", key)
        else:
            name = key.rpartition("/")[2]
            self.board.say(f"there is no workload {name}" if name else "no workload is pointed at")

    @property
    def board(self) -> Board:
        """The app."""
        return cast("Board", self.app)  # pyright: ignore[reportUnknownMemberType]  Textual leaves it open

    def draw(self) -> None:
        """All of it again; only what differs reaches the terminal. Nothing where nobody looks."""
        if not (self.board.is_running and self.is_mounted and self.children and self.size.width):
            return  # not yet, or no more
        if self not in self._app.screen_stack:
            return  # it was put together ahead
        columns, lines = self.size
        small = columns < LEAST[0] or lines < LEAST[1]
        self.set_class(small, "-small")
        if small:
            self.query_one("#small", Canvas).show(too_small(columns, lines))
            return
        world = self.board.world
        frame = header(world, PLACES, self.place, width=columns)
        canvas = self.query_one(Header)
        if canvas.styles.height is None or canvas.styles.height.value != len(frame.lines):
            canvas.styles.height = len(frame.lines)
        canvas.show(frame)
        self.paint(world)
        self.draw_keys()

    def _compositor_refresh(self) -> None:
        """Not while the app holds back what is drawn, as at its start: Textual draws all of it then, and forgets it."""
        if not self.app._batch_count:  # noqa: SLF001  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType]
            super()._compositor_refresh()

    def on_header_picked(self, picked: Header.Picked) -> None:
        """Go there."""
        self.board.visit(picked.title)

    def draw_keys(self) -> None:
        """Which keys do something now."""
        shown: list[tuple[str, str, str]] = []
        for active in self.active_bindings.values():
            binding: Binding = active.binding
            key = self.board.get_key_display(binding)
            typed = len(key) == 1 and self.focused is not None and self.focused.check_consume_key(binding.key, key)
            if binding.show and active.enabled and not (typed and active.node is not self.focused):
                shown.append((binding.key, key, binding.description))
        self.query_one(Keys).show(tuple(dict.fromkeys(shown)))

    @property
    def _app(self) -> App[object]:
        return self.app  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  Textual leaves it open

    def _wear(self) -> object:
        """What its styles are worked out for."""
        return self._app._css_update_count, self._app.app_focus  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    def ahead(self) -> None:
        """It is put together now, and it may be a while until somebody looks."""
        self._wears = self._wear()

    def on_screen_resume(self, event: ScreenResume) -> None:
        """It is looked at again. All its styles are worked out anew only where they may differ."""
        before, self._wears = self._wears, self._wear()
        event.refresh_styles = before not in (None, self._wears)  # for what is mounted they were just worked out
        self._css_update_count = self._app._css_update_count  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  else all is parsed again
        self.board.draw()

    def on_resize(self, _event: Resize) -> None:
        """It has another size."""
        self.call_after_refresh(self.draw)
