"""Writes what one engine says into pieces of bounded size, within a budget; what does not fit is counted in the stream.

It must never make the engine wait and never raise for what a disk does. Standard library only.

A run's log is `<run>.<piece>.log`, pieces counted from 0, the newest two kept. `first-failure` is a link that names the
run with which a series of failures began.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PIECE = 16 * 2**20
RUNS = 5
RATE = 8 * 2**20
BURST = 32 * 2**20
FIRST = "first-failure"
TAIL = 16384
"""Bytes that are looked through for what a failed engine said: vLLM's reason stands some 5 KiB above its last line."""
_ASIDE = "For further information visit "
_ABOVE, _ERROR = "See root cause above", "Error: "
_RETRY = 0.2


def piece_of(name: str) -> tuple[int, int] | None:
    """`3.0.log` → run 3, piece 0; None for any other file."""
    parts = name.split(".")
    if len(parts) == 3 and parts[2] == "log" and parts[0].isdigit() and parts[1].isdigit():
        return int(parts[0]), int(parts[1])
    return None


def pieces(directory: str) -> list[tuple[int, int]]:
    """Runs and pieces that are there, in order; OSError where the directory cannot be read."""
    return sorted(found for name in os.listdir(directory) if (found := piece_of(name)) is not None)


def first_failure(directory: str) -> int | None:
    """The run that the current series of failures began with."""
    try:
        text = os.readlink(f"{directory}/{FIRST}")
    except OSError:
        return None
    return int(text) if text.isdigit() else None


