"""llama.cpp: `llama-server` from PATH, or the server inside the xllamacpp wheel. Flags as of August 2026."""

from reconciler.engines.dialect import (
    LOOPBACK,
    Command,
    Dialect,
    Refusal,
    Where,
    local_path,
    scheme,
    visible_devices,
)
from reconciler.model.fleet import Workload
from reconciler.model.kinds import Model
from reconciler.model.status import Reason

_ALL_LAYERS = "999"


def _render(workload: Workload, model: Model, where: Where) -> Command | Refusal:
    server = where.host.programs.get("llama-server")
    files = [where.weights]
    argv = [server] if server is not None else [where.host.python, "-m", "reconciler.act.llama_server"]
    # -np is always said, so that the context below belongs to one request and is not divided by a default
    parallel = model.parallel or 1
    argv += ["--model", where.weights, "--alias", model.name, "--host", LOOPBACK, "--port", str(where.port)]
    argv += ["-np", str(parallel)]
    argv += ["-ngl", _ALL_LAYERS if where.gpus else "0"]
    if model.context is not None:
        argv += ["-c", str(model.context * parallel)]
    elif where.gpus:
        argv += ["--fit", "off"]  # the model's own context, as planned, not what happens to be free
    if model.kv_cache_dtype is not None:
        argv += ["-ctk", model.kv_cache_dtype, "-ctv", model.kv_cache_dtype]
    for adapter in model.adapters:
        if scheme(adapter.source) != "file":
            return Refusal(
                reason=Reason.NotSupported,
                detail=f"cannot fetch adapter {adapter.name}: llama.cpp reads local adapters only; write file:",
            )
        files.append(local_path(adapter.source, workload.directory))
        argv += ["--lora", files[-1]]
    return Command(argv=(*argv, *model.args), env=visible_devices(where), files=tuple(files))


DIALECT = Dialect(render=_render, sources=("file", "hf", "https", "modelscope"), cpu=True)
