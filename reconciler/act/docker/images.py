"""Images: whether those that the fleet needs are there, and how far those are that are fetched.

The engine itself checks what it pulls by digest, and goes on by itself with a layer that is cut off.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from reconciler.act.docker.api import Api, RefusedError, SilentError
from reconciler.act.docker.pull import Bytes, Pull
from reconciler.model.errors import TransientError
from reconciler.model.observation import Unknown
from reconciler.model.plan import Cancel, Fetch
from reconciler.model.status import Reason
from reconciler.model.stored import Absent, FetchFailure, Fetching, Here, Looking, Stored

STALL = 300.0
"""Seconds in which something must come."""
Known = Stored | Unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class _Going:
    pull: Pull
    task: asyncio.Task[None]


class Images:
    """The images of one engine, by source: `image:name`."""

    def __init__(
        self, api: Api, *, on_change: Callable[[], None], on_silence: Callable[[Exception], None], stall: float = STALL
    ) -> None:
        """`on_silence` hears why the engine could not be asked."""
        self.known: Mapping[str, Known] = {}
        """The very same object where nothing changed."""
        self._api, self._stall = api, stall
        self._on_change, self._on_silence = on_change, on_silence
        self._pulls: dict[str, _Going] = {}
        self._failed: dict[str, FetchFailure] = {}

    def want(self, sources: Collection[str]) -> bool:
        """Know these, and those that are fetched, and forget all others; whether there are new ones."""
        wanted = {*sources, *self._pulls}
        new = wanted - self.known.keys()
        if new or len(wanted) != len(self.known):
            self.known = {source: self.known.get(source, Looking()) for source in sorted(wanted)}
        return bool(new)

    def hide(self, reason: str) -> None:
        """None can be seen, but those that are fetched go on."""
        for source in self.known.keys() - self._pulls.keys():
            self._set(source, Unknown(reason=reason))

    async def look(self) -> None:
        """Ask for those that are not known to be there."""
        for source in [source for source, stored in self.known.items() if not isinstance(stored, Here)]:
            if source not in self._pulls:
                await self._ask(source)

    async def _ask(self, source: str) -> None:
        try:
            info = await self._api.call(lambda client: client.inspect_image(_name(source)))
        except SilentError as error:
            self._on_silence(error)
        except RefusedError as error:
            failure = self._failed.get(source)
            if error.status != 404:
                failure = self._failure(source, Reason.Unknown, f"docker says: {error}")
            self._learn(source, Absent(failure=failure))
        else:
            self._failed.pop(source, None)
            self._learn(source, Here(path=str(info["Id"]), size=int(info.get("Size") or 0)))

    async def perform(self, action: Fetch | Cancel) -> None:
        """Begin to fetch, or end it. Raises TransientError."""
        source, going, known = action.source, self._pulls.get(action.source), self.known.get(action.source)
        if isinstance(action, Cancel):
            if going is not None:
                self._end(source, going)
                self._set(source, Absent())
        elif isinstance(known, Unknown):
            raise TransientError(Reason.Unknown, f"cannot fetch {_name(source)}: {known.reason}")
        elif going is None:
            self._begin(source, action.slot)

    def _begin(self, source: str, slot: str) -> None:
        loop = asyncio.get_running_loop()

        def told(far: Bytes) -> None:
            if not pull.ended:
                self._set(source, Fetching(slot=slot, done=far.done, total=far.total))

        def tell(far: Bytes) -> None:
            loop.call_soon_threadsafe(told, far)

        pull = Pull(_name(source), tell)
        self._pulls[source] = _Going(pull=pull, task=loop.create_task(self._fetch(source, pull)))
        self.known = {**self.known, source: Fetching(slot=slot)}

    def _end(self, source: str, going: _Going) -> None:
        del self._pulls[source]
        going.task.cancel()
        going.pull.end()

    def lost(self, source: str) -> None:
        """It was here, and is no more."""
        self._set(source, Absent())

    async def _fetch(self, source: str, pull: Pull) -> None:
        failure = None
        try:
            await self._api.call(pull.run, None, silence=self._stall)
        except (RefusedError, SilentError) as error:
            failure = self._failure(source, Reason.FetchFailed, str(error))
        pull.ended = True
        del self._pulls[source]
        if failure is None:
            self._failed.pop(source, None)
        else:
            self._failed[source] = failure
        await self._ask(source)

    def _failure(self, source: str, reason: Reason, why: str) -> FetchFailure:
        before = self._failed.get(source)
        detail = f"cannot fetch {_name(source)}: {why}"
        return FetchFailure(at=time.monotonic(), count=before.count + 1 if before else 1, reason=reason, detail=detail)

    def _learn(self, source: str, stored: Known) -> None:
        """The engine says so; of what it has begun to fetch meanwhile it says nothing new."""
        if source not in self._pulls:
            self._set(source, stored)

    def _set(self, source: str, stored: Known) -> None:
        if source in self.known and self.known[source] != stored:
            self.known = {**self.known, source: stored}
            self._on_change()

    def close(self) -> None:
        """Wait for none any more. What is fetched ends with us."""
        for source, going in [*self._pulls.items()]:
            self._end(source, going)


def _name(source: str) -> str:
    return source.removeprefix("image:")
