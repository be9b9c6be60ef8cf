"""What a file may declare: one class for each `kind`. Descriptions of fields are the manual and the JSON Schema.

A field is of class `restart` (a change replaces the instance) unless it is declared with `live(…)` (what runs takes it
over) or `ENGINE` (the engine's own API does it while it runs, where it has one for that; else it is replaced).
"""

import re
from datetime import timedelta
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from reconciler.model.quantity import Duration, Size
from reconciler.model.quick import Quick

NAME = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
_PLAIN_SOURCE = r"^(hf:[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+(/[A-Za-z0-9_./-]+)?|file:/[A-Za-z0-9_./-]+)$"
_SOURCE = re.compile(
    r"hf:[\w.-]+/[\w.-]+(@[\w.-]+)?(/[\w./-]+(@sha256:[0-9a-f]{64})?)?"
    r"|modelscope:[\w.-]+/[\w.-]+(@[\w.-]+)?(/[\w./-]+(@sha256:[0-9a-f]{64})?)?"
    r"|ollama:[\w./-]+(:[\w.-]+)?"
    r"|file:\S.*"
    r"|https://\S+"
)


LIVE: dict[str, Any] = {"x-change": "live"}
ENGINE: dict[str, Any] = {"x-change": "engine"}
Change = Literal["live", "engine", "restart"]


def live(default: Any, **more: Any) -> Any:
    """A field whose change needs no restart: it is applied to what runs."""
    return Field(default, json_schema_extra=LIVE, **more)


def _written(value: object) -> object:
    """A scalar of an environment variable as it was written: numbers and truth values become text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def _ordered(value: Any) -> Any:
    """The same with every mapping in order of its keys: order in a file means nothing, and must change no hash."""
    if isinstance(value, dict):
        items: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
        return {key: _ordered(items[key]) for key in sorted(items, key=str)}
    if isinstance(value, list):
        return [_ordered(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value


Name = Annotated[str, Field(pattern=NAME, description="A DNS label: a-z, 0-9 and '-', at most 63 characters.")]
_Long = Annotated[str, Field(max_length=65536)]
_Short = Annotated[str, Field(max_length=253)]
Text = Annotated[_Long, BeforeValidator(_written), Quick(_Long)]
Label = Annotated[_Short, BeforeValidator(_written), Quick(_Short)]
Labels = dict[str, Label]
Params = Annotated[dict[str, Any], BeforeValidator(_ordered)]
Texts = Annotated[tuple[Text, ...], Field(strict=False)]
Strings = Annotated[tuple[str, ...], Field(strict=False)]


class Spec(BaseModel):
    """Base of everything written in a file: frozen, no unknown key, documented by its attributes."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, strict=True, populate_by_name=True
    )


class SecretRef(Spec):
    """The name of a secret; its value is never in a file, a plan, a log or an event."""

    secret: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    """Name of a systemd credential, of a file in the secrets directory, or of an environment variable of the daemon."""


def _exportable(value: dict[str, str | SecretRef]) -> dict[str, str | SecretRef]:
    for key, text in value.items():
        if not key or "=" in key or "\0" in key or (isinstance(text, str) and "\0" in text):
            raise ValueError(f"cannot export {key!r}; names and values may not hold NUL, names not '='")
    return value


_EnvName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]
_EnvText = Annotated[str, Field(pattern=r"^[^\x00]*$", max_length=65536)]
Env = Annotated[dict[str, Text | SecretRef], AfterValidator(_exportable), Quick(dict[_EnvName, _EnvText | SecretRef])]


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


