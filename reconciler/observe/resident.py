"""How much host memory the processes of each instance hold, from /proc: seldom, a few at a time, and beside the passes.

Memory of several processes is counted once where they share it; one alone costs no walk over its pages.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from reconciler.model.observation import Instance, Ready, Resident, Running
from reconciler.observe.processes import children

AT_ONCE = 32
"""Instances that are counted together: the rest has its turn at the next round."""
_FIRST, _LAST, _SLOWER = 10.0, 600.0, 4.0
"""Seconds until one is counted again, at first and in the end: what it holds grows less and less."""


@dataclass(frozen=True, slots=True)
class _Due:
    run: int
    at: float
    wait: float


class Residents:
    """The last figures. `due` and `take` are called on the event loop, `count` where it may take a while."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.known: Mapping[str, Resident] = {}
        """By slot; another object where anything of it is another."""
        self._clock = clock
        self._due: dict[str, _Due] = {}

    def due(self, instances: Mapping[str, Instance]) -> dict[str, tuple[int, int]]:
        """Slots that are to be counted now → run and pid. Who never was comes first."""
        gone = self._due.keys() - instances.keys()
        if gone:
            self._due = {slot: due for slot, due in self._due.items() if slot not in gone}
            self.known = {slot: counted for slot, counted in self.known.items() if slot not in gone}
        now, found = self._clock(), list[tuple[float, str, int, int]]()
        for slot, instance in instances.items():
            phase, run = instance.phase, instance.launch.run
            if isinstance(phase, Running) and isinstance(phase.readiness, Ready):
                due = self._due.get(slot)
                at = due.at if due is not None and due.run == run else 0.0
                if at <= now:
                    found.append((at, slot, run, phase.pid))
        return {slot: (run, pid) for _, slot, run, pid in sorted(found)[:AT_ONCE]}

    def take(self, counted: Mapping[str, Resident]) -> None:
        """Take over what was counted."""
        now = self._clock()
        for slot, resident in counted.items():
            due = self._due.get(slot)
            wait = min(_LAST, due.wait * _SLOWER) if due is not None and due.run == resident.run else _FIRST
            self._due[slot] = _Due(resident.run, now + wait, wait)
        if any(self.known.get(slot) != resident for slot, resident in counted.items()):
            self.known = {**self.known, **counted}


def count(due: Mapping[str, tuple[int, int]]) -> dict[str, Resident]:
    """What these hold now: of slots, by run and pid. Nothing of those that have ended meanwhile."""
    found: dict[str, Resident] = {}
    for slot, (run, pid) in due.items():
        family = list(children(pid))
        figures = _alone(pid) if len(family) == 1 else _together(family)
        if figures is not None:
            found[slot] = Resident(run=run, own=figures[0], files=figures[1])
    return found


def _alone(pid: int) -> tuple[int, int] | None:
    """What is its own, and what it has mapped of files. Bytes."""
    figures = _figures(f"/proc/{pid}/status")
    if b"RssAnon" not in figures:
        return None
    return figures[b"RssAnon"] + figures[b"RssShmem"], figures[b"RssFile"]


def _together(pids: list[int]) -> tuple[int, int] | None:
    """The same of several: each part of what they share once, as far as the kernel lets us see that."""
    own = files = 0
    for pid in pids:
        figures = _figures(f"/proc/{pid}/smaps_rollup")
        if b"Pss_Anon" in figures:
            own += figures[b"Pss_Anon"] + figures[b"Pss_Shmem"]
            files += figures[b"Pss_File"]
        elif (alone := _alone(pid)) is not None:
            own, files = own + alone[0], files + alone[1]
    return (own, files) if own else None


def _figures(path: str) -> dict[bytes, int]:
    """The lines that are in kB, in bytes; nothing where the process is gone, or another's."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            lines = os.read(fd, 8192).splitlines()
        finally:
            os.close(fd)
    except OSError:
        return {}
    words = (line.split() for line in lines if line.endswith(b" kB"))
    return {word[0][:-1]: int(word[1]) * 1024 for word in words if len(word) == 3}
