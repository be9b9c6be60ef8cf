"""Who gets in under a limit, who does not and what he is told; over several workers, and whatever clocks do."""

from collections import Counter
from typing import NamedTuple

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from reconciler.gateway.board import Board
from reconciler.gateway.limits import LOOK, Limiter, Ticket
from reconciler.gateway.refusal import Refusal
from reconciler.gateway.rows import LIMITS, rows
from reconciler.model.routing import Limits
from tests.gateway.clocked import DAY, Hands, grant, limiters, model, table


def admitted(limiter: Limiter, *asks) -> int:
    """How many get in, one after the other, until one does not."""
    count = 0
    while isinstance(limiter.admit(*asks), Ticket):
        count += 1
        assert count < 10_000
    return count


def refused(limiter: Limiter, *asks) -> Refusal:
    answer = limiter.admit(*asks)
    assert isinstance(answer, Refusal)
    return answer


def let_in(limiter: Limiter, *asks) -> Ticket:
    answer = limiter.admit(*asks)
    assert isinstance(answer, Ticket), answer
    return answer


def test_without_limits_all_get_in_and_answers_say_nothing_of_limits() -> None:
    limiter = limiters(Hands(), model(), grant())[0]
    for asks in ((None, model()), (grant(), model()), (grant(Limits()), model(Limits()))):
        ticket = let_in(limiter, *asks)
        ticket.spend(10**9, 10**9)
        assert ticket.headers == b""
        ticket.done()


def test_so_many_requests_get_in_within_a_minute_and_the_next_is_told_when_to_come_again() -> None:
    hands, few = Hands(), grant(Limits(requests_per_minute=3))
    limiter = limiters(hands, few)[0]
    hands.go(20.5)
    assert admitted(limiter, few, model()) == 3
    no = refused(limiter, few, model())
    assert (no.status, no.code) == (429, "rate_limit_exceeded")
    assert no.message == "cannot answer now: the limit of Access ci is 3 requests a minute; try again in 40 s"
    assert no.retry_after == pytest.approx(39.5)


@pytest.mark.parametrize("used_at", [0.0, 20.0, 59.0])
@pytest.mark.parametrize("spent", [100, 101, 250, 10_000])
def test_after_the_time_that_it_was_told_a_request_gets_in_and_not_before(used_at: float, spent: int) -> None:
    hands, few = Hands(), grant(Limits(tokens_per_minute=100))
    limiter = limiters(hands, few)[0]
    hands.go(used_at)
    let_in(limiter, few, model()).spend(spent - 30, 30)
    after = refused(limiter, few, model()).retry_after
    assert after is not None
    assert after <= 120
    hands.go(after - 0.01)
    refused(limiter, few, model())
    hands.go(0.02)
    let_in(limiter, few, model())


def test_the_end_of_the_last_minute_still_counts_at_the_beginning_of_this_one() -> None:
    hands, few = Hands(), grant(Limits(requests_per_minute=100))
    limiter = limiters(hands, few)[0]
    hands.go(59.9)
    assert admitted(limiter, few, model()) == 100
    hands.go(0.1 + 15)
    assert admitted(limiter, few, model()) == 25
    hands.go(15)
    assert admitted(limiter, few, model()) == 25
    hands.go(120)
    assert admitted(limiter, few, model()) == 100


def test_a_day_is_one_of_utc_and_is_told_to_its_end() -> None:
    hands, few = Hands(wall=20_000 * DAY + 23 * 3600), grant(Limits(requests_per_day=2))
    limiter = limiters(hands, few)[0]
    assert admitted(limiter, few, model()) == 2
    no = refused(limiter, few, model())
    assert no.message == "cannot answer now: the limit of Access ci is 2 requests a day; try again in 3600 s"
    hands.go(3599)
    refused(limiter, few, model())
    hands.go(1)
    assert admitted(limiter, few, model()) == 2


def test_at_once_means_until_one_is_done_and_done_twice_is_done_once() -> None:
    few = model(Limits(concurrency=2))
    limiter = limiters(Hands(), few)[0]
    first, second = let_in(limiter, None, few), let_in(limiter, None, few)
    no = refused(limiter, None, few)
    assert (
        no.message == "cannot answer now: the limit of this model is 2 requests at once; try again once one of them "
        "has ended"
    )
    first.done()
    first.done()
    let_in(limiter, None, few)
    refused(limiter, None, few)
    second.done()
    let_in(limiter, None, few)


