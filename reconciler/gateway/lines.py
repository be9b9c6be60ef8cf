"""Writes lines to a descriptor that somebody else may not read: in a thread, so whoever hands them over never waits."""

import os
import select
import threading
from queue import SimpleQueue

ROOM = 4 * 2**20
"""Bytes that wait for a slow reader; what comes beyond them is refused."""


class Lines:
    """A descriptor that other processes share: lines stay whole, and it stays blocking, as it is for them."""

    def __init__(self, descriptor: int, *, room: int = ROOM) -> None:
        self._descriptor, self._room = descriptor, room
        self._taken = self._done = 0
        """Bytes: each is written by one thread only."""
        self.lost = 0
        """Lines that were taken, and could not be written."""
        self._pieces: SimpleQueue[bytes | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="lines", daemon=True)
        self._thread.start()

    def put(self, lines: bytes) -> bool:
        """Have whole lines written. False where too much waits already: they are not taken."""
        if self._taken - self._done + len(lines) > self._room:
            return False
        self._taken += len(lines)
        self._pieces.put(lines)
        return True

    def close(self, within: float) -> None:
        """Wait at most so many seconds until all is written. Nothing is taken after that."""
        self._pieces.put(None)
        self._thread.join(within)

    def _write(self) -> None:
        while (lines := self._pieces.get()) is not None:
            for piece in pieces(lines):
                try:
                    self._write_whole(piece)
                except OSError:  # nobody reads any more, or the disk is full: there is nowhere to say so
                    self.lost += piece.count(b"\n")
            self._done += len(lines)

    def _write_whole(self, piece: bytes) -> None:
        while piece:
            try:
                piece = piece[os.write(self._descriptor, piece) :]
            except BlockingIOError:  # another process that shares it made it so
                ready = select.poll()
                ready.register(self._descriptor, select.POLLOUT)
                ready.poll()


def pieces(lines: bytes) -> list[bytes]:
    """Cut lines into parts that a pipe takes whole, however many write to it. Only a longer line is longer."""
    found: list[bytes] = []
    begin = 0
    while len(lines) - begin > select.PIPE_BUF:
        end = lines.rfind(b"\n", begin, begin + select.PIPE_BUF) + 1 or lines.find(b"\n", begin) + 1 or len(lines)
        found.append(lines[begin:end])
        begin = end
    return [*found, lines[begin:]] if begin < len(lines) else found
