"""One slot whose instance is a container: how what the engine says of it becomes a phase."""

import asyncio
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from reconciler.act import procfs, runfile
from reconciler.act.docker.api import Api
from reconciler.act.docker.asking import Seen
from reconciler.act.docker.follow import Follower
from reconciler.act.docker.labels import Row, name
from reconciler.act.kept import Kept
from reconciler.act.oom import Watch
from reconciler.model.quantity import print_size
from reconciler.model.status import Reason

_SIGNALS = range(129, 129 + 64)
_LAST_WORDS = 1.0
"""Seconds that an end waits for the last of the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where a runtime lives, and what its slots share."""

    directory: str
    api: Api
    on_change: Callable[[str], None]
    clock: Callable[[], float]
    oom: Watch


class ContainerSlot(Kept):
    """One slot."""

    def __init__(self, name: str, site: Site) -> None:
        super().__init__(
            name, site.directory, "containers", on_change=site.on_change, clock=site.clock, boot=procfs.BOOT
        )
        self.id = ""
        """Of the container that was seen last."""
        self.state = ""
        """The engine's word for how it is."""
        self._site = site
        self._follower: Follower | None = None

    # -- what is recorded

    def read(self) -> None:
        """Take up what is on disk."""
        super().read()
        self.id = self.run.container

    def save(self) -> None:
        """Write down how the run stands. A disk that takes nothing costs what only we know, and no container."""
        self.run.container = self.id
        super().save()

    def erase(self) -> None:
        """Nothing is recorded any more. OSError."""
        self.id = self.state = ""
        super().erase()

    # -- what is seen

    def owns(self, row: Row) -> bool:
        """Whether that is the container of the recorded run; one that was renamed is known by its id."""
        return self.record is not None and row.token == self.record.token and (row.named or row.id == self.id)

    def begin(self, secrets: Mapping[str, str]) -> None:
        """From now on the engine may run it."""
        self.state = ""
        self._follower = None  # that of the run before has come to its end, or comes to it
        super().begin(secrets)

    async def absorb(self, seen: Seen | None, *, went_away: bool = False) -> None:
        """Believe what the engine says of its container; None: there is none. `went_away`: the engine was gone."""
        if self.record is None:
            return
        self.unseen = None
        if seen is None:
            if self.run.phase == runfile.STARTING:
                self.retract()
            elif self._lives():
                self.unseen = f"pid {self.run.pid} runs, but docker knows no such container; is DOCKER_HOST another?"
            elif self.run.active:
                self.settle(detail="its container was removed by somebody else")
            self.refresh()
            return
        self.id, self.state = seen.id, seen.state
        if seen.pid:
            self._runs(seen)
        elif self.state == "created":
            if self.run.active:
                self.retract()
        elif self.run.active or self.run.run < self.record.launch.run:
            await self._ended(seen, went_away=went_away)
        if self.state == "paused":
            self.unseen = f"somebody paused it; `docker unpause {name(self.name)}`"
        self.refresh()

    def _lives(self) -> bool:
        """Whether the process of the recorded run is there, whatever the engine says: it may be another engine's."""
        run = self.run
        if not run.active or run.pid is None or run.start is None or run.boot != procfs.BOOT:
            return False
        found = procfs.stat(run.pid)
        return found is not None and found.start == run.start and not found.ended

    def _runs(self, seen: Seen) -> None:
        run, known = self.run, self.record
        if known is None:
            return
        other = run.pid != seen.pid or run.boot != procfs.BOOT
        if run.run != known.launch.run or run.phase == runfile.EXITED or (run.pid is not None and other):
            # somebody started it again, or what we knew of it is lost
            self.run = run = runfile.Run()
            run.run, run.token = known.launch.run, known.token
            run.began = self.clock() - max(0.0, time.time() - (seen.started or time.time()))
        if run.phase in (runfile.EMPTY, runfile.STARTING):
            run.phase = runfile.RUNNING
        if other:
            process = procfs.stat(seen.pid)
            run.pid, run.boot, run.start = seen.pid, procfs.BOOT, None if process is None else process.start
            self.save()
        self.follow()

    async def _ended(self, seen: Seen, *, went_away: bool) -> None:
        run, now = self.run, self.clock()
        if self.record is not None and run.run < self.record.launch.run:
            run.run, run.began = self.record.launch.run, now
        if self._follower is None:
            self.follow()  # it ended before anybody listened
        run.code, run.signal = _how(seen.code)
        ended = now
        if seen.started is not None and seen.finished is not None:
            ended = min(now, run.began + max(0.0, seen.finished - seen.started))
        detail, asked = seen.error, None
        # containerd loses the news of a kill where the container ends with it, so the kernel is asked as well
        slain = run.signal == signal.SIGKILL and not self.foreign and self._site.oom.rose()
        run.oom = run.asked is None and (slain or seen.oom)
        if run.asked is not None:
            if run.signal == signal.SIGKILL:
                detail = "it did not end on SIGTERM and was killed"
        elif run.boot and run.boot != procfs.BOOT:
            asked, detail = Reason.Lost, "the machine was restarted"
        elif went_away:
            asked, detail = Reason.Lost, "docker was restarted"
        elif run.oom:
            whose = f"its limit of {print_size(seen.limit)}" if seen.limit else "no limit of its own"
            detail = f"it had {whose}"
        elif self.foreign:
            detail = self.foreign
        elif not detail and run.code != 0:
            detail = await self._last_words()
        self.settle(detail=detail, asked=asked, at=ended)

    async def _last_words(self) -> str:
        """The last line it said, where its secrets are known, so that none is told."""
        follower = self._follower
        for _ in range(round(_LAST_WORDS / 0.02)):
            if follower is None or follower.ended:
                break
            await asyncio.sleep(0.02)
        return follower.last_words if follower is not None and self.quotable else ""

    def follow(self) -> None:
        """Have its log read, if nobody does."""
        last = self._follower
        if (last is None or last.over) and self.id:
            in_vain = 0 if last is None else last.in_vain
            site, secrets = self._site, self.secrets or ()
            self._follower = Follower(site.api, self.id, self.logs, self.run.run, secrets=secrets, in_vain=in_vain)

    def close(self) -> None:
        """Let go; the container goes on."""
        if self._follower is not None:
            self._follower.close()


def _how(code: int) -> tuple[int | None, int | None]:
    """Exit status and signal: the engine tells both as one number, as a shell does."""
    return (None, code - 128) if code in _SIGNALS else (code, None)
