"""Frames between the master and a worker: a kind, a payload and descriptors, whole or not at all (SOCK_SEQPACKET)."""

import array
import asyncio
import enum
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence


class Kind(enum.IntEnum):
    """What a frame says. A worker may be of an earlier version than its master: a number never gets another meaning."""

    BEGIN = 1
    """To a worker, first: its column, in decimal; with the board."""
    TABLE = 2
    """To a worker: `{"rows": …, "table": …}`."""
    LISTEN = 3
    """To a worker: a `Listen`; with the sockets, in its order. It accepts at these and at no others."""
    DRAIN = 4
    """To a worker: accept nothing more, finish what there is within so many seconds (decimal), and end."""
    CUT = 5
    """To a worker: end now."""
    PING = 6
    PONG = 7
    READY = 8
    """Of a worker: it accepts at all of the LISTEN with this number (decimal)."""
    SEEN = 9
    """Of a worker: `[epoch, seq]` of the table that it goes by from now on. What it chose by earlier ones was
    sent, and the DEMAND before it tells of that."""
    DEMAND = 10
    """Of a worker: what its clients want, by model, as a mapping of Wanted."""
    SNAPSHOT_ASKED = 11
    """To a worker: what has it counted? A question's number (8 bytes) comes first here and in the next three."""
    SNAPSHOT = 12
    METRICS_ASKED = 13
    """Of a worker: what have all counted, as text?"""
    METRICS = 14
    LAST = 15
    """Of a worker that ends: what it has counted."""
    QUEUES = 16
    """To a worker: by slot, what adds to the load of an engine beside what the gateway gave it."""


Received = Callable[[Kind, bytes, list[int]], None]
_INLINE, _BESIDE = b"\0", b"\1"
_LONGEST = 65536
"""Bytes of a payload that go into a frame; a longer one goes beside it, in memory that is passed as a descriptor."""
_INT = array.array("i").itemsize
_DESCRIPTORS = 250
"""The kernel passes 253 with one frame."""


class Channel:
    """One end. `received` gets each frame and owns its descriptors; `ended` is called once the other end is gone."""

    def __init__(
        self, end: socket.socket, loop: asyncio.AbstractEventLoop, received: Received, ended: Callable[[], None]
    ) -> None:
        end.setblocking(False)
        self.socket = end
        self._loop = loop
        self._received, self._ended = received, ended
        self._left: deque[tuple[bytes, list[int]]] = deque()
        self.open = True
        loop.add_reader(end.fileno(), self.receive)

    @property
    def flushed(self) -> bool:
        """Whether all that was sent has left this process."""
        return not self._left

    def send(self, kind: Kind, payload: bytes = b"", descriptors: Sequence[int] = ()) -> None:
        """Never waits: what the other end has no room for is kept, and goes when it has. Descriptors stay the caller's.

        Raises OSError where memory or descriptors are short.
        """
        if not self.open:
            return
        if len(descriptors) > _DESCRIPTORS:
            raise OSError(f"cannot pass {len(descriptors)} descriptors at once")
        beside = [_beside(payload)] if len(payload) > _LONGEST else []
        frame = bytes((kind,)) + (_BESIDE if beside else _INLINE + payload)
        passed = [*descriptors, *beside]
        try:
            if self._left or not self._sent(frame, passed):
                self._left.append((frame, [os.dup(each) for each in passed]))
                self._loop.add_writer(self.socket.fileno(), self._writable)
        finally:
            for each in beside:
                os.close(each)

    def close(self) -> None:
        """Let go of it; the other end is told by its end."""
        if not self.open:
            return
        self.open = False
        self._loop.remove_reader(self.socket.fileno())
        self._loop.remove_writer(self.socket.fileno())
        for _, descriptors in self._left:
            for each in descriptors:
                os.close(each)
        self._left.clear()
        self.socket.close()

    def _sent(self, frame: bytes, descriptors: list[int]) -> bool:
        try:
            socket.send_fds(self.socket, [frame], descriptors)
        except BlockingIOError:
            return False
        except OSError:
            self._over()
        return True

    def _writable(self) -> None:
        while self._left:
            frame, descriptors = self._left[0]
            if not self._sent(frame, descriptors) or not self.open:
                return
            self._left.popleft()
            for each in descriptors:
                os.close(each)
        self._loop.remove_writer(self.socket.fileno())

    def receive(self) -> None:
        """Take what has come."""
        while self.open:
            try:
                frame, descriptors = _next(self.socket)
            except BlockingIOError:
                return
            except OSError:
                frame, descriptors = b"", []
            if len(frame) < 2:
                self._over()
                return
            payload = frame[2:] if frame[1:2] == _INLINE else _from_beside(descriptors.pop())
            try:
                kind = Kind(frame[0])
            except ValueError:  # of a later version
                continue
            self._received(kind, payload, descriptors)

    def _over(self) -> None:
        if self.open:
            self.close()
            self._ended()


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends that belong together."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _next(end: socket.socket) -> tuple[bytes, list[int]]:
    """The next frame, and what came with it; `socket.recv_fds` takes flags, and does not use them."""
    room = socket.CMSG_SPACE((_DESCRIPTORS + 1) * _INT)
    frame, ancillary, _, _ = end.recvmsg(_LONGEST + 2, room, socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(data[: len(data) - len(data) % _INT])
    return frame, list(descriptors)


def _beside(payload: bytes) -> int:
    descriptor = os.memfd_create("frame", os.MFD_CLOEXEC)
    written = 0
    while written < len(payload):
        written += os.write(descriptor, payload[written:])
    return descriptor


def _from_beside(descriptor: int) -> bytes:
    try:
        size, parts, read = os.fstat(descriptor).st_size, list[bytes](), 0
        # by position: the offset is shared with whoever else was sent the same
        while read < size and (part := os.pread(descriptor, size - read, read)):
            parts.append(part)
            read += len(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)
