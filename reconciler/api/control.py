"""What the API needs of the daemon. Requests mark memory and wake the loop; the planner decides."""

from collections.abc import AsyncIterator
from typing import Literal, Protocol

from reconciler.model.answers import Info
from reconciler.model.facts import Facts
from reconciler.model.plan import Plan
from reconciler.model.status import Event, Status

RunChoice = int | Literal["first-failure"] | None
"""A run by its number, the first of a row of failures, or the newest."""


class History(Protocol):
    """Events, as the store keeps them."""

    def since(self, seq: int, limit: int = 1_000, subject: str | None = None, *, newest: bool = False) -> list[Event]:
        """Events after number `seq`, oldest first: the first of them, or the `newest`. Reads the disk."""
        ...

    def follow(self, seq: int, subject: str | None = None) -> AsyncIterator[Event]:
        """The same, and those to come."""
        ...


class Control(Protocol):
    """The daemon, as the API sees it. Messages returned are sentences for a person.

    What cannot be done raises ApiError with status 404 (no such workload) or 409 (not now), and what to do instead.
    """

    @property
    def info(self) -> Info:
        """The daemon itself."""
        ...

    @property
    def events(self) -> History:
        """The history."""
        ...

    def status(self) -> Status:
        """How the fleet did in the last pass."""
        ...

    async def next_status(self, after: Status) -> Status:
        """The newest status once there is a newer one than `after`."""
        ...

    def facts(self) -> Facts:
        """What the planner was told in the last pass."""
        ...

    def road(self) -> tuple[Plan, ...]:
        """What would be done now and after, pass by pass."""
        ...

    def log(self, name: str, index: int, run: RunChoice, *, lines: int, follow: bool) -> AsyncIterator[bytes]:
        """The last `lines` lines of a run's log, as the engine wrote them; then, to `follow`, what it goes on to write.

        Raises ApiError at once, not when the first bytes are asked for.
        """
        ...

    def restart(self, name: str, index: int | None) -> str:
        """Replace one instance, or all of a workload."""
        ...

    def stop(self, name: str) -> str:
        """Stop all of a workload until it is resumed."""
        ...

    def pause(self, name: str) -> str:
        """Do nothing to a workload until it is resumed."""
        ...

    def resume(self, name: str) -> str:
        """Undo `stop` and `pause`."""
        ...

    def scale(self, name: str, replicas: int | None) -> str:
        """Run so many instead of what its file says; None: what its file says."""
        ...

    def apply(self, *, prune: bool) -> str:
        """One pass now; `prune` consents to what is held."""
        ...
