"""The head of a screen, at every width, of every world."""

from dataclasses import replace

import pytest

from tests.tui import worlds
from tui.view.frame import header, tab_at, too_small
from tui.view.paint import width as columns
from tui.view.picture import Picture
from tui.view.world import World

PLACES = (("1", "Fleet"), ("2", "Plan"), ("3", "GPUs"), ("4", "Events"), ("5", "Chat"))


def printed(picture: Picture) -> list[str]:
    return ["".join(cell.text for cell in line).rstrip() for line in picture.lines]


def head(world: World, width: int) -> list[str]:
    return printed(header(world, PLACES, "Fleet", width=width))


def away(lost: float) -> World:
    machine = next(iter(worlds.WORLDS["small"]().machines.values()))
    return worlds.world(replace(machine, away="cannot reach it", lost=lost))


def test_one_machine_and_the_tabs_share_a_line():
    [line] = head(worlds.WORLDS["small"](), 100)
    assert line.startswith(" holdfast  gpu1 @")
    assert "in sync" in line
    assert line.endswith("1 Fleet  2 Plan  3 GPUs  4 Events  5 Chat")


@pytest.mark.parametrize(("lost", "said"), [(worlds.WALL - 75, "✖ gpu1 away 1m, trying again"), (0.0, "✖ gpu1 away")])
def test_who_is_away_is_said_to_be_for_how_long(lost, said):
    assert said in head(away(lost), 120)[0]


def test_a_paused_fleet_says_so_before_all_else():
    machine = worlds.machine(replace(worlds.troubled(worlds.status(3, 1)), paused="by command"))
    assert "‖ paused" in head(worlds.world(machine), 120)[0]


def test_what_does_not_fit_is_left_out_by_rank_and_never_the_state():
    world = worlds.WORLDS["several"]()
    wide, narrow = head(world, 200), head(world, 80)
    assert (len(wide), len(narrow)) == (1, 2)
    assert "gpu1 @" in wide[0]
    assert "gpu1 @" not in narrow[0]
    for name in ("gpu1", "gpu2", "gpu3", "gpu4", "gpu5"):
        assert name in narrow[0]
    assert "✖ gpu4" in narrow[0]


@pytest.mark.parametrize("width", [20, 60, 80, 120, 250])
@pytest.mark.parametrize(
    ("name", "world"), list(worlds.all_worlds()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_it_is_never_wider_than_the_screen_and_as_high_whatever_happens(name, world, width):
    lines = header(world, PLACES, "Plan", width=width).lines
    assert all(sum(columns(cell.text) for cell in line) <= max(width, 44) for line in lines)
    calm = World(machines={each: worlds.machine(None, each) for each in world.machines})
    assert len(header(calm, PLACES, "Plan", width=width).lines) == len(lines)


@pytest.mark.parametrize("width", [60, 80, 120, 250])
@pytest.mark.parametrize("name", ["small", "several"])
def test_every_column_of_a_tab_is_that_tab_and_no_other_column_is(name, width):
    picture = header(worlds.WORLDS[name](), PLACES, "Chat", width=width)
    y = len(picture.lines) - 1
    line = "".join(cell.text for cell in picture.lines[y])
    for _, title in PLACES:
        at = line.rindex(title)
        assert {tab_at(picture, PLACES, x, y) for x in range(at - 3, at + len(title) + 1)} == {title}
    before = line.rindex(" 1 Fleet") - 1
    assert before < 0 or tab_at(picture, PLACES, before, y) == ""
    assert tab_at(picture, PLACES, 250, y) == ""
    assert len(picture.lines) == 1 or tab_at(picture, PLACES, 5, 0) == ""


def test_a_terminal_that_is_too_small_is_told_what_is_needed():
    assert printed(too_small(50, 12)) == ["60 × 15 is the least; this is 50 × 12"]
    assert printed(too_small(12, 2)) == ["60 × 15 is …"]
