"""A worker: its channel to the master on one side, a Core with its listening sockets on the other.

`python -P -m reconciler.gateway.worker LEVEL DIRECTORY`, its channel as standard input; long bodies wait in DIRECTORY.
It outlives a master that is gone for as long as it has answers to give.
"""

import asyncio
import contextlib
import faulthandler
import gc
import logging
import os
import socket
import struct
import sys
import time
from collections.abc import Mapping
from dataclasses import replace

import msgspec

from reconciler.gateway import kept, metrics
from reconciler.gateway.board import Board
from reconciler.gateway.channel import Channel, Kind
from reconciler.gateway.core import Core
from reconciler.gateway.demand import begins
from reconciler.gateway.event_loop import new_loop
from reconciler.gateway.lines import Lines
from reconciler.gateway.listening import BACKLOG, Listen, parse
from reconciler.gateway.observer import Observer
from reconciler.gateway.tls import Certificates
from reconciler.gateway.trail import Trail
from reconciler.journal import open_journal
from reconciler.model.routing import Table, Wanted

log = logging.getLogger(__name__)
SOON = 0.05
"""Seconds in which what clients want is told, but for the first that waits."""
_ORPHANED = 600.0
"""Seconds for which answers go on once the master is gone, where no table says how long."""
_LEAVING = 2.0
"""Seconds in which connections that were cut may take what was written to them."""
_BEAT = 1.0
_HANDSHAKE = 10.0
"""Seconds for that of TLS: until then a connection counts nowhere."""


class Told(msgspec.Struct):
    """What a TABLE says."""

    rows: dict[str, int]
    table: Table


