"""The workers of a gateway: as many as declared, each replaced when it dies or hangs, and drained when it is old."""

import asyncio
import logging
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from reconciler.gateway import metrics
from reconciler.gateway.board import Board
from reconciler.gateway.channel import Channel, Kind, pair
from reconciler.gateway.demand import begins
from reconciler.gateway.handover import OldWorker
from reconciler.gateway.listening import Listen
from reconciler.gateway.metrics import Snapshot
from reconciler.model.routing import Wanted

log = logging.getLogger(__name__)
PING = 2.0
"""Seconds between two pings; so that a master that was itself stopped blames nobody, they are counted, not timed."""
MISSED = 5
"""Pings without an answer after which a worker is ended."""
_WELL = 10.0
"""Seconds after which a worker that dies had started well."""
_BACKOFF = (0.1, 5.0)
"""Seconds before the second attempt to start one that does not start well, and before the last of many."""
_FOR_THE_MASTER = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that a worker never hears: a terminal and `systemctl kill` send them to all, the master says what is done."""
_WAIT = 1.0
"""Seconds that a worker has to tell what it has counted."""


@dataclass(slots=True, kw_only=True, eq=False)
class Worker:
    """One process, as the master knows it."""

    pid: int
    slot: int
    """Which of the declared workers it is."""
    column: int
    """Of the board."""
    width: int
    """Columns of the board that it sees."""
    seen: tuple[str, int]
    """Epoch and number of the table that it goes by, or will first."""
    began: float
    old: bool = False
    """Whether another takes its place, or nobody."""
    drains: bool = False
    watched: int = -1
    """Descriptor: readable when the process ends."""
    channel: Channel = field(init=False)
    number: int = 0
    """Of its last LISTEN."""
    at: tuple[int, ...] | None = None
    """Sockets of its last LISTEN."""
    ready: bool = False
    missed: int = 0
    wants: Mapping[str, Wanted] = field(default_factory=dict[str, Wanted])
    told_at: float = 0.0
    counted: Snapshot = field(default_factory=Snapshot)
    """As last heard."""
    asked: asyncio.Future[None] | None = None

    @property
    def name(self) -> str:
        """For people."""
        return f"worker {self.slot} (pid {self.pid})"


class Workers:
    """All of them. `changed(urgent)`: what is reported is another; `scrape`: one asks what all have counted."""

    def __init__(
        self,
        *,
        board: Board,
        options: Sequence[str],
        environment: Mapping[str, str],
        changed: Callable[[bool], None],
        scrape: Callable[[Worker, bytes], None],
    ) -> None:
        self.board = board
        self.all: set[Worker] = set()
        self.gone = Snapshot()
        """What those have counted that are gone."""
        self.none = asyncio.Event()
        """Set where no worker runs."""
        self._options, self._environment = options, environment
        self._changed, self._scrape = changed, scrape
        self._loop = asyncio.get_running_loop()
        self._table: tuple[bytes, tuple[str, int]] = (b"", ("", -1))
        self._drain = 0.0
        self._awaited = False
        self._count = 0
        self._sockets: Mapping[str, Sequence[socket.socket]] = {}
        self._failures: dict[int, int] = {}
        self._not_before: dict[int, float] = {}
        self._ending = False
        self._numbers = 0

    # what the master wants

    def take(self, told: bytes, seen: tuple[str, int], drain: float, *, awaited: bool) -> None:
        """Have all go by a table, as TABLE says it. `awaited`: the daemon stops something once they do."""
        self._table, self._drain, self._awaited = (told, seen), drain, awaited
        for worker in self.all:
            worker.channel.send(Kind.TABLE, told)

    def want(self, count: int, sockets: Mapping[str, Sequence[socket.socket]]) -> None:
        """Have so many, that share these sockets."""
        self._count, self._sockets = count, sockets
        self._settle()

    def adopt(self, before: Sequence[OldWorker]) -> None:
        """Watch those of the program before the exec: others take their place."""
        for each in before:
            worker = Worker(
                pid=each.pid, slot=each.slot, column=each.column, width=0, seen=each.seen, began=self._loop.time()
            )
            worker.old, worker.drains, worker.wants, worker.told_at = True, each.drains, each.wants, worker.began
            self._join(worker, socket.socket(fileno=each.channel))

    def handed_over(self) -> tuple[OldWorker, ...]:
        """All of them, for the program after an exec."""
        return tuple(
            OldWorker(
                pid=one.pid,
                slot=one.slot,
                column=one.column,
                channel=one.channel.socket.fileno(),
                seen=one.seen,
                wants=one.wants,
                drains=one.drains,
            )
            for one in self.all
        )

    async def flushed(self) -> None:
        """Until nothing is on its way to a worker. One that hangs is ended meanwhile."""
        while not all(worker.channel.flushed for worker in self.all):
            await asyncio.sleep(0.01)

    def end(self) -> None:
        """Let all finish what they have begun, and start no others."""
        self._ending = True
        for worker in self.all:
            self._have_drained(worker)
        self._note_none()

    def cut(self) -> None:
        """End all that go on."""
        for worker in self.all:
            worker.channel.send(Kind.CUT)

    def kill(self) -> None:
        """End those that did not end when they were cut."""
        for worker in self.all:
            _kill(worker, signal.SIGKILL)

    async def watch(self) -> None:
        """End those that hang, until cancelled."""
        while True:
            await asyncio.sleep(PING)
            for worker in list(self.all):
                worker.missed += 1
                if worker.missed > MISSED + 1:
                    _kill(worker, signal.SIGKILL)
                elif worker.missed > MISSED:
                    log.error("%s has not answered for %g s and is ended", worker.name, PING * MISSED)
                    _kill(worker, signal.SIGABRT)  # its last words are where it hung
                worker.channel.send(Kind.PING)

    def queued(self, loads: Mapping[str, int]) -> None:
        """Tell all how busy engines are beside what they were given."""
        for worker in self.all:
            worker.channel.send(Kind.QUEUES, msgspec.json.encode(loads))

    async def snapshots(self) -> list[Snapshot]:
        """What all have counted, those that are gone included; of one that does not answer, as last heard."""
        self._numbers += 1
        number = struct.pack("=Q", self._numbers)
        for worker in self.all:
            if worker.asked is None or worker.asked.done():
                worker.asked = self._loop.create_future()
            worker.channel.send(Kind.SNAPSHOT_ASKED, number)
        asked = [worker.asked for worker in self.all if worker.asked is not None]
        if asked:
            await asyncio.wait(asked, timeout=_WAIT)
        return [self.gone, *(worker.counted for worker in self.all)]

    @property
    def running(self) -> int:
        """How many answer new connections."""
        return sum(worker.ready and not worker.old for worker in self.all)

    # one decision, taken again after whatever happens

    def _settle(self) -> None:
        if self._ending:
            return
        current: dict[int, Worker] = {}
        for worker in self.all:
            if worker.slot >= self._count:
                worker.old = True
            if not worker.old:
                current[worker.slot] = worker
        widest = max((worker.column for worker in current.values()), default=0)
        for worker in [one for one in current.values() if one.width <= widest]:
            worker.old = True  # it does not see what all others count
            del current[worker.slot]
        now = self._loop.time()
        for slot in range(self._count):
            if slot not in current and now >= self._not_before.get(slot, 0.0):
                current[slot] = self._start(slot)
        for worker in current.values():
            self._have_listen(worker)
        if len(current) == self._count and all(worker.ready for worker in current.values()):
            for worker in self.all:
                if worker.old and not worker.drains:
                    self._have_drained(worker)

    def _have_listen(self, worker: Worker) -> None:
        """Socket `i` of an address is for worker `i` modulo their number: each is somebody's, however few there are."""
        mine = [
            (text, each.fileno())
            for text, sockets in self._sockets.items()
            for index, each in enumerate(sockets)
            if index % self._count == worker.slot
        ]
        at = tuple(os.fstat(descriptor).st_ino for _, descriptor in mine)
        if at != worker.at:
            worker.at, worker.ready = at, False
            worker.number += 1
            order = Listen(worker.number, tuple(text for text, _ in mine))
            worker.channel.send(Kind.LISTEN, msgspec.json.encode(order), [descriptor for _, descriptor in mine])

    def _have_drained(self, worker: Worker) -> None:
        worker.drains = True
        worker.channel.send(Kind.DRAIN, str(self._drain).encode())

    def _start(self, slot: int) -> Worker:
        taken = {worker.column for worker in self.all}
        column = next(column for column in range(1, len(taken) + 2) if column not in taken)
        if column >= self.board.columns:
            # room for a successor of each, so that a reload finds it
            self.board.widen(1 + 2 * max(self._count, column))
        ours, its = pair()
        with its:
            pid = _spawn(self._options, its.fileno(), self._environment)
        worker = Worker(
            pid=pid,
            slot=slot,
            column=column,
            width=self.board.columns,
            seen=self._table[1],
            began=self._loop.time(),
        )
        self._join(worker, ours)
        worker.channel.send(Kind.BEGIN, str(column).encode(), [self.board.descriptor])
        worker.channel.send(Kind.TABLE, self._table[0])
        log.info("%s has started", worker.name)
        return worker

    def _join(self, worker: Worker, ours: socket.socket) -> None:
        worker.watched = os.pidfd_open(worker.pid)
        worker.channel = Channel(
            ours, self._loop, lambda kind, payload, given: self._received(worker, kind, payload, given), lambda: None
        )
        self._loop.add_reader(worker.watched, self._ended, worker)
        self.all.add(worker)
        self._note_none()

    # what workers say and do

    def _received(self, worker: Worker, kind: Kind, payload: bytes, descriptors: list[int]) -> None:
        for each in descriptors:  # none of them has any to give
            os.close(each)
        try:
            self._heard(worker, kind, payload)
        except (msgspec.DecodeError, ValueError) as error:
            log.warning("cannot understand %s: %s", worker.name, error)

    def _heard(self, worker: Worker, kind: Kind, payload: bytes) -> None:
        match kind:
            case Kind.PONG:
                worker.missed = 0
            case Kind.READY if int(payload) == worker.number:
                worker.ready = True
                self._settle()
            case Kind.SEEN:
                worker.seen = msgspec.json.decode(payload, type=tuple[str, int])
                self._changed(self._awaited and all(one.seen == self._table[1] for one in self.all))
            case Kind.DEMAND:
                wants = msgspec.json.decode(payload, type=dict[str, Wanted])
                urgent = begins(worker.wants, wants)
                worker.wants, worker.told_at = wants, self._loop.time()
                self._changed(urgent)
            case Kind.SNAPSHOT:
                worker.counted = metrics.decode(payload[8:])
                if worker.asked is not None and not worker.asked.done():
                    worker.asked.set_result(None)
            case Kind.LAST:
                worker.counted = metrics.decode(payload)
            case Kind.METRICS_ASKED:
                self._scrape(worker, payload)
            case _:
                pass

    def _ended(self, worker: Worker) -> None:
        self._loop.remove_reader(worker.watched)
        worker.channel.receive()  # its last words
        worker.channel.close()
        os.close(worker.watched)
        status = _reaped(worker.pid)
        self.all.discard(worker)
        self._note_none()
        if worker.asked is not None and not worker.asked.done():
            worker.asked.set_result(None)
        self.board.clear(worker.column)
        worker.counted.connections = 0
        self.gone = metrics.merge([self.gone, worker.counted])
        self._changed(False)
        if worker.drains:
            if status:
                log.error("%s has ended before it had finished (%s)", worker.name, _told(status))
            else:
                log.info("%s has finished", worker.name)
            return
        log.error("%s has ended unasked (%s); another takes its place", worker.name, _told(status))
        if not worker.old:
            self._back_off(worker)
        self._settle()

    def _back_off(self, worker: Worker) -> None:
        now = self._loop.time()
        failures = self._failures[worker.slot] = (
            0 if now - worker.began >= _WELL else self._failures.get(worker.slot, 0) + 1
        )
        if failures > 1:
            pause = min(_BACKOFF[1], _BACKOFF[0] * 2 ** (failures - 2))
            self._not_before[worker.slot] = now + pause
            self._loop.call_later(pause + 0.001, self._settle)

    def _note_none(self) -> None:
        if self.all:
            self.none.clear()
        else:
            self.none.set()


def _spawn(options: Sequence[str], channel: int, environment: Mapping[str, str]) -> int:
    argv = [sys.executable, "-P", "-m", "reconciler.gateway.worker", *options]
    actions = [(os.POSIX_SPAWN_DUP2, channel, 0)]
    return os.posix_spawn(sys.executable, argv, environment, file_actions=actions, setsigmask=_FOR_THE_MASTER)


def _kill(worker: Worker, number: int) -> None:
    try:
        signal.pidfd_send_signal(worker.watched, number)
    except ProcessLookupError:
        return


def _reaped(pid: int) -> int | None:
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:
        return None


def _told(status: int | None) -> str:
    if status is None:
        return "how, nobody knows"
    return f"by signal {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
