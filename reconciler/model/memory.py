"""Between passes: actions in flight, failures that left no instance behind, and what operators asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.model.plan import Action
from reconciler.model.status import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An action that failed, and left nothing that could be observed."""

    at: float
    """Seconds of CLOCK_MONOTONIC."""
    count: int
    """Failures in a row."""
    reason: Reason
    detail: str
    digest: str
    """What of the fleet was tried, of an adapter its source: an edit makes it worth trying at once."""
    action: str = ""
    """The kind of action that failed."""
    again: bool = False
    """Whether the one before failed in the same way: then people were told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """What an operator asked for by command, beside what the files say. Outlives the daemon."""

    paused: bool = False
    stopped: bool = False
    replicas: int | None = None
    """Instead of the file's replicas, until `declared` changes."""
    declared: tuple[int, int] | None = None
    """The file's replicas when they were overridden."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What the loop tells the planner beside the facts."""

    in_flight: Mapping[str, Action] = field(default_factory=dict[str, Action])
    """By slot; what they will take counts as taken."""
    failures: Mapping[str, Failure] = field(default_factory=dict[str, Failure])
    """By slot."""
    refusals: Mapping[str, Mapping[str, Failure]] = field(default_factory=dict[str, "Mapping[str, Failure]"])
    """By slot, by adapter: what could not be attached or detached. The model serves all the same."""
    overrides: Mapping[str, Override] = field(default_factory=dict[str, Override])
    """By workload."""
    restarts: Mapping[str, int] = field(default_factory=dict[str, int])
    """By slot: a run up to this one is to be replaced."""
    consents: frozenset[str] = frozenset()
    """Workloads that may be pruned though many go at once."""
    draining: Mapping[str, float] = field(default_factory=dict[str, float])
    """By slot: since when it gets nothing new, seconds of CLOCK_MONOTONIC."""
    lulls: Mapping[str, float] = field(default_factory=dict[str, float])
    """By slot: since when it is there and not needed, seconds of CLOCK_MONOTONIC."""
    measured: Mapping[str, int] = field(default_factory=dict[str, int])
    """By fingerprint and number of GPUs: bytes that an instance was seen to take of each of them, at most; with `host`
    after that number, of the host."""
    stated: Mapping[str, int] = field(default_factory=dict[str, int])
    """The same by what the engine's log says, for where the driver does not tell of whom the memory is."""
    paused: bool = False
    """Whether nothing is to be done to the whole fleet. Outlives the daemon."""
    routed: bool = False
    """Whether a gateway tells what clients want. Outlives the daemon: the next one waits for it."""
    gateways: frozenset[str] = frozenset()
    """Which those are that may go by a table of ours, as far as that is known. Outlives the daemon: once all of these
    have come, the next one waits for no other."""
