"""How long the tests of the dashboard wait after a key: until every message was worked off, and no longer."""

import asyncio

import pytest
import textual.app
import textual.pilot
from textual._context import active_app
from textual.pilot import Pilot

_ROUNDS = 50
"""So often it is looked, at most: an app in which one message always makes another is never done."""


@pytest.fixture(autouse=True)
def no_longer_than_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Textual itself waits until this process takes no processor time: for 20 ms at least, and up to a second."""
    for module in (textual.app, textual.pilot):
        monkeypatch.setattr(module, "wait_for_idle", _worked_off)


async def _worked_off(*_: float) -> None:
    """Nobody has a message that waits, none is at work on one, and what is to follow on a repaint has followed."""
    app = active_app.get()
    for _round in range(_ROUNDS):
        if app._resize_timer is not None:
            await asyncio.sleep(0.01)
        if not await Pilot(app)._wait_for_screen():
            return
        screen = app.screen
        screen._on_timer_update()
        await asyncio.sleep(0)
        pumps = [app, *screen.walk_children(with_self=True)]
        if not (app._resize_timer or screen._callbacks or any(pump.message_queue_size for pump in pumps)):
            return
