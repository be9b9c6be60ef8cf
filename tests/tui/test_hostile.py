"""Whatever a daemon tells and a person presses: nothing breaks, and only text in its place reaches the terminal."""

import itertools
import random
from dataclasses import replace

import pytest

from tests.tui import worlds
from tests.tui.daemon import Daemon
from tests.tui.monkey import answering, play
from tests.tui.watched import Watched, looked, resize, watched
from tui.screens.place import PLACES, Place
from tui.view.world import World

SIZES = ((80, 24), (20, 5), (250, 70), (60, 15), (3, 2), (120, 36), (1, 1))
SCREENS = (*(title for _, title in PLACES), "Help", "Workload", "Logs")


def many() -> World:
    """Thousands of workloads on 64 GPUs."""
    return worlds.world(worlds.machine(worlds.status(2000, 64), ticks=3))


@pytest.fixture
def daemon(tmp_path):
    status = worlds.status(12, 4)
    with Daemon(tmp_path / "sock", status, events=worlds.events(status)) as served:
        answering(served, random.Random(1))
        yield served


def anything(world: World) -> str:
    """The key of some workload of it."""
    return next((row.key for row in world.rows()), "/gone")


async def go(app: Watched, pilot, screen: str) -> None:
    app.visit(screen, anything(app.world) if screen in ("Workload", "Logs") else "")
    await looked(app, pilot)


@pytest.mark.parametrize("screen", SCREENS)
async def test_every_screen_shows_every_world(daemon, screen):
    known = [*worlds.all_worlds(hostiles=5), ("many", many())]
    sizes = itertools.cycle(SIZES)
    app = Watched({"": daemon.client}, known[0][1])
    async with watched(app, (80, 24)) as pilot:
        for name, world in known:
            app.tell(world)
            await go(app, pilot, screen)
            size = next(sizes)
            await resize(app, pilot, size)
            try:
                await looked(app, pilot)
            except AssertionError as error:
                raise AssertionError(f"{screen} shows {name} at {size}") from error
            if screen in ("Workload", "Logs"):
                await app.action_back()


@pytest.mark.parametrize(("seed", "screen"), list(enumerate(SCREENS)))
async def test_every_key_of_every_screen_can_be_pressed_in_a_hostile_world(daemon, screen, seed):
    app = Watched({"": daemon.client}, worlds.hostile(seed))
    async with watched(app, (100, 30)) as pilot:
        await go(app, pilot, screen)
        here = app.screen
        for key in sorted({*here.active_bindings, *"jkgGhl"} - {"ctrl+q"}):
            await pilot.press(key, "x")
            await looked(app, pilot)
            for _ in range(4):
                if app.screen is here:
                    break
                await pilot.press("escape")
            await looked(app, pilot)
            if app.screen is not here:
                await go(app, pilot, screen)
                here = app.screen


async def test_a_question_about_a_name_of_any_length_can_be_read_to_its_end(daemon):
    for name in ("x" * 5000, "日本" * 900, "a b " * 900):
        given = worlds.status(12, 4)
        row = replace(given.workloads["qwen3-32b"], name=name)
        told = worlds.world(worlds.machine(replace(given, workloads={name: row})))
        app = Watched({"": daemon.client}, told)
        async with watched(app, (60, 15)) as pilot:
            for key in ("s", "n", "r", "ctrl+p"):
                await pilot.press(key)
                await looked(app, pilot)
                assert not isinstance(app.screen, Place) or key == "r"
                await pilot.press("escape")


@pytest.mark.parametrize("seed", range(1, 3))
async def test_a_monkey_breaks_nothing(tmp_path, seed):
    assert await play(seed, 120, tmp_path) == 120
