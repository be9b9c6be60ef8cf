"""llama.cpp: `llama-server` from PATH, or the server inside the xllamacpp wheel. Flags as of August 2026."""

from reconciler.engines.dialect import (
    Command,
    Dialect,
    Where,
    local_path,
    scheme,
    visible_devices,
)
from reconciler.engines.metrics import prometheus
from reconciler.model.fleet import Workload
from reconciler.model.kinds import Model

_ALL_LAYERS = "999"
_CONTAINED = "/app/llama-server"
"""Where its makers' images have it."""
_IMAGES = ("ghcr.io/ggml-org/llama.cpp:server", "ghcr.io/ggml-org/llama.cpp:server-cuda")
_METERING = prometheus({
    "running": ("llamacpp:requests_processing",),
    "waiting": ("llamacpp:requests_deferred",),
    "cache": ("llamacpp:kv_cache_usage_ratio",),  # until the summer of 2025
    "prompt_tokens": ("llamacpp:prompt_tokens_total",),
    "generated_tokens": ("llamacpp:tokens_predicted_total",),
})  # fmt: skip


def _render(workload: Workload, model: Model, where: Where) -> Command:
    server = _CONTAINED if where.contained else where.host.programs.get("llama-server")
    files = [where.weights]
    argv = [server] if server is not None else [where.host.python, "-m", "reconciler.act.llama_server"]
    # -np is always said, so that the context below belongs to one request and is not divided by a default
    parallel = model.parallel or 1
    argv += ["--model", where.weights, "--alias", model.name, "--host", where.address, "--port", str(where.port)]
    argv += ["--metrics", "-np", str(parallel)]
    argv += ["-ngl", _ALL_LAYERS if where.gpus else "0"]
    if model.context is not None:
        argv += ["-c", str(model.context * parallel)]
    elif where.gpus:
        argv += ["--fit", "off"]  # the model's own context, as planned, not what happens to be free
    if model.kv_cache_dtype is not None:
        argv += ["-ctk", model.kv_cache_dtype, "-ctv", model.kv_cache_dtype]
    for adapter in model.adapters:
        local = scheme(adapter.source) == "file"
        files.append(local_path(adapter.source, workload.directory) if local else adapter.source)
        argv += ["--lora", files[-1]]
    return Command(argv=(*argv, *model.args), env=visible_devices(where), files=tuple(files))


DIALECT = Dialect(
    render=_render,
    sources=("file", "hf", "https", "modelscope", "ollama"),
    cpu=True,
    metering=_METERING,
    images=_IMAGES,
)
