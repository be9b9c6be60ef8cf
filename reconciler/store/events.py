"""Events, durable, for people. One thread writes; whoever appends never waits for the disk.

An event gets its number, and is shown to followers, once it is on disk and not before.
"""

import asyncio
import contextlib
import logging
import math
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Literal, cast
from urllib.parse import quote

from reconciler.model.status import Event, Reason
from reconciler.store.database import (
    ERRORS,
    Opened,
    UnusableError,
    broken,
    inode,
    lenient,
    open_database,
    set_aside,
)

MIGRATIONS = (
    """CREATE TABLE events (seq INTEGER PRIMARY KEY, at REAL NOT NULL, severity TEXT NOT NULL, subject TEXT NOT NULL,
       reason TEXT NOT NULL, message TEXT NOT NULL) STRICT""",
)
"""One entry for each version of the schema. Never edit one that was released: add the next."""

KEPT = 100_000
WAITING = 10_000
BATCH = 1_000
_RETRY = (0.5, 5.0)  # seconds between attempts while the disk says no: the first, the longest
_log = logging.getLogger(__name__)
_REASONS = frozenset(Reason)
Severity = Literal["info", "warning", "error"]


class Events:
    """The history of a state directory, in one SQLite file."""

    def __init__(
        self,
        path: str,
        *,
        on_degraded: Callable[[str | None], None] = lambda _: None,
        kept: int = KEPT,
        waiting: int = WAITING,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open the file, or begin a new one; with neither, start degraded.

        `on_degraded` is called by the writer thread with what cannot be done, and with None when it can be done again.
        """
        self._path = path
        self._on_degraded = on_degraded
        self._kept, self._limit, self._clock = kept, waiting, clock
        self._changed = threading.Condition()
        self._queue: deque[Event] = deque()
        self._writing = 0
        self._lost = 0
        self._why: str | None = None
        self._closing = False
        self._suspect = False
        self._last = 0
        self._oldest = 0
        self._followers: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}
        self._opened: Opened | None = None
        self._trouble = self._try_open()
        self._writer = threading.Thread(target=self._write_all, name="events", daemon=True)
        self._writer.start()

    @property
    def last(self) -> int:
        """Number of the newest event on disk; 0 where there is none."""
        return self._last

    @property
    def degraded(self) -> str | None:
        """What cannot be done now, in words for a person."""
        with self._changed:
            if self._why is None:
                return None
            lost = f", {self._lost} were dropped" if self._lost else ""
            return (
                f"cannot write the history {self._path}: {self._why}; {len(self._queue) + self._writing} events wait"
                f"{lost}; free space there or mend its permissions, it goes on by itself"
            )

    def append(self, events: Sequence[Event]) -> None:
        """Hand events to the writer: returns at once. From any thread."""
        if not events:
            return
        with self._changed:
            self._queue.extend(events)
            self._bound()
            self._changed.notify_all()

    def since(self, seq: int, limit: int = 1_000, subject: str | None = None, *, newest: bool = False) -> list[Event]:
        """Events on disk after number `seq`, oldest first, at most `limit`: the first of them, or the `newest`.

        `subject` is a workload (its slots are included), a slot, or any other subject. Reads the disk.
        """
        if self._opened is None:
            return []
        where, values = "seq > ?", [seq]
        if subject is not None:
            # '0' is the character after '/': every slot of the workload, by comparison alone
            where += " AND (subject = ? OR (subject > ? AND subject < ?))"
            values += [subject, f"{subject}/", f"{subject}0"]
        order = "DESC" if newest else "ASC"
        query = f"SELECT * FROM events WHERE {where} ORDER BY seq {order} LIMIT ?"  # noqa: S608
        try:
            with contextlib.closing(sqlite3.connect(f"file:{quote(self._path)}?mode=ro", uri=True)) as connection:
                connection.text_factory = lenient
                found = [_event(row) for row in connection.execute(query, [*values, limit])]
                return found[::-1] if newest else found
        except ERRORS as error:
            _log.warning("cannot read the history %s: %s", self._path, error)
            if broken(error):
                with self._changed:
                    self._suspect = True
                    self._changed.notify_all()
            return []

    async def follow(self, seq: int, subject: str | None = None) -> AsyncIterator[Event]:
        """Events after number `seq`, those to come included; never ends. A number beyond the newest means the newest.

        Nothing is queued for a slow reader: what it has not read yet is on disk.
        """
        wake = asyncio.Event()
        self._followers[wake] = asyncio.get_running_loop()
        seq = min(seq, self._last)
        try:
            while True:
                wake.clear()
                newest = self._last
                while seq < newest:
                    rows = await asyncio.to_thread(self.since, seq, BATCH, subject)
                    for event in rows:
                        yield event
                    seq = rows[-1].seq if len(rows) == BATCH else max(newest, rows[-1].seq if rows else 0)
                await wake.wait()
                seq = min(seq, self._last)
        finally:
            del self._followers[wake]

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all that was appended is on disk; False where it is not after `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._queue and not self._writing, timeout)

    def close(self, timeout: float = 1.0) -> None:
        """Write what waits, as far as that is possible within `timeout` seconds, and end the writer."""
        self.flush(0.0 if self._why else timeout)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._writer.join(timeout)

    # The writer thread, from here on.

    def _write_all(self) -> None:
        wait = _RETRY[0]
        if self._trouble:
            self._degrade(self._trouble)
        while True:
            with self._changed:
                if self._why:
                    self._changed.wait_for(lambda: self._closing, wait)
                    wait = min(wait * 2, _RETRY[1])
                else:
                    self._changed.wait_for(lambda: self._queue or self._closing or self._suspect)
                if self._closing and (self._why or not self._queue):
                    break
                batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
                self._writing = len(batch)
                suspect, self._suspect = self._suspect, False
            trouble, written = self._write(batch, suspect=suspect)
            with self._changed:
                self._writing = 0
                if trouble is not None:
                    self._queue.extendleft(reversed(batch))
                    self._bound()
                self._changed.notify_all()
            if trouble is not None:
                self._degrade(trouble)
            else:
                wait = _RETRY[0]
                self._recover()
            if written:
                self._tell_followers()
        if self._opened:
            with contextlib.suppress(*ERRORS):
                self._opened.connection.close()

    def _write(self, batch: list[Event], *, suspect: bool) -> tuple[str | None, bool]:
        """What stood in the way, or None; and whether anything new is on disk. Whole batches only."""
        if suspect or (self._opened and self._replaced(self._opened)):
            self._reopen()  # opening looks at the file itself; our connection may see what it keeps in memory
        for _ in range(2):  # once more where the file was found broken and was begun anew
            trouble = None if self._opened else self._try_open()
            if self._opened is None:
                return trouble or "it cannot be opened", False
            try:
                return None, self._insert(self._opened.connection, batch)
            except ERRORS as error:
                if not broken(error):
                    self._reopen()  # after a failed fsync nothing that this connection believes is to be trusted
                    return _words(error), False
                self._reopen()
                trouble = self._try_open(str(error))
                if trouble:
                    return trouble, False
        return "it was damaged again at once", False

    def _insert(self, connection: sqlite3.Connection, batch: list[Event]) -> bool:
        if not batch:
            return False
        seq = self._last
        rows: list[tuple[object, ...]] = []
        for event in batch:
            seq += 1
            at = event.at if math.isfinite(event.at) else 0.0
            texts = (event.severity, event.subject, event.reason.value, event.message)
            rows.append((seq, at, *map(_storable, texts)))
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", rows)
            if seq - self._oldest > self._kept + BATCH:
                connection.execute("DELETE FROM events WHERE seq <= ?", (seq - self._kept,))
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(*ERRORS):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            raise
        self._last = seq
        if seq - self._oldest > self._kept + BATCH:
            self._oldest = seq - self._kept
        return True

    def _try_open(self, unusable: str | None = None) -> str | None:
        """Open the file, or set it aside and begin anew; what stood in the way, or None."""
        moved = None
        for _ in range(2):
            try:
                if unusable is not None:
                    moved = f"{os.path.basename(set_aside(self._path))}: {unusable}"
                opened = open_database(self._path, MIGRATIONS)
                oldest, last = _range(opened)
            except (OSError, *ERRORS) as error:
                if not broken(error):
                    return _words(error)
                unusable = str(error)
                continue
            self._opened = opened
            # numbers go on growing where the file was lost while we ran: followers count on it
            self._last, self._oldest = max(self._last, last), oldest
            if moved is not None:
                self._say("warning", Reason.Recovered, f"could not use the history, began anew; it is kept as {moved}")
            return None
        return unusable

    def _reopen(self) -> None:
        if self._opened:
            with contextlib.suppress(*ERRORS):
                self._opened.connection.close()
        self._opened = None

    def _replaced(self, opened: Opened) -> bool:
        """Whether the file was removed or replaced under us: SQLite would go on writing to what nobody can read."""
        try:
            return inode(self._path) != opened.inode
        except FileNotFoundError:
            return True
        except OSError:
            return False

    def _say(self, severity: Severity, reason: Reason, message: str) -> None:
        event = Event(at=self._clock(), severity=severity, subject="daemon", reason=reason, message=message)
        with self._changed:
            self._queue.append(event)
            self._bound()
            self._changed.notify_all()

    def _bound(self) -> None:
        while len(self._queue) > self._limit:
            self._queue.popleft()
            self._lost += 1

    def _degrade(self, why: str) -> None:
        before, self._why = self._why, why
        if before != why:
            _log.error("%s", self.degraded)
            self._on_degraded(self.degraded)

    def _recover(self) -> None:
        if self._why is None:
            return
        with self._changed:
            self._why, lost, self._lost = None, self._lost, 0
        lost_text = f"; {lost} events were dropped in the meantime" if lost else ""
        self._say("warning" if lost else "info", Reason.Recovered, f"the history can be written again{lost_text}")
        self._on_degraded(None)

    def _tell_followers(self) -> None:
        for wake, loop in list(self._followers.items()):
            with contextlib.suppress(RuntimeError):  # its loop was closed
                loop.call_soon_threadsafe(wake.set)


def _range(opened: Opened) -> tuple[int, int]:
    """Number before the oldest event, and of the newest. Raises UnusableError where no counting can have led there."""
    oldest, last = opened.connection.execute("SELECT min(seq), max(seq) FROM events").fetchone()
    if last is None:
        return 0, 0
    if oldest < 1 or last > 2**52:
        opened.connection.close()
        raise UnusableError("its numbers are damaged")
    return oldest - 1, last


def _event(row: tuple[int, float, str, str, str, str]) -> Event:
    seq, at, severity, subject, reason, message = row
    known = severity if severity in {"info", "warning", "error"} else "info"
    cause = Reason(reason) if reason in _REASONS else Reason.Unknown  # a later version may know more words
    return Event(seq=seq, at=at, severity=cast("Severity", known), subject=subject, reason=cause, message=message)


def _storable(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _words(error: Exception) -> str:
    return (os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)).lower()
