"""B3: server-sent events through our gateway: CPU of an event, time to the first byte, and each as it was sent.

A hundred streams of a hundred events a second, each event carrying the time of its sending; then a thousand streams at
once beside ten thousand connections that only are there, and what one worker holds for them.
"""

import contextlib
import functools
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.bench.ends import Ends, cpu, ends, free, program, requests, resident
from tests.bench.proxies import Proxy, Words, haproxy, litellm, nginx, ours, proxy, vllm_router
from tests.bench.rows import Row, compared

BENCH = "B3"
STREAMS = 100
EVERY = 10_000
"""Microseconds between two events of a stream."""


@dataclass(slots=True)
class Passes:
    """What was measured of one subject."""

    micros: list[float] = field(default_factory=list[float])
    """CPU µs an event."""
    lag: list[float] = field(default_factory=list[float])
    """µs from sending to coming, at 99 of 100."""
    first: list[float] = field(default_factory=list[float])
    """µs added to the first byte."""
    merged: int = 0
    """Events that came together with another of their stream: at this pace engines' own may, on a busy machine."""
    cut: int = 0


def subjects(quick: bool) -> dict[str, Words]:
    """All there is to measure; nothing is installed for a quick look."""
    peers: dict[str, Words] = {"ours": ours, "nginx": nginx, "HAProxy": haproxy}
    routers: dict[str, Words] = {"vllm-router": functools.partial(vllm_router, install=not quick), "LiteLLM": litellm}
    return peers if quick else {**peers, **routers}


def rows(quick: bool) -> list[Row]:
    """Microseconds by peer, then counts, then MiB."""
    if program() is None:
        return [Row(bench=BENCH, measure="CPU of an event", ours=0.0, peer_name="no cc", target="-", good=None)]
    found = {name: Passes() for name in subjects(quick)}
    with contextlib.ExitStack() as stack:
        both, asked = stack.enter_context(ends(free(2))), stack.enter_context(requests())
        client = stack.enter_context(ends())
        running = [
            one
            for name, words in subjects(quick).items()
            if (one := stack.enter_context(proxy(name, words, both.ports))) is not None
        ]
        for _ in range(1 if quick else 5):
            for one in running:
                _flow(found[one.name], both, one, asked.stream, 500 if quick else 3000)
            for name, first in _first(both, client, running, asked.stream, 20 if quick else 200).items():
                found[name].first.append(first)
    crowd = [_crowd(name, words, quick) for name, words in (("ours", ours), ("nginx", nginx))]
    return [*_rows(found, judged=not quick), *_crowd_rows(crowd[0], crowd[1], quick)]


