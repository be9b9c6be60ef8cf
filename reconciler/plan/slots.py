"""One slot at a time: what an instance owes to its workload, and how it is started, replaced, kept or let go."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, assert_never

from reconciler import engines
from reconciler.model.fleet import Workload
from reconciler.model.kinds import Update as UpdateSpec
from reconciler.model.memory import Failure
from reconciler.model.observation import (
    Asleep,
    Exited,
    Failing,
    Instance,
    NotReady,
    Ready,
    Recorded,
    Running,
    Stopping,
    Unknown,
    Wish,
)
from reconciler.model.plan import Action, Blocked, Drain, Forget, Launch, Sleep, Start, Stop, Strikes, Update, Wake
from reconciler.model.slots import split_slot
from reconciler.model.status import Reason
from reconciler.plan import backoff, scaling, starts
from reconciler.plan.adapting import adapt
from reconciler.plan.attaching import differing, needs_restart, suits
from reconciler.plan.barred import unseen
from reconciler.plan.cards import RETURNS
from reconciler.plan.changes import changes
from reconciler.plan.facts import Facts
from reconciler.plan.hosts import AGAIN
from reconciler.plan.layout import Victim
from reconciler.plan.placement import Room
from reconciler.plan.ports import NoRoom
from reconciler.plan.sleeping import failure_of, may_sleep, serves, sleeps_on, wakes_in_vain
from reconciler.plan.words import ended, in_a_row

_CLEAN = Strikes()
"""What is owed where nothing failed."""
_BACK = {Reason.Preempted: "there is room again", Reason.Moved: "", Reason.GpuCordoned: ""}
"""What is said of a start where the last run had given way."""


@dataclass(frozen=True, slots=True)
class Later:
    """Nothing to do before this time, seconds of CLOCK_MONOTONIC."""

    at: float


Decision = Action | Blocked | Later


@dataclass(frozen=True, slots=True)
class Removal:
    """That a slot is not wanted."""

    reason: Reason
    update: UpdateSpec | None = None
    """How it is let go; None: as its file said when it was last started or updated."""
    returns: Workload | None = None
    """Whose it is again as soon as it is needed: until then it sleeps, where it may."""


Fate = Workload | Removal | Literal["keep"]
"""What is to become of a slot: it runs as its workload says, goes, or stays as it was last started."""


def decide(slot: str, fate: Fate, facts: Facts) -> Decision | None:
    """What to do now about a slot."""
    instance = facts.instances.get(slot)
    stays = fate if isinstance(fate, Workload) else fate.returns if isinstance(fate, Removal) else "keep"
    if slot in facts.memory.in_flight and (stays == "keep" or not wakes_in_vain(instance, stays, facts.memory)):
        return None
    failure = facts.memory.failures.get(slot)
    if failure is not None and failure.action not in ("sleep", "wake"):  # for these there is another way
        waits = _failed(slot, failure, fate, facts)
        if waits is not None:
            return waits
    if isinstance(fate, Workload):
        if instance is None:
            return _start(slot, fate, facts, None, strikes=_CLEAN, reason=Reason.NotRunning)
        return _run(instance, fate, facts)
    if instance is None:
        return None
    return _keep(instance, facts) if fate == "keep" else _remove(instance, fate, facts)


def _run(instance: Instance, workload: Workload, facts: Facts) -> Decision | None:
    """Make a wanted slot run what its workload says."""
    slot = instance.slot
    phase, launch = instance.phase, instance.launch
    asked = facts.memory.restarts.get(slot, 0) >= launch.run
    match phase:
        case Unknown():
            return Blocked(subject=slot, reason=Reason.Unknown, detail=_cannot_see(phase))
        case Stopping():
            return Stop(slot=slot, run=launch.run, grace=_grace(workload.update), reason=phase.asked)
        case Recorded():
            # what it was to take is its own: nothing of that run was started
            room = partial(_without, launch, facts, runs=False)
            return _start(slot, workload, facts, launch, strikes=launch.strikes, reason=Reason.NotRunning, room=room)
        case Exited():
            same = launch.fingerprint == workload.fingerprint
            fresh = asked or not same or launch.adapters != facts.startable(slot, workload).adapters
            strikes, wait = (_CLEAN, 0.0) if fresh else backoff.after(launch.strikes, phase, slot)
            if facts.now < phase.at + wait:
                detail = f"{ended(phase)}; {in_a_row(strikes.count)}"
                return Blocked(subject=slot, reason=Reason.BackingOff, detail=detail, until=phase.at + wait)
            reason = Reason.RestartAsked if asked else Reason.SpecChanged if fresh else _cause(phase)
            detail = "" if fresh else _BACK.get(reason, ended(phase))
            return _start(slot, workload, facts, launch, strikes=strikes, reason=reason, detail=detail)
        case Running():
            return _running(instance, phase, workload, facts, asked=asked)
        case _:
            assert_never(phase)


def _running(instance: Instance, phase: Running, workload: Workload, facts: Facts, *, asked: bool) -> Decision | None:
    """What a running instance owes: a replacement, an update, or nothing but time."""
    slot, launch, readiness = instance.slot, instance.launch, phase.readiness
    probe = engines.probe(workload, facts.gpus(launch.gpus), launch.memory)
    reason, detail = None, ""
    victim = facts.arrangement.victims.get(slot) if facts.arrangement is not None else None
    if victim is not None:
        return _give_way(instance, workload, victim, facts)
    if cordoned := facts.cordoned(launch):
        reason, detail = Reason.GpuCordoned, cordoned
    elif asked:
        reason = Reason.RestartAsked
    elif launch.fingerprint != workload.fingerprint:
        changed = (*changes(launch.settings, workload.settings)[0], *differing(launch, workload))
        reason, detail = Reason.SpecChanged, "; ".join(changed)
    elif why := needs_restart(launch, workload):
        reason, detail = Reason.SpecChanged, why
    elif isinstance(readiness, NotReady) and readiness.reason is Reason.PortTaken:
        reason, detail = Reason.PortTaken, readiness.detail
    elif isinstance(readiness, NotReady) and facts.now >= phase.since + probe.start:
        reason, detail = Reason.NeverReady, f"not ready within {probe.start:.0f} s: {readiness.detail}"
    elif isinstance(readiness, Failing) and readiness.failures >= probe.failures:
        reason, detail = Reason.ProbeFailing, f"{readiness.failures} probes failed in a row: {readiness.detail}"
    elif isinstance(readiness, Asleep | Unknown) and (failed := failure_of(slot, "wake", facts.memory)) is not None:
        reason, detail = failed.reason, failed.detail
    if reason is not None:
        return _replace(instance, workload, facts, reason, detail)
    if isinstance(readiness, Asleep):
        return _wake(instance, workload, facts)
    if isinstance(readiness, Unknown):
        return None
    if slot in facts.memory.draining:
        # what it was drained for is gone: it gets traffic again by being updated
        return Update(slot=slot, launch=launch, reason=Reason.Recovered, detail="drain called off")
    forgiven = isinstance(readiness, Ready) and facts.now >= readiness.since + backoff.HEALTHY_AFTER
    strikes = _CLEAN if forgiven else launch.strikes
    if launch.live != workload.live:
        detail = "; ".join(changes(launch.settings, workload.settings)[1])
        fresh = replace(launch, live=workload.live, settings=workload.settings, probe=probe, strikes=strikes)
        return Update(slot=slot, launch=fresh, reason=Reason.SpecChanged, detail=detail)
    if isinstance(readiness, NotReady):
        return Later(phase.since + probe.start)
    if strikes != launch.strikes:
        detail = "healthy for 10 minutes: earlier failures are forgotten"
        return Update(slot=slot, launch=replace(launch, strikes=strikes), reason=Reason.Recovered, detail=detail)
    if isinstance(readiness, Ready) and (attached := adapt(launch, workload, facts)):
        return attached
    if isinstance(readiness, Ready) and strikes != _CLEAN:
        return Later(readiness.since + backoff.HEALTHY_AFTER)
    return None


def _replace(instance: Instance, workload: Workload, facts: Facts, reason: Reason, detail: str) -> Decision:
    """End a run so that the next pass starts its successor; unless the successor could not be started."""
    slot, launch = instance.slot, instance.launch
    rollout = facts.rollouts.get(workload.name)
    if rollout is not None and (waits := rollout.waits(slot)):
        return Blocked(
            subject=slot, reason=Reason.Waiting, detail=f"{waits}, then is replaced ({detail or reason.value})"
        )
    room = partial(_without, facts.holding(instance), facts)
    successor = starts.launch(slot, workload, facts, room, before=launch, strikes=_CLEAN)
    if isinstance(successor, Blocked):
        return replace(successor, detail=f"{successor.detail}; {slot} goes on as it was ({detail or reason.value})")
    if not isinstance(successor, Launch):
        return successor  # its weights are to be fetched first
    return _let_go(launch, facts, workload.update, reason=reason, detail=detail)


def _wake(instance: Instance, workload: Workload, facts: Facts) -> Decision:
    """Have one that sleeps serve again: where it is, or else elsewhere by a start."""
    wakes = starts.wakes(instance, workload, facts)
    if isinstance(wakes, NoRoom):
        return Blocked(subject=instance.slot, reason=wakes.reason, detail=f"{wakes.detail}; it sleeps until then")
    sleeper = instance.launch.sleeper
    if not wakes or sleeper is None:
        return _replace(instance, workload, facts, Reason.Moved, "there is no room to wake it where it sleeps")
    facts.free().wake(facts.holding(instance), instance.launch)
    return Wake(slot=instance.slot, requests=sleeper.wake, launch=instance.launch, reason=Reason.Asleep)


def _give_way(instance: Instance, workload: Workload, victim: Victim, facts: Facts) -> Decision:
    """Leave a place to those that it goes to."""
    launch, gained = instance.launch, ", ".join(victim.gained) or "others"
    idles = split_slot(launch.slot)[1] >= scaling.needed(workload, facts.demand)
    if victim.to is None or (idles and _sleeps(instance, workload, facts)):
        return _let_go(
            launch, facts, workload.update, reason=Reason.Preempted, detail=f"for {gained}", returns=workload
        )
    indices = ",".join(str(gpu.index) for gpu in facts.gpus(victim.to.cards))
    there = f"gpu {indices}" if indices else victim.to.node or facts.observation.host.name
    return _let_go(launch, facts, workload.update, reason=Reason.Moved, detail=f"to {there}, for {gained}")


def _let_go(
    launch: Launch,
    facts: Facts,
    update: UpdateSpec,
    *,
    reason: Reason,
    detail: str = "",
    returns: Workload | None = None,
) -> Decision:
    """Drain while it has requests in flight, then stop, or sleep for one who `returns`.

    Where a gateway tells of requests, it hears of the end first.
    """
    slot, instance = launch.slot, facts.instances.get(launch.slot)
    busy = facts.demand.get(split_slot(slot)[0], Wish()).busy(slot)
    told = bool(facts.demand) and _has_served(instance)
    since = facts.memory.draining.get(slot)
    patience = update.drain.total_seconds()
    drains = reason not in (Reason.NeverReady, Reason.ProbeFailing, Reason.PortTaken) and not _is_asleep(instance)
    if (busy or told) and drains:
        if since is None:
            return Drain(slot=slot, run=launch.run, reason=reason, detail=detail)
        if busy and facts.now < since + patience:
            return Later(since + patience)
    if returns is not None and instance is not None:
        sleeper = launch.sleeper if not busy else None  # one that sleeps would keep its requests waiting
        if sleeper is not None and _sleeps(instance, returns, facts):
            facts.doze(launch)
            return Sleep(slot=slot, requests=sleeper.sleep, launch=launch, reason=reason, detail=detail)
        if (failed := failure_of(slot, "sleep", facts.memory)) is not None:
            detail = "; ".join(filter(None, (detail, f"did not fall asleep: {failed.detail}")))
    return Stop(slot=slot, run=launch.run, grace=_grace(update), reason=reason, detail=detail)


def _sleeps(instance: Instance, workload: Workload, facts: Facts) -> bool:
    """Whether it serves, may sleep, and there is room for what it then holds, on its GPUs and on the host."""
    if not serves(instance):
        return False
    arrangement = facts.arrangement
    spared = arrangement is not None and arrangement.spares(instance.launch.asleep)
    return spared and may_sleep(instance, workload, facts.memory) and facts.may_doze(instance.launch)


def _is_asleep(instance: Instance | None) -> bool:
    return instance is not None and instance.asleep is not None


def _has_served(instance: Instance | None) -> bool:
    """Whether a gateway may be sending it requests."""
    phase = instance.phase if instance is not None else None
    return isinstance(phase, Running) and not isinstance(phase.readiness, NotReady)


def _remove(instance: Instance, removal: Removal, facts: Facts) -> Decision | None:
    """Make a slot that is not wanted disappear."""
    slot, phase, launch, reason = instance.slot, instance.phase, instance.launch, removal.reason
    update, returns = removal.update or _recorded(launch), removal.returns
    if returns is not None and _is_asleep(instance):
        return _rest(instance, returns, facts)
    match phase:
        case Unknown():
            return Blocked(subject=slot, reason=Reason.Unknown, detail=_cannot_see(phase))
        case Running(readiness=Unknown()) if returns is not None and slot not in facts.memory.failures:
            return None  # it may sleep already
        case Running():
            return _let_go(launch, facts, update, reason=reason, returns=returns)
        case Stopping():
            return Stop(slot=slot, run=launch.run, grace=_grace(update), reason=phase.asked)
        case Exited() if (back := _back_at(phase, launch, facts)) is not None:
            return Later(back)  # who is to have its memory has to know whose it was
        case Recorded() | Exited():
            return Forget(slot=slot, run=launch.run, reason=reason)
        case _:
            assert_never(phase)


def _rest(instance: Instance, workload: Workload, facts: Facts) -> Decision | None:
    """Let one sleep that is not needed; unless it is in the way, or could not be needed any more as it is."""
    launch, arrangement = instance.launch, facts.arrangement
    victim = arrangement.victims.get(instance.slot) if arrangement is not None else None
    if victim is not None:
        detail = f"for {', '.join(victim.gained) or 'others'}"
        return _let_go(launch, facts, workload.update, reason=Reason.Preempted, detail=detail)
    if cordoned := facts.cordoned(launch):
        return _let_go(launch, facts, workload.update, reason=Reason.GpuCordoned, detail=cordoned)
    if sleeps_on(instance, workload, facts.memory):
        return None
    changed = not suits(launch, workload)
    words = (*changes(launch.settings, workload.settings)[0], *differing(launch, workload)) if changed else ()
    detail = "; ".join(words)
    asked = facts.memory.restarts.get(instance.slot, 0) >= launch.run
    reason = Reason.SpecChanged if changed else Reason.RestartAsked if asked else Reason.Idle
    return _let_go(launch, facts, workload.update, reason=reason, detail=detail)


def _back_at(end: Exited, launch: Launch, facts: Facts) -> float | None:
    """When memory that it held should be back; None where it is."""
    if facts.now >= end.at + RETURNS:
        return None
    cards = facts.cards() if launch.gpus else {}
    if any(cards[uuid].now < cards[uuid].then for uuid in launch.gpus if uuid in cards):
        return end.at + RETURNS
    arrangement, machine = facts.arrangement, facts.observation.machines.get(launch.node)
    if arrangement is not None and arrangement.draft.tight and machine is not None and machine.at < end.at:
        return end.at + (AGAIN if facts.now < end.at + AGAIN else RETURNS)
    return None


def _keep(instance: Instance, facts: Facts) -> Decision | None:
    """Keep a slot as it was last started: its declaration cannot be read or its removal needs consent."""
    slot, phase, launch = instance.slot, instance.phase, instance.launch
    if isinstance(phase, Stopping):
        return Stop(slot=slot, run=launch.run, grace=_grace(_recorded(launch)), reason=phase.asked)
    if not isinstance(phase, Exited) or phase.asked in (Reason.NotInFleet, Reason.ScaledDown, Reason.StopAsked):
        return None
    strikes, wait = backoff.after(launch.strikes, phase, slot)
    if facts.now < phase.at + wait:
        return Blocked(subject=slot, reason=Reason.BackingOff, detail=ended(phase), until=phase.at + wait)
    again = replace(launch, run=launch.run + 1, strikes=strikes)
    no_room = unseen(again.runtime, facts.observation) or facts.free().fits(again)
    if no_room is not None:
        return Blocked(subject=slot, reason=no_room.reason, detail=no_room.detail)
    facts.take(again)
    return Start(slot=slot, launch=again, reason=_cause(phase), detail=ended(phase))


def _start(
    slot: str,
    workload: Workload,
    facts: Facts,
    before: Launch | None,
    *,
    strikes: Strikes,
    reason: Reason,
    detail: str = "",
    room: Callable[[], Room] | None = None,
) -> Action | Blocked:
    """Start the run that follows `before`, if there is room for it."""
    launch = starts.launch(slot, workload, facts, room or facts.free, before=before, strikes=strikes)
    if not isinstance(launch, Launch):
        return launch
    facts.take(launch)
    return Start(slot=slot, launch=launch, reason=reason, detail=detail)


def _without(launch: Launch, facts: Facts, *, runs: bool = True) -> Room:
    """The room there will be once that instance is gone."""
    return facts.free().without(launch, runs=runs)


def _failed(slot: str, failure: Failure, fate: Fate, facts: Facts) -> Blocked | None:
    """What keeps a slot waiting whose last action could not be carried out; an edit ends the waiting."""
    until = failure.at + backoff.delay(failure.count, slot)
    edited = isinstance(fate, Workload) and failure.digest not in ("", fate.digest, facts.startable(slot, fate).digest)
    if edited or facts.now >= until:
        return None
    return Blocked(subject=slot, reason=failure.reason, detail=failure.detail, until=until)


def _grace(update: UpdateSpec) -> float:
    return update.grace.total_seconds()


def _recorded(launch: Launch) -> UpdateSpec:
    """How it is to be let go, as its file said when it was last started or updated."""
    try:
        return UpdateSpec.model_validate(json.loads(launch.settings)[1]["update"])
    except (ValueError, LookupError, TypeError):
        return UpdateSpec()  # not said, or recorded by another version


def _cannot_see(phase: Unknown) -> str:
    return f"cannot see whether it runs: {phase.reason}; it is neither started nor stopped until that is known"


def _cause(end: Exited) -> Reason:
    """Why the slot is empty: what we had ended it for, or that it ended."""
    if end.asked is not None:
        return end.asked
    return Reason.OutOfMemory if end.oom else Reason.Exited


__all__ = ["Decision", "Later", "Removal", "decide"]
