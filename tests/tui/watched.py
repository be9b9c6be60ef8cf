"""The dashboard on a terminal of ours: what it writes there is obeyed, and what stands there is looked at."""

import asyncio
import contextlib
import itertools
import re
import threading
import time
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from typing import Any

from textual._compositor import LayoutUpdate
from textual._context import visible_screen_stack
from textual.app import App
from textual.drivers.headless_driver import HeadlessDriver
from textual.message_pump import MessagePump
from textual.pilot import Pilot
from textual.screen import Screen

from reconciler.client import Client
from tests.eventually import PATIENCE
from tests.tui.vt import Terminal
from tui.app import Dashboard
from tui.screens.place import PLACES, Place
from tui.view.frame import LEAST
from tui.view.world import World
from tui.widgets.glass import Glass
from tui.widgets.header import Header
from tui.widgets.keys import Keys

_OTHERWISE = re.compile(r"\x1b\](?:22;[a-z-]+|52;c;[A-Za-z0-9+/=]*)\x07|\x07")
"""What Textual itself says beside what is to be seen: the pointer's shape, what was copied, the bell."""


_ROUNDS = 50
"""So often it is looked, at most: an app in which one message always makes another is never done."""
_TURNS = 100
"""Of the loop, in which an app that is not hindered hears of anything."""


class _Driver(HeadlessDriver):
    """Nobody presses anything, and what is written is read."""

    @property
    def is_headless(self) -> bool:
        return False

    def write(self, data: str) -> None:
        app: Any = self._app
        app.terminal.feed(_OTHERWISE.sub("", data))


class Watched(Dashboard):
    """It cannot be left by a key. With a `told` world it knows that one, which may be changed, and no daemon's."""

    def __init__(self, clients: Mapping[str, Client], told: World | None = None, **more: Any) -> None:
        self.told = told
        self.terminal = Terminal(1, 1)
        super().__init__(clients, **more)
        self.driver_class = _Driver
        if told is not None:
            for link in self.links.values():
                link.close()

    def client(self, machine: str) -> Client:
        """There may be but one for all."""
        return self.links[machine if machine in self.links else next(iter(self.links))].client

    def exit(self, *_: Any, **__: Any) -> None:
        """Not now."""

    def tell(self, world: World) -> None:
        """Know this from now on."""
        self.told = world
        self.draw()

    def _look(self) -> World:
        return super()._look() if self.told is None else self.told

    def _display(self, screen: Screen[Any], renderable: Any) -> None:
        if isinstance(renderable, LayoutUpdate) and renderable.region.size != self.terminal.size:
            self.terminal = Terminal(*renderable.region.size, filled="▒")
        super()._display(screen, renderable)


@contextlib.asynccontextmanager
async def watched(app: Watched, size: tuple[int, int]) -> AsyncGenerator[Pilot[None]]:
    """While it runs. AssertionError where one of its threads died."""
    with threads_live():
        async with app.run_test(headless=False, size=size) as pilot:
            yield pilot


@contextlib.contextmanager
def threads_live() -> Generator[None, None, None]:
    """AssertionError where a thread died meanwhile."""
    before, died = threading.excepthook, list[str]()
    threading.excepthook = lambda told: died.append(f"{told.thread}: {told.exc_value!r}")
    try:
        yield
    finally:
        threading.excepthook = before
    assert not died, died


async def resize(app: Watched, pilot: Pilot[None], size: tuple[int, int]) -> None:
    """As a terminal does it: what stands there is moved about."""
    app.terminal.scramble()
    await pilot.resize_terminal(*size)


async def looked(app: Watched, pilot: Pilot[None]) -> list[str]:
    """What stands on the terminal, once all that was pressed and told is there.

    AssertionError where that is not what would stand there if all were painted anew, between a header and a footer.
    """
    for last in (False,) * 20 + (True,):
        await worked_off(app)
        if app._exception is not None:
            raise app._exception
        try:
            _check(app)
            break
        except AssertionError:
            if last:
                raise
    return app.terminal.lines


