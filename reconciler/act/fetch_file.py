"""One file from far away: resumed where it was cut, and checked before it has its name."""

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Generator, Iterable
from http.client import HTTPException, HTTPResponse
from typing import BinaryIO

from reconciler.act.fetch_ask import Asker, CutError, FetchError, PastError
from reconciler.act.fetch_list import Remote
from reconciler.model.status import Reason
from reconciler.shelf import PARTIAL

CHUNK = 2**20
_TRIES = 5
"""Connections in a row that bring nothing."""
_LEAST = 1024
"""Bytes a second that a server sends, if it is of any use to wait for it."""
_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)")
_UNFIT = 600.0
"""Seconds until something is fetched again that was not what it should be."""

Tell = Callable[[int], None]
"""Told of bytes that are here now, or (negative) that were discarded."""


def fetch(wanted: Remote, target: str, ask: Asker, tell: Tell, kept: Iterable[str] = ()) -> str:
    """Have the file there, whole and checked; its digest. Raises FetchError.

    `kept`: where another program may keep the same file on this machine.
    """
    partial = f"{target}{PARTIAL}"
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with alone(partial) as descriptor:
            try:
                there = _known(wanted, target, tell)
            except OSError as error:
                why = f"cannot read {target}, which is there: {(error.strerror or 'error').lower()}"
                detail = f"cannot fetch {ask.source}: {why}; mend or remove that"
                raise FetchError(Reason.FetchFailed, detail, after=60) from None
            if there is None:
                _take_over(wanted, kept, descriptor)
                there = _Part(wanted, partial, descriptor, ask, tell).complete()
                os.fsync(descriptor)
                os.replace(partial, target)
            else:
                os.unlink(partial)
            _remove(f"{partial}.etag")
    except OSError as error:
        raise disk(ask.source, error) from None
    return there


@contextlib.contextmanager
def alone(partial: str) -> Generator[int]:
    """Its descriptor, while nobody else writes to it: another source may be of the same file. Blocks."""
    while True:
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_at(partial, descriptor):
                yield descriptor
                return
        finally:
            os.close(descriptor)


