"""Reported: turns what was declared, seen and decided into a Status. Pure; rows of unchanged inputs are reused."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, assert_never

from reconciler.model.fleet import Fleet, Workload, split_slot
from reconciler.model.kinds import Model
from reconciler.model.memory import Memory, Override
from reconciler.model.observation import (
    Demand,
    Exited,
    Failing,
    Gpu,
    Instance,
    NotReady,
    Observation,
    Readiness,
    Ready,
    Recorded,
    Running,
    Stopping,
    Unknown,
)
from reconciler.model.plan import Action, Blocked, Launch, Plan, Start, Stop
from reconciler.model.status import (
    Condition,
    Endpoint,
    GpuShare,
    GpuStatus,
    Reason,
    Replica,
    ReplicaState,
    Status,
    WorkloadStatus,
)
from reconciler.plan.planner import paused
from reconciler.plan.scaling import wanted
from reconciler.plan.words import ended

UNROUTED_AFTER = 2
"""Failed probes in a row after which an instance gets no traffic."""


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
class Inputs:
    """All that the row of one workload is made from."""

    name: str
    workload: Workload | None
    instances: tuple[Instance, ...]
    blocked: tuple[Blocked, ...]
    actions: tuple[Action, ...]
    """Decided in this pass or in flight."""
    draining: tuple[str, ...]
    override: Override | None
    wanted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A Status, and what its rows were made from."""

    status: Status
    inputs: Mapping[str, Inputs] = field(default_factory=dict[str, Inputs])
    workloads: Mapping[str, Workload] = field(default_factory=dict[str, Workload])
    instances: Mapping[str, Instance] = field(default_factory=dict[str, Instance])
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
            inputs[name], rows[name] = row_inputs, _row(row_inputs, memory, indices)
    if before is None or rows.keys() != before.status.workloads.keys():
        rows = {name: rows[name] for name in sorted(rows)}
    waiting = any(blocked.reason is not Reason.Paused for blocked in plan.blocked)
    settled = all(row.ready or row.paused for row in rows.values())
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
        gpus=() if isinstance(observation.gpus, Unknown) else tuple(_gpu(gpu, instances) for gpu in observation.gpus),
        problems=fleet.problems,
        degraded=(*degraded, *_unknowns(fleet, observation)),
    )
    return Summary(status=status, inputs=inputs, workloads=fleet.workloads, instances=instances, lively=lively)


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
            *looked.demand,
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
    present = sum(not isinstance(instance.phase, Exited) for instance in instances)
    return wanted(workload, memory, looked.demand, present=present, now=looked.now).count


def _row(inputs: Inputs, memory: Memory, indices: Mapping[str, int]) -> WorkloadStatus:
    name, workload = inputs.name, inputs.workload
    by_slot = {instance.slot: instance for instance in inputs.instances}
    slots = {f"{name}/{index}" for index in range(inputs.wanted)} | by_slot.keys()
    replicas = tuple(
        _replica(slot, by_slot.get(slot), slot in inputs.draining, indices) for slot in sorted(slots, key=split_slot)
    )
    routed = tuple(replica for replica in replicas if _routed(by_slot.get(replica.slot), replica))
    is_paused = workload is not None and paused(workload, memory)
    return WorkloadStatus(
        name=name,
        kind=workload.spec.kind if workload is not None else "",
        engine=workload.engine if workload is not None else next((i.launch.engine for i in inputs.instances), ""),
        source=f"{workload.source.path}:{workload.source.line}" if workload is not None else "",
        wanted=inputs.wanted,
        priority=workload.priority if workload is not None else 0,
        paused=is_paused,
        conditions=_conditions(inputs, replicas, routed, is_paused=is_paused),
        replicas=replicas,
        endpoints=tuple(
            Endpoint(slot=replica.slot, address=f"http://127.0.0.1:{replica.port}", names=_names(name, workload))
            for replica in routed
            if replica.port is not None
        ),
        note=_note(inputs.override, workload),
    )


def _names(name: str, workload: Workload | None) -> tuple[str, ...]:
    if workload is None or not isinstance(workload.spec, Model):
        return (name,)
    return (name, *workload.spec.aliases, *(adapter.name for adapter in workload.spec.adapters))


def _note(override: Override | None, workload: Workload | None) -> str:
    if override is None or workload is None:
        return ""
    if override.stopped:
        return f"stopped by command; `holdfast resume {workload.name}` starts it again"
    if override.paused:
        return f"paused by command; `holdfast resume {workload.name}` goes on"
    if override.replicas is not None and override.declared == workload.replicas:
        fewest, most = workload.replicas
        declared = str(fewest) if fewest == most else f"{fewest}-{most}"
        return f"scaled to {override.replicas} by command, its file says {declared}"
    return ""


def _routed(instance: Instance | None, replica: Replica) -> bool:
    """Whether it gets traffic: ready, or failing so briefly that it may be a hiccup."""
    if instance is None or replica.state not in ("ready", "failing"):
        return False
    readiness = instance.phase.readiness if isinstance(instance.phase, Running) else None
    return isinstance(readiness, Ready) or (isinstance(readiness, Failing) and readiness.failures < UNROUTED_AFTER)


