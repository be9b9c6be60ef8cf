"""`holdfast gateway`: keeps workers at its addresses, tells them the daemon's tables, and reports what they say."""

import asyncio
import contextlib
import faulthandler
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from reconciler import __version__, held
from reconciler.gateway import demand, handover, kept, metrics, queues
from reconciler.gateway.board import Board
from reconciler.gateway.channel import Kind
from reconciler.gateway.counters import Clock
from reconciler.gateway.daybook import Daybook
from reconciler.gateway.event_loop import new_loop
from reconciler.gateway.handover import Handover
from reconciler.gateway.link import PAUSES, Link
from reconciler.gateway.listening import Listening
from reconciler.gateway.rows import missing, rows
from reconciler.gateway.tls import Certificates, bare
from reconciler.gateway.workers import Worker, Workers
from reconciler.journal import open_journal
from reconciler.model.errors import ApiError, HoldfastError
from reconciler.model.metrics import ReplicaMetrics
from reconciler.model.routing import Report, Table, together
from reconciler.supervisor import Supervisor

log = logging.getLogger(__name__)
_RETRY = 1.0
"""Seconds between two attempts to listen where something stood in the way."""
_AT_ONCE = (0.05, 0.1, 0.2)
"""The first of these attempts: a gateway before us may be about to let go."""
_SAVED = 1.0
"""Seconds between two tables that are laid on the disk."""
_CUT = 5.0
"""Seconds that workers have to end once they are cut."""
_OURS = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")
"""Variables that are for the master alone."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where the gateway lives."""

    state: str
    socket: str
    """The daemon's for gateways."""
    log_level: str = "info"


