"""The board: what one worker counts all see, and what a dead one counted is not lost."""

import os
import subprocess
import sys

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from reconciler.gateway.board import DAYS, GAUGES, MINUTES, Board


def test_another_process_sees_what_this_one_counts_and_this_one_what_it_does() -> None:
    board = Board.create(3)
    Board.open(board.descriptor, 1).add(7, 5)
    code = (
        "import sys; from reconciler.gateway.board import Board\n"
        "board = Board.open(int(sys.argv[1]), 2); board.add(7, 20); print(board.total(7), board.own(7))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(board.descriptor)],
        pass_fds=[board.descriptor],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (told.stdout.split(), board.total(7), board.own(7)) == (["25", "20"], 25, 0)


def test_what_nobody_counted_takes_no_memory() -> None:
    board = Board.create(64)
    Board.open(board.descriptor, 63).add(0, 1)
    assert os.fstat(board.descriptor).st_blocks * 512 < 64 * 1024 < os.fstat(board.descriptor).st_size


def test_a_widened_board_keeps_its_counts_and_has_room_for_more_workers() -> None:
    board = Board.create(2)
    worker = Board.open(board.descriptor, 1)
    worker.add(3, 1)
    board.widen(4)
    wide = Board.open(board.descriptor, 3)
    wide.add(3, 1)
    worker.add(3, 1)
    assert (wide.columns, wide.total(3), worker.total(3)) == (4, 3, 2)
    board.widen(2)
    assert board.columns == Board.open(board.descriptor, 0).columns == 4


def test_a_column_that_is_not_there_cannot_be_opened() -> None:
    board = Board.create(2)
    with pytest.raises(IndexError):
        Board.open(board.descriptor, 2)


def test_a_row_is_idle_once_nothing_of_it_counts_any_more() -> None:
    board = Board.create(2)
    worker = Board.open(board.descriptor, 1)
    worker.add(0, 1)
    worker.count(MINUTES[0], 10, 1)
    worker.count(MINUTES[0] + 1, 11, 1)
    worker.count(DAYS[0], 5, 1)
    assert [board.idle(row, 11, 5) for row in (0, MINUTES[0], DAYS[0])] == [False, False, False]
    assert [board.idle(MINUTES[0], minute, 5) for minute in (12, 13)] == [False, True]
    assert [board.idle(DAYS[0], 0, day) for day in (4, 6)] == [True, True]
    worker.add(0, -1)
    assert board.idle(0, 0, 0)
    assert board.idle(1, 0, 0)
    assert board.idle(MINUTES[2], 0, 0)


class Columns(RuleBasedStateMachine):
    """Any number of workers count, end, and come again; a plain sum over the events is what the board says."""

    def __init__(self) -> None:
        super().__init__()
        self.master = Board.create(4)
        self.workers = {column: Board.open(self.master.descriptor, column) for column in (1, 2, 3)}
        self.flying = dict.fromkeys(self.workers, 0)
        self.counted: dict[int, int] = {}
        self.stamp = 0

    columns = st.sampled_from((1, 2, 3))

    @rule(column=columns, by=st.integers(1, 10**9))
    def counts(self, column: int, by: int) -> None:
        self.workers[column].count(DAYS[9], self.stamp, by)
        self.counted[self.stamp] = self.counted.get(self.stamp, 0) + by

    @rule(column=columns)
    def begins(self, column: int) -> None:
        self.workers[column].add(GAUGES[9], 1)
        self.flying[column] += 1

    @rule(column=columns)
    def ends(self, column: int) -> None:
        if self.flying[column]:
            self.workers[column].add(GAUGES[9], -1)
            self.flying[column] -= 1

    @rule(column=columns)
    def dies(self, column: int) -> None:
        self.master.clear(column)
        self.workers[column] = Board.open(self.master.descriptor, column)
        self.flying[column] = 0

    def teardown(self) -> None:
        del self.master, self.workers  # their descriptors, before the next of hundreds

    @rule(by=st.integers(1, 3))
    def time_goes_on(self, by: int) -> None:
        self.stamp += by

    @invariant()
    def all_see_the_sum(self) -> None:
        for board in (self.master, *self.workers.values()):
            assert board.total(GAUGES[9]) == sum(self.flying.values())
            assert board.counted(DAYS[9], self.stamp) == self.counted.get(self.stamp, 0)
            assert board.own(GAUGES[9]) == self.flying.get(board.column, 0)


TestColumns = Columns.TestCase
