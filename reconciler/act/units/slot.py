"""One slot whose instance is a unit: how what the system manager says of it becomes a phase."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping

from reconciler.act import procfs, runfile
from reconciler.act.kept import Kept
from reconciler.act.oom import Watch
from reconciler.act.units import unit
from reconciler.act.units.journal import Journal
from reconciler.model.quantity import print_size
from reconciler.model.status import Reason

Info = Mapping[str, str]
_EXITED = "1"
"""CLD_EXITED; any other way is a signal."""
_SETUP = range(200, 246)
"""Exit statuses by which systemd says at which step it could not set a unit up."""
_STEPS = {200: "its directory cannot be entered", 203: "it cannot be executed by the unit's user"}
_BY_HAND = "somebody else stopped its unit"


class UnitSlot(Kept):
    """One slot."""

    def __init__(
        self,
        name: str,
        state: str,
        *,
        on_change: Callable[[str], None],
        on_end: Callable[[], None],
        clock: Callable[[], float],
        journal: Journal,
        oom: Watch,
    ) -> None:
        """`on_end` is told when its main process has ended: the manager knows more."""
        super().__init__(name, state, "units", on_change=on_change, clock=clock, boot=_boot())
        self.unit = unit.name(name)
        self.doubtful = False
        """Whether its main process is gone, and the manager has not yet said how it ended."""
        self.state: tuple[str, str] | None = None
        """The manager's words for how it is; None where it knows nothing of it."""
        self.left = False
        """Whether what its main process has left behind is to be cleared away."""
        self.clearing: asyncio.Task[None] | None = None
        """Who does that: it may take as long as its grace, and all that time it is looked at again and again."""
        self._on_end, self._journal, self._oom = on_end, journal, oom
        self._pidfd: int | None = None

    def listen(self) -> None:
        """Have its log written down. A disk that takes none costs the log, and no engine."""
        if self.record is not None:
            with contextlib.suppress(OSError):
                self._journal.expect(self.record.token, self.name, self.logs, self.record.launch.run)

    def absorb(self, info: Info | None) -> None:
        """Believe what the manager says of its unit; None: there is none."""
        if self.record is None:
            return
        self.unseen = None
        self.state = None if info is None else (info["ActiveState"], info["SubState"])
        if info is None:
            if self.run.phase == runfile.STARTING:
                self.retract()
            elif self.run.active:
                self._vanished()
        elif info["SubState"] in ("exited", "failed"):
            if self.run.active or self.run.run < self.record.launch.run:
                self._ended(info)
        elif info["MainPID"] != "0":
            self._runs(int(info["MainPID"]), info)
        self.refresh()

    def _runs(self, pid: int, info: Info) -> None:
        run, known = self.run, self.record
        if known is None:
            return
        if info["ActiveState"] == "deactivating" and run.phase != runfile.STOPPING:
            self.blame(_BY_HAND)
        if run.run != known.launch.run or run.phase not in (runfile.RUNNING, runfile.STOPPING) or run.pid != pid:
            if run.run != known.launch.run or run.phase == runfile.EXITED:  # what we knew of it is lost
                self.run = run = runfile.Run()
                run.run, run.token = known.launch.run, known.token
            found = procfs.stat(pid)
            run.pid, run.start, run.boot = pid, found.start if found else None, self.boot
            run.began = _seconds(info["ExecMainStartTimestampMonotonic"]) or self.clock()
            run.phase = run.phase if run.phase == runfile.STOPPING else runfile.RUNNING
            self.save()
        found = procfs.stat(pid)
        self.doubtful = found is None or found.ended
        if not self.doubtful:
            self.watch(pid)
        self.listen()

    def watch(self, pid: int) -> None:
        """Hear of its end."""
        if self._pidfd is None:
            try:
                self._pidfd = os.pidfd_open(pid)
            except OSError:
                self._gone()
                return
            asyncio.get_running_loop().add_reader(self._pidfd, self._gone)

    def _gone(self) -> None:
        self.unwatch()
        self.doubtful = True
        self._on_end()

    def unwatch(self) -> None:
        """Hear nothing more."""
        if self._pidfd is not None:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None

    def _vanished(self) -> None:
        """Only what ended well, or was cleared away, leaves nothing behind with the manager."""
        if self.run.boot and self.run.boot != self.boot:
            self._over(detail="the machine was restarted", asked=Reason.Lost)
        elif self.run.asked is not None:
            self._over(detail="")
        else:
            self._over(detail=_BY_HAND)

    def _ended(self, info: Info) -> None:
        run, known = self.run, self.record
        if known is None:
            return
        if run.run < known.launch.run:
            run.run, run.token, run.boot, run.began = known.launch.run, known.token, self.boot, self.clock()
        status = int(info["ExecMainStatus"])
        if info["ExecMainCode"] == _EXITED:
            run.code, run.signal = status, None
        elif info["ExecMainCode"] != "0":
            run.code, run.signal = None, status
        killed = run.signal == signal.SIGKILL and not self.foreign and self._oom.rose()
        run.oom = run.asked is None and (info["Result"] == "oom-kill" or killed)
        self.left = info["SubState"] == "exited"
        at = _seconds(info["ExecMainExitTimestampMonotonic"]) or self.clock()
        self._over(detail=self._why(info), at=min(at, self.clock()))

    def _why(self, info: Info) -> str:
        run = self.run
        if run.asked is not None:
            late = run.signal == signal.SIGKILL or info["Result"] == "timeout"
            return "it did not end on SIGTERM and was killed" if late else ""
        if run.oom:
            limit = info.get("MemoryMax", "")
            return f"it had {f'its limit of {print_size(int(limit))}' if limit.isdigit() else 'no limit of its own'}"
        if self.foreign:
            return self.foreign
        if run.code in _SETUP and run.phase == runfile.STARTING:
            step = _STEPS.get(run.code or 0, "systemd cannot set it up")
            return f"{step}; see `journalctl -u {self.unit}`"
        if info["Result"] not in ("success", "exit-code", "signal", "core-dump"):
            return f"systemd says: {info['Result']}; see `journalctl -u {self.unit}`"
        words = run.code != 0 and self.quotable
        return self._journal.last_words(run.token, self.secrets or ()) if words else ""

    def _over(self, *, detail: str, asked: Reason | None = None, at: float | None = None) -> None:
        self.unwatch()
        self.doubtful = False
        self.run.dropped = self._journal.dropped(self.run.token)
        self.settle(detail=detail, asked=asked, at=at)


def _boot() -> str:
    """Of the manager: one in a container comes and goes without the machine."""
    manager = procfs.stat(1)
    return f"{procfs.BOOT} {manager.start if manager else 0}"


def _seconds(microseconds: str) -> float | None:
    """Of the monotonic clock; None where it has not been."""
    return int(microseconds) / 1e6 if microseconds.isdigit() and microseconds != "0" else None