def _check(app: Watched) -> None:
    assert app.terminal.size == app.size, (app.terminal.size, app.size)
    otherwise = _otherwise(app)
    assert not otherwise, "\n".join(otherwise)
    if app.size.width >= LEAST[0] and app.size.height >= LEAST[1]:
        if isinstance(app.screen, Place):
            _check_frame(app, app.screen)
        else:
            _check_question(app)


async def worked_off(app: App[Any]) -> None:
    """Until nobody has a message that waits, nobody is at work on one, and what follows on a repaint has followed.

    Of all screens that are seen. Threads and timers are not waited for: what they bring is to be waited for by what it
    does.
    """
    for _round in range(_ROUNDS):
        if app._resize_timer is not None:
            await asyncio.sleep(0.01)
        if app._exception is not None or not app.screen_stack:
            return
        beneath = app._background_screens if app.screen.is_modal else []
        screens = [*beneath, app.screen]
        pumps = [app, *(pump for screen in screens for pump in screen.walk_children(with_self=True))]
        await _heard(app, pumps)
        for screen in screens:
            screen._on_timer_update()
        await asyncio.sleep(0)
        busy = any(pump.message_queue_size or pump._next_callbacks for pump in pumps)
        busy = busy or any(screen._callbacks for screen in screens) or app._resize_timer is not None
        if not busy and app.screen_stack and app.screen is screens[-1]:
            return


async def _heard(app: App[Any], pumps: Sequence[MessagePump]) -> None:
    """Until each is done with what it had to do, or is closed: then it will not hear of it.

    AssertionError with those that are not, after a minute.
    """
    done, end = set[MessagePump](), time.monotonic() + PATIENCE

    def hears(pump: MessagePump) -> None:
        done.add(pump)

    asked = [pump for pump in pumps if pump.call_later(hears, pump)]
    for turn in itertools.count():
        waits = [pump for pump in asked if not (pump in done or pump._closing or pump._closed)]
        if app._exception is not None or not waits:
            return
        assert time.monotonic() < end, [(pump, pump._task and pump._task.get_stack()) for pump in waits]
        await asyncio.sleep(0 if turn < _TURNS else 0.001)


def _otherwise(app: Watched) -> list[str]:
    """Lines that are not what a terminal would show on which nothing stood before."""
    return [
        f"line {number}: {there!r} where {meant!r} is meant{'' if there != meant else ', in other colours'}"
        for number, (row, new) in enumerate(zip(app.terminal.cells, _anew(app).cells, strict=True), start=1)
        if row != new
        and "\u200d" not in (there := _text(row)) + (meant := _text(new))  # where it is cut, Rich counts it in two ways
    ]


def _text(row: list[tuple[str, str]]) -> str:
    return "".join(letter for letter, _ in row)


def _anew(app: Watched) -> Terminal:
    visible_screen_stack.set(app._background_screens)
    strips = app.screen._compositor.render_strips()
    assert [strip.cell_length for strip in strips] == [app.size.width] * app.size.height
    terminal = Terminal(*app.size)
    terminal.feed(Glass().written(LayoutUpdate([[strip] for strip in strips], app.size.region), app.console))
    return terminal


def _check_frame(app: Watched, screen: Place) -> None:
    """The places above, the keys below."""
    header, keys = screen.query_one(Header).region, screen.query_one(Keys).region
    assert header.y == 0
    assert header.height
    assert keys.bottom == app.size.height
    assert keys.height
    if not app._notifications:
        above, below = app.terminal.lines[: header.bottom], app.terminal.lines[-keys.height :]
        assert all(title in "".join(above) for _, title in PLACES), above
        assert "".join(below).strip(), below


def _check_question(app: Watched) -> None:
    """What is asked is wholly seen: how it is answered stands at its end."""
    box = app.screen.children[0].region
    assert app.size.region.contains_region(box), (app.screen, box)
    for child in app.screen.children[0].children:
        assert not child.display or box.contains_region(child.region), (app.screen, child, child.region, box)
