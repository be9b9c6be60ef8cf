"""What each GPU has to give: without what is reserved, and what others than ours hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from reconciler.model.fleet import Needs
from reconciler.model.observation import Exited, Gpu, Instance, Phase, Ready, Running, Stopping
from reconciler.model.plan import Launch
from reconciler.model.quantity import print_size

WHOLE = 0.9
"""Part of a card that must be free to be taken whole: a display or a monitoring agent holds a little."""
RETURNS = 10.0
"""Seconds for which the memory of what has ended is expected to come back."""
_GRAIN = 64 * 2**20
_READ = 10.0
"""Seconds after which a driver has been asked again, though it were slow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """One GPU. Bytes; nothing of ours is taken off."""

    gpu: Gpu
    now: int
    """Free of others at this moment."""
    then: int
    """Free of others once the memory of what has just ended is back, and it is known what those that load take."""
    strangers: int

    @property
    def reserved(self) -> int:
        """Bytes that its node leaves alone."""
        return self.gpu.memory - self.strangers - self.now

    @property
    def whole(self) -> int:
        """Bytes that must be free for it to be taken whole."""
        return int(self.gpu.memory * WHOLE)

    def held(self, slot: str) -> int:
        """Bytes that a slot is seen to hold of it."""
        return sum(holder.memory for holder in self.gpu.holders if holder.slot == slot)


def stock(
    gpus: tuple[Gpu, ...], instances: Mapping[str, Instance], *, reserved: Mapping[str, int], now: float
) -> dict[str, Stock]:
    """What each GPU has to give, by UUID, in order. `reserved`: bytes of each GPU that a machine leaves alone."""
    if not gpus:
        return {}
    by_uuid = {gpu.uuid: gpu for gpu in gpus}
    loaded: dict[str, int] = dict.fromkeys(by_uuid, 0)
    loading = dict.fromkeys(by_uuid, 0)
    returning = dict.fromkeys(by_uuid, 0)
    for instance in instances.values():
        launch, phase = instance.launch, instance.phase
        for uuid in by_uuid.keys() & set(launch.gpus) if launch.gpus else ():
            if isinstance(phase, Exited) and now < phase.at + RETURNS:
                returning[uuid] += amount(launch, by_uuid[uuid])
            elif instance.asleep is not None:
                held = amount(launch.asleep, by_uuid[uuid])
                loaded[uuid] += held
                if dozes_off(instance, now):
                    loading[uuid] += amount(launch, by_uuid[uuid]) - held
            elif _has_loaded(phase, now):
                loaded[uuid] += amount(launch, by_uuid[uuid])
            elif isinstance(phase, Running):
                loading[uuid] += amount(launch, by_uuid[uuid])
    found: dict[str, Stock] = {}
    for uuid, gpu in by_uuid.items():
        others = coarse(_strangers(gpu, loaded[uuid]))
        ours = returning[uuid] + (0 if gpu.holders else loading[uuid])
        found[uuid] = Stock(
            gpu=gpu,
            now=gpu.memory - reserved.get(gpu.node, 0) - others,
            then=gpu.memory - reserved.get(gpu.node, 0) - max(0, others - ours),
            strangers=others,
        )
    return found


def holding(instance: Instance, cards: Mapping[str, Stock], now: float) -> Launch:
    """Its launch with what it takes: while it sleeps as the driver says, else as its engine is known for."""
    if instance.asleep is None:
        return instance.launch
    asleep = instance.launch.asleep
    if dozes_off(instance, now):
        return asleep
    told = max((cards[uuid].held(instance.slot) for uuid in asleep.gpus if uuid in cards), default=0)
    return replace(asleep, memory=coarse(told)) if told else asleep


def dozes_off(instance: Instance, now: float) -> bool:
    """Whether it fell asleep so lately that the driver may still tell of what it held before."""
    return instance.asleep is not None and now < instance.asleep.since + _READ


def _has_loaded(phase: Phase, now: float) -> bool:
    """Whether what it takes of its GPUs is for certain in what the driver said last, or will be no more than that."""
    if isinstance(phase, Stopping):
        return True
    ready = phase.readiness if isinstance(phase, Running) else None
    return isinstance(ready, Ready) and now >= ready.since + _READ


def coarse(size: int) -> int:
    """Bytes, rounded up: what wavers by a little is to be no other question for the layout each time."""
    return -(-size // _GRAIN) * _GRAIN


def _strangers(gpu: Gpu, loaded: int) -> int:
    """Bytes that others hold. Where the driver names nobody at all, what is held is ours as far as ours has loaded."""
    if not gpu.holders:
        return max(0, gpu.used - loaded)
    return max(0, gpu.used - sum(holder.memory for holder in gpu.holders if holder.slot is not None))


def of_one_maker(gpus: Sequence[Gpu]) -> list[Gpu]:
    """Those that can be one gang: no engine spans NVIDIA's and AMD's, so those of which there are more."""
    makers = [gpu.maker for gpu in gpus]
    most = max(makers, key=makers.count, default="nvidia")
    return [gpu for gpu in gpus if gpu.maker == most]


def why_never(needs: Needs, gpu: Gpu, count: int = 1) -> str:
    """Why this GPU can never be one of a workload's `count`; empty where it can."""
    if gpu.part and count > 1:
        return "a MIG instance, of which a process can use but one"
    if needs.ids and str(gpu.index) not in needs.ids and gpu.uuid not in needs.ids:
        return "not one of gpus.ids"
    if needs.models and not any(model in gpu.model for model in needs.models):
        return f"{gpu.model}, not {' or '.join(needs.models)}"
    if gpu.memory < needs.least:
        return in_all(gpu)
    return ""


def in_all(gpu: Gpu) -> str:
    """Of one that is too small, were it empty."""
    return f"{print_size(gpu.memory)} in all"


def amount(launch: Launch, gpu: Gpu) -> int:
    """Bytes that a launch was promised of a GPU of its own."""
    return gpu.memory if launch.memory is None else launch.memory


def left(gpu: Gpu, free: int, strangers: int, beside: str = "") -> str:
    """`46.1 GiB of 80.0 GiB free beside chat/0; 12.0 GiB held by pid 4242 python, not ours`."""
    text = f"{print_size(tenths(free)) if free > 0 else 'none'} of {print_size(gpu.memory)} free{beside}"
    held = [f"{print_size(h.memory)} held by pid {h.pid} {h.name}" for h in gpu.holders if h.slot is None]
    if held:
        text += "; " + ", ".join(held) + ", not ours"
    elif strangers >= 2**30:
        text += f"; {print_size(strangers)} held by others"
    return text


def tenths(size: int) -> int:
    """Bytes, from a GiB on in tenths and rounded down: else what is needed would seem to be there."""
    return -(-(10 * size // 2**30) * 2**30 // 10) if size >= 2**30 else size
