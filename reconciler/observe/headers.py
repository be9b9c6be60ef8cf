"""Headers of model files, wherever they are: what a source weighs, read in threads so that a pass never waits for it.

Files of this machine are read where they stand, those of `ollama:` and of the Hugging Face cache too; all others by
HTTP, the header only, under caps and a deadline.
"""

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from reconciler import shelf
from reconciler.engines.dialect import FETCHED, scheme
from reconciler.model.observation import Unknown
from reconciler.model.quantity import print_duration
from reconciler.model.weights import Unreadable, Weights
from reconciler.observe import headers_local, headers_remote, headers_stores

_AT_ONCE = 8
"""Threads at most: one that hangs must not keep all others waiting."""

Known = Weights | Unreadable | Unknown


@dataclass(slots=True)
class _Entry:
    """What is known of one source."""

    answer: Known | None = None
    stamp: object = None
    """What the answer was read from: names, sizes and times of local files; the URL of remote ones."""
    begun: float | None = None
    """Since when it is being read."""
    due: float = 0.0
    """When to read it again."""
    failures: int = 0


class Headers:
    """The last answer for each source, and the threads that renew them: a few, and none where nothing is to be read."""

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        on_change: Callable[[], None] | None = None,
        deadline: float = 30.0,
        interval: float = 60.0,
        hub: headers_remote.Hub | None = None,
    ) -> None:
        """`on_change` is called from a thread. Local files are looked at again after `interval` seconds."""
        self._clock = clock
        self._on_change = on_change
        self._deadline, self._interval = deadline, interval
        self._hub = hub or headers_remote.Hub()
        self._entries: dict[tuple[str, str], _Entry] = {}
        self._waiting: dict[tuple[str, str], _Entry] = {}
        self._threads = 0
        self._lock = threading.Lock()

    def look(self, source: str, directory: str) -> Known | None:
        """What is known now of a source declared in that directory; None: not yet. Has it read where that is due."""
        now = self._clock()
        key = (source, directory)
        with self._lock:
            entry = self._entries.get(key) or self._entries.setdefault(key, _Entry())
            if now >= entry.due and entry.begun is None:
                self._waiting[key] = entry
                if self._threads < _AT_ONCE:
                    self._threads += 1
                    threading.Thread(target=self._work, name="headers", daemon=True).start()
            answer, begun = entry.answer, entry.begun
        if answer is None and begun is not None and now - begun > self._deadline:
            return Unknown(reason=f"cannot read {source}: nothing came for {print_duration(now - begun)}")
        return answer

    def keep(self, wanted: Collection[tuple[str, str]], root: str | None) -> None:
        """Forget every (source, directory) that is not among these. `root`: the cache of the Node."""
        with self._lock:
            self._hub = replace(self._hub, cache=shelf.place(root))
            for key in [key for key in self._entries if key not in wanted]:
                del self._entries[key]
                self._waiting.pop(key, None)

    def arrived(self) -> None:
        """Something has come into the cache: what could not be read may be there."""
        with self._lock:
            for entry in self._entries.values():
                entry.due = 0.0 if entry.failures else entry.due

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._threads -= 1
                    return
                key, entry = next(iter(self._waiting.items()))
                del self._waiting[key]
                entry.begun = self._clock()
            stamp, answer = _answer(*key, entry.stamp, self._deadline, self._hub)
            with self._lock:
                entry.failures = entry.failures + 1 if isinstance(answer, Unknown) else 0
                entry.begun, entry.due = None, self._clock() + self._after(key[0], entry.failures)
                changed = answer is not None and answer != entry.answer
                if answer is not None:
                    entry.stamp = stamp
                if changed:
                    entry.answer = answer  # an equal one keeps its identity, for those who compare by it
            if changed and self._on_change is not None:
                self._on_change()

    def _after(self, source: str, failures: int) -> float:
        """Seconds until it is read again: what is far away is believed for good, or asked again ever later."""
        if source.startswith("file:") or (source.startswith("ollama:") and not failures):
            return self._interval
        return min(3600.0, 15.0 * 2.0 ** min(failures - 1, 10)) if failures else float("inf")


def read(source: str, directory: str, *, deadline: float = 30.0, hub: headers_remote.Hub | None = None) -> Known:
    """What a source weighs, waiting for it no longer than the deadline in seconds: for commands."""
    found: list[Known] = []

    def work() -> None:
        answer = _answer(source, directory, None, deadline, hub or headers_remote.Hub())[1]
        found.extend([answer] if answer is not None else [])

    thread = threading.Thread(target=work, name=f"header of {source}", daemon=True)
    thread.start()
    thread.join(deadline)
    return found[0] if found else Unknown(reason=f"cannot read {source}: nothing came for {print_duration(deadline)}")


def _fetched(source: str, cache: shelf.Place) -> str | None:
    """Where it lies, if it was fetched by us, or by Hugging Face's tools."""
    if scheme(source) not in FETCHED:
        return None
    for named in (source, f"{source}/*.gguf"):
        found = shelf.whole(shelf.directory(cache, named))
        if found is not None:
            return found.path
    return shelf.snapshot_of(source, cache.hub) if scheme(source) == "hf" else None


def _answer(
    source: str, directory: str, before: object, deadline: float, hub: headers_remote.Hub
) -> tuple[object, Known | None]:
    """What was read and from what; None where the files are the same as before."""
    try:
        if source.startswith("file:"):
            return headers_local.read(source, directory, before)
        if source.startswith("ollama:"):
            path = headers_stores.pulled(source, (hub.cache.ollama, *hub.ollama))
            if path is not None:
                return (None, path) if isinstance(path, Unknown) else headers_local.read(f"file:{path}", "/", before)
            if before == source:
                return source, None  # as its registry said
        if (path := _fetched(source, hub.cache)) is not None:
            stamp, found = headers_local.read(f"file:{path}", "/", None)
            if isinstance(found, Weights):
                return stamp, found
        return source, headers_remote.read(source, deadline=deadline, hub=hub)
    except Exception as error:  # noqa: BLE001 - whatever a file system or a server does, it is a fact that is not known
        return None, Unknown(reason=f"cannot read {source}: {error!r}")
