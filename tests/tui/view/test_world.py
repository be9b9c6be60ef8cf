"""What is known of machines, of how their meters went, and which of it can be seen."""

from dataclasses import replace

import pytest

from reconciler.model.live import Live
from reconciler.model.status import Meters
from tests.tui import worlds
from tui.view.world import Past, alike


def test_what_nobody_tells_of_any_more_is_forgotten_once_all_of_it_is_past():
    past = Past(kept=3)
    past.add(Live(now=1.0, meters={"GPU-0": Meters(at=1.0, busy=50)}), {})
    for now in (2.0, 3.0):
        past.add(Live(now=now), {})
        assert past.series("busy GPU-0")[0] == 50.0
    past.add(Live(now=4.0), {})
    assert past.series("busy GPU-0") == ()
    assert past.series("now") == (2.0, 3.0, 4.0)


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (lambda live: replace(live, now=live.now + 1), False),
        (lambda live: replace(live, meters={uuid: replace(each, at=0.0) for uuid, each in live.meters.items()}), False),
        (lambda live: replace(live, meters={uuid: replace(each, busy=3) for uuid, each in live.meters.items()}), True),
        (lambda live: replace(live, meters={}), True),
        (lambda live: replace(live, traffic={}), True),
        (lambda live: replace(live, host=replace(live.host, used=live.host.used + 1000)), False),
        (lambda live: replace(live, host=replace(live.host, load=99.0)), True),
        (lambda live: replace(live, host=replace(live.host, busy=None)), True),
        (lambda live: replace(live, host=None), True),
    ],
)
def test_moments_are_alike_where_nobody_sees_a_difference_but_the_time(change, seen):
    live = worlds.live(worlds.status(12, 4))
    assert alike(live, change(live)) is not seen
    assert alike(change(live), live) is not seen
