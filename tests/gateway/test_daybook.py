"""Limits of a day hold over the ends of gateways."""

import json
import os
from pathlib import Path

import pytest

from reconciler.gateway.board import Board
from reconciler.gateway.daybook import Daybook
from reconciler.gateway.limits import Limiter, Ticket
from reconciler.gateway.rows import rows
from reconciler.model.routing import Limits, Table
from tests.gateway.clocked import DAY, Hands, grant, model, table

FEW = grant(Limits(requests_per_day=10, tokens_per_day=1000, requests_per_minute=100))


class Gateway:
    """A master with one worker, from its begin to its end."""

    def __init__(self, path: str, hands: Hands, of: Table | None = None, board: Board | None = None) -> None:
        self.hands, self.rows = hands, dict[str, int]()
        self.board = board or Board.create(2)
        self.daybook = Daybook(path, hands.clock)
        self.take(of or table(FEW))

    def take(self, of: Table) -> None:
        self.rows = rows(of, self.rows, lambda _: True)
        self.daybook.take(self.board, self.rows)
        self.worker = Limiter(Board.open(self.board.descriptor, 1), self.rows, self.hands.clock)

    def asks(self, times: int) -> int:
        """How many of these requests get in, 10 tokens each."""
        tickets = [self.worker.admit(FEW, model()) for _ in range(times)]
        let_in = [ticket for ticket in tickets if isinstance(ticket, Ticket)]
        for ticket in let_in:
            ticket.spend(5, 5)
        return len(let_in)

    def save(self) -> None:
        self.daybook.save(self.board)


@pytest.fixture
def path(tmp_path) -> str:
    return str(tmp_path / "gateway" / "usage.json")


def test_a_new_gateway_goes_on_counting_where_the_last_one_ended(path) -> None:
    hands = Hands()
    first = Gateway(path, hands)
    assert first.asks(6) == 6
    first.save()
    again = Gateway(path, hands)
    assert again.asks(10) == 4
    again.save()
    assert json.loads(Path(path).read_text()) == {
        "day": 20_000,
        "counts": {"key:ci:requests_per_day": 10, "key:ci:tokens_per_day": 100},
    }
    assert Gateway(path, hands).asks(1) == 0


def test_a_board_that_outlived_its_master_is_not_counted_twice(path) -> None:
    hands = Hands()
    first = Gateway(path, hands)
    first.asks(4)
    first.save()
    first.asks(2)
    assert Gateway(path, hands, board=first.board).asks(10) == 4


def test_a_model_that_comes_back_on_the_same_day_finds_its_counts_though_the_gateway_ended_between(path) -> None:
    hands = Hands()
    first = Gateway(path, hands)
    first.asks(6)
    first.save()
    between = Gateway(path, hands, table(grant(Limits(requests_per_day=5), "other")))
    between.worker.admit(grant(Limits(requests_per_day=5), "other"), model())
    between.save()
    last = Gateway(path, hands, table())
    last.take(table(FEW))
    assert last.asks(10) == 4


def test_what_was_taken_over_once_is_not_taken_over_again_by_the_next_table(path) -> None:
    hands = Hands()
    first = Gateway(path, hands)
    first.asks(6)
    first.save()
    again = Gateway(path, hands)
    again.take(table(FEW, model(Limits(concurrency=1))))
    assert again.asks(10) == 4


def test_another_day_begins_at_zero(path) -> None:
    hands = Hands()
    first = Gateway(path, hands)
    first.asks(10)
    first.save()
    hands.go(DAY)
    first.save()
    assert json.loads(Path(path).read_text())["day"] == 20_000, "nothing to say of this day yet"
    assert Gateway(path, hands).asks(20) == 10


def test_nothing_is_written_where_nothing_changed(path) -> None:
    gateway = Gateway(path, Hands())
    gateway.save()
    assert not os.path.exists(path)
    gateway.asks(1)
    gateway.save()
    before = os.stat(path)
    assert before.st_mode & 0o777 == 0o600
    gateway.save()
    assert os.stat(path).st_ino == before.st_ino
    gateway.asks(1)
    gateway.save()
    assert os.stat(path).st_ino != before.st_ino


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"day": "x", "counts": {}}', b"\xff", b'{"day": 20000}'])
def test_a_file_that_nobody_understands_is_told_and_replaced(path, content, caplog) -> None:
    os.mkdir(os.path.dirname(path))
    Path(path).write_bytes(content)
    gateway = Gateway(path, Hands())
    assert f"cannot read {path}" in caplog.text
    assert gateway.asks(20) == 10
    gateway.save()
    assert Gateway(path, Hands()).asks(1) == 0


def test_counts_of_the_file_that_are_none_are_left_out(path) -> None:
    os.mkdir(os.path.dirname(path))
    Path(path).write_text('{"day": 20000, "counts": {"key:ci:requests_per_day": "9", "key:ci:tokens_per_day": -5}}')
    assert Gateway(path, Hands()).asks(20) == 10
