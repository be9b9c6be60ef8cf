"""B2: what our gateway adds to the latency of a request at one connection, beside what nginx adds.

Client and engine are processes of their own on one core, so that both ways are the same but for what is between them.
"""

import contextlib

from tests.bench.ends import ends, free, program, requests
from tests.bench.proxies import haproxy, nginx, ours, proxy
from tests.bench.rows import Row, compared

BENCH = "B2"
SUBJECTS = {"ours": ours, "nginx": nginx, "HAProxy": haproxy}


def rows(quick: bool) -> list[Row]:
    """Microseconds added, at 50 and at 99 of 100 requests."""
    if program() is None:
        return [Row(bench=BENCH, measure="latency added", ours=0.0, peer_name="no cc", target="-", good=None)]
    half: dict[str, list[float]] = {name: [] for name in SUBJECTS}
    most: dict[str, list[float]] = {name: [] for name in SUBJECTS}
    with contextlib.ExitStack() as stack:
        engine = stack.enter_context(ends(free(1)))
        client, asked = stack.enter_context(ends()), stack.enter_context(requests())
        started = [stack.enter_context(proxy(name, words, engine.ports)) for name, words in SUBJECTS.items()]
        running = [one for one in started if one is not None]
        for _ in range(1 if quick else 9):
            count = 300 if quick else 3000
            bare = client.load(asked.plain, engine.ports[0], 1, count=count, warm=100).latency
            for one in running:
                through = client.load(asked.plain, one.port, 1, count=count, warm=100).latency
                half[one.name].append(through[0] - bare[0])
                most[one.name].append(through[2] - bare[2])
    return [
        compared(f"one connection, µs added, {part}", samples["ours"], samples[name], name, bench=BENCH, most=bound,
                 judged=not quick)
        for name, medium, worst in (("nginx", 1.25, 1.5), ("HAProxy", None, None))
        for part, samples, bound in (("p50", half, medium), ("p99", most, worst))
    ]  # fmt: skip