class _Worker:
    """One worker, from its BEGIN on."""

    def __init__(self, end: socket.socket, directory: str) -> None:
        self.loop = asyncio.get_running_loop()
        self.directory = directory
        self.broken: asyncio.Future[None] = self.loop.create_future()
        """What the master said cannot be done: better another worker than one that goes by half of it."""
        self.channel = Channel(end, self.loop, self._received, self._orphaned)
        self.observer = Observer(log=Lines(1), trail=self._trail)
        self.certificates = Certificates()
        self.column = 0
        self.core: Core | None = None
        self.drain = _ORPHANED
        self.servers: dict[int, asyncio.Server] = {}
        """By the inode of their sockets."""
        self.orders: asyncio.Queue[tuple[Listen, list[int]]] = asyncio.Queue()
        self.questions: dict[bytes, asyncio.Future[bytes]] = {}
        self.asked = 0
        self.taken = self.gone_by = 0
        """Tables that it has taken, and how many of them when it last told by which it goes."""
        self.told: Mapping[str, Wanted] = {}
        self.telling: asyncio.TimerHandle | None = None
        self.cut_at: float | None = None
        """Of the loop's clock: set once it drains."""
        self.draining = asyncio.Event()
        self.cut = asyncio.Event()

    async def live(self) -> None:
        works = (self.observer.run(time.monotonic, time.time), self._listen(), self._beat(), self.broken)
        tasks = [asyncio.ensure_future(work) for work in works]
        draining = self.loop.create_task(self.draining.wait())
        await asyncio.wait((*tasks, draining), return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
        await self._finish()
        for task in tasks:
            task.cancel()
        self.observer.close(time.monotonic(), _LEAVING)
        self._tell()
        self.channel.send(Kind.LAST, metrics.encode(self.observer.snapshot()))

    async def _finish(self) -> None:
        """Until the last connection is closed, or those that are left are cut."""
        # begun before they close: so they end with the last connection, those included that are in their handshake
        ends = asyncio.gather(*(server.wait_closed() for server in self.servers.values()))
        await asyncio.sleep(0)
        for server in self.servers.values():
            server.close()
        core = self.core
        if core is None:
            return
        core.drain()
        while (core.busy or not ends.done()) and not self.cut.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SOON):
                    await self.cut.wait()
            if self.cut_at is not None and self.loop.time() > self.cut_at:
                break
        core.cut()
        end = self.loop.time() + _LEAVING
        while core.busy and self.loop.time() < end:
            await asyncio.sleep(0.01)
        core.close()

    # what the master says

    def _received(self, kind: Kind, payload: bytes, descriptors: list[int]) -> None:
        try:
            self._heard(kind, payload, descriptors)
        except Exception as error:  # noqa: BLE001  raised again by whoever waits
            if not self.broken.done():
                self.broken.set_exception(error)

    def _heard(self, kind: Kind, payload: bytes, descriptors: list[int]) -> None:
        match kind:
            case Kind.BEGIN:
                self._begin(int(payload), descriptors.pop())
            case Kind.TABLE:
                self._take(payload)
            case Kind.LISTEN:
                self.orders.put_nowait((msgspec.json.decode(payload, type=Listen), descriptors))
            case Kind.PING:
                self.channel.send(Kind.PONG)
            case Kind.DRAIN:
                self._end(float(payload))
            case Kind.CUT:
                self._end(0.0)
                self.cut.set()
            case Kind.SNAPSHOT_ASKED:
                self.channel.send(Kind.SNAPSHOT, payload + metrics.encode(self.observer.snapshot()))
            case Kind.QUEUES if self.core is not None:
                self.core.queued(msgspec.json.decode(payload, type=dict[str, int]))
            case Kind.METRICS:
                question = self.questions.pop(payload[:8], None)
                if question is not None and not question.done():
                    question.set_result(payload[8:])
            case _:
                pass

    def _orphaned(self) -> None:
        with contextlib.suppress(OSError):
            kept.outlive(self.directory)
        self._end(self.drain)

    def _end(self, within: float) -> None:
        end = self.loop.time() + within
        self.cut_at = min(end, self.cut_at or end)
        self.draining.set()

    def _begin(self, column: int, descriptor: int) -> None:
        board = Board.open(descriptor, column)
        self.column = column
        self.core = Core(
            board=board,
            observer=self.observer,
            changed=self._changed,
            scrape=self._scrape,
            directory=self.directory,
        )
        with contextlib.suppress(OSError), open("/proc/self/comm", "w", encoding="ascii") as name:
            name.write(f"hf:gateway.{column}")
        gc.freeze()

    def _trail(self) -> Trail:
        # of two workers at a time none has the other's column
        return Trail(os.path.join(self.directory, f"requests-{self.column}.log"))

    def _take(self, payload: bytes) -> None:
        if self.core is None:
            return
        try:
            told = msgspec.json.decode(payload, type=Told)
        except msgspec.DecodeError as error:  # the program was replaced, and this worker finishes what it has begun
            log.warning("cannot understand a table: %s; this worker goes on by the one it has", error)
            return
        self.drain = told.table.front.drain
        self.certificates.take(told.table.sites)
        self.core.take(told.table, told.rows)
        self.taken += 1
        if connecting := self.core.connecting:  # chosen by the table before
            asyncio.gather(*connecting, return_exceptions=True).add_done_callback(
                lambda _, number=self.taken, seen=self.core.seen: self._goes_by(number, seen)
            )
        else:
            self._goes_by(self.taken, self.core.seen)

    def _goes_by(self, number: int, seen: tuple[str, int]) -> None:
        """Tell that nothing goes by an earlier table than this any more, unless that was told of a later one."""
        if number > self.gone_by:
            self.gone_by = number
            self._tell()  # first what it has begun: who drains, and has nothing to do, is stopped on what follows
            self.channel.send(Kind.SEEN, msgspec.json.encode(seen))

    # where it listens

    async def _listen(self) -> None:
        """Accept at the sockets of the last order, and at no others."""
        while True:
            order, descriptors = await self.orders.get()
            given = {os.fstat(each).st_ino: (text, each) for text, each in zip(order.at, descriptors, strict=True)}
            for inode in self.servers.keys() - given.keys():
                self.servers.pop(inode).close()
            for inode, (text, descriptor) in given.items():
                if inode in self.servers or self.draining.is_set():
                    os.close(descriptor)
                else:
                    self.servers[inode] = await self._server(text, descriptor)
            self.channel.send(Kind.READY, str(order.number).encode())

    async def _server(self, text: str, descriptor: int) -> asyncio.Server:
        core = self.core
        if core is None:
            raise RuntimeError("cannot listen before BEGIN")
        own = socket.socket(fileno=descriptor)
        secure = self.certificates.context if parse(text).secure else None
        within = _HANDSHAKE if secure else None
        # without a backlog it would set that of the socket to its own
        return await self.loop.create_server(
            core.connection, sock=own, ssl=secure, ssl_handshake_timeout=within, backlog=BACKLOG
        )

    # what it tells

    def _changed(self) -> None:
        if self.core is not None and begins(self.told, self.core.demand()):
            self._tell()
        elif self.telling is None:
            self.telling = self.loop.call_later(SOON, self._tell)

    def _tell(self) -> None:
        if self.telling is not None:
            self.telling.cancel()
            self.telling = None
        if self.core is None:
            return
        wants = self.core.demand()
        for model, rates in self.observer.traffic().items():
            wants[model] = replace(wants.get(model, Wanted()), traffic=rates)
        if wants != self.told:
            self.told = wants
            self.channel.send(Kind.DEMAND, msgspec.json.encode(wants))

    async def _beat(self) -> None:
        looked = self.loop.time()
        while True:
            await asyncio.sleep(_BEAT)
            self._tell()
            if self.loop.time() - looked > Certificates.EVERY:
                looked = self.loop.time()
                self.certificates.look()

    async def _scrape(self) -> bytes:
        """The metrics of all workers; empty where the master is gone."""
        self.asked += 1
        number = struct.pack("=Q", self.asked)
        question = self.questions[number] = self.loop.create_future()
        self.channel.send(Kind.METRICS_ASKED, number)
        try:
            async with asyncio.timeout(_LEAVING):
                return await question
        except TimeoutError:
            return b""
        finally:
            self.questions.pop(number, None)


def main() -> None:
    """Serve until told to end."""
    faulthandler.enable()
    open_journal(sys.argv[1])
    channel = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)

    async def live() -> None:
        await _Worker(channel, sys.argv[2]).live()

    with asyncio.Runner(loop_factory=new_loop()) as runner:
        runner.run(live())


if __name__ == "__main__":
    main()
