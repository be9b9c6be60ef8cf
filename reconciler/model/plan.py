"""Decided: the actions to start now, what is blocked and why, and when to look again."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from reconciler.model.container import Container, RuntimeName, Unit
from reconciler.model.noun import noun
from reconciler.model.quantity import print_size
from reconciler.model.secret import Secret
from reconciler.model.status import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Strikes:
    """What a slot owes to failures in a row; carried from run to run in the launch, so no restart forgets it."""

    count: int = 0
    spared: bool = False
    """Whether the first restart at once has been used up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One question to an engine: JSON that is posted to its port."""

    path: str
    body: Mapping[str, str | int | bool]
    within: float
    """Seconds until it must have answered."""
    also: tuple[int, ...] = ()
    """Statuses that are as good as 2xx."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Where and how often an instance is asked whether it works. Durations in seconds."""

    path: str | None
    """HTTP path that answers 2xx; None: the port listens (or, without a port, the process runs)."""
    interval: float
    timeout: float
    failures: int
    start: float
    """Deadline to become ready."""
    inference: float | None = None
    """Time between two tiny requests, and how long one may take."""
    tiny: Request | None = None
    """What is asked then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sleeper:
    """How an engine is put to sleep, woken, and asked whether it sleeps."""

    asleep: str
    """GET path that answers JSON."""
    key: str
    """What of that answer tells whether it sleeps."""
    value: str | bool = True
    """What that is while it sleeps; so is an empty list."""
    sleep: tuple[Request, ...]
    """What it is asked, in this order; after the last it falls asleep."""
    wake: tuple[Request, ...]
    """The same; the last is answered once it is awake."""
    holds: int
    """Bytes of each of its GPUs that it still holds while it sleeps, where no driver tells."""
    host: int = 0
    """Bytes of host memory that it takes more while it sleeps."""

    def told(self, answer: Mapping[str, object]) -> bool | None:
        """Whether it sleeps, by its answer; None where that does not say it."""
        said = answer.get(self.key)
        if isinstance(said, list):
            return not said
        return said == self.value if type(said) is type(self.value) else None


Basis = Literal["declared", "measured", "estimated", "whole"]
"""How the memory of an instance is known: from its file, an earlier run, the headers of its weights, or not at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What one replica takes."""

    gpus: int = 0
    """0 runs on the CPU."""
    memory: int | None = None
    """Bytes on each of them; None takes them whole."""
    basis: Basis = "whole"
    within: float | None = None
    """How far an estimate may be off, as a share: 0.08 is printed ±8 %."""
    notes: tuple[str, ...] = ()
    """What an estimate assumes, in words."""
    host: int = 0
    """Bytes of host memory; 0 where nothing is known of it."""
    host_basis: Basis = "whole"
    weights: int | None = None
    """Bytes of its weights, on all of its GPUs where it has any; None where they are not known."""


@noun
class Launch:
    """Everything that is needed to start one run of an instance: the executor decides nothing."""

    slot: str
    run: int
    """1, 2, 3 … for each slot; a run is started at most once."""
    source: str
    """File that declared it, as `Problem.path` would name it."""
    engine: str
    argv: tuple[str, ...]
    env: Mapping[str, str | Secret] = field(default_factory=dict[str, str | Secret])
    directory: str | None = None
    """Working directory; a private one, in a container the image's, when None."""
    container: Container | None = None
    """None: it runs without one."""
    unit: Unit | None = None
    """None: it is no unit; without a container either it is a process."""
    node: str = ""
    """The machine it runs on; empty: the one that the daemon runs on."""
    gpus: tuple[str, ...] = ()
    """UUIDs."""
    indices: tuple[int, ...] = ()
    """Indices of those GPUs when it was placed, for people: indices shift."""
    memory: int | None = None
    """Bytes promised on each of its GPUs; None: whole."""
    basis: Basis = "whole"
    """How that figure was known."""
    within: float | None = None
    """How far an estimate may be off, as a share: 0.08 is printed ±8 %."""
    host: int = 0
    """Bytes of host memory promised; 0 where nothing is known of it."""
    host_basis: Basis = "whole"
    """How that figure was known."""
    port: int | None = None
    probe: Probe
    sleeper: Sleeper | None = None
    """How it sleeps; None where it was started without being able to."""
    files: tuple[str, ...] = ()
    """Files that must be readable, or the start is refused with their names."""
    fingerprint: str
    live: str
    settings: str
    """`Workload.settings` that it was made from."""
    adapters: Mapping[str, str] = field(default_factory=dict[str, str])
    """`Workload.adapters` that it has now: those it was started with, and those attached since."""
    strikes: Strikes = Strikes()

    @property
    def asleep(self) -> "Launch":
        """The same while it sleeps: with what it then holds of its GPUs and of the host."""
        sleeper = self.sleeper
        return self if sleeper is None else replace(self, memory=sleeper.holds, host=self.host + sleeper.host)

    @property
    def runtime(self) -> RuntimeName:
        """What it runs under."""
        if self.container is not None:
            return "docker"
        return "process" if self.unit is None else "systemd"


