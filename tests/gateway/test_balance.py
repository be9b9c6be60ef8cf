"""The next request goes to the least busy of those that can take it; equals take turns; who is new begins gently."""

from collections import Counter
from dataclasses import dataclass, field

import pytest

from reconciler.gateway.balance import SLOW_START, choose
from reconciler.gateway.places import Live
from reconciler.model.routing import Place

LONG_AGO = -1000.0


@dataclass
class Counts:
    """A board that is a list."""

    rows: Counter[int] = field(default_factory=Counter[int])

    def add(self, row: int, by: int) -> None:
        self.rows[row] += by

    def total(self, row: int) -> int:
        return self.rows[row]


def replicas(count: int, *, since: float = LONG_AGO, names: tuple[str, ...] = ("chat",)) -> list[Live]:
    """So many, each counted in the row of its own number."""
    return [
        Live(Place(slot=f"chat/{n}", run=1, address=f"http://127.0.0.1:{9000 + n}", names=names), n, since)
        for n in range(count)
    ]


def given(lives: list[Live], requests: int, *, now: float = 0.0) -> list[int]:
    """How many each has after so many requests, none of which ends."""
    board = Counts()
    for turn in range(1, requests + 1):
        live = choose(lives, "chat", board, now)
        assert live is not None
        board.add(live.row, 1)
        live.turn = turn
    return [board.rows[live.row] for live in lives]


def test_the_least_busy_is_chosen() -> None:
    lives = replicas(3)
    assert choose(lives, "chat", Counts(Counter({0: 2, 1: 1, 2: 3})), 0.0) is lives[1]


def test_what_other_clients_made_wait_in_an_engine_counts_as_load() -> None:
    lives = replicas(2)
    lives[0].queue = 5
    assert choose(lives, "chat", Counts(Counter({1: 4})), 0.0) is lives[1]
    assert choose(lives, "chat", Counts(Counter({1: 6})), 0.0) is lives[0]


def test_equals_take_turns_though_each_is_idle_again_when_the_next_request_comes() -> None:
    lives, turns = replicas(3), list[int]()
    for turn in range(1, 10):
        live = choose(lives, "chat", Counts(), 0.0)
        assert live is not None
        live.turn = turn
        turns.append(live.row)
    assert turns == [0, 1, 2] * 3


@pytest.mark.parametrize("count", [1, 2, 5])
def test_requests_that_do_not_end_are_spread_evenly(count: int) -> None:
    each = given(replicas(count), 20 * count)
    assert each == [20] * count


@pytest.mark.parametrize("count", [1, 2, 3])
def test_nobody_is_chosen_who_failed_just_now_or_was_tried_or_lacks_the_name(count: int) -> None:
    lives = replicas(count)
    assert choose(lives, "sql", Counts(), 0.0) is None
    assert choose(lives, "chat", Counts(), 0.0, tried=lives) is None
    for live in lives:
        live.out_until = 5.0
    assert choose(lives, "chat", Counts(), 4.9) is None
    assert choose(lives, "chat", Counts(), 5.0) is not None
    assert choose([], "chat", Counts(), 0.0) is None


def test_of_two_the_one_that_has_an_adapter_is_chosen_however_busy() -> None:
    lives = replicas(1) + replicas(2, names=("chat", "sql"))[1:]
    assert choose(lives, "sql", Counts(Counter({1: 99})), 0.0) is lives[1]


def test_each_failure_in_a_row_keeps_an_instance_out_for_longer_and_an_answer_forgives_all() -> None:
    (live,) = replicas(1)
    outs = list[float]()
    for _ in range(8):
        live.failed(100.0, "as told")
        outs.append(live.out_until - 100.0)
    assert outs == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0]
    live.answered()
    assert choose([live], "chat", Counts(), 100.0) is live
    live.failed(200.0, "as told")
    assert live.out_until == 200.5


def test_an_instance_that_is_new_beside_another_is_given_little_at_first_and_its_full_part_later() -> None:
    def part(age: float) -> float:
        old, new = replicas(2)
        new.since = -age
        counts = given([old, new], 220)
        return counts[1] / sum(counts)

    assert part(0.0) == pytest.approx(0.1 / 1.1, abs=0.02)
    assert part(SLOW_START / 2) == pytest.approx(0.55 / 1.55, abs=0.02)
    assert part(SLOW_START) == 0.5


def test_instances_that_came_together_share_from_the_beginning() -> None:
    assert given(replicas(4, since=0.0), 40) == [10] * 4


def test_requests_that_begin_alike_go_to_one_instance_and_others_elsewhere() -> None:
    lives = replicas(4)
    homes = {prefix: choose(lives, "chat", Counts(), 0.0, prefix=prefix) for prefix in range(200)}
    assert all(choose(lives, "chat", Counts(), 0.0, prefix=prefix) is home for prefix, home in homes.items())
    each = Counter(home.row for home in homes.values() if home is not None)
    assert all(20 <= each[live.row] <= 90 for live in lives), each


def test_a_crowded_instance_is_left_though_it_knows_how_a_request_begins() -> None:
    lives = replicas(2)
    home = choose(lives, "chat", Counts(), 0.0, prefix=7)
    assert home is not None
    other = next(live for live in lives if live is not home)
    assert choose(lives, "chat", Counts(Counter({home.row: 2, other.row: 1})), 0.0, prefix=7) is home
    assert choose(lives, "chat", Counts(Counter({home.row: 9, other.row: 1})), 0.0, prefix=7) is other


def test_an_instance_that_goes_moves_only_the_requests_that_it_had() -> None:
    lives = replicas(4)
    before = {prefix: choose(lives, "chat", Counts(), 0.0, prefix=prefix) for prefix in range(200)}
    after = {prefix: choose(lives[:3], "chat", Counts(), 0.0, prefix=prefix) for prefix in range(200)}
    assert all(after[prefix] is home for prefix, home in before.items() if home is not lives[3])
    assert any(home is lives[3] for home in before.values())
