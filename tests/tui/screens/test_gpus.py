"""The screen of the GPUs, driven by keys."""

import pytest

from tests.eventually import eventually_async
from tests.tui import worlds
from tests.tui.known import canvas, check_all_fits, seen, shown
from tui.screens.gpus import Gpus


async def test_enter_on_a_holder_opens_its_workload_and_what_can_be_done_is_done_to_it():
    async with shown(worlds.WORLDS["fleet"](), "GPUs") as (app, pilot):
        gpus = canvas(app, "gpus")
        assert "■ qwen3-32b/0" in seen(gpus)
        await pilot.press("enter", "j", "l")
        await eventually_async(lambda: len(app.visited) == 2)
        assert app.visited == [("Workload", "/qwen3-32b"), ("Logs", "/phi-4")]
        assert isinstance(app.screen, Gpus)
        assert app.screen.row == app.world.find("/phi-4")


async def test_the_past_of_its_meters_is_shown_at_every_width():
    async with shown(worlds.WORLDS["fleet"](), "GPUs", (80, 24)) as (app, pilot):
        for width in (80, 120, 250):
            await pilot.resize_terminal(width, 24)
            await eventually_async(
                lambda: all(word in seen(canvas(app, "gpus")) for word in ("busy", "memory", "heat", "power", "⣿"))
            )


@pytest.mark.parametrize("name", [*worlds.WORLDS, *(f"hostile {seed}" for seed in range(12))])
async def test_any_world_can_be_shown_at_any_size(name: str):
    world = worlds.hostile(int(name.split()[1])) if name.startswith("hostile") else worlds.WORLDS[name]()
    async with shown(world, "GPUs", (80, 24)) as (app, pilot):
        for size in ((60, 16), (120, 36), (250, 70)):
            await pilot.resize_terminal(*size)
            await pilot.press("j", "G", "k")
            await pilot.pause()
            check_all_fits(app)
