"""What the API needs of the daemon. Requests mark memory and wake the loop; the planner decides."""

from collections.abc import AsyncIterator
from typing import Literal, Protocol

from reconciler.model.acts import Act
from reconciler.model.answers import About, Info, LogPage
from reconciler.model.facts import Facts, Road
from reconciler.model.live import Live
from reconciler.model.metrics import ReplicaMetrics
from reconciler.model.routing import Report, Table
from reconciler.model.status import Event, Status
from reconciler.model.stored import Shelf

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


class Acts(Protocol):
    """Who asked for what, as the audit keeps it."""

    def asked(self, act: Act) -> int | None:
        """Record that it is about to be done; a number for `ended`. Raises ApiError where it may not be done."""
        ...

    def ended(self, act: Act, number: int | None, outcome: str) -> None:
        """Record what came of it."""
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

    @property
    def acts(self) -> Acts:
        """The audit."""
        ...

    def status(self) -> Status:
        """How the fleet did in the last pass."""
        ...

    async def next_status(self, after: Status) -> Status:
        """The newest status once there is a newer one than `after`."""
        ...

    def live(self, every: float) -> AsyncIterator[Live]:
        """What sensors say and clients do: now, and each `every` seconds again."""
        ...

    async def next_table(self, after: int) -> Table:
        """The newest table for gateways, once there is one with a higher number."""
        ...

    def report(self, report: Report) -> None:
        """Take in what a gateway tells."""
        ...

    def facts(self) -> Facts:
        """What the planner was told in the last pass."""
        ...

    async def metrics(self, name: str | None) -> tuple[ReplicaMetrics, ...]:
        """What engines measure of themselves, asked now: of one model, or of all that run."""
        ...

    async def about(self, name: str) -> About:
        """What is known of one workload beside how it does."""
        ...

    def road(self) -> Road:
        """What would be done now and after, pass by pass."""
        ...

    def log(self, name: str, index: int, run: RunChoice, *, lines: int, follow: bool) -> AsyncIterator[bytes]:
        """The last `lines` lines of a run's log, as the engine wrote them; then, to `follow`, what it goes on to write.

        Raises ApiError at once, not when the first bytes are asked for.
        """
        ...

    async def log_page(
        self, name: str, index: int, run: RunChoice, *, at: int | None, back: bool, size: int, wait: float
    ) -> LogPage:
        """At most `size` bytes of a run's log from address `at` on, or before it (`back`); without `at`, the last.

        Where the run may still write, an empty page comes only after `wait` seconds.
        """
        ...

    async def models(self) -> Shelf:
        """The weights on this machine."""
        ...

    async def prune(self, sources: tuple[str, ...]) -> str:
        """Delete the weights of these sources, or of none where one may not go."""
        ...

    def restart(self, name: str, index: int | None) -> str:
        """Replace one instance, or all of a workload."""
        ...

    def stop(self, name: str) -> str:
        """Stop all of a workload until it is resumed."""
        ...

    def pause(self, name: str | None) -> str:
        """Do nothing to a workload, or to the whole fleet, until it is resumed."""
        ...

    def resume(self, name: str | None) -> str:
        """Undo `stop` and `pause` of a workload, or the pause of the whole fleet."""
        ...

    def scale(self, name: str, replicas: int | None) -> str:
        """Run so many instead of what its file says; None: what its file says."""
        ...

    def apply(self, *, prune: bool) -> str:
        """One pass now; `prune` consents to what is held."""
        ...
