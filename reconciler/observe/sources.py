"""Where the weights are that the fleet needs: looked up by a thread, as a cache may be on a slow disk.

The same thread notes in the cache what is needed and used: for whoever has to choose what to delete.
"""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from reconciler import shelf
from reconciler.model.observation import Unknown
from reconciler.model.status import Reason
from reconciler.model.stored import Absent, Fetching, Here, Looking, Stored
from reconciler.observe import shelves
from reconciler.plan import spare

Known = Stored | Unknown
Needs = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """What is to be known."""

    needs: Needs = field(default_factory=dict[str, tuple[str, ...]])
    place: shelf.Place = field(default_factory=lambda: shelf.place(None))
    sure: bool = False
    """Whether it is all that is needed."""
    ending: tuple[str, ...] = ()
    """What nobody needs any more, and was being fetched."""


class Sources:
    """Asked once in each pass, on the event loop: it waits for no disk."""

    def __init__(self, clock: Callable[[], float], on_change: Callable[[bool], None], *, often: float = 0.5) -> None:
        """`on_change` is called from a thread, and told whether something came; `often`: seconds between two looks."""
        self._clock, self._on_change, self._often = clock, on_change, often
        self._wish = _Wish()
        self._known: Mapping[str, Known] = {}
        self._advice: dict[tuple[str, float], str] = {}
        self._used: deque[str] = deque()
        self._noted: _Wish | None = None
        self._looking = threading.Lock()
        self._due = threading.Event()
        self._thread: threading.Thread | None = None

    def want(self, needs: Needs, root: str | None, *, sure: bool) -> None:
        """Know these, in the cache of that path, and of all others how their fetch ends. `needs`: workloads by source.

        `sure`: that nothing else is needed, so that the cache may be told.
        """
        place = shelf.place(root)
        known = self._known if place == self._wish.place else dict[str, Known]()
        ending = tuple(each for each in known if each not in needs and isinstance(known[each], Fetching))
        wish = _Wish(needs=needs, place=place, sure=sure, ending=ending)
        if wish == self._wish:
            return
        self._wish = wish
        self._known = {source: known.get(source, Looking()) for source in sorted({*needs, *ending})}
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="sources", daemon=True)
            self._thread.start()
        self._due.set()

    def __call__(self) -> Mapping[str, Known]:
        """What is known now; the very same object where nothing changed."""
        return self._known

    def used(self, files: Collection[str]) -> None:
        """These were given to an engine just now, or taken from it: it is noted when it was."""
        self._used.extend(files)
        self._due.set()

    def look(self) -> None:
        """Look now, and soon again where something has begun. Blocks."""
        self._look()
        self._due.set()

    def _look(self) -> None:
        with self._looking:
            wish = self._wish
            try:
                known = look({**wish.needs, **dict.fromkeys(wish.ending, ())}, wish.place, self._clock(), self._advice)
            except Exception as error:  # noqa: BLE001 - whatever lies in the cache: the thread goes on looking
                why = Unknown(reason=f"cannot look into {wish.place.ours}: {error!r}")
                known = dict.fromkeys((*wish.needs, *wish.ending), why)
            with contextlib.suppress(OSError, ValueError):  # a full disk, or somebody else's
                self._note(wish)
            if wish is not self._wish or known == self._known:
                return
            came = any(isinstance(known[each], Here) and known[each] != self._known.get(each) for each in known)
            self._known = known
        self._on_change(came)

    def _note(self, wish: _Wish) -> None:
        """Write down what is needed and what was used, where that is news."""
        used = {self._used.popleft() for _ in range(len(self._used))}
        news = wish.sure and wish is not self._noted
        self._noted = wish
        needed = {shelf.directory(wish.place, source) for source in wish.needs}
        for path in shelf.sources(wish.place) if news or used else ():
            whole = shelf.whole(path)
            if news and whole is not None:
                shelf.write_need(path, path in needed, time.time())
            if whole is not None and whole.path in used:
                shelf.write_used(path, time.time())

    def _work(self) -> None:
        while True:
            moving = any(isinstance(each, Fetching) for each in self._known.values())
            self._due.wait(self._often if moving else 20 * self._often)
            self._due.clear()
            self._look()


class Joined:
    """Two such mappings as one; the very same object where nothing changed."""

    def __init__(self, first: Callable[[], Mapping[str, Known]], second: Callable[[], Mapping[str, Known]]) -> None:
        self._parts = first, second
        self._of: tuple[Mapping[str, Known], Mapping[str, Known]] = {}, {}
        self._known: Mapping[str, Known] = {}

    def __call__(self) -> Mapping[str, Known]:
        """What is known now."""
        first, second = self._parts[0](), self._parts[1]()
        if first is not self._of[0] or second is not self._of[1]:
            self._of, self._known = (first, second), {**first, **second}
        return self._known


def look(
    needs: Needs, place: shelf.Place, now: float, advice: dict[tuple[str, float], str] | None = None
) -> dict[str, Known]:
    """Where the weights of these sources are. `advice`: what was advised of earlier failures. Blocks."""
    given = {} if advice is None else advice
    found = {source: shelf.look(place, source, now) for source in sorted(needs)}
    return {source: _advised(source, stored, needs, place, given) for source, stored in found.items()}


def _advised(
    source: str, stored: Known, needs: Needs, place: shelf.Place, given: dict[tuple[str, float], str]
) -> Known:
    """With what could go, where there is no room: looked for once for each failure, as that takes a while."""
    failure = stored.failure if isinstance(stored, Absent) else None
    if failure is None or failure.reason is not Reason.DiskFull:
        return stored
    words = given.get((source, failure.at))
    if words is None:
        for earlier in [key for key in given if key[0] == source]:
            del given[earlier]
        with contextlib.suppress(OSError):
            given[source, failure.at] = words = spare.advised(shelves.look(place, needs), failure.short)
    return Absent(failure=replace(failure, detail=f"{failure.detail}; {words}" if words else failure.detail))
