"""What the clients of all workers want, as one report for the daemon."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace

from reconciler.model.routing import ENDED, Table, Wanted

HEARTBEAT = 2.0
"""Seconds between reports where nothing changes."""
LEAST = 0.1
"""Seconds between reports, but where a first request begins to wait, or an instance is to stop for another."""


def aged(wants: Mapping[str, Wanted], seconds: float) -> Mapping[str, Wanted]:
    """The same so many seconds later, with nothing heard since."""
    if not any(wanted.waiting for wanted in wants.values()):
        return wants
    return {
        model: replace(wanted, oldest=wanted.oldest + seconds) if wanted.waiting else wanted
        for model, wanted in wants.items()
    }


def begins(before: Mapping[str, Wanted], after: Mapping[str, Wanted]) -> bool:
    """Whether somebody waits for a model that nobody waited for: the daemon is to know at once."""
    return any(wanted.waiting and not (model in before and before[model].waiting) for model, wanted in after.items())


def seen(table: Table, workers: Iterable[tuple[str, int]], *, ended: bool = False) -> int:
    """Of `table`'s epoch, the newest that all workers go by; -1 where one still goes by another daemon's.

    `ended`: whether there will be no other workers.
    """
    last = ENDED if ended else table.seq
    return min((seq if epoch == table.epoch else -1 for epoch, seq in workers), default=last)


class Pace:
    """Sends when there is something to say: at once, soon, or as a sign of life."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._changed, self._urgent = asyncio.Event(), asyncio.Event()

    def changed(self, *, urgent: bool = False) -> None:
        """There is something to say."""
        self._changed.set()
        if urgent:
            self._urgent.set()

    async def run(self, send: Callable[[], Awaitable[None]]) -> None:
        """Until cancelled. What changes while it sends is sent next."""
        while True:
            await _heard(self._changed, HEARTBEAT)
            began = self._clock()
            self._changed.clear()
            self._urgent.clear()
            await send()
            await _heard(self._urgent, max(0.0, began + LEAST - self._clock()))


async def _heard(event: asyncio.Event, within: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within):
            await event.wait()
