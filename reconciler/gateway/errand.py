"""Who is to answer a request: the model that has its name, the best of its instances, or one that is waited for."""

from abc import abstractmethod
from typing import TYPE_CHECKING

from reconciler.gateway.asked import Asked, prefix_key
from reconciler.gateway.balance import choose
from reconciler.gateway.body import Body
from reconciler.gateway.paths import Operation
from reconciler.gateway.places import Entry, Live
from reconciler.gateway.refusal import Refusal, no_answer, unavailable, unknown_model
from reconciler.gateway.relay import Relay
from reconciler.model.routing import Grant, Site

if TYPE_CHECKING:
    from reconciler.gateway.core import Core
    from reconciler.gateway.server import Connection

PATIENCE = 10.0
"""Seconds after which a stream that waits is told so, and again."""
DEATHS = 2
"""So many instances may die of one request, and no other is asked: it could be the request."""
NEWS = 5.0
"""Seconds after the end of the only instance in which the daemon tells of it; then another run is waited for."""


class Errand(Relay):
    """The half of a request that looks for who is to answer it."""

    __slots__ = (
        "_told",
        "_wrong",
        "ask",
        "body",
        "called",
        "deaths",
        "died",
        "entry",
        "goal",
        "grant",
        "site",
        "tried",
        "turn",
        "waits_since",
    )

    def __init__(self, core: "Core", connection: "Connection", operation: Operation, now: float) -> None:
        Relay.__init__(self, core, connection, operation, now)
        self.grant: Grant | None = None
        self.site: Site | None = None
        self.body: Body
        self.ask: Asked
        self.goal = ""
        """The model that is to answer, by a name that its client may know: the one it gave, or that of a fallback."""
        self.entry: Entry | None = None
        self.called = ""
        """What the instance that was chosen calls the model, as the table said then."""
        self.turn: tuple[int, int] = (0, 0)
        """Its place among those that wait: the greater priority first, then who came first."""
        self.waits_since = 0.0
        """0 while it does not wait."""
        self.deaths = 0
        """Instances that ended while they worked on it."""
        self.died = 0.0
        """When the last of them did."""
        self._told = 0.0
        """When the client was last told that it waits."""
        self._wrong = ""
        """What went wrong last, for a person."""
        self.tried: list[Live] = []
        """Those that had it, and gave no answer."""

    @abstractmethod
    def _ask(self, live: Live, now: float, *, anew: bool = False) -> None:
        """Give it to this instance; `anew`: on a connection that nothing was asked on before."""

    @abstractmethod
    def end_now(self) -> None:
        """The gateway ends: so does this, and says so where it can."""

    @abstractmethod
    def crashed(self) -> None:
        """We have a bug: at least this one client hears of it, and nobody waits."""

    def attempt(self) -> None:
        """Ask the best instance, or wait for one."""
        entry, core = self.entry, self.core
        if entry is not None and (self.waits_since or self.retries):
            entry = self._looked_up(entry)  # an edit may have given its name to another
        if entry is None:
            return
        prefix = prefix_key(self.body) if entry.served.affinity == "prefix" else None
        live, now = None, core.now()
        if self.deaths < DEATHS:
            live = choose(entry.places, self.goal, core.board, now, tried=self.tried, prefix=prefix)
        if live is None:
            self._stand(entry)
        else:
            self.called = live.known_as.get(self.goal, self.goal)
            self._ask(live, now)

    def _looked_up(self, entry: Entry) -> Entry | None:
        """The model that is to answer now; None where there is none, as the client is told."""
        other = self.core.directory.still(entry, self.goal)
        if other is entry:
            return entry
        refused = self._go_over(other) if other is not None else unknown_model(self.goal)
        if refused is not None:
            self.refuse(refused)
            return None
        return other

    def _go_over(self, other: Entry) -> Refusal | None:
        """Be for another model from now on, unless that may not take it."""
        ticket = self.core.limiter.admit(None, other.served)
        if isinstance(ticket, Refusal):
            return ticket
        self.core.waits.leave(self)
        self.tickets += (ticket,)
        self.entry, self.model = other, other.name
        self.tried = []
        return None

    def _stand(self, entry: Entry) -> None:
        """Nobody can take it now: fall back, wait, or give up."""
        outlook = entry.served.outlook
        if self.deaths >= DEATHS or self._in_vain(entry):
            self.give_up(entry, no_answer(self.goal, len(self.tried), self._wrong))
        elif outlook == "blocked":
            self.give_up(entry, self.unavailable(entry, "is not running"))
        elif not ((outlook == "coming" or self.retries) and self._fall_back(entry)):
            refused = self.core.waits.enter(self, entry)
            if refused is not None:
                self.give_up(entry, refused)

    def _in_vain(self, entry: Entry) -> bool:
        """Whether all that there are were asked, and it is no news that one of them ended, and may run again."""
        asked_all = bool(entry.places) and all(live in self.tried for live in entry.places)
        return asked_all and (not self.deaths or self.core.now() - self.died >= NEWS)

    def give_up(self, entry: Entry, refused: Refusal) -> None:
        """This model cannot, or it may not wait for it any longer: another does in its place, or the client is told."""
        if not self._fall_back(entry):
            self.refuse(refused)

    def unavailable(self, entry: Entry, how: str) -> Refusal:
        """Why it cannot, in the plan's words where there are any."""
        return unavailable(self.goal, how, self.core.why(self, entry) or self._wrong, self.core.waits.retry_after)

    def _fall_back(self, entry: Entry) -> bool:
        """Whether another model answers in its place, that was declared for it and can at once."""
        core = self.core
        for name in () if self.fell_back else entry.served.fallback:
            other = core.directory.entries.get(name)
            if other is None or not core.shows(self, name) or not choose(other.places, name, core.board, core.now()):
                continue
            if self._go_over(other):
                continue
            self.goal, self.fell_back, self.deaths = name, True, 0
            self.attempt()
            return True
        return False

    def tell_waiting(self, entry: Entry, now: float) -> None:
        """A client that reads a stream is told that it waits, so that nothing on its way takes it for dead."""
        if self.ask.stream and self.operation.streams and now - max(self.waits_since, self._told) >= PATIENCE:
            self._told = now
            self.comment(f"waiting for {self.goal}: {self.core.why(self, entry) or entry.served.outlook}")
