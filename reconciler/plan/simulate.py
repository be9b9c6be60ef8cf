"""What the machine would be like once a plan was carried out and everything went well. Pure, like the planner."""

from dataclasses import replace

from reconciler.model.memory import Memory
from reconciler.model.observation import (
    Exited,
    Instance,
    Observation,
    Ready,
    Running,
    Unknown,
    healthy_of,
)
from reconciler.model.plan import Action, Drain, Forget, Plan, Start, Stop, Update


def simulate(decided: Plan, observation: Observation, memory: Memory, now: float) -> tuple[Observation, Memory]:
    """The observation and the memory after all actions of one plan."""
    instances = {} if isinstance(observation.instances, Unknown) else dict(observation.instances)
    draining = dict(memory.draining)
    for action in decided.actions:
        _carry_out(action, instances, draining, now)
    after = replace(observation, instances=instances, healthy=healthy_of(instances))
    return after, replace(memory, draining=draining)


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
        case Forget():
            instances.pop(slot, None)
