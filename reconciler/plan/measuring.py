"""What instances took of their GPUs and of the host, as seen and by their logs, remembered by `measure`. Pure."""

from collections.abc import Mapping

from reconciler.engines import sizes_itself
from reconciler.model.observation import Observation, Ready, Resident, Running, Unknown
from reconciler.model.plan import Launch
from reconciler.plan.sizing import measure

MOST = 4000
"""Fingerprints that are remembered; the oldest are forgotten first."""
_GRAIN = 2**20
_WAVER = 32


def measured(
    before: Mapping[str, int], observation: Observation, known: Mapping[str, Resident] | None = None
) -> Mapping[str, int]:
    """With what is seen of instances that are ready. The same object where nothing more was learnt.

    `known`: what had been counted of the host at the last look.
    """
    if observation.resident is not known:  # it is another object where anything was counted
        before = _with(before, _of_hosts(before, observation))
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
    launch = _runs(observation, slot)
    # one that takes what it is given, and a little more, would be given more with each start
    own_size = launch is not None and launch.basis == "measured" and sizes_itself(launch.engine)
    return None if own_size else launch


def _runs(observation: Observation, slot: str) -> Launch | None:
    """What runs there, if it is ready."""
    instances = observation.instances
    instance = instances.get(slot) if not isinstance(instances, Unknown) else None
    if instance is None or not isinstance(instance.phase, Running):
        return None
    if not isinstance(instance.phase.readiness, Ready):
        return None  # it may not have taken all of it
    return instance.launch


def _note(found: dict[str, int], launch: Launch, amount: int) -> None:
    name = measure(launch.fingerprint, len(launch.gpus), adapters=bool(launch.adapters))
    found[name] = max(found.get(name, 0), -(-amount // _GRAIN) * _GRAIN)


def _with(before: Mapping[str, int], found: Mapping[str, int]) -> Mapping[str, int]:
    more = {name: amount for name, amount in found.items() if amount > before.get(name, 0)}
    if not more:
        return before
    kept = [(name, amount) for name, amount in before.items() if name not in more]
    return dict([*kept, *sorted(more.items())][-MOST:])


def _of_hosts(before: Mapping[str, int], observation: Observation) -> dict[str, int]:
    """Bytes of the host by `measure`. What is mapped counts up to what was promised: the rest the kernel may drop."""
    found: dict[str, int] = {}
    for slot, counted in observation.resident.items():
        launch = _runs(observation, slot)
        if launch is not None and launch.run == counted.run:
            name = measure(launch.fingerprint, len(launch.gpus), host=True)
            amount = max(counted.own, min(counted.own + counted.files, launch.host))
            found[name] = max(found.get(name, 0), -(-amount // _GRAIN) * _GRAIN)
    # it wavers: a little more is not worth writing down
    return {name: amount for name, amount in found.items() if amount - before.get(name, 0) > amount // _WAVER}
