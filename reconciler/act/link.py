"""The daemon's end of a conversation with a keeper: packets of JSON over a socket that keeps their bounds."""

import asyncio
import json
import os
import socket
from collections.abc import Callable
from typing import Any

PACKET = 65536
State = dict[str, Any]


class LostError(Exception):
    """The keeper is gone, or does not listen."""


class RefusedError(Exception):
    """The keeper does not do it. `code`: disk, again, or refused."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Link:
    """One connection. `on_state` hears how the run stands, asked or not; `on_gone` that it is over."""

    def __init__(
        self, sock: socket.socket, *, on_state: Callable[[State], None], on_gone: Callable[["Link"], None]
    ) -> None:
        self.held = False
        """Whether it was told that another keeper holds the slot."""
        self._loop = asyncio.get_running_loop()
        self.heard = self._loop.time()
        """When it last said something."""
        self._sock: socket.socket | None = sock
        self._on_state, self._on_gone = on_state, on_gone
        self._next = 0
        self._waiting: dict[int, asyncio.Future[None]] = {}
        sock.setblocking(False)
        self._loop.add_reader(sock.fileno(), self._read)

    @property
    def open(self) -> bool:
        """Whether anybody may be there."""
        return self._sock is not None

    async def ask(self, op: str, *, within: float, **fields: Any) -> None:
        """Ask, and wait for the answer, which `on_state` hears. LostError, RefusedError, or TimeoutError (seconds)."""
        future = self._send(op, fields)
        async with asyncio.timeout(within):
            await future

    def tell(self, op: str, **fields: Any) -> None:
        """Ask without waiting for the answer."""
        try:
            future = self._send(op, fields)
        except LostError:
            return
        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody else looks at it

    def close(self) -> None:
        """Let go; the keeper goes on."""
        if self._sock is None:
            return
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        self._sock = None
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(LostError("the keeper is gone"))
        self._waiting.clear()

    def _send(self, op: str, fields: dict[str, Any]) -> asyncio.Future[None]:
        if self._sock is None:
            raise LostError("the keeper is gone")
        self._next += 1
        packet = json.dumps({"id": self._next, "op": op, **fields}).encode()
        if len(packet) > PACKET:
            raise RefusedError("refused", f"cannot hand over {len(packet)} bytes; at most {PACKET} fit")
        try:
            self._sock.send(packet)
        except BlockingIOError:
            raise LostError("the keeper does not listen") from None
        except OSError:
            self._gone()
            raise LostError("the keeper is gone") from None
        future = self._waiting[self._next] = self._loop.create_future()
        number = self._next
        future.add_done_callback(lambda _: self._waiting.pop(number, None))
        return future

    def _read(self) -> None:
        while self._sock is not None:
            try:
                data = self._sock.recv(PACKET)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._gone()
                return
            self.heard = self._loop.time()
            self._take(json.loads(data))

    def _take(self, packet: dict[str, Any]) -> None:
        if packet.get("held"):
            self.held = True
        if "state" in packet:
            self._on_state(packet["state"])  # at once and in order, before anyone who waits goes on
        future = self._waiting.pop(packet.get("re") or 0, None)
        if future is None or future.done():
            return
        if "error" in packet:
            future.set_exception(RefusedError(packet["code"], packet["error"]))
        else:
            future.set_result(None)

    def _gone(self) -> None:
        if self._sock is not None:
            self.close()
            self._on_gone(self)


def connect(path: str) -> socket.socket:
    """Reach the keeper of the slot's directory at `path`. OSError where there is none."""
    directory = os.open(path, os.O_PATH | os.O_DIRECTORY)
    try:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            sock.connect(f"/proc/self/fd/{directory}/keeper.sock")  # the path itself may be longer than 108 bytes
        except OSError:
            sock.close()
            raise
        return sock
    finally:
        os.close(directory)