def run(settings: Settings) -> int:
    """Be the gateway until SIGTERM or SIGINT. Returns the exit status."""
    environment = dict(os.environ)  # as an exec is to have it, before anything takes its own out
    before = handover.taken_over(environment)
    open_journal(settings.log_level)
    faulthandler.enable()
    _set_limits()
    with contextlib.suppress(OSError), open("/proc/self/comm", "w", encoding="ascii") as name:
        name.write("hf:gateway")
    try:
        lock = before.lock if before is not None else kept.lock(settings.state)

        async def live() -> None:
            await _Master(settings, lock, before, environment).live()

        with asyncio.Runner(loop_factory=new_loop()) as runner:
            runner.run(live())
    except HoldfastError as error:
        print(f"holdfast: {error}", file=sys.stderr)  # noqa: T201
        return 1
    except OSError as error:
        print(f"holdfast: cannot use {error.filename or 'the system'}: {error.strerror}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _set_limits() -> None:
    """As many connections as may be; and no dump of a crash, of a worker's neither: clients' keys are in memory."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class _Master:
    """Everything that lives as long as the gateway, or until it becomes another program."""

    def __init__(self, settings: Settings, lock: int, before: Handover | None, environment: Mapping[str, str]) -> None:
        self.lock, self.before, self.environment = lock, before, environment
        self.place = kept.place(os.path.abspath(settings.state))
        self.started = before.started if before is not None else time.time()
        self.link = Link(settings.socket)
        self.supervisor = Supervisor()
        self.listening = Listening(before.sockets if before is not None else None)
        self.certificates = Certificates()
        self.rows: Mapping[str, int] = before.rows if before is not None else {}
        self.clock = Clock()
        self.daybook = Daybook(f"{self.place}/usage.json", self.clock)
        self.raw = b""
        self.table: Table | None = None
        self.said: set[str] = set()
        """Problems that were told, and go on."""
        self.away = ""
        """Why the daemon cannot be reached; empty while it can."""
        self.signals = asyncio.Event()
        self.ends = 0
        """How often it was told to end."""
        self.reloads = False
        self.pace = demand.Pace(asyncio.get_running_loop().time)
        board = Board.open(before.board, 0) if before is not None else Board.create(3)
        self.workers = Workers(
            board=board,
            options=(settings.log_level, self.place),
            environment={name: value for name, value in environment.items() if name not in _OURS},
            changed=lambda urgent: self.pace.changed(urgent=urgent),
            scrape=self._scrape,
        )
        self.scrapes: set[asyncio.Task[None]] = set()
        self.told = b""
        """What lies in `listening.json`."""
        self.stale = asyncio.Event()
        """Whether there is a table that is not on the disk yet."""

    async def live(self) -> None:
        """From the first table to the end."""
        for number in _SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._signalled, number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        self._begin()
        works = (
            self._read(),
            self.pace.run(self._report),
            self.workers.watch(),
            self._look_again(),
            self._save(),
            self.daybook.keep(lambda: self.workers.board),
            self._queues(),
            self.supervisor.beat(),
        )
        tasks = [asyncio.create_task(work) for work in works]
        signalled = asyncio.create_task(self._act())
        try:
            await asyncio.wait((*tasks, signalled), return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
            signalled.result()
        finally:
            for task in (*tasks, signalled):
                task.cancel()
            await asyncio.wait((*tasks, signalled))
            self.link.close()

    def _begin(self) -> None:
        """With what the program before left, else with what lies on the disk."""
        if self.before is not None:
            self.workers.gone = metrics.decode(self.before.counted.encode())
            self.workers.adopt(self.before.workers)
        raw = self.before.table.encode() if self.before is not None else kept.read(f"{self.place}/table.json")
        if raw:
            self._take(raw)
        self._tell()

    # tables

    async def _read(self) -> None:
        """Take each table of the daemon, whenever there is one."""
        pause = PAUSES[0]
        while True:
            try:
                async with contextlib.aclosing(self.link.tables()) as tables:
                    async for raw in tables:
                        pause = PAUSES[0]
                        if self.away:
                            log.info("the daemon is there")
                        self.away = ""
                        if raw != self.raw:
                            self._take(raw)
                            self.stale.set()
            except ApiError as error:
                if not self.away:
                    log.warning("%s; meanwhile the gateway goes by the table that it has", error)
                self.away = str(error)
                self._tell()
            await asyncio.sleep(pause)
            pause = min(pause * 2, PAUSES[1])

    def _take(self, raw: bytes) -> None:
        try:
            table = msgspec.json.decode(raw, type=Table)
        except msgspec.DecodeError as error:
            log.warning("cannot understand the daemon's table: %s; it is of another version, reload the gateway", error)
            return
        self.raw, self.table = raw, table
        now = self.clock.moment()
        self.rows = rows(table, self.rows, lambda row: self.workers.board.idle(row, now.minute, now.day))
        self.daybook.take(self.workers.board, self.rows)
        self.certificates.take(table.sites)
        self._listen(table)
        told = b'{"rows":%b,"table":%b}' % (msgspec.json.encode(self.rows), raw)
        drains = any(place.draining for model in table.models.values() for place in model.places)
        self.workers.take(told, (table.epoch, table.seq), table.front.drain, awaited=drains)
        self.workers.want(table.front.workers, self.listening.sockets)
        self.pace.changed()
        self._tell()

    def _listen(self, table: Table) -> None:
        self.listening.want(table.front.listen, table.front.workers, keyed=bool(table.grants))

    async def _look_again(self) -> None:
        """Listen where something stood in the way; notice that certificates were renewed, or cannot be read."""
        early, looked = list(_AT_ONCE), time.monotonic()
        while True:
            await asyncio.sleep(early.pop(0) if early else _RETRY)
            if self.table is None or self.ends:
                continue
            if self.listening.refused:
                self._listen(self.table)
                self.workers.want(self.table.front.workers, self.listening.sockets)
            if time.monotonic() - looked > Certificates.EVERY:
                looked = time.monotonic()
                self.certificates.look()
            self._tell(quiet=bool(early))

    async def _save(self) -> None:
        path, well = f"{self.place}/table.json", True
        while True:
            await self.stale.wait()
            self.stale.clear()
            try:
                await asyncio.to_thread(kept.write, path, self.raw)
                well = True
            except OSError as error:
                if well:
                    log.warning("cannot write %s: %s; if the gateway restarts it waits for the daemon", path, error)
                well = False
            await asyncio.sleep(_SAVED)

    async def _queues(self) -> None:
        """Where there is a choice of engines, see how busy each is beside what it got from here."""
        before: Mapping[str, int] = {}
        while True:
            await asyncio.sleep(queues.EVERY)
            table = self.table
            if table is None or self.away or not queues.matters(table):
                continue
            in_flight = {
                place.slot: self.workers.board.total(row)
                for model in table.models.values()
                for place in model.places
                if (row := self.rows.get(f"place:{place.slot}#{place.run}")) is not None
            }
            with contextlib.suppress(ApiError, msgspec.DecodeError):  # who balances by less balances still
                told = msgspec.json.decode(await self.link.metrics(), type=list[ReplicaMetrics])
                loads, before = queues.beside(told, in_flight, before)
                self.workers.queued(loads)

    # what is told

    async def _report(self) -> None:
        if self.table is None:
            return
        now = asyncio.get_running_loop().time()
        seen = demand.seen(self.table, (worker.seen for worker in self.workers.all), ended=self.ends > 0)
        problems = [one[:1000] for one in sorted(self.said)[:99]]
        try:
            # what workers of a master before have in flight nobody can tell: as if they went by no table of now
            seen = -1 if held.by_somebody(kept.orphans(self.place)) else seen
        except OSError as error:
            seen = -1
            problems.append(f"cannot see whether workers of a gateway before go on: {error}")
        report = Report(
            gateway=os.path.dirname(self.place),
            seen=seen,
            epoch=self.table.epoch,
            models=together(demand.aged(one.wants, now - one.told_at) for one in self.workers.all),
            problems=tuple(problems),
        )
        with contextlib.suppress(ApiError):  # the stream of tables tells of a daemon that is away
            await self.link.report(msgspec.json.encode(report))

    def _tell(self, *, quiet: bool = False) -> None:
        """Say what is new of what stands in the way, and lay for `up` and `doctor` where we listen."""
        refused = self.listening.refused
        problems = [*refused.values(), *self.certificates.problems.values()]
        if self.table is not None:
            problems += [*missing(self.table, self.rows), *bare(self.table.front.listen, self.table.sites)]
        if not quiet:
            for problem in problems:
                if problem not in self.said:
                    log.error("%s", problem)
            if self.said != set(problems):
                self.said = set(problems)
                self.pace.changed()
        at = [text for text in self.listening.sockets if text not in refused]
        where = f"listening at {', '.join(at)}" if at else "not listening"
        self.supervisor.status("; ".join((f"version {__version__}", where, *((self.away,) if self.away else ()))))
        told = msgspec.json.encode({"pid": os.getpid(), "open": at, "problems": problems})
        if told != self.told:
            if at and not quiet:
                log.info("%s", where)
            self.told = told
            with contextlib.suppress(OSError):
                kept.write(f"{self.place}/listening.json", told)

    def _scrape(self, worker: Worker, number: bytes) -> None:
        task = asyncio.get_running_loop().create_task(self._answer(worker, number))
        self.scrapes.add(task)
        task.add_done_callback(self.scrapes.discard)

    async def _answer(self, worker: Worker, number: bytes) -> None:
        snapshots = await self.workers.snapshots()
        if self.table is None:
            return
        text = metrics.text(
            metrics.merge(snapshots, metrics.names(self.table)),
            together(one.wants for one in self.workers.all),
            version=__version__,
            workers=self.workers.running,
            started=self.started,
            seen=demand.seen(self.table, (one.seen for one in self.workers.all)),
        )
        worker.channel.send(Kind.METRICS, number + text.encode())

    # signals

    def _signalled(self, number: int) -> None:
        if number == signal.SIGHUP:
            self.reloads = True
        else:
            self.ends += 1
        self.signals.set()

    async def _act(self) -> None:
        while True:
            await self.signals.wait()
            self.signals.clear()
            if self.ends:
                return await self._end()
            if self.reloads:
                self.reloads = False
                await self._reload()

    async def _reload(self) -> None:
        """Become the program that is installed now. Returns where it does not start, or we are told to end."""
        self.supervisor.reloading()
        why = await asyncio.to_thread(handover.trouble, self.environment)
        if why:
            log.error("cannot reload: the program that is installed now does not start: %s; this one goes on", why)
            self._tell()
            return
        log.info("reloading: workers of this program finish what they have begun")
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # those that come now are for the next program
        await asyncio.sleep(0)
        await self.workers.flushed()
        if self.ends:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            return
        # from here on nothing may be heard of workers: it would be lost
        what = Handover(
            lock=self.lock,
            board=self.workers.board.descriptor,
            sockets={text: tuple(each.fileno() for each in some) for text, some in self.listening.sockets.items()},
            workers=self.workers.handed_over(),
            rows=self.rows,
            table=self.raw.decode(),
            counted=metrics.encode(self.workers.gone).decode(),
            started=self.started,
        )
        handover.become(what, self.environment)

    async def _end(self) -> None:
        """Take nothing more, and let what goes on end, unless told so a second time."""
        self.supervisor.stopping("finishing what was begun")
        log.info("ending: what was begun goes on for a while; a second signal cuts it")
        self.listening.close()
        self.workers.end()
        cutting = asyncio.create_task(self._cut())
        await self.workers.none.wait()
        cutting.cancel()
        await self._report()
        log.info("the gateway has ended")

    async def _cut(self) -> None:
        while self.ends < 2:
            await self.signals.wait()
            self.signals.clear()
        self.workers.cut()
        await asyncio.sleep(_CUT)
        self.workers.kill()
