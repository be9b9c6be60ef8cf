"""What a file may declare: one class for each `kind`. Descriptions of fields are the manual and the JSON Schema."""

import re
from datetime import timedelta
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, field_validator, model_validator

from reconciler.model.fields import (
    ENGINE,
    Duration,
    Env,
    Labels,
    Name,
    Params,
    Resource,
    SecretRef,
    Size,
    Spec,
    Strings,
    Texts,
    live,
)
from reconciler.model.gateway import Access, Gateway, Limits, Route
from reconciler.model.quick import Quick
from reconciler.model.runtime import IMAGE, InDocker

_PLAIN_SOURCE = r"^(hf:[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+(/[A-Za-z0-9_./-]+)?|file:/[A-Za-z0-9_./-]+)$"
_SOURCE = re.compile(
    r"hf:[\w.-]+/[\w.-]+(@[\w.-]+)?(/[\w./-]+(@sha256:[0-9a-f]{64})?)?"
    r"|modelscope:[\w.-]+/[\w.-]+(@[\w.-]+)?(/[\w./-]+(@sha256:[0-9a-f]{64})?)?"
    r"|ollama:[\w./-]+(:[\w.-]+)?(@sha256:[0-9a-f]{64})?"
    r"|file:\S.*"
    r"|https://\S+"
)


class Gpus(Spec):
    """Which GPUs, when a number alone does not say it."""

    count: int = Field(default=1, ge=0, le=64)
    """How many GPUs of one machine each replica takes."""
    memory: Size | None = None
    """Only GPUs with at least this much memory in all."""
    model: str | None = None
    """Only GPUs whose model name contains one of these words: `H100|H200`."""
    ids: Strings = ()
    """Only these GPUs, by index or UUID."""
    share: bool = True
    """Whether other workloads may use the memory that is left on its GPUs."""


class Replicas(Spec):
    """How many instances, when it may vary."""

    min: int = Field(default=1, ge=0, le=1000)
    """As many run always; 0 starts none until a waiting request, or `holdfast scale`, asks for one."""
    max: int | None = Field(default=None, ge=1, le=1000)
    """As many run at most; the same as `min` when not given (1 if `min` is 0)."""
    idle: Duration = Field(default=timedelta(minutes=15), ge=timedelta(seconds=1))
    """How long fewer must have been needed until one is let go; sooner where another model needs its place."""
    target_queue: int = Field(default=4, ge=1, le=10000)
    """Requests that may wait for each replica before one more is started, up to `max`."""

    @model_validator(mode="after")
    def _ordered(self) -> "Replicas":
        if self.max is not None and self.max < self.min:
            raise ValueError(f"max cannot be {self.max}, below min {self.min}; choose {self.min} or more")
        return self


class Health(Spec):
    """How to tell that an instance works."""

    path: str | None = Field(default=None, pattern=r"^/\S*$")
    """HTTP path that answers 2xx when ready; the engine's own by default. Without a path a listening port is enough."""
    interval: Duration = Field(default=timedelta(seconds=5), ge=timedelta(milliseconds=100))
    """Time between two probes of an instance that is ready."""
    timeout: Duration = Field(default=timedelta(seconds=3), ge=timedelta(milliseconds=50))
    """How long one probe may take."""
    failures: int = Field(default=3, ge=1, le=100)
    """So many failed probes in a row restart it. After two it gets no traffic."""
    start: Literal["auto"] | Duration = "auto"
    """How long it may take to become ready; `auto` is 5 minutes, and 20 s more for each GiB of its memory."""
    inference: Duration | None = None
    """Time between two tiny requests that prove the model answers, and how long one may take; none when not given."""


class Update(Spec):
    """How an instance is let go and replaced."""

    strategy: Literal["surge", "replace"] | None = None
    """`surge`: one instance more is started first, where there is room for it, so that nothing is down. Else, and with
    `replace`, the old one ends before the new one starts. By default `surge` for models, `replace` for services."""
    drain: Duration = timedelta(minutes=2)
    """How long requests in flight may take to finish before the instance is asked to end."""
    grace: Duration = timedelta(seconds=10)
    """Time between SIGTERM to the whole process group and SIGKILL."""


