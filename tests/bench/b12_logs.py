"""B12, logs: `holdfast tui` on a terminal opens a log of 1 GiB at its end, searches all of it, and follows a flood.

Beside `less +G`, `grep -c` and `tail -f` on one file with the same lines, in the same run. The daemon is a real one.
"""

import contextlib
import shutil
import subprocess
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Self

from reconciler.act.logfile import PIECE
from tests.bench.living import Daemon, daemon, stamp
from tests.bench.rows import Row, limited
from tests.bench.terminal import Terminal

BENCH = "B12"
RATE = 100_000_000
"""Bytes a second of the flood."""
LAST = b"this is the last line of all"
SEEN = "▞▚▞▚▞▚▞▚".encode()
"""Stands nowhere but in the first line: what is drawn already is not drawn again, so other texts may come in pieces."""
FIRST = b"no such words but here " + SEEN


def rows(quick: bool) -> list[Row]:
    """Milliseconds to the last screen, MiB, seconds of a search, and what a flood costs."""
    engine = stamp()
    if engine is None:
        return [Row(bench=BENCH, measure="logs", ours=0.0, peer_name="no cc", target="-", good=None)]
    pieces, passes, seconds = (4, 1, 2.0) if quick else (64, 5, 15.0)
    with daemon() as living:
        living.write("talker", living.service("talker", engine))
        living.start()
        living.ready(["talker"])
        logs = living.state / "logs" / "talker.0"
        whole = _fill(logs, living.place / "whole", pieces)
        found = [*_opened(living, whole, passes, quick=quick), *_searched(living, whole, passes, quick=quick)]
        whole.unlink()
        return [*found, *_flooded(living, logs, pieces, seconds, quick=quick)]


