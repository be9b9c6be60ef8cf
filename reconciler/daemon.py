"""The composition root: chooses adapters, wires them to the loop, handles signals. Engines outlive it."""

import asyncio
import contextlib
import faulthandler
import fcntl
import grp
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial

from reconciler import __version__, booted, engines, shelf
from reconciler.act import discard, logs, secrets
from reconciler.act.perform import perform
from reconciler.act.runtimes import Runtimes
from reconciler.api.routes import FOR_GATEWAYS
from reconciler.api.server import Server
from reconciler.desk import Desk, Records, keep, read_kept
from reconciler.engines import headers
from reconciler.gateways import Gateways
from reconciler.journal import open_journal
from reconciler.loop import Loop, Outside
from reconciler.model.answers import Info
from reconciler.model.errors import HoldfastError
from reconciler.model.fleet import Fleet
from reconciler.model.memory import Memory
from reconciler.model.observation import Unknown
from reconciler.model.plan import Action, Cancel, Detach, Fetch, Sleep, Start, Stop, Wake
from reconciler.model.status import Status
from reconciler.observe import host, inventory, ports, resident
from reconciler.observe.gather import Look
from reconciler.observe.gpus import Gpus
from reconciler.observe.headers import Headers
from reconciler.observe.probes import Prober
from reconciler.observe.resident import Residents
from reconciler.observe.sources import Joined, Sources
from reconciler.observe.statements import Statements
from reconciler.observe.weighing import Weighing
from reconciler.plan.fetches import needs
from reconciler.plan.happenings import Happening
from reconciler.plan.summary import Summary
from reconciler.spec.load import Loader
from reconciler.spec.watch import Watcher
from reconciler.spec.written import written
from reconciler.store.audit import Audit
from reconciler.store.events import Events
from reconciler.supervisor import Supervisor

log = logging.getLogger(__name__)
FULL_LOOK = 10.0
"""Seconds between two looks at everything, so that a lost event costs seconds and not correctness."""
_ENDED = "the daemon has ended; engines go on"
_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where the daemon lives."""

    fleet: str
    state: str
    socket: str
    inventory: str | None = None
    """A file of simulated GPUs, instead of the machine's own."""
    log_level: str = "info"
    group: str | None = None
    """Whose members may use the socket too."""
    gateways: str | None = None
    """The group whose members may be gateways, and no more."""


