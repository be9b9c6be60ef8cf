"""What the dashboard leaves out, so that it is there at once."""

import subprocess
import sys

import pytest

from tui.screens.index import SCREENS


@pytest.mark.parametrize(
    "module", ["reconciler.client", "tui.app", *(place.partition(":")[0] for place in SCREENS.values())]
)
def test_nothing_of_pydantic_is_read_for_it(module):
    told = subprocess.run(
        [sys.executable, "-c", f"import sys, {module}; print(*(name for name in sys.modules if 'pydantic' in name))"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert told.stdout.split() == []


def test_once_the_fleet_is_seen_the_other_screens_are_read_ahead():
    program = """if True:
        import asyncio, sys
        from tests.eventually import eventually_async
        from tests.tui import worlds
        from tests.tui.known import shown

        async def look():
            assert "tui.screens.plan" not in sys.modules
            async with shown(worlds.WORLDS["small"]()):
                await eventually_async(lambda: {"tui.screens.plan", "tui.screens.logs"} <= sys.modules.keys())

        asyncio.run(look())"""
    subprocess.run([sys.executable, "-c", program], check=True)