class Adapter(Spec):
    """A LoRA adapter, a model name of its own beside the model's."""

    name: Name
    """Model name that requests use."""
    source: str
    """Where the adapter's weights are, in the grammar of a model's `source`."""


def _countable(value: int | Gpus | None) -> int | Gpus | None:
    if isinstance(value, int) and not 0 <= value <= 64:
        raise ValueError(f"cannot be {value}; choose 0–64")
    return value


def _bounded(value: int | Replicas) -> int | Replicas:
    if isinstance(value, int) and not 0 <= value <= 1000:
        raise ValueError(f"cannot be {value}; choose 0–1000")
    return value


def _fetchable(value: str) -> str:
    if "\0" in value or not _SOURCE.fullmatch(value):
        raise ValueError("write hf:org/repo, file:path, https://…, modelscope:org/repo or ollama:name:tag")
    return value


Count = Annotated[int | Gpus | None, AfterValidator(_countable), Quick(Annotated[int, Field(ge=0, le=64)])]
Copies = Annotated[int | Replicas, AfterValidator(_bounded), Quick(Annotated[int, Field(ge=0, le=1000)])]
Fetchable = Annotated[
    str,
    Field(min_length=1, max_length=1024),
    AfterValidator(_fetchable),
    Quick(Annotated[str, Field(max_length=1024, pattern=_PLAIN_SOURCE)]),
]


class Runs(Resource):
    """What every kind that runs has."""

    runtime: Literal["auto", "process", "systemd", "docker"] | InDocker = "auto"
    """What it runs under: `process` is a process group of its own under a small keeper; `systemd` a unit of the system
    manager, with a user, limits and walls of its own; `docker`, or `{docker: {image, shm_size, volumes}}`, a container;
    `auto` is a container where its engine has an `image`, else a unit where Holdfast was installed, else a process."""
    gpus: Count = None
    """GPUs for each replica: a number, or which; 0 is CPU only. Not given: as many as it needs, or none."""
    memory: Literal["auto"] | Size = "auto"
    """GPU memory for each replica on each of its GPUs; host memory for one that takes none. `auto` is measured, before
    that estimated from its headers; where neither is known it takes GPUs whole, and counts nothing of the host."""
    env: Env = Field(default_factory=dict)
    """Environment variables; a value may be `{secret: name}`. Nothing else of the daemon's environment is passed on."""
    replicas: Copies = live(1)
    """How many instances: a number from 0, or `{min, max, idle, target_queue}`."""
    priority: int = live(100, ge=0, le=1000)
    """Who wins when not everything fits, 0–1000: what runs gives way to higher ones, and comes back when it can."""
    preemption: Literal["lower", "never"] = live("lower")
    """`lower`: takes places of lower priorities, gives way to higher; `never`: takes from nobody, yields to nobody."""
    health: Health = live(Health())
    """How to tell that an instance works."""
    update: Update = live(Update())
    """How an instance is let go and replaced."""
    nodes: Labels = Field(default_factory=dict)
    """Labels a machine must carry to run it."""
    paused: bool = live(False)
    """Nothing is done to it until it is unpaused: what runs goes on running."""

    @property
    def scaling(self) -> Replicas:
        """How the number of its replicas follows demand, where it may vary."""
        return self.replicas if isinstance(self.replicas, Replicas) else Replicas(min=self.replicas)

    @property
    def bounds(self) -> tuple[int, int]:
        """Fewest and most replicas."""
        if isinstance(self.replicas, int):
            return self.replicas, self.replicas
        return self.replicas.min, self.replicas.max if self.replicas.max is not None else max(1, self.replicas.min)


