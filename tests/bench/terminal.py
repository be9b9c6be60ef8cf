"""A program on a terminal of its own: keys go in, what it writes is read, and the kernel says what it took."""

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from reconciler.ready import readable

_SEQUENCE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)")

_WHO = b"\x1b[c"
"""A terminal is asked who it is; every one answers that."""


_RUN = 2
"""CPUCLOCK_SCHED of the kernel: with the complement of a pid it is the clock of that process."""


def _tree(pid: int) -> Iterator[int]:
    """A process and what it started."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for child in (task / "children").read_text().split():
                yield from _tree(int(child))


class Terminal:
    """From the moment it is executed until it is left. Seconds are of `time.monotonic`."""

    def __init__(
        self, argv: Sequence[str], *, columns: int = 120, rows: int = 40, env: Mapping[str, str] | None = None
    ) -> None:
        self.wrote = 0
        """Bytes so far."""
        given = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", **(env or {})}
        for name in ("COLUMNS", "LINES", "NO_COLOR"):
            given.pop(name, None)
        self.last = b""
        """What it wrote while its end was waited for."""
        self._status: int | None = None
        self.begun = time.monotonic()
        self.pid, self._at = pty.fork()
        if self.pid == 0:
            os.execvpe(argv[0], list(argv), given)
        self.resize(columns, rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self.hang_up()

    def hang_up(self) -> None:
        """Have the terminal go away."""
        if self._at >= 0:
            os.close(self._at)
            self._at = -1

    def ended(self, within: float = 60.0, *, reading: bool = True) -> int:
        """How it ended: its exit status, or the negative number of the signal that killed it. TimeoutError.

        `reading`: what it writes meanwhile is taken.
        """
        end = time.monotonic() + within
        while self._status is None:
            if time.monotonic() > end:
                raise TimeoutError(f"it has not ended within {within} s")
            if self._at >= 0 and reading:
                self.last += self._piece(0.05) or b""
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def resize(self, columns: int, rows: int) -> None:
        """Have another size; it is told."""
        fcntl.ioctl(self._at, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    @property
    def modes(self) -> list[object]:
        """How the terminal treats what is typed and written, as `termios.tcgetattr` says."""
        return termios.tcgetattr(self._at)

    def press(self, keys: bytes) -> float:
        """Press them; when that was."""
        pressed = time.monotonic()
        os.write(self._at, keys)
        return pressed

    def read(self, seconds: float) -> bytes:
        """Take what it writes within that time."""
        taken = bytearray()
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            piece = self._piece(left)
            if piece is None:
                break
            taken += piece
        return bytes(taken)

    def until(self, text: bytes, within: float = 60.0) -> float:
        """When that text had been written, from now on; styles and moves of the cursor do not count. TimeoutError."""
        end = time.monotonic() + within
        seen = bytearray()
        while text not in _SEQUENCE.sub(b"", seen):
            piece = self._piece(end - time.monotonic())
            if piece is None or time.monotonic() > end:
                raise TimeoutError(f"{text!r} was not written within {within} s, but {bytes(seen[-2000:])!r}")
            seen += piece
        return time.monotonic()

    def settle(self, quiet: float = 0.3, within: float = 10.0) -> float | None:
        """Read until it has written nothing for that time.

        When it last wrote what can be seen (a cursor that is put where it stands cannot); None where it never did.
        """
        end, last = time.monotonic() + within, None
        while (piece := self._piece(quiet)) and (now := time.monotonic()) < end:
            last = now if _SEQUENCE.sub(b"", piece) else last
        return last

    def _piece(self, within: float) -> bytes | None:
        """None: it ended; empty: nothing came."""
        if not readable(self._at, within):
            return b""
        try:
            piece = os.read(self._at, 1 << 20)
        except OSError:
            return None
        self.wrote += len(piece)
        if _WHO in piece:
            os.write(self._at, b"\x1b[?62;22c")
        return piece

    # -- what the kernel says of it

    def cpu(self) -> float:
        """Seconds that it and what it started have run, threads that have ended too."""
        return sum(time.clock_gettime(~pid << 3 | _RUN) for pid in _tree(self.pid))

    def resident(self) -> float:
        """MiB."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))
