"""Backoff: at once, then 1, 2, 4 … 60 s, and forgotten after ten good minutes."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.observation import Exited
from reconciler.model.plan import Strikes
from reconciler.model.status import Reason
from reconciler.plan.backoff import after, delay


def series(*, ready: bool, count: int) -> list[float]:
    """The waits of something that fails again and again."""
    strikes, waits = Strikes(), list[float]()
    for _ in range(count):
        strikes, wait = after(strikes, Exited(at=0, code=1, ready_for=1.0 if ready else None), "a/0")
        waits.append(wait)
    return waits


def test_what_was_never_ready_waits_1_2_4_up_to_60() -> None:
    waits = series(ready=False, count=9)
    for wait, expected in zip(waits, (1, 2, 4, 8, 16, 32, 60, 60, 60), strict=True):
        assert expected <= wait <= expected * 1.1


def test_what_had_been_ready_is_spared_once_and_then_waits_1_2_4() -> None:
    waits = series(ready=True, count=5)
    assert waits[0] == 0
    for wait, expected in zip(waits[1:], (1, 2, 4, 8), strict=True):
        assert expected <= wait <= expected * 1.1


def test_ten_healthy_minutes_begin_a_new_series() -> None:
    strikes, wait = after(Strikes(count=7, spared=True), Exited(at=0, code=1, ready_for=600.0), "a/0")
    assert (strikes, wait) == (Strikes(spared=True), 0.0)
    _, wait = after(Strikes(count=7, spared=True), Exited(at=0, code=1, ready_for=599.0), "a/0")
    assert wait >= 60


def test_what_ends_within_a_second_of_being_ready_is_not_spared_and_may_be_later() -> None:
    strikes, wait = after(Strikes(), Exited(at=0, code=1, ready_for=0.99), "a/0")
    assert strikes == Strikes(count=1)
    assert wait >= 1
    assert after(Strikes(count=1), Exited(at=0, code=1, ready_for=600.0), "a/0") == (Strikes(spared=True), 0.0)


@pytest.mark.parametrize("asked", [Reason.SpecChanged, Reason.RestartAsked, Reason.StopAsked, Reason.Lost])
def test_an_end_that_we_asked_for_is_no_failure(asked: Reason) -> None:
    assert after(Strikes(count=5), Exited(at=0, asked=asked), "a/0") == (Strikes(), 0.0)


@pytest.mark.parametrize("asked", [Reason.NeverReady, Reason.PortTaken])
def test_an_end_for_its_own_failing_is_a_failure(asked: Reason) -> None:
    strikes, wait = after(Strikes(), Exited(at=0, asked=asked), "a/0")
    assert strikes == Strikes(count=1)
    assert wait >= 1


@given(st.text(), st.integers(1, 10**6))
def test_the_jitter_is_the_slots_own_and_always_the_same(slot: str, count: int) -> None:
    assert delay(count, slot) == delay(count, slot)
    assert 1 <= delay(count, slot) <= 66


def test_slots_that_fail_together_do_not_come_back_together() -> None:
    waits = sorted(delay(7, f"s{index}/0") for index in range(50))
    assert len({round(wait, 2) for wait in waits}) > 40
    assert max(b - a for a, b in pairwise(waits)) < 2