def test_access_and_model_must_both_have_room_and_nothing_is_counted_where_one_has_not() -> None:
    mine, its = grant(Limits(requests_per_minute=5, requests_per_day=5, concurrency=5)), model(Limits(concurrency=1))
    limiter = limiters(Hands(), mine, its)[0]
    held = let_in(limiter, mine, its)
    for _ in range(20):
        assert "this model is 1 request" in refused(limiter, mine, its).message
    held.done()
    for _ in range(4):
        let_in(limiter, mine, its).done()
    assert "Access ci is 5 requests a minute" in refused(limiter, mine, its).message
    let_in(limiter, grant(), its)


def test_limits_are_each_ones_own() -> None:
    one, two = grant(Limits(requests_per_minute=1), "one"), grant(Limits(requests_per_minute=1), "two")
    limiter = limiters(Hands(), one, two)[0]
    assert [admitted(limiter, each, model()) for each in (one, two)] == [1, 1]


def test_a_limit_that_was_changed_holds_at_once_and_knows_what_was_counted() -> None:
    hands, before, after = Hands(), grant(Limits(requests_per_minute=3)), grant(Limits(requests_per_minute=5))
    limiter = limiters(hands, before)[0]
    assert [admitted(limiter, each, model()) for each in (before, after)] == [3, 2]


def test_what_cannot_be_counted_is_refused_and_not_let_through() -> None:
    few = grant(Limits(requests_per_minute=3, concurrency=2))
    given = {name: row for name, row in rows(table(few), {}, lambda _: True).items() if "minute" not in name}
    no = refused(Limiter(Board.create(1), given, Hands().clock), few, model())
    assert (no.status, no.code) == (503, "limit_unavailable")
    assert (
        no.message == "cannot answer now: the limit of Access ci is 3 requests a minute, and it cannot be counted; "
        "the gateway's log says why"
    )


def test_workers_that_look_only_now_and_then_let_in_no_more_than_the_limit_together() -> None:
    hands, many = Hands(), grant(Limits(requests_per_minute=20_000, requests_per_day=30_000))
    first, second = limiters(hands, many, workers=2)
    count = sum(isinstance(one.admit(many, model()), Ticket) for _ in range(15_000) for one in (first, second))
    assert count == 20_000


def test_far_from_a_limit_what_another_worker_counted_is_told_a_moment_later() -> None:
    hands, many = Hands(), grant(Limits(requests_per_minute=10**6, tokens_per_day=10**9))
    first, second = limiters(hands, many, workers=2)
    ticket = let_in(first, many, model())
    let_in(second, many, model()).spend(400, 100)
    assert b"remaining-requests: 999999\r\n" in ticket.headers
    hands.go(LOOK)
    assert b"remaining-requests: 999998\r\n" in ticket.headers
    assert b"remaining-tokens: 999999500\r\n" in ticket.headers


def test_headers_tell_of_the_nearest_limit() -> None:
    hands = Hands()
    mine = grant(Limits(requests_per_minute=60, requests_per_day=1000, tokens_per_day=500))
    its = model(Limits(requests_per_minute=10, tokens_per_minute=10_000))
    limiter = limiters(hands, mine, its)[0]
    hands.go(15)
    ticket = let_in(limiter, mine, its)
    assert ticket.headers.splitlines(keepends=True) == [
        b"x-ratelimit-limit-requests: 10\r\n",
        b"x-ratelimit-remaining-requests: 9\r\n",
        b"x-ratelimit-reset-requests: 105s\r\n",
        b"x-ratelimit-limit-tokens: 500\r\n",
        b"x-ratelimit-remaining-tokens: 500\r\n",
        b"x-ratelimit-reset-tokens: 0s\r\n",
    ]
    hands.go(45)
    another = let_in(limiter, mine, its)
    assert b"x-ratelimit-remaining-requests: 8\r\nx-ratelimit-reset-requests: 120s\r\n" in another.headers
    ticket.spend(300, 700)
    assert b"x-ratelimit-remaining-tokens: 0\r\n" in ticket.headers


