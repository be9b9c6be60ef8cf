"""What each GPU has to give: without what is reserved, and what others than ours hold."""

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.model.fleet import Needs
from reconciler.model.memory import Memory
from reconciler.model.observation import Exited, Gpu, Instance
from reconciler.model.plan import Launch, Start
from reconciler.model.quantity import print_size

WHOLE = 0.9
"""Part of a card that must be free to be taken whole: a display or a monitoring agent holds a little."""
RETURNS = 10.0
"""Seconds for which the memory of what has ended is expected to come back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """One GPU. Bytes; nothing of ours is taken off."""

    gpu: Gpu
    now: int
    """Free of others at this moment."""
    then: int
    """Free of others once the memory of what has just ended is back."""
    strangers: int

    @property
    def whole(self) -> int:
        """Bytes that must be free for it to be taken whole."""
        return int(self.gpu.memory * WHOLE)

    def held(self, slot: str) -> int:
        """Bytes that a slot is seen to hold of it."""
        return sum(holder.memory for holder in self.gpu.holders if holder.slot == slot)


def stock(
    gpus: tuple[Gpu, ...], instances: Mapping[str, Instance], memory: Memory, *, reserved: int, now: float
) -> dict[str, Stock]:
    """What each GPU has to give, by UUID, in order of index."""
    by_uuid = {gpu.uuid: gpu for gpu in gpus}
    promised: dict[str, dict[str, int]] = {uuid: {} for uuid in by_uuid}
    returning = dict.fromkeys(by_uuid, 0)
    for slot, instance in instances.items():
        launch, phase = instance.launch, instance.phase
        for uuid in launch.gpus:
            if uuid in by_uuid and not isinstance(phase, Exited):
                promised[uuid][slot] = amount(launch, by_uuid[uuid])
            elif uuid in by_uuid and isinstance(phase, Exited) and now < phase.at + RETURNS:
                returning[uuid] += amount(launch, by_uuid[uuid])
    for slot, action in memory.in_flight.items():
        if isinstance(action, Start):
            for uuid in by_uuid.keys() & set(action.launch.gpus):
                promised[uuid][slot] = amount(action.launch, by_uuid[uuid])
    found: dict[str, Stock] = {}
    for gpu in gpus:
        others = strangers(gpu, promised[gpu.uuid])
        found[gpu.uuid] = Stock(
            gpu=gpu,
            now=gpu.memory - reserved - others,
            then=gpu.memory - reserved - max(0, others - returning[gpu.uuid]),
            strangers=others,
        )
    return found


def why_never(needs: Needs, gpu: Gpu) -> str:
    """Why this GPU can never be one of a workload's; empty where it can."""
    if needs.ids and str(gpu.index) not in needs.ids and gpu.uuid not in needs.ids:
        return "not one of gpus.ids"
    if needs.models and not any(model in gpu.model for model in needs.models):
        return f"is {gpu.model}"
    if gpu.memory < needs.least:
        return f"has {print_size(gpu.memory)} in all"
    return ""


def amount(launch: Launch, gpu: Gpu) -> int:
    """Bytes that a launch was promised of a GPU of its own."""
    return gpu.memory if launch.memory is None else launch.memory


def strangers(gpu: Gpu, promised: Mapping[str, int]) -> int:
    """Bytes that others hold. What the driver attributes to nobody is ours as far as we hold what it does not show."""
    named = sum(holder.memory for holder in gpu.holders if holder.slot is None)
    seen = {holder.slot for holder in gpu.holders}
    ours = sum(holder.memory for holder in gpu.holders if holder.slot is not None)
    unseen = sum(amount for slot, amount in promised.items() if slot not in seen)
    return named + max(0, gpu.used - named - ours - unseen)


def left(gpu: Gpu, free: int, strangers: int, beside: str = "") -> str:
    """`46.1 GiB of 80.0 GiB free beside chat/0; 12.0 GiB held by pid 4242 python, not ours`."""
    text = f"{print_size(max(0, free))} of {print_size(gpu.memory)} free{beside}"
    held = [f"{print_size(h.memory)} held by pid {h.pid} {h.name}" for h in gpu.holders if h.slot is None]
    if held:
        text += "; " + ", ".join(held) + ", not ours"
    elif strangers >= 2**30:
        text += f"; {print_size(strangers)} held by others"
    return text
