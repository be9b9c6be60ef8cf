"""Reported: turns what was declared, seen and decided into a Status. Pure; rows of unchanged inputs are reused."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from reconciler.model.fleet import Fleet, Workload
from reconciler.model.memory import Memory
from reconciler.model.observation import (
    Demand,
    Exited,
    Gpu,
    Instance,
    Observation,
    Unknown,
)
from reconciler.model.plan import Action, Blocked, Launch, Plan, Wake
from reconciler.model.slots import split_slot
from reconciler.model.status import (
    GpuShare,
    GpuStatus,
    HostStatus,
    Reason,
    Status,
    WorkloadStatus,
)
from reconciler.model.stored import Stored
from reconciler.plan.hosts import taken
from reconciler.plan.pausing import paused_words
from reconciler.plan.rows import Inputs, as_loading, row
from reconciler.plan.scaling import follows, present, wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """What one pass knew, and what it decided."""

    fleet: Fleet
    observation: Observation
    demand: Demand
    plan: Plan
    now: float
    """Seconds of CLOCK_MONOTONIC."""
    settling: bool = False
    """Whether files are about to be believed that are not yet: then nothing has converged."""

    @property
    def instances(self) -> Mapping[str, Instance]:
        """What runs, as far as it can be seen."""
        return {} if isinstance(self.observation.instances, Unknown) else self.observation.instances


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A Status, and what its rows were made from."""

    status: Status
    inputs: Mapping[str, Inputs] = field(default_factory=dict[str, Inputs])
    workloads: Mapping[str, Workload] = field(default_factory=dict[str, Workload])
    instances: Mapping[str, Instance] = field(default_factory=dict[str, Instance])
    sources: Mapping[str, Stored | Unknown] = field(default_factory=dict[str, "Stored | Unknown"])
    """Where the weights were."""
    lively: frozenset[str] = frozenset()
    """Workloads about which there was more to say than how they are declared and how they run."""


def summarise(
    looked: Pass, memory: Memory, *, before: Summary | None = None, degraded: tuple[str, ...] = ()
) -> Summary:
    """How every workload does after this pass. Rows of `before` are taken over where nothing about them changed."""
    fleet, observation, plan, instances = looked.fleet, looked.observation, looked.plan, looked.instances
    lively = _lively(looked, memory)
    names = _stirred(before, fleet.workloads, instances, lively)
    made = _inputs(names, looked, memory)
    inputs: dict[str, Inputs] = dict(before.inputs) if before is not None else {}
    rows: dict[str, WorkloadStatus] = dict(before.status.workloads) if before is not None else {}
    indices = {} if isinstance(observation.gpus, Unknown) else {gpu.uuid: gpu.index for gpu in observation.gpus}
    for name in names - made.keys():
        inputs.pop(name, None)
        rows.pop(name, None)
    for name, row_inputs in made.items():
        if inputs.get(name) != row_inputs:
            inputs[name], rows[name] = row_inputs, row(row_inputs, memory, indices)
    if before is None or rows.keys() != before.status.workloads.keys():
        rows = {name: rows[name] for name in sorted(rows)}
    held = [one for one in plan.blocked if one.reason is Reason.Paused and not _leaves_alone(rows, one.subject)]
    waiting = held or any(blocked.reason is not Reason.Paused for blocked in plan.blocked)
    settled = all(row.paused or (row.ready and row.conditions[1].status == "False") for row in rows.values())
    status = Status(
        host=observation.host.name,
        root=fleet.root,
        revision=fleet.revision,
        now=looked.now,
        converged=not plan.actions
        and not memory.in_flight
        and not waiting
        and settled
        and not fleet.problems
        and not looked.settling,
        workloads=rows,
        gpus=_gpus(observation, _with_loads(instances, looked, memory), before),
        ram=_ram(observation, instances) if any(b.reason is Reason.NoFreeMemory for b in plan.blocked) else None,
        paused=paused_words(len(held)) if memory.paused else "",
        problems=fleet.problems,
        degraded=(*degraded, *_unknowns(fleet, observation)),
    )
    return Summary(
        status=status,
        inputs=inputs,
        workloads=fleet.workloads,
        instances=instances,
        sources=observation.sources,
        lively=lively,
    )


def _leaves_alone(rows: Mapping[str, WorkloadStatus], subject: str) -> bool:
    """Whether the workload itself is paused: what it lacks waits for nothing."""
    row = rows.get(subject.partition("/")[0])
    return row is not None and row.paused


def _unknowns(fleet: Fleet, observation: Observation) -> tuple[str, ...]:
    facts = (("gpus", observation.gpus), ("instances", observation.instances), ("listening ports", observation.ports))
    texts = [f"cannot see {name}: {fact.reason}" for name, fact in facts if isinstance(fact, Unknown)]
    return (*texts, *([fleet.missing] if fleet.missing is not None else []))


def _lively(looked: Pass, memory: Memory) -> frozenset[str]:
    """Workloads about which something is decided, blocked, asked for or remembered."""
    slots = (*memory.in_flight, *(action.slot for action in looked.plan.actions), *memory.draining)
    return frozenset(
        {
            *(split_slot(slot)[0] for slot in slots),
            *(item.subject.partition("/")[0] for item in looked.plan.blocked),
            *(name for problem in looked.fleet.problems for name in problem.names),
            *memory.overrides,
            *(name for name in looked.demand if follows(looked.fleet.workloads.get(name))),
        }
    )


