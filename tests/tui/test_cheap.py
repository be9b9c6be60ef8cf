"""What the dashboard leaves out, so that it is there at once."""

import subprocess
import sys
from dataclasses import replace

import pytest

from reconciler.model.plan import Plan, Start
from reconciler.model.secret import Secret
from reconciler.model.status import Reason
from tests.api.daemon import ROAD, launch
from tests.tui.daemon import Daemon
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


def test_nothing_of_pydantic_is_read_for_a_plan_of_the_daemons(tmp_path):
    """It would take a fifth of a second of whoever goes to another screen meanwhile."""
    program = """if True:
        import sys
        from reconciler.client import Client

        road = Client(sys.argv[1]).road()
        print([type(each).__name__ for each in road.passes[0].actions[0].launch.env.values()])
        print([name for name in sys.modules if "pydantic" in name])"""
    env = {"A": "b", "T": Secret(secret="t")}
    start = Start(slot="chat/0", launch=launch("chat/0", env=env), reason=Reason.NotRunning)
    with Daemon(tmp_path / "sock") as daemon:
        daemon.answers["/plan"] = lambda _: replace(ROAD, passes=(Plan(actions=(start,)), Plan()))
        told = subprocess.run(
            [sys.executable, "-c", program, str(daemon.path)], check=True, capture_output=True, text=True
        )
    assert told.stdout.splitlines() == ["['str', 'Secret']", "[]"]


def test_once_the_fleet_is_seen_the_other_screens_are_read_ahead():
    program = """if True:
        import asyncio, sys
        from tests.eventually import eventually_async
        from tests.tui import worlds
        from tests.tui.known import shown

        async def look():
            assert "tui.screens.plan" not in sys.modules
            async with shown(worlds.WORLDS["small"]()):
                await eventually_async(lambda: {"tui.screens.plan", "tui.view.foresee"} <= sys.modules.keys())

        asyncio.run(look())"""
    subprocess.run([sys.executable, "-c", program], check=True)