def _flow(of: Passes, both: Ends, one: Proxy, request: Path, milliseconds: int) -> None:
    """Streams that go on and on."""
    streams = 10 if one.name == "LiteLLM" else STREAMS  # more is more than it does in time
    both.set(events=100, every=EVERY, spread=1)
    both.ready(request, one.port, streams, seconds_ms=milliseconds, warm=streams // 2)
    spent = cpu(one.pid)
    both.begin()
    load = both.end()
    of.micros.append(1e6 * (cpu(one.pid) - spent) / load.events)
    of.lag.append(load.lag[2])
    of.merged += load.merged
    of.cut += load.before + load.after + load.status


def _first(engine: Ends, client: Ends, running: list[Proxy], request: Path, count: int) -> dict[str, float]:
    """One short stream after another, with and without what is between: µs more."""
    engine.set(events=3, every=1000, spread=0)
    ports = {"": engine.ports[0], **{one.name: one.port for one in running}}
    found = {name: client.load(request, port, 1, count=count, warm=5).first[0] for name, port in ports.items()}
    bare = found.pop("")
    return {name: first - bare for name, first in found.items()}


def _rows(found: dict[str, Passes], *, judged: bool) -> list[Row]:
    mine = found.pop("ours")
    made: list[Row] = []
    for name, theirs in found.items():
        most = 1.5 if name == "nginx" else None
        made.append(compared(f"{STREAMS} streams, µs CPU an event", mine.micros, theirs.micros, name, bench=BENCH,
                             most=most, judged=judged))  # fmt: skip
    for name, theirs in found.items():
        row = compared("µs added to the first byte", mine.first, theirs.first, name, bench=BENCH)
        good = bool(mine.first) and row.ours <= 500 if judged else None
        made.append(replace(row, target="<= 500", good=good))
    for name, theirs in found.items():
        made.append(compared("µs that an event is under way, p99", mine.lag, theirs.lag, name, bench=BENCH))
    whole = found["nginx"]
    made.append(Row(bench=BENCH, measure="events that came with another, 10 ms apart", ours=mine.merged,
                    peer=whole.merged, peer_name="nginx", target="-", good=None))  # fmt: skip
    made.append(Row(bench=BENCH, measure="streams that were cut", ours=mine.cut, target="0", good=mine.cut == 0))
    return made


# -- many at once


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """One worker with many."""

    idle: int
    """Connections still there at the end."""
    mebibytes: float
    streams: int
    """That ended whole."""
    lost: int
    micros: float
    """CPU an event."""
    merged: int
    """Events that came together with another of their stream, though a tenth of a second apart."""
    lag: float
    """µs at 99 of 100 events."""


def _crowd(name: str, words: Words, quick: bool) -> Crowd | None:
    idle, streams = (500, 100) if quick else (10_000, 1_000)
    with contextlib.ExitStack() as stack:
        both, asked = stack.enter_context(ends(free(2))), stack.enter_context(requests())
        crowd = stack.enter_context(ends())
        one = stack.enter_context(proxy(name, words, both.ports))
        if one is None:
            return None
        crowd.say(f"idle  target={one.port} connections={idle}")
        both.set(events=20 if quick else 50, every=100_000, spread=1)
        both.ready(asked.stream, one.port, streams, seconds_ms=1000 if quick else 10_000, warm=streams // 10)
        spent = cpu(one.pid)
        both.begin()
        held = resident(one.pid)
        load = both.end()
        took = 1e6 * (cpu(one.pid) - spent) / max(1, load.events)
        held = max(held, resident(one.pid))
        there = int(crowd.say("drop"))
        return Crowd(idle=there, mebibytes=held, streams=load.requests, micros=took, lag=load.lag[2],
                     merged=load.merged, lost=load.before + load.after + load.status + load.refused)  # fmt: skip


def _crowd_rows(mine: Crowd | None, theirs: Crowd | None, quick: bool) -> list[Row]:
    idle, streams = (500, 100) if quick else (10_000, 1_000)
    what = f"{streams:,} streams beside {idle:,} idle connections"
    if mine is None:
        return [Row(bench=BENCH, measure=what, ours=0.0, peer_name="ours does not run", target="-", good=False)]
    name = "nginx missing" if theirs is None else "nginx"
    return [
        Row(bench=BENCH, measure=f"{what}, MiB", ours=mine.mebibytes, peer=theirs and theirs.mebibytes, peer_name=name,
            target="<= 300", good=mine.mebibytes <= 300),
        Row(bench=BENCH, measure=f"{what}, µs CPU an event", ours=mine.micros, peer=theirs and theirs.micros,
            peer_name=name, target="-", good=None),
        Row(bench=BENCH, measure=f"{what}, µs under way, p99", ours=mine.lag, peer=theirs and theirs.lag,
            peer_name=name, target="-", good=None),
        Row(bench=BENCH, measure=f"{what}, events that came with another", ours=mine.merged,
            peer=theirs and theirs.merged, peer_name=name, target="0", good=None if quick else mine.merged == 0),
        Row(bench=BENCH, measure=f"{what}, lost of either", ours=mine.lost + idle - mine.idle, target="0",
            good=mine.lost + idle == mine.idle),
    ]  # fmt: skip
