"""Where things were declared: places in files, the revision in git, and what is wrong there."""

from dataclasses import dataclass

from reconciler.model.noun import noun


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something a person must edit. `str()` is `path:line:col: key: cannot …; do …`."""

    path: str
    """As the person would type it: relative to where the fleet directory stands, `fleet.d/chat.yaml`."""
    line: int = 1
    column: int = 1
    key: str = ""
    """Dotted key path, empty where the whole document is meant."""
    message: str
    names: tuple[str, ...] = ()
    """Workloads that are held at their last good version, or are not run, because of it."""

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}:{self.column}: "
        return where + (f"{self.key}: {self.message}" if self.key else self.message)


@noun
class Source:
    """Where a resource is declared."""

    path: str
    line: int
    pause: int = 0
    """The line that pauses it; 0 where its file does not."""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """What git says of the directory."""

    commit: str
    """Full hash of HEAD."""
    dirty: bool | None = None
    """Whether files of the fleet differ from it; None while that is not known."""

    def __str__(self) -> str:
        return self.commit[:7] + (" (edited)" if self.dirty else "")
