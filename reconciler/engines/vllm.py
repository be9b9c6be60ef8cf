"""vLLM: `vllm serve` from PATH. Flags as of 0.32, on which `make test-vllm` runs them."""

from reconciler.engines import vllm_adapters
from reconciler.engines.dialect import (
    Command,
    Dialect,
    Refusal,
    Where,
    hub_parts,
    scheme,
    visible_devices,
)
from reconciler.engines.metrics import prometheus
from reconciler.engines.vllm_memory import ON_CPU
from reconciler.model.fields import SecretRef
from reconciler.model.fleet import Workload
from reconciler.model.kinds import Model
from reconciler.model.plan import Request, Sleeper
from reconciler.model.status import Reason

_WHOLE = 0.9
_LEAST = 2**28
"""Bytes of KV cache below which little fits."""
_SLEEPER = Sleeper(
    asleep="/is_sleeping",
    key="is_sleeping",
    sleep=(Request(path="/sleep?level=1", body={}, within=120.0),),
    wake=(Request(path="/wake_up", body={}, within=120.0),),
    holds=2 * 2**30,  # the CUDA context and the graphs: 1.3 GiB, or a little more
)
"""Level 1: weights go to host memory, the KV cache is dropped."""
_IMAGE = "vllm/vllm-openai:latest"
_METERING = prometheus({
    "running": ("vllm:num_requests_running",),
    "waiting": ("vllm:num_requests_waiting",),
    "cache": (
        "vllm:kv_cache_usage_perc",  # since 0.10
        "vllm:gpu_cache_usage_perc",  # before
    ),
    "prompt_tokens": ("vllm:prompt_tokens_total",),
    "generated_tokens": ("vllm:generation_tokens_total",),
    "first_token": ("vllm:time_to_first_token_seconds",),
    "next_token": (
        "vllm:inter_token_latency_seconds",  # since 0.11
        "vllm:time_per_output_token_seconds",  # before
    ),
    "request": ("vllm:e2e_request_latency_seconds",),
})  # fmt: skip


def _render(workload: Workload, model: Model, where: Where) -> Command | Refusal:
    program = "vllm" if where.contained else where.host.programs.get("vllm")
    if program is None:
        return Refusal(reason=Reason.EngineMissing, detail="cannot find vllm on PATH; install it, or choose an engine")
    if hub_parts(model.source)[2] is not None and scheme(model.source) != "file":
        return Refusal(reason=Reason.NotSupported, detail="cannot serve one file of a repository; write hf:org/repo")
    argv = [program, "serve", where.weights, "--host", where.address, "--port", str(where.port)]
    argv += ["--served-model-name", model.name]
    for flag, value in (
        ("--max-model-len", model.context),
        ("--max-num-seqs", model.parallel),
        ("--dtype", model.dtype),
        ("--kv-cache-dtype", model.kv_cache_dtype),
    ):
        argv += [flag, str(value)] if value is not None else []
    shards = model.tensor_parallel or len(where.gpus)
    argv += ["--tensor-parallel-size", str(shards)] if shards > 1 else []
    if where.gpus:
        # vLLM takes its share of the card's total, not of what is free: the share is set from the promise
        least = min(gpu.memory for gpu in where.gpus)
        share = _WHOLE if where.memory is None else min(_WHOLE, where.memory / least)
        argv += ["--gpu-memory-utilization", f"{share:.4f}"]
    elif where.spare:
        # else it would have 92 % of the host's memory, and end where so much is not free
        argv += ["--kv-cache-memory-bytes", str(max(_LEAST, where.spare - ON_CPU))]
    files = [where.weights]
    env: dict[str, str | SecretRef] = visible_devices(where)
    if model.adapters:
        argv += vllm_adapters.flags(workload.adapters, places=len(model.adapters))
        files += vllm_adapters.files(workload.adapters)
        env.update(vllm_adapters.ENV)
    env["HF_HUB_OFFLINE"] = "1"  # all is here: a hub that cannot be reached must not keep it from starting
    sleeper = _SLEEPER if model.idle_action == "sleep" else None
    if sleeper is not None:
        argv.append("--enable-sleep-mode")
        env["VLLM_SERVER_DEV_MODE"] = "1"  # else it has no such paths
    return Command(argv=(*argv, *model.args), env=env, files=tuple(files), sleeper=sleeper)


DIALECT = Dialect(
    render=_render,
    sources=("hf", "file", "modelscope"),
    cpu=False,
    sizes_itself=True,
    sleeps=True,
    attaching=vllm_adapters.ATTACHING,
    images=(_IMAGE, _IMAGE),
    compiles=True,
    metering=_METERING,
)
