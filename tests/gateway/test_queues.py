"""What adds to the load of an engine beside what we gave it."""

import pytest

from reconciler.gateway.queues import beside, matters
from reconciler.model.metrics import Metrics, ReplicaMetrics
from reconciler.model.routing import Place, Served, Table


def told(running, waiting, slot="chat/0"):
    return [ReplicaMetrics(slot=slot, engine="vllm", metrics=Metrics(running=running, waiting=waiting))]


@pytest.mark.parametrize(
    ("running", "waiting", "ours", "load"),
    [(3, 0, 3, 0), (5, 0, 3, 2), (4, 6, 10, 6), (4, 6, 2, 14), (None, None, 3, 0), (1, 0, 9, 0)],
)
def test_what_waits_counts_and_what_others_ask(running, waiting, ours, load):
    assert beside(told(running, waiting), {"chat/0": ours}, {})[0] == {"chat/0": load}


def test_of_two_looks_the_lesser_counts():
    _, before = beside(told(9, 0), {}, {})
    assert beside(told(2, 0), {}, before)[0] == {"chat/0": 2}
    _, before = beside(told(2, 0), {}, before)
    assert beside(told(9, 0), {}, before)[0] == {"chat/0": 2}


def test_an_engine_that_does_not_tell_adds_nothing():
    assert beside([ReplicaMetrics(slot="chat/0", engine="x", detail="it does not tell")], {}, {})[0] == {}


@pytest.mark.parametrize(("draining", "asks"), [((False,), False), ((False, False), True), ((False, True), False)])
def test_engines_are_asked_only_where_there_is_a_choice(draining, asks):
    places = tuple(
        Place(slot=f"chat/{n}", run=1, address="http://127.0.0.1:1", names=("chat",), draining=each)
        for n, each in enumerate(draining)
    )
    model = Served(name="chat", names=("chat",), engine="vllm", source="", outlook="ready", places=places)
    assert matters(Table(models={"chat": model})) is asks