def _replica(slot: str, instance: Instance | None, draining: bool, indices: Mapping[str, int]) -> Replica:
    if instance is None:
        return Replica(slot=slot, state="absent")
    launch, phase = instance.launch, instance.phase
    state: ReplicaState = "unknown"
    pid, since, detail = None, None, ""
    match phase:
        case Unknown(reason=detail):
            pass
        case Recorded():
            state = "recorded"
        case Exited():
            state, since, detail = "exited", phase.at, ended(phase)
        case Stopping():
            state, pid, since, detail = "stopping", phase.pid, phase.since, phase.asked.value
        case Running(pid=pid, readiness=readiness):
            state, since, detail = _answers(phase, readiness, draining=draining)
    return Replica(
        slot=slot,
        state=state,
        run=launch.run,
        pid=pid,
        port=launch.port,
        gpus=tuple(indices[uuid] for uuid in launch.gpus if uuid in indices) or launch.indices,
        memory=launch.memory,
        since=since,
        restarts=launch.strikes.count + launch.strikes.spared,
        detail=detail,
    )


def _answers(
    phase: Running, readiness: Readiness, *, draining: bool
) -> tuple[Literal["starting", "ready", "draining", "failing"], float, str]:
    """State, since when, and why not ready, of something that runs."""
    match readiness:
        case NotReady(detail=detail):
            return "starting", phase.since, detail
        case Ready(since=since):
            return "draining" if draining else "ready", since, ""
        case Failing(since=since, failures=failures, detail=detail):
            return "failing", since, f"{failures} failed probes: {detail}"
        case _:
            assert_never(readiness)


def _conditions(
    inputs: Inputs, replicas: tuple[Replica, ...], routed: tuple[Replica, ...], *, is_paused: bool
) -> tuple[Condition, Condition, Condition]:
    """Ready, Reconciling and Stalled, set in this one place."""
    blocked = [item for item in inputs.blocked if item.reason is not Reason.Paused]
    first = blocked[0] if blocked else None
    stuck = next((item for item in blocked if item.reason is not Reason.Waiting), None)
    busy = next(iter(inputs.actions), None)
    on_its_way = next((r for r in replicas if r.state in ("starting", "stopping", "draining", "recorded")), None)
    unseen = any(replica.state == "unknown" for replica in replicas)
    up = len([replica for replica in routed if split_slot(replica.slot)[1] < inputs.wanted])
    if up >= inputs.wanted and inputs.workload is not None:
        reason = Reason.Ready if inputs.wanted else Reason.StopAsked if inputs.override else Reason.Idle
        ready = Condition(type="Ready", status="True", reason=reason, message=f"{up} of {inputs.wanted} ready")
    else:
        reason, message = _why_not_ready(inputs, replicas, first)
        if is_paused and first is None:
            reason, message = Reason.Paused, "paused"
        ready = Condition(type="Ready", status="Unknown" if unseen else "False", reason=reason, message=message)
    if busy is not None:
        moving = Condition(type="Reconciling", status="True", reason=busy.reason, message=str(busy))
    elif on_its_way is not None:
        reason = Reason.Starting if on_its_way.state in ("starting", "recorded") else Reason.Stopping
        moving = Condition(
            type="Reconciling", status="True", reason=reason, message=f"{on_its_way.slot} {on_its_way.state}"
        )
    elif first is not None and first.reason is Reason.Waiting:
        moving = Condition(type="Reconciling", status="True", reason=Reason.Waiting, message=first.detail)
    else:
        moving = Condition(type="Reconciling", status="False", reason=Reason.Converged)
    stalled = Condition(type="Stalled", status="False", reason=Reason.Converged)
    if stuck is not None:
        stalled = Condition(type="Stalled", status="True", reason=stuck.reason, message=stuck.detail)
    return ready, moving, stalled


def _why_not_ready(inputs: Inputs, replicas: tuple[Replica, ...], first: Blocked | None) -> tuple[Reason, str]:
    if first is not None:
        return first.reason, first.detail
    for replica in replicas:
        if replica.state in ("failing", "exited", "unknown") and replica.detail:
            reason = {"failing": Reason.ProbeFailing, "exited": Reason.Exited}.get(replica.state, Reason.Unknown)
            return reason, f"{replica.slot} {replica.detail}"
    for action in inputs.actions:
        if isinstance(action, Start | Stop):
            return action.reason, action.detail
    for replica in replicas:
        if replica.state == "starting":
            return Reason.Starting, f"{replica.slot} {replica.detail}"
    return Reason.NotRunning, "not running"


def _gpu(gpu: Gpu, instances: Mapping[str, Instance]) -> GpuStatus:
    """One GPU with the parts of it that are held or promised."""
    held: dict[str, int] = {}
    for holder in gpu.holders:
        if holder.slot is not None:
            held[holder.slot] = held.get(holder.slot, 0) + holder.memory
    shares = {slot: max(memory, held.get(slot, 0)) for slot, memory in _promised(gpu, instances)}
    shares = {**held, **shares}
    ours = [GpuShare(holder=slot, memory=memory, ours=True) for slot, memory in sorted(shares.items())]
    others = [
        GpuShare(holder=f"pid {holder.pid} {holder.name}", memory=holder.memory, ours=False)
        for holder in gpu.holders
        if holder.slot is None
    ]
    return GpuStatus(
        index=gpu.index, uuid=gpu.uuid, model=gpu.model, memory=gpu.memory, used=gpu.used, shares=(*ours, *others)
    )


def _promised(gpu: Gpu, instances: Mapping[str, Instance]) -> list[tuple[str, int]]:
    def promise(launch: Launch) -> int:
        return launch.memory if launch.memory is not None else gpu.memory

    return [
        (slot, promise(instance.launch))
        for slot, instance in instances.items()
        if gpu.uuid in instance.launch.gpus and not isinstance(instance.phase, Exited)
    ]
