"""What changes from one moment to the next: what sensors and clients say. No plan is made of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.model.routing import Wanted
from reconciler.model.status import Meters


@dataclass(frozen=True, slots=True, kw_only=True)
class HostMeters:
    """The machine's own processors and memory."""

    busy: float | None = None
    """Percent of the time of all cores since the last reading in which they worked; None for the first."""
    cores: int
    memory: int
    used: int
    """Bytes that cannot be had without swapping."""
    load: float
    """Processes that ran or waited to, over the last minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """One moment."""

    now: float
    """When, seconds of CLOCK_MONOTONIC."""
    meters: Mapping[str, Meters] = field(default_factory=dict[str, Meters])
    """By UUID of a GPU: what its driver said last, and when."""
    traffic: Mapping[str, Wanted] = field(default_factory=dict[str, Wanted])
    """By model: what its clients want and do, as gateways tell."""
    host: HostMeters | None = None
    """None where the kernel does not tell."""
