"""B4: one of four engines is killed under load: which requests fail, and how long it is felt. Beside HAProxy.

32 clients ask engines that answer after 20 ms. Felt is what failed, or took half as long again as an engine does.
"""

import contextlib
import time
from dataclasses import replace

from tests.bench.ends import Ends, ends, free, program, requests
from tests.bench.proxies import Words, haproxy, nginx, ours, proxy
from tests.bench.rows import Row, compared

BENCH = "B4"
CLIENTS = 32
TAKES = 20_000
"""µs an engine takes."""
QUIET = 100_000_000
"""Nanoseconds without any that felt it, after which it is over; what is slow later is counted, as it may be of it."""
SUBJECTS: dict[str, Words] = {"ours": ours, "HAProxy": haproxy, "nginx": nginx}


def rows(quick: bool) -> list[Row]:
    """Requests that failed, of all passes; then milliseconds from the kill to the last that felt it."""
    if program() is None:
        return [Row(bench=BENCH, measure="requests that failed", ours=0.0, peer_name="no cc", target="-", good=None)]
    failed: dict[str, list[float]] = {name: [] for name in SUBJECTS}
    felt: dict[str, list[float]] = {name: [] for name in SUBJECTS}
    later: dict[str, list[float]] = {name: [] for name in SUBJECTS}
    for _ in range(1 if quick else 5):
        for name, words in SUBJECTS.items():
            found = _kill(name, words, 300 if quick else 1000)
            if found is not None:
                failed[name].append(found[0])
                felt[name].append(found[1])
                later[name].append(found[2])
    made: list[Row] = []
    for name in ("HAProxy", "nginx"):
        mine, theirs = ([sum(failed[who])] if failed[who] else [] for who in ("ours", name))
        what = f"one of four engines killed {len(failed[name])} times, requests that failed"
        row = compared(what, mine, theirs, name, bench=BENCH)
        made.append(replace(row, target="0", good=bool(mine) and row.ours == 0))
    for name, most in (("HAProxy", 1.0), ("nginx", None)):
        made.append(compared("ms until nobody feels it", felt["ours"], felt[name], name, bench=BENCH, most=most,
                             judged=not quick))  # fmt: skip
        made.append(compared("slow requests after that", later["ours"], later[name], name, bench=BENCH))
    return made


def _kill(name: str, words: Words, before: int) -> tuple[float, float, float] | None:
    """Requests that failed, for how many ms it was felt, and slow requests after that.

    Milliseconds `before` and after the kill are measured.
    """
    with contextlib.ExitStack() as stack:
        engines: list[Ends] = [stack.enter_context(ends(free(1))) for _ in range(4)]
        for one in engines:
            one.set(delay=TAKES)
        client, asked = stack.enter_context(ends()), stack.enter_context(requests())
        between = stack.enter_context(proxy(name, words, [one.ports[0] for one in engines]))
        if between is None:
            return None
        client.ready(asked.plain, between.port, CLIENTS, seconds_ms=4 * before, warm=CLIENTS, slow=3 * TAKES // 2)
        client.begin()
        _until(time.monotonic() + before / 1e3)
        killed = time.monotonic_ns()
        engines[1].process.kill()
        load = client.end()
        slow, last = sorted(when for when, _, _ in load.outliers if when > killed), killed
        for when in slow:
            if when - last > QUIET:
                break
            last = when
        lost = load.before + load.after + load.status + load.refused
        return lost, (last - killed) / 1e6, sum(when > last for when in slow)


def _until(end: float) -> None:
    while (left := end - time.monotonic()) > 0:
        time.sleep(left)
