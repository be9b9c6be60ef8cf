"""Triton: `tritonserver` from PATH, one model of a repository. Read in its documentation, 2.40 to 2.60.

Its API is KServe's, not OpenAI's. It is told which model to load, and nothing else of its repository is loaded.
"""

from reconciler.engines.dialect import Command, Dialect, Refusal, Where, visible_devices
from reconciler.engines.metrics import STATISTICS
from reconciler.model.fields import SecretRef
from reconciler.model.fleet import Workload
from reconciler.model.kinds import Model
from reconciler.model.plan import Request
from reconciler.model.status import Reason

_PROGRAM = "tritonserver"


def _render(workload: Workload, model: Model, where: Where) -> Command | Refusal:
    program = _PROGRAM if where.contained else where.host.programs.get(_PROGRAM)
    if program is None:
        words = f"cannot find {_PROGRAM} on PATH; run it in a container, or choose an engine"
        return Refusal(reason=Reason.EngineMissing, detail=words)
    argv = [program, f"--model-repository={where.weights}"]
    argv += ["--model-control-mode=explicit", f"--load-model={model.name}"]
    argv += [f"--http-address={where.address}", f"--http-port={where.port}"]
    # two more ports, which nobody leased; what they tell is told on the first
    argv += ["--allow-grpc=false", "--allow-metrics=false"]
    # else it waits for requests in flight longer than it is given
    argv += [f"--exit-timeout-secs={max(1, int(model.update.grace.total_seconds()))}"]
    env: dict[str, str | SecretRef] = visible_devices(where)
    files = (where.weights, f"{where.weights}/{workload.name}")  # without its part there is nothing to load
    return Command(argv=(*argv, *model.args), env=env, files=files)


def _tiny(model: str, within: float) -> Request:
    """Of what generates text; a model of another kind has no request that is right for all of its kind."""
    body: dict[str, str | int | bool] = {"text_input": "a", "max_tokens": 1, "stream": False}
    return Request(path=f"/v2/models/{model}/generate", body=body, within=within)


DIALECT = Dialect(
    render=_render,
    sources=("file",),
    cpu=True,
    health="/v2/models/{name}/ready",
    tiny=_tiny,
    untold=("context", "parallel", "dtype", "kv_cache_dtype", "tensor_parallel", "adapters"),
    metering=STATISTICS,
    images=("nvcr.io/nvidia/tritonserver:25.08-py3", "nvcr.io/nvidia/tritonserver:25.08-vllm-python-py3"),
)
