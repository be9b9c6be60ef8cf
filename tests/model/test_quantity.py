"""Sizes and durations: read as written, written so that they read back the same."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.quantity import (
    parse_duration,
    parse_size,
    print_duration,
    print_size,
    write_duration,
    write_size,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [("18GiB", 18 * 2**30), ("1.5 GiB", 3 * 2**29), ("80GB", 80 * 10**9), ("0", 0), (4096, 4096), ("7B", 7)],
)
def test_sizes(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["18 gigs", "-1GiB", "", True, None, 1.5, "1e9", "9999999TiB", -1])
def test_no_sizes(text: object) -> None:
    with pytest.raises(ValueError, match="write a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("1h30m", 5400), ("250ms", 0.25), (3, 3), (0.5, 0.5), ("2d", 172800)],
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["10 minutes", "-5s", "", True, None, "5", "1y", "400d", float("inf"), float("nan")])
def test_no_durations(text: object) -> None:
    with pytest.raises(ValueError, match="write a duration"):
        parse_duration(text)


@given(st.integers(0, 2**60 - 1))
def test_a_size_reads_back_as_it_was_written(size: int) -> None:
    assert parse_size(write_size(size)) == size


@given(st.integers(0, 366 * 86_400_000))
def test_a_duration_reads_back_as_it_was_written(milliseconds: int) -> None:
    duration = timedelta(milliseconds=milliseconds)
    assert parse_duration(write_duration(duration)) == duration


def test_printed_for_people() -> None:
    assert [print_size(size) for size in (0, 1023, 2048, 5 * 2**20, int(46.1 * 2**30))] == [
        "0 B",
        "1023 B",
        "2.0 KiB",
        "5.0 MiB",
        "46.1 GiB",
    ]
    assert [print_duration(seconds) for seconds in (0.85, 4.2, 60, 754, 11100, 187200)] == [
        "850ms",
        "4.2s",
        "1m",
        "12m34s",
        "3h05m",
        "2d4h",
    ]
