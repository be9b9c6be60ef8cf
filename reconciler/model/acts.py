"""What a person asked of the daemon by command: who, and what."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One order, as it came by the control API."""

    pid: int
    uid: int
    """The process and the user at the other end of the socket, as the kernel knows them."""
    user: str
    """Its name."""
    verb: str
    subject: str
    """A workload, or `daemon`."""
    arguments: Mapping[str, object] = field(default_factory=dict[str, object])

    def __str__(self) -> str:
        """`root (pid 42) asked: scale chat, replicas 3`."""
        given = "".join(f", {key} {_short(value)}" for key, value in self.arguments.items())
        what = self.verb if self.subject == "daemon" else f"{self.verb} {self.subject}"
        return f"{self.user} (pid {self.pid}) asked: {what}{given}"


def _short(value: object) -> str:
    text = " ".join(map(str, cast("list[object]", value))) if isinstance(value, list) else str(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
