"""What some answers amount to: times that were measured, tokens that engines counted."""

import pytest

from reconciler.model.bench import Answer, Times, level


def answer(first: float = 0.1, tokens: int | None = 11) -> Answer:
    """Ten tokens a second after the first; over 0.4 s after the last."""
    last = first + (tokens - 1) / 10 if tokens is not None else first
    return Answer(first=first, last=last, took=last + 0.4, read=50 if tokens is not None else None, written=tokens)


def test_a_share_of_the_requests_took_no_longer():
    found = level(4, [answer(first=number / 100) for number in range(100, 0, -1)], 10.0)
    assert found.first_token == Times(p50=0.5, p90=0.9, p99=0.99)
    assert (found.requests, found.failed, found.requests_all) == (100, 0, 10.0)


def test_what_was_measured_is_never_between_two_requests():
    found = level(1, [answer(first=0.1), answer(first=0.9)], 1.0)
    assert found.first_token == Times(p50=0.1, p90=0.9, p99=0.9)


def test_tokens_are_those_that_engines_count():
    found = level(2, [answer(tokens=11), answer(tokens=21)], 2.0)
    assert (found.read, found.written, found.tokens_all) == (50.0, 16.0, 16.0)
    assert found.tokens_each == pytest.approx(11 / 1.5)
    assert found.next_token is not None
    assert found.next_token.p50 == pytest.approx(0.1)


def test_where_engines_count_none_no_rate_is_made_up():
    found = level(1, [answer(tokens=None)], 2.0)
    assert found.first_token is not None
    assert (found.read, found.written, found.tokens_each, found.tokens_all) == (None, None, None, None)
    assert found.next_token is None


def test_one_token_has_none_after_it():
    assert level(1, [answer(tokens=1)], 2.0).next_token is None


def test_what_failed_is_counted_and_not_measured():
    failed = [Answer(took=took, error=error) for took, error in ((0.001, "b"), (9.0, "a"), (1.0, "a"))]
    found = level(1, [*failed, answer()], 2.0)
    assert (found.requests, found.failed, found.errors) == (1, 3, (("a", 2), ("b", 1)))
    assert found.first_token == Times(p50=0.1, p90=0.1, p99=0.1)
    assert found.requests_all == 0.5


def test_nothing_at_all_is_nothing():
    found = level(1, [], 0.0)
    assert (found.first_token, found.tokens_all, found.requests_all) == (None, None, 0.0)
