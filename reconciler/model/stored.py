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
    short: int = 0
    """Bytes that there is too little room."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A source of which something lies on this machine."""

    source: str
    state: Literal["whole", "partial", "fetching"]
    revision: str = ""
    """The commit that it was when it was fetched; empty where there is no such thing."""
    path: str = ""
    """What an engine is told to load; empty until all of it is here."""
    size: int = 0
    """Bytes that are here."""
    total: int | None = None
    """Bytes in all; None where that is not known."""
    needed_by: tuple[str, ...] = ()
    """Workloads that are declared with it."""
    held_by: tuple[str, ...] = ()
    """Instances that were started with it, and processes that have a file of it open."""
    unneeded_since: float | None = None
    """Since when no workload is declared with it, seconds since the epoch; None while one is."""
    used: float | None = None
    """When an instance was last started or stopped with it, seconds since the epoch; None where none was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """One file of those that sources consist of; several may share it."""

    path: str
    size: int
    sources: tuple[str, ...]
    stays: bool = False
    """Whether it is another tool's, or used by one: its bytes are not given back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """What lies in the cache of this machine."""

    path: str
    """Directory of what we keep there."""
    hub: str
    """Directory that is shared with Hugging Face's own tools."""
    ollama: str
    """Directory in the layout of Ollama's store."""
    size: int
    """Bytes in all three, whoever put them there."""
    free: int
    """Bytes free on that disk."""
    limit: int | None = None
    """`cache.size` of the Node."""
    kept: tuple[Kept, ...] = ()
    blobs: tuple[Blob, ...] = ()
    frozen: str = ""
    """Why nothing may be deleted now: it cannot be told what is needed."""
