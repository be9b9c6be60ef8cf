"""What SGLang takes of each GPU: weights, one request of full length, what it keeps free to compute in (0.5.23).

Its `--mem-fraction-static` is a share of what was free when it started, not of the card's total as vLLM's is, and
weights and KV cache are all that it bounds: what is computed in, and graphs, come on top.
"""

from collections.abc import Sequence

from reconciler.engines.flags import Shards
from reconciler.engines.vllm_memory import RUNTIME, host_of, sharded
from reconciler.model.estimate import Share
from reconciler.model.observation import Gpu
from reconciler.model.weights import Weights

_MIB = 2**20
_TIERS = (
    # below GiB of the card: tokens of a chunk, largest batch of a graph by whether fewer than 4 GPUs share it
    (20, 2048, (8, 8)),
    (35, 2048, (24, 80)),
    (60, 4096, (32, 160)),
    (160, 8192, (256, 512)),
)
_LARGEST = (16384, (512, 512))
_LEAST, _MOST = 0.05, 0.95


def sglang(weights: Weights, settings: Shards, memory: Sequence[int]) -> tuple[tuple[Share, ...], Share]:
    """What each GPU and the host give. `memory` is each GPU's total in bytes."""
    count, least = max(1, len(memory)), min(memory, default=0)
    batch, beyond = _chunk(settings, least), _beyond(settings, least, count)
    shares = sharded(weights, settings, memory, batch=batch, compute=beyond, runtime=RUNTIME)
    return shares, Share(runtime=host_of(count))


def fraction(promised: int, settings: Shards, gpus: Sequence[Gpu]) -> float:
    """Of what is free on these GPUs, the share for weights and KV cache with which it keeps to what was promised."""
    beyond = _beyond(settings, min(gpu.memory for gpu in gpus), len(gpus))
    free = min(gpu.memory - gpu.used for gpu in gpus) - RUNTIME
    return min(_MOST, max(_LEAST, (promised - RUNTIME - beyond) / max(free, 1)))


def _beyond(settings: Shards, memory: int, count: int) -> int:
    """Bytes that it counts on for activations and graphs, by its own rule."""
    shards = settings.shards or count
    graphs = 0 if settings.eager else _tier(memory)[1][shards >= 4]
    return int((512 + 1.5 * max(_chunk(settings, memory), 2048) + 2 * graphs + 128 * shards) * _MIB)


def _chunk(settings: Shards, memory: int) -> int:
    return settings.batch or _tier(memory)[0]


def _tier(memory: int) -> tuple[int, tuple[int, int]]:
    return next((tier[1:] for tier in _TIERS if memory < tier[0] * 2**30), _LARGEST)
