"""Whose turn it is: how replicas rank whose number follows demand, so that equals share what cannot hold all of them.

Within one priority, from the last to the first: idle ones that were in use just now; replicas more for a long queue,
and those that fail; who waits; who waits for long; the one of these that has waited longest; who was loaded not long
ago; who needs several GPUs and has waited very long; who loads; and what always runs. Below all of these, and by
priority among each other: idle ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from reconciler.model.fleet import Fleet, Workload
from reconciler.model.memory import Memory
from reconciler.model.observation import Demand, Exited, Instance, NotReady, Ready, Running, Wish
from reconciler.model.plan import Sleep, Stop, Wake
from reconciler.model.slots import slot, split_slot
from reconciler.model.status import Reason
from reconciler.plan import backoff, scaling

PATIENCE = 30.0
"""Seconds that a request waits behind models of its own priority in use, before one of them has to go for it."""
STARVING = 4 * PATIENCE
"""Seconds after which one that needs several GPUs no longer waits for each of them to have been of use."""
RESIDENCE = 2.0
"""A model stays for at least so many times as long as it took to load."""
MOMENT = 2.0
"""Seconds after loading in which requests that waited get to it."""
LOWEST = 2000
"""What is wanted ranks from here, what only lingers below, by its priority."""


class _Level(IntEnum):
    """Who goes first within one priority: the higher."""

    Warm = 0
    Surplus = 1
    Waiting = 2
    Overdue = 3
    Eldest = 4
    Resident = 5
    Starving = 6
    Loading = 7
    Firm = 8


@dataclass(frozen=True, slots=True)
class Turn:
    """How one replica ranks among all."""

    rank: int
    fixed: bool = False
    """Whether it may not be moved yet."""


@dataclass(slots=True)
class Turns:
    """The ranks of one pass."""

    fleet: Fleet
    instances: Mapping[str, Instance]
    memory: Memory
    demand: Demand
    counts: Mapping[str, int]
    now: float
    until: float | None = None
    """When a rank is another though nothing happens, seconds of CLOCK_MONOTONIC."""
    _orders: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    levels: dict[str, str] = field(default_factory=dict[str, str])
    """By slot: why it stands where it does, in words."""
    _eldest: dict[int, str] | None = None
    _pressing: int | None = None

    def of(self, text: str, workload: Workload, *, gpus: int) -> Turn:
        """The turn of a replica that takes so many GPUs."""
        firm = scaling.firm(workload, self.memory)
        if workload.replicas[0] == workload.replicas[1] or split_slot(text)[1] < firm:
            return _turn(workload, _Level.Firm)
        position = self._order(workload).get(text, workload.replicas[1])
        needed = position < scaling.needed(workload, self.demand)
        phase = _standing(self.instances.get(text), self.memory)
        if phase is not None:
            return self._standing(text, workload, phase, position if needed else None)
        if not needed or self._backs_off(text):
            return Turn(0)  # only what is spare
        if position >= max(1, firm) or self._fails(text):
            return _turn(workload, _Level.Surplus)
        return _turn(workload, self._waiting(text, workload, gpus))

    def since(self, text: str, workload: Workload) -> float | None:
        """Since when the oldest of those waiting does; since it ended or slept, where it had its turn after that."""
        since = self.demand.get(workload.name, Wish()).since
        instance = self.instances.get(text)
        if since is None or instance is None:
            return since
        if instance.asleep is not None:
            return max(since, instance.asleep.since)
        if isinstance(instance.phase, Exited):
            return max(since, instance.phase.at) if instance.phase.asked is Reason.Preempted else since
        return since if _standing(instance, self.memory) is not None else self.now

    def is_asked(self, text: str, workload: Workload) -> bool:
        """Whether a replica runs only because somebody waits for it."""
        wish = self.demand.get(workload.name, Wish())
        return self.passes(text) and bool(wish.waiting or wish.working)

    def passes(self, text: str) -> bool:
        """Whether a replica runs for as long as it is asked for, and then gives its place to others."""
        name, _, index = text.rpartition("/")
        workload = self.fleet.workloads.get(name)
        if workload is None or name not in self.counts or not index.isdigit():
            return False
        return workload.replicas[0] < workload.replicas[1] and int(index) >= scaling.firm(workload, self.memory)

    def lull(self, text: str) -> float:
        """Seconds for which it has not been needed."""
        return self.now - self.memory.lulls.get(text, self.now)

    def _standing(self, text: str, workload: Workload, phase: Running, position: int | None) -> Turn:
        """One that runs; `position` among those needed, None where it is not needed."""
        ready = phase.readiness.since if isinstance(phase.readiness, Ready) else None
        if isinstance(phase.readiness, NotReady) or (ready is not None and self._before(ready + MOMENT)):
            # let it be of use once; but what is always to run does not wait for what comes and goes
            woken = isinstance(phase.readiness, Ready) and phase.readiness.woken
            self.levels[text] = "loads" if ready is None else "was just woken" if woken else "has just loaded"
            return _turn(workload, _Level.Loading, fixed=workload.priority > self._pressed())
        stay = RESIDENCE * phase.took
        idle = self.memory.lulls.get(text, self.now)
        if ready is not None:
            rests = idle + min(PATIENCE, phase.took)
            if self._before(ready + stay if position is not None else min(ready + stay, rests)):
                self.levels[text] = "was loaded not long ago"
                return _turn(workload, _Level.Resident)
        if position is not None:
            self.levels[text] = "is in use"
            return _turn(workload, _Level.Waiting if position == 0 else _Level.Surplus)
        if self._before(idle + min(PATIENCE, stay)):
            self.levels[text] = "was in use just now"
            return _turn(workload, _Level.Warm)
        return Turn(workload.priority)

    def _waiting(self, text: str, workload: Workload, gpus: int) -> _Level:
        """One that is waited for."""
        since = self.since(text, workload)
        if since is None or self._before(since + PATIENCE):
            return _Level.Waiting
        if self._elders().get(workload.priority) != workload.name:
            return _Level.Overdue
        if gpus > 1 and not self._before(since + STARVING):
            return _Level.Starving
        return _Level.Eldest

    def _before(self, at: float) -> bool:
        """Whether it is before that time; then it is looked at again when it comes."""
        if self.now >= at - scaling.EXACT:
            return False
        self.until = at if self.until is None else min(self.until, at)
        return True

    def _order(self, workload: Workload) -> Mapping[str, int]:
        """The slots of a workload in the order in which they are needed: those that run first."""
        found = self._orders.get(workload.name)
        if found is None:
            slots = [slot(workload.name, index) for index in range(workload.replicas[1])]
            there = {one for one in slots if _standing(self.instances.get(one), self.memory) is not None}
            slots.sort(key=lambda one: one not in there)
            found = self._orders[workload.name] = {one: position for position, one in enumerate(slots)}
        return found

    def _elders(self) -> Mapping[int, str]:
        """By priority: who has waited longest without anything of it running."""
        if self._eldest is None:
            waits: list[tuple[float, str, int]] = []
            for name in self.demand:
                workload = self.fleet.workloads.get(name)
                if workload is None or scaling.firm(workload, self.memory):
                    continue
                first = next(iter(self._order(workload)), "")
                since = self.since(first, workload)
                there = _standing(self.instances.get(first), self.memory) is not None
                if since is not None and not there and not self._fails(first):
                    waits.append((since, name, workload.priority))
            self._eldest = {priority: name for _, name, priority in sorted(waits, reverse=True)}
        return self._eldest

    def _pressed(self) -> int:
        """The highest priority of what is always to run and does not."""
        if self._pressing is None:
            found = [-1]
            for name, count in self.counts.items():
                workload = self.fleet.workloads[name]
                slots = (slot(name, index) for index in range(min(count, scaling.firm(workload, self.memory))))
                if workload.needs.gpus != 0 and any(
                    _standing(self.instances.get(text), self.memory) is None for text in slots
                ):
                    found.append(workload.priority)
            self._pressing = max(found)
        return self._pressing

    def _fails(self, text: str) -> bool:
        """Whether its last runs failed in a row."""
        if text in self.memory.failures:
            return True
        instance = self.instances.get(text)
        if instance is None or not isinstance(instance.phase, Exited):
            return False
        return backoff.after(instance.launch.strikes, instance.phase, text)[0].count > 0

    def _backs_off(self, text: str) -> bool:
        """Whether it could not be started yet, had it a place."""
        failure, instance = self.memory.failures.get(text), self.instances.get(text)
        if failure is not None and self._before(failure.at + backoff.delay(failure.count, text)):
            return True
        if instance is None or not isinstance(instance.phase, Exited):
            return False
        wait = backoff.after(instance.launch.strikes, instance.phase, text)[1]
        return wait > 0 and self._before(instance.phase.at + wait)


def _turn(workload: Workload, level: _Level, *, fixed: bool = False) -> Turn:
    return Turn(LOWEST + len(_Level) * workload.priority + level, fixed)


def _standing(instance: Instance | None, memory: Memory) -> Running | None:
    """How it runs, where it runs awake and nobody has asked it to end or to sleep."""
    action = memory.in_flight.get(instance.slot) if instance is not None else None
    if instance is None or isinstance(action, Stop | Sleep) or (instance.asleep and not isinstance(action, Wake)):
        return None
    return instance.phase if isinstance(instance.phase, Running) else None
