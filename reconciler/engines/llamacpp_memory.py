"""What llama.cpp allocates for a model, buffer by buffer: model, KV, state, compute, output (August 2026).

The widths in `_peak` were read off its graph allocator for a dozen architectures; `make bench B=estimate` holds them to
what it allocates.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from reconciler.engines.cache import padded, quantised, row
from reconciler.engines.flags import LlamaSettings
from reconciler.model.estimate import Share
from reconciler.model.weights import Layer, Weights

RUNTIME = 500 * 2**20
"""Bytes that CUDA, its libraries and the loaded kernels take of each GPU."""
HOST_RUNTIME = 150 * 2**20
_FLOAT = 4
_REPACKED = ("Q4_0", "Q4_K", "Q2_K", "Q8_0", "IQ4_NL", "MXFP4")
"""Types that a CPU likes in another order: llama.cpp copies them then, and has the file mapped beside."""
_PARALLEL = frozenset({"falcon", "phi2"})
"""Architectures whose attention and feed-forward parts run side by side, so that one more vector is kept."""
_COPIES = 4
"""Inputs held at once where several GPUs work as a pipeline."""
_CHECKPOINT = 8192
"""Tokens between two snapshots of a window or a state."""


@dataclass(slots=True)
class _Place:
    """One device while it is filled."""

    layers: list[int] = field(default_factory=list[int])
    weights: int = 0
    cache: int = 0


def llamacpp(weights: Weights, settings: LlamaSettings, free: Sequence[int]) -> tuple[tuple[Share, ...], Share]:
    """What each GPU and the host give. `free` is each GPU's free memory in bytes: layers are dealt out by it."""
    places, host = [_Place() for _ in free], _Place()
    each, whole = settings.tokens(weights.context_length)
    owners = _owners(len(weights.layers), settings, free)
    for index, layer in enumerate(weights.layers):
        owner = owners[index]
        place = host if owner is None else places[owner]
        stays = layer.experts if owner is not None and index < settings.experts else 0
        place.layers.append(index)
        place.weights += layer.weights - stays
        host.weights += stays
        keeper = host if settings.cache_on_host else place
        keeper.cache += cache_of(layer, weights, settings)
    output = owners[len(weights.layers)]
    _ends(weights, host if output is None else places[output], host)
    pipeline = len(free) > 1 and settings.split == "layer" and None not in owners and not settings.cache_on_host
    copies = _COPIES if pipeline else 1
    shares = tuple(
        Share(
            weights=place.weights,
            cache=place.cache,
            compute=_compute(weights, settings, each, place, copies=copies, output=output == number),
            runtime=RUNTIME + _unpacked(weights, settings, place, whole),
        )
        for number, place in enumerate(places)
    )
    if host.layers or not free:
        compute = _compute(weights, settings, each, host, copies=1, output=output is None)
    else:
        compute = _inputs(weights, settings, each) + 2 * _ubatch(settings) * weights.embedding_length * _FLOAT
    twice = host.weights if not free and not settings.as_is and weights.dtype in _REPACKED else 0
    return shares, Share(
        weights=host.weights,
        cache=host.cache,
        compute=compute + settings.parallel * weights.vocab * _FLOAT,
        runtime=HOST_RUNTIME,
        prompts=max(settings.prompts, 0) + _checkpoints(weights, settings, each),
        spare=twice,
    )


def cache_of(layer: Layer, weights: Weights, settings: LlamaSettings) -> int:
    """Bytes that a layer keeps of all sequences."""
    each, whole = settings.tokens(weights.context_length)
    cells = whole
    if layer.attention == "sliding" and not settings.full_windows:
        cells = _window(weights, settings, each) * (1 if settings.unified else max(1, settings.parallel))
    states = layer.state * _FLOAT * max(1, settings.parallel)
    return cells * (row(settings.keys, layer.keys) + row(settings.values, layer.values)) + states


def _window(weights: Weights, settings: LlamaSettings, each: int) -> int:
    """Cells that a sliding window has in one stream."""
    if settings.full_windows:
        return each
    sequences = max(1, settings.parallel) if settings.unified else 1
    return padded(min(each, weights.window * sequences + _ubatch(settings)), 256)


def _ubatch(settings: LlamaSettings) -> int:
    return min(settings.ubatch, settings.batch)


