"""SGLang: `sglang serve` from PATH. Read at 0.4.6, 0.5.6 and 0.5.23; it has to be 0.5.4 or newer to be started so."""

from reconciler.engines import flags, sglang_adapters, vllm_adapters
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
from reconciler.engines.sglang_memory import fraction
from reconciler.model.fields import SecretRef
from reconciler.model.fleet import Workload
from reconciler.model.kinds import Model
from reconciler.model.plan import Request, Sleeper
from reconciler.model.status import Reason

_IMAGE = "lmsysorg/sglang:latest"
_MARK = "/update_weight_version"
_SLEEPER = Sleeper(
    asleep="/model_info",
    key="weight_version",
    value="asleep",
    sleep=(
        # it crashes when it is told to release memory that is in use: first it cuts what it does and takes nothing new
        Request(path="/pause_generation", body={"mode": "abort"}, within=60.0),
        Request(path=_MARK, body={"new_version": "asleep"}, within=10.0),
        Request(path="/release_memory_occupation", body={}, within=120.0),
    ),
    wake=(
        Request(path="/resume_memory_occupation", body={}, within=120.0),
        Request(path="/continue_generation", body={}, within=10.0),
        Request(path=_MARK, body={"new_version": "default"}, within=10.0),
    ),
    holds=2 * 2**30,  # the CUDA context and what the driver keeps
)
"""It cannot be asked whether it sleeps: so it is given a mark to keep, before it falls asleep and after it is awake."""
_METERING = prometheus({
    "running": ("sglang:num_running_reqs",),
    "waiting": ("sglang:num_queue_reqs",),
    "cache": ("sglang:token_usage",),
    "prompt_tokens": ("sglang:prompt_tokens_total",),
    "generated_tokens": ("sglang:generation_tokens_total",),
    "first_token": ("sglang:time_to_first_token_seconds",),
    "next_token": (
        "sglang:inter_token_latency_seconds",  # since 0.4.5
        "sglang:time_per_output_token_seconds",  # before
    ),
    "request": ("sglang:e2e_request_latency_seconds",),
})  # fmt: skip


def _render(workload: Workload, model: Model, where: Where) -> Command | Refusal:
    program = "sglang" if where.contained else where.host.programs.get("sglang")
    if program is None:
        words = "cannot find sglang on PATH; install it, or choose an engine"
        return Refusal(reason=Reason.EngineMissing, detail=words)
    if hub_parts(model.source)[2] is not None and scheme(model.source) != "file":
        return Refusal(reason=Reason.NotSupported, detail="cannot serve one file of a repository; write hf:org/repo")
    argv = [program, "serve", "--model-path", where.weights, "--host", where.address, "--port", str(where.port)]
    argv += ["--served-model-name", model.name, "--enable-metrics"]
    for flag, value in (
        ("--context-length", model.context),
        ("--max-running-requests", model.parallel),
        ("--dtype", model.dtype),
        ("--kv-cache-dtype", model.kv_cache_dtype),
    ):
        argv += [flag, str(value)] if value is not None else []
    shards = model.tensor_parallel or len(where.gpus)
    argv += ["--tensor-parallel-size", str(shards)] if shards > 1 else []
    if where.gpus and where.memory is not None:  # with cards to itself it knows best
        argv += ["--mem-fraction-static", f"{fraction(where.memory, flags.sglang(model), where.gpus):.4f}"]
    files = [where.weights]
    env: dict[str, str | SecretRef] = visible_devices(where)
    # else each probe is a request of its own, which is not what it is for, and cannot be served asleep
    env["SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION"] = "false"
    if model.adapters:
        argv += sglang_adapters.flags(workload.adapters, places=len(model.adapters))
        files += vllm_adapters.files(workload.adapters)
    env["HF_HUB_OFFLINE"] = "1"  # all is here: a hub that cannot be reached must not keep it from starting
    sleeper = _SLEEPER if model.idle_action == "sleep" else None
    if sleeper is not None:
        argv += ["--enable-memory-saver", "--enable-weights-cpu-backup"]  # without the second it wakes to no weights
    return Command(argv=(*argv, *model.args), env=env, files=tuple(files), sleeper=sleeper)


DIALECT = Dialect(
    render=_render,
    sources=("hf", "file", "modelscope"),
    cpu=False,
    sizes_itself=True,
    sleeps=True,
    attaching=sglang_adapters.ATTACHING,
    knows="{name}:{adapter}",
    metering=_METERING,
    images=(_IMAGE, _IMAGE),
    compiles=True,
)
