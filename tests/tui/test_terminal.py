"""What stands on the terminal is what was meant to, whatever happened to it meanwhile."""

import threading
from copy import deepcopy
from dataclasses import replace

import pytest
from textual.events import Resize
from textual.geometry import Size

from reconciler.client import Client
from tests.eventually import eventually_async
from tests.tui import worlds
from tests.tui.watched import Watched, looked, resize, watched
from tui.screens.place import PLACES
from tui.widgets.header import Header


def app() -> Watched:
    return Watched({"": Client("/nowhere")}, worlds.WORLDS["fleet"]())


async def test_a_terminal_that_is_as_large_again_as_it_was_shows_all_of_it_again():
    made = app()
    async with watched(made, (100, 30)) as pilot:
        await looked(made, pilot)
        for sizes in (((80, 24), (100, 30)), ((100, 30),)):
            made.terminal.scramble()
            for size in sizes:
                made.post_message(Resize(Size(*size), Size(*size)))
            assert "1 Fleet" in "".join(await looked(made, pilot))


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (180, 45), (250, 70)])
async def test_where_one_figure_changes_nothing_else_on_its_lines_does(size):
    one = worlds.machine(worlds.status(4, 2))
    made = Watched({"": Client("/nowhere")}, worlds.world(one))
    async with watched(made, size) as pilot:
        await looked(made, pilot)
        assert one.live is not None
        assert one.live.host is not None
        for busy in range(20, 30):
            host = replace(one.live.host, busy=float(busy))
            made.tell(worlds.world(replace(one, live=replace(one.live, host=host))))
            assert f"{busy}%" in "".join(await looked(made, pilot))


@pytest.mark.parametrize("size", [(60, 15), (60, 50), (140, 15), (140, 50), (100, 15), (60, 30)])
async def test_a_place_that_was_left_before_the_terminal_changed_may_draw_before_it_is_laid_out_anew(size):
    made = app()
    async with watched(made, (100, 30)) as pilot:
        await looked(made, pilot)
        await pilot.press("2")
        await looked(made, pilot)
        await resize(made, pilot, size)
        await looked(made, pilot)
        made.visit("Fleet")
        for widget in made.screen.query(Header):
            widget.refresh()
        made.screen._compositor.update_widgets(set(made.screen.query(Header)))
        made.screen._compositor_refresh()
        await looked(made, pilot)


async def test_every_theme_can_be_put_on_and_off_again():
    made = app()
    async with watched(made, (100, 30)) as pilot:
        await looked(made, pilot)
        first = deepcopy(made.terminal.cells)
        for _ in range(3):
            await pilot.press("t")
            await looked(made, pilot)
        assert made.terminal.cells == first


async def test_a_screen_that_was_left_wears_the_theme_that_was_put_on_since():
    made = app()
    async with watched(made, (100, 30)) as pilot:
        await looked(made, pilot)
        dark = deepcopy(made.terminal.cells)
        await pilot.press("t")
        await looked(made, pilot)
        light = deepcopy(made.terminal.cells)
        assert light != dark
        await pilot.press("4", "t", "t")
        await looked(made, pilot)
        await pilot.press("1")
        await looked(made, pilot)
        assert made.terminal.cells == dark
        await pilot.press("4", "t", "1")
        await looked(made, pilot)
        assert made.terminal.cells == light


@pytest.mark.parametrize("key", "2345")
async def test_a_place_that_was_put_together_ahead_wears_the_theme_that_was_put_on_since(key):
    cells: list[object] = []
    for ahead in (True, False):
        made = app()
        async with watched(made, (100, 30)) as pilot:
            await looked(made, pilot)
            if ahead:
                made._prepare()
                await eventually_async(lambda made=made: len(made._places) == len(PLACES), what="places")
            await pilot.press("t", key)
            while "asking" in "".join(await looked(made, pilot)):
                await pilot.pause(0.02)
            cells.append(deepcopy(made.terminal.cells))
    assert cells[0] == cells[1]


async def test_a_thread_that_dies_is_seen():
    async def run() -> None:
        async with watched(app(), (80, 24)):
            thread = threading.Thread(target=lambda: 1 / 0)
            thread.start()
            thread.join()

    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        await run()
