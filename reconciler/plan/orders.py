"""What an operator asks for by command, as a change of memory. The planner decides what follows from it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from reconciler.model.fleet import Fleet
from reconciler.model.memory import Memory, Override
from reconciler.model.observation import Instance, Observation, Unknown
from reconciler.model.plan import Plan
from reconciler.model.slots import split_slot
from reconciler.model.status import Reason
from reconciler.plan.scaling import paused, wanted
from reconciler.plan.words import let_go

MOST = 1000
"""Replicas that one workload may be scaled to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Granted: the memory that makes it so, and what to tell the operator."""

    memory: Memory
    says: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Not granted, and why."""

    says: str
    unknown: bool = False
    """Whether the name is not of this fleet."""


def _known(fleet: Fleet, name: str) -> Refused | None:
    if name in fleet.workloads:
        return None
    near = [other for other in sorted(fleet.workloads) if name in other or other in name]
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(fleet.workloads)) or 'none'}"
    return Refused(says=f"cannot find {name} in the fleet; {hint}", unknown=True)


def _override(memory: Memory, name: str, override: Override) -> Memory:
    overrides = {key: value for key, value in memory.overrides.items() if key != name}
    if override != Override():
        overrides[name] = override
    return replace(memory, overrides=dict(sorted(overrides.items())))


def restart(memory: Memory, fleet: Fleet, observation: Observation, name: str, index: int | None) -> Order | Refused:
    """Replace the runs that are there now, one or all of a workload, without waiting for a backoff."""
    refused = _known(fleet, name)
    if refused is not None:
        return refused
    if memory.paused:
        return Refused(says=f"cannot restart {name} while the fleet is paused; `holdfast resume` first")
    if paused(fleet.workloads[name], memory):
        return Refused(says=f"cannot restart {name} while it is paused; {let_go(fleet.workloads[name])} first")
    instances: Mapping[str, Instance] = {}
    if not isinstance(observation.instances, Unknown):
        instances = observation.instances
    slots = [slot for slot in instances if split_slot(slot)[0] == name and index in (None, split_slot(slot)[1])]
    if index is not None and not slots:
        return Refused(says=f"cannot restart {name}/{index}: there is no such instance", unknown=True)
    stopped = name in memory.overrides and memory.overrides[name].stopped
    if stopped:
        memory = _override(memory, name, replace(memory.overrides[name], stopped=False))
    runs = {slot: instances[slot].launch.run for slot in slots}
    failures = {slot: failure for slot, failure in memory.failures.items() if split_slot(slot)[0] != name}
    memory = replace(memory, restarts={**memory.restarts, **runs}, failures=failures)
    what = ", ".join(sorted(slots, key=split_slot)) or name
    return Order(memory=memory, says=f"{what} will be {'started' if stopped or not slots else 'restarted'} now")


def stop(memory: Memory, fleet: Fleet, name: str) -> Order | Refused:
    """Run none of it, whatever its file says, until it is resumed."""
    refused = _known(fleet, name)
    if refused is not None:
        return refused
    if memory.paused:
        return Refused(says=f"cannot stop {name} while the fleet is paused; `holdfast resume` first")
    if paused(fleet.workloads[name], memory):
        return Refused(says=f"cannot stop {name} while it is paused; {let_go(fleet.workloads[name])} first")
    override = replace(memory.overrides.get(name, Override()), stopped=True)
    says = f"{name} will be stopped, and stays stopped until `holdfast resume {name}`"
    return Order(memory=_override(memory, name, override), says=says)


def pause(memory: Memory, fleet: Fleet, name: str) -> Order | Refused:
    """Do nothing to it: what runs goes on running."""
    refused = _known(fleet, name)
    if refused is not None:
        return refused
    override = replace(memory.overrides.get(name, Override()), paused=True)
    return Order(memory=_override(memory, name, override), says=f"{name} is paused: nothing is done to it")


def resume(memory: Memory, fleet: Fleet, name: str) -> Order | Refused:
    """Take back a pause and a stop by command."""
    refused = _known(fleet, name)
    if refused is not None:
        return refused
    override = memory.overrides.get(name, Override())
    if fleet.workloads[name].paused:
        return Refused(says=f"cannot resume {name}: its file pauses it; {let_go(fleet.workloads[name])}")
    if not override.paused and not override.stopped:
        return Order(memory=memory, says=f"{name} was neither paused nor stopped")
    resumed = replace(override, paused=False, stopped=False)
    says = f"{name} goes on as {fleet.workloads[name].source} says{not_yet(memory)}"
    return Order(memory=_override(memory, name, resumed), says=says)


def pause_fleet(memory: Memory) -> Order:
    """Do nothing at all: what runs goes on running, and what would be done is only shown."""
    says = "the fleet is paused: what runs goes on, nothing is started, stopped or fetched until `holdfast resume`"
    return Order(memory=replace(memory, paused=True), says=says)


def resume_fleet(memory: Memory) -> Order:
    """Take back a pause of the whole fleet; workloads that are paused themselves stay so."""
    says = "the fleet goes on as its files say" if memory.paused else "the fleet was not paused"
    return Order(memory=replace(memory, paused=False), says=says)


def not_yet(memory: Memory) -> str:
    """What is added to a promise while the fleet is paused."""
    return ", once the fleet is resumed" if memory.paused else ""


def only_shown(memory: Memory) -> str:
    """What is added to the promise of a look while the fleet is paused."""
    return "; the fleet is paused: what there is to do is only shown, until `holdfast resume`" if memory.paused else ""


def scale(memory: Memory, fleet: Fleet, name: str, replicas: int | None) -> Order | Refused:
    """Run another number of replicas than the file says, until the file's number changes; None takes that back."""
    refused = _known(fleet, name)
    if refused is not None:
        return refused
    if replicas is not None and not 0 <= replicas <= MOST:
        return Refused(says=f"cannot scale {name} to {replicas}; choose 0–{MOST}")
    workload = fleet.workloads[name]
    declared = workload.replicas if replicas is not None else None
    override = replace(memory.overrides.get(name, Override()), replicas=replicas, declared=declared)
    if replicas == workload.replicas[0] == workload.replicas[1]:
        override = replace(override, replicas=None, declared=None)
    changed = _override(memory, name, override)
    count = wanted(workload, changed, {}, present=0, now=0.0).count
    if override.replicas is None:
        says = f"{name} runs as many replicas as {workload.source} says: {count}"
    else:
        some = f"{count} {'replica' if count == 1 else 'replicas'}"
        says = f"{name} will run {some} until {workload.source} says another number"
    return Order(memory=changed, says=says + not_yet(memory))


def consent(memory: Memory, plan: Plan) -> Order:
    """Let go of everything that waits for consent to be pruned."""
    names = [blocked.subject for blocked in plan.blocked if blocked.reason is Reason.PruneNeedsConsent]
    if not names:
        return Order(memory=memory, says="nothing waits for consent")
    says = f"{', '.join(names)} will be stopped and forgotten{not_yet(memory)}"
    return Order(memory=replace(memory, consents=memory.consents | frozenset(names)), says=says)
