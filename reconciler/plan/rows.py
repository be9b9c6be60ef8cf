"""One workload's row of the Status: its replicas, where they answer, and its conditions. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, assert_never

from reconciler import engines
from reconciler.engines.alone import alone
from reconciler.model.fleet import Workload
from reconciler.model.kinds import Model
from reconciler.model.memory import Memory, Override
from reconciler.model.observation import (
    Asleep,
    Exited,
    Failing,
    Instance,
    NotReady,
    Readiness,
    Ready,
    Recorded,
    Running,
    Stopping,
    Unknown,
)
from reconciler.model.plan import Action, Blocked, Detach, Drain, Launch, Sleep, Start, Stop, Wake
from reconciler.model.slots import split_slot
from reconciler.model.status import (
    Condition,
    Endpoint,
    Reason,
    Replica,
    ReplicaState,
    WorkloadStatus,
)
from reconciler.plan.scaling import paused
from reconciler.plan.words import ended

_ON_ITS_WAY = (Reason.Waiting, Reason.Fetching)
"""Blocks that end by themselves."""
UNROUTED_AFTER = 2
"""Failed probes in a row after which an instance gets no traffic."""


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


def row(inputs: Inputs, memory: Memory, indices: Mapping[str, int]) -> WorkloadStatus:
    """What is reported of it. `indices`: of GPUs, by UUID."""
    name, workload = inputs.name, inputs.workload
    by_slot = {instance.slot: instance for instance in inputs.instances}
    slots = {f"{name}/{index}" for index in range(inputs.wanted)} | by_slot.keys()
    going = {action.slot for action in inputs.actions if isinstance(action, Drain | Sleep)}
    ending = {action.slot for action in inputs.actions if isinstance(action, Stop)}
    for action in inputs.actions:
        if isinstance(action, Wake) and action.slot in by_slot:
            by_slot[action.slot] = as_loading(by_slot[action.slot])
    replicas = tuple(
        _replica(slot, by_slot.get(slot), slot in inputs.draining or slot in going, indices)
        for slot in sorted(slots, key=split_slot)
    )
    routed = tuple(
        replica for replica in replicas if replica.slot not in ending and _routed(by_slot.get(replica.slot), replica)
    )
    is_paused = workload is not None and paused(workload, memory)
    return WorkloadStatus(
        name=name,
        kind=workload.spec.kind if workload is not None else "",
        engine=workload.engine if workload is not None else next((i.launch.engine for i in inputs.instances), ""),
        source=str(workload.source) if workload is not None else "",
        wanted=inputs.wanted,
        priority=workload.priority if workload is not None else 0,
        paused=is_paused,
        conditions=_conditions(inputs, replicas, routed, is_paused=is_paused),
        replicas=replicas,
        endpoints=tuple(
            _endpoint(replica, replica.port, workload, _kept(by_slot[replica.slot].launch, inputs.actions))
            for replica in routed
            if replica.port is not None
        ),
        labels=workload.spec.labels if workload is not None else {},
        note=_note(inputs.override, workload),
        paused_at=f"{workload.source.path}:{workload.source.pause}" if workload and workload.source.pause else "",
        surges=workload is not None and workload.spec.strategy == "surge",
        alone=_alone(workload),
    )


def _alone(workload: Workload | None) -> str:
    spec = workload.spec if workload is not None else None
    return alone(spec, workload.engine) if workload is not None and isinstance(spec, Model) else ""


def _kept(launch: Launch, actions: Iterable[Action]) -> Launch:
    """One without the adapter that is being detached: from now on no request for that is sent to it."""
    after = (action.launch for action in actions if isinstance(action, Detach) and action.slot == launch.slot)
    return next(after, launch)


def _endpoint(replica: Replica, port: int, workload: Workload | None, launch: Launch) -> Endpoint:
    """What it answers to: of adapters that are attached while it runs, those that it has."""
    name = split_slot(replica.slot)[0]
    names, known_as = (name,), dict[str, str]()
    if workload is not None and isinstance(workload.spec, Model):
        adapters = [adapter.name for adapter in workload.spec.adapters]
        has = [one for one in adapters if one not in workload.adapters or one in launch.adapters]
        names = (name, *workload.spec.aliases, *has)
        # an alias is ours: no engine knows it
        known_as = {**dict.fromkeys(workload.spec.aliases, name), **engines.known_as(launch, name, has)}
    return Endpoint(
        slot=replica.slot,
        address=f"http://127.0.0.1:{port}",
        names=names,
        known_as=known_as,
        weight=_weight(workload),
    )


def _weight(workload: Workload | None) -> int:
    given = workload.spec.weight if workload is not None and isinstance(workload.spec, Model) else None
    return given if given is not None else 100


def _why_none(override: Override | None) -> Reason:
    """Why none is to run."""
    if override is not None and override.stopped:
        return Reason.StopAsked
    return Reason.ScaledDown if override is not None and override.replicas == 0 else Reason.Idle


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
        return f"scaled to {override.replicas} by command, {workload.source} says {declared}"
    return ""


def _routed(instance: Instance | None, replica: Replica) -> bool:
    """Whether it gets traffic: ready, or failing so briefly that it may be a hiccup."""
    if instance is None or replica.state not in ("ready", "failing"):
        return False
    readiness = instance.phase.readiness if isinstance(instance.phase, Running) else None
    return isinstance(readiness, Ready) or (isinstance(readiness, Failing) and readiness.failures < UNROUTED_AFTER)


def as_loading(instance: Instance) -> Instance:
    """One that is being woken: it loads, into what was promised to it."""
    if instance.asleep is None or not isinstance(instance.phase, Running):
        return instance
    return replace(instance, phase=replace(instance.phase, readiness=NotReady(detail="loads")))


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
        runtime=launch.runtime,
        pid=pid,
        port=launch.port,
        gpus=tuple(indices[uuid] for uuid in launch.gpus if uuid in indices) or launch.indices,
        memory=instance.holding.memory,
        host=instance.holding.host,
        basis=_basis(launch, asleep=instance.asleep is not None),
        since=since,
        restarts=launch.strikes.count + launch.strikes.spared,
        detail=detail,
    )


def _basis(launch: Launch, *, asleep: bool) -> Literal["", "declared", "estimated", "measured"]:
    """How it is known what it takes; what one that sleeps still holds is nobody's estimate."""
    basis = launch.basis if launch.gpus else launch.host_basis
    return "" if asleep or basis == "whole" else basis


