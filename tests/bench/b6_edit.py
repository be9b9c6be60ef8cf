"""B6: one YAML edit in a fleet of a thousand running services → engine executed, beside a script on watchfiles."""

import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.bench import peers
from tests.bench.living import Daemon, Starts, daemon, percentile, stamp
from tests.bench.rows import Row

BENCH = "B6"
REST = 0.03
"""Seconds between two edits: what follows a start is not the next edit's."""


def rows(quick: bool) -> list[Row]:
    """Milliseconds from just before the edited file is renamed into place."""
    engine = stamp()
    size, rounds = (50, 4) if quick else (1000, 60)
    if engine is None:
        return [Row(bench=BENCH, measure="edit to exec", ours=0.0, peer_name="no cc", target="<= 10", good=None)]
    with ExitStack() as stack:
        living = stack.enter_context(daemon())
        names = [f"service-{number:04}" for number in range(size)]
        for name in names:
            living.write(name, living.service(name, engine))
        living.start()
        living.ready(names, within=300)
        added: list[float] = []
        changed: list[float] = []
        theirs: list[float] = []
        peer = _Peer(stack, engine) if (binaries := peers.venv("watchfiles", "watchfiles", install=not quick)) else None
        if peer is not None and binaries is not None:
            peer.start(stack, binaries)
        for number in range(rounds):
            one, other = names[2 * number % size], names[(2 * number + 1) % size]
            added.append(_edit(living, one, living.service(one, engine, replicas=2), f"{one}/1"))
            changed.append(_edit(living, other, living.service(other, engine, env="new"), f"{other}/0"))
            if peer is not None and number % (rounds // min(rounds, 10)) == 0:
                theirs.append(peer.edit())
    return [
        *_rows(f"replicas 1 to 2 in {size} files to exec", added, theirs),
        *_rows(f"env changed in {size} files to stop, then exec", changed, theirs),
    ]


def _rows(what: str, samples: list[float], theirs: list[float]) -> list[Row]:
    name = "watchfiles + Popen (docker compose: needs a docker engine)" if theirs else "watchfiles: not installed"
    parts = (("p50", 10.0, statistics.median(samples)), ("p99", 25.0, percentile(samples, 0.99)))
    return [
        Row(
            bench=BENCH,
            measure=f"{what}, {part}, ms",
            ours=ours,
            peer=None if not theirs else statistics.median(theirs) if part == "p50" else max(theirs),
            peer_name=name,
            target=f"<= {limit:g}",
            good=ours <= limit,
        )
        for part, limit, ours in parts
    ]


def _edit(living: Daemon, name: str, text: str, slot: str) -> float:
    count = living.starts.count(slot)
    begun = living.write(name, text)
    when = living.starts.wait(slot, count + 1)[1]
    time.sleep(REST)
    return (when - begun) / 1e6


class _Peer:
    """A script that watches a directory with the defaults of watchfiles, and runs the same engine at each change."""

    def __init__(self, stack: ExitStack, engine: Path) -> None:
        self._place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-bench-")))
        self._fleet = self._place / "fleet"
        self._fleet.mkdir()
        self._starts = Starts(self._place / "starts")
        self._command = [str(engine), str(self._starts.path)]
        self._edits = 0

    def start(self, stack: ExitStack, binaries: Path) -> None:
        """Start it, and wait until it watches."""
        stack.enter_context(peers.watchfiles(binaries, self._fleet, self._command))
        end = time.monotonic() + 30
        while not self._starts.count("peer0/0"):
            if time.monotonic() > end:
                raise TimeoutError("watchfiles does not watch")
            (self._fleet / "first.yaml").write_text("first")
            time.sleep(0.5)
        time.sleep(2.0)
        self._starts.read()
        self._edits = len(self._starts.seen)

    def edit(self) -> float:
        """Milliseconds of one edit."""
        (self._fleet / ".new").write_text("x")
        time.sleep(1.0)
        self._starts.read()
        self._edits = len(self._starts.seen)
        begun = time.monotonic_ns()
        (self._fleet / ".new").rename(self._fleet / f"edit{self._edits}.yaml")
        when = self._starts.wait(f"peer{self._edits}/0", 1)[1]
        time.sleep(0.3)
        return (when - begun) / 1e6
