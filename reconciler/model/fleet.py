"""Desired: what the files declare, resolved so far that the planner needs no file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from reconciler.model.container import RuntimeName
from reconciler.model.gateway import Access, Route
from reconciler.model.kinds import Engine, Health, Node, Update, Workable
from reconciler.model.noun import noun
from reconciler.model.runtime import Docker
from reconciler.model.slots import digest
from reconciler.model.source import Problem, Revision, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What one replica takes."""

    gpus: int | None = 0
    """How many GPUs; None: one, or none on a machine without any, if `cpu`."""
    cpu: bool = True
    """Whether it can run without a GPU."""
    memory: int | None = None
    """Bytes on each of its GPUs; None takes them whole."""
    share: bool = True
    """Whether others may use what is left on its GPUs."""
    least: int = 0
    """Only GPUs of at least so many bytes in all."""
    models: tuple[str, ...] = ()
    """Only GPUs whose model name contains one of these."""
    ids: tuple[str, ...] = ()
    """Only these GPUs, by index or UUID."""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    """Labels the node must carry."""
    port: int | Literal["leased"] | None = None
    """A fixed port, one from the node's range, or none."""


@noun
class Workload:
    """What the planner sees of anything that runs. Made by `engines` from a resource."""

    name: str
    spec: Workable
    engine: str
    """`llamacpp`, `vllm`, `sglang`, `tgi`, `triton`, `command` (a Service) or the name of a `kind: Engine`."""
    template: Engine | None = None
    """The `kind: Engine` it runs by, if it does."""
    source: Source
    directory: str
    """Directory of the declaring file, absolute: what `file:` sources are relative to."""
    needs: Needs
    replicas: tuple[int, int]
    """Fewest and most."""
    priority: int
    health: Health
    update: Update
    paused: bool
    settings: str
    """Canonical JSON of what was written, without defaults: of the spec and of its Engine. What two versions of it are
    compared by, key by key."""
    fingerprint: str
    """Hash of the settings of class `restart`: an instance with another one is replaced."""
    live: str
    """Hash of the settings of class `live`: an instance with another one is updated."""
    adapters: Mapping[str, str] = field(default_factory=dict[str, str])
    """By name the source of each, `file:` ones absolute, where the engine can attach them while it runs; else none, as
    they are part of the fingerprint."""
    docker: Docker | None = None
    """How its containers are made, with their image; None where it runs without."""

    def under(self, auto: RuntimeName) -> RuntimeName:
        """What it runs under, on a machine where `auto` means this."""
        if self.docker is not None:
            return "docker"
        match self.spec.runtime:
            case "process" | "systemd" as asked:
                return asked
            case _:
                return auto

    @property
    def digest(self) -> str:
        """Fingerprint, live hash and adapters as one string: equal where nothing at all changed."""
        return digest(self.fingerprint, self.live, self.adapters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Everything declared, at one commit. Broken sources keep their last good version and show as problems."""

    root: str
    """The directory, as the person named it."""
    revision: Revision | None = None
    workloads: Mapping[str, Workload] = field(default_factory=dict[str, Workload])
    engines: Mapping[str, Engine] = field(default_factory=dict[str, Engine])
    nodes: Mapping[str, Node] = field(default_factory=dict[str, Node])
    access: Mapping[str, Access] = field(default_factory=dict[str, Access])
    routes: Mapping[str, Route] = field(default_factory=dict[str, Route])
    problems: tuple[Problem, ...] = ()
    """Sorted by path, line and column."""
    missing: str | None = None
    """Why the directory as a whole cannot be believed (gone, empty, unreadable); then nothing is pruned."""
    slots: Mapping[str, str] = field(default_factory=dict[str, str])
    """Index of workloads: for each slot that its files alone ask for, the digest an instance should carry."""

    def node(self, host: str) -> Node:
        """The Node that applies on a machine of this host name; a default one where none is declared."""
        return self.nodes.get(host) or self.nodes.get("local") or Node(name="local")

    def cache_of(self, host: str) -> str | None:
        """Where weights are kept on a machine of this host name; None: where Hugging Face's tools keep theirs."""
        cache = self.node(host).cache
        return cache.path if cache is not None else None

    def other(self, host: str) -> Node:
        """The Node that applies on another machine than the one that the daemon runs on."""
        return self.nodes.get(host) or Node(name=host)


def slots_of(workloads: Mapping[str, Workload]) -> dict[str, str]:
    """The `slots` of a Fleet."""
    return {
        f"{name}/{index}": workload.digest
        for name, workload in workloads.items()
        for index in range(workload.replicas[0])
    }
