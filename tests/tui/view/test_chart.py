"""Bars and histories, drawn in cells."""

from math import inf, nan

import pytest

from tui.view.chart import history, stack
from tui.view.paint import Style

Parts = list[tuple[float, Style]]


@pytest.mark.parametrize(
    ("parts", "whole", "drawn"),
    [
        ([], 100, "▁▁▁▁▁▁▁▁▁▁"),
        ([(50, "hue0")], 100, "▇▇▇▇▇▁▁▁▁▁"),
        ([(30, "hue0"), (30, "hue1"), (20, "stranger")], 100, "▇▇▇▇▇▇▒▒▁▁"),
        ([(0.1, "hue0"), (0.1, "stranger")], 100, "▇▒▁▁▁▁▁▁▁▁"),
        ([(99.9, "hue0"), (0.1, "hue1")], 100, "▇▇▇▇▇▇▇▇▇▇"),
        ([(80, "hue0"), (80, "hue1")], 100, "▇▇▇▇▇▇▇▇▇▇"),
        ([(nan, "hue0"), (inf, "hue1"), (-5, "hue2"), (50, "hue3")], 100, "▇▇▇▇▇▁▁▁▁▁"),
        ([(1, "hue0")] * 12, 100, "▇▇▇▇▇▇▇▇▇▇"),
        ([(5, "hue0")], 0, "▇▇▇▇▇▇▇▇▇▇"),
        ([(5, "hue0")], nan, "▇▇▇▇▇▇▇▇▇▇"),
    ],
)
def test_a_bar_has_a_piece_for_everybody_and_is_never_longer_than_its_room(parts: Parts, whole: float, drawn: str):
    cells = stack(parts, whole, 10)
    assert "".join(cell.text for cell in cells) == drawn


def test_whoever_holds_anything_is_seen_beside_one_who_holds_nearly_all():
    assert [(cell.text, cell.style) for cell in stack([(99.9, "hue0"), (0.1, "hue1")], 100, 5)] == [
        ("▇▇▇▇", "hue0"),
        ("▇", "hue1"),
    ]


@pytest.mark.parametrize(
    ("samples", "drawn"),
    [
        ([], "   "),
        ([0, 0, 0, 0, 0, 0], "⣀⣀⣀"),
        ([25, 50, 75, 100, 100, 0], "⣠⣾⣇"),
        ([nan, nan, 50, nan, 50, 50], " ⡄⣤"),
        ([100], "  ⡇"),
        ([1e30, 1e30], "  ⣿"),
    ],
)
def test_the_newest_stands_to_the_right_idle_is_a_line_and_unknown_is_blank(samples: list[float], drawn: str):
    assert history(samples, len(samples), 3, top=100, kept=6) == [drawn]


def test_a_history_stands_still_until_a_cell_is_full():
    samples = [float(number % 7) * 15 for number in range(60)]
    seen = [history(samples[:count], count, 5, top=100, kept=30)[0] for count in range(31, 61)]
    # three samples a column, so six a cell: all but the last cell are the same six times in a row
    assert len({drawn[:-1] for drawn in seen}) == 5
    assert all(len(drawn) == 5 for drawn in seen)


def test_a_history_of_several_lines_is_filled_from_below():
    assert history([100, 100, 50, 50, 0, 0], 6, 3, top=100, rows=2, kept=6) == ["⣿  ", "⣿⣿⣀"]
