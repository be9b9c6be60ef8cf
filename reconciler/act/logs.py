"""Reads what a keeper wrote: pages of a run, its last lines, and what follows; bytes as they were written.

A byte's address is its piece's number times `PIECE`, and its place in that piece: so it stays what it was while pieces
come and go. Between two pieces some addresses may hold nothing. What is shown to a person must be made harmless by
whoever shows it.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from typing import Literal

from reconciler.act import logfile
from reconciler.act.logfile import PIECE
from reconciler.model.answers import LogPage
from reconciler.model.errors import ApiError
from reconciler.model.slots import slot, split_slot

MOST = 4 * 2**20
"""Bytes that the last lines may have in all."""
BLOCK = 65536
HEAD = 2**20
"""Bytes in which an engine has said all of its start, even at a high verbosity."""
_PAUSE = 0.1
_GAP = b"\n[holdfast: a part was rotated away]\n"
RunChoice = int | Literal["first-failure"] | None
"""A run by its number, the first of a row of failures, or the newest."""


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

    def page(
        self, name: str, index: int, run: RunChoice, *, at: int | None = None, back: bool = False, size: int = BLOCK
    ) -> LogPage:
        """At most `size` bytes of a run from address `at` on, or those before it (`back`); without `at`, the last.

        A page may be shorter: it ends where a piece does. What is not kept is passed by. Raises ApiError where there is
        no such log.
        """
        while True:
            kept = self._pieces(name, index)
            chosen = self._chosen(name, index, run, kept)
            try:
                spans = [self._span(name, index, chosen, piece) for of, piece in kept if of == chosen]
                first, end = spans[0][0], spans[-1][1]
                begin, stop = (
                    _before(spans, end if at is None else at, size) if back or at is None else _from(spans, at, size)
                )
                data = self._read(name, index, chosen, begin, stop) if stop > begin else b""
            except FileNotFoundError:
                continue  # a piece went while it was looked at
            return LogPage(run=chosen, newest=kept[-1][0], first=first, end=end, at=begin, data=data)

    async def page_soon(
        self, name: str, index: int, run: RunChoice, *, at: int | None, back: bool, size: int, wait: float
    ) -> LogPage:
        """The same; of a run that may still write, an empty page comes only after `wait` seconds.

        Where the log ends before `at` by now, it comes at once.
        """
        until = time.monotonic() + wait
        while True:
            page = await asyncio.to_thread(self.page, name, index, run, at=at, back=back, size=size)
            if page.data or page.newest != page.run or page.end < (at or 0) or time.monotonic() >= until:
                return page
            await asyncio.sleep(self._pause)

    def stream(self, name: str, index: int, run: RunChoice, *, lines: int, follow: bool) -> AsyncIterator[bytes]:
        """The last lines of a run; then, to `follow`, what it goes on to write; of the newest, what comes after it too.

        Raises ApiError at once where there is no such log.
        """
        chosen = self._chosen(name, index, run, self._pieces(name, index))
        return self._stream(name, index, chosen, lines=lines, follow=follow, onward=run is None)

    async def _stream(
        self, name: str, index: int, run: int, *, lines: int, follow: bool, onward: bool
    ) -> AsyncIterator[bytes]:
        data, at = await asyncio.to_thread(self.tail, name, index, run, lines)
        if data:
            yield data
        while follow:
            page = await asyncio.to_thread(self.page, name, index, run, at=at)
            if page.first > at:
                yield _GAP
            if page.data:
                yield page.data
            elif onward and page.newest > run:  # it was over before the newer began, so nothing is missed
                run, at = min(newer for newer in self.runs(name, index) if newer > run), 0
                continue
            else:
                await asyncio.sleep(self._pause)
            at = page.at + len(page.data)

    def tail(self, name: str, index: int, run: int, lines: int) -> tuple[bytes, int]:
        """The last lines of a run, at most 4 MiB, and where it goes on. An unfinished line counts as one."""
        page = self.page(name, index, run)
        end = page.at + len(page.data)
        parts, breaks, size = [page.data], page.data.count(b"\n"), len(page.data)
        while page.data and breaks <= lines and size < MOST:
            page = self.page(name, index, run, at=page.at, back=True)
            parts.append(page.data)
            breaks, size = breaks + page.data.count(b"\n"), size + len(page.data)
        return _last(b"".join(reversed(parts)), lines), end

    def _chosen(self, name: str, index: int, run: RunChoice, kept: list[tuple[int, int]]) -> int:
        """The number of the run that is meant. Raises ApiError where its log is not kept."""
        runs = tuple(sorted({of for of, _ in kept}))
        chosen = logfile.first_failure(self._directory(name, index)) if run == "first-failure" else run
        if run is None and runs:
            return runs[-1]
        if chosen is None or chosen not in runs:
            raise ApiError(_absent(slot(name, index), run, runs), status=404)
        return chosen

    def _span(self, name: str, index: int, run: int, piece: int) -> tuple[int, int]:
        """The addresses that a piece holds."""
        size = os.stat(self._path(name, index, run, piece)).st_size
        return piece * PIECE, piece * PIECE + min(size, PIECE)

    def _read(self, name: str, index: int, run: int, begin: int, end: int) -> bytes:
        """What lies there, all in one piece."""
        piece, offset = divmod(begin, PIECE)
        with open(self._path(name, index, run, piece), "rb") as file:
            file.seek(offset)
            return file.read(end - begin)

    def _directory(self, name: str, index: int) -> str:
        return os.path.join(self._logs, f"{name}.{index}")

    def _path(self, name: str, index: int, run: int, piece: int) -> str:
        return f"{self._directory(name, index)}/{run}.{piece}.log"

    def _pieces(self, name: str, index: int) -> list[tuple[int, int]]:
        try:
            return logfile.pieces(self._directory(name, index))
        except OSError:
            return []


def _before(spans: list[tuple[int, int]], at: int, size: int) -> tuple[int, int]:
    """Where the `size` bytes lie that come before an address, or as many of them as one piece has."""
    for begin, end in reversed(spans):
        if begin < at and begin < end:
            return max(begin, min(at, end) - size), min(at, end)
    return spans[0][0], spans[0][0]


def _from(spans: list[tuple[int, int]], at: int, size: int) -> tuple[int, int]:
    """Where the `size` bytes lie that begin with an address, or as many of them as one piece has."""
    for begin, end in spans:
        if at < end and begin < end:
            return max(at, begin), min(end, max(at, begin) + size)
    return spans[-1][1], spans[-1][1]


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
