"""What the machine would be like once a plan was carried out and everything went well. Pure, like the planner."""

from collections.abc import Mapping
from dataclasses import replace

from reconciler.model.memory import Memory
from reconciler.model.observation import (
    Asleep,
    Exited,
    Gpu,
    Holder,
    Host,
    Instance,
    Observation,
    Readiness,
    Ready,
    Resident,
    Running,
    Unknown,
    healthy_of,
)
from reconciler.model.plan import (
    Action,
    Attach,
    Cancel,
    Detach,
    Drain,
    Fetch,
    Forget,
    Plan,
    Sleep,
    Start,
    Stop,
    Update,
    Wake,
)
from reconciler.model.stored import Absent
from reconciler.plan import weights


def simulate(decided: Plan, observation: Observation, memory: Memory, now: float) -> tuple[Observation, Memory]:
    """The observation and the memory after all actions of one plan."""
    instances = {} if isinstance(observation.instances, Unknown) else dict(observation.instances)
    draining = dict(memory.draining)
    for action in decided.actions:
        _carry_out(action, instances, draining, now)
    gpus = observation.gpus
    if not isinstance(gpus, Unknown):
        gpus = tuple(_held(gpu, decided, instances) for gpu in gpus)
    ports = observation.ports
    if not isinstance(ports, Unknown) and not isinstance(observation.instances, Unknown):
        stopped = [action.slot for action in decided.actions if isinstance(action, Stop)]
        ports -= {observation.instances[slot].launch.port for slot in stopped if slot in observation.instances}
    sources = dict(observation.sources)
    for action in decided.actions:
        if isinstance(action, Fetch):
            sources[action.source] = weights.here(action.source, action.size)
        elif isinstance(action, Cancel):
            sources[action.source] = Absent()
    host, resident = _counted(decided, observation, now)
    after = replace(
        observation,
        host=host,
        instances=instances,
        healthy=healthy_of(instances),
        gpus=gpus,
        ports=ports,
        resident=resident,
        sources=sources,
    )
    return after, replace(memory, draining=draining)


def _held(gpu: Gpu, decided: Plan, instances: Mapping[str, Instance]) -> Gpu:
    """The GPU as its driver would tell of it: what ended holds nothing, what was started holds what it was promised."""
    stirred = {action.slot for action in decided.actions if isinstance(action, Start | Stop | Sleep | Wake)}
    kept = tuple(holder for holder in gpu.holders if holder.slot not in stirred)
    used = gpu.used - sum(holder.memory for holder in gpu.holders if holder.slot in stirred)
    ours: list[Holder] = []
    for slot in sorted(stirred):
        instance = instances.get(slot)
        if instance is None or isinstance(instance.phase, Exited) or gpu.uuid not in instance.launch.gpus:
            continue
        memory = instance.holding.memory
        free = max(0, gpu.memory - used - sum(holder.memory for holder in ours))
        ours.append(Holder(pid=0, name=instance.launch.engine, memory=free if memory is None else memory, slot=slot))
    used = min(gpu.memory, used + sum(holder.memory for holder in ours))
    return replace(gpu, holders=(*kept, *ours), used=used)


def _counted(decided: Plan, observation: Observation, now: float) -> tuple[Host, Mapping[str, Resident]]:
    """The host, and what was counted of it: what ended holds nothing, what was started what it was promised."""
    host, resident = observation.host, dict(observation.resident)
    for action in decided.actions:
        if isinstance(action, Stop):
            gone = resident.pop(action.slot, None)
            own = gone.own if gone is not None and gone.run == action.run else 0
            host = replace(host, available=min(host.memory, host.available + own), at=now)
        elif isinstance(action, Start):
            resident[action.slot] = Resident(run=action.launch.run, own=0, files=action.launch.host)
    return host, resident


def _carry_out(action: Action, instances: dict[str, Instance], draining: dict[str, float], now: float) -> None:
    slot = action.slot
    match action:
        case Start(launch=launch):
            phase = Running(pid=0, since=now, readiness=Ready(since=now), was_ready=True)
            instances[slot] = Instance(slot=slot, launch=launch, phase=phase)
        case Stop(reason=reason):
            draining.pop(slot, None)
            instances[slot] = replace(instances[slot], phase=Exited(at=now, code=0, asked=reason, ready_for=0.0))
        case Drain():
            draining[slot] = now
        case Update(launch=launch):
            draining.pop(slot, None)
            instances[slot] = replace(instances[slot], launch=launch)
        case Attach(launch=launch) | Detach(launch=launch):
            instances[slot] = replace(instances[slot], launch=launch)
        case Forget():
            instances.pop(slot, None)
        case Fetch() | Cancel():
            pass
        case Sleep():
            draining.pop(slot, None)
            instances[slot] = _answering(instances[slot], Asleep(since=now))
        case Wake():
            instances[slot] = _answering(instances[slot], Ready(since=now, woken=True))


def _answering(instance: Instance, readiness: Readiness) -> Instance:
    """The same, which answers so now."""
    phase = instance.phase
    return replace(instance, phase=replace(phase, readiness=readiness)) if isinstance(phase, Running) else instance
