"""What a model's file asks of its engine, as numbers: the fields first, then whatever `args` say last. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reconciler.engines.ollama import CONTEXT
from reconciler.model.kinds import Model

_LLAMA: Mapping[str, str] = {
    "-c": "context",
    "--ctx-size": "context",
    "-np": "parallel",
    "--parallel": "parallel",
    "-b": "batch",
    "--batch-size": "batch",
    "-ub": "ubatch",
    "--ubatch-size": "ubatch",
    "-ngl": "offloaded",
    "--gpu-layers": "offloaded",
    "--n-gpu-layers": "offloaded",
    "-ctk": "keys",
    "--cache-type-k": "keys",
    "-ctv": "values",
    "--cache-type-v": "values",
    "-fa": "flash",
    "--flash-attn": "flash",
    "-cram": "prompts",
    "--cache-ram": "prompts",
    "-ctxcp": "checkpoints",
    "--ctx-checkpoints": "checkpoints",
    "-sm": "split",
    "--split-mode": "split",
    "-ts": "shares",
    "--tensor-split": "shares",
    "-mg": "main",
    "--main-gpu": "main",
    "-ncmoe": "experts",
    "--n-cpu-moe": "experts",
    "-lm": "load",
    "--load-mode": "load",
}
_BESIDE: Mapping[str, str] = {
    "-mm": "projector",
    "--mmproj": "projector",
    "-md": "draft",
    "--model-draft": "draft",
    "--spec-draft-model": "draft",
}
_SWITCHES: Mapping[str, tuple[str, str]] = {
    "-kvu": ("unified", "1"),
    "--kv-unified": ("unified", "1"),
    "-no-kvu": ("unified", ""),
    "--no-kv-unified": ("unified", ""),
    "-nkvo": ("cache_on_host", "1"),
    "--no-kv-offload": ("cache_on_host", "1"),
    "--swa-full": ("full_windows", "1"),
    "-cmoe": ("experts", "999999"),
    "--cpu-moe": ("experts", "999999"),
    "--no-repack": ("as_is", "1"),
    "-nr": ("as_is", "1"),
}
_MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaSettings:
    """Of llama-server, with its own defaults (August 2026)."""

    context: int = 0
    """Tokens of all slots together; 0: as many as the model was trained for."""
    parallel: int = 1
    batch: int = 2048
    ubatch: int = 512
    offloaded: int = 999
    """Layers on GPUs, the output being the last."""
    keys: str = "f16"
    values: str = "f16"
    flash: bool = True
    prompts: int = 8192 * _MIB
    """Bytes of host memory for prompts kept; negative: no limit."""
    checkpoints: int = 32
    """Snapshots of windows and states that a slot may keep."""
    split: str = "layer"
    shares: tuple[float, ...] = ()
    main: int = 0
    experts: int = 0
    """So many first layers keep their experts on the host."""
    unified: bool = False
    cache_on_host: bool = False
    full_windows: bool = False
    as_is: bool = False
    """Whether weights on the CPU stay as they are in the file."""

    def tokens(self, trained: int) -> tuple[int, int]:
        """Tokens that a sequence has, and those of the whole cache: in steps of 256, as llama.cpp has them."""
        parallel = max(1, self.parallel)
        whole = -(-(self.context or trained) // 256) * 256
        if self.unified:
            return whole, whole
        each = -(-(whole // parallel) // 256) * 256
        return each, each * parallel


@dataclass(frozen=True, slots=True, kw_only=True)
class Shards:
    """Of an engine that shards a model over its GPUs, fills its share of them with cache, and packs requests."""

    context: int = 0
    """Tokens of a request; 0: the model's own."""
    parallel: int = 0
    """Requests at once; 0: the engine's own."""
    batch: int = 0
    """Tokens that are computed at once; 0: the engine's own."""
    cache: str = "auto"
    dtype: str = "auto"
    share: float | None = None
    """Of the card, where `args` set it."""
    shards: int = 0
    """GPUs that `tensor_parallel` or `args` give to it, times `stages`; 0: all its GPUs."""
    stages: int = 1
    eager: bool = False
    """Whether no graphs are captured."""


_VLLM: Mapping[str, str] = {
    "--max-model-len": "context",
    "--max-num-seqs": "parallel",
    "--max-num-batched-tokens": "batch",
    "--kv-cache-dtype": "cache",
    "--dtype": "dtype",
    "--gpu-memory-utilization": "share",
    "--tensor-parallel-size": "tensor",
    "-tp": "tensor",
    "--pipeline-parallel-size": "stages",
    "-pp": "stages",
    "--enforce-eager": "eager",
}
_SGLANG: Mapping[str, str] = {
    "--context-length": "context",
    "--max-running-requests": "parallel",
    "--chunked-prefill-size": "batch",
    "--kv-cache-dtype": "cache",
    "--dtype": "dtype",
    "--mem-fraction-static": "share",
    **dict.fromkeys(("--tensor-parallel-size", "--tp-size", "--tp"), "tensor"),
    **dict.fromkeys(("--pipeline-parallel-size", "--pp-size", "--pp"), "stages"),
    "--disable-cuda-graph": "eager",
}
_TGI: Mapping[str, str] = {
    "--max-total-tokens": "context",
    "--max-batch-size": "parallel",
    "--max-batch-prefill-tokens": "batch",
    "--kv-cache-dtype": "cache",
    "--dtype": "dtype",
    "--cuda-memory-fraction": "share",
    "--num-shard": "tensor",
}


