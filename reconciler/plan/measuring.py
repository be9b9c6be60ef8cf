"""What instances were seen to take of their GPUs, remembered by `measure`: better than any estimate. Pure."""

from collections.abc import Mapping

from reconciler.model.observation import Observation, Ready, Running, Unknown
from reconciler.plan.sizing import measure

MOST = 1000
"""Fingerprints that are remembered; the oldest are forgotten first."""
_GRAIN = 2**20


def measured(before: Mapping[str, int], observation: Observation) -> Mapping[str, int]:
    """With what this look shows of instances that are ready. The same object where nothing more was learnt."""
    instances = observation.instances
    if isinstance(observation.gpus, Unknown) or isinstance(instances, Unknown):
        return before
    found: dict[str, int] = {}
    for gpu in observation.gpus:
        held: dict[str, int] = {}
        for holder in gpu.holders:
            if holder.slot is not None:
                held[holder.slot] = held.get(holder.slot, 0) + holder.memory
        for slot, amount in held.items():
            instance = instances.get(slot)
            if instance is None or not isinstance(instance.phase, Running) or gpu.uuid not in instance.launch.gpus:
                continue
            if isinstance(instance.phase.readiness, Ready):  # before that it may not have taken all of it
                name = measure(instance.launch.fingerprint, len(instance.launch.gpus))
                found[name] = max(found.get(name, 0), -(-amount // _GRAIN) * _GRAIN)
    more = {name: amount for name, amount in found.items() if amount > before.get(name, 0)}
    if not more:
        return before
    kept = [(name, amount) for name, amount in before.items() if name not in more]
    return dict([*kept, *sorted(more.items())][-MOST:])
