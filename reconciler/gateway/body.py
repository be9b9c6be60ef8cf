"""What a client sends: small bodies stay in memory as they came, large ones go to a file that has no name."""

import mmap
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import FileIO

from reconciler.gateway.refusal import Refusal

IN_MEMORY = 256 * 1024
"""Bytes of a body beyond which it goes to a file."""

_PIECES = 1024
"""Pieces that are kept apart: each costs more than a byte or two that it may hold."""

Content = bytes | mmap.mmap
Edit = tuple[int, int, bytes]
"""From, to, and what is there instead."""


@dataclass(slots=True)
class Spool:
    """How much of the disk bodies of one worker may take together, and where."""

    directory: str
    limit: int = 2 * 2**30
    used: int = 0


class Body:
    """One body: fed piece by piece, read as a whole, sent in pieces. Whoever has it closes it."""

    __slots__ = ("_content", "_file", "_pieces", "_spool", "size")

    def __init__(self, spool: Spool, content: bytes = b"") -> None:
        """`content`: what is there of it, at most IN_MEMORY bytes."""
        self.size = len(content)
        self._spool = spool
        self._pieces = [content] if content else []
        self._file: FileIO | None = None
        self._content: Content | None = None

    def feed(self, piece: bytes) -> Refusal | None:
        """Take what came next. A Refusal where there is no room for it: then nothing is kept."""
        self.size += len(piece)
        if self._file is None and self.size <= IN_MEMORY:
            self._pieces.append(piece)
            if len(self._pieces) >= _PIECES:
                self._pieces = [b"".join(self._pieces)]
            return None
        try:
            return self._spill(piece)
        except OSError as error:
            self.close()
            return _no_room(f"the gateway's disk does not take it ({os.strerror(error.errno or 0)})")

    def _spill(self, piece: bytes) -> Refusal | None:
        spool = self._spool
        held, self._pieces = self._pieces, []
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=spool.directory, buffering=0)  # noqa: SIM115 — `close` does
            spool.used += self.size - len(piece)
        spool.used += len(piece)
        if spool.used > spool.limit:
            self.close()
            return _no_room("bodies that are on their way take all the room there is")
        for one in held:
            _write(self._file, one)
        _write(self._file, piece)
        return None

    @property
    def content(self) -> Content:
        """All of it. A map of the file is good until `close`."""
        if self._content is None:
            if self._file is not None:
                self._content = mmap.mmap(self._file.fileno(), 0, prot=mmap.PROT_READ)
            else:
                self._content = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
                self._pieces = [self._content]
        return self._content

    def pieces(self, size: int = 65536) -> Iterator[bytes]:
        """All of it, in order, `size` bytes at a time."""
        content = self.content
        if self.size <= size:
            yield content[:]
            return
        for start in range(0, self.size, size):
            yield content[start : start + size]

    def close(self) -> None:
        """Give back memory and disk. May be done again."""
        self._pieces, self._content = [], None  # whoever still reads a map keeps it; it goes with its last reader
        if self._file is not None:
            self._file.close()
            self._file = None
            self._spool.used -= self.size
        self.size = 0


class Edited:
    """A body with other bytes in some places, without a copy where it is large. Good while that body is open."""

    __slots__ = ("_body", "_edits", "_whole", "size")

    def __init__(self, body: Body, edits: Sequence[Edit]) -> None:
        """`edits` in order, apart from each other."""
        self._body = body
        self._edits = edits
        self._whole: bytes | None = None
        if body.size <= IN_MEMORY:
            whole = body.content[:]
            for start, end, new in reversed(edits):
                whole = b"".join((whole[:start], new, whole[end:]))
            self._whole, self.size = whole, len(whole)
        else:
            self.size = body.size + sum(len(new) - (end - start) for start, end, new in edits)

    @property
    def content(self) -> bytes:
        """All of it, in memory."""
        return b"".join(self._parts(65536)) if self._whole is None else self._whole

    def pieces(self, size: int = 65536) -> Iterator[bytes]:
        """All of it, in order, at most `size` bytes at a time."""
        if self._whole is None:
            yield from self._parts(size)
            return
        for start in range(0, self.size, size):
            yield self._whole[start : start + size]

    def _parts(self, size: int) -> Iterator[bytes]:
        content, at = self._body.content, 0
        for start, end, new in (*self._edits, (self._body.size, 0, b"")):
            for begin in range(at, start, size):
                yield content[begin : min(begin + size, start)]
            if new:
                yield new
            at = end


def _write(file: FileIO, piece: bytes) -> None:
    """All of it: a write to a disk that is nearly full takes a part."""
    rest = memoryview(piece)
    while rest:
        rest = rest[file.write(rest) :]


def _no_room(why: str) -> Refusal:
    message = f"cannot take a body of this size now: {why}; try again, or send less"
    return Refusal(status=503, code="no_room", message=message, retry_after=5.0, closes=True)