def _stirred(
    before: Summary | None,
    workloads: Mapping[str, Workload],
    instances: Mapping[str, Instance],
    lively: frozenset[str],
) -> set[str]:
    """Names whose rows may be others than before. What did not change kept its identity: that costs one comparison."""
    if before is None:
        return {*workloads, *lively, *(split_slot(slot)[0] for slot in instances)}
    names = {*lively, *before.lively}
    if workloads is not before.workloads:
        names.update(_differing(before.workloads, workloads))
    if instances is not before.instances:
        names.update(split_slot(slot)[0] for slot in _differing(before.instances, instances))
    return names


def _differing(old: Mapping[str, object], new: Mapping[str, object]) -> set[str]:
    """Keys that do not stand for the same object in both."""
    return {key for key, value in new.items() if old.get(key) is not value} | (old.keys() - new.keys())


def _inputs(chosen: set[str], looked: Pass, memory: Memory) -> dict[str, Inputs]:
    """What the rows of these names are made from; nothing for a name of which nothing is left."""
    fleet, plan = looked.fleet, looked.plan
    instances: dict[str, list[Instance]] = {}
    for slot, instance in looked.instances.items() if chosen else ():
        if (name := slot.rpartition("/")[0]) in chosen:
            instances.setdefault(name, []).append(instance)
    blocked: dict[str, list[Blocked]] = {}
    for item in plan.blocked:
        blocked.setdefault(item.subject.partition("/")[0], []).append(item)
    actions: dict[str, list[Action]] = {}
    for action in (*memory.in_flight.values(), *plan.actions):
        actions.setdefault(split_slot(action.slot)[0], []).append(action)
    draining: dict[str, list[str]] = {}
    for slot in memory.draining:
        draining.setdefault(split_slot(slot)[0], []).append(slot)
    broken = {name for problem in fleet.problems for name in problem.names}
    return {
        name: Inputs(
            name=name,
            workload=(workload := fleet.workloads.get(name)),
            instances=tuple(instances.get(name, ())),
            blocked=tuple(blocked.get(name, ())),
            actions=tuple(actions.get(name, ())),
            draining=tuple(draining.get(name, ())),
            override=memory.overrides.get(name),
            wanted=_wanted(workload, instances.get(name, ()), looked, memory),
        )
        for name in chosen
        if name in fleet.workloads or name in instances or name in broken
    }


def _wanted(workload: Workload | None, instances: Iterable[Instance], looked: Pass, memory: Memory) -> int:
    """How many replicas are to run."""
    if workload is None:
        return 0
    there = present(workload, instances)
    return wanted(workload, memory, looked.demand, present=there, now=looked.now).count


def _with_loads(instances: Mapping[str, Instance], looked: Pass, memory: Memory) -> Mapping[str, Instance]:
    """All instances, those that are being woken as those that load."""
    actions = (*memory.in_flight.values(), *looked.plan.actions)
    woken = {action.slot for action in actions if isinstance(action, Wake) and action.slot in instances}
    return {**instances, **{slot: as_loading(instances[slot]) for slot in woken}} if woken else instances


def _gpus(observation: Observation, instances: Mapping[str, Instance], before: Summary | None) -> tuple[GpuStatus, ...]:
    """All GPUs; as they were last seen while they cannot be."""
    if isinstance(observation.gpus, Unknown):
        return before.status.gpus if before is not None else ()
    return tuple(_gpu(gpu, instances) for gpu in observation.gpus)


def _gpu(gpu: Gpu, instances: Mapping[str, Instance]) -> GpuStatus:
    """One GPU with the parts of it that are held or promised."""
    held: dict[str, int] = {}
    for holder in gpu.holders:
        if holder.slot is not None:
            held[holder.slot] = held.get(holder.slot, 0) + holder.memory
    shares = {
        slot: held[slot] if slot in held and instances[slot].asleep else max(memory, held.get(slot, 0))
        for slot, memory in _promised(gpu, instances)
    }
    shares = {**held, **shares}
    ours = [GpuShare(holder=slot, memory=memory, ours=True) for slot, memory in sorted(shares.items())]
    others = [
        GpuShare(holder=f"pid {holder.pid} {holder.name}", memory=holder.memory, ours=False)
        for holder in gpu.holders
        if holder.slot is None
    ]
    return GpuStatus(
        index=gpu.index,
        uuid=gpu.uuid,
        model=gpu.model,
        memory=gpu.memory,
        used=gpu.used,
        shares=(*ours, *others),
        cordoned=gpu.cordoned,
    )


def _ram(observation: Observation, instances: Mapping[str, Instance]) -> HostStatus:
    """The machine's own memory, and what ours were promised of it or are seen to hold."""
    host = observation.host
    found = (
        (slot, taken(instance.launch, observation.resident))
        for slot, instance in sorted(instances.items())
        if not instance.launch.node and not isinstance(instance.phase, Exited)
    )
    shares = tuple(GpuShare(holder=slot, memory=amount, ours=True) for slot, amount in found if amount)
    return HostStatus(memory=host.memory, used=max(0, host.memory - host.available), shares=shares)


def _promised(gpu: Gpu, instances: Mapping[str, Instance]) -> list[tuple[str, int]]:
    def promise(launch: Launch) -> int:
        return launch.memory if launch.memory is not None else gpu.memory

    return [
        (slot, promise(instance.holding))
        for slot, instance in instances.items()
        if gpu.uuid in instance.launch.gpus and not isinstance(instance.phase, Exited)
    ]