class Resource(Spec):
    """What every kind has."""

    api_version: Literal["holdfast/v1"] = Field(default="holdfast/v1", alias="apiVersion")
    """Version of the language; assumed when not written."""
    name: Name
    """Unique among all models and services of the fleet."""
    labels: Labels = live(dict[str, str]())
    """Free labels for people and filters."""


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

    runtime: Literal["auto", "process"] = "auto"
    """What it runs under: `process` is a process group of its own under a small keeper; `auto` chooses."""
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
    `ollama:name:tag`. `@sha256:…` behind a file pins its digest."""
    engine: Name | None = None
    """`llamacpp`, `vllm`, or the name of a `kind: Engine`; by default llamacpp for a .gguf file, else vllm."""
    context: int | None = Field(default=None, ge=1, le=2**31 - 1)
    """Tokens of context for each request; the model's own when not given."""
    parallel: int | None = Field(default=None, ge=1, le=65536)
    """Requests served at once by one instance; when not given 1 for llamacpp, else the engine's own default."""
    dtype: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_]+$")
    """Type of weights and activations, in the engine's word: `bfloat16`, `float16` …"""
    kv_cache_dtype: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_]+$")
    """Type of the KV cache, in the engine's word: `f16`, `q8_0`, `fp8` …"""
    tensor_parallel: int | None = Field(default=None, ge=1, le=64)
    """GPUs that share each layer; as many as `gpus` when not given."""
    adapters: Annotated[tuple[Adapter, ...], Field(strict=False)] = Field(default=(), json_schema_extra=ENGINE)
    """LoRA adapters loaded with the model. vLLM takes them up and lets them go while it runs, once it was started with
    any; llama.cpp is replaced."""
    params: Params = Field(default_factory=dict)
    """Parameters of a `kind: Engine`, checked against its `params` schema."""
    args: Texts = ()
    """More arguments for the engine, passed on as they are, last."""
    aliases: Strings = live(())
    """Other model names that requests may use."""
    idle_action: Literal["stop", "sleep"] = live("stop")
    """What becomes of a replica that idles or gives way: `stop`, or `sleep` where the engine can (vllm). Asleep it
    gives back its GPU memory, keeps its weights in host memory, and is woken in a moment. What was started with `stop`
    learns to sleep by its next run."""
    weight: int | None = live(None, ge=0, le=1000)
    """Its part of the requests for a name that it shares with other models, each by its weight: a canary. A name may be
    shared only where all that answer to it give a weight; 0 gets none."""

    @property
    def strategy(self) -> Literal["surge", "replace"]:
        """How its instances are replaced."""
        return self.update.strategy or "surge"


class Service(Runs):
    """Any supporting program: a vector store, a tracker, a metrics server."""

    kind: Literal["Service"] = "Service"
    command: Texts = Field(min_length=1)
    """Program and arguments, run without a shell. `{port}`, `{name}` and `{index}` are filled in; `{{` is a brace."""
    port: int | None = Field(default=None, ge=1, le=65535)
    """A fixed port it listens on; without it, `{port}` in command or env is leased from the node's range."""
    directory: str | None = Field(default=None, pattern=r"^/")
    """Working directory, an absolute path; a private directory of the instance by default."""

    @property
    def strategy(self) -> Literal["surge", "replace"]:
        """How its instances are replaced: two at once could write to the same files."""
        return self.update.strategy or "replace"


class Engine(Resource):
    """A new engine without code: how to run a model with some program."""

    kind: Literal["Engine"] = "Engine"
    command: Texts = Field(min_length=1)
    """Program and arguments, run without a shell. Filled in: `{source}` `{weights}` (fetched first; where they lie)
    `{port}` `{name}` `{index}` `{context}` `{parallel}` `{gpus}` and `{params.key}`; an argument that names a value not
    given is left out; `{{` is a brace."""
    env: Env = Field(default_factory=dict)
    """Environment variables of every instance; a model's own `env` wins."""
    health: str = Field(default="/health", pattern=r"^/\S*$")
    """HTTP path that answers 2xx when an instance is ready."""
    params: Params = Field(default_factory=dict)
    """JSON Schema of the `params` that models of this engine may give."""
    cpu: bool = False
    """Whether it can run without a GPU."""


class Cache(Spec):
    """Where weights are kept."""

    path: str = Field(pattern=r"^/")
    """Directory that weights are fetched to, an absolute path."""
    size: Size | None = None
    """What the directory stays under: what does not fit is not fetched. Nothing is deleted for it."""
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


AnyResource = Model | Service | Engine | Node
Workable = Model | Service
KINDS: dict[str, type[AnyResource]] = {cls.__name__: cls for cls in get_args(AnyResource)}

LATER: dict[str, str] = {
    "limits": "there is no gateway to enforce limits in this version; remove the line",
    "image": "containers are not run in this version; write command",
    "metrics": "engines' metrics are not read in this version; remove the line",
}
"""Keys of the language that this version cannot honour, and what to do: better refused than ignored."""
LATER_KINDS = ("McpServer", "Job", "Workflow", "Dataset", "Route", "Access", "Alert", "Notifier")


def change_class(kind: type[Spec], field: str) -> Change:
    """Whether a change of this field is applied to what runs, by us or by its engine, or replaces it."""
    extra = kind.model_fields[field].json_schema_extra
    return "live" if extra == LIVE else "engine" if extra == ENGINE else "restart"
