"""The dashboard: it reads daemons, holds what they said, and shows one screen at a time."""

import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

from rich.console import RenderableType
from textual._compositor import CompositorUpdate
from textual.app import App
from textual.binding import Binding, BindingType
from textual.driver import Driver as DrawsOn
from textual.drivers.linux_driver import LinuxDriver
from textual.events import Event, Key, Resize
from textual.screen import Screen
from textual.timer import Timer, TimerCallback

from reconciler.client import Client
from reconciler.model.errors import HoldfastError
from tui.actions import Order, Verb, verb
from tui.driver import Driver
from tui.leaving import Leaving
from tui.link import Link
from tui.messages import Told, Woken
from tui.screens import index
from tui.screens.confirm import Confirm
from tui.screens.palette import Palette
from tui.screens.place import PLACES, Place
from tui.screens.prompt import Prompt
from tui.theme import ANSI, THEMES
from tui.view.clean import clean
from tui.view.world import Row, World
from tui.widgets.glass import Glass

if TYPE_CHECKING:
    from reconciler.client.gateway import Gateway

_PACE = 0.1
"""Seconds between two drawings: many changes in a row are one."""
_TURN = 0.0005
"""Seconds for which a thread may run while others wait, a tenth of what Python lets it: who reads an answer waits for a
turn with each part of it, and what is drawn meanwhile is to have it."""
_CALM, _NEXT = 0.1, 0.02
"""Seconds without a key after which a place is put together ahead, and between two of them."""
_HOME = "Fleet"
_TABS = frozenset(title for _, title in PLACES)


