"""Headers of all whose memory no file says: the last answers, put together anew only where one changed."""

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from reconciler.model.observation import Unknown
from reconciler.model.weights import Unreadable, Weights
from reconciler.observe.headers import Headers

_AGAIN = 10.0
"""Seconds after which it is looked whether a file has become another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """What is known."""

    weights: Mapping[str, Weights | Unreadable | Unknown] = field(
        default_factory=dict[str, "Weights | Unreadable | Unknown"]
    )
    """By source."""
    reading: frozenset[str] = frozenset()
    """Sources of which nothing is known yet."""


class Weighing:
    """Asked once in each pass, on the event loop: it waits for no file."""

    def __init__(self, headers: Headers, clock: Callable[[], float]) -> None:
        self._headers = headers
        self._clock = clock
        self._wanted: frozenset[str] = frozenset()
        self._root: str | None = None
        self._known = Weighed()
        self._due = 0.0

    def want(self, sources: Collection[str], root: str | None) -> None:
        """Know these, and forget all others. `file:` sources by their absolute path; `root`: the cache of the Node."""
        wanted = frozenset(sources)
        if (wanted, root) != (self._wanted, self._root):
            self._wanted, self._root = wanted, root
            self._headers.keep({(source, "/") for source in wanted}, root)
            self.changed()

    def arrived(self) -> None:
        """Something has come into the cache. May be called from any thread."""
        self._headers.arrived()
        self.changed()

    def changed(self) -> None:
        """Another answer has come. May be called from any thread."""
        self._due = 0.0

    def __call__(self) -> Weighed:
        """What is known now; the very same object where nothing changed."""
        now = self._clock()
        if now >= self._due:
            self._due = now + _AGAIN  # first: an answer that comes meanwhile makes it due again
            answers = {source: self._headers.look(source, "/") for source in sorted(self._wanted)}
            weights = {source: answer for source, answer in answers.items() if answer is not None}
            known = Weighed(weights=weights, reading=frozenset(answers.keys() - weights.keys()))
            self._known = self._known if known == self._known else known
        return self._known


def weigh(sources: Collection[str], root: str | None, *, within: float) -> dict[str, Weights | Unreadable | Unknown]:
    """Read all of these now, for a command: as many seconds at most, and what has not come by then is Unknown."""
    arrived = threading.Event()
    headers = Headers(clock=time.monotonic, on_change=arrived.set, deadline=within)
    headers.keep({(source, "/") for source in sources}, root)
    end = time.monotonic() + within
    while True:
        arrived.clear()
        answers = {source: headers.look(source, "/") for source in sources}
        left = end - time.monotonic()
        if None not in answers.values() or left <= 0:
            late = Unknown(reason=f"its header did not come within {within:.0f} s")
            return {source: late if answer is None else answer for source, answer in answers.items()}
        arrived.wait(left)
