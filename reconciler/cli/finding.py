"""What `holdfast doctor` says of one thing."""

from typing import Literal, NamedTuple

Level = Literal["ok", "warn", "bad"]


class Finding(NamedTuple):
    """One check's result."""

    level: Level
    what: str
    mend: str = ""
    """The command, or the deed, that mends it."""