def run(settings: Settings) -> int:
    """Keep the fleet until SIGTERM or SIGINT. Returns the exit status."""
    open_journal(settings.log_level)
    faulthandler.enable()  # a watchdog ends us by SIGABRT: where we hung is the last thing that is told
    try:
        os.makedirs(settings.state, mode=0o700, exist_ok=True)
        with _only_one(settings):
            asyncio.run(_Daemon(settings).live())
    except (HoldfastError, OSError) as error:
        print(f"holdfast: {_told(error)}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _told(error: HoldfastError | OSError) -> str:
    if isinstance(error, OSError):
        return f"cannot use {error.filename or 'the system'}: {error.strerror}"
    return str(error)


@contextlib.contextmanager
def _only_one(settings: Settings) -> Generator[None]:
    """One daemon for each state directory. Raises HoldfastError where another is at work."""
    path = os.path.join(settings.state, "lock")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            # not flock: a child between its fork and its exec would hold that beyond our death
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            who = os.pread(descriptor, 4096, 0).decode(errors="replace").strip() or "another process"
            raise HoldfastError(
                f"cannot start: {who} is at work in {settings.state}; "
                "stop it with `holdfast down`, or give another --state"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"a daemon (pid {os.getpid()}, fleet {os.path.abspath(settings.fleet)})".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _raise_limits() -> None:
    """As many descriptors as we may have; engines get the limit we were started with."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _gid(group: str | None) -> int | None:
    if group is None:
        return None
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise HoldfastError(f"cannot let group {group} use the socket: there is no such group") from None


def _in_a_line(status: Status) -> str:
    """How the fleet does, for `systemctl status`."""
    ready = sum(row.ready for row in status.workloads.values())
    parts = [f"{ready} of {len(status.workloads)} ready"]
    parts += ["the fleet is paused"] if status.paused else []
    parts += [f"{len(status.problems)} problems in files"] if status.problems else []
    return "; ".join((*parts, *status.degraded))


def _info(settings: Settings, state: str) -> Info:
    """What this process is, from now on."""
    root = os.path.abspath(settings.fleet)
    return Info(version=__version__, pid=os.getpid(), root=root, state=state, started_at=time.time())


class _Daemon:
    """Everything that lives as long as the daemon."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        state = os.path.abspath(settings.state)
        self.kept = os.path.join(state, "memory.json")
        self.loader = Loader(settings.fleet, clock=time.monotonic)
        self.events = Events(os.path.join(state, "events.db"), on_degraded=lambda _: None)
        self.runtime = Runtimes(state, on_change=self._changed, on_images=self._fetched)
        self.logs = logs.Reader(state)
        self.secret = secrets.resolver(state)
        self.gpus = Gpus(
            inventory.read(settings.inventory) if settings.inventory else "auto",
            clock=time.monotonic,
            on_change=self._wake_from_thread,
        )
        self.weighing = Weighing(Headers(clock=time.monotonic, on_change=self._weighed), time.monotonic)
        self.residents = Residents(time.monotonic)
        self.sources = Sources(time.monotonic, self._stored)
        self.prober = Prober(clock=time.monotonic, on_change=self._changed)
        self.look = Look(
            instances=lambda: self.runtime.table,
            unseen=lambda: self.runtime.unseen,
            gpus=self.gpus.look,
            host=host.look,
            ports=ports.listening,
            prober=self.prober,
            weighing=self.weighing,
            sources=Joined(self.sources, lambda: self.runtime.docker.images.known),
            statements=Statements(self.logs.head, self._wake_from_thread),
            resident=lambda: self.residents.known,
            on_ready=self.runtime.note_ready,
        )
        outside = Outside(
            load=self._load,
            observe=self.look,
            demand=lambda: self.gateways.demand(self.loop.memory.draining),
            perform=self._perform,
            publish=self._publish,
            keep=lambda memory: keep(self.kept, memory),
            clock=time.monotonic,
            degraded=self._degraded,
            gateways=lambda: self.gateways.known,
        )
        self.loop = Loop(outside, memory=self._remembered())
        self.gateways = Gateways(today=time.time, wake=self.loop.wake, tell=self._tell, began=time.monotonic())
        self.watcher = Watcher(settings.fleet, self._edited)
        self.desk = Desk(
            self.loop,
            info=_info(settings, state),
            records=Records(
                events=self.events,
                acts=Audit(os.path.join(state, "audit.log"), self._tell),
                logs=self.logs,
                runs=self.runtime.runs.of,
                written=partial(written, settings.fleet, self.loader.holders),
            ),
            gateways=self.gateways,
            meters=self.gpus.meters,
            look_again=self.sources.look,
        )
        door = booted.for_gateways(settings.socket)
        self.servers = (
            Server(self.desk, settings.socket, group=_gid(settings.group)),
            Server(self.desk, door, group=_gid(settings.gateways), routes=FOR_GATEWAYS),
        )
        self.supervisor = Supervisor()
        self.revision: tuple[object, object, object] = (None, None, None)
        self.running: asyncio.AbstractEventLoop | None = None
        self.stale_revision = asyncio.Event()

    def _remembered(self) -> Memory:
        try:
            return read_kept(self.kept)
        except (ValueError, OSError) as error:
            os.replace(self.kept, f"{self.kept}.broken")
            log.warning("%s; it was set aside: what was asked by command and what was measured is forgotten", error)
            return Memory()

    async def live(self) -> None:
        """From the first look to the signal."""
        running = self.running = asyncio.get_running_loop()
        ended = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            running.add_signal_handler(number, ended.set)
        running.add_signal_handler(signal.SIGHUP, self._reload)
        self.gpus.start()
        await self.runtime.open()
        if self.loop.memory.routed or self.loop.memory.gateways:
            self.gateways.inherit(self.loop.memory.gateways)
        # the forkserver is there already, so engines keep the limits that we were given
        _raise_limits()
        for server in self.servers:
            await server.start()
        self.watcher.start()
        works = (self.loop.run(), self._rounds(), self._revisions(), self.supervisor.beat())
        tasks = [asyncio.create_task(coroutine) for coroutine in works]
        ending = asyncio.create_task(ended.wait())
        try:
            await asyncio.wait((*tasks, ending), return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in (*tasks, ending):
                task.cancel()
            await asyncio.wait((*tasks, ending))
            await self._close()

    async def _close(self) -> None:
        self.supervisor.stopping(_ENDED)
        self.watcher.stop()
        self.prober.close()
        self.gpus.stop()
        await asyncio.gather(*(server.close() for server in self.servers))
        await self.runtime.close()
        await asyncio.to_thread(self.events.close)
        log.info(_ENDED)

    async def _rounds(self) -> None:
        """Every few seconds look at everything."""
        swept = False
        while True:
            await asyncio.sleep(FULL_LOOK)
            try:
                if not swept and (fleet := self.loop.fleet) is not None:
                    await asyncio.to_thread(discard.sweep, shelf.place(fleet.cache_of(host.look().name)))
                    swept = True
                await self.runtime.look()
                await self._count()
                self.watcher.rearm()
            except Exception:
                log.exception("cannot look at everything")
            self._edited(None)

    async def _count(self) -> None:
        """Count host memory of those whose turn it is."""
        seen = self.loop.observation
        due = self.residents.due(seen.instances) if seen and not isinstance(seen.instances, Unknown) else {}
        if due:
            self.residents.take(await asyncio.to_thread(resident.count, due))

    async def _revisions(self) -> None:
        """Ask git whether files are edited, beside the passes: it takes longer than they do."""
        while True:
            await self.stale_revision.wait()
            self.stale_revision.clear()
            await self.loader.refresh_dirty()
            self.loop.wake()

    def _load(self) -> tuple[Fleet, float | None]:
        loaded = self.loader.load()
        fleet = loaded.fleet
        root = fleet.cache_of(host.look().name)
        seen = (fleet.workloads, fleet.revision.commit if fleet.revision else None, (root, fleet.problems))
        if seen[0] is not self.revision[0] or seen[1:] != self.revision[1:]:
            self.revision = seen
            self.weighing.want({source for each in fleet.workloads.values() for source in headers.wanted(each)}, root)
            sure = fleet.missing is None and not fleet.problems
            self.sources.want(needs(fleet), root, sure=sure)
            images = [engines.image(each) for each in fleet.workloads.values()]
            self.runtime.docker.want({image for image in images if image is not None})
            if fleet.revision is not None:
                self.stale_revision.set()
        return fleet, loaded.look_again_at

    async def _perform(self, action: Action) -> None:
        files: tuple[str, ...] = ()
        if isinstance(action, Start):
            files = action.launch.files
        elif isinstance(action, Stop) and not isinstance(table := self.runtime.table, Unknown) and action.slot in table:
            files = table[action.slot].launch.files
        if isinstance(action, Sleep | Wake):
            self.prober.rest(action.slot)
        if isinstance(action, Detach):
            await self.gateways.dropped(action.slot, action.adapter)
        try:
            await perform(action, self.runtime, self.secret)
        finally:
            if files:
                self.sources.used(files)
            if isinstance(action, Sleep | Wake):
                await self.prober.ask(action.slot)  # what it takes is promised until it is seen what became of it
            if isinstance(action, Fetch | Cancel):
                await asyncio.to_thread(self.sources.look)  # before the next pass: it has begun, or has ended

    def _publish(self, summary: Summary, news: Sequence[Happening]) -> None:
        self.supervisor.status(_in_a_line(summary.status))
        self._tell(*news)
        self.desk.published()

    def _tell(self, *news: Happening) -> None:
        now = time.time()
        for happening in news:
            log.log(
                _LEVELS[happening.severity],
                "%s %s",
                happening.subject,
                happening.message,
                extra={"subject": happening.subject, "reason": happening.reason.value},
            )
        if news:
            self.events.append([happening.event(now) for happening in news])

    def _degraded(self) -> tuple[str, ...]:
        parts = (self.events.degraded, self.watcher.degraded, *self.runtime.degraded)
        return tuple(part for part in parts if part)

    def _fetched(self) -> None:
        self.loop.wake()

    def _changed(self, slot: str) -> None:
        self.look.changed(slot)
        self.loop.wake()

    def _reload(self) -> None:
        """Read everything again, as somebody asked for it."""
        log.info("reading everything again")
        self.supervisor.reloading()
        self._edited(None)

    def _edited(self, paths: frozenset[str] | None) -> None:
        self.loader.touch(paths)
        self.loop.wake()

    def _stored(self, came: bool) -> None:
        if came:
            self.weighing.arrived()
        self._wake_from_thread()

    def _weighed(self) -> None:
        self.weighing.changed()
        self._wake_from_thread()

    def _wake_from_thread(self) -> None:
        if self.running is not None:
            self.running.call_soon_threadsafe(self.loop.wake)


__all__ = ["Settings", "run"]