def llama(model: Model, *, gpu: bool) -> LlamaSettings:
    """What llama-server is told: `context` is of each request, and shared by none."""
    said: dict[str, str] = {}
    words = iter(model.args)
    for word in words:
        if word in _SWITCHES:
            name, value = _SWITCHES[word]
            said[name] = value
        elif word in _LLAMA:
            said[_LLAMA[word]] = next(words, "")
    own = LlamaSettings()
    parallel = model.parallel or 1
    cache = model.kv_cache_dtype or own.keys
    prompts = _number(said, "prompts", own.prompts // _MIB, least=-1)
    return LlamaSettings(
        context=_number(said, "context", (model.context or 0) * parallel),
        parallel=_number(said, "parallel", parallel, least=1, most=65536),
        batch=_number(said, "batch", own.batch, least=1),
        ubatch=_number(said, "ubatch", own.ubatch, least=1),
        offloaded=_number(said, "offloaded", own.offloaded if gpu else 0) if gpu else 0,
        keys=said.get("keys", cache),
        values=said.get("values", cache),
        flash=said.get("flash", "auto") not in ("off", "0", "false", "disabled"),
        prompts=prompts * _MIB if prompts >= 0 else -1,
        checkpoints=_number(said, "checkpoints", own.checkpoints),
        split=said.get("split", own.split),
        shares=_shares(said.get("shares", "")),
        main=_number(said, "main", 0, most=1024),
        experts=_number(said, "experts", 0),
        unified=bool(said.get("unified")),
        cache_on_host=bool(said.get("cache_on_host")),
        full_windows=bool(said.get("full_windows")),
        as_is=bool(said.get("as_is")),
    )


def ollama(model: Model, *, gpu: bool) -> LlamaSettings:
    """What llama.cpp is told by Ollama."""
    cache, own = model.kv_cache_dtype or "f16", LlamaSettings()
    parallel = model.parallel or 1
    return LlamaSettings(
        context=(model.context or CONTEXT) * parallel,
        parallel=parallel,
        batch=512,
        offloaded=own.offloaded if gpu else 0,
        keys=cache,
        values=cache,
        prompts=0,
        checkpoints=0,
    )


def vllm(model: Model) -> Shards:
    """What `vllm serve` is told."""
    return _shards(model, _VLLM)


def sglang(model: Model) -> Shards:
    """What SGLang's server is told."""
    return _shards(model, _SGLANG)


def tgi(model: Model) -> Shards:
    """What `text-generation-launcher` is told."""
    return _shards(model, _TGI)


def _shards(model: Model, names: Mapping[str, str]) -> Shards:
    said: dict[str, str] = {}
    words = list(model.args)
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in names:
            said[names[name]] = value if equals else (words[place + 1] if place + 1 < len(words) else "")
    tensor = _number(said, "tensor", model.tensor_parallel or 0, most=1024)
    stages = _number(said, "stages", 1, least=1, most=1024)
    try:
        share = float(said["share"])
    except (KeyError, ValueError):
        share = None
    return Shards(
        context=_number(said, "context", model.context or 0),
        parallel=_number(said, "parallel", model.parallel or 0),
        batch=_number(said, "batch", 0),
        cache=said.get("cache", model.kv_cache_dtype or "auto"),
        dtype=said.get("dtype", model.dtype or "auto"),
        share=share if share is not None and 0 < share <= 1 else None,
        shards=tensor * stages,
        stages=stages,
        eager="eager" in said,
    )


def beside(model: Model) -> tuple[str | None, str | None]:
    """Sources of the projector and of the draft model that `args` name for llama-server; None where they name none."""
    found: dict[str, str] = {}
    words = iter(model.args)
    for word in words:
        if word in _BESIDE:
            found[_BESIDE[word]] = f"file:{next(words, '')}"
    return found.get("projector"), found.get("draft")


def _number(said: Mapping[str, str], name: str, default: int, *, least: int = 0, most: int = 2**31) -> int:
    """What was said where that is a number in bounds; the engine refuses the rest, or has a word for its default."""
    try:
        value = int(said[name])
    except (KeyError, ValueError):
        return default
    return value if least <= value <= most else default


def _shares(text: str) -> tuple[float, ...]:
    try:
        found: Sequence[float] = [float(part) for part in text.replace("/", ",").split(",")]
    except ValueError:
        return ()
    return tuple(found) if all(0 <= share < 1e9 for share in found) and sum(found) > 0 else ()
