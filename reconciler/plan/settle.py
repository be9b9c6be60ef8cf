"""What one look does to memory: what is over is dropped, what was measured is learnt. Pure."""

from dataclasses import replace

from reconciler.model.fleet import Fleet
from reconciler.model.memory import Memory
from reconciler.model.observation import Observation, Unknown
from reconciler.plan.measuring import measured, stated


def settled(memory: Memory, fleet: Fleet, observation: Observation, before: Observation | None = None) -> Memory:
    """Memory after a look. The very same where nothing of it changed. `before`: the look before."""
    instances = observation.instances
    if isinstance(instances, Unknown):
        return memory
    names = {slot.rpartition("/")[0] for slot in instances} if memory.consents else set[str]()
    after = replace(
        memory,
        restarts={s: r for s, r in memory.restarts.items() if s in instances and instances[s].launch.run <= r},
        consents=frozenset(
            name
            for name in memory.consents
            if fleet.missing is not None or (name in names and name not in fleet.workloads)
        ),
        draining={
            slot: since
            for slot, since in memory.draining.items()
            if slot in instances and instances[slot].asleep is None
        },
        failures={
            slot: failure
            for slot, failure in memory.failures.items()
            if slot in fleet.slots or slot.rpartition("/")[0] in fleet.workloads or slot in instances
        },
        refusals={
            slot: each
            for slot, each in memory.refusals.items()
            if observation.healthy.get(slot) != fleet.slots.get(slot)
        },
        measured=measured(memory.measured, observation, before.resident if before is not None else None),
        stated=stated(memory.stated, observation),
    )
    return memory if after == memory else after


def lasting(memory: Memory) -> tuple[object, ...]:
    """The part that outlives the daemon."""
    asked = (memory.overrides, memory.restarts, memory.consents, memory.paused)
    return (*asked, memory.measured, memory.stated, memory.routed, memory.gateways)
