"""What the control API answers beside Status and Event. Cheap to import: a command reads it before it prints."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.model.container import RuntimeName


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """The daemon itself."""

    version: str
    pid: int
    root: str
    """The fleet's directory, absolute."""
    state: str
    """The state directory, absolute."""
    started_at: float
    """Wall clock, seconds since the epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What will happen now that it was asked for, in a sentence."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPage:
    """A part of a run's log, as the engine wrote it. Addresses are bytes; they stay while older parts are dropped."""

    run: int
    newest: int
    """The newest run of this slot; where it is a later one, this run writes no more."""
    first: int
    """Where what is kept of the run begins."""
    end: int
    """Where it ended when this was read."""
    at: int
    """Where `data` begins: elsewhere than asked where nothing lies there (any more)."""
    data: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Where a machine has its fleet and its daemon: what `holdfast where` says, and who comes by ssh asks."""

    version: str
    host: str
    fleet: str
    """All paths are absolute."""
    state: str
    socket: str
    gateway: tuple[str, ...] = ()
    """Where it listens; empty where none does."""
    away: str = ""
    """Why the daemon cannot be reached, and what to do; empty while it can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A document of the fleet, as it stands in its file now."""

    path: str
    """`fleet.d/chat.yaml`."""
    line: int
    """Where the text begins in it, from 1."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """What an instance was started from, as it was recorded before."""

    slot: str
    run: int
    engine: str
    runtime: RuntimeName
    """What it runs under."""
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    """Secrets by their name: `{secret: hf-token}`."""
    directory: str | None = None
    """Working directory; None: a private one, in a container the image's."""
    image: str = ""
    """Of its container; empty where it has none."""
    gpus: tuple[int, ...] = ()
    """Indices, when it was placed."""
    port: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a slot of which something is kept. Times by the wall clock, seconds since the epoch."""

    slot: str
    run: int
    began: float | None
    """None where that is not known."""
    ended: float | None
    """None while it runs, and where that is not known."""
    outcome: str
    """`exited with status 1 (…)`, `was stopped: SpecChanged`; `runs`."""
    first_failure: bool
    """Whether the last series of failures began with it: then its log is kept beyond the newest few."""
    size: int
    """Bytes that are kept of its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """All that is known of one workload beside how it does."""

    name: str
    written: tuple[Written, ...] = ()
    """What declares it: its own document, then that of its `kind: Engine`."""
    launches: tuple[Launched, ...] = ()
    """By slot."""
    runs: tuple[Run, ...] = ()
    """By slot, the newest first."""
