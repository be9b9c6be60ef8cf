"""How many replicas a workload should have now: from its file, from commands, and from what clients ask for.

Demand raises the number at once. Each replica more than is needed goes once it has not been needed for as long as
`idle` says, the last one first; since when that is so goes out with the plan and comes back in Memory, as the planner
itself remembers nothing. While a gateway may be serving unheard, what is there stays: silence is not idleness (D104).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from reconciler.model.fleet import Workload
from reconciler.model.kinds import Model
from reconciler.model.memory import Memory
from reconciler.model.observation import Demand, Exited, Instance, Stopping, Wish
from reconciler.model.slots import slot, split_slot

EXACT = 1e-6
"""Seconds that a timer may come early."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The number of replicas."""

    count: int
    lulls: Mapping[str, float] = field(default_factory=dict[str, float])
    """By slot: since when it is there and not needed, seconds of CLOCK_MONOTONIC."""
    until: float | None = None
    """When the number falls though nothing happens."""


def paused(workload: Workload, memory: Memory) -> bool:
    """Whether nothing may be done to it, by its file or by command."""
    override = memory.overrides.get(workload.name)
    return workload.paused or (override is not None and override.paused)


def wanted(workload: Workload, memory: Memory, demand: Demand, *, present: int, now: float) -> Wanted:
    """How many replicas should run now, of which the first `present` are there."""
    fewest, most = workload.replicas
    asked = by_command(workload, memory)
    if asked is not None or fewest == most:
        return _fixed(fewest if asked is None else asked)
    count = need = needed(workload, demand)
    lulls: dict[str, float] = {}
    until = None
    unheard = demand.get(workload.name, Wish()).unheard
    for index in range(need, min(present, most)):
        text = slot(workload.name, index)
        since = lulls[text] = now if unheard else memory.lulls.get(text, now)
        goes = since + workload.spec.scaling.idle.total_seconds()
        if unheard:
            count = index + 1
        elif now < goes - EXACT:
            count, until = index + 1, goes
    return Wanted(count=count, lulls=lulls, until=until)


@lru_cache(maxsize=64)
def _fixed(count: int) -> Wanted:
    """One object for all that always run as many."""
    return Wanted(count=count)


def by_command(workload: Workload, memory: Memory) -> int | None:
    """How many an operator asked for; None: as many as the file says."""
    override = memory.overrides.get(workload.name)
    if override is None:
        return None
    if override.stopped:
        return 0
    return override.replicas if override.declared == workload.replicas else None


def firm(workload: Workload, memory: Memory) -> int:
    """How many run whether or not anybody asks for them."""
    asked = by_command(workload, memory)
    return workload.replicas[0] if asked is None else asked


def follows(workload: Workload | None) -> bool:
    """Whether its number of replicas follows what clients want."""
    return workload is not None and workload.replicas[0] < workload.replicas[1]


def needed(workload: Workload, demand: Demand) -> int:
    """How many replicas the requests of this moment ask for, within what the file allows."""
    fewest, most = workload.replicas
    wish = demand.get(workload.name, Wish())
    working = wish.working
    if not wish.waiting and not working:
        return fewest
    queue = workload.spec.scaling.target_queue
    least = max(fewest, 1, -(-wish.waiting // queue))
    served = _at_once(workload)
    if served is not None:
        # those in use are needed as long as fewer could not take what they serve and what waits
        least = max(least, -(-(wish.waiting + working) // (served + queue)))
    return min(most, least)


def _at_once(workload: Workload) -> int | None:
    """Requests that one replica serves at once, where that is known."""
    if not isinstance(workload.spec, Model):
        return None
    return workload.spec.parallel or (1 if workload.engine == "llamacpp" else None)


def present(workload: Workload, instances: Iterable[Instance]) -> int:
    """How many of its slots, from the first, it takes to hold all that is there, awake, and stays if it is wanted."""
    fewest, most = workload.replicas
    if fewest == most:
        return fewest
    there = (one for one in instances if not isinstance(one.phase, Exited | Stopping) and one.asleep is None)
    return max((index + 1 for one in there if (index := split_slot(one.slot)[1]) < most), default=0)
