"""Tables: which columns are there, and how wide."""

import pytest

from tui.view.grid import Column, fit, measure, row, titles
from tui.view.paint import Cell

COLUMNS = (
    Column(title="NAME", least=8),
    Column(title="READY", right=True),
    Column(title="ENGINE", rank=2),
    Column(title="AGE", rank=1, least=6, right=True),
)
NEEDED = (20, 3, 8, 2)


@pytest.mark.parametrize(
    ("room", "widths"),
    [
        (80, (20, 5, 8, 6)),
        (45, (20, 5, 8, 6)),
        (44, (19, 5, 8, 6)),
        (40, (15, 5, 8, 6)),
        (32, (8, 5, 7, 6)),
        (30, (15, 5, 0, 6)),
        (22, (15, 5, 0, 0)),
        (10, (8, 5, 0, 0)),
    ],
)
def test_where_it_is_narrow_columns_shrink_to_their_least_and_then_go_by_rank(room: int, widths: tuple[int, ...]):
    assert fit(COLUMNS, NEEDED, room) == widths


def test_a_column_with_nothing_in_it_is_left_out_but_not_one_that_stays():
    assert fit(COLUMNS, (0, 0, 0, 0), 80) == (8, 5, 0, 0)


def test_no_column_is_wider_than_it_may_be():
    assert fit((Column(title="NAME", most=12),), (63,), 80) == (12,)


def test_figures_stand_to_the_right_and_names_to_the_left_wide_ones_too():
    cells = [Cell(text="模型"), Cell(text="1/1"), Cell(text="vllm"), Cell(text="3m")]
    widths = fit(COLUMNS, measure([cells], COLUMNS), 80)
    assert "".join(cell.text for cell in titles(COLUMNS, widths)) == "NAME      READY  ENGINE     AGE"
    assert "".join(cell.text for cell in row(cells, COLUMNS, widths)) == "模型        1/1  vllm        3m"
