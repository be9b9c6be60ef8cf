"""What the control API answers beside Status and Event. Cheap to import: a command reads it before it prints."""

from dataclasses import dataclass


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
