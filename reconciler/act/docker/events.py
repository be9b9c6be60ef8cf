"""What the engine tells of our containers by itself, as long as it does."""

import asyncio
import logging
import threading
from collections.abc import Callable

from reconciler.act.docker.api import DEADLINE, Api, Info
from reconciler.act.docker.labels import STATE

log = logging.getLogger(__name__)


class Ear:
    """Listens to the engine's events in a thread of its own, until they end."""

    def __init__(
        self,
        api: Api,
        owner: str,
        *,
        heard: Callable[[Info | None], None],
        joined: Callable[[], None],
        ended: asyncio.Event,
    ) -> None:
        self._api, self._filters = api, {"type": "container", "label": f"{STATE}={owner}"}
        self._heard, self._joined, self._ended = heard, joined, ended
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._listen, name="docker-events", daemon=True).start()

    def _listen(self) -> None:
        joined = False
        try:
            stream = self._api.connect(DEADLINE).events(filters=self._filters, decode=True)
            joined = True
            self._loop.call_soon_threadsafe(self._joined)
            for event in stream:
                self._loop.call_soon_threadsafe(self._heard, event)
        except Exception as error:  # noqa: BLE001  whatever a stream that breaks off makes of the SDK
            log.debug("cannot hear events: %s", error)
        if not self._loop.is_closed():
            if joined:
                self._loop.call_soon_threadsafe(self._heard, None)
            self._loop.call_soon_threadsafe(self._ended.set)
