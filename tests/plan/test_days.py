"""What holds on every day of every machine: pass by pass while things happen, and once nothing more happens.

One seed is one run of several days; a failing one prints its seed, and `watch(seed)` tells what was decided.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest

from reconciler.model.fleet import Fleet, Workload
from reconciler.model.observation import Exited, Instance, Ready, Running
from reconciler.model.plan import Action, Blocked, Drain, Launch, Plan, Sleep, Start, Stop, Wake
from reconciler.model.slots import split_slot
from reconciler.model.status import Reason
from reconciler.plan.scaling import needed
from tests.plan.days import Days, Pass

SEEDS, EVENTS, PASSES = 50, 12, 160
"""Some 100 passes a seed, and twice that where models sleep: more than 10,000 in all."""
BATCHES = 5
OFTEN = 2
"""Times that one replica may be moved or give way for one event: it may have to twice, where a turn is in between."""


def run(seed: int, *, sleeps: bool = False) -> Iterator[tuple[Days, list[Pass]]]:
    """The passes after each event: a few, or as many as it takes until nothing is left to do."""
    days = Days.of(seed, sleeps=sleeps)
    for number in range(2 * EVENTS if sleeps else EVENTS):
        if number:
            days.happen()
        settles = days.chance.random() < 0.5
        if settles:
            days.calm()
        passes = list(days.until_quiet(PASSES if settles else days.chance.randint(1, 4)))
        yield days, passes if settles else [*passes[:-1], passes[-1].unsettled()]


def watch(seed: int, *, sleeps: bool = False) -> None:
    """Print a run."""
    for _, passes in run(seed, sleeps=sleeps):
        print("---")
        for one in passes:
            print(f"[{one.now}] {one.plan}")


@pytest.mark.parametrize("batch", range(BATCHES))
def test_days(batch: int) -> None:
    """Nothing is promised twice, nobody ends without a cause, it converges, and nobody waits who need not."""
    for seed in range(batch, SEEDS, BATCHES):
        holds(seed)


@pytest.mark.parametrize("batch", range(BATCHES))
def test_days_of_models_that_sleep(batch: int) -> None:
    """The same where most idle models sleep; some do not fall asleep, or do not wake, or cannot be asked."""
    kinds = Counter[str]()
    for seed in range(batch, SEEDS, BATCHES):
        kinds += holds(seed, sleeps=True)
    assert min(kinds["sleep"], kinds["wake"]) >= 1


def holds(seed: int, *, sleeps: bool = False) -> "Counter[str]":
    """What holds of every run; and how many actions of each kind there were."""
    kinds = Counter[str]()
    for days, passes in run(seed, sleeps=sleeps):
        for one in passes:
            within_bytes(one, seed)
            with_cause(one, seed)
            kinds.update(action.kind for action in one.plan.actions)
        last = passes[-1]
        if last.settles:
            assert len(passes) < PASSES, (seed, str(last.plan))
            at_rest(days, last, seed)
            gave_way = Counter(a.slot for one in passes for a in one.plan.actions if _gives_way(a, one))
            assert all(often <= OFTEN for often in gave_way.values()), (seed, gave_way)
    return kinds


def within_bytes(one: Pass, seed: int) -> None:
    """What is started fits beside all that was promised, is held, or has not come back. Strangers come unseen."""
    held: dict[str, Launch] = {
        slot: instance.launch for slot, instance in one.instances.items() if not isinstance(instance.phase, Exited)
    }
    held |= {slot: replace(held[slot], memory=size) for slot, size in one.dozing.items()}
    held |= {slot: action.launch for slot, action in one.in_flight.items() if isinstance(action, Start | Wake)}
    started = [action.launch for action in one.plan.actions if isinstance(action, Start | Wake)]
    held = {slot: launch for slot, launch in held.items() if slot not in {launch.slot for launch in started}}
    for number, launch in enumerate(started):
        for uuid in launch.gpus:
            others = [other for slot, other in held.items() if slot != launch.slot and uuid in other.gpus]
            others += [other for other in started[:number] if uuid in other.gpus]
            assert not (others and launch.memory is None), (seed, launch.slot)
            assert all(other.memory is not None for other in others), (seed, launch.slot)
            promised = sum(other.memory or 0 for other in (*others, launch))
            room = one.cards[uuid] - one.reserved - one.foreign[uuid]
            assert promised <= room or uuid in one.surprised, (seed, one.now, launch.slot, promised, room)


def with_cause(one: Pass, seed: int) -> None:
    """What serves ends by its files, for one that ranks higher, or not at all; what is paused is not touched."""
    for action in one.plan.actions:
        name, index = split_slot(action.slot)
        workload, instance = one.fleet.workloads.get(name), one.instances.get(action.slot)
        assert workload is None or not workload.paused, (seed, str(action))
        if isinstance(action, Stop | Drain | Sleep) and instance is not None and _serves(instance):
            assert _cause(action, index, workload, instance, one), (seed, one.now, str(action))
        if isinstance(action, Sleep | Wake):
            assert workload is not None, (seed, one.now, str(action))
            assert instance is not None, (seed, one.now, str(action))
            assert instance.launch.sleeper is not None, (seed, one.now, str(action))
            assert _serves(instance) if isinstance(action, Sleep) else instance.asleep, (seed, one.now, str(action))


def _cause(action: Stop | Drain | Sleep, index: int, workload: Workload | None, instance: Instance, one: Pass) -> bool:
    if workload is None:
        return action.reason is Reason.NotInFleet
    match action.reason:
        case Reason.SpecChanged:
            return instance.launch.fingerprint != workload.fingerprint
        case Reason.RestartAsked:
            return one.restarts.get(action.slot, 0) >= instance.launch.run
        case Reason.ScaledDown | Reason.Idle:
            return index >= needed(workload, one.demand)
        case Reason.Preempted | Reason.Moved:
            return workload.spec.preemption == "lower" and _named(action, workload, one)
        case _:
            return False


def _named(action: Action, workload: Workload, one: Pass) -> bool:
    """Whether all that gain are named, run for certain with a higher priority, or are on demand and take turns."""
    names = [split_slot(slot)[0] for slot in action.detail.partition("for ")[2].partition(";")[0].split(", ")]
    gains = [one.fleet.workloads[name] for name in names if name in one.fleet.workloads]
    turns = workload.replicas[0] != workload.replicas[1]
    return bool(gains) and all(
        gain.priority > workload.priority or turns or gain.replicas[0] != gain.replicas[1] for gain in gains
    )


def at_rest(days: Days, last: Pass, seed: int) -> None:
    """Whoever is wanted runs, or it is said why not; and nobody is left out for lower ones."""
    assert not last.plan.actions, (seed, str(last.plan))
    told = {blocked.subject for blocked in last.plan.blocked}
    for name, workload in last.fleet.workloads.items():
        asked = {f"{name}/{index}" for index in range(needed(workload, last.demand))}
        resting = {slot for slot in asked if (there := last.instances.get(slot)) and there.asleep}
        assert workload.paused or resting <= told, (seed, last.now, resting, str(last.plan))
    for slot in last.fleet.slots:
        name, _ = split_slot(slot)
        workload, instance = last.fleet.workloads[name], last.instances.get(slot)
        if workload.paused or (instance is not None and _serves(instance)):
            continue
        assert slot in told, (seed, last.now, slot)
        fixed = workload.replicas[0] == workload.replicas[1]
        assert not (fixed and _could_run(days, last.fleet, workload)), (seed, last.now, slot, str(last.plan))
    for blocked in last.plan.blocked:
        assert blocked.reason is not Reason.Waiting or _waits_for(blocked, last.plan), (seed, last.now, str(last.plan))


def _waits_for(waiting: Blocked, plan: Plan) -> bool:
    """Whether it waits for one that has no room, or whose turn it is, and says so."""
    return "waits for its turn" in waiting.detail or any(
        other.reason is Reason.NoFreeGpu and other.subject in waiting.detail for other in plan.blocked
    )


def _could_run(days: Days, fleet: Fleet, workload: Workload) -> bool:
    """Whether there would be room, were all gone that rank lower and may be sent away: counted from the machine."""
    if not isinstance(workload.spec.memory, int) or workload.spec.preemption == "never":
        return False
    fitting = 0
    for uuid, card in days.cards.items():
        if workload.needs.ids and str(card.index) not in workload.needs.ids:
            continue
        there = [i for i in days.instances.values() if uuid in i.launch.gpus and not isinstance(i.phase, Exited)]
        owners = [(i.launch, fleet.workloads.get(split_slot(i.slot)[0])) for i in there]
        firm = [(launch, owner) for launch, owner in owners if owner is None or not _yields(owner, workload)]
        shut = any(launch.memory is None or owner is None or not owner.needs.share for launch, owner in firm)
        if shut or (firm and not workload.needs.share):
            continue
        free = card.memory - days.reserved - days.strangers.get(uuid, 0) - sum(launch.memory or 0 for launch, _ in firm)
        fitting += free >= workload.spec.memory
    return fitting >= (workload.needs.gpus or 1)


def _yields(owner: Workload, workload: Workload) -> bool:
    fixed = owner.replicas[0] == owner.replicas[1]
    return fixed and owner.priority < workload.priority and owner.spec.preemption == "lower" and not owner.paused


def _gives_way(action: Action, one: Pass) -> bool:
    return (
        isinstance(action, Stop)
        and action.reason in (Reason.Preempted, Reason.Moved)
        and isinstance(one.instances[action.slot].phase, Running)
    )


def _serves(instance: Instance) -> bool:
    return isinstance(instance.phase, Running) and isinstance(instance.phase.readiness, Ready)
