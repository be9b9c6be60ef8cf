"""Where the weights of a source are: here and whole, on their way, or not here and why."""

from dataclasses import dataclass
from typing import Literal

from reconciler.model.status import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """All of it is in the cache, and was checked."""

    path: str
    """What an engine is told to load: a file, or a directory."""
    size: int
    """Bytes."""
    kind: Literal["here"] = "here"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetching:
    """It is being fetched."""

    slot: str
    """For whom that was begun."""
    done: int = 0
    """Bytes that are here."""
    total: int | None = None
    """Bytes in all; None until the server has said it."""
    kind: Literal["fetching"] = "fetching"


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchFailure:
    """How the last fetch ended."""

    at: float
    """Seconds of CLOCK_MONOTONIC."""
    count: int
    """Failures in a row without a byte more."""
    reason: Reason
    detail: str
    """What went wrong and what a person can do."""
    after: float = 0.0
    """Seconds to wait at least, as the server asked or the failure suggests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """It is not here, or not all of it."""

    failure: FetchFailure | None = None
    kind: Literal["absent"] = "absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Looking:
    """Whether it is here is being looked up."""

    kind: Literal["looking"] = "looking"


Stored = Here | Fetching | Absent | Looking
