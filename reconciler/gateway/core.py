"""The data plane of one worker: its connections, the table it goes by, and the clock that ends what takes too long."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from reconciler.gateway import listing, paths
from reconciler.gateway.access import UNKNOWN, Keys, barred
from reconciler.gateway.board import Board
from reconciler.gateway.body import Spool
from reconciler.gateway.counters import Clock
from reconciler.gateway.errand import Errand
from reconciler.gateway.exchange import Exchange
from reconciler.gateway.head import AUTHORIZATION, HOST, KEY, ORIGIN
from reconciler.gateway.known import Known
from reconciler.gateway.limits import Limiter
from reconciler.gateway.nearby import keyless
from reconciler.gateway.observer import Observer
from reconciler.gateway.penalty import Penalty, network
from reconciler.gateway.places import Directory, Entry
from reconciler.gateway.refusal import Refusal, no_connection
from reconciler.gateway.server import Connection
from reconciler.gateway.template import Template
from reconciler.gateway.waiting import Waits
from reconciler.gateway.words import fit
from reconciler.model.routing import Front, Site, Table, Wanted

log = logging.getLogger(__name__)
TICK = 0.05
"""Seconds between two looks at those who wait, and between two reports."""
SWEEP = 10
"""Every so many of these, at all connections."""
_ANYWHERE = (b"/health", b"/metrics")
"""Of no site: what watches the gateway asks for it by its address."""
QUIET = 10.0
"""Seconds in which it is not said again that no connection can be made."""
DRAINING_IDLE = 10.0
"""Seconds that a connection without a request is kept by a worker that ends: a client may be about to use it."""


class Core:
    """One worker's part of the gateway."""

    def __init__(
        self,
        *,
        board: Board,
        observer: Observer,
        changed: Callable[[], None],
        scrape: Callable[[], Awaitable[bytes]],
        directory: str,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`changed` is called when `demand()` has; `scrape` gives the metrics of all workers.

        Long bodies wait in `directory`. `now`: monotonic seconds.
        """
        self.loop = asyncio.get_running_loop()
        self.now = now
        self.board, self.observer = board, observer
        self._changed, self._scrape = changed, scrape
        self.spool = Spool(directory=directory)
        self.directory = Directory(self.now)
        self.waits = Waits(self.directory, self.now, changed)
        self.keys = Keys(())
        self.penalty = Penalty(self.now)
        self._clock = Clock()
        self.limiter = Limiter(board, {}, self._clock)
        self.front = Front()
        self.sited = False
        """Whether there are sites, so that not all is shown everywhere."""
        self.draining = False
        self.stirred = False
        """Whether requests have come or gone since the last report."""
        self.asked = 0
        """Requests that instances were given."""
        self.heads: dict[Template, Known] = {}
        """What requests began with by this table, of those that began alike."""
        self.active: set[Exchange] = set()
        """Requests that an instance works on."""
        self._connections: set[Connection] = set()
        self._addresses: Counter[str] = Counter()
        self._answers: set[asyncio.Task[None]] = set()
        self._ticks = 0
        self._quiet_until = 0.0
        self._timer = self.loop.call_later(TICK, self._tick)

    # what the worker asks

    def connection(self) -> asyncio.Protocol:
        """A protocol for a connection that was accepted."""
        return Connection(self)

    def take(self, table: Table, rows: Mapping[str, int]) -> None:
        """Go by a newer table."""
        self.directory.take(table, rows)
        self.front = table.front
        self.sited = bool(table.sites)
        self.heads = {}
        self.keys = Keys(table.grants)
        self.limiter = Limiter(self.board, rows, self._clock)
        self.observer.take(table)
        self.waits.settle()

    @property
    def seen(self) -> tuple[str, int]:
        """Epoch and number of the table that it goes by."""
        return self.directory.table.epoch, self.directory.table.seq

    @property
    def connecting(self) -> list[asyncio.Task[None]]:
        """Of requests that an instance was chosen for, and that are yet to be sent to it."""
        return [exchange.connecting for exchange in self.active if exchange.connecting is not None]

    def demand(self) -> dict[str, Wanted]:
        """What its clients want of each model that they want anything of."""
        in_flight: dict[str, dict[str, int]] = {}
        for live in {exchange.live for exchange in self.active}:
            if live is not None and live.own:
                slots = in_flight.setdefault(live.slot.rpartition("/")[0], {})
                # twice the same slot: it was out of the table for a while, and works on what it had
                slots[live.slot] = slots.get(live.slot, 0) + live.own
        names = in_flight.keys() | {name for name, entry in self.directory.entries.items() if entry.waiting}
        return {name: self._wanted(name, in_flight.get(name, {})) for name in sorted(names)}

    def _wanted(self, name: str, in_flight: dict[str, int]) -> Wanted:
        entry = self.directory.entries.get(name)
        if entry is None:
            return Wanted(in_flight=in_flight)
        return Wanted(waiting=len(entry.waiting), oldest=self.waits.oldest(entry), in_flight=in_flight)

    def drain(self) -> None:
        """Take no new connection's worth of work: each connection ends with its next answer, or after a while."""
        self.draining = True
        soon = self.now() + DRAINING_IDLE
        for connection in self._connections:
            if connection.idle:
                connection.deadline = min(connection.deadline, soon)

    @property
    def busy(self) -> int:
        """Connections that are open."""
        return len(self._connections)

    def cut(self) -> None:
        """End everything that goes on, and say so where it can be said."""
        for exchange in [*self.active, *(one for entry in self.directory.entries.values() for one in entry.waiting)]:
            exchange.end_now()
        for connection in list(self._connections):
            connection.transport.close()

    def close(self) -> None:
        """Stop the clock."""
        self._timer.cancel()

    def queued(self, loads: Mapping[str, int]) -> None:
        """By slot, what adds to the load of an instance beside what the gateway gave it; of others nothing does."""
        for live in self.directory.places.values():
            live.queue = loads.get(live.slot, 0)

    # what a connection asks

    def opened(self, connection: Connection) -> bool:
        """Whether one more connection is taken."""
        self._connections.add(connection)
        whose = network(connection.address)
        self._addresses[whose] += 1
        self.observer.connected()
        if len(self._connections) > self.front.connections:
            self.observer.refused("connections")
            return False
        if self._addresses[whose] > self.front.per_address:
            self.observer.refused("per_address")
            return False
        return True

    def closed(self, connection: Connection) -> None:
        """It is gone."""
        self._connections.discard(connection)
        self.observer.disconnected()
        whose = network(connection.address)
        self._addresses[whose] -= 1
        if self._addresses[whose] <= 0:
            del self._addresses[whose]

    @property
    def idle_timeout(self) -> float:
        """Seconds that a connection is kept without a request."""
        return min(self.front.idle_timeout, DRAINING_IDLE) if self.draining else self.front.idle_timeout

    def place(self, host: bytes | None, path: bytes) -> tuple[Site | None, bytes] | Refusal:
        """The site that a request is for, and the path within it."""
        name = (host or b"").decode("ascii", "replace").lower()
        name = name[: name.find("]") + 1] if name.startswith("[") else name.partition(":")[0]
        found = self.directory.site(name, path.decode("latin-1"))
        if found is None:
            return (None, path) if path in _ANYWHERE else paths.elsewhere(name)
        return found[0], found[1].encode("latin-1")

    def authenticate(self, exchange: Exchange, fields: Sequence[bytes | None]) -> Refusal | None:
        """Find out whose key a request shows. Where no Access is declared everything is open to this machine."""
        role = exchange.operation.role
        if role is None:
            return None
        if self.keys.open:
            local = exchange.connection.local
            return keyless(fields[HOST], fields[ORIGIN], self.directory.declared, local=local)
        authorization = fields[AUTHORIZATION]
        shown = fields[KEY]
        if authorization is not None:
            scheme, _, shown = authorization.partition(b" ")
            shown = shown.strip() if scheme.lower() == b"bearer" else b""
        found = self.keys.find(shown, time.time())
        if isinstance(found, Refusal):
            return found
        exchange.grant, exchange.key = found, found.name
        return barred(found, role)

    def shows(self, exchange: Errand, name: str) -> bool:
        """Whether a model's name is there for a request's site and key."""
        site, grant = exchange.site, exchange.grant
        return (site is None or self.directory.shows(site, name)) and (grant is None or self.keys.allows(grant, name))

    def why(self, exchange: Errand, entry: Entry) -> str:
        """The plan's words about a model, where who asks may read them."""
        return fit(entry.served.why, self.directory.names, partial(self.shows, exchange))

    def short_of(self, why: str) -> Refusal:
        """No connection can be made here, which is no instance's fault: said once in a while, and to who asked."""
        now = self.now()
        if now >= self._quiet_until:
            self._quiet_until = now + QUIET
            log.warning("cannot connect to any engine: %s; requests are refused until that ends", why)
        return no_connection(why)

    def begin(self, exchange: Exchange) -> None:
        """Answer a request; one with a wrong key at the pace that its address has earned."""
        refused = exchange.refusal
        if refused is not UNKNOWN:
            try:
                exchange.start()
            except Exception:  # the data plane's last wall
                log.exception("cannot answer request %s", exchange.request_id)
                exchange.crashed()
            return
        delay = self.penalty.failed(exchange.client)
        if delay is None:
            exchange.connection.transport.abort()
        elif delay:
            self.loop.call_later(delay, self._late_refusal, exchange)
        else:
            exchange.start()

    def _late_refusal(self, exchange: Exchange) -> None:
        self.penalty.answered(exchange.client)
        if not exchange.over:
            exchange.start()

    def answer(self, exchange: Exchange) -> None:
        """Answer a request for ourselves."""
        match exchange.operation.kind:
            case "health":
                exchange.reply(200, b'{"status":"ok"}', b"application/json")
            case "metrics":
                task = self.loop.create_task(self._answer_metrics(exchange))
                self._answers.add(task)
                task.add_done_callback(self._answers.discard)
            case _:
                answer = listing.answer(self.directory.table, exchange)
                if isinstance(answer, Refusal):
                    exchange.refuse(answer)
                else:
                    exchange.reply(200, answer, b"application/json")

    async def _answer_metrics(self, exchange: Exchange) -> None:
        try:
            content = await self._scrape()
        except OSError as error:
            log.warning("cannot ask what all workers have counted: %s", error)
            content = b""
        if exchange.over:
            return
        if not content:
            message = (
                "cannot tell what all workers have counted: the gateway's master does not answer; its log says why"
            )
            exchange.refuse(Refusal(status=503, code="unavailable", message=message, retry_after=5.0))
        else:
            exchange.reply(200, content, b"text/plain; version=0.0.4; charset=utf-8")

    # the clock

    def _tick(self) -> None:
        self._timer = self.loop.call_later(TICK, self._tick)
        self.waits.settle()
        if self.stirred:
            self.stirred = False
            self._changed()
        self._ticks += 1
        if self._ticks % SWEEP == 0:
            self._sweep()

    def _sweep(self) -> None:
        now = self.now()
        for connection in [one for one in self._connections if now > one.deadline]:
            connection.late()
        stuck = now - self.front.silence
        for connection in [one for one in self._connections if one.stuck_since is not None and one.stuck_since < stuck]:
            connection.transport.abort()
        late, silent = now - self.front.first_byte, now - self.front.silence
        for exchange in [one for one in self.active if one.moved < (silent if one.passed else late)]:
            if exchange.connection.stuck_since is None:
                exchange.late()
        for exchange in self.active:
            if exchange.passed:  # no other is asked: a long answer keeps no room that a long body took
                exchange.edited = None
                exchange.body.close()


__all__ = ["Core"]
