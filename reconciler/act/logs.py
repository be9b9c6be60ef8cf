"""Reads what a keeper wrote: the last lines of a run, and what follows, across pieces; bytes as they were written.

What is shown to a person must be made harmless by whoever shows it.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

from reconciler.act import logfile
from reconciler.model.errors import ApiError
from reconciler.model.fleet import slot, split_slot

MOST = 4 * 2**20
"""Bytes that the last lines may have in all."""
BLOCK = 65536
HEAD = 2**20
"""Bytes in which an engine has said all of its start, even at a high verbosity."""
_PAUSE = 0.1
_GAP = b"\n[holdfast: a part was rotated away]\n"
RunChoice = int | Literal["first-failure"] | None
"""A run by its number, the first of a row of failures, or the newest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """A place in a run's log."""

    piece: int
    offset: int


class Reader:
    """The logs below a state directory."""

    def __init__(self, state: str, *, pause: float = _PAUSE) -> None:
        """`pause`: seconds between two looks while following."""
        self._logs = os.path.join(state, "logs")
        self._pause = pause

    def runs(self, name: str, index: int) -> tuple[int, ...]:
        """The runs whose logs are kept, oldest first."""
        return tuple(sorted({run for run, _ in self._pieces(name, index)}))

    def first_failure(self, name: str, index: int) -> int | None:
        """The run that the current series of failures began with, if its log is kept."""
        run = logfile.first_failure(self._directory(name, index))
        return run if run in self.runs(name, index) else None

    def head(self, of: str, run: int) -> bytes:
        """How a run began, at most `HEAD` bytes. Raises OSError, also where that is no longer kept."""
        with open(self._path(*split_slot(of), run, 0), "rb") as file:
            return file.read(HEAD)

    def tail(self, name: str, index: int, run: int, lines: int) -> tuple[bytes, Cursor]:
        """The last lines of a run, at most 4 MiB, and where it goes on. An unfinished line counts as one."""
        parts: list[bytes] = []
        breaks = size = 0
        end: Cursor | None = None
        for piece in reversed(self._of(name, index, run)):
            path = self._path(name, index, run, piece)
            with open(path, "rb") as file:
                at = file.seek(0, os.SEEK_END)
                end = end or Cursor(piece=piece, offset=at)
                while at > 0 and breaks <= lines and size < MOST:
                    step = min(BLOCK, at)
                    at -= step
                    file.seek(at)
                    parts.append(file.read(step))
                    breaks += parts[-1].count(b"\n")
                    size += step
        return _last(b"".join(reversed(parts)), lines), end or Cursor(piece=0, offset=0)

    def more(self, name: str, index: int, run: int, cursor: Cursor) -> tuple[bytes, Cursor]:
        """What a run wrote since, at most a block of it, and where it goes on."""
        there = self._of(name, index, run)  # listed before it is read: an earlier piece is then complete
        if there and cursor.piece < there[0]:
            return _GAP, Cursor(piece=there[0], offset=0)
        try:
            with open(self._path(name, index, run, cursor.piece), "rb") as file:
                file.seek(cursor.offset)
                data = file.read(BLOCK)
        except FileNotFoundError:
            return b"", cursor
        if not data and cursor.piece + 1 in there:
            return b"", Cursor(piece=cursor.piece + 1, offset=0)
        return data, Cursor(piece=cursor.piece, offset=cursor.offset + len(data))

    def stream(self, name: str, index: int, run: RunChoice, *, lines: int, follow: bool) -> AsyncIterator[bytes]:
        """The last lines of a run; then, to `follow`, what it goes on to write; of the newest, what comes after it too.

        Raises ApiError at once where there is no such log.
        """
        kept = self.runs(name, index)
        chosen = self.first_failure(name, index) if run == "first-failure" else run
        if chosen is None and run is None and kept:
            chosen = kept[-1]
        if chosen is None or chosen not in kept:
            raise ApiError(_absent(slot(name, index), run, kept), status=404)
        return self._stream(name, index, chosen, lines=lines, follow=follow, onward=run is None)

    async def _stream(
        self, name: str, index: int, run: int, *, lines: int, follow: bool, onward: bool
    ) -> AsyncIterator[bytes]:
        data, cursor = self.tail(name, index, run, lines)
        if data:
            yield data
        while follow:
            later = [newer for newer in self.runs(name, index) if newer > run] if onward else []
            data, after = self.more(name, index, run, cursor)
            if data:
                yield data
            elif after == cursor and later:  # it was over before the newer began, so nothing is missed
                run, after = later[0], Cursor(piece=0, offset=0)
            elif after == cursor:
                await asyncio.sleep(self._pause)
            cursor = after

    def _directory(self, name: str, index: int) -> str:
        return os.path.join(self._logs, f"{name}.{index}")

    def _path(self, name: str, index: int, run: int, piece: int) -> str:
        return f"{self._directory(name, index)}/{run}.{piece}.log"

    def _pieces(self, name: str, index: int) -> list[tuple[int, int]]:
        try:
            return logfile.pieces(self._directory(name, index))
        except OSError:
            return []

    def _of(self, name: str, index: int, run: int) -> list[int]:
        return [piece for of, piece in self._pieces(name, index) if of == run]


def _last(data: bytes, lines: int) -> bytes:
    at = len(data) - data.endswith(b"\n")
    for _ in range(lines):
        at = data.rfind(b"\n", 0, at)
        if at < 0:
            return data
    return data[at + 1 :] if lines > 0 else b""


def _absent(name: str, run: RunChoice, kept: tuple[int, ...]) -> str:
    if not kept:
        return f"cannot show a log of {name}: there is none yet"
    if run == "first-failure":
        return f"cannot show the first failure of {name}: none is kept; leave the run away"
    return f"cannot show run {run} of {name}: choose one of {', '.join(map(str, kept))}"
