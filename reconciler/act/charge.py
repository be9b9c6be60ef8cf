"""One slot's engine in its keeper's charge: started, watched, ended, taken over, and written down at every step.

It does what it is asked and what is written in its slot's directory, one run at a time, and decides nothing: it never
starts anything by itself. Standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import time

from reconciler.act import family, oom, procfs, runfile, spawn
from reconciler.act.logfile import LogFile, mark_first_failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

SAMPLE = 15.0
"""Seconds between two looks at what cannot be asked after an end."""
FIFO = 256 * 1024
_FAILED = (None, "NeverReady", "ProbeFailing")
_BUFFER = bytearray(65536)


class RefusedError(Exception):
    """A request that is not carried out. `code`: disk, again, or refused."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Charge:
    """What a keeper keeps. The working directory is the slot's directory, its lock already held."""

    def __init__(
        self,
        path: str,
        *,
        watch: Callable[[int, Callable[[], None]], None],
        unwatch: Callable[[int], None],
        tell: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        """`watch` calls back when a descriptor can be read; `tell` is called when the run has ended."""
        self.leaving = False
        """Whether it was asked to leave as soon as nothing runs."""
        self._path = path
        self._logs = f"{os.path.dirname(os.path.dirname(path))}/logs/{os.path.basename(path)}"
        self._watch, self._unwatch, self._tell = watch, unwatch, tell
        self._clock = clock
        self._family: family.Family | None = None
        self._log: LogFile | None = None
        self._secrets: tuple[str, ...] | None = ()
        self._killed = False
        self._sweep_at: float | None = None
        self._pause = 0.0
        self._sample_at = clock() + SAMPLE
        self._oom = oom.Watch()
        self._unsaved = 0.0
        self._begins = False  # a failure of this run begins a series
        self._failed: int | None = None  # a run whose log is to be kept
        self._mark_at: float | None = None
        with contextlib.suppress(FileExistsError):
            os.mkfifo("out", 0o600)
        self._fifo = os.open("out", os.O_RDWR | os.O_NONBLOCK)
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._fifo, fcntl.F_SETPIPE_SZ, FIFO)  # a limit of the user's may stand against it
        status = os.fstat(self._fifo)
        self._pipe = (status.st_dev, status.st_ino)
        watch(self._fifo, self._drain)
        self._file = os.open("run.json", os.O_RDWR | os.O_CREAT, 0o600)
        self._run: runfile.Run = runfile.Run()
        self._recover()

    @property
    def active(self) -> bool:
        """Whether anything of a run may be there."""
        return self._run.active

    def state(self) -> dict[str, Any]:
        """How the run stands."""
        return self._run.dump()

    def ask(self, packet: dict[str, Any]) -> bool:
        """Carry out a request; whether everybody is to hear of it. RefusedError where it cannot be."""
        run = packet.get("run")
        match packet.get("op"):
            case "hello":
                return False
            case "start":
                return self._start(int(run or 0), dict(packet.get("secrets") or {}))
            case "stop":
                return self._stop(int(run or 0), float(packet["grace"]), str(packet["reason"]))
            case "note":
                return self._note(int(run or 0), packet.get("ready_since"))
            case "close":
                if self._run.active:
                    raise RefusedError("refused", f"run {self._run.run} still runs")
                self.leaving = True
                return False
            case other:
                raise RefusedError("refused", f"cannot do {other!r}")

    # -- what it finds

    def _recover(self) -> None:
        """Go on from what is written: take over an engine whose keeper was killed."""
        try:
            written = runfile.decode(os.pread(self._file, runfile.BLOCK, 0))
        except OSError:
            written = None
        if written is None:
            written = self._guess()
        self._run = written
        if not written.active:
            return
        if written.boot != procfs.BOOT:
            self._settle(asked="Lost", detail="the machine was restarted")
            return
        found = self._find(written)
        if found is None and written.pid is None:
            self._settle(asked="Lost", detail="its keeper was killed before it was started")
            return
        if found is None:  # it ended, but what it forked may not have
            found = family.Family(written.pid or 0, written.start or 0, token=written.token, pipe=self._pipe, own=False)
        elif written.phase == runfile.STARTING:
            written.phase, written.pid = runfile.RUNNING, found.pid
            seen = procfs.stat(found.pid)
            written.start = seen.start if seen else None
        self._family, self._secrets = found, None
        if found.pidfd is not None:
            self._watch(found.pidfd, self.look)
        self._log = LogFile(self._logs, written.run, clock=self._clock, again=True)
        with contextlib.suppress(RefusedError):
            self._begins = _begins(self._record()["launch"])
        self._log.dropped = written.dropped
        self._oom.begin()
        self._save()
        self.look()

    def _guess(self) -> runfile.Run:
        """What may run where nothing whole is written: the recorded launch, if its token is found."""
        run = runfile.Run()
        try:
            record = self._record()
        except RefusedError:
            return run
        if family.find(record["token"], self._pipe) is not None:
            run.run, run.token, run.boot = record["launch"]["run"], record["token"], procfs.BOOT
            run.phase, run.began = runfile.STARTING, self._clock()
        return run

    def _find(self, run: runfile.Run) -> family.Family | None:
        if run.pid is not None:
            return family.take_over(run.pid, run.start or 0, token=run.token, pipe=self._pipe)
        for _ in range(5):
            main = family.find(run.token, self._pipe)
            if main is not None:
                return family.take_over(main.pid, main.start, token=run.token, pipe=self._pipe)
            time.sleep(0.02)  # its keeper may have been killed between fork and exec, when it carries nothing yet
        return None

    def _record(self) -> dict[str, Any]:
        try:
            text = procfs.read("launch.json")
            if text is None:
                raise RefusedError("refused", "cannot read launch.json")
            record = json.loads(text)
            launch = record["launch"]
            return {"token": str(record["token"]), "launch": launch | {"run": int(launch["run"])}}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RefusedError("refused", f"cannot read launch.json: {type(error).__name__}") from None

    # -- what it is asked

    def _start(self, run: int, secrets: dict[str, str]) -> bool:
        if run == self._run.run:
            return False  # asked again: it was started, at most once
        if self._run.active:
            raise RefusedError("refused", f"run {self._run.run} still runs")
        if run < self._run.run:
            raise RefusedError("refused", f"run {run} is over; the last was {self._run.run}")
        record = self._record()
        launch = record["launch"]
        if launch["run"] != run:
            raise RefusedError("refused", f"cannot start run {run}: run {launch['run']} is recorded")
        before, self._run = self._run, runfile.Run()
        now = self._run
        now.run, now.token, now.boot = run, record["token"], procfs.BOOT
        now.phase, now.began = runfile.STARTING, self._clock()
        if not self._save():
            self._run = before
            raise RefusedError("disk", "cannot write run.json")
        home = launch.get("directory") or f"{self._path}/home"
        try:
            env = spawn.environment(launch, now.token, secrets)
            now.pid = spawn.spawn(list(launch["argv"]), env, home, "out")
        except spawn.CannotRun as error:
            if error.again:
                self._undo(before)
                raise RefusedError("again", str(error)) from None
            self._open_log(launch)
            self._settle(code=error.code, detail=str(error))
            return False  # it was told
        except OSError as error:
            self._undo(before)
            raise RefusedError("again", f"cannot start it: {error.strerror}") from None
        found = procfs.stat(now.pid)
        now.start = found.start if found else None
        now.phase = runfile.RUNNING
        self._save()
        self._family = family.Family(now.pid, now.start or 0, token=now.token, pipe=self._pipe)
        self._secrets = tuple(value for value in secrets.values() if value)
        self._killed = False
        self._oom.begin()
        self._sample_at = self._clock() + SAMPLE
        self._open_log(launch)  # only now, as a file is long in the making; what is said meanwhile waits in the FIFO
        return True

    def _undo(self, before: runfile.Run) -> None:
        """Nothing was started: as if it had not been asked."""
        self._run = before
        self._save()

    def _stop(self, run: int, grace: float, reason: str) -> bool:
        now = self._run
        if run != now.run or not now.active:
            return False
        at = self._clock()
        deadline = at + max(0.0, grace)
        first = now.phase != runfile.STOPPING
        if first:
            now.phase, now.asked, now.stopped, now.kill_at = runfile.STOPPING, reason, at, deadline
        now.kill_at = min(now.kill_at or deadline, deadline)
        self._save()
        if first and self._family is not None:
            self._family.terminate(signal.SIGTERM)
            self._family.terminate(signal.SIGCONT)  # a stopped process hears nothing
        return first

    def _note(self, run: int, since: float | None) -> bool:
        """Remember since when it answers, or that it no longer does."""
        now = self._run
        if run != now.run or not now.active:
            return False
        if since is None:
            now.ready_before, now.ready_since = now.ready_for(self._clock()), None
        elif now.ready_since is None:
            now.ready_since = float(since)
        self._save()
        return False

    # -- what happens by itself

    def look(self) -> None:
        """Whether it has ended; then nothing of it may be left before that is said."""
        if self._family is None:
            return
        pidfd = self._family.pidfd
        gone = self._family.look()
        if pidfd is not None and self._family.pidfd is None:
            self._unwatch(pidfd)
        if gone:
            self._finish()
        elif self._family.end is not None and self._run.asked is None:
            self._sweep()

    def _sweep(self) -> None:
        if self._family is None:
            return
        if self._family.end is None:
            self._killed = True
        self._family.kill()
        self._pause = min(1.0, self._pause * 2 or 0.01)  # what hangs in the kernel may take its time
        self._sweep_at = self._clock() + self._pause

    def _finish(self) -> None:
        run, end, killed = self._run, self._family and self._family.end, self._killed
        self._family = None
        self._drain(whole=True)
        end = end or family.End()
        run.code, run.signal, run.peak = end.code, end.signal, end.peak
        slain = (end.signal == signal.SIGKILL or end.code == 128 + signal.SIGKILL) and not killed
        run.oom = slain and self._oom.rose()
        detail = ""
        if run.oom and run.peak:
            detail = f"it held {run.peak / 2**30:.2f} GiB at most"
        elif killed:
            detail = "it did not end on SIGTERM and was killed"
        elif run.asked is None:
            lost = end.code is None and end.signal is None
            detail = "it ended while its keeper was gone" if lost else self._last_words() if end.code else ""
        self._settle(detail=detail)

    def _settle(self, *, detail: str, code: int | None = None, asked: str | None = None) -> None:
        """Say that the run is over, then write it down: whoever hears it may have its successor for us."""
        run = self._run
        run.phase, run.ended, run.detail = runfile.EXITED, self._clock(), detail
        run.code = run.code if code is None else code
        run.asked = run.asked or asked
        run.ready_before, run.ready_since = run.ready_for(run.ended), None
        self._sweep_at, self._pause, self._secrets = None, 0.0, ()
        self._tell()
        if self._log is not None:
            self._log.close()
            run.dropped = self._log.dropped
        self._log = None
        if run.asked in _FAILED and self._begins:
            self._failed, self._mark_at = run.run, run.ended + 0.1  # not now: its successor may be waiting
        self._save()

    def _open_log(self, launch: dict[str, Any]) -> None:
        self._mark()
        self._begins = _begins(launch)
        self._log = LogFile(self._logs, self._run.run, clock=self._clock)

    def _mark(self) -> None:
        """Keep the log of a failure that began a series."""
        if self._failed is not None:
            mark_first_failure(self._logs, self._failed)
        self._failed, self._mark_at = None, None

    def _last_words(self) -> str:
        return self._log.last_words(self._secrets) if self._log is not None and self._secrets is not None else ""

    def _drain(self, *, whole: bool = False) -> None:
        """Read what it says; a little at a time, unless nothing more can come."""
        for _ in range(2 * FIFO // len(_BUFFER) if whole else 4):
            try:
                size = os.readv(self._fifo, [_BUFFER])
            except OSError:
                return  # empty for now
            if self._log is not None:
                self._log.feed(_BUFFER, size)

    def _save(self) -> bool:
        try:
            runfile.write(self._file, self._run)
        except OSError:
            self._unsaved = self._clock() + 1.0
            return False
        self._unsaved = 0.0
        return True

    def tick(self) -> None:
        """What is due by the clock."""
        now = self._clock()
        if self._run.phase == runfile.STOPPING:
            if self._family is not None and not self._family.own:
                self.look()  # what was taken over has orphans whose end nobody reports
            if now >= (self._run.kill_at or now) and self._sweep_at is None:
                self._sweep()
        if self._sweep_at is not None and now >= self._sweep_at:
            self.look()
            self._sweep()
        if self._family is not None and now >= self._sample_at:
            self._family.sample()
            self._oom.sample()
            self._sample_at = now + SAMPLE
        if self._log is not None:
            self._log.settle()
            if self._run.dropped != self._log.dropped and not self._unsaved:
                self._run.dropped, self._unsaved = self._log.dropped, now + 1.0
        if self._unsaved and now >= self._unsaved:
            self._save()
        if self._mark_at is not None and now >= self._mark_at:
            self._mark()

    def due(self) -> float | None:
        """When something is to be done by the clock."""
        now = self._clock()
        due: list[float] = []
        if self._family is not None:
            due += [self._sample_at, self._sweep_at or self._sample_at]
            if self._run.phase == runfile.STOPPING and not self._sweep_at:
                due.append(self._run.kill_at or now)
                if not self._family.own:
                    due.append(now + 0.05)
        if self._log is not None and self._log.lossy:
            due.append(now + 0.25)
        if self._unsaved:
            due.append(self._unsaved)
        if self._mark_at is not None:
            due.append(self._mark_at)
        return min(due, default=None)


def _begins(launch: dict[str, Any]) -> bool:
    """Whether a failure of this launch would be the first of a series."""
    strikes: dict[str, Any] = launch.get("strikes") or {}
    return not strikes.get("count") and not strikes.get("spared")
