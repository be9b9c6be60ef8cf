"""B1: CPU of a request that is not streamed, through our gateway with all that it does on, and through its peers.

64 clients ask two engines again and again. Clients and engines are one process on one core; what is between them has
another. Passes are interleaved. CPU is that of all processes and threads of the subject, the kernel's part included.
"""

import contextlib
import functools
from dataclasses import dataclass, field

from tests.bench.ends import Load, cpu, ends, free, program, requests
from tests.bench.proxies import Words, haproxy, litellm, nginx, ours, proxy, sglang_router, vllm_router
from tests.bench.rows import Row, compared

BENCH = "B1"
CLIENTS = 64
PEERS = {"nginx": 2.0, "vllm-router": 0.75, "LiteLLM": 0.005}
"""How many times theirs ours may be."""


@dataclass(slots=True)
class Passes:
    """What was measured of one subject."""

    micros: list[float] = field(default_factory=list[float])
    """CPU µs a request."""
    rates: list[float] = field(default_factory=list[float])
    """Requests a second."""
    failed: int = 0


def subjects(quick: bool) -> dict[str, Words]:
    """All there is to measure; nothing is installed for a quick look."""
    return {
        "ours": ours,
        "nginx": nginx,
        "HAProxy": haproxy,
        "vllm-router": functools.partial(vllm_router, install=not quick),
        "sglang-router": functools.partial(sglang_router, install=not quick),
        **({} if quick else {"LiteLLM": litellm}),
    }


def rows(quick: bool) -> list[Row]:
    """Microseconds by peer, then how many requests a core serves."""
    if program() is None:
        return [Row(bench=BENCH, measure="CPU of a request", ours=0.0, peer_name="no cc", target="-", good=None)]
    found = {name: Passes() for name in subjects(quick)}
    with contextlib.ExitStack() as stack:
        both, asked = stack.enter_context(ends(free(2))), stack.enter_context(requests())
        running = [
            one
            for name, words in subjects(quick).items()
            if (one := stack.enter_context(proxy(name, words, both.ports))) is not None
        ]
        for _ in range(1 if quick else 5):
            for one in running:
                both.ready(asked.plain, one.port, CLIENTS, seconds_ms=300 if quick else 2000, warm=CLIENTS * 5, spin=1)
                spent = cpu(one.pid)
                both.begin()
                _note(found[one.name], both.end(), cpu(one.pid) - spent)
    return _rows(found, judged=not quick)


def _note(of: Passes, load: Load, spent: float) -> None:
    of.micros.append(1e6 * spent / load.requests)
    of.rates.append(load.requests / load.seconds)
    of.failed += load.before + load.after + load.status


def _rows(found: dict[str, Passes], *, judged: bool) -> list[Row]:
    mine = found.pop("ours")
    made: list[Row] = []
    for name, theirs in found.items():
        made.append(compared(f"{CLIENTS} clients, µs CPU a request", mine.micros, theirs.micros, name, bench=BENCH,
                             most=PEERS.get(name), judged=judged))  # fmt: skip
    made.append(compared("requests a second, one core", mine.rates, found["nginx"].rates, "nginx", bench=BENCH))
    made.append(Row(bench=BENCH, measure="requests that failed", ours=mine.failed, target="0", good=mine.failed == 0))
    return made