class Model(Runs):
    """An inference service: a model, served by an engine, under one name."""

    kind: Literal["Model"] = "Model"
    source: Fetchable
    """`hf:org/repo[@rev][/file]`, `modelscope:…`, `https://…`, `file:path` (relative to this file) or
    `ollama:name:tag`. `@sha256:…` behind a file pins its digest, behind a tag that of its manifest."""
    engine: Name | None = None
    """`llamacpp`, `vllm`, `sglang`, `tgi`, `triton`, `ollama`, or the name of a `kind: Engine`; by default ollama for
    an `ollama:` source, llamacpp for a .gguf file, else vllm."""
    context: int | None = Field(default=None, ge=1, le=2**31 - 1)
    """Tokens of context for each request; when not given the model's own, 4096 with ollama."""
    parallel: int | None = Field(default=None, ge=1, le=65536)
    """Requests served at once by one instance; when not given 1 for llamacpp and ollama, else the engine's own
    default."""
    dtype: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_]+$")
    """Type of weights and activations, in the engine's word: `bfloat16`, `float16` …"""
    kv_cache_dtype: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_]+$")
    """Type of the KV cache, in the engine's word: `f16`, `q8_0`, `fp8` …"""
    tensor_parallel: int | None = Field(default=None, ge=1, le=64)
    """GPUs that share each layer; as many as `gpus` when not given."""
    adapters: Annotated[tuple[Adapter, ...], Field(strict=False)] = Field(default=(), json_schema_extra=ENGINE)
    """LoRA adapters loaded with the model. vLLM and SGLang take them up and let them go while they run, once they were
    started with any; llama.cpp and TGI are replaced; Ollama has no adapters but in its models."""
    params: Params = Field(default_factory=dict)
    """Parameters of a `kind: Engine`, checked against its `params` schema."""
    args: Texts = ()
    """More arguments for the engine, passed on as they are, last."""
    aliases: Strings = live(())
    """Other model names that requests may use."""
    idle_action: Literal["stop", "sleep"] = live("stop")
    """What becomes of a replica that idles or gives way: `stop`, or `sleep` where the engine can (vllm, sglang,
    ollama). Asleep it gives back its GPU memory, keeps its weights in host memory, and is woken in a moment; ollama
    keeps none, and loads its model again. What was started with `stop` learns to sleep by its next run."""
    weight: int | None = live(None, ge=0, le=1000)
    """Its part of the requests for a name that it shares with other models, each by its weight: a canary. A name may be
    shared only where all that answer to it give a weight; 0 gets none."""
    limits: Limits | None = live(None)
    """How much is asked of it at most, by all together: requests and tokens per minute and day, and at once."""
    fallback: Strings = live((), max_length=16)
    """Models that answer in its place while it cannot, in order; the gateway says so in a header."""
    affinity: Literal["none", "prefix"] = live("none")
    """`prefix`: requests that begin alike go to the same replica, whose cache knows them, unless it is far busier."""

    @property
    def strategy(self) -> Literal["surge", "replace"]:
        """How its instances are replaced."""
        return self.update.strategy or "surge"


class Service(Runs):
    """Any supporting program: a vector store, a tracker, a metrics server."""

    kind: Literal["Service"] = "Service"
    command: Texts = Field(default=(), min_length=1)
    """Program and arguments, run without a shell. `{port}`, `{name}` and `{index}` are filled in; `{{` is a brace. May
    be left out in a container: then the image's own entry point and command run."""
    port: int | None = Field(default=None, ge=1, le=65535)
    """A fixed port it listens on; without it, `{port}` in command or env is leased from the node's range."""
    directory: str | None = Field(default=None, pattern=r"^/")
    """Working directory, an absolute path; by default a private one of the instance, in a container the image's."""

    @property
    def strategy(self) -> Literal["surge", "replace"]:
        """How its instances are replaced: two at once could write to the same files."""
        return self.update.strategy or "replace"