class LogFile:
    """The log of one run."""

    def __init__(self, directory: str, run: int, *, clock: Callable[[], float], again: bool = False) -> None:
        self.dropped = 0
        """Lines dropped in this run."""
        self.tail = b""
        """The last bytes of the stream, dropped or not."""
        self._directory = directory
        self._run = run
        self._clock = clock
        self._budget = float(BURST)
        self._at = clock()
        self._file = -1
        self._piece = 0
        self._size = 0
        self._fresh = True  # the file ends with a whole line
        self._gap = 0  # lines dropped and not yet told
        self._lost = False  # something was dropped and not yet told
        self._amid = False  # the stream stands within a line of which a part was dropped
        self._retry = 0.0
        if again:
            self._resume()
        else:
            self._prune()
            self._open(0)

    def feed(self, data: bytearray, size: int) -> None:
        """Take the first `size` bytes of `data`."""
        self.tail = (self.tail + bytes(data[max(0, size - TAIL) : size]))[-TAIL:]
        self._refill()
        begin = 0
        if self._lost or self._amid:
            begin = self._pick_up(data, size)
        elif size > self._budget:
            self._drop(data, 0, size)
            return
        if begin < size:
            self._write(data, begin, size)

    def remark(self, text: str) -> None:
        """Say in the log what people have to know of it: once, as long as nothing else comes."""
        line = b"[holdfast: %s]\n" % text.encode(errors="replace")
        if not self.tail.endswith(line):
            whole = bytearray(line if not self.tail or self.tail.endswith(b"\n") else b"\n" + line)
            self.feed(whole, len(whole))

    def settle(self) -> None:
        """Tell what was dropped, if the disk and the budget allow it by now; for when the engine has gone quiet."""
        self._refill()
        if self._lost and self._budget > 0 and self._clock() >= self._retry:
            self._tell()

    def close(self) -> None:
        """End the log; what was dropped and could not be told stays counted in `dropped`."""
        if self._lost:
            self._tell()
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def last_words(self, secrets: tuple[str, ...]) -> str:
        """The last line that was said, or the error that it points to, fit for a terminal, without these secrets."""
        lines = self.tail.decode(errors="replace").split("\n")
        whole = lines if len(self.tail) < TAIL else lines[1:]  # of a line that was cut, a secret may be left
        said = [line for line in whole if line.strip() and _ASIDE not in line]
        last = said[-1] if said else ""
        if _ABOVE in last:
            last = next((line for line in reversed(said) if _ERROR in line and _ABOVE not in line), last)
        for secret in secrets:
            last = last.replace(secret, "***")
        return "".join(letter if letter.isprintable() else " " for letter in last).strip()[:200]

    def note_read(self, at: int) -> None:
        """Remember with the file until when its source was read, nanoseconds since the epoch."""
        try:
            os.utime(self._file, ns=(at, at))
        except OSError:
            return

    def read_until(self) -> int:
        """What was noted last; 0 where nothing was written yet."""
        try:
            found = os.fstat(self._file)
        except OSError:
            return 0
        return found.st_mtime_ns if found.st_size or self._piece else 0

    @property
    def lossy(self) -> bool:
        """Whether a gap is still to be told."""
        return self._lost

    def _refill(self) -> None:
        now = self._clock()
        self._budget = min(float(BURST), self._budget + (now - self._at) * RATE)
        self._at = now

    def _pick_up(self, data: bytearray, size: int) -> int:
        """Where writing can go on after a gap: behind a line's end, with the gap told. `size` where it cannot yet."""
        begin = 0
        if size > self._budget or self._clock() < self._retry:
            begin = size
        elif self._amid:
            begin = data.find(b"\n", 0, size) + 1 or size
        self._drop(data, 0, begin)
        if begin < size and self._lost and not self._tell():
            self._drop(data, begin, size)
            return size
        return begin

    def _drop(self, data: bytearray, begin: int, end: int) -> None:
        if begin >= end:
            return
        lines = data.count(b"\n", begin, end)
        self.dropped += lines
        self._gap += lines
        self._lost = True
        self._amid = data[end - 1] != 10

    def _tell(self) -> bool:
        line = b"" if self._fresh else b"\n"
        line += b"[holdfast: %d lines dropped]\n" % max(1, self._gap)
        before = self._size
        if self._put(memoryview(line)) < len(line):
            self._size = before
            try:
                os.ftruncate(self._file, before)
            except OSError:
                self._size = before + len(line)  # a part of it stays; better than none
            return False
        self._fresh, self._lost, self._gap = True, False, 0
        return True

    def _write(self, data: bytearray, begin: int, end: int) -> None:
        written = self._put(memoryview(data)[begin:end])
        self._budget -= written
        if written:
            self._fresh = data[begin + written - 1] == 10
            self._amid = False
        self._drop(data, begin + written, end)

    def _put(self, data: memoryview) -> int:
        """How many bytes were written: fewer than given where the disk says no."""
        if (self._file < 0 or self._size + len(data) > PIECE) and not self._open(self._piece + (self._size > 0)):
            self._retry = self._clock() + _RETRY
            return 0
        done = 0
        while done < len(data):
            try:
                done += os.write(self._file, data[done:])
            except OSError:
                self._retry = self._clock() + _RETRY
                break
        self._size += done
        return done

    def _open(self, piece: int) -> bool:
        """Begin a piece, or go on with it; False where the disk does not take it."""
        try:
            if not os.path.isdir(self._directory):
                os.mkdir(self._directory, 0o700)
            file = os.open(self._name(piece), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError:
            return False
        if self._file >= 0:
            os.close(self._file)
        self._file, self._piece, self._size = file, piece, os.fstat(file).st_size
        if piece >= 2:
            self._remove(self._run, piece - 2)
        return True

    def _resume(self) -> None:
        """Go on where an earlier keeper ended."""
        try:
            mine = [piece for run, piece in pieces(self._directory) if run == self._run]
        except OSError:
            mine = []
        if self._open(max(mine, default=0)) and self._size:
            try:
                with open(self._name(self._piece), "rb") as file:
                    file.seek(max(0, self._size - TAIL))
                    self.tail = file.read(TAIL)
            except OSError:
                return
            self._fresh = self.tail.endswith(b"\n")

    def _prune(self) -> None:
        """Keep the newest runs and the first failure."""
        try:
            there = pieces(self._directory)
        except OSError:
            return
        kept = sorted({run for run, _ in there} - {self._run})[-(RUNS - 1) :]
        kept.append(first_failure(self._directory) or 0)
        for run, piece in there:
            if run not in kept:
                self._remove(run, piece)

    def _name(self, piece: int) -> str:
        return f"{self._directory}/{self._run}.{piece}.log"

    def _remove(self, run: int, piece: int) -> None:
        try:
            os.unlink(f"{self._directory}/{run}.{piece}.log")
        except OSError:
            return


def mark_first_failure(directory: str, run: int) -> None:
    """Keep this run's log beyond the newest few, until another series begins."""
    new = f"{directory}/.{FIRST}"
    try:
        if os.path.lexists(new):
            os.unlink(new)
        os.symlink(str(run), new)
        os.rename(new, f"{directory}/{FIRST}")
    except OSError:
        return  # its log is kept as long as any


def unmark_first_failure(directory: str) -> None:
    """The series is over; its log goes with the others."""
    try:
        os.unlink(f"{directory}/{FIRST}")
    except OSError:
        return
