"""Requests that wait for a model that is coming: in order, not too many or too long, never without being told why."""

import logging
from bisect import insort
from collections.abc import Callable
from typing import TYPE_CHECKING

from reconciler.gateway.refusal import Refusal, queue_full

if TYPE_CHECKING:
    from reconciler.gateway.errand import Errand
    from reconciler.gateway.places import Directory, Entry

log = logging.getLogger(__name__)


class Waits:
    """The queues of all models."""

    retry_after = 5.0
    """Seconds after which a client that is refused may well try again."""

    def __init__(self, directory: "Directory", now: Callable[[], float], arrived: Callable[[], None]) -> None:
        """`arrived` is called when somebody begins to wait for a model that nobody waited for."""
        self._directory, self._now, self._arrived = directory, now, arrived
        self._queues: dict[str, Entry] = {}
        """Models that somebody waits for."""
        self._count = 0

    def __len__(self) -> int:
        return sum(len(entry.waiting) for entry in self._queues.values())

    def enter(self, exchange: "Errand", entry: "Entry") -> Refusal | None:
        """Wait for this model. Of too many the last in their order gives way; a Refusal where that is this one."""
        if not exchange.turn[1]:
            self._count += 1
            priority = exchange.grant.priority if exchange.grant is not None else 100
            exchange.turn = (-priority, self._count)
        most = self._directory.table.front.queue
        if len(entry.waiting) >= most:
            last = entry.waiting[-1]
            if last.turn < exchange.turn:
                return queue_full(exchange.goal, most, self.retry_after)
            last.give_up(entry, queue_full(last.goal, most, self.retry_after))
        if not exchange.waits_since:
            exchange.waits_since = self._now()
        insort(entry.waiting, exchange, key=_turn)
        self._queues[entry.name] = entry
        if len(entry.waiting) == 1:
            self._arrived()
        return None

    def leave(self, exchange: "Errand") -> None:
        """It waits no longer, if it did."""
        if exchange.waits_since:
            exchange.waited += self._now() - exchange.waits_since
            exchange.waits_since = 0.0
            entry = exchange.entry
            if entry is not None and exchange in entry.waiting:
                entry.waiting.remove(exchange)

    def settle(self) -> None:
        """Look at each queue: who may go on, who has waited too long, who is to be told that it still waits."""
        if not self._queues:
            return
        now, longest = self._now(), self._directory.table.front.wait
        for name, entry in list(self._queues.items()):
            waiting, entry.waiting = entry.waiting, []
            present = self._directory.entries.get(name) is entry
            free = any(live.out_until <= now for live in entry.places)
            for exchange in waiting:
                if exchange.over:
                    continue
                if exchange.waited + now - exchange.waits_since >= longest:
                    exchange.give_up(entry, exchange.unavailable(entry, "did not come up in time"))
                elif (
                    free or not present or entry.served.outlook == "blocked" or exchange.goal not in entry.served.names
                ):
                    _attempt(exchange)
                else:
                    insort(entry.waiting, exchange, key=_turn)
                if exchange.waits_since:
                    exchange.tell_waiting(exchange.entry or entry, now)
            if not entry.waiting:
                del self._queues[name]

    def oldest(self, entry: "Entry") -> float:
        """For how many seconds the first of them has waited."""
        since = min((exchange.waits_since for exchange in entry.waiting), default=None)
        return 0.0 if since is None else max(0.0, self._now() - since)


def _attempt(exchange: "Errand") -> None:
    """A bug that one request brings out is no end of the others' waiting."""
    try:
        exchange.attempt()
    except Exception:
        log.exception("cannot ask for request %s", exchange.request_id)
        exchange.crashed()


def _turn(exchange: "Errand") -> tuple[int, int]:
    return exchange.turn
