"""Where the weights are that the fleet needs: looked up by a thread, as a cache may be on a slow disk."""

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from reconciler import shelf
from reconciler.model.observation import Unknown
from reconciler.model.quantity import print_size
from reconciler.model.status import Reason
from reconciler.model.stored import Absent, Fetching, Looking, Stored
from reconciler.plan.words import several

Known = Stored | Unknown


class Sources:
    """Asked once in each pass, on the event loop: it waits for no disk."""

    def __init__(self, clock: Callable[[], float], on_change: Callable[[], None], *, often: float = 0.5) -> None:
        """`on_change` is called from a thread; `often`: seconds between two looks while something is fetched."""
        self._clock, self._on_change, self._often = clock, on_change, often
        self._place = shelf.place(None)
        self._wanted: frozenset[str] = frozenset()
        self._known: Mapping[str, Known] = {}
        self._looking = threading.Lock()
        self._due = threading.Event()
        self._thread: threading.Thread | None = None

    def want(self, sources: Collection[str], root: str | None) -> None:
        """Know these, in the cache of that path, and forget all others."""
        wanted, place = frozenset(sources), shelf.place(root)
        if (wanted, place) == (self._wanted, self._place):
            return
        known = self._known if place == self._place else dict[str, Known]()
        self._wanted, self._place = wanted, place
        self._known = {source: known.get(source, Looking()) for source in sorted(wanted)}
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="sources", daemon=True)
            self._thread.start()
        self._due.set()

    def __call__(self) -> Mapping[str, Known]:
        """What is known now; the very same object where nothing changed."""
        return self._known

    def look(self) -> None:
        """Look now, and soon again where something has begun. Blocks."""
        self._look()
        self._due.set()

    def _look(self) -> None:
        with self._looking:
            wanted, place = self._wanted, self._place
            known = look(wanted, place, self._clock())
            if wanted is not self._wanted or known == self._known:
                return
            self._known = known
        self._on_change()

    def _work(self) -> None:
        while True:
            moving = any(isinstance(each, Fetching) for each in self._known.values())
            self._due.wait(self._often if moving else 20 * self._often)
            self._due.clear()
            self._look()


def look(wanted: Collection[str], place: shelf.Place, now: float) -> dict[str, Known]:
    """Where the weights of these sources are. Blocks."""
    found = {source: shelf.look(place, source, now) for source in sorted(wanted)}
    return {source: _advised(stored, wanted, place) for source, stored in found.items()}


def _advised(stored: Known, wanted: Collection[str], place: shelf.Place) -> Known:
    """With what could go, where there is no room."""
    failure = stored.failure if isinstance(stored, Absent) else None
    if failure is None or failure.reason is not Reason.DiskFull:
        return stored
    spare = {source: whole.size for source, whole in shelf.wholes(place).items() if source not in wanted}
    largest = sorted(spare, key=lambda source: -spare[source])
    named = several([f"{source} ({print_size(spare[source])})" for source in largest])
    advice = "make room there, or name another cache in the Node's file"
    if spare:
        advice = f"nothing declared needs {named}"
    return Absent(failure=replace(failure, detail=f"{failure.detail}; {advice}"))
