"""What comes of it when logs are read: parts of them, by source, and how that goes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tui.view.log_line import LogLine


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What follows stands alone: lines before `lo` and after `hi`, by source, are to come."""

    lo: Mapping[int, int]
    hi: Mapping[int, int]
    end: bool = False
    """Whether the end is to be seen, else what comes at `hi`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """Lines before those that are there."""

    lines: Sequence[LogLine]
    lo: Mapping[int, int]
    first: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Later:
    """Lines after those that are there."""

    lines: Sequence[LogLine]
    hi: Mapping[int, int]
    last: bool
    skipped: int = 0
    """Bytes before them that were passed by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search has come to: a line, or that there is none."""

    line: LogLine | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """How much has been read by what is under way."""

    read: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Where a log begins and ends, and whether more may come."""

    source: int
    first: int
    end: int
    ended: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Why nothing can be read."""

    why: str


News = Opened | Earlier | Later | Found | Looked | Size | Failed
