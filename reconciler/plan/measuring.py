"""What instances took of their GPUs, by the driver and by their logs, remembered by `measure`. Pure."""

from collections.abc import Mapping

from reconciler.engines import sizes_itself
from reconciler.model.observation import Observation, Ready, Running, Unknown
from reconciler.model.plan import Launch
from reconciler.plan.sizing import measure

MOST = 1000
"""Fingerprints that are remembered; the oldest are forgotten first."""
_GRAIN = 2**20


def measured(before: Mapping[str, int], observation: Observation) -> Mapping[str, int]:
    """With what the driver shows of instances that are ready. The same object where nothing more was learnt."""
    if isinstance(observation.gpus, Unknown):
        return before
    found: dict[str, int] = {}
    for gpu in observation.gpus:
        held: dict[str, int] = {}
        for holder in gpu.holders:
            if holder.slot is not None:
                held[holder.slot] = held.get(holder.slot, 0) + holder.memory
        for slot, amount in held.items():
            launch = _ready(observation, slot)
            if launch is not None and gpu.uuid in launch.gpus:
                _note(found, launch, amount)
    return _with(before, found)


def stated(before: Mapping[str, int], observation: Observation) -> Mapping[str, int]:
    """With what the logs of instances that are ready say. The same object where nothing more was learnt."""
    if isinstance(observation.gpus, Unknown):
        return before
    found: dict[str, int] = {}
    for slot, amount in observation.stated.items():
        launch = _ready(observation, slot)
        if launch is not None and all(amount <= gpu.memory for gpu in observation.gpus if gpu.uuid in launch.gpus):
            _note(found, launch, amount)
    return _with(before, found)


def _ready(observation: Observation, slot: str) -> Launch | None:
    """What runs there, if it is ready and what it takes of its GPUs can teach."""
    instances = observation.instances
    instance = instances.get(slot) if not isinstance(instances, Unknown) else None
    if instance is None or not isinstance(instance.phase, Running):
        return None
    if not isinstance(instance.phase.readiness, Ready):
        return None  # it may not have taken all of it
    launch = instance.launch
    # one that takes what it is given, and a little more, would be given more with each start
    return None if launch.basis == "measured" and sizes_itself(launch.engine) else launch


def _note(found: dict[str, int], launch: Launch, amount: int) -> None:
    name = measure(launch.fingerprint, len(launch.gpus))
    found[name] = max(found.get(name, 0), -(-amount // _GRAIN) * _GRAIN)


def _with(before: Mapping[str, int], found: Mapping[str, int]) -> Mapping[str, int]:
    more = {name: amount for name, amount in found.items() if amount > before.get(name, 0)}
    if not more:
        return before
    kept = [(name, amount) for name, amount in before.items() if name not in more]
    return dict([*kept, *sorted(more.items())][-MOST:])
