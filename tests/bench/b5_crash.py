"""B5: an engine that had been ready is killed → its replacement is executed, beside supervisord, pm2 and circus."""

import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

from tests.bench import peers
from tests.bench.living import Starts, daemon, percentile, stamp
from tests.bench.rows import Row

BENCH = "B5"
_Keeps = Callable[[Path, dict[str, list[str]]], AbstractContextManager[object]]


def rows(quick: bool) -> list[Row]:
    """Each engine is killed once: only the first end of what had been ready is followed by a start at once."""
    engine = stamp()
    target = "p50 <= 3, p99 <= 10"
    if engine is None:
        return [Row(bench=BENCH, measure="crash to exec", ours=0.0, peer_name="no cc", target=target, good=None)]
    samples, others = _measure(engine, 6 if quick else 200, quick=quick)
    median, tail = statistics.median(samples), percentile(samples, 0.99)
    known = {name: statistics.median(found) for name, found in others.items() if found}
    result = [_row("p50", median, "<= 3", good=median <= 3), _row("p99", tail, "<= 10", good=tail <= 10)]
    result += [_beside(name, median, known.get(name)) for name in others]
    return result


def _beside(name: str, ours: float, peer: float | None) -> Row:
    return Row(
        bench=BENCH,
        measure="kill -9 to exec of the next run, p50, ms",
        ours=ours,
        peer=peer,
        peer_name=name if peer is not None else f"{name}: not installed",
        target="< peer",
        good=ours < peer if peer is not None else None,
    )


def _row(part: str, ours: float, target: str, *, good: bool) -> Row:
    measure = f"kill -9 to exec of the next run, {part}, ms"
    return Row(bench=BENCH, measure=measure, ours=ours, target=target, good=good)


def _measure(engine: Path, count: int, *, quick: bool) -> tuple[list[float], dict[str, list[float]]]:
    """Milliseconds of ours and of every peer, by turns."""
    names = [f"engine-{number}" for number in range(count)]
    with ExitStack() as stack:
        living = stack.enter_context(daemon())
        for name in names:
            living.write(name, living.service(name, engine))
        living.start()
        living.ready(names)
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-bench-")))
        rounds = 1 if quick else 5
        theirs = {
            name: _Peer(stack, keeps, place / name, engine, rounds) if keeps is not None else None
            for name, keeps in _peers(install=not quick).items()
        }
        samples: list[float] = []
        for number, name in enumerate(names):
            samples.append(_crash(living.starts, f"{name}/0"))
            time.sleep(0.02)  # what follows a crash (events, probes) is not the next crash's
            if number % (count // rounds) == 0:
                for peer in theirs.values():
                    if peer is not None:
                        peer.crash()
    return samples, {name: peer.samples if peer is not None else [] for name, peer in theirs.items()}


def _crash(starts: Starts, name: str) -> float:
    """Kill the newest run, wait for the next. Milliseconds."""
    count = starts.count(name)
    pid, _ = starts.seen[name][-1]
    begun = time.monotonic_ns()
    os.kill(pid, signal.SIGKILL)
    return (starts.wait(name, count + 1)[1] - begun) / 1e6


def _peers(install: bool) -> dict[str, _Keeps | None]:
    """By name: what has programs kept by a peer in a directory; None where it is not there."""
    pm2 = peers.npm("pm2", "pm2", install=install)
    supervisor = peers.venv("supervisord", "supervisor", "setuptools<81", install=install)
    circus = peers.venv("circus", "circus", install=install)
    return {
        "pm2": partial(peers.pm2, pm2) if pm2 else None,
        "supervisord": partial(peers.supervisord, supervisor) if supervisor else None,
        "circus": partial(peers.circus, circus) if circus else None,
    }


class _Peer:
    """A peer that keeps some programs, and restarts each once."""

    def __init__(self, stack: ExitStack, keeps: _Keeps, place: Path, engine: Path, rounds: int) -> None:
        self.samples: list[float] = []
        self._starts = Starts(place.with_suffix(".starts"))
        names = [f"{place.name}-{number}" for number in range(rounds)]
        stack.enter_context(keeps(place, {name: [str(engine), str(self._starts.path), name] for name in names}))
        for name in names:
            self._starts.wait(name, 1)
        self._ready = time.monotonic() + 1.5  # supervisord counts a program as running after a second
        self._left = iter(names)

    def crash(self) -> None:
        """Take one more sample, if a program is left."""
        name = next(self._left, None)
        if name is not None:
            time.sleep(max(0.0, self._ready - time.monotonic()))
            self.samples.append(_crash(self._starts, name))
