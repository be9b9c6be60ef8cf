"""What engines say in their logs of the memory that they took: each run's log is read once, when it has become ready.

In a thread, so that a pass never waits for a disk; and as little is believed of a log as of any text of a stranger.
"""

import threading
from collections.abc import Callable, Mapping

from reconciler.engines import measured
from reconciler.model.plan import Launch


class Statements:
    """Asked once in each pass, on the event loop; the thread is there only while there is something to read."""

    def __init__(
        self,
        log: Callable[[str, int], bytes] = lambda _slot, _run: b"",
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """`log(slot, run)` is how its log begins, or raises OSError; it and `on_change` are called in the thread."""
        self._log, self._on_change = log, on_change
        self._runs: dict[str, int] = {}
        self._said: Mapping[str, int] = {}
        self._waiting: list[Launch] = []
        self._works = False
        self._lock = threading.Lock()

    def ready(self, launch: Launch) -> None:
        """This run is ready: have its log read, unless it was."""
        if not launch.gpus or self._runs.get(launch.slot) == launch.run:
            return
        with self._lock:
            self._runs[launch.slot] = launch.run
            self._said = _without(self._said, launch.slot)
            self._waiting.append(launch)
            if not self._works:
                self._works = True
                threading.Thread(target=self._work, name="statements", daemon=True).start()

    def forget(self, slot: str) -> None:
        """This instance is no more."""
        if slot in self._runs:
            with self._lock:
                del self._runs[slot]
                self._said = _without(self._said, slot)

    def __call__(self) -> Mapping[str, int]:
        """By slot: bytes on that GPU which gives most. The very same object where nothing changed."""
        return self._said

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._works = False
                    return
                launch = self._waiting.pop(0)
            try:
                text = self._log(launch.slot, launch.run).decode(errors="replace")
            except OSError:
                continue  # an estimate has to do
            said = measured.stated(launch, text.splitlines())
            if said is None:
                continue
            with self._lock:
                if self._runs.get(launch.slot) == launch.run:  # it may be gone by now
                    self._said = {**self._said, launch.slot: said}
            self._on_change()


def _without(mapping: Mapping[str, int], key: str) -> Mapping[str, int]:
    return {other: value for other, value in mapping.items() if other != key} if key in mapping else mapping
