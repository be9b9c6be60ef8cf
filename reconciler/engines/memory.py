"""What a replica will take of its GPUs and of the host before it has ever run: an estimate by component. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from reconciler.engines import flags
from reconciler.engines.llamacpp_memory import HOST_RUNTIME, llamacpp
from reconciler.engines.sglang_memory import sglang
from reconciler.engines.vllm_memory import host_of, vllm
from reconciler.model.estimate import Estimate, Share
from reconciler.model.fleet import Workload
from reconciler.model.kinds import Model
from reconciler.model.observation import Gpu, Unknown
from reconciler.model.weights import Unreadable, Weights

Known = Weights | Unreadable | Unknown | None
"""What is known of some files; None: not yet."""

_LLAMA, _OLLAMA, _VLLM, _TGI, _OTHER = 0.05, 0.10, 0.10, 0.15, 0.30
_GUESS = 0.05
"""What an assumption adds to the uncertainty."""
_MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What a model is loaded with."""

    adapters: tuple[Known, ...] = ()
    projector: Known = None
    """Given only where there is one."""
    draft: Known = None
    """Given only where there is one."""


def estimate(what: Workload, weights: Weights, gpus: Sequence[Gpu] = (), *, beside: Beside | None = None) -> Estimate:
    """What one replica takes of these GPUs, in their order, and of the host; without GPUs, of the host alone."""
    if not isinstance(what.spec, Model):
        return Estimate(uncertainty=0.0)
    kind = "other" if what.template is not None else what.engine
    notes: list[str] = []
    match kind:
        case "llamacpp":
            told = flags.llama(what.spec, gpu=bool(gpus))
            free = [max(1, gpu.memory - gpu.used) for gpu in gpus]
            shares, host = llamacpp(weights, told, free)
            error = _LLAMA
            notes += [f"context {weights.context_length}, as none is declared"] if not told.context else []
            notes += ["prompts kept on the host have no limit"] if told.prompts < 0 else []
        case "ollama":
            told = flags.ollama(what.spec, gpu=bool(gpus))
            shares, host = llamacpp(weights, told, [max(1, gpu.memory - gpu.used) for gpu in gpus])
            error = _OLLAMA
        case "vllm":
            shares, host = vllm(weights, flags.vllm(what.spec), [gpu.memory for gpu in gpus])
            error = _VLLM
        case "tgi":
            shares, host = vllm(weights, flags.tgi(what.spec), [gpu.memory for gpu in gpus])
            error = _TGI
        case "sglang":
            shares, host = sglang(weights, flags.sglang(what.spec), [gpu.memory for gpu in gpus])
            error = _VLLM
        case _:
            shares, host = _generic(weights, what.spec, len(gpus))
            error = _OTHER
            notes.append(f"nothing is known of how {what.engine} uses memory")
    made = Estimate(gpus=shares, host=host, uncertainty=error, notes=tuple(notes))
    return _with(made, what.spec, beside or Beside(), gpus)


def runtime(what: Workload, gpus: int) -> int:
    """Bytes of the host that its engine takes beside so many GPUs whatever the model; 0 where that is not known."""
    if what.template is not None or not gpus:
        return 0
    match what.engine:
        case "llamacpp" | "ollama":
            return HOST_RUNTIME
        case "vllm" | "sglang" | "tgi":
            return host_of(gpus)
        case _:
            return 0


def _generic(weights: Weights, model: Model, count: int) -> tuple[tuple[Share, ...], Share]:
    """An engine that nothing is known of: weights and a cache of 16 bits, spread evenly."""
    context = model.context or min(weights.context_length, 8192)
    tokens = context * (model.parallel or 1)
    cache = sum(2 * tokens * (layer.keys + layer.values) + 4 * layer.state for layer in weights.layers)
    spread = max(1, count)
    share = Share(
        weights=weights.total // spread,
        cache=cache // spread,
        compute=weights.total // 20 // spread + 512 * _MIB,
        runtime=512 * _MIB,
    )
    return ((share,) * count, Share(runtime=2**30)) if count else ((), share)


def _with(made: Estimate, model: Model, beside: Beside, gpus: Sequence[Gpu]) -> Estimate:
    """The estimate with what is loaded beside the model: spread over the GPUs, or on the first."""
    notes, error = list(made.notes), made.uncertainty
    adapters = 0
    for adapter, known in zip(model.adapters, (*beside.adapters, *(None,) * len(model.adapters)), strict=False):
        size, unknown = _size(known)
        adapters += size
        if unknown:
            notes.append(f"adapter {adapter.name} counts nothing: {unknown}")
            error += _GUESS
    projector, draft = _size(beside.projector)[0], _size(beside.draft)[0]
    # a projector computes on images of its own, a draft model caches and computes: both by a rule of thumb
    projector, draft = projector * 5 // 4, draft * 5 // 4
    error += _GUESS if projector or draft else 0.0
    if not gpus:
        host = replace(made.host, adapters=adapters, projector=projector, draft=draft)
        return replace(made, host=host, uncertainty=error, notes=tuple(notes))
    each = -(-adapters // len(made.gpus))
    shares = [replace(share, adapters=each) for share in made.gpus]
    shares[0] = replace(shares[0], projector=projector, draft=draft)
    return replace(made, gpus=tuple(shares), uncertainty=error, notes=tuple(notes))


def _size(known: Known) -> tuple[int, str]:
    """Bytes, or why they are not known."""
    match known:
        case Weights():
            return known.total, ""
        case Unreadable() | Unknown():
            return 0, known.reason
        case None:
            return 0, "its size is not known yet"
        case _:
            assert_never(known)
