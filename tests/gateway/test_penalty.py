"""Guessing keys is slow, for whoever guesses and for nobody else."""

from hypothesis import given
from hypothesis import strategies as st

from reconciler.gateway.penalty import ADDRESSES, AT_ONCE, LONGEST, Penalty
from tests.gateway.clocked import Hands


def tried(penalty: Penalty, address: str, times: int) -> list[float | None]:
    """What each of so many wrong keys costs, the answer to each awaited before the next."""
    costs = list[float | None]()
    for _ in range(times):
        costs.append(penalty.failed(address))
        if costs[-1]:
            penalty.answered(address)
    return costs


def test_ten_typos_in_a_minute_are_free_and_then_each_answer_takes_longer_up_to_five_seconds() -> None:
    hands = Hands()
    penalty = Penalty(lambda: hands.monotonic)
    assert tried(penalty, "10.0.0.1", 18) == [0.0] * 10 + [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0]
    assert tried(penalty, "10.0.0.2", 1) == [0.0], "another address has done nothing"


def test_it_is_forgotten_two_minutes_after_the_last_wrong_key() -> None:
    hands = Hands()
    penalty = Penalty(lambda: hands.monotonic)
    tried(penalty, "10.0.0.1", 1000)
    hands.go(30)
    assert tried(penalty, "10.0.0.1", 1) != [0.0]
    hands.go(120)
    assert tried(penalty, "10.0.0.1", 11) == [0.0] * 10 + [0.25]


def test_eight_answers_wait_at_once_and_a_connection_beyond_them_is_closed() -> None:
    hands = Hands()
    penalty = Penalty(lambda: hands.monotonic)
    tried(penalty, "10.0.0.1", 10)
    assert [penalty.failed("10.0.0.1") is None for _ in range(AT_ONCE + 2)] == [False] * AT_ONCE + [True] * 2
    penalty.answered("10.0.0.1")
    assert penalty.failed("10.0.0.1") == LONGEST
    assert penalty.failed("10.0.0.1") is None


def test_one_network_of_ipv6_is_one_client() -> None:
    hands = Hands()
    penalty = Penalty(lambda: hands.monotonic)
    costs = [penalty.failed(f"2001:db8:0:1::{host:x}") for host in range(11)]
    assert costs == [0.0] * 10 + [0.25]
    penalty.answered("2001:db8:0:1::ffff")
    assert penalty.failed("2001:db8:0:2::1") == 0.0
    assert [penalty.failed("fe80::1%eth0"), penalty.failed("a:b")] == [0.0] * 2


def test_a_client_of_ipv4_is_himself_on_a_socket_of_ipv6_too() -> None:
    hands = Hands()
    penalty = Penalty(lambda: hands.monotonic)
    assert tried(penalty, "::ffff:10.0.0.1", 11)[-1] == 0.25
    assert tried(penalty, "10.0.0.1", 1) == [0.5]
    assert tried(penalty, "::ffff:10.0.0.2", 1) == [0.0]


def test_only_so_many_addresses_are_remembered_those_that_were_wrong_last() -> None:
    hands = Hands()
    penalty = Penalty(lambda: hands.monotonic)
    tried(penalty, "busy", 10)
    tried(penalty, "old", 11)
    tried(penalty, "busy", 1)
    for number in range(ADDRESSES - 1):
        penalty.failed(f"10.{number}")
    assert tried(penalty, "busy", 1) == [0.5]
    penalty.answered("old")
    assert tried(penalty, "old", 1) == [0.0]
    assert len(penalty._by_address) == ADDRESSES


@given(st.lists(st.tuples(st.sampled_from(("a", "b")), st.floats(0, 30), st.integers(0, 3)), max_size=80))
def test_no_delay_is_longer_than_five_seconds_and_no_more_than_eight_wait_for_one_address(steps) -> None:
    hands = Hands()
    penalty = Penalty(lambda: hands.monotonic)
    waiting = {"a": 0, "b": 0}
    for address, seconds, answers in steps:
        hands.go(seconds)
        after = penalty.failed(address)
        assert after is None or 0 <= after <= LONGEST
        waiting[address] += bool(after)
        assert waiting[address] <= AT_ONCE
        for _ in range(min(answers, waiting[address])):
            penalty.answered(address)
            waiting[address] -= 1