@noun
class Start:
    """Start a run that is not running."""

    slot: str
    launch: Launch
    reason: Reason
    detail: str = ""
    kind: Literal["start"] = "start"

    def __str__(self) -> str:
        launch = self.launch
        where = ["under systemd"] if launch.unit is not None else []
        where += [f"on {launch.node}"] if launch.node else []
        where += [f"{'' if launch.node else 'on '}gpu {','.join(map(str, launch.indices))}"] if launch.indices else []
        where += [f"port {launch.port}"] if launch.port is not None else []
        return _line("start", self.slot, self.reason, self.detail, *where)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """Give it nothing new; requests in flight may finish until the deadline."""

    slot: str
    run: int
    reason: Reason
    detail: str = ""
    kind: Literal["drain"] = "drain"

    def __str__(self) -> str:
        return _line("drain", self.slot, self.reason, self.detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """End a run: SIGTERM to its whole group, SIGKILL after the grace."""

    slot: str
    run: int
    grace: float
    """Seconds."""
    reason: Reason
    detail: str = ""
    """For SpecChanged: what changed, old → new."""
    kind: Literal["stop"] = "stop"

    def __str__(self) -> str:
        return _line("stop", self.slot, self.reason, self.detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """Take over settings of class live: record them with the instance."""

    slot: str
    launch: Launch
    """The recorded launch with the new live settings."""
    reason: Reason
    detail: str = ""
    """What changed, old → new."""
    kind: Literal["update"] = "update"

    def __str__(self) -> str:
        return _line("update", self.slot, self.reason, self.detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attach:
    """Have an engine that runs take up one adapter more, and record that it has it."""

    slot: str
    adapter: str
    requests: tuple[Request, ...]
    """What it is asked, in this order; doing it again does no harm."""
    launch: Launch
    """The recorded launch with the adapter."""
    reason: Reason
    detail: str = ""
    """Where the adapter comes from."""
    kind: Literal["attach"] = "attach"

    def __str__(self) -> str:
        return _line("attach", self.slot, self.reason, self.detail, "adapter", self.adapter)


@dataclass(frozen=True, slots=True, kw_only=True)
class Detach:
    """Have an engine that runs let one adapter go, and record that it is gone."""

    slot: str
    adapter: str
    requests: tuple[Request, ...]
    """What it is asked, in this order; doing it again does no harm."""
    launch: Launch
    """The recorded launch without the adapter."""
    reason: Reason
    detail: str = ""
    kind: Literal["detach"] = "detach"

    def __str__(self) -> str:
        return _line("detach", self.slot, self.reason, self.detail, "adapter", self.adapter)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget:
    """Remove the record of an instance that ended and is not wanted; its logs stay for a while."""

    slot: str
    run: int
    reason: Reason
    detail: str = ""
    kind: Literal["forget"] = "forget"

    def __str__(self) -> str:
        return _line("forget", self.slot, self.reason, self.detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sleep:
    """Have an idle engine give back its GPU memory; its process and its port stay."""

    slot: str
    requests: tuple[Request, ...]
    launch: Launch
    """Of the run that is there."""
    reason: Reason
    detail: str = ""
    kind: Literal["sleep"] = "sleep"

    def __str__(self) -> str:
        return _line("sleep", self.slot, self.reason, self.detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wake:
    """Have an engine that sleeps take its GPU memory again, and serve."""

    slot: str
    requests: tuple[Request, ...]
    launch: Launch
    """Of the run that is there."""
    reason: Reason
    detail: str = ""
    kind: Literal["wake"] = "wake"

    def __str__(self) -> str:
        where = [f"on gpu {','.join(map(str, self.launch.indices))}"] if self.launch.indices else []
        return _line("wake", self.slot, self.reason, self.detail, *where)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """Have the weights of a source brought to this machine. Returns when that has begun: how far it is, is observed."""

    slot: str
    """For whom, of those that wait for it."""
    source: str
    cache: str | None
    """`Node.cache.path`; None: where Hugging Face's tools keep theirs."""
    limit: int | None = None
    """Bytes that the cache stays under."""
    size: int | None = None
    """Bytes, where the headers have told."""
    token: str | Secret | None = None
    """What the hub is shown. Never part of any text."""
    reason: Reason
    detail: str = ""
    """How the last fetch of it ended."""
    kind: Literal["fetch"] = "fetch"

    def __str__(self) -> str:
        size = [print_size(self.size)] if self.size is not None else []
        return _line("fetch", self.slot, self.reason, self.detail, self.source, *size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """End a fetch that nobody needs any more; what came of it stays until it is pruned."""

    slot: str
    """For whom it was begun."""
    source: str
    cache: str | None
    reason: Reason
    detail: str = ""
    kind: Literal["cancel"] = "cancel"

    def __str__(self) -> str:
        return _line("cancel", self.slot, self.reason, self.detail, self.source)


Action = Start | Drain | Stop | Update | Attach | Detach | Sleep | Wake | Forget | Fetch | Cancel


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """A wish that cannot be granted now."""

    subject: str
    """A slot, or a workload's name."""
    reason: Reason
    detail: str
    """What stands in the way and what a person can do, in words."""
    until: float | None = None
    """When it will be tried again by itself, seconds of CLOCK_MONOTONIC."""

    def __str__(self) -> str:
        return _line("blocked", self.subject, self.reason, self.detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to start now. Empty where the machine is as declared. `str()` is the canonical text."""

    actions: tuple[Action, ...] = ()
    """Sorted by priority, then slot."""
    blocked: tuple[Blocked, ...] = ()
    """Sorted by subject."""
    wake_at: float | None = None
    """When to look again though nothing happens, seconds of CLOCK_MONOTONIC."""
    lulls: Mapping[str, float] = field(default_factory=dict[str, float])
    """By slot: since when it is there and not needed; handed back with the next pass's Memory."""

    def __str__(self) -> str:
        return "\n".join(map(str, (*self.actions, *self.blocked))) or "nothing to do"


def _line(verb: str, subject: str, reason: Reason, detail: str, *where: str) -> str:
    head = " ".join((verb, subject, *where))
    return f"{head}: {reason.value}" + (f" ({detail})" if detail else "")
