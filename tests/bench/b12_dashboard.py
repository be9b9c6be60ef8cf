"""B12: `holdfast tui` on a terminal, of a daemon with 8 GPUs and 40 models whose meters change twice a second.

Beside the same program as one writes it with Textual's own widgets (`naive.py`), of the same daemon: a double, whose
answers are made before, so that what is measured is the dashboard.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

from tests.bench.living import ROOT, percentile
from tests.bench.rows import Row, limited
from tests.bench.terminal import Terminal

BENCH = "B12"
USEFUL = b"bge-m3"
"""A workload: once it is seen, all are, and the GPUs."""
UP, DOWN, ERASE = b"\x1b[A", b"\x1b[B", b"\x7f"
_QUIET = 0.05
"""Seconds in which nothing is written once a key is done with."""

Program = Callable[[str], list[str]]
"""How it is called for the daemon at a socket."""


def ours(socket: str) -> list[str]:
    """`holdfast tui`."""
    return [os.path.join(sys.prefix, "bin", "holdfast"), "tui", "--socket", socket]


def naive(socket: str) -> list[str]:
    """The peer."""
    return [sys.executable, "-m", "tests.bench.naive", socket]


@dataclass(slots=True)
class Watched:
    """What it took to be looked at, a figure for each pass."""

    cpu: list[float] = field(default_factory=list[float])
    """Percent of a core."""
    rate: list[float] = field(default_factory=list[float])
    """kB/s to the terminal."""
    resident: list[float] = field(default_factory=list[float])
    """MiB."""


@dataclass(slots=True)
class Started:
    """What it took until it was of use, a figure for each start."""

    wall: list[float] = field(default_factory=list[float])
    cpu: list[float] = field(default_factory=list[float])
    """Milliseconds."""


def rows(quick: bool) -> list[Row]:
    """Percent of a core, kB/s, MiB, and milliseconds of starts and keys."""
    passes, seconds, starts, presses = (1, 2.0, 1, 6) if quick else (5, 10.0, 9, 100)
    return [
        *_watched("at 2 Hz", passes, seconds, quick=quick),
        *_watched("at rest", passes, seconds, "--still", "--every", "1", quick=quick),
        *_started(starts, quick=quick),
        *_pressed(passes, presses, quick=quick),
    ]


@contextlib.contextmanager
def _daemon(*words: str) -> Generator[str]:
    """Its socket."""
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as place:
        socket = str(Path(place) / "sock")
        argv = [sys.executable, "-m", "tests.tui.daemon", socket, *words]
        with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                process.stdout.readline()
                yield socket
            finally:
                process.kill()


@contextlib.contextmanager
def _shown(program: Program, socket: str) -> Generator[Terminal]:
    with Terminal(program(socket), columns=160, rows=50) as terminal:
        terminal.until(USEFUL)
        yield terminal


def _watched(how: str, passes: int, seconds: float, *words: str, quick: bool) -> list[Row]:
    mine, theirs = Watched(), Watched()
    with _daemon(*words) as socket:
        for _ in range(passes):
            for program, took in ((ours, mine), (naive, theirs)):
                with _shown(program, socket) as terminal:
                    terminal.read(seconds / 5)
                    cpu, wrote = terminal.cpu(), terminal.wrote
                    terminal.read(seconds)
                    took.cpu.append((terminal.cpu() - cpu) / seconds * 100)
                    took.rate.append((terminal.wrote - wrote) / seconds / 1000)
                    took.resident.append(terminal.resident())
    what = f"8 GPUs, 40 models {how}"
    found = [_row(f"{what}: % of a core", mine.cpu, theirs.cpu, 0.3 if words else 2.0, quick=quick)]
    found.append(_row(f"{what}: kB/s to the terminal", mine.rate, theirs.rate, None if words else 4.0, quick=quick))
    if not words:
        found.append(_row(f"{what}: MiB resident", mine.resident, theirs.resident, 90.0, quick=quick))
    return found


def _started(starts: int, *, quick: bool) -> list[Row]:
    mine, theirs = Started(), Started()
    with _daemon("--every", "0") as socket:
        for _ in range(starts):
            for program, took in ((ours, mine), (naive, theirs)):
                with Terminal(program(socket), columns=160, rows=50) as terminal:
                    took.wall.append((terminal.until(USEFUL) - terminal.begun) * 1000)
                    took.cpu.append(terminal.cpu() * 1000)
    return [
        _row(
            "start to first useful screen, the quickest, ms", [min(mine.wall)], [min(theirs.wall)], 400.0, quick=quick
        ),
        _row("start to first useful screen, ms CPU", mine.cpu, theirs.cpu, None, quick=quick),
    ]


def _pressed(passes: int, presses: int, *, quick: bool) -> list[Row]:
    """From a key to the last that is written for it."""
    typed = [bytes([letter]) for letter in b"qwen3"]
    kinds = {
        "the cursor moves": ([DOWN] * 60 + [UP] * 20, b"", (ours, naive)),
        "a letter filters": ([*typed, *[ERASE] * len(typed)], b"/", (ours,)),
        "another screen": ([b"2", b"3", b"4", b"1"], b"", (ours,)),
    }
    found: list[Row] = []
    with _daemon("--models", "200", "--every", "0") as socket:
        for what, (keys, first, programs) in kinds.items():
            pressed = list(islice(cycle(keys), presses))
            took: dict[Program, list[list[float]]] = {program: [] for program in programs}
            for _ in range(passes):
                for program, each in took.items():
                    each.append(_keys(program, socket, pressed, first))
            for part, most in ((0.5, None), (0.99, 50.0)):
                mine, theirs = ([percentile(each, part) for each in took.get(one, ())] for one in (ours, naive))
                if most is not None:  # one neighbour on the machine is enough to spoil it
                    mine, theirs = [min(mine)], [min(theirs)] if theirs else []
                text = "p50" if most is None else "p99 of the quietest pass"
                found.append(_row(f"200 workloads, {what}: ms to paint, {text}", mine, theirs, most, quick=quick))
    return found


def _keys(program: Program, socket: str, keys: Sequence[bytes], first: bytes = b"") -> list[float]:
    """Milliseconds for each; what paints nothing is left out."""
    took: list[float] = []
    with _shown(program, socket) as terminal:
        terminal.settle()
        if first:
            terminal.press(first)
            terminal.settle()
        for key in keys:
            pressed = terminal.press(key)
            painted = terminal.settle(_QUIET)
            if painted is not None:
                took.append((painted - pressed) * 1000)
    return took


def _row(measure: str, mine: list[float], theirs: list[float], most: float | None, *, quick: bool) -> Row:
    return limited(measure, mine, theirs, "naive" if theirs else "", bench=BENCH, most=most, judged=not quick)
