"""How busy engines are beside what we gave them: their own queues, and what others ask of them. Pure."""

from collections.abc import Iterable, Mapping

from reconciler.model.metrics import ReplicaMetrics
from reconciler.model.routing import Table

EVERY = 2.0
"""Seconds between two looks. Only where a choice depends on it: see `matters`."""


def matters(table: Table) -> bool:
    """Whether some model has more than one place for a request."""
    return any(sum(not place.draining for place in model.places) > 1 for model in table.models.values())


def beside(
    told: Iterable[ReplicaMetrics], in_flight: Mapping[str, int], before: Mapping[str, int]
) -> tuple[dict[str, int], dict[str, int]]:
    """By slot, what adds to its load: requests that wait in it, and those of others. Then what to pass as `before`.

    Ours are counted in another moment than the engine's, so of two looks the lesser counts.
    """
    now: dict[str, int] = {}
    for one in told:
        if one.metrics is not None:
            waiting = one.metrics.waiting or 0
            now[one.slot] = waiting + max(0, (one.metrics.running or 0) + waiting - in_flight.get(one.slot, 0))
    return {slot: min(load, before.get(slot, load)) for slot, load in now.items()}, now
