"""How many replicas a workload should have now: from its file, from commands, and from what clients ask for.

Demand raises the number at once. It falls only once the need has been lower for as long as `idle` says; since when that
is so goes out with the plan and comes back in Memory, as the planner itself remembers nothing.
"""

from dataclasses import dataclass
from functools import lru_cache

from reconciler.model.fleet import Workload
from reconciler.model.memory import Memory
from reconciler.model.observation import Demand, Wish


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The number of replicas."""

    count: int
    lull: float | None = None
    """Since when fewer are needed than are there, seconds of CLOCK_MONOTONIC."""
    until: float | None = None
    """When the number falls though nothing happens."""


def wanted(workload: Workload, memory: Memory, demand: Demand, *, present: int, now: float) -> Wanted:
    """How many replicas should run now, of which `present` are there."""
    override = memory.overrides.get(workload.name)
    if override is not None and override.stopped:
        return Wanted(count=0)
    if override is not None and override.replicas is not None and override.declared == workload.replicas:
        return Wanted(count=override.replicas)
    fewest, most = workload.replicas
    if fewest == most:
        return _fixed(fewest)
    need = needed(workload, demand)
    if min(present, most) <= need:
        return Wanted(count=need)
    lull = memory.lulls.get(workload.name, now)
    until = lull + workload.spec.scaling.idle.total_seconds()
    if now >= until:
        return Wanted(count=need, lull=lull)
    return Wanted(count=min(present, most), lull=lull, until=until)


@lru_cache(maxsize=64)
def _fixed(count: int) -> Wanted:
    """One object for all that always run as many."""
    return Wanted(count=count)


def needed(workload: Workload, demand: Demand) -> int:
    """How many replicas the requests of this moment ask for, within what the file allows."""
    fewest, most = workload.replicas
    wish = demand.get(workload.name, Wish())
    if not wish.waiting and not wish.in_flight:
        return fewest
    return min(most, max(fewest, 1, -(-wish.waiting // workload.spec.scaling.target_queue)))
