"""One slot as the daemon sees it: what is recorded, its keeper if there is one, and the instance these make.

A keeper that is gone or silent never makes an instance absent: it is looked for, replaced, or the instance is Unknown.
"""

import asyncio
import contextlib
import os
import shutil
import socket
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from reconciler import held
from reconciler.act import logfile, phases, record, runfile
from reconciler.act.hatchery import Hatchery
from reconciler.act.link import Link, LostError, RefusedError, State, connect
from reconciler.act.record import BrokenRecordError, Record
from reconciler.model.errors import TransientError
from reconciler.model.observation import Instance, Unknown
from reconciler.model.plan import Launch, Probe, Strikes
from reconciler.model.status import Reason

HELLO = 5.0
START = 30.0
"""Seconds for an exec: a program may lie on a slow disk."""
MARGIN = 15.0
"""Seconds beyond the grace until what was killed must be gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where a runtime lives, and what its slots share."""

    directory: str
    hatchery: Hatchery
    on_change: Callable[[str], None]
    clock: Callable[[], float]
    boot: str


class Slot:
    """One slot. `instance` is None where nothing is recorded; `vacant` then says so."""

    def __init__(self, name: str, site: Site) -> None:
        self.name = name
        self.path = f"{site.directory}/slots/{record.folder(name)}"
        self.logs = f"{site.directory}/logs/{record.folder(name)}"
        self.instance: Instance | None = None
        self.lock = asyncio.Lock()
        """Held while anything is done to it, waiting for an end excepted."""
        self._site = site
        self._record: Record | None = None
        self._run = runfile.Run()
        self._link: Link | None = None
        self._trouble: str | None = None
        self._turn = asyncio.Event()
        self._closed = False
        self._lost_at: float | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # -- finding out

    @property
    def vacant(self) -> bool:
        """Whether nothing is recorded here."""
        return self.instance is None

    @property
    def doubtful(self) -> bool:
        """Whether it should be looked at again."""
        return self._trouble is not None or (not self._linked and self._run.active)

    def silent_for(self) -> float:
        """Seconds since its keeper said anything; 0 where there is none."""
        if self._link is None or not self._link.open:
            return 0.0
        return asyncio.get_running_loop().time() - self._link.heard

    async def find(self) -> None:
        """Read what is recorded, and reach or replace the keeper. Never raises; what cannot be known is Unknown."""
        async with self.lock:
            await self._find()

    def doubt(self, reason: str) -> None:
        """Until it is known better, it is Unknown."""
        self._trouble = reason
        self._refresh()

    async def _find(self) -> None:
        trouble: str | None = None
        try:
            if self._record is None or not self._linked:  # else what we wrote is what is there
                self._record = record.read(self.path) or self._unrecorded()
            if self._record is not None:
                await self._reach(self._record)
        except BrokenRecordError as error:
            trouble = str(error)
            if error.empty and record.deserted(self.path, self.name):
                record.discard(self.path, fresh=True)  # cut off by a power cut; nothing of it can run
                self._record, trouble = None, None
        except TimeoutError:
            trouble = f"its keeper has not answered for {HELLO:.0f} s"
        except (LostError, RefusedError) as error:
            trouble = f"its keeper does not answer: {error}"
        except OSError as error:
            trouble = str(record.failure(f"see {self.path}", error))
        self._trouble = trouble
        self._refresh()

    def _unrecorded(self) -> None:
        """What a start left that was cut off before it recorded anything: removed, if nobody is in it."""
        try:
            run = runfile.read(f"{self.path}/run.json")
        except FileNotFoundError:
            run = None
        if run is not None and run.run > 0:
            message = f"cannot read {self.path}/launch.json: no such file, though run {run.run} was started"
            raise BrokenRecordError(message, empty=True)
        if not held.by_somebody(f"{self.path}/run.json"):
            record.discard(self.path, fresh=True)

    async def _reach(self, recorded: Record) -> None:
        for _ in range(20):
            if self._link is None or not self._link.open:
                sock = self._knock()
                if sock is None:
                    if held.by_somebody(f"{self.path}/run.json"):
                        await asyncio.sleep(0.05)  # one is being born, or hangs
                        continue
                    if self._settled(recorded):
                        return
                    sock = await self._site.hatchery.hatch(self.path)
                self._link_up(sock)
            if await self._hello():
                return
        raise LostError("its lock is held and nobody listens")

    async def _hello(self) -> bool:
        link = self._link
        if link is None:
            return False
        try:
            await link.ask("hello", within=HELLO)
        except LostError:
            return False
        return True

    def _knock(self) -> socket.socket | None:
        try:
            return connect(self.path)
        except (FileNotFoundError, ConnectionRefusedError):
            return None

    def _settled(self, recorded: Record) -> bool:
        """Whether the files alone say how it stands: nothing of it can run, so no keeper is needed."""
        run = runfile.read(f"{self.path}/run.json")
        if recorded.boot != self._site.boot:
            if self._lost_at is None:
                self._lost_at = self._site.clock()
            return True
        if run is None or run.active:
            return False
        self._run = run
        return True

    def _link_up(self, sock: socket.socket) -> None:
        self._link = Link(sock, on_state=self._news, on_gone=self._gone)

    @property
    def _linked(self) -> bool:
        return self._link is not None and self._link.open

    def _news(self, state: State) -> None:
        self._run = runfile.Run.load(state)
        self._trouble = None
        self._refresh()

    def _gone(self, link: Link) -> None:
        if link is self._link:
            self._link = None
        if not self._closed and not link.held and self._run.active:
            self._later(self.find())

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _refresh(self) -> None:
        """Make the instance anew; the same object where nothing changed."""
        new = self._compose()
        if new != self.instance:
            self.instance = new
            self._site.on_change(self.name)
        self._turn.set()
        self._turn = asyncio.Event()

    def _compose(self) -> Instance | None:
        if self._trouble is not None:
            launch = self._record.launch if self._record is not None else _nothing_known(self.name)
            return Instance(slot=self.name, launch=launch, phase=Unknown(reason=self._trouble))
        if self._record is None:
            return None
        launch = self._record.launch
        phase = phases.lost(self._lost_at) if self._lost_at is not None else phases.phase_of(launch, self._run)
        return Instance(slot=self.name, launch=launch, phase=phase)

    # -- doing

    async def start(self, launch: Launch, secrets: Mapping[str, str]) -> None:
        """Record the run, have a keeper, order it. Returns when it was exec'd, or is known not to be possible."""
        async with self.lock:
            if self._trouble is not None:
                raise TransientError(Reason.Unknown, f"cannot start {self.name}: {self._trouble}")
            if self._lost_at is None and self._run.run == launch.run and self._run.phase != runfile.EMPTY:
                return  # asked again; a run is started at most once
            if self._lost_at is None and self._run.active:
                raise TransientError(Reason.Stopping, f"cannot start {self.name}: run {self._run.run} still runs")
            await self._record_anew(record.new(launch, self._site.boot))
            await self._order(launch, secrets)

    async def _record_anew(self, recorded: Record) -> None:
        """Nothing is half done: what needs room on the disk or a process comes first, the record's last step last."""
        pending: record.Pending | None = None
        try:
            pending = record.prepare(self.path, recorded)
            if not self._linked:
                self._link_up(self._knock() or await self._site.hatchery.hatch(self.path))
            record.commit(self.path, pending)
        except (OSError, asyncio.CancelledError) as error:
            fresh = pending is not None and pending.fresh
            if self._link is not None and fresh:
                self._link.close()
            record.discard(self.path, fresh=fresh)
            if isinstance(error, OSError):
                raise record.failure(f"start {self.name}", error) from None
            raise
        self._record, self._lost_at = recorded, None

    async def _order(self, launch: Launch, secrets: Mapping[str, str]) -> None:
        try:
            link = self._link
            if link is None:
                raise LostError("the keeper is gone")
            await link.ask("start", within=START, run=launch.run, secrets=dict(secrets))
        except LostError:
            await self._order_again(launch, secrets)
        except RefusedError as error:
            self._refresh()
            raise _refusal(self.name, error) from None
        except TimeoutError:
            self._trouble = f"its keeper has not answered for {START:.0f} s"
            self._refresh()
            raise TransientError(Reason.Unknown, f"cannot start {self.name}: {self._trouble}") from None
        self._refresh()

    async def _order_again(self, launch: Launch, secrets: Mapping[str, str]) -> None:
        """The keeper went away in the middle: another one knows whether the run was started."""
        await self._find()
        if self._run.run == launch.run and self._trouble is None:
            return
        try:
            if not self._linked:
                self._link_up(await self._site.hatchery.hatch(self.path))
            if self._link is not None:
                await self._link.ask("start", within=START, run=launch.run, secrets=dict(secrets))
                return
        except (OSError, LostError, RefusedError) as error:
            self._refresh()
            raise TransientError(Reason.StartFailed, f"cannot start {self.name}: its keeper died: {error}") from None

    async def stop(self, run: int, grace: float, reason: Reason) -> None:
        """End a run; returns when nothing of it is left."""
        end = self._site.clock() + grace + MARGIN
        async with self.lock:
            if not self._linked and (self._run.active or self._trouble is not None):
                await self._find()
            if self._trouble is not None:
                raise TransientError(Reason.Unknown, f"cannot stop {self.name}: {self._trouble}")
            if self._link is not None and self._runs(run):
                try:
                    await self._link.ask("stop", within=HELLO, run=run, grace=grace, reason=reason.value)
                except TimeoutError:
                    self._trouble = f"its keeper has not answered for {HELLO:.0f} s"
                except (LostError, RefusedError) as error:
                    raise TransientError(Reason.Unknown, f"cannot stop {self.name}: {error}") from None
                finally:
                    self._refresh()
        while self._runs(run):
            turn = self._turn
            try:
                async with asyncio.timeout(max(0.0, end - self._site.clock())):
                    await turn.wait()
            except TimeoutError:
                message = f"cannot stop {self.name}: it is still there {MARGIN:.0f} s after SIGKILL"
                raise TransientError(Reason.Stopping, message) from None

    def _runs(self, run: int) -> bool:
        return self._run.run == run and self._run.active and self._lost_at is None

    def note(self, since: float | None) -> None:
        """Have the keeper remember since when the run answers; None: it no longer does."""
        run = self._run
        if self._link is not None and run.active and (since is None or since >= run.began):
            self._link.tell("note", run=run.run, ready_since=since)

    async def update(self, launch: Launch) -> None:
        """Record new settings with the run that is there."""
        async with self.lock:
            recorded = self._record
            if recorded is None or recorded.launch.run != launch.run:
                raise TransientError(
                    Reason.Lost, f"cannot update {self.name}: run {launch.run} is not what is recorded"
                )
            new = Record(token=recorded.token, boot=recorded.boot, launch=launch)
            try:
                record.rewrite(self.path, new)
            except OSError as error:
                raise record.failure(f"update {self.name}", error) from None
            if recorded.launch.strikes != Strikes() and launch.strikes == Strikes():
                logfile.unmark_first_failure(self.logs)  # it has been healthy: the series is over
            self._record = new
            self._refresh()

    async def forget(self, run: int) -> None:
        """Dismiss the keeper and remove the record, if nothing runs."""
        async with self.lock:
            recorded = self._record
            if recorded is None or recorded.launch.run != run:
                return
            if self._trouble is not None or (self._run.active and self._lost_at is None):
                why = self._trouble or f"run {self._run.run} still runs"
                raise TransientError(Reason.Stopping, f"cannot forget {self.name}: {why}")
            await self._dismiss()
            aside = f"{os.path.dirname(self.path)}/.gone.{os.path.basename(self.path)}"
            try:
                await asyncio.to_thread(_remove, self.path, aside)
            except OSError as error:
                raise record.failure(f"forget {self.name}", error) from None
            self._record, self._run, self._lost_at = None, runfile.Run(), None
            self._refresh()

    async def _dismiss(self) -> None:
        sock = None if self._linked else self._knock()
        if sock is not None:
            self._link_up(sock)
        with contextlib.suppress(LostError, RefusedError, TimeoutError):
            if self._link is not None:
                await self._link.ask("close", within=HELLO)
        for _ in range(200):
            if not held.by_somebody(f"{self.path}/run.json"):
                break
            await asyncio.sleep(0.01)
        else:
            raise TransientError(Reason.Stopping, f"cannot forget {self.name}: its keeper does not leave")
        if self._link is not None:
            self._link.close()
            self._link = None

    def close(self) -> None:
        """Let go; everything goes on."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        if self._link is not None:
            self._link.close()
            self._link = None


def _refusal(slot: str, error: RefusedError) -> TransientError:
    reason = Reason.DiskFull if error.code == "disk" else Reason.StartFailed
    return TransientError(reason, f"cannot start {slot}: {error}")


def _remove(path: str, aside: str) -> None:
    """Gone at once, though what is in it takes its time."""
    shutil.rmtree(aside, ignore_errors=True)
    os.rename(path, aside)
    shutil.rmtree(aside, ignore_errors=True)


def _nothing_known(slot: str) -> Launch:
    """Stands in where a record cannot be read."""
    probe = Probe(path=None, interval=5.0, timeout=3.0, failures=3, start=300.0)
    return Launch(slot=slot, run=0, source="", engine="", argv=(), probe=probe, fingerprint="", live="", settings="")
