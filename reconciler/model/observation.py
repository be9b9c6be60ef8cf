"""Actual: what one look at the machine found. What could not be seen is Unknown, and unknown is not absent."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from reconciler.model.container import RuntimeName
from reconciler.model.plan import Launch, Strikes
from reconciler.model.slots import digest
from reconciler.model.status import Reason
from reconciler.model.stored import Stored
from reconciler.model.weights import Unreadable, Weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """A fact that could not be had, and why."""

    reason: str
    kind: Literal["unknown"] = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A process that holds memory of a GPU."""

    pid: int
    name: str
    memory: int
    """Bytes."""
    slot: str | None = None
    """Ours, or None for a stranger's."""


Maker = Literal["nvidia", "amd"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU as it is now."""

    index: int
    uuid: str
    model: str
    node: str = ""
    """The machine it is in; empty: the one that the daemon runs on."""
    maker: Maker = "nvidia"
    part: bool = False
    """Whether it is a MIG instance, a part of a card: a process can use but one of these."""
    numa: int | None = None
    """The NUMA node that is nearest to it."""
    cordoned: str = ""
    """Why nothing may run on it, and what a person can do; empty where it is well."""
    memory: int
    """Bytes in all."""
    used: int
    """Bytes held now, by anyone."""
    links: tuple[int, ...] = ()
    """Indices of GPUs it is directly linked to."""
    holders: tuple[Holder, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The machine."""

    name: str
    """Host name, as a DNS label."""
    cpus: int
    memory: int
    """Bytes in all; 0 where that is not known."""
    available: int
    """Bytes that can be had without swapping."""
    at: float = 0.0
    """When that was read, seconds of CLOCK_MONOTONIC."""
    programs: Mapping[str, str] = field(default_factory=dict[str, str])
    """Engine programs found on PATH: name → absolute path."""
    python: str = "python3"
    """The interpreter that runs Holdfast, absolute."""
    driver: str | None = None
    """Version of the NVIDIA driver."""
    auto: RuntimeName = "process"
    """What `runtime: auto` means here, where no image says otherwise."""
    no_units: str = ""
    """Why the daemon may have no units of the system manager, and what to do; empty where it may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """Host memory that the processes of an instance held when it was last counted."""

    run: int
    own: int
    """Bytes that nobody gets back while they run."""
    files: int
    """Bytes of files that they have mapped: the kernel may drop these and read them again, so they are available."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotReady:
    """It runs and has not answered yet in this run."""

    detail: str = "not probed yet"
    reason: Reason = Reason.ProbeFailing
    kind: Literal["notready"] = "notready"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """It answers."""

    since: float
    """When it became ready, seconds of CLOCK_MONOTONIC."""
    woken: bool = False
    """Whether it had slept before: then it took a moment, and not a load."""
    kind: Literal["ready"] = "ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failing:
    """It had been ready and does not answer now."""

    since: float
    failures: int
    """Failed probes in a row."""
    detail: str
    kind: Literal["failing"] = "failing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asleep:
    """It answers that it sleeps: it has given back GPU memory, and serves once it is woken."""

    since: float
    """When it was seen to, seconds of CLOCK_MONOTONIC."""
    kind: Literal["asleep"] = "asleep"


Readiness = NotReady | Ready | Failing | Asleep | Unknown
"""Unknown: it has been ready in this run, and whether it sleeps cannot be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Its launch is on disk; nothing of this run was started yet."""

    kind: Literal["recorded"] = "recorded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """Its process runs."""

    pid: int
    since: float
    """When it was started, seconds of CLOCK_MONOTONIC."""
    readiness: Readiness
    was_ready: bool = False
    """Whether it has been ready in this run."""
    kind: Literal["running"] = "running"

    @property
    def took(self) -> float:
        """Seconds that it took to be ready; 0 where it is not, or was only woken."""
        ready = self.readiness
        return ready.since - self.since if isinstance(ready, Ready) and not ready.woken else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping:
    """It was asked to end."""

    pid: int
    since: float
    asked: Reason
    kind: Literal["stopping"] = "stopping"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exited:
    """It ended."""

    at: float
    """Seconds of CLOCK_MONOTONIC."""
    began: float | None = None
    """When it was started, by the same clock; None where that is not known."""
    code: int | None = None
    """Exit status; None where a signal ended it or it is not known."""
    signal: int | None = None
    oom: bool = False
    """Whether the kernel killed it for memory."""
    asked: Reason | None = None
    """Why we had ended it; None where it ended by itself."""
    ready_for: float | None = None
    """Seconds it had been ready; None where it never was."""
    detail: str = ""
    """What is known beyond that: why it could not be started, the last words of its log."""
    kind: Literal["exited"] = "exited"


Phase = Recorded | Running | Stopping | Exited | Unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One of ours, found by what it carries."""

    slot: str
    launch: Launch
    """What it was started from, as recorded before the start."""
    phase: Phase

    @property
    def digest(self) -> str:
        """What of the fleet it is: see `Workload.digest`."""
        return digest(self.launch.fingerprint, self.launch.live, self.launch.adapters)

    @property
    def asleep(self) -> Asleep | None:
        """How it sleeps, if it does."""
        readiness = self.phase.readiness if isinstance(self.phase, Running) else None
        return readiness if isinstance(readiness, Asleep) else None

    @property
    def holding(self) -> Launch:
        """Its launch, with what it takes now: less than promised while it sleeps."""
        return self.launch.asleep if self.asleep else self.launch

    @property
    def healthy(self) -> bool:
        """Whether it runs, answers, and owes nothing to an earlier failure."""
        return (
            isinstance(self.phase, Running)
            and isinstance(self.phase.readiness, Ready)
            and self.launch.strikes == Strikes()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One look. Each part was read once, and each part may be Unknown."""

    host: Host
    others: tuple[Host, ...] = ()
    """Machines beside this one, sorted by name. Nothing of what runs there is seen but what was planned there."""
    gpus: tuple[Gpu, ...] | Unknown = ()
    """Sorted by machine, this one first, and index."""
    instances: Mapping[str, Instance] | Unknown = field(default_factory=dict[str, Instance])
    """By slot."""
    unseen: Mapping[str, str] = field(default_factory=dict[str, str])
    """By runtime: why what runs under it cannot be seen. Nothing is started there."""
    ports: frozenset[int] | Unknown = frozenset()
    """TCP ports that something listens on, ours included."""
    healthy: Mapping[str, str] = field(default_factory=dict[str, str])
    """Index of instances: the digest of each that is healthy."""
    weights: Mapping[str, Weights | Unreadable | Unknown] = field(
        default_factory=dict[str, "Weights | Unreadable | Unknown"]
    )
    """By source (`file:` ones by their absolute path): what the headers tell of model files."""
    sources: Mapping[str, Stored | Unknown] = field(default_factory=dict[str, "Stored | Unknown"])
    """By source: whether its weights are on this machine. A source not in it was not looked for, and is taken to be."""
    reading: frozenset[str] = frozenset()
    """Sources whose headers are being read for the first time."""
    stated: Mapping[str, int] = field(default_factory=dict[str, int])
    """By slot: bytes on that of its GPUs which gives most, as the log of the run that is ready says."""
    resident: Mapping[str, Resident] = field(default_factory=dict[str, Resident])
    """By slot: host memory of instances, as it was last counted, which is seldom."""

    @property
    def sound(self) -> tuple[Gpu, ...]:
        """The GPUs that something may run on: nothing where they cannot be seen."""
        gpus = () if isinstance(self.gpus, Unknown) else self.gpus
        return tuple(gpu for gpu in gpus if not gpu.cordoned) if any(gpu.cordoned for gpu in gpus) else gpus

    @property
    def cordoned(self) -> tuple[Gpu, ...]:
        """The GPUs that nothing may run on."""
        return () if isinstance(self.gpus, Unknown) else tuple(gpu for gpu in self.gpus if gpu.cordoned)

    @property
    def machines(self) -> Mapping[str, Host]:
        """Every machine by the name that GPUs and launches carry: empty for the one that the daemon runs on."""
        return {"": self.host, **{host.name: host for host in self.others}}


def healthy_of(instances: Mapping[str, Instance]) -> dict[str, str]:
    """The `healthy` of an Observation."""
    return {name: instance.digest for name, instance in instances.items() if instance.healthy}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What clients want of one model now."""

    waiting: int = 0
    in_flight: Mapping[str, int] = field(default_factory=dict[str, int])
    """By slot: requests that it works on."""
    exposed: frozenset[str] = frozenset()
    """Slots that drain, and that a gateway may still send requests to: it has not heard of it yet."""
    since: float | None = None
    """Since when the oldest of those waiting does, seconds of CLOCK_MONOTONIC."""
    unheard: bool = False
    """Whether a gateway may be serving it of which nothing is heard: that nobody wants it is not known."""

    def busy(self, slot: str) -> bool:
        """Whether a slot works, or may at any moment."""
        return self.in_flight.get(slot, 0) > 0 or slot in self.exposed

    @property
    def working(self) -> int:
        """Requests that are worked on."""
        return sum(self.in_flight.values())


Demand = Mapping[str, Wish]
"""By workload name; a model not in it has none. Where a gateway tells of them it is never empty, see `NOBODY`."""
NOBODY = ""
"""Stands in a Demand where nobody wants anything, as a gateway says."""