class Dashboard(App[None]):
    """One or several machines."""

    TITLE = "holdfast"
    ENABLE_COMMAND_PALETTE = False  # tui.screens.palette has one that knows the fleet
    CSS = """
    Place { background: $background; color: $foreground; }
    Toast { padding: 0 1; max-width: 80%; }
    ModalScreen > Vertical:ansi { border: round $ink-dim; /* no shade sets it off there */ }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(key, f"visit('{title}')", title, show=False) for key, title in PLACES),
        Binding("escape", "back", "back", show=False),
        Binding("question_mark", "visit('Help')", "help", key_display="?"),
        Binding("ctrl+p", "palette", "everything by name", show=False),
        Binding("t", "next_theme", "other colours: dark, light, ansi", show=False),
        Binding("q", "quit", "quit"),
        Binding("ctrl+c", "quit", "quit", show=False),
    ]

    def __init__(
        self,
        clients: Mapping[str, Client],
        *,
        theme: str = "dark",
        every: float = 1.0,
        remember: Callable[[str], None] = lambda _theme: None,
        key_file: str | None = None,
    ) -> None:
        """`clients`: the daemons, by what their machines are called; `every`: seconds between readings of meters.

        `remember` is told which theme was chosen; `key_file`: the key that gateways are shown.
        """
        super().__init__()
        self._remember = remember
        self._key_file = key_file
        self._places: dict[str, Place] = {}
        self._tab = _HOME
        self._trail: list[str] = []
        for each in THEMES:
            self.register_theme(each)
        self.theme = ANSI.name if self.no_color else theme
        self.stylesheet.set_variables(self.get_css_variables())  # before anything is parsed
        self.links = {name: Link(name, client, self.wake, every=every) for name, client in clients.items()}
        self.world = self._look()
        self._drawn = self._pressed = 0.0
        self._useful = False
        self.leaving = Leaving()
        self._unsaid: Callable[[], None] | None = None
        self._woken = threading.Event()
        self._glass = Glass(colours=not self.no_color)

    def get_driver_class(self) -> type[DrawsOn]:
        """What it is drawn on; a terminal is read in our way."""
        found = super().get_driver_class()
        return Driver if found is LinuxDriver else found

    def refresh_css(self, animate: bool = True) -> None:
        """Not at the start: Textual would parse all of it a second time, for a screen that nobody sees."""
        if self._is_mounted:
            super().refresh_css(animate)

    # -- what it knows

    def _look(self) -> World:
        return World(machines={name: link.machine for name, link in self.links.items()}, wall=time.time())

    def on_mount(self) -> None:
        """Begin."""
        if not self.is_web:  # textual-serve ends us in a way of its own
            self.leaving.begin(self._driver, self.exit)
        for link in self.links.values():
            link.start()
        self.visit(_HOME)

    def on_unmount(self) -> None:
        """End."""
        self.leaving.release()
        for link in self.links.values():
            link.close()

    def wake(self) -> None:
        """Something is new; from any thread."""
        if not self._woken.is_set():
            self._woken.set()
            self.post_message(Woken())

    def on_woken(self, _message: Woken) -> None:
        """Draw it, but not too often."""
        wait = self._drawn + _PACE - time.monotonic()
        if wait > 0 and self._useful:
            self.set_timer(wait, self._draw_news)
        else:
            self._draw_news()

    def _draw_news(self) -> None:
        if self._woken.is_set():  # else a screen that was gone to since has drawn it
            self._drawn = time.monotonic()
            self.draw()

    def draw(self) -> None:
        """Draw the screen that is looked at, with all that is known now."""
        self._woken.clear()
        self.world = self._look()
        if not self._useful and any(machine.status is not None for machine in self.world.machines.values()):
            self._useful = True
            self.call_after_refresh(index.read_ahead, lambda: self.call_later(self._prepare))
        for screen in reversed(self.screen_stack):
            if isinstance(screen, Place):
                screen.draw()
                return

    def _display(self, screen: Screen[Any], renderable: RenderableType | CompositorUpdate | None) -> None:
        """Write what differs from what stands there."""
        through = self._glass.through(renderable) if isinstance(renderable, CompositorUpdate) else renderable
        super()._display(screen, through)  # type: ignore[arg-type]  Textual leaves it open

    def set_timer(
        self, delay: float, callback: TimerCallback | None = None, *, name: str | None = None, pause: bool = False
    ) -> Timer:
        """As Textual's, but it fires even when it is late already at its start.

        Textual's skips that, as if it had fired: a resize or a drawing that fell upon a busy moment would be the last.
        """
        timer = super().set_timer(delay, callback, name=name, pause=pause)
        timer._skip = False  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  `Timer` takes it, `set_timer` does not
        return timer

    def on_resize(self, event: Resize) -> None:
        """A terminal has moved about what stood on it, even where it is as large again as it was."""
        self._glass.forget()
        if self.screen_stack and event.size == self.screen.size:
            self.screen.refresh()

    async def on_event(self, event: Event) -> None:
        """Keys that are commands are carried out before the next one is looked at: what is typed after `/` is no more.

        Textual sends each to what has the focus, and asks what it means when it comes back. One that comes before the
        screen that it is for waits for that; one that can do nothing here is answered by why.
        """
        if isinstance(event, Key) and not event.is_forwarded:
            while not (here := cast("Any", self.screen)).is_mounted:
                await here._mounted_event.wait()  # noqa: SLF001  Textual has nothing else to wait for
            self._pressed = time.monotonic()
            writes = self.focused is not None and self.focused.check_consume_key("a", "a")
            for first in () if writes else (True, False):
                if await self._check_bindings(event.key, priority=first):
                    return
            if not writes and (told := self._refusal(event.key)):
                self.say(told)
                return
        await super().on_event(event)

    def _refusal(self, key: str) -> str:
        """Why it does nothing here; empty where that is not worth a word."""
        here = self.screen
        return (here.refusal(key) or index.elsewhere(key)) if isinstance(here, Place) else ""

    def client(self, machine: str) -> Client:
        """The daemon of a machine."""
        return self.links[machine].client

    def gateway(self, machine: str) -> "Gateway":
        """Where its models are reached, as far as is known: it goes on while its daemon is away."""
        known = self.world.machines[machine].status
        return self.client(machine).gateway(self._key_file, known=known)

    # -- where one goes

    def visit(self, place: str, key: str = "") -> None:
        """Go there: a place takes the place of what is seen; what is about one workload is put upon it."""
        if place in _TABS and not key:
            self._turn(place)
        elif type(self.screen) is not index.kind(place) or key:
            self._put(place, key)

    def _turn(self, place: str, *, back: bool = False) -> None:
        """To another of the places, as it was left."""
        if place != self._tab and not back:
            self._trail = [*(each for each in self._trail if each not in (self._tab, place)), self._tab]
        if place == _HOME:
            self._trail = []
        while len(self.screen_stack) > 2:
            self.pop_screen()
        self._tab = place
        screen = self._place(place)
        if len(self.screen_stack) == 1:
            self.push_screen(screen)
        else:
            self.switch_screen(screen)  # pyright: ignore[reportUnknownMemberType]  Textual leaves it open

    def _put(self, place: str, key: str) -> None:
        screen = self._place(place) if place in _TABS else index.made(place, key)
        while screen in self.screen_stack[1:] and screen is not self.screen:
            self.pop_screen()
        if place in _TABS:
            screen.arrive(key)
        if screen is not self.screen:
            self.push_screen(screen)

    def _place(self, place: str) -> Place:
        """One of the places: made once, so that it is found again as it was left."""
        if place not in self._places:
            self._places[place] = index.made(place)
            self.install_screen(self._places[place], place)  # pyright: ignore[reportUnknownMemberType]
        return self._places[place]

    def _prepare(self) -> None:
        """Put together the next place that nobody has visited yet, so that nobody waits for it; after a key, later."""
        ahead = next((title for _, title in PLACES if title not in self._places), None)
        if ahead is None or not self.is_running:
            return
        if time.monotonic() > self._pressed + _CALM:
            self._place(ahead).ahead()
            self._register(self, self._place(ahead))  # pyright: ignore[reportUnknownMemberType]
        self.set_timer(_NEXT, self._prepare)

    def action_visit(self, place: str) -> None:
        """By a key."""
        self.visit(place)

    async def action_back(self) -> None:
        """To where one came from, and in the end to the fleet."""
        if len(self.screen_stack) > 2:
            self.pop_screen()
        elif self._trail:
            self._turn(self._trail.pop(), back=True)

    def action_palette(self) -> None:
        """Everything that can be done, by its name."""
        if isinstance(self.screen, Place):
            self.push_screen(Palette(self.screen))

    def action_next_theme(self) -> None:
        """Dark, light, the terminal's own."""
        names = [theme.name for theme in THEMES]
        self.wear(names[(names.index(self.theme) + 1) % len(names)])

    def wear(self, theme: str) -> None:
        """Other colours, and from now on."""
        if self.no_color:
            self.say("there are no other colours: NO_COLOR is set")
            return
        self.theme = theme
        self._remember(theme)

    # -- what is asked of daemons

    def order(self, row: Row, name: str, index: int | None = None) -> None:
        """Do it, once it is told what it wants, and it is consented to what is lost."""
        chosen, order = verb(name), Order(row, index)

        def told(answer: str | None) -> None:
            if answer is not None:
                self._consent(chosen, Order(row, index, answer))

        if chosen.wants is None:
            self._consent(chosen, order)
        else:
            question = f"{chosen.name} {clean(order.title)}: {chosen.wants.question}"
            self.push_screen(Prompt(question, chosen.wants.given(row), chosen.wants.wrong), told)

    def _consent(self, chosen: Verb, order: Order) -> None:
        order = replace(order, row=self.world.find(order.row.key) or order.row)  # much may have changed since

        def answered(yes: bool | None) -> None:
            if yes:
                self.ask(order.row.machine.name, lambda client: chosen.do(client, order))

        if question := chosen.loses(order):
            self.push_screen(Confirm(f"{chosen.name} {clean(order.title)}? {clean(question)}."), answered)
        else:
            answered(True)

    def ask(self, machine: str, what: Callable[[Client], str]) -> None:
        """Ask its daemon in a thread; what that says is shown for a moment."""
        client, of = self.client(machine), f"{machine}: " if machine else ""

        def work() -> None:
            try:
                told = Told(of + what(client))
            except HoldfastError as error:
                told = Told(of + str(error), failed=True)
            self.post_message(told)

        threading.Thread(target=work, daemon=True).start()

    def on_told(self, told: Told) -> None:
        """Show it."""
        self.say(told.text, failed=told.failed)

    def say(self, text: str, *, failed: bool = False) -> None:
        """Show it for a moment, in the place of what was said before; while a question is asked, after that."""
        if self.screen_stack and not isinstance(self.screen, Place):
            self._unsaid = partial(self.say, text, failed=failed)
            return
        self.clear_notifications()
        grave, long = ("error", 8.0) if failed else ("information", 3.0)
        self.notify(clean(text), severity=grave, timeout=long, markup=False)

    def _refresh_notifications(self) -> None:
        """Show what is said, but never over a question: at the foot of a small terminal it would hide the answers."""
        if self.screen_stack and isinstance(self.screen, Place):
            unsaid, self._unsaid = self._unsaid, None
            if unsaid is not None:
                unsaid()
            super()._refresh_notifications()


def show(
    clients: Mapping[str, Client],
    *,
    theme: str,
    every: float,
    remember: Callable[[str], None],
    key_file: str | None = None,
) -> int:
    """Until it is left. The exit status."""
    sys.setswitchinterval(_TURN)
    app = Dashboard(clients, theme=theme, every=every, remember=remember, key_file=key_file)
    app.run()
    return app.leaving.end(app.return_code or 0)
