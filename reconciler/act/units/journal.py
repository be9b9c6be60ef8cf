"""What units log → the log of each run, where those of other runtimes lie. One follower for all, in a thread.

How far it has read is written down beside what it wrote, so that a later daemon goes on there.
"""

import contextlib
import logging
import os
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

from reconciler.act.logfile import LogFile, pieces
from reconciler.act.units import unit

_log = logging.getLogger(__name__)
_AGAIN = 1.0
"""Seconds until a follower that broke off is followed by another, at first; twice as many each time in vain."""
_SOUND = 5.0
"""Seconds after which one that broke off was a good one, though it had nothing to tell."""
_CURSOR = 512
_QUIET, _LONGEST_QUIET = 0.05, 0.3
_SUPPRESSED = re.compile(rb"Suppressed (\d+) messages from (\S+)")
Entry = dict[bytes, bytes]


class Journal:
    """The logs of all runs that are units. What it is told is told on the event loop, what it reads in its thread."""

    def __init__(self, follow: Callable[..., socket.socket], path: str) -> None:
        """`follow`: see `Door.journal`; `path`: the file that holds how far it was read."""
        self._follow, self._path = follow, path
        self._logs: dict[str, LogFile] = {}
        self._units: dict[str, str] = {}
        self._heard: dict[str, float] = {}
        self._writing = threading.Lock()
        """A log is closed while nobody writes to it: its descriptor may be another file's at once."""
        self._closed = False
        self._woken = threading.Event()
        self._came = False
        """Whether the journal that is read now has told anything."""
        self._stream: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._began = time.time()

    def expect(self, token: str, slot: str, logs: str, run: int) -> None:
        """Write down what carries this token; listen, if nobody does. OSError where its log cannot be made."""
        if token in self._logs:
            return
        begun = os.path.isdir(logs) and any(found == run for found, _ in pieces(logs))
        log = LogFile(logs, run, clock=time.monotonic, again=begun)
        with self._writing:
            self._logs[token] = log
        self._units[unit.name(slot)] = token
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
            self._thread.start()
        self._woken.set()  # where the journal cannot be read, that is to be told of this one too

    def drop(self, token: str) -> None:
        """Nothing more of it is wanted."""
        with self._writing:
            self._heard.pop(token, None)
            log = self._logs.pop(token, None)
            if log is not None:
                log.close()

    def dropped(self, token: str) -> int:
        """Lines of it that could not be kept."""
        return self._logs[token].dropped if token in self._logs else 0

    def settled(self, token: str, since: float) -> bool:
        """Whether no more is to be expected of a run that ended then, seconds of the monotonic clock."""
        now, heard = time.monotonic(), self._heard.get(token)
        return now > since + _LONGEST_QUIET or (heard is not None and now > max(heard, since) + _QUIET)

    def last_words(self, token: str, secrets: tuple[str, ...]) -> str:
        """The last line that it said."""
        return self._logs[token].last_words(secrets) if token in self._logs else ""

    def close(self) -> None:
        """Read no more; everything goes on."""
        self._closed = True
        self._woken.set()
        if self._stream is not None:
            with contextlib.suppress(OSError):
                self._stream.shutdown(socket.SHUT_RDWR)
        if self._thread is not None:
            self._thread.join(1.0)

    def _work(self) -> None:
        failed = 0
        while not self._closed:
            self._woken.clear()
            began, self._came = time.monotonic(), False
            try:
                why = self._listen()
            except OSError as error:
                why = f"{error.filename}: {str(error.strerror).lower()}" if error.filename else str(error)
            except Exception as error:  # noqa: BLE001  whatever it is, logs are to go on
                _log.exception("cannot follow the journal")
                why = f"an error of Holdfast itself, see its log: {error!r}"
            failed = 0 if self._came or time.monotonic() > began + _SOUND else failed + 1
            if failed > 1:  # not at the first, as whoever tells it may be another a moment later
                self._remark(f"what it says cannot be read: {why or 'the journal ends at once'}")
            self._woken.wait(_AGAIN * 2 ** min(failed, 5))

    def _listen(self) -> str:
        """Read until it ends. Why, if that is told."""
        cursor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            known = os.pread(cursor, _CURSOR, 0).decode(errors="replace").strip()
            # before the first unit was started there was nothing of ours
            with self._follow(**({"cursor": known} if known else {"since": self._began - 1.0})) as stream:
                self._stream = stream
                data = bytearray()
                while not self._closed and (piece := stream.recv(262144)):
                    data += piece
                    self._take_all(data, cursor)
            return unit.why_ended(bytes(data))
        finally:
            self._stream = None
            os.close(cursor)

    def _remark(self, text: str) -> None:
        with self._writing:
            for log in self._logs.values():
                log.remark(text)

    def _take_all(self, data: bytearray, cursor: int) -> None:
        """Take whole entries; how far is written down whatever becomes of one, so that none is taken twice."""
        last = b""
        try:
            for entry in entries(data):
                self._came, last = True, entry.get(b"__CURSOR", last)
                self._take(entry)
        finally:
            if last:
                with contextlib.suppress(OSError):
                    os.pwrite(cursor, last.ljust(_CURSOR), 0)
        with self._writing:
            for log in self._logs.values():
                log.settle()

    def _take(self, entry: Entry) -> None:
        said = entry.get(b"MESSAGE", b"")
        dropped = _SUPPRESSED.match(said) if b"N_DROPPED" in entry else None
        if dropped is not None:
            token = self._units.get(dropped[2].decode(errors="replace"), "")
            said = b"[holdfast: the journal dropped %s lines]" % dropped[1]
        else:
            # the unit is journald's word; the field could be another's, if an engine wrote it itself
            token = self._units.get(entry.get(b"_SYSTEMD_UNIT", b"").decode(errors="replace"), "")
            if entry.get(unit.TOKEN.encode(), b"") != token.encode():
                return
        whole = said if entry.get(b"_LINE_BREAK") == b"line-max" else said + b"\n"
        with self._writing:
            log = self._logs.get(token)
            if log is not None:
                log.feed(bytearray(whole), len(whole))
                self._heard[token] = time.monotonic()


def entries(data: bytearray) -> Iterator[Entry]:
    """Take whole entries from the front of what came. Of a field that comes twice the first counts: it is ours."""
    while True:
        entry, at = _Parts(data).read()
        if entry is None:
            return
        del data[:at]
        yield entry


class _Parts:
    """One entry: lines of `KEY=value`, or `KEY`, a length and as many bytes; an empty line at its end."""

    def __init__(self, data: bytearray) -> None:
        self._data = data

    def read(self) -> tuple[Entry | None, int]:
        data, at = self._data, 0
        entry: Entry = {}
        while (end := data.find(b"\n", at)) >= 0:
            if end == at:
                return entry, end + 1
            key, equals, value = bytes(data[at:end]).partition(b"=")
            at = end + 1
            if not equals:
                if len(data) < at + 8:
                    break
                size = struct.unpack_from("<Q", data, at)[0]
                if len(data) < at + 8 + size + 1:
                    break
                value = bytes(data[at + 8 : at + 8 + size])
                at += 8 + size + 1
            entry.setdefault(key, value)
        return None, 0
