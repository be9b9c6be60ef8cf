"""An engine's process and all that descends from it: seen ended, and ended so that none is left.

Its own keeper is its parent, and as a subreaper the parent of every orphan below it. A later keeper, that took over
after the first was killed, knows them by what they carry. No bare pid is ever signalled. Standard library only.
"""

from __future__ import annotations

import os
import signal

from reconciler.act import procfs
from reconciler.ready import readable


class End:
    """How the main process ended."""

    __slots__ = ("code", "peak", "signal")

    def __init__(self, *, code: int | None = None, signal: int | None = None, peak: int | None = None) -> None:
        self.code = code
        self.signal = signal
        self.peak = peak


class Family:
    """One run's processes."""

    def __init__(
        self, pid: int, start: int, *, token: str, pipe: tuple[int, int], own: bool = True, pidfd: int | None = None
    ) -> None:
        self.pid = pid
        self.start = start
        """In clock ticks after boot; nothing of it can be older, so nothing older is ever signalled."""
        self.own = own
        """Whether it is our child; else it was taken over."""
        self.pidfd = pidfd
        """Of a main process that was taken over, as long as it runs."""
        self.end: End | None = None if own or pidfd is not None else End()
        self._token = token
        self._pipe = pipe
        self._known: dict[int, int] = {}  # pid → start, of those seen in its session
        self._peak: int | None = None
        self.sample()

    def look(self) -> bool:
        """Reap what ended; whether nothing is left of it."""
        childless = self._reap()
        if self.own:
            return childless
        if self.pidfd is not None and readable(self.pidfd, 0):
            self.end = End(peak=self._peak)
            os.close(self.pidfd)
            self.pidfd = None
        return self.end is not None and not self.members()

    def sample(self) -> None:
        """Note what cannot be asked any more once it has ended: its peak, and who is in its session."""
        if self.pidfd is None:
            return
        peak = procfs.peak(self.pid)
        session = {found.pid: found.start for found in procfs.table().values() if found.session == self.pid}
        if not readable(self.pidfd, 0):  # it runs, so the number was its own all the while
            self._peak = peak or self._peak
            self._known |= session

    def terminate(self, number: int) -> None:
        """Signal its process group."""
        if self.own and self.end is None:
            try:
                os.killpg(self.pid, number)  # our child, not reaped: the number cannot be another's
            except OSError:
                return
        else:
            for found in self.members():
                if found.group == self.pid:
                    procfs.kill(found, number)

    def kill(self) -> None:
        """SIGKILL to everything that is left of it."""
        if self.own and self.end is None:
            self.terminate(signal.SIGKILL)
        for found in self.members():
            procfs.kill(found, signal.SIGKILL)

    def members(self) -> list[procfs.Stat]:
        """All of it that runs."""
        processes = procfs.table()
        roots = {os.getpid()}
        if not self.own:
            roots |= {pid for pid, found in processes.items() if found.start >= self.start and self._carries(found)}
        found = procfs.descendants(processes, roots) + [processes[pid] for pid in roots - {os.getpid()}]
        return [process for process in found if not process.ended]

    def _carries(self, process: procfs.Stat) -> bool:
        if self._known.get(process.pid) == process.start:
            return True
        return procfs.carries(process.pid, self._token, self._pipe)

    def _reap(self) -> bool:
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if pid == self.pid and self.own:
                code = os.waitstatus_to_exitcode(status)
                peak = usage.ru_maxrss * 1024
                self.end = End(code=code, peak=peak) if code >= 0 else End(signal=-code, peak=peak)


def find(token: str, pipe: tuple[int, int]) -> procfs.Stat | None:
    """The main process of a run of which only the token is known: the first of its session leaders."""
    found = [
        process
        for process in procfs.table().values()
        if process.pid == process.session and not process.ended and procfs.carries(process.pid, token, pipe)
    ]
    return min(found, key=lambda process: process.start, default=None)


def take_over(pid: int, start: int, *, token: str, pipe: tuple[int, int]) -> Family | None:
    """The family of a recorded process, if that very process still runs and carries our token; else None."""
    pidfd = procfs.pin(pid, start)
    if pidfd is None:
        return None
    found = procfs.stat(pid)
    if found is None or found.ended or not procfs.carries(pid, token, pipe) or readable(pidfd, 0):
        os.close(pidfd)
        return None
    return Family(pid, start, token=token, pipe=pipe, own=False, pidfd=pidfd)
