"""A slot's keeper: a small process that has an engine in its charge, and outlives the daemon.

It is forked, not executed, so it lives on the standard library's smallest parts. It listens on the slot's `keeper.sock`
for packets of JSON: `{"id", "op": hello | start | stop | note | close, …}`; an answer carries `re` and the run's whole
state, news carries the state alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import json
import os
import select
import signal
import socket
import time
import traceback

from reconciler.act.charge import Charge, RefusedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

VERSION = 1
PACKET = 65536
"""Most bytes in one packet."""
IDLE = 10.0
"""Seconds without a run and without anybody connected after which it leaves."""
_PEERS = 16
_SUBREAPER, _NAME = 36, 15
_PRCTL = ctypes.CDLL(None).prctl  # looked up here, before any keeper is forked


class Keeper:
    """The keeper of one slot. Its working directory is the slot's directory, its lock already held."""

    def __init__(self, path: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._poll = select.poll()
        self._ready: dict[int, Callable[[], None]] = {}
        self._peers: list[socket.socket] = []
        self._alone = clock()
        self._charge = Charge(path, watch=self._watch, unwatch=self._unwatch, tell=self._tell, clock=clock)

    def serve(self, first: socket.socket | None) -> None:
        """Serve until nothing is left to keep and nobody is left to talk to."""
        charge = self._charge
        server = self._listen()
        self._watch(server.fileno(), lambda: self._accept(server))
        wake, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._watch(wake, lambda: self._woken(wake))
        signal.signal(signal.SIGCHLD, _notice)
        signal.signal(signal.SIGTERM, self._retire)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        charge.look()  # it may have ended before there was anyone to be told
        if first is not None:
            self._welcome(first)
        while charge.active or not (charge.leaving or self._forsaken()):
            for descriptor, _ in self._poll.poll(self._timeout()):
                action = self._ready.get(descriptor)
                if action is not None:
                    action()
            charge.tick()

    def _listen(self) -> socket.socket:
        with contextlib.suppress(FileNotFoundError):
            os.unlink("keeper.sock")
        server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        mask = os.umask(0o177)
        try:
            server.bind("keeper.sock")
        finally:
            os.umask(mask)
        server.listen(_PEERS)
        return server

    def _forsaken(self) -> bool:
        return not self._peers and self._clock() >= self._alone + IDLE

    def _timeout(self) -> float | None:
        """Milliseconds until something is due."""
        due = self._charge.due()
        if not self._peers and not self._charge.active:
            due = min(due or self._alone + IDLE, self._alone + IDLE)
        return None if due is None else max(0.0, due - self._clock()) * 1000 + 1

    def _retire(self, _number: int, _frame: object) -> None:
        self._charge.leaving = True  # the machine goes down

    def _woken(self, wake: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(wake, 4096)
        self._charge.look()

    def _accept(self, server: socket.socket) -> None:
        try:
            peer, _ = server.accept()
        except OSError:
            return
        if len(self._peers) >= _PEERS:
            peer.close()
        else:
            self._welcome(peer)

    def _welcome(self, peer: socket.socket) -> None:
        peer.setblocking(False)
        self._peers.append(peer)
        self._watch(peer.fileno(), lambda: self._hear(peer))

    def _part(self, peer: socket.socket) -> None:
        if peer in self._peers:
            self._peers.remove(peer)
            self._unwatch(peer.fileno())
            peer.close()
            self._alone = self._clock()

    def _hear(self, peer: socket.socket) -> None:
        try:
            data = peer.recv(PACKET)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._part(peer)
            return
        number: object = None
        news = False
        try:
            packet = json.loads(data)
            number = packet.get("id")
            news = self._charge.ask(packet)
            reply = {"re": number, "keeper": os.getpid(), "v": VERSION, "state": self._charge.state()}
        except RefusedError as error:
            reply = {"re": number, "code": error.code, "error": str(error), "state": self._charge.state()}
        except (ValueError, KeyError, TypeError, AttributeError):
            reply = {"re": number, "code": "refused", "error": "cannot understand the packet"}
        self._send(peer, reply)
        if news:
            self._tell(but=peer)

    def _tell(self, but: socket.socket | None = None) -> None:
        listening = [peer for peer in self._peers if peer is not but]
        if listening:
            news: dict[str, Any] = {"state": self._charge.state()}
            for peer in listening:
                self._send(peer, news)

    def _send(self, peer: socket.socket, packet: dict[str, Any]) -> None:
        try:
            peer.send(json.dumps(packet).encode())
        except OSError:
            self._part(peer)  # it left, or does not listen; it can come again and say hello

    def _watch(self, descriptor: int, action: Callable[[], None]) -> None:
        self._ready[descriptor] = action
        self._poll.register(descriptor, select.POLLIN)

    def _unwatch(self, descriptor: int) -> None:
        if self._ready.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)


def main(path: str, first: socket.socket | None) -> None:
    """Keep the slot at `path` unless another does already. Returns when there is nothing left to keep.

    The process must be the keeper's alone, and lead its own session.
    """
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    os.fchdir(directory)
    os.umask(0o077)
    lock = os.open("run.json", os.O_RDWR | os.O_CREAT, 0o600)  # written in place, so it is the same file for ever
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if first is not None:
            with contextlib.suppress(OSError):
                first.send(b'{"held": true}')
        return
    here, there = os.fstat(directory), os.stat(path)
    if (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino):
        return  # the directory was replaced while we came to life
    _PRCTL(_SUBREAPER, 1, 0, 0, 0)
    _PRCTL(_NAME, f"hf:{os.path.basename(path)}"[:15].encode(), 0, 0, 0)
    try:
        Keeper(path).serve(first)
    except BaseException:
        _leave_word()
        raise


def _notice(_number: int, _frame: object) -> None:
    """A child ended; the wakeup descriptor has said so."""


def _leave_word() -> None:
    """Write down why it fell: places in the code, no values."""
    with contextlib.suppress(OSError), open("keeper.err", "w", encoding="utf-8") as file:
        file.write(traceback.format_exc(limit=20))


gc.disable()  # it makes no cycles worth the memory that looking for them touches
