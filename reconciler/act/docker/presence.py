"""Whether the engine is there, and what it tells by itself.

It is first spoken to when there is something to look after. An engine that ends first takes no new connections, then
ends its containers, and its stream of events with itself. A stream that ends alone says nothing.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from reconciler.act.docker.api import Api, Info, RefusedError, SilentError
from reconciler.act.docker.events import Ear

log = logging.getLogger(__name__)
PROMPT = 1.0
"""Seconds within which an engine that is there answers a ping. One that is restarted behind a socket of systemd's only
takes longer: its connections are kept for the next one."""
_AGAIN = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds between two attempts to reach it."""


class Presence:
    """One engine, as it can be reached."""

    def __init__(
        self,
        api: Api,
        owner: str,
        *,
        look: Callable[[], Coroutine[Any, Any, None]],
        on_event: Callable[[Info], None],
        on_trouble: Callable[[str], None],
    ) -> None:
        """`look` asks it for everything; `on_event` hears of our containers, `on_trouble` why nothing can be seen."""
        self.trouble: str | None = None
        """Why it cannot be asked now."""
        self.away = False
        """Whether it was gone since it was last asked for everything."""
        self._api, self._owner = api, owner
        self._look, self._on_event, self._on_trouble = look, on_event, on_trouble
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening = False
        self._mending: asyncio.Task[None] | None = None

    @property
    def awake(self) -> bool:
        """Whether it was ever spoken to."""
        return self._listening

    def awaken(self) -> bool:
        """Listen to it from now on; whether nobody did before."""
        if self._listening:
            return False
        self._listening = True
        self.later(self._listen())
        return True

    def answered(self) -> bool:
        """It has told of everything; whether it was gone before."""
        was, self.away, self.trouble = self.away, False, None
        return was

    def fail(self, error: Exception) -> None:
        """It cannot be asked: what may run is Unknown until it can."""
        advice = error.advice if isinstance(error, SilentError) else "see `journalctl -u docker`"
        self.trouble = self.trouble or f"cannot reach docker: {error}; {advice}"
        self._api.renew()
        self._on_trouble(self.trouble)
        if self._mending is None or self._mending.done():
            self._mending = self.later(self._mend())

    async def check(self, within: float) -> None:
        """See whether it answers on a new connection; where it does not, it has gone."""
        try:
            await self._api.call(lambda _: self._api.connect(within).ping(), within)
        except (SilentError, RefusedError) as error:
            self.away = True
            self.fail(error)

    def later(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do this beside all else, until `close`."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def close(self) -> None:
        """Listen no more."""
        for task in self._tasks:
            task.cancel()

    async def _mend(self) -> None:
        for number in range(10**9):
            await asyncio.sleep(_AGAIN[min(number, len(_AGAIN) - 1)])
            await self._look()
            if self.trouble is None:
                return

    async def _listen(self) -> None:
        """Hear what happens to our containers."""
        while True:
            ended = asyncio.Event()
            Ear(self._api, self._owner, heard=self._heard, joined=self._joined, ended=ended)
            await ended.wait()
            await asyncio.sleep(_AGAIN[1])

    def _joined(self) -> None:
        self.later(self._look())  # what happened before it listened

    def _heard(self, event: Info | None) -> None:
        if event is None:
            self.later(self.check(PROMPT))
        else:
            self._on_event(event)