def _block(number: int) -> bytes:
    """A MiB as vLLM writes it, or nearly."""
    line = (
        "INFO 11-21 12:%02d:%02d [loggers.py:122] Engine 000: Avg prompt throughput: %d.%d tokens/s, Running: %d reqs\n"
    )
    text = "".join(line % (number // 60 % 60, n % 60, number, n, n % 7) for n in range(10_000)).encode()
    return text[: 2**20 - 1] + b"\n"


def _fill(logs: Path, whole: Path, pieces: int) -> Path:
    """Have the log of the run be so many pieces, and a file hold the same."""
    with whole.open("wb") as all_of_it:
        for piece in range(pieces):
            data = b"".join(_block(piece * 16 + number) for number in range(16))
            if piece == 0:
                data = FIRST + b"\n" + data[len(FIRST) + 1 :]
            if piece == pieces - 1:
                data = data[: -len(LAST) - 2] + b"\n" + LAST + b"\n"
            (logs / f"1.{piece}.log").write_bytes(data[:PIECE])
            all_of_it.write(data[:PIECE])
    return whole


@contextlib.contextmanager
def _dashboard(living: Daemon) -> Generator[Terminal]:
    """Its first screen, at rest."""
    with Terminal(living.holdfast("tui", "--state", str(living.state))) as terminal:
        terminal.until(b"talker")
        terminal.settle()
        yield terminal


def _opened(living: Daemon, whole: Path, passes: int, *, quick: bool) -> list[Row]:
    mine: list[float] = []
    theirs: list[float] = []
    memory: list[float] = []
    other: list[float] = []
    less = shutil.which("less")
    for _ in range(passes):
        with _dashboard(living) as terminal:
            pressed = terminal.press(b"l")
            mine.append((terminal.until(LAST) - pressed) * 1000)
            terminal.settle()
            for _ in range(20):
                terminal.press(b"\x1b[5~")  # a page up
                terminal.settle(0.05)
            memory.append(terminal.resident())
        if less is not None:
            with Terminal([less, "-n", "+G", str(whole)]) as terminal:
                theirs.append((terminal.until(LAST) - terminal.begun) * 1000)
                other.append(terminal.resident())
    size = f"{whole.stat().st_size / 2**30:.2g} GiB"
    return [
        _row(f"log of {size}: key to its last screen, ms", mine, theirs, "less -n +G", 100.0, quick=quick),
        _row(f"log of {size}: the dashboard, 20 pages up, MiB", memory, other, "less", 60e6 / 2**20, quick=quick),
    ]


def _searched(living: Daemon, whole: Path, passes: int, *, quick: bool) -> list[Row]:
    found: list[Row] = []
    for pattern in ("no such words", "no [a-z]+ words"):
        mine: list[float] = []
        theirs: list[float] = []
        for _ in range(passes):
            with _dashboard(living) as terminal:
                terminal.press(b"l")
                terminal.until(LAST)
                terminal.press(b"/" + pattern.encode())
                terminal.settle()
                pressed = terminal.press(b"\r")
                terminal.until(SEEN, within=300.0)
                mine.append(time.monotonic() - pressed)
            begun = time.monotonic()
            subprocess.run(["grep", "-icE", pattern, str(whole)], check=False, capture_output=True)
            theirs.append(time.monotonic() - begun)
        size = f"{whole.stat().st_size / 2**30:.2g} GiB"
        found.append(
            _row(
                f"{size} searched from end to beginning for {pattern!r}, s",
                mine,
                theirs,
                "grep -icE",
                None,
                quick=quick,
            )
        )
    return found


class _Flood:
    """Writes pieces as a keeper does that drops nothing, and one file beside them."""

    def __init__(self, logs: Path, first: int, whole: Path) -> None:
        self.written = 0
        self._logs, self._piece, self._whole = logs, first, whole
        self._blocks = [_block(number) for number in range(16)]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _write(self) -> None:
        begun = time.monotonic()
        with self._whole.open("ab", buffering=0) as beside:
            while not self._ended.is_set():
                with (self._logs / f"1.{self._piece}.log").open("ab", buffering=0) as file:
                    for block in self._blocks:
                        file.write(block)
                        beside.write(block)
                        self.written += len(block)
                        early = begun + self.written / RATE - time.monotonic()
                        if self._ended.wait(max(0.0, early)):
                            return
                (self._logs / f"1.{self._piece - 1}.log").unlink(missing_ok=True)
                self._piece += 1


def _flooded(living: Daemon, logs: Path, pieces: int, seconds: float, *, quick: bool) -> list[Row]:
    whole = living.place / "flood"
    whole.touch()
    with _dashboard(living) as terminal, Terminal(["tail", "-f", str(whole)]) as tail:
        terminal.press(b"l")
        terminal.until(LAST)
        reading = threading.Thread(target=tail.read, args=(seconds + 2,))
        with _Flood(logs, pieces, whole) as flood:
            terminal.until(b"passed by")
            reading.start()
            begun, written, drawn = time.monotonic(), flood.written, terminal.wrote
            before = terminal.cpu(), tail.cpu()
            terminal.read(seconds)
            took = time.monotonic() - begun
            cpu = [(now - then) / took * 100 for now, then in zip((terminal.cpu(), tail.cpu()), before, strict=True)]
            rate, drawn = (flood.written - written) / took / 1e6, terminal.wrote - drawn
        reading.join()
        memory = terminal.resident()
    whole.unlink()
    what = f"flood of {rate:.0f} MB/s followed"
    return [
        _row(f"{what}: % of a core", [cpu[0]], [cpu[1]], "tail -f", 25.0, quick=quick),
        _row(f"{what}: kB/s to the terminal", [drawn / took / 1000], [], "", None, quick=quick),
        _row(f"{what}: MiB resident", [memory], [], "", 60e6 / 2**20, quick=quick),
    ]


def _row(measure: str, mine: list[float], theirs: list[float], name: str, most: float | None, *, quick: bool) -> Row:
    return limited(measure, mine, theirs, name, bench=BENCH, most=most, judged=not quick)