def _is_at(path: str, descriptor: int) -> bool:
    """Whether it still has that name: whoever had the lock before us may have taken it away."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _take_over(wanted: Remote, kept: Iterable[str], descriptor: int) -> None:
    """Begin with what another program has, if it is as long: it is checked with the rest."""
    for path in kept:
        with contextlib.suppress(OSError), _opened(path) as file:
            if os.fstat(file.fileno()).st_size == wanted.size:
                os.ftruncate(descriptor, 0)
                with open(descriptor, "wb", closefd=False) as into:
                    shutil.copyfileobj(file, into, CHUNK)
                return


@contextlib.contextmanager
def _opened(path: str) -> Generator[BinaryIO]:
    """A file to read. Raises OSError where it is another thing, such as a pipe that would never end."""
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no file", path)
        yield file


def _known(wanted: Remote, target: str, tell: Tell) -> str | None:
    """The digest of a file that is there already, by whomever it was fetched; None where it has to be fetched."""
    try:
        with _opened(target) as file:
            size, read = os.fstat(file.fileno()).st_size, 0
            check = _Check(wanted.digest, size)
            while chunk := file.read(CHUNK):
                check.update(chunk)
                read += len(chunk)
                tell(len(chunk))
    except FileNotFoundError:
        return None
    if wanted.size in (None, size) and (not wanted.digest or check.digest == wanted.digest):
        return check.digest
    tell(-read)
    os.unlink(target)
    return None


class _Check:
    """A digest while it grows."""

    def __init__(self, wanted: str, size: int | None) -> None:
        self._kind = "git" if wanted.startswith("git:") and size is not None else "sha256"
        self._hash = hashlib.sha1(usedforsecurity=False) if self._kind == "git" else hashlib.sha256()
        if self._kind == "git":
            self._hash.update(f"blob {size}\0".encode())
        self.update = self._hash.update

    @property
    def digest(self) -> str:
        return f"{self._kind}:{self._hash.hexdigest()}"


class _Part:
    """What is here of it, and how the rest comes."""

    def __init__(self, wanted: Remote, path: str, descriptor: int, ask: Asker, tell: Tell) -> None:
        self._wanted, self._path, self._descriptor, self._ask, self._tell = wanted, path, descriptor, ask, tell
        self._size = wanted.size
        self._have = 0
        self._check = _Check(wanted.digest, wanted.size)
        self._validator = ""

    def complete(self) -> str:
        """Bring what is missing; the digest of all. Raises FetchError and OSError."""
        self._take_up()
        tries, past = 0, False
        while self._size is None or self._have < self._size:
            before = self._have
            try:
                self._connect()
            except PastError:
                if past:
                    raise self._ask.unreachable("the server does not go on with what it sent itself") from None
                past = True
                self._discard()  # it is of another file: of this one, `_take_up` would have known that it is whole
            except CutError as error:
                tries = 0 if self._have > before else tries + 1
                if tries >= _TRIES:
                    raise self._ask.unreachable(str(error)) from None
                self._ask.stopped.wait(0.5 * 2**tries if tries else 0.0)
                if self._ask.stopped.is_set():
                    raise self._ask.unreachable("another of its files cannot be had") from None
        if os.fstat(self._descriptor).st_size != self._have:
            self._discard()
            raise self._ask.unreachable(f"another program writes to {self._path}")
        wanted, came = self._wanted.digest, self._check.digest
        if wanted and came != wanted:
            self._discard()
            file = f"{self._wanted.path} came as {came}, not as {wanted}; it was discarded"
            raise FetchError(Reason.DigestWrong, f"cannot use {self._ask.source}: {file}", after=_UNFIT)
        return came

    def _take_up(self) -> None:
        """Go on with what an earlier fetch left; of what may have become another since, only if the server can tell."""
        there = os.fstat(self._descriptor).st_size
        try:
            with open(f"{self._path}.etag", encoding="latin-1") as file:
                size, _, self._validator = file.read(1024).partition(" ")
            self._size = self._size or int(size)
        except (FileNotFoundError, ValueError):
            pass
        if (self._size is not None and there > self._size) or not (self._wanted.digest or self._validator):
            os.ftruncate(self._descriptor, 0)
            there = 0
        while self._have < there and (chunk := os.pread(self._descriptor, CHUNK, self._have)):
            self._check.update(chunk)
            self._have += len(chunk)
            self._tell(len(chunk))
        if self._size is None and self._have and self._check.digest == self._wanted.digest:
            self._size = self._have  # whole, but for its name
        if self._have == self._size and self._wanted.digest not in ("", self._check.digest):
            self._discard()

    def _connect(self) -> None:
        """One connection, as far as it goes. Raises CutError, FetchError and OSError."""
        if self._have and not (self._wanted.digest or self._validator):
            self._discard()  # it may have become another file
        headers = {"Range": f"bytes={self._have}-"} if self._have else {}
        if self._have and self._validator:
            headers["If-Range"] = self._validator
        with self._ask.open(self._wanted.url, headers) as answer:
            self._begin(answer)
            since, before = time.monotonic(), self._have
            while chunk := self._next(answer):
                self._write(chunk)
                if time.monotonic() > since + self._ask.patience:
                    if self._have - before < _LEAST * self._ask.patience:
                        raise self._ask.unreachable(f"the server sends less than {_LEAST} bytes a second")
                    since, before = time.monotonic(), self._have
        if self._size is None or self._have < self._size:
            raise CutError(f"the connection ended at {self._have} bytes")

    def _begin(self, answer: HTTPResponse) -> None:
        """Where what comes belongs, and how much there is in all."""
        etag = answer.headers.get("ETag", "")
        if answer.status == 206 and self._validator and etag != self._validator:
            self._discard()
            raise self._ask.unreachable(f"{self._wanted.path} is another file there than when it was begun")
        span = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if answer.status == 206 and span is not None and int(span[1]) == self._have:
            size = int(span[2]) if span[2] != "*" else None
        elif answer.status == 200:
            if self._have:
                self._discard()
            length = answer.headers.get("Content-Length", "")
            size = int(length) if length.isdecimal() and len(length) < 19 else None
        else:
            raise self._ask.unreachable(f"the server sent another part than the one from byte {self._have}")
        if self._size is None and size is None:
            raise self._ask.unreachable("the server does not say how long it is")
        if self._size is not None and size not in (None, self._size):
            self._discard()
            raise self._ask.unreachable(f"the server has {size} bytes of {self._wanted.path}, not {self._size}")
        self._size = self._size or size
        if self._size and not self._wanted.digest and not self._validator and etag.startswith('"'):
            self._validator = etag
            with open(f"{self._path}.etag", "w", encoding="latin-1") as file:
                file.write(f"{self._size} {etag}")

    def _next(self, answer: HTTPResponse) -> bytes:
        if self._ask.stopped.is_set():
            raise self._ask.unreachable("another of its files cannot be had")
        try:
            return answer.read1(CHUNK)
        except (OSError, HTTPException, ValueError) as error:
            raise CutError(str(error) or type(error).__name__) from None

    def _write(self, chunk: bytes) -> None:
        if self._size is not None and self._have + len(chunk) > self._size:
            self._discard()
            raise self._ask.unreachable(f"the server sent more than the {self._size} bytes of {self._wanted.path}")
        place = 0
        while place < len(chunk):
            place += os.pwrite(self._descriptor, chunk[place:], self._have + place)
        self._check.update(chunk)
        self._have += len(chunk)
        self._tell(len(chunk))

    def _discard(self) -> None:
        """Begin anew."""
        os.ftruncate(self._descriptor, 0)
        self._tell(-self._have)
        self._have, self._validator = 0, ""
        self._check = _Check(self._wanted.digest, self._size)
        _remove(f"{self._path}.etag")


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def disk(source: str, error: OSError) -> FetchError:
    """That the cache cannot be written to."""
    where = error.filename or "the cache"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return full(source, f"the disk of {where} is full")
    detail = f"cannot fetch {source}: cannot write {where}: {(error.strerror or 'error').lower()}"
    return FetchError(Reason.FetchFailed, detail, after=60)


def full(source: str, why: str, *, short: int = 0) -> FetchError:
    """That there is no room for it; `short`: bytes."""
    return FetchError(Reason.DiskFull, f"cannot fetch {source}: {why}", after=60, short=short)