def _answers(
    phase: Running, readiness: Readiness, *, draining: bool
) -> tuple[Literal["starting", "ready", "draining", "failing", "asleep", "unknown"], float, str]:
    """State, since when, and why not ready, of something that runs."""
    match readiness:
        case NotReady(detail=detail):
            return "starting", phase.since, detail
        case Ready(since=since):
            return "draining" if draining else "ready", since, ""
        case Failing(since=since, failures=failures, detail=detail):
            # what drains has no traffic to lose: a failed probe is no reason to give it some again
            return "draining" if draining else "failing", since, f"{failures} failed probes: {detail}"
        case Asleep(since=since):
            return "asleep", since, ""
        case Unknown(reason=reason):
            return "unknown", phase.since, reason
        case _:
            assert_never(readiness)


def _conditions(
    inputs: Inputs, replicas: tuple[Replica, ...], routed: tuple[Replica, ...], *, is_paused: bool
) -> tuple[Condition, Condition, Condition]:
    """Ready, Reconciling and Stalled, set in this one place."""
    blocked = [item for item in inputs.blocked if item.reason is not Reason.Paused]
    first = blocked[0] if blocked else None
    held = next((item for item in inputs.blocked if item.reason is Reason.Paused and not is_paused), None)
    busy = next(iter(inputs.actions), None)
    on_its_way = next((r for r in replicas if r.state in ("starting", "stopping", "draining", "recorded")), None)
    last = held if busy is None and on_its_way is None else None
    stuck = next((item for item in blocked if item.reason not in _ON_ITS_WAY), last)
    unseen = any(replica.state == "unknown" for replica in replicas)
    # whichever slots they are in: while one is replaced, the one more serves for it
    up = min(len(routed), inputs.wanted)
    if up >= inputs.wanted and inputs.workload is not None:
        asleep = sum(replica.state == "asleep" for replica in replicas)
        reason = Reason.Ready if inputs.wanted else Reason.Asleep if asleep else _why_none(inputs.override)
        message = f"{up} of {inputs.wanted} ready" + (f", {asleep} asleep" if asleep else "")
        ready = Condition(type="Ready", status="True", reason=reason, message=message)
    else:
        reason, message = _why_not_ready(inputs, replicas, first)
        if first is None and (is_paused or held):
            reason, message = Reason.Paused, held.detail if held else "paused"
        ready = Condition(type="Ready", status="Unknown" if unseen else "False", reason=reason, message=message)
    if busy is not None:
        moving = Condition(type="Reconciling", status="True", reason=busy.reason, message=str(busy))
    elif on_its_way is not None:
        reason = Reason.Starting if on_its_way.state in ("starting", "recorded") else Reason.Stopping
        moving = Condition(
            type="Reconciling", status="True", reason=reason, message=f"{on_its_way.slot} {on_its_way.state}"
        )
    elif first is not None and first.reason in _ON_ITS_WAY:
        moving = Condition(type="Reconciling", status="True", reason=first.reason, message=first.detail)
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
        if replica.state == "asleep":
            return Reason.Asleep, f"{replica.slot} is asleep"
    return Reason.NotRunning, "not running"
