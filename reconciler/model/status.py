"""Reported: how every workload does, for people and for the router in front; and the vocabulary of reasons."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from reconciler.model.container import RuntimeName
from reconciler.model.routing import Wanted
from reconciler.model.source import Problem, Revision


class Reason(StrEnum):
    """Why: of actions, blocks, conditions, events. The words an operator learns."""

    # why something is done
    NotRunning = "NotRunning"
    SpecChanged = "SpecChanged"
    NotInFleet = "NotInFleet"
    ScaledDown = "ScaledDown"
    RestartAsked = "RestartAsked"
    StopAsked = "StopAsked"
    Preempted = "Preempted"
    Moved = "Moved"
    NotFetched = "NotFetched"
    # what went wrong
    Exited = "Exited"
    OutOfMemory = "OutOfMemory"
    StartFailed = "StartFailed"
    NeverReady = "NeverReady"
    ProbeFailing = "ProbeFailing"
    SourceMissing = "SourceMissing"
    EngineMissing = "EngineMissing"
    SecretMissing = "SecretMissing"
    DiskFull = "DiskFull"
    FetchFailed = "FetchFailed"
    DigestWrong = "DigestWrong"
    AdapterFailed = "AdapterFailed"
    WakeFailed = "WakeFailed"
    SleepFailed = "SleepFailed"
    Lost = "Lost"
    # why nothing is done
    NoFreeGpu = "NoFreeGpu"
    NoFreeMemory = "NoFreeMemory"
    GpuCordoned = "GpuCordoned"
    NoNode = "NoNode"
    Waiting = "Waiting"
    PortTaken = "PortTaken"
    NoFreePort = "NoFreePort"
    BackingOff = "BackingOff"
    Paused = "Paused"
    SpecInvalid = "SpecInvalid"
    PruneNeedsConsent = "PruneNeedsConsent"
    NotSupported = "NotSupported"
    Unknown = "Unknown"
    # how it is
    Asked = "Asked"
    Fetching = "Fetching"
    Fetched = "Fetched"
    Starting = "Starting"
    Stopping = "Stopping"
    Draining = "Draining"
    Ready = "Ready"
    Converged = "Converged"
    Idle = "Idle"
    Asleep = "Asleep"
    Recovered = "Recovered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One statement about a workload."""

    type: Literal["Ready", "Reconciling", "Stalled"]
    status: Literal["True", "False", "Unknown"]
    reason: Reason
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An address that serves now, and what it answers to: all that a router needs."""

    slot: str
    address: str
    """`http://127.0.0.1:9001`."""
    names: tuple[str, ...]
    """Model names that requests may use: name, aliases, adapters."""
    known_as: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of these names: the model name that its engine knows it by, where that is another."""
    weight: int = 100
    """Its part of the requests for a name that several models answer to."""


