"""How long the tests of the dashboard wait after a key: until every message was worked off, and no longer."""

import pytest
import textual.app
import textual.pilot
from textual._context import active_app

from tests.tui.watched import worked_off


@pytest.fixture(autouse=True)
def no_longer_than_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Textual itself waits until this process takes no processor time: for 20 ms at least, and up to a second."""
    for module in (textual.app, textual.pilot):
        monkeypatch.setattr(module, "wait_for_idle", _worked_off)


async def _worked_off(*_: float) -> None:
    await worked_off(active_app.get())
