"""How many GPUs a replica takes, and how much of each: as declared, as measured, as estimated, or whole."""

from collections.abc import Sequence
from dataclasses import replace

from reconciler.engines import headers, sizes_itself
from reconciler.engines.memory import estimate
from reconciler.model.estimate import Estimate
from reconciler.model.fleet import Workload
from reconciler.model.memory import Memory
from reconciler.model.observation import Gpu, Observation, Unknown
from reconciler.model.plan import Size
from reconciler.model.weights import Weights
from reconciler.plan.cards import why_never

_COUNTS = (1, 2, 4, 8)
"""GPUs that a model is spread over where its file does not say: what heads divide by."""


def size_of(workload: Workload, observation: Observation, memory: Memory, reserved: int = 0) -> Size:
    """What one replica of a workload takes on this machine, as far as it is known now. The GPUs must be known."""
    needs = workload.needs
    gpus = () if isinstance(observation.gpus, Unknown) else observation.gpus
    if needs.gpus == 0 or (needs.gpus is None and needs.cpu and not gpus):
        return Size()
    if needs.memory is not None:
        return Size(gpus=needs.gpus or 1, memory=needs.memory, basis="declared")
    largest = sorted((gpu for gpu in gpus if not why_never(needs, gpu)), key=lambda gpu: (-gpu.memory, gpu.index))
    counts = [count for count in _COUNTS if count <= len(largest)] if needs.gpus is None else [needs.gpus]
    best = Size(gpus=needs.gpus or 1)
    for count in counts:
        made = _estimate(workload, observation, largest[:count])
        if made is None:
            break
        best = _known(workload, memory, count, made)
        if made.most <= largest[min(count, len(largest)) - 1].memory - reserved:
            break
    return best


def measure(fingerprint: str, gpus: int) -> str:
    """What a measured figure is remembered by."""
    return f"{fingerprint}@{gpus}"


def _known(workload: Workload, memory: Memory, count: int, made: Estimate) -> Size:
    if not workload.needs.share:
        return Size(gpus=count)  # alone on its cards, it may as well have all of them
    name = measure(workload.fingerprint, count)
    known = memory.measured.get(name)
    if known is None and (said := memory.stated.get(name)) is not None:
        # what the driver and its libraries take is in no buffer of an engine
        known = said if sizes_itself(workload.engine) else said + max(share.runtime for share in made.gpus)
    if known is not None:
        return Size(gpus=count, memory=known, basis="measured")
    return Size(gpus=count, memory=made.most, basis="estimated", within=made.uncertainty)


def _estimate(workload: Workload, observation: Observation, gpus: Sequence[Gpu]) -> Estimate | None:
    """Of the model on these cards, were they empty; None where its weights are not known."""
    known, beside = headers.found(workload, observation.weights)
    if not isinstance(known, Weights) or not gpus:
        return None
    return estimate(workload, known, [replace(gpu, used=0, holders=()) for gpu in gpus], beside=beside)
