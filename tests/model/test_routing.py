"""What the clients of several workers want, as one."""

import pytest

from reconciler.model.routing import Traffic, Wanted, together


def test_wants_of_workers_are_added_up():
    one = {"a": Wanted(waiting=2, oldest=3.0, in_flight={"a/0": 1, "a/1": 2}), "b": Wanted(in_flight={"b/0": 1})}
    two = {"a": Wanted(waiting=1, oldest=5.0, in_flight={"a/1": 4})}
    assert together([one, two]) == {
        "a": Wanted(waiting=3, oldest=5.0, in_flight={"a/0": 1, "a/1": 6}),
        "b": Wanted(in_flight={"b/0": 1}),
    }


def test_rates_of_workers_are_added_up_and_first_bytes_weighed_by_them():
    one = {"a": Wanted(traffic=Traffic(requests=3.0, errors=1.0, tokens=30.0, first_byte=0.1, total=30))}
    two = {"a": Wanted(traffic=Traffic(requests=1.0, tokens=10.0, first_byte=0.5, total=10))}
    idle = {"a": Wanted(traffic=Traffic(first_byte=9.0, total=5)), "b": Wanted()}
    found = together([one, two, idle, {}])
    assert found["a"].traffic == Traffic(requests=4.0, errors=1.0, tokens=40.0, first_byte=pytest.approx(0.2), total=45)  # type: ignore[arg-type]
    assert found["b"] == Wanted()
    assert together([idle])["a"].traffic == Traffic(total=5), "of no requests there is no first byte"
