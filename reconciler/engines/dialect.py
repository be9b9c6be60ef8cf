"""What every engine's dialect is made of: from a model and its place to a command line."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from posixpath import join, normpath
from typing import NamedTuple

from reconciler.engines.metrics import Metering
from reconciler.model.fields import SecretRef
from reconciler.model.fleet import Workload
from reconciler.model.kinds import Model
from reconciler.model.noun import noun
from reconciler.model.observation import Gpu, Host
from reconciler.model.plan import Launch, Request, Sleeper
from reconciler.model.status import Reason

LOOPBACK = "127.0.0.1"
FETCHED = ("hf", "https", "modelscope", "ollama")
"""Schemes of sources that are fetched before an engine starts."""
ANYWHERE = "0.0.0.0"  # noqa: S104  in a container's own network; it is published on the loopback address alone


@noun
class Where:
    """The place that the planner chose."""

    index: int
    """Of the replica."""
    gpus: tuple[Gpu, ...]
    memory: int | None
    """Bytes on each of its GPUs; None: whole."""
    port: int | None
    host: Host
    spare: int
    """Bytes of host memory that it is promised beside those of its weights; 0 where that is not known."""
    weights: str
    """Where the model's weights lie: a file or a directory; of what an engine fetches by itself, its name."""
    contained: bool = False
    """Whether it runs in a container."""

    @property
    def address(self) -> str:
        """What it listens on."""
        return ANYWHERE if self.contained else LOOPBACK


class Command(NamedTuple):
    """How to run it there."""

    argv: tuple[str, ...]
    env: Mapping[str, str | SecretRef]
    files: tuple[str, ...] = ()
    """Files that must be readable."""
    sleeper: Sleeper | None = None
    """How it sleeps, if it was told that it may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why it cannot run there, and what a person can do."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Unfit:
    """Why a resource cannot be run anywhere."""

    field: str
    """Where that is written."""
    why: str
    """In words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attaching:
    """How an engine takes up adapters and lets them go while it runs. They are told by name and source."""

    refused: Callable[[Model], str | None]
    """Why it cannot load the adapters of a model, in words for its `adapters`."""
    able: Callable[[Launch], bool]
    """Whether it was started so that it can."""
    attach: Callable[[str, str], tuple[Request, ...]]
    detach: Callable[[str], tuple[Request, ...]]
    argv: Callable[[Launch, Mapping[str, str]], tuple[str, ...]]
    """The command line of a launch, with other adapters."""
    crowded: Callable[[Launch, int], str]
    """What it means, in words, that it has so many of them; empty where there is nothing to say."""


def openai(model: str, within: float) -> Request:
    """A tiny request to an API like OpenAI's, for one token."""
    # of more than one token: a first request of a single one kills vLLM 0.32 on a CPU with AMX
    body = {"model": model, "prompt": "are you there?", "max_tokens": 1}
    return Request(path="/v1/completions", body=body, within=within)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One engine."""

    render: Callable[[Workload, Model, Where], Command | Refusal]
    sources: tuple[str, ...]
    """Schemes of `source` it can take."""
    cpu: bool
    """Whether it can run without a GPU."""
    sizes_itself: bool = False
    """Whether it measures what is free on its GPUs when it starts: then nothing else may load there meanwhile."""
    untold: tuple[str, ...] = ()
    """Fields of a model that it cannot be told: the model's own files say them."""
    health: str = "/health"
    """HTTP path that answers 2xx when ready; `{name}` is the model's."""
    tiny: Callable[[str, float], Request] = openai
    """Of a model's name and seconds: the request that proves that it infers."""
    knows: str = "{adapter}"
    """The model name that it knows an adapter by; `{name}` is the model's."""
    metering: Metering | None = None
    """How its metrics are read; None: it has none."""
    attaching: Attaching | None = None
    """How it changes adapters while it runs; None: it cannot."""
    sleeps: bool = False
    """Whether it can be put to sleep and woken."""
    images: tuple[str, str] | None = None
    """Images of its own makers: for the CPU, for NVIDIA GPUs."""
    compiles: bool = False
    """Whether it keeps what it compiles, or fetches by itself: then its containers share a place to write to."""
    keeps: bool = True
    """Whether its weights stay in host memory while it sleeps."""
    refused: Callable[[Model], Unfit | None] = lambda _model: None
    """What of a model it cannot do, and why."""


def scheme(source: str) -> str:
    """`hf:org/repo` → `hf`."""
    return source.partition(":")[0]


def absolute(source: str, directory: str) -> str:
    """The same for every file that names it: `file:x.gguf` in a file of `/etc/fleet.d` → `file:/etc/fleet.d/x.gguf`."""
    return f"file:{local_path(source, directory)}" if scheme(source) == "file" else source


def local_path(source: str, directory: str) -> str:
    """`file:../x.gguf` in a file of `/etc/fleet.d` → `/etc/x.gguf`."""
    path = source.removeprefix("file:")
    return normpath(path if path.startswith("/") else join(directory, path))


def hub_parts(source: str) -> tuple[str, str | None, str | None]:
    """`hf:org/repo@rev/dir/file` → `org/repo`, `rev`, `dir/file`."""
    org, _, rest = pinned(source)[0].partition(":")[2].partition("/")
    repo, _, path = rest.partition("/")
    repo, _, revision = repo.partition("@")
    return f"{org}/{repo}", revision or None, path or None


def pinned(source: str) -> tuple[str, str | None]:
    """`https://…/a.gguf@sha256:…` → the source, and the digest that its file must have."""
    plain, mark, digest = source.rpartition("@sha256:")
    return (plain, f"sha256:{digest}") if mark else (source, None)


def cached_as(source: str, engine: str) -> str | None:
    """What is to be in the cache for it, by the name it has there; None where there is nothing to fetch."""
    if scheme(source) not in FETCHED:
        return None
    if engine == "llamacpp" and scheme(source) in ("hf", "modelscope") and hub_parts(source)[2] is None:
        return f"{source}/*.gguf"  # one file of those that are there
    return source


def beside(port: int, place: int) -> int:
    """A port that goes with a leased one, where an engine cannot be told to do without: another for each instance."""
    return 1024 + (port + 10_000 * place - 1024) % 64_512


def visible_devices(where: Where) -> dict[str, str | SecretRef]:
    """The variables that show an engine its GPUs and no others, by UUID: indices shift."""
    uuids = ",".join([gpu.uuid for gpu in where.gpus]) if where.gpus else ""
    if where.gpus and where.gpus[0].maker == "amd":
        # HIP takes CUDA_VISIBLE_DEVICES too, as indices among those that ROCr shows: it has to be left out
        return {"ROCR_VISIBLE_DEVICES": uuids}
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": uuids}
