"""Each file's last good version, and when a newer one is believed: what is half-written never means delete (P1).

A whole file that takes nothing away is believed at once. What takes something away, does not read well or may be torn
is believed after it has been at rest; removals ripen together, so an `rm` of ten files is one event.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from reconciler.model.source import Problem
from reconciler.spec.check import Declared, Key, Reading
from reconciler.spec.files import FRESH, Stamp


@dataclass(slots=True)
class Held:
    """One file."""

    stamp: Stamp | None = None
    """Of what was read last; None: the file is gone, or may not be read."""
    reading: Reading | None = None
    """What it says now; None: it is gone."""
    since: float = 0.0
    """When it was first seen to say so."""
    claims: tuple[Declared, ...] = ()
    """What it declares: its last good version."""
    problems: tuple[Problem, ...] = ()

    def keeps(self, key: Key) -> bool:
        """Whether what it says now still stands for a resource that it declared."""
        reading = self.reading
        if reading is None:
            return False
        return reading.opaque or key in reading.broken or any(new.key == key for new in reading.declared)

    def takes_away(self) -> bool:
        """Whether believing it would remove something."""
        return bool(self.claims) and not all(self.keeps(claim.key) for claim in self.claims)

    def sound(self) -> bool:
        """Whether it can be believed at first sight."""
        reading = self.reading
        if reading is None:
            return not self.claims and not self.problems
        return not reading.problems and reading.ended and not self.takes_away()

    def believe(self) -> None:
        """Make what it says the last good version, as far as it is good."""
        reading = self.reading
        if reading is None:
            self.claims, self.problems = (), ()
            return
        if reading.opaque and self.claims:
            names = tuple(sorted({claim.key[1] for claim in self.claims if claim.key[0] == "runs"}))
            self.problems = tuple(with_names(problem, names) for problem in reading.problems)
            return
        frozen = tuple(claim for claim in self.claims if claim.key in reading.broken) if reading.broken else ()
        self.claims, self.problems = reading.declared + frozen, reading.problems


class Patience:
    """All files of a fleet."""

    def __init__(self, rest: float) -> None:
        self.files: dict[str, Held] = {}
        self.problems: dict[str, tuple[Problem, ...]] = {}
        """Of what is believed, by file."""
        self._rest = rest
        self._pending: dict[str, Held] = {}
        self._removal = 0.0

    def see(self, path: str, stamp: Stamp | None, reading: Reading | None, now: float) -> bool:
        """A file was read. Whether it is news: not where it says the same, and was read only as its stamp was FRESH."""
        held = self.files.get(path)
        if held is None:
            self.files[path] = self._pending[path] = Held(stamp, reading, now)
            return True
        before = held.stamp
        if before and stamp and before == (*stamp[:4], FRESH) and reading == held.reading:
            held.stamp = stamp
            return False
        took = path in self._pending and held.takes_away()
        held.stamp, held.reading, held.since = stamp, reading, now
        self._pending[path] = held
        if held.takes_away() or took:
            self._removal = now
        return True

    def believe(self, path: str) -> tuple[tuple[Declared, ...], tuple[Declared, ...]]:
        """Believe what a file says now. What it declared before, and what it declares from now on."""
        held = self.files[path]
        before = held.claims
        held.believe()
        if held.problems:
            self.problems[path] = held.problems
        else:
            self.problems.pop(path, None)
        if held.reading is None:
            del self.files[path]
        return before, held.claims

    def yield_to(self, key: Key, path: str) -> tuple[tuple[Declared, ...], tuple[Declared, ...]]:
        """Another file declares a resource now: this one yields it. What it declared before, and declares now."""
        held = self.files[path]
        before = held.claims
        held.claims = tuple(claim for claim in before if claim.key != key)
        return before, held.claims

    def ripe(self, now: float, *, at_once: bool) -> list[str]:
        """Files whose newest content may be believed now; they are no longer waited for."""
        if at_once:
            ripe = list(self._pending)
            self._pending.clear()
            return ripe
        ripe = [path for path, held in self._pending.items() if held.sound() or self._due(held) <= now]
        for path in ripe:
            del self._pending[path]
        return ripe

    def due(self) -> float | None:
        """When the next of those that wait may be believed."""
        return min((self._due(held) for held in self._pending.values()), default=None)

    def _due(self, held: Held) -> float:
        since = max(held.since, self._removal) if held.takes_away() else held.since
        return since + self._rest


def beneath(directory: str, paths: Iterable[str]) -> list[str]:
    """Of these paths, the directory itself and those in it."""
    prefix = f"{directory}/"
    return [path for path in paths if path == directory or path.startswith(prefix)] if directory else list(paths)


def with_names(problem: Problem, names: tuple[str, ...]) -> Problem:
    """The same problem, of more workloads."""
    return Problem(
        path=problem.path,
        line=problem.line,
        column=problem.column,
        key=problem.key,
        message=problem.message,
        names=tuple(sorted({*problem.names, *names})),
    )
