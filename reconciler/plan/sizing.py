"""What a replica takes: how many GPUs, how much of each, and of the host: as declared, measured or estimated."""

from collections.abc import Sequence
from dataclasses import replace

from reconciler.engines import headers, sizes_itself
from reconciler.engines.memory import Beside, estimate, runtime
from reconciler.model.estimate import Estimate
from reconciler.model.fleet import Workload
from reconciler.model.memory import Memory
from reconciler.model.observation import Gpu, Observation
from reconciler.model.plan import Size
from reconciler.model.weights import Weights
from reconciler.plan.cards import of_one_maker, why_never

_UNKNOWN = Size()
"""Of what takes no GPU, and of which nothing is known."""
_COUNTS = (1, 2, 4, 8)
"""GPUs that a model is spread over where its file does not say: what heads divide by."""


def size_of(workload: Workload, observation: Observation, memory: Memory, reserved: int = 0) -> Size:
    """What one replica of a workload takes on this machine, as far as it is known now. The GPUs must be known."""
    needs = workload.needs
    if needs.gpus == 0:
        return on_cpu(workload, observation, memory)
    gpus = observation.sound
    if needs.gpus is None and needs.cpu and not gpus:
        return on_cpu(workload, observation, memory)
    if needs.memory is not None:
        size = Size(gpus=needs.gpus or 1, memory=needs.memory, basis="declared")
        return _with_host(size, workload, memory, None)
    largest = sorted((gpu for gpu in gpus if not why_never(needs, gpu)), key=lambda gpu: (-gpu.memory, gpu.index))
    gang = of_one_maker([gpu for gpu in largest if not gpu.part])
    alone = [1] if largest else []
    counts = [*alone, *(count for count in _COUNTS if 1 < count <= len(gang))] if needs.gpus is None else [needs.gpus]
    best = Size(gpus=needs.gpus or 1)
    for count in counts:
        cards = (gang if count > 1 else largest)[:count]
        made = _estimate(workload, observation, cards)
        if made is None:
            break
        best = _with_host(_known(workload, memory, count, made), workload, memory, made)
        if made.most <= cards[-1].memory - reserved:
            break
    return best if best.host else _with_host(best, workload, memory, None)


def on_cpu(workload: Workload, observation: Observation, memory: Memory) -> Size:
    """What one that takes no GPU needs of the host, as far as it is known now."""
    told = sizes_itself(workload.engine)  # it takes what it is given: what was seen of it says nothing more
    declared = workload.needs.memory
    if declared is not None and not told:
        return Size(host=declared, host_basis="declared")
    known = memory.measured.get(measure(workload.fingerprint, 0, host=True)) if memory.measured and not told else None
    if known is not None:
        return Size(host=known, host_basis="measured")
    weights, beside = headers.found(workload, observation.weights) if observation.weights else (None, Beside())
    held = weights.total if isinstance(weights, Weights) else None
    if declared is not None:
        return Size(host=declared, host_basis="declared", weights=held)
    if not isinstance(weights, Weights):
        return _UNKNOWN
    made = estimate(workload, weights, beside=beside)
    return Size(host=made.needed, host_basis="estimated", within=made.uncertainty, weights=held, notes=made.notes)


def measure(fingerprint: str, gpus: int, *, host: bool = False, adapters: bool = False) -> str:
    """What a measured figure is remembered by: of the host, or of each GPU. `adapters`: whether it has any."""
    return f"{fingerprint}{'+adapters' if adapters else ''}@{gpus}" + (" host" if host else "")


def _with_host(size: Size, workload: Workload, memory: Memory, made: Estimate | None) -> Size:
    """With what it takes of the host beside its GPUs: as measured, as estimated, or what its engine takes at least."""
    if made is not None:
        size = replace(size, weights=sum(share.weights for share in made.gpus))
    known = memory.measured.get(measure(workload.fingerprint, size.gpus, host=True))
    if known is not None:
        return replace(size, host=known, host_basis="measured")
    if made is not None:
        return replace(size, host=made.needed, host_basis="estimated", within=made.uncertainty, notes=made.notes)
    least = runtime(workload, size.gpus)
    return replace(size, host=least, host_basis="estimated") if least else size


def _known(workload: Workload, memory: Memory, count: int, made: Estimate) -> Size:
    if not workload.needs.share:
        return Size(gpus=count)  # alone on its cards, it may as well have all of them
    name = measure(workload.fingerprint, count, adapters=bool(workload.adapters))
    known = memory.measured.get(name)
    if known is None and (said := memory.stated.get(name)) is not None:
        # what the driver and its libraries take is in no buffer of an engine
        known = said if sizes_itself(workload.engine) else said + max(share.runtime for share in made.gpus)
    if known is not None:
        return Size(gpus=count, memory=known, basis="measured")
    return Size(gpus=count, memory=made.most, basis="estimated", within=made.uncertainty, notes=made.notes)


def _estimate(workload: Workload, observation: Observation, gpus: Sequence[Gpu]) -> Estimate | None:
    """Of the model on these cards, were they empty; None where its weights are not known."""
    known, beside = headers.found(workload, observation.weights)
    if not isinstance(known, Weights) or not gpus:
        return None
    return estimate(workload, known, [replace(gpu, used=0, holders=()) for gpu in gpus], beside=beside)
