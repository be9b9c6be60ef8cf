"""Lines that nobody changes unseen: each holds the hash of the one before it, and is on disk before it counts.

A chain does not show that its end was cut off: whoever keeps one writes its head down elsewhere too.
"""

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, cast

import msgspec

_HASH = b',"hash":"'
_TAIL = 1 << 20
"""The last line is looked for in so many bytes."""


class Head(NamedTuple):
    """The last line of a chain."""

    seq: int
    """Lines are counted from 1."""
    hash: str
    """64 hexadecimal digits."""

    def __str__(self) -> str:
        """As it is written down elsewhere: enough of the hash, that nobody makes another line for it."""
        return f"{self.seq}:{self.hash[:16]}"


BEGINNING = Head(0, "0" * 64)


class Line(NamedTuple):
    """One line of a chain that was read."""

    head: Head
    record: Mapping[str, object]


class Broken(NamedTuple):
    """Where a chain is not what was written."""

    line: int
    """Of the file, counted from 1."""
    why: str


class Chain:
    """One file of lines, open for more of them. For one process and one thread at a time."""

    def __init__(self, path: str) -> None:
        """Open it, or begin it. Raises OSError. What cannot be gone on with is set aside: see `trouble`."""
        self.path = path
        self.head = BEGINNING
        self.trouble: str | None = None
        """What was found when it was opened, and what became of it; for a person to look into."""
        self._descriptor: int | None = None
        self._file = (0, 0)
        """What tells it from another of the same name, which cannot be the same while it is open."""
        self._open()

    def append(self, records: Sequence[Mapping[str, object]]) -> Head:
        """Write lines, and return once they are on disk. Raises OSError: then none of them counts.

        A record is not empty, and has no `seq`, `prev` and `hash` of its own. Where the file was moved away, a new one
        goes on from its end.
        """
        descriptor, size = self._open()
        head, text = _linked(self.head, records)
        try:
            if os.write(descriptor, text) != len(text):
                raise OSError(28, os.strerror(28), self.path)
            os.fdatasync(descriptor)
            if not size:
                _sync_name(self.path)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, size)
            self.close()  # after a failed sync nothing is believed but what the next opening reads
            raise
        self.head = head
        return head

    def close(self) -> None:
        """Let go of the file; `append` opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> tuple[int, int]:
        """The descriptor, and bytes that are in the file. Asks the system once where all is as it was."""
        if self._descriptor is not None:
            with contextlib.suppress(FileNotFoundError):
                named = os.stat(self.path)
                if (named.st_dev, named.st_ino) == self._file:
                    return self._descriptor, named.st_size
            self.close()
        descriptor = self._descriptor = _opened(self.path)
        last = _last(descriptor)
        if isinstance(last, str):
            self.close()
            aside = _aside(self.path)
            self.trouble = f"{self.path}: {last}; it was set aside as {os.path.basename(aside)}, and a new one begun"
            self.head = BEGINNING
            return self._open()
        if last is not None:
            self.head = last
        there = os.fstat(descriptor)
        self._file = there.st_dev, there.st_ino
        return descriptor, there.st_size


def read(lines: Iterable[bytes], before: Head | None = BEGINNING) -> Iterator[Line | Broken]:
    """Each line, checked against the one before it; the first that is not right is the last that is given.

    `before`: the end of the file before this one; None where that is not known.
    """
    for number, raw in enumerate(lines, 1):
        found = _checked(raw)
        if isinstance(found, str):
            yield Broken(number, found)
            return
        head, prev, record = found
        if before is not None and head.seq != before.seq + 1:
            missing = f"it follows {before.seq}: lines between them are gone" if before.seq else "those before are gone"
            yield Broken(number, f"its number is {head.seq}, and {missing}")
            return
        if before is not None and prev != before.hash:
            yield Broken(number, "it does not follow from the line before it")
            return
        yield Line(head, record)
        before = head


def _linked(head: Head, records: Sequence[Mapping[str, object]]) -> tuple[Head, bytes]:
    """The records as lines after `head`, and the last of them."""
    seq, prev, lines = head.seq, head.hash, list[str]()
    inner = _encode(records).decode()[1:-2].split("}\n{") if records else []  # in JSON a line's end is escaped
    for record in inner:
        seq += 1
        said = f'{{"seq":{seq},{record},"prev":"{prev}"'
        prev = hashlib.sha256(said.encode()).hexdigest()
        lines.append(f'{said},"hash":"{prev}"}}\n')
    return Head(seq, prev), "".join(lines).encode()


_encode = msgspec.json.Encoder().encode_lines


def _checked(raw: bytes) -> tuple[Head, str, dict[str, object]] | str:
    """Head, hash of the line before and record of a line; or what is wrong with it."""
    if not raw.endswith(b"\n"):
        return "it is not whole"
    said, mark, rest = raw.rpartition(_HASH)
    if not mark or rest[64:] != b'"}\n' or hashlib.sha256(said).hexdigest().encode() != rest[:64]:
        return "it was changed"
    try:
        record: object = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return "it is no JSON"
    record = cast("dict[str, object]", record)
    seq, prev, hashed = record.pop("seq", None), record.pop("prev", None), record.pop("hash", None)
    if not isinstance(seq, int) or not isinstance(prev, str) or not isinstance(hashed, str):
        return "it was written by something else"
    return Head(seq, hashed), prev, record


def _opened(path: str) -> int:
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(22, "it is no regular file", path)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _sync_name(path: str) -> None:
    """A new file is to be found again too."""
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _last(descriptor: int) -> Head | str | None:
    """The head of a file, None where it is empty, or what is wrong with its end.

    What a crash left of a line that nobody was told of is cut off.
    """
    size = os.fstat(descriptor).st_size
    begin = max(0, size - _TAIL)
    tail = os.pread(descriptor, size - begin, begin)
    whole = tail.rfind(b"\n") + 1
    if whole < len(tail):
        os.ftruncate(descriptor, begin + whole)
    if not whole:
        return None if not begin else "its last line has no end"
    first = tail.rfind(b"\n", 0, whole - 1) + 1
    found = _checked(tail[first:whole])
    return f"its last line is bad: {found}" if isinstance(found, str) else found[0]


def _aside(path: str) -> str:
    number = 1
    while os.path.lexists(f"{path}.broken-{number}"):
        number += 1
    os.rename(path, f"{path}.broken-{number}")
    return f"{path}.broken-{number}"
