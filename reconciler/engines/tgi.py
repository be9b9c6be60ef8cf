"""TGI: `text-generation-launcher` from PATH, which starts a router and shards. Read at 2.4, and its manual of 3.3."""

from reconciler.engines.dialect import (
    Command,
    Dialect,
    Refusal,
    Where,
    beside,
    hub_parts,
    local_path,
    scheme,
    visible_devices,
)
from reconciler.engines.metrics import prometheus
from reconciler.model.fields import SecretRef
from reconciler.model.fleet import Workload
from reconciler.model.kinds import Model
from reconciler.model.status import Reason

_PROGRAM = "text-generation-launcher"
_IMAGE = "ghcr.io/huggingface/text-generation-inference:latest"
_METERING = prometheus({
    "running": ("tgi_batch_current_size",),
    "waiting": ("tgi_queue_size",),
    "prompt_tokens": ("tgi_request_input_length_sum",),
    "generated_tokens": ("tgi_request_generated_tokens_sum",),
    "next_token": ("tgi_request_mean_time_per_token_duration",),
    "request": ("tgi_request_duration",),
})  # fmt: skip


def _render(workload: Workload, model: Model, where: Where) -> Command | Refusal:
    program = _PROGRAM if where.contained else where.host.programs.get(_PROGRAM)
    if program is None:
        words = f"cannot find {_PROGRAM} on PATH; install it, run it in a container, or choose an engine"
        return Refusal(reason=Reason.EngineMissing, detail=words)
    if hub_parts(model.source)[2] is not None and scheme(model.source) != "file":
        return Refusal(reason=Reason.NotSupported, detail="cannot serve one file of a repository; write hf:org/repo")
    port, files = where.port or 0, [where.weights]
    argv = [program, "--model-id", where.weights, "--hostname", where.address, "--port", str(port)]
    argv += ["--num-shard", str(model.tensor_parallel or max(1, len(where.gpus)))]
    # each of its other defaults is one place for all instances of a machine
    argv += ["--shard-uds-path", f"/tmp/holdfast-tgi-{port}", "--master-port", str(beside(port, 1))]  # noqa: S108
    if model.context is not None:
        argv += ["--max-input-tokens", str(max(1, model.context - 1)), "--max-total-tokens", str(model.context)]
    for flag, value in (
        ("--max-batch-size", model.parallel),
        ("--dtype", model.dtype),
        ("--kv-cache-dtype", model.kv_cache_dtype),
    ):
        argv += [flag, str(value)] if value is not None else []
    if where.gpus and where.memory is not None:
        share = where.memory / min(gpu.memory for gpu in where.gpus)
        argv += ["--cuda-memory-fraction", f"{min(1.0, share):.4f}"]
    env: dict[str, str | SecretRef] = visible_devices(where)
    # variables, as versions that do not know a flag end there, and it says where it is to whoever made it
    env |= {"PROMETHEUS_PORT": str(beside(port, 2)), "USAGE_STATS": "off", "HF_HUB_OFFLINE": "1"}
    paths: list[str] = []
    for adapter in model.adapters:
        local = scheme(adapter.source) == "file"
        files.append(local_path(adapter.source, workload.directory) if local else adapter.source)
        paths.append(f"{adapter.name}={files[-1]}")
    if paths:
        env["LORA_ADAPTERS"] = ",".join(paths)
    return Command(argv=(*argv, *model.args), env=env, files=tuple(files))


DIALECT = Dialect(
    render=_render,
    sources=("hf", "file", "modelscope"),
    cpu=False,
    sizes_itself=True,
    metering=_METERING,
    images=(_IMAGE, _IMAGE),
    compiles=True,
)
