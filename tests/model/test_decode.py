"""What a daemon says one time after another, as values."""

import json
from dataclasses import replace

import pytest

from reconciler.model.decode import Again, decode
from reconciler.model.live import Live
from reconciler.model.status import Status
from tests.tui import worlds
from tests.tui.daemon import encoded

STATUS = worlds.status(12, 4)


def said(value: object) -> object:
    return json.loads(encoded(value))


def test_each_is_what_it_would_be_alone_whatever_was_said_before():
    again = Again(Status)
    for tick in (0, 1, 1, 2, 0):
        for models in (12, 7, 13):
            status = worlds.status(models, 4, tick=tick)
            assert again.decode(said(status)) == status
    live = Again(Live)
    for tick in range(5):
        for each in (worlds.live(STATUS, tick), replace(worlds.live(STATUS, tick), host=None), Live(now=tick)):
            assert live.decode(said(each)) == each


def test_what_is_said_again_is_the_same_object_again():
    again = Again(Live)
    first = worlds.live(STATUS, 1)
    changed = dict(first.traffic)
    name = next(iter(changed))
    changed[name] = replace(changed[name], waiting=99)
    before, after = again.decode(said(first)), again.decode(said(replace(first, now=7.0, traffic=changed)))
    assert after.meters is before.meters
    assert [key for key in changed if after.traffic[key] is not before.traffic[key]] == [name]
    assert after.traffic[name].waiting == 99
    assert after.now == 7.0


def test_what_is_left_out_is_not_taken_over():
    again = Again(Live)
    again.decode(said(worlds.live(STATUS)))
    assert again.decode({"now": 1.0}) == Live(now=1.0)
    assert again.decode({"now": 2.0, "host": None}) == Live(now=2.0)


@pytest.mark.parametrize("wrong", [[], {}, {"now": "x"}, {"now": 1.0, "traffic": []}, {"now": 1.0, "meters": None}])
def test_what_cannot_be_decoded_leaves_what_was_before(wrong):
    again = Again(Live)
    live = worlds.live(STATUS)
    again.decode(said(live))
    with pytest.raises((ValueError, TypeError, KeyError)):
        again.decode(wrong)
    with pytest.raises((ValueError, TypeError, KeyError)):
        decode(Live, wrong)
    assert again.decode(said(live)) == live
