"""Reads daemons, each in threads of its own, and keeps what they said last. Nothing is drawn here: the app is woken."""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeVar

from reconciler.client import Client
from reconciler.model.errors import ApiError
from reconciler.model.live import Live
from reconciler.model.status import Event, Status
from tui.view.world import Machine, Past, alike

T = TypeVar("T")
EVENTS = 500
"""Events that are kept."""
STILL = 5.0
"""Seconds between two drawings while nothing is seen to change but the time."""
_PAUSE = 1.0
"""Seconds between attempts to reach a daemon that is away."""


class Link:
    """One machine's daemon."""

    def __init__(
        self,
        name: str,
        client: Client,
        wake: Callable[[], None],
        *,
        every: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`wake` is called in our threads whenever there is something new; `every`: seconds between live readings."""
        self.name = name
        self.client = client
        self._wake = wake
        self._every = every
        self._clock = clock
        self._closed = threading.Event()
        self._lock = threading.RLock()
        self._machine = Machine(name=name, past=Past())
        self._troubles: dict[str, str] = {}
        """Why a stream is not read, by what it tells of."""
        self._woken = float("-inf")

    def start(self) -> None:
        """Begin to read."""
        for read in (self._read_status, self._read_live, self._read_events):
            threading.Thread(target=read, name=f"{read.__name__} {self.name}", daemon=True).start()

    def close(self) -> None:
        """Read no more; what is under way ends with its next line."""
        self._closed.set()

    @property
    def machine(self) -> Machine:
        """What is known now."""
        return self._machine

    def _read_status(self) -> None:
        def take(status: Status) -> None:
            self._hear("status", status=status)

        self._forever(self.client.statuses, take, lambda error: self._hear("status", str(error)))

    def _read_live(self) -> None:
        def take(live: Live) -> None:
            status = self._machine.status
            used = {gpu.uuid: gpu.used for gpu in status.gpus} if status is not None else {}
            self._machine.past.add(live, used)
            before = self._machine.live
            self._hear("live", live=live, still=before is not None and alike(before, live))

        # a daemon that hangs holds its streams open: only this one is known to be late
        self._forever(lambda: self.client.live(every=self._every), take, lambda error: self._hear("live", str(error)))

    def _read_events(self) -> None:
        def take(event: Event) -> None:
            known = self._machine.events
            if not known or event.seq > known[-1].seq:
                self._change(events=(*known, event)[-EVENTS:])

        def stream() -> Iterable[Event]:
            # anew each time: a daemon that came back may have begun to count anew
            known = tuple(self.client.events(limit=EVENTS, newest=True))
            self._change(events=known)
            return self.client.follow_events(since=known[-1].seq if known else 0)

        self._forever(stream, take)

    def _forever(
        self,
        stream: Callable[[], Iterable[T]],
        take: Callable[[T], None],
        lost: Callable[[ApiError], None] | None = None,
    ) -> None:
        """Take all that comes, and after an interruption try again."""
        while not self._closed.is_set():
            try:
                for each in stream():
                    take(each)
                    if self._closed.is_set():
                        return
            except ApiError as error:
                if lost is not None:
                    lost(error)
            self._closed.wait(_PAUSE)

    def _hear(self, stream: str, trouble: str = "", *, still: bool = False, **what: object) -> None:
        """What a stream says, or why it cannot be read. The machine is away while that is so of either.

        `still`: nothing of it is seen but the time.
        """
        with self._lock:
            self._troubles.pop(stream, None)
            if trouble:
                self._troubles[stream] = trouble
            away = next(iter(self._troubles.values()), "")
            still = still and away == self._machine.away
            self._change(away=away, lost=(self._machine.lost or time.time()) if away else 0.0, still=still, **what)

    def _change(self, *, still: bool = False, **what: object) -> None:
        with self._lock:
            self._machine = replace(self._machine, **what)  # type: ignore[arg-type]
        if self._closed.is_set() or (still and self._clock() < self._woken + STILL):
            return
        self._woken = self._clock()
        self._wake()
