"""Ollama: `ollama serve` from PATH, one for each instance, with its model alone in its store. Read at Ollama, 2026.

It answers as soon as it runs, without its model; that is loaded by a request, and let go by one. So to have started is
to sleep, and what loads the model is what wakes it, also where somebody else had it unloaded. Who closes the connection
of a load ends that load. It has no metrics, and takes adapters only as part of a model.
"""

from posixpath import dirname, join

from reconciler.engines import registry
from reconciler.engines.dialect import LOOPBACK, Command, Dialect, Refusal, Unfit, Where, visible_devices
from reconciler.model.fleet import Workload
from reconciler.model.kinds import Model, SecretRef
from reconciler.model.plan import Request, Sleeper
from reconciler.model.runtime import InDocker
from reconciler.model.status import Reason

CONTEXT = 4096
"""Tokens where no file says: its own default follows the size of the GPUs, so that nothing could be planned for it."""
_NO_GPU = {"CUDA_VISIBLE_DEVICES": "-1", "ROCR_VISIBLE_DEVICES": "-1", "GGML_VK_VISIBLE_DEVICES": "-1"}
"""It looks for GPUs of every maker, and takes an empty variable for none."""


def _refused(model: Model) -> Unfit | None:
    if model.runtime == "docker" or isinstance(model.runtime, InDocker):
        return Unfit("runtime", "cannot be docker with ollama, whose store a process lays out; write process")
    if model.adapters:
        why = "cannot be loaded by ollama, but as part of a model; choose engine llamacpp, which takes them as files"
        return Unfit("adapters", why)
    if model.args:
        return Unfit("args", "cannot be passed to ollama, which takes none; write env")
    return None


def _render(_workload: Workload, model: Model, where: Where) -> Command | Refusal:
    program = where.host.programs.get("ollama")
    if program is None:
        detail = "cannot find ollama on PATH; install it, or write engine: llamacpp, which serves ollama: sources too"
        return Refusal(reason=Reason.EngineMissing, detail=detail)
    name = registry.name_of(model.source)
    if name is None:
        return Refusal(reason=Reason.SourceMissing, detail=f"cannot find {model.source}; write ollama:name:tag")
    manifest = join(dirname(dirname(where.weights)), name.manifests[1])
    env: dict[str, str | SecretRef] = {
        "OLLAMA_HOST": f"{LOOPBACK}:{where.port}",
        "OLLAMA_CONTEXT_LENGTH": str(model.context or CONTEXT),
        "OLLAMA_NUM_PARALLEL": str(model.parallel or 1),
        "OLLAMA_MAX_LOADED_MODELS": "1",
        "OLLAMA_KEEP_ALIVE": "-1",
        "OLLAMA_NO_CLOUD": "1",
        **_NO_GPU,
        **(visible_devices(where) if where.gpus else {}),
    }
    if len(where.gpus) > 1:
        env["OLLAMA_SCHED_SPREAD"] = "1"  # else it takes no more of them than it needs
    if model.kv_cache_dtype is not None:
        env |= {"OLLAMA_KV_CACHE_TYPE": model.kv_cache_dtype, "OLLAMA_FLASH_ATTENTION": "1"}
    argv = (where.host.python, "-m", "reconciler.act.ollama_server", manifest, model.name, program, "serve")
    return Command(argv=argv, env=env, files=(where.weights, manifest), sleeper=_sleeper(model.name))


def _sleeper(name: str) -> Sleeper:
    return Sleeper(
        asleep="/api/ps",
        key="models",
        sleep=(Request(path="/api/generate", body={"model": name, "keep_alive": "0s"}, within=60.0),),
        # without an input it only loads, models that generate as well as those that embed
        wake=(Request(path="/api/embed", body={"model": name, "keep_alive": "-1s"}, within=0.0),),
        holds=0,
    )


DIALECT = Dialect(
    render=_render,
    sources=("ollama",),
    cpu=True,
    untold=("dtype",),
    health="/api/version",
    sleeps=True,
    keeps=False,
    refused=_refused,
)
