"""The screen of events, driven by keys."""

from dataclasses import replace

import pytest

from reconciler.model.status import Event, Reason
from tests.eventually import eventually_async
from tests.tui import worlds
from tests.tui.known import Known, canvas, check_all_fits, seen, shown
from tui.screens.events import Events
from tui.view.world import World


def keys(app: Known) -> list[str]:
    return [key for key in dict.fromkeys(canvas(app, "events").picture.keys) if key]


def happen(app: Known, seq: int) -> None:
    """One more event."""
    (machine,) = app.told.machines.values()
    event = Event(seq=seq, at=worlds.WALL, severity="info", subject="daemon", reason=Reason.Asked, message="one more")
    app.told = World(machines={"": replace(machine, events=(*machine.events, event))}, wall=worlds.WALL)
    app.wake()


async def test_the_newest_is_followed_until_one_looks_at_another_and_again_from_the_end():
    async with shown(worlds.WORLDS["fleet"](), "Events") as (app, pilot):
        assert canvas(app, "events").key == "/40"
        happen(app, 41)
        await eventually_async(lambda: canvas(app, "events").key == "/41")
        assert "one more" in seen(canvas(app, "events")).splitlines()[-1]
        await pilot.press("k")
        await eventually_async(lambda: "not following" in seen(canvas(app, "about")))
        happen(app, 42)
        await eventually_async(lambda: keys(app)[-1] == "/42")
        assert canvas(app, "events").key == "/40"
        await pilot.press("G")
        await eventually_async(lambda: "● following" in seen(canvas(app, "about")))
        happen(app, 43)
        await eventually_async(lambda: canvas(app, "events").key == "/43")


async def test_what_is_drawn_at_the_same_moment_does_not_take_a_key_back():
    async with shown(worlds.WORLDS["fleet"](), "Events") as (app, _):
        events, screen = canvas(app, "events"), app.screen
        assert isinstance(screen, Events)
        events.action_move(-1)
        screen.draw()
        assert events.key == "/39"
        await eventually_async(lambda: "not following" in seen(canvas(app, "about")))


async def test_f_follows_and_stays():
    async with shown(worlds.WORLDS["fleet"](), "Events") as (app, pilot):
        await pilot.press("g")
        await eventually_async(lambda: canvas(app, "events").key == "/1")
        await pilot.press("f")
        await eventually_async(lambda: canvas(app, "events").key == "/40")


async def test_v_and_words_leave_those_that_are_meant_and_esc_shows_all_again():
    async with shown(worlds.WORLDS["fleet"](), "Events") as (app, pilot):
        await pilot.press("v")
        await eventually_async(lambda: len(keys(app)) == 23)
        await pilot.press("v")
        await eventually_async(lambda: len(keys(app)) == 12)
        await pilot.press("slash", *"memory", "enter")
        await eventually_async(lambda: len(keys(app)) == 6)
        assert "6 of 40 events · errors" in seen(canvas(app, "about"))
        await pilot.press("escape")
        await eventually_async(lambda: len(keys(app)) == 40)


async def test_enter_opens_the_workload_that_an_event_is_about_if_it_is_about_one():
    async with shown(worlds.WORLDS["fleet"](), "Events") as (app, pilot):
        happen(app, 41)  # of the daemon
        await eventually_async(lambda: canvas(app, "events").key == "/41")
        await pilot.press("enter", "k", "enter")
        await eventually_async(lambda: bool(app.visited))
        assert app.visited == [("Workload", "/qwen3-32b-1")]


@pytest.mark.parametrize("name", [*worlds.WORLDS, *(f"hostile {seed}" for seed in range(12))])
async def test_any_world_can_be_shown_at_any_size(name: str):
    world = worlds.hostile(int(name.split()[1])) if name.startswith("hostile") else worlds.WORLDS[name]()
    async with shown(world, "Events", (80, 24)) as (app, pilot):
        for size in ((60, 16), (120, 36), (250, 70)):
            await pilot.resize_terminal(*size)
            await pilot.press("k", "g", "G", "v")
            await pilot.pause()
            check_all_fits(app)
