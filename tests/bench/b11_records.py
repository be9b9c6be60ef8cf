"""B11: durable records in a hash chain, beside rows of SQLite (WAL, synchronous FULL) and beside what the disk takes.

One at a time as an act of a person is recorded, and a hundred at a time as requests are. Passes are interleaved.
"""

import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from reconciler.chain import Chain
from tests.bench.living import OUT
from tests.bench.rows import Row, compared

BENCH = "B11"
BATCH = 100


def record(number: int) -> dict[str, object]:
    """As one of an act."""
    return {"user": "alice", "uid": 1000, "pid": 4711, "verb": "restart", "subject": f"chat/{number}"}


def rows(quick: bool) -> list[Row]:
    """Microseconds of one that is on disk, and how many a second in batches."""
    passes, count = (1, 20) if quick else (7, 300)
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="b11-", dir=OUT) as place:
        chain = Chain(str(Path(place, "chain")))
        base = sqlite3.connect(Path(place, "sqlite"), isolation_level=None)
        base.execute("pragma journal_mode = wal")
        base.execute("pragma synchronous = full")
        base.execute("create table records (number integer primary key, text text)")
        file = os.open(Path(place, "file"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)

        def rows_of(count: int) -> None:
            base.execute("begin")
            base.executemany("insert into records (text) values (?)", [(repr(record(n)),) for n in range(count)])
            base.execute("commit")

        def bare(count: int) -> None:
            os.write(file, b"".join(b"%b %064d\n" % (repr(record(n)).encode(), n) for n in range(count)))
            os.fdatasync(file)

        ways: dict[str, Callable[[int], object]] = {
            "ours": lambda count: chain.append([record(n) for n in range(count)]),
            "SQLite": rows_of,
            "fdatasync": bare,
        }
        one: dict[str, list[float]] = {name: [] for name in ways}
        many: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(passes):
            for name, way in ways.items():
                one[name].append(1e6 * _median(way, 1, count))
                many[name].append(BATCH / _median(way, BATCH, count // 4))
        chain.close()
        base.close()
        os.close(file)
    single = [compared("one record, µs until it is on disk", one["ours"], one[name], name, bench=BENCH, most=most,
                       judged=not quick) for name, most in (("fdatasync", 1.2), ("SQLite", None))]  # fmt: skip
    batches = compared(f"records a second, {BATCH} at a time", many["ours"], many["SQLite"], "SQLite", bench=BENCH)
    good = batches.peer is not None and batches.ours >= 0.8 * batches.peer
    return [*single, replace(batches, target=">= 0.8 x", good=None if quick else good)]


def _median(way: Callable[[int], object], size: int, count: int) -> float:
    """Seconds of one call."""
    taken: list[float] = []
    for _ in range(count):
        begun = time.perf_counter()
        way(size)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)