_Metric = Annotated[str, Field(pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]{0,199}$")]


class MetricNames(Spec):
    """What an engine calls what it measures, in Prometheus's text format."""

    path: str = Field(default="/metrics", pattern=r"^/\S*$")
    """HTTP path where it tells."""
    running: _Metric | None = None
    """A gauge: requests that it works on. Several series of one name count together."""
    waiting: _Metric | None = None
    """A gauge: requests that it has taken, and that wait."""
    cache: _Metric | None = None
    """A gauge: share of its KV cache that is in use, 0 to 1."""
    prompt_tokens: _Metric | None = None
    """A counter: tokens read."""
    generated_tokens: _Metric | None = None
    """A counter: tokens written."""
    first_token: _Metric | None = None
    """A histogram: seconds from a request to its first token; its name without `_bucket`."""
    next_token: _Metric | None = None
    """A histogram: seconds from one token to the next."""
    request: _Metric | None = None
    """A histogram: seconds from a request to the end of its answer."""


class Engine(Resource):
    """A new engine without code: how to run a model with some program."""

    kind: Literal["Engine"] = "Engine"
    command: Texts = Field(min_length=1)
    """Program and arguments, run without a shell. Filled in: `{source}` `{weights}` (fetched first; where they lie)
    `{port}` `{name}` `{index}` `{context}` `{parallel}` `{gpus}` and `{params.key}`; an argument that names a value not
    given is left out; `{{` is a brace."""
    image: str | None = Field(default=None, pattern=IMAGE, max_length=512)
    """Image that its models run in, where their own `runtime` names no other; `runtime: process` runs them without."""
    env: Env = Field(default_factory=dict)
    """Environment variables of every instance; a model's own `env` wins."""
    health: str = Field(default="/health", pattern=r"^/\S*$")
    """HTTP path that answers 2xx when an instance is ready."""
    params: Params = Field(default_factory=dict)
    """JSON Schema of the `params` that models of this engine may give."""
    cpu: bool = False
    """Whether it can run without a GPU."""
    metrics: MetricNames | None = live(None)
    """What it calls what it measures, for `holdfast metrics`."""


class Cache(Spec):
    """Where weights are kept."""

    path: str = Field(pattern=r"^/")
    """Directory that weights are fetched to, an absolute path."""
    size: Size | None = None
    """What the directory stays under: what does not fit is not fetched. Only `holdfast models prune` deletes."""
    token: SecretRef | None = None
    """What hubs are shown where a model's own `env` has no HF_TOKEN (MODELSCOPE_API_TOKEN): `{secret: hf-token}`."""


class Node(Resource):
    """A machine. It applies where its name is the machine's host name, or `local`."""

    kind: Literal["Node"] = "Node"
    reserved: Size = live(0)
    """Memory of each GPU that is left alone."""
    reserved_host: Size | None = live(None)
    """Host memory that is left alone, beside what others hold; when not given 1 GiB, or 5 % where that is more."""
    ports: str = live("9000-9999", pattern=r"^\d{1,5}-\d{1,5}$")
    """Range that instances' ports are leased from."""
    cache: Cache | None = None
    """Where weights are kept; where Hugging Face's own tools keep theirs when not given."""
    gateway: Gateway = live(Gateway())
    """How the gateway of this machine listens, and what it takes."""

    @field_validator("ports")
    @classmethod
    def _ranged(cls, value: str) -> str:
        first, last = map(int, value.split("-"))
        if not 1 <= first <= last <= 65535:
            raise ValueError(f"cannot be {value}; choose first-last within 1-65535")
        return value

    @property
    def port_range(self) -> range:
        """The ports to lease from."""
        first, last = map(int, self.ports.split("-"))
        return range(first, last + 1)


AnyResource = Model | Service | Engine | Node | Access | Route
Workable = Model | Service
KINDS: dict[str, type[AnyResource]] = {cls.__name__: cls for cls in get_args(AnyResource)}

LATER_KINDS = ("McpServer", "Job", "Workflow", "Dataset", "Alert", "Notifier")
"""Kinds of the language that this version cannot honour: better refused than ignored."""
