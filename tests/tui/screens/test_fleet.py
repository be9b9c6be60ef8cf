"""The first screen, driven by keys."""

import pytest

from tests.eventually import eventually_async
from tests.tui import worlds
from tests.tui.known import canvas, check_all_fits, seen, shown, whole
from tests.tui.view.test_fleet import text
from tui.app import Dashboard
from tui.screens.fleet import Fleet
from tui.widgets.canvas import Canvas


def table(app: Dashboard) -> Canvas:
    return canvas(app, "fleet")


def rows(app: Dashboard) -> list[str]:
    return [key.rpartition("/")[2] for key in dict.fromkeys(table(app).picture.keys) if key]


async def test_it_begins_with_what_is_in_need_of_a_person():
    async with shown(worlds.world(worlds.machine(worlds.status()))) as (app, _):
        assert "▲ backing off" in seen(table(app)).splitlines()[1]


async def test_enter_opens_the_workload_under_the_cursor_and_l_its_logs():
    async with shown(worlds.WORLDS["small"]()) as (app, pilot):
        await pilot.press("j", "enter", "l")
        await eventually_async(lambda: len(app.visited) == 2)
        assert app.visited == [("Workload", f"/{rows(app)[1]}"), ("Logs", f"/{rows(app)[1]}")]


async def test_what_is_typed_after_a_slash_filters_at_once_and_esc_shows_all_again():
    async with shown(worlds.WORLDS["fleet"]()) as (app, pilot):
        await pilot.press("slash", *"qwen")
        await eventually_async(lambda: len(rows(app)) == 11)
        await pilot.press("3")  # the last qwen-3…, and no visit to the GPUs
        await eventually_async(lambda: 0 < len(rows(app)) < 11)
        assert isinstance(app.screen, Fleet)
        await pilot.press("escape")
        await eventually_async(lambda: len(rows(app)) == 40)
        assert table(app).has_focus


async def test_enter_keeps_the_filter_and_gives_the_keys_back():
    async with shown(worlds.WORLDS["fleet"]()) as (app, pilot):
        await pilot.press("slash", *"whisper", "enter")
        await eventually_async(lambda: table(app).has_focus)
        assert len(rows(app)) == 3
        await pilot.press("escape")
        await eventually_async(lambda: len(rows(app)) == 40)


async def test_o_orders_by_the_next_figure_and_b_groups_by_the_next_thing():
    async with shown(worlds.WORLDS["fleet"]()) as (app, pilot):
        await pilot.press("o")
        await eventually_async(lambda: (now := rows(app)) == sorted(now))
        assert [each.message for each in app._notifications] == ["ordered by name"]
        await pilot.press("b")
        await eventually_async(lambda: "backing off · 2 workloads" in text(table(app).picture))
        assert [each.message for each in app._notifications] == ["grouped by state"]
        await pilot.press("b", "b")
        await eventually_async(lambda: "chat · 13 workloads" in text(table(app).picture))


async def test_the_cursor_stays_with_its_workload_when_others_come_before_it():
    async with shown(worlds.WORLDS["fleet"]()) as (app, pilot):
        await pilot.press("j", "j", "j")
        key = table(app).key
        await pilot.press("o", "o")
        await eventually_async(lambda: rows(app).index(key.removeprefix("/")) != 3)
        assert table(app).key == key


async def test_the_chosen_row_shows_all_of_its_reason():
    async with shown(worlds.WORLDS["fleet"](), size=(80, 24)) as (app, pilot):
        assert "starts again in 38 s" in seen(table(app))
        await pilot.press("j")
        await eventually_async(lambda: "starts again in 38 s" not in seen(table(app)))


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (250, 70)])
async def test_gpus_the_host_and_the_last_event_can_be_seen_at_every_size(size: tuple[int, int]):
    async with shown(worlds.WORLDS["fleet"](), size=size) as (app, _):
        sight = whole(app)
        assert sight.count("/80.0G") == 8
        for what in ("cordoned", "188/512G", "gateway http://127.0.0.1:8642", "Fetched", "18 ready"):
            assert what in sight, what


async def test_a_machine_without_gpus_shows_its_host():
    async with shown(worlds.WORLDS["cpu"]()) as (app, _):
        assert "host  cpu" in whole(app)
        assert "GPU" not in seen(table(app)).splitlines()[0]


@pytest.mark.parametrize("name", [*worlds.WORLDS, *(f"hostile {seed}" for seed in range(12))])
async def test_any_world_can_be_shown_at_any_size(name: str):
    world = worlds.hostile(int(name.split()[1])) if name.startswith("hostile") else worlds.WORLDS[name]()
    async with shown(world, size=(80, 24)) as (app, pilot):
        for size in ((60, 16), (100, 30), (180, 50), (250, 70)):
            await pilot.resize_terminal(*size)
            await pilot.press("j", "o", "b", "G")
            await pilot.pause()
            check_all_fits(app)