ReplicaState = Literal[
    "absent", "recorded", "starting", "ready", "asleep", "failing", "draining", "stopping", "exited", "unknown"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One instance, or one that is missing."""

    slot: str
    state: ReplicaState
    run: int = 0
    runtime: RuntimeName = "process"
    """What it runs under."""
    pid: int | None = None
    port: int | None = None
    gpus: tuple[int, ...] = ()
    """Indices."""
    memory: int | None = None
    """Bytes promised on each of its GPUs."""
    host: int = 0
    """Bytes of host memory promised; 0 where that is not known."""
    basis: Literal["", "declared", "estimated", "measured"] = ""
    """How it is known what it takes: of its GPUs, or of the host where it runs without; empty where it is not."""
    since: float | None = None
    """When that state began, seconds of CLOCK_MONOTONIC."""
    restarts: int = 0
    """Failures in a row before this run."""
    detail: str = ""
    """Why it is not ready, or how it ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadStatus:
    """One workload."""

    name: str
    kind: str
    """`Model` or `Service`; empty for one that is no longer in the fleet."""
    engine: str
    source: str
    """`fleet.d/chat.yaml:3`."""
    wanted: int
    """Replicas that should run now."""
    priority: int
    paused: bool
    """By its file or by command; of a pause of the whole fleet the Status tells."""
    conditions: tuple[Condition, Condition, Condition]
    """Ready, Reconciling, Stalled."""
    replicas: tuple[Replica, ...]
    endpoints: tuple[Endpoint, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    """As its file says."""
    note: str = ""
    """What an operator overrode by command."""
    paused_at: str = ""
    """The line of its file that pauses it, `fleet.d/chat.yaml:7`; empty where none does."""
    surges: bool = False
    """Whether it is replaced by one instance more that is started first, where there is room for it."""
    alone: str = ""
    """`embeds`, `ranks`, `classifies` where its file has its engine do that alone: nobody can chat with it."""

    @property
    def ready(self) -> bool:
        """Whether all that should run answers."""
        return self.conditions[0].status == "True"


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuShare:
    """Somebody's part of a GPU, or of host memory."""

    holder: str
    """A slot, or `pid 4242 python` for a stranger."""
    memory: int
    """Bytes: held, or promised where that is more."""
    ours: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuStatus:
    """One GPU and who holds it."""

    index: int
    uuid: str
    model: str
    memory: int
    used: int
    shares: tuple[GpuShare, ...]
    cordoned: str = ""
    """Why nothing may run on it, and what a person can do; empty where it is well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meters:
    """What the sensors of a GPU say, for people: no plan is made of it. None where its driver does not tell."""

    at: float
    """When they were read, seconds of CLOCK_MONOTONIC."""
    busy: int | None = None
    """Percent of the last second in which it computed."""
    celsius: int | None = None
    watts: float | None = None
    mhz: int | None = None
    """Clock of its processors."""
    ecc: int | None = None
    """Memory errors that could not be corrected, since its driver was loaded."""
    xid: int | None = None
    """The last error that its driver reported to us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostStatus:
    """The machine's own memory and who holds it."""

    memory: int
    used: int
    """Bytes that cannot be had without swapping."""
    shares: tuple[GpuShare, ...]
    """Of ours, as far as they are known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayStatus:
    """The gateway of this machine."""

    connected: bool
    """Whether it tells what its clients want."""
    listen: tuple[str, ...]
    """Where it is to listen: `http://127.0.0.1:8642`."""
    problems: tuple[str, ...] = ()
    """What it cannot do as declared, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The whole fleet at one pass."""

    host: str
    root: str
    revision: Revision | None
    now: float
    """When, seconds of CLOCK_MONOTONIC: what `since` is measured against."""
    converged: bool
    """Whether nothing is left to do and nothing is blocked."""
    workloads: Mapping[str, WorkloadStatus] = field(default_factory=dict[str, WorkloadStatus])
    gpus: tuple[GpuStatus, ...] = ()
    """As they were last seen; while they cannot be seen, `degraded` says so."""
    meters: Mapping[str, Meters] = field(default_factory=dict[str, Meters])
    """By UUID of a GPU."""
    traffic: Mapping[str, Wanted] = field(default_factory=dict[str, Wanted])
    """By model: what its clients want and do, as gateways tell."""
    gateway: GatewayStatus | None = None
    ram: HostStatus | None = None
    """Given where somebody waits for host memory."""
    paused: str = ""
    """That nothing is done to the whole fleet, and what ends that, in words; empty where all is done as declared."""
    problems: tuple[Problem, ...] = ()
    degraded: tuple[str, ...] = ()
    """What the daemon itself cannot do now, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened, for people."""

    seq: int = 0
    """Given by the store; grows by one."""
    at: float
    """Wall clock, seconds since the epoch."""
    severity: Literal["info", "warning", "error"]
    subject: str
    """A slot, a workload, a file, `gateway` or `daemon`."""
    reason: Reason
    message: str
