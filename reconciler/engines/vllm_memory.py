"""What vLLM takes of each GPU: weights, one request of full length, the profiled peak, graphs (August 2026).

vLLM fills its share of the card with KV cache; what is estimated here is the least that starts and serves, and the
share is to be set from it.
"""

from collections.abc import Sequence

from reconciler.engines.cache import padded, row
from reconciler.engines.flags import Shards
from reconciler.model.estimate import Share
from reconciler.model.weights import Layer, Weights

RUNTIME = 600 * 2**20
"""Bytes of CUDA, its libraries and NCCL on each GPU."""
GRAPHS = 700 * 2**20
HOST = 4 * 2**30
"""Bytes of host memory for the API server and the core."""
ON_CPU = 3 * 2**30
"""Bytes that its server, its core and its worker take where there is no GPU, beside weights and cache: 1.9 GiB seen."""
_LARGE = 70 * 2**30
"""Cards from here on get larger batches by default."""
_SEQUENCES = {True: 1024, False: 256}
_BATCH = {True: 8192, False: 2048}
_BLOCK, _BLOCK_ON_CPU = 16, 128
"""Tokens of a block of the KV cache."""


def vllm(weights: Weights, settings: Shards, memory: Sequence[int]) -> tuple[tuple[Share, ...], Share]:
    """What each GPU and the host give. `memory` is each GPU's total in bytes."""
    count = max(1, len(memory))
    large = min(memory, default=0) >= _LARGE
    batch = settings.batch or _BATCH[large]
    if not memory:
        [host] = sharded(weights, settings, (0,), batch=batch, compute=0, runtime=ON_CPU, block=_BLOCK_ON_CPU)
        return (), host
    peak = _peak(weights, batch, _tensor(settings, count), settings.parallel or _SEQUENCES[large])
    runtime = RUNTIME + (0 if settings.eager else GRAPHS)
    return sharded(weights, settings, memory, batch=batch, compute=peak, runtime=runtime), Share(runtime=host_of(count))


def sharded(
    weights: Weights,
    settings: Shards,
    memory: Sequence[int],
    *,
    batch: int,
    compute: int,
    runtime: int,
    block: int = _BLOCK,
) -> tuple[Share, ...]:
    """What each GPU gives to an engine that shards a model over all of them and caches by blocks."""
    tensor = _tensor(settings, max(1, len(memory)))
    context = settings.context or weights.context_length or batch
    # each rank of a tensor-parallel group holds every layer, and a part of it; norms and small things it holds whole
    held = -(-weights.total // (tensor * settings.stages)) + (weights.total // 200 if tensor > 1 else 0)
    element = _element(weights, settings)
    window = min(context, weights.window + batch) if weights.window else context
    cache = sum(
        _layer(layer, element, padded(window if layer.attention == "sliding" else context, block), tensor)
        for layer in weights.layers
    )
    needed = Share(weights=held, cache=-(-cache // settings.stages), compute=compute, runtime=runtime)
    return tuple(_filled(needed, settings.share, each) for each in memory)


def _tensor(settings: Shards, count: int) -> int:
    return max(1, (settings.shards or count) // settings.stages)


def host_of(gpus: int) -> int:
    """Bytes of the host that it takes beside so many GPUs: libraries, and buffers that are pinned for each of them."""
    return HOST + 2**30 * gpus


def _filled(needed: Share, share: float | None, memory: int) -> Share:
    """Where `args` name a share of the card, all of that is taken."""
    spare = max(0, int((share or 0.0) * memory) - needed.total)
    return Share(
        weights=needed.weights, cache=needed.cache, compute=needed.compute, runtime=needed.runtime, spare=spare
    )


def _layer(layer: Layer, element: str, cells: int, tensor: int) -> int:
    """Bytes that a rank keeps of a layer for one request."""
    if layer.attention == "mla":
        size = row(element, layer.key_length)  # one latent: every rank keeps it whole
    elif layer.attention == "none":
        size = 0
    else:
        heads = -(-layer.kv_heads // tensor)
        size = row(element, heads * layer.key_length) + row(element, heads * layer.value_length)
    return cells * size + 4 * -(-layer.state // tensor)


def _element(weights: Weights, settings: Shards) -> str:
    if settings.cache != "auto":
        return settings.cache
    if settings.dtype != "auto":
        return settings.dtype
    return "f32" if weights.dtype.upper() in ("F32", "FLOAT32") else "bf16"


def _peak(weights: Weights, batch: int, tensor: int, sequences: int) -> int:
    """Bytes of the largest profiled step: a full batch through the widest layer, then the logits of all sequences."""
    wide = max((3 * layer.feed_forward // tensor + 4 * weights.embedding_length for layer in weights.layers), default=0)
    return max(2 * batch * wide, 2 * 4 * sequences * weights.vocab)