@pytest.mark.parametrize("jump", [DAY, -DAY, 400 * DAY, -20_000 * DAY])
def test_a_clock_that_jumps_locks_nobody_out(jump: float) -> None:
    hands = Hands()
    few = grant(Limits(requests_per_minute=3, requests_per_day=3, tokens_per_day=10))
    limiter = limiters(hands, few)[0]
    assert admitted(limiter, few, model()) == 3
    hands.wall += jump
    assert "a minute" in refused(limiter, few, model()).message, "minutes are told by another clock"
    hands.go(120)
    let_in(limiter, few, model()).spend(5, 5)
    after = refused(limiter, few, model()).retry_after
    assert after is not None
    assert after <= DAY
    hands.wall -= jump
    let_in(limiter, few, model())


EVERY = Limits(requests_per_minute=7, tokens_per_minute=50, requests_per_day=15, tokens_per_day=90, concurrency=4)


class Flying(NamedTuple):
    """A request that was let in."""

    column: int
    ticket: Ticket
    keyed: bool


class Workers(RuleBasedStateMachine):
    """Workers let in, end, die and come again while time goes by; a list of all that was let in says what is right."""

    def __init__(self) -> None:
        super().__init__()
        self.hands = Hands(wall=20_000 * DAY - 200)
        self.who, self.what = grant(EVERY), model(Limits(requests_per_minute=9, concurrency=3))
        self.master = Board.create(4)
        self.rows = rows(table(self.who, self.what), {}, lambda _: True)
        self.workers = {column: self.made(column) for column in (1, 2, 3)}
        self.flying: list[Flying] = []
        self.seen: Counter[tuple[str, int]] = Counter()

    columns = st.sampled_from((1, 2, 3))

    def teardown(self) -> None:
        del self.master, self.workers  # their descriptors, before the next of hundreds

    def made(self, column: int) -> Limiter:
        return Limiter(Board.open(self.master.descriptor, column), self.rows, self.hands.clock)

    def now(self, what: str) -> float:
        minutes = self.hands.monotonic / 60
        left = int(minutes) + 1 - minutes
        return self.seen[f"{what} m", int(minutes)] + self.seen[f"{what} m", int(minutes) - 1] * left

    def day(self, what: str) -> int:
        return self.seen[f"{what} d", int(self.hands.wall // DAY)]

    def count(self, what: str, by: int) -> None:
        self.seen[f"{what} m", int(self.hands.monotonic // 60)] += by
        self.seen[f"{what} d", int(self.hands.wall // DAY)] += by

    @rule(column=columns, keyed=st.booleans())
    def asks(self, column: int, keyed: bool) -> None:
        flying = len(self.flying)
        room = self.now("all") < 9 and flying < 3
        if keyed:
            mine = sum(one.keyed for one in self.flying)
            room = room and self.now("mine") < 7 and self.day("mine") < 15 and mine < 4
            room = room and self.now("tokens") < 50 and self.day("tokens") < 90
        answer = self.workers[column].admit(self.who if keyed else None, self.what)
        assert isinstance(answer, Ticket) == room, answer
        if isinstance(answer, Ticket):
            self.count("all", 1)
            if keyed:
                self.count("mine", 1)
            self.flying.append(Flying(column, answer, keyed))

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), prompt=st.integers(0, 20), written=st.integers(0, 20))
    def ends(self, data, prompt: int, written: int) -> None:
        _, ticket, keyed = self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))
        ticket.spend(prompt, written)
        ticket.done()
        if keyed:
            self.count("tokens", prompt + written)

    @rule(column=columns)
    def dies(self, column: int) -> None:
        self.master.clear(column)
        self.workers[column] = self.made(column)
        self.flying = [one for one in self.flying if one.column != column]

    @rule(seconds=st.floats(0, 90))
    def time_goes_on(self, seconds: float) -> None:
        self.hands.go(seconds)

    @invariant()
    def no_fixed_minute_and_no_day_has_more_than_its_limit(self) -> None:
        assert all(count <= 7 for (what, _), count in self.seen.items() if what == "mine m")
        assert all(count <= 15 for (what, _), count in self.seen.items() if what == "mine d")


TestWorkers = Workers.TestCase


def test_every_limit_that_can_be_declared_is_counted() -> None:
    """One that is added to the language alone would be read and ignored."""
    assert set(LIMITS) == set(Limits.__dataclass_fields__)
    for which in LIMITS:
        few = grant(Limits(**{which: 1}))
        limiter = limiters(Hands(), few)[0]
        let_in(limiter, few, model()).spend(1, 0)
        assert refused(limiter, few, model()).status == 429