def _owners(layers: int, settings: LlamaSettings, free: Sequence[int]) -> list[int | None]:
    """The GPU of each layer and, last, of the output; None is the host."""
    if not free:
        return [None] * (layers + 1)
    offloaded = min(settings.offloaded, layers + 1)
    first = layers + 1 - offloaded
    if settings.split == "none":
        main = settings.main if settings.main < len(free) else 0
        return [None] * first + [main] * offloaded
    shares = [*settings.shares[: len(free)], *[0.0] * (len(free) - len(settings.shares))]
    parts = shares if sum(shares) > 0 else [float(max(1, each)) for each in free]
    ends = [end / sum(parts) for end in accumulate(parts)]
    return [None] * first + [
        min(bisect_right(ends, place / max(1, offloaded)), len(free) - 1) for place in range(offloaded)
    ]


def _ends(weights: Weights, last: _Place, host: _Place) -> None:
    """What comes before the first layer stays on the host; a tied output is held once more where it is used."""
    host.weights += weights.embedding + weights.other
    last.weights += weights.output
    if weights.tied and last is not host:
        last.weights += weights.embedding


def _inputs(weights: Weights, settings: LlamaSettings, each: int) -> int:
    """Bytes of the masks: one for each kind of cache."""
    size = 2 if settings.flash else _FLOAT
    kinds = {layer.attention for layer in weights.layers}
    cells = (each if kinds & {"full", "mla"} else 0) + (_window(weights, settings, each) if "sliding" in kinds else 0)
    return cells * _ubatch(settings) * size


def _compute(weights: Weights, settings: LlamaSettings, each: int, place: _Place, *, copies: int, output: bool) -> int:
    """Bytes of a device's compute buffer."""
    if not place.layers and not output:
        return 0
    peak = max((_peak(weights.layers[index], weights, settings, each) for index in place.layers), default=0)
    logits = settings.parallel * weights.vocab * _FLOAT if output else 0
    return max(peak, logits) + copies * _inputs(weights, settings, each)


def _peak(layer: Layer, weights: Weights, settings: LlamaSettings, each: int) -> int:
    """Bytes of the intermediate results of one layer that are alive at once, at the worst moment."""
    unit = _ubatch(settings) * _FLOAT
    width, inner = weights.embedding_length, layer.feed_forward
    forward = (3 if weights.gated else 1) * inner + (6 if weights.architecture in _PARALLEL else 5) * width
    picked = weights.experts_used * width
    if layer.experts and picked > 2 * inner:
        forward += picked  # what the experts give finds no hole that is large enough
    query = layer.heads * layer.key_length
    scores = 0 if settings.flash else layer.heads * _cells(layer, weights, settings, each)
    if layer.attention == "mla":
        attention = 5 * width + query + layer.heads * (layer.value_length + layer.value_length // 2) + scores
    elif layer.attention == "none":
        attention = 0
    elif settings.flash:
        attention = width + 3 * query + layer.keys + layer.values
    else:
        attention = 3 * (width + query) + layer.keys + layer.values + scores
    recurrent = (7 * layer.inner + width) * unit + layer.state * _FLOAT * settings.parallel if layer.inner else 0
    return max(forward * unit, attention * unit, recurrent)


def _cells(layer: Layer, weights: Weights, settings: LlamaSettings, each: int) -> int:
    return _window(weights, settings, each) if layer.attention == "sliding" else each


def _unpacked(weights: Weights, settings: LlamaSettings, place: _Place, whole: int) -> int:
    """Bytes for one layer of a quantised cache, unpacked for the kernels of flash attention."""
    most = max((weights.layers[index].keys + weights.layers[index].values for index in place.layers), default=0)
    return 2 * whole * most if quantised(settings.keys) or quantised(settings.values) else 0


def _checkpoints(weights: Weights, settings: LlamaSettings, each: int) -> int:
    """Bytes of the snapshots of windows and states, which cannot be rolled back."""
    sliding = [layer for layer in weights.layers if layer.attention == "sliding" and not settings.full_windows]
    window = _window(weights, settings, each) if sliding else 0
    size = sum(window * (row(settings.keys, layer.keys) + row(settings.values, layer.values)) for layer in sliding)
    size += sum(layer.state * _FLOAT for layer in weights.layers)
    return size * min(settings.checkpoints, -(-each // _CHECKPOINT)) * max(1, settings.parallel)
