"""B13: swaps on demand. Policy in virtual time beside FIFO, and what a swap costs beyond the engine's own load time.

The policy runs in the real loop and planner over a simulated card, engine and gateway. The peer is llama-swap's policy,
simulated over the same requests: in order of arrival, each swapping its model in. Our share of a swap is real: from
the moment a request waits for a model that is down, while another holds the card, to its endpoint being published, less
what the engine takes to load; with keepers, processes, probes and clocks as the daemon has them.
"""

import asyncio
import contextlib
import random
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.act.perform import perform
from reconciler.act.runtimes import Runtimes
from reconciler.loop import Loop, Outside
from reconciler.model.memory import Memory
from reconciler.model.observation import Demand, Exited, Unknown, Wish
from reconciler.model.status import Reason
from reconciler.observe import host, ports
from reconciler.observe.gather import Look
from reconciler.observe.probes import Prober
from tests.bench.ends import program
from tests.bench.living import percentile, stamp
from tests.bench.rows import Row
from tests.bench.swaps import shares, string
from tests.eventually import eventually_async
from tests.plan.world import fleet, gpu
from tests.sim.gateway import Cards, Outcome, fifo, replay

BENCH = "B13"
STRING = "abaacabc"
LOAD, SERVICE = 10.0, 1.0
"""Seconds, of the simulated engine."""
SHARE = 0.020
"""Seconds of a swap that may be ours, and 1 % of the load time."""
_MODEL = """
---
kind: Model
name: {name}
source: hf:org/{name}
engine: vllm
gpus: 1
memory: 70GiB
replicas: {{min: 0}}
"""
_SERVICE = """
---
kind: Service
name: {name}
command: ['{engine}', '{starts}', '{{name}}', '{{port}}', '{load}']
gpus: 1
memory: 70GiB
replicas: {{min: 0}}
"""


def rows(quick: bool) -> list[Row]:
    """Swaps and waits by string, then milliseconds of a swap that are ours."""
    found = [
        *_string("ABAACABC at once", _spaced(0.0)),
        *_string("ABAACABC, one a second", _spaced(1.0)),
        *_string("ABAACABC, one in half a load time", _spaced(LOAD / 2)),
        *_string("ABAACABC, one in a load time", _spaced(LOAD), judged=False),
    ]
    count = 40 if quick else 400
    for gap, models in ((0.0, 3), (2.0, 3), (5.0, 5), (10.0, 5), (20.0, 3)):
        what = f"{count} random requests for {models} models, one in {gap:g} s"
        found += _string(what, _random(7, models, count, gap), judged=gap <= LOAD / 2)
    found += _share(0.3 if quick else 2.0, 2 if quick else 15, judged=not quick)
    return [*found, *_through(0.3 if quick else 2.0, 1 if quick else 11, judged=not quick)]


def _spaced(gap: float) -> list[tuple[str, float]]:
    return [(name, 0.5 + gap * number) for number, name in enumerate(STRING)]


def _random(seed: int, models: int, count: int, gap: float) -> list[tuple[str, float]]:
    chance = random.Random(seed)
    at, found = 0.5, list[tuple[str, float]]()
    for _ in range(count):
        found.append(("abcde"[chance.randrange(models)], at))
        at += chance.expovariate(1 / gap) if gap else 0.0
    return found


def _string(what: str, requests: Sequence[tuple[str, float]], *, judged: bool = True) -> list[Row]:
    names = sorted({name for name, _ in requests})
    of = fleet("".join(_MODEL.format(name=name) for name in names))
    ours = replay(of, requests, Cards(load_time=LOAD), service=SERVICE)
    theirs = fifo(requests, load=LOAD, service=SERVICE)
    good = len(ours.loads) <= 0.6 * len(theirs.loads) and ours.cut == 0
    return [
        Row(bench=BENCH, measure=f"{what}: swaps", ours=len(ours.loads), peer=len(theirs.loads), peer_name="FIFO",
            target="<= 0.6 x" if judged else "-", good=good if judged else None),
        *_waits(what, requests, ours, theirs),
    ]  # fmt: skip


def _waits(what: str, requests: Sequence[tuple[str, float]], ours: Outcome, theirs: Outcome) -> list[Row]:
    bound = longest(requests)
    mean = statistics.mean(ours.waits)
    return [
        Row(bench=BENCH, measure=f"{what}: longest wait, s", ours=max(ours.waits), peer=max(theirs.waits),
            peer_name="FIFO", target=f"<= {bound:g}", good=max(ours.waits) <= bound),
        Row(bench=BENCH, measure=f"{what}: mean wait, s", ours=mean, peer=statistics.mean(theirs.waits),
            peer_name="FIFO", target="-", good=None),
    ]  # fmt: skip


def longest(requests: Sequence[tuple[str, float]]) -> float:
    """Seconds that nobody waits beyond: each model has one turn of patience or residence, and loads and serves."""
    names = {name for name, _ in requests}
    turn = max(30.0, 2 * LOAD) + LOAD + 2 * SERVICE
    # what cannot be served as fast as it comes waits for that too, and two thirds of the time at least are service
    span = max(at for _, at in requests) - min(at for _, at in requests)
    behind = max(0.0, SERVICE * len(requests) - span)
    return len(names) * turn + 1.5 * behind


def _share(load: float, swaps: int, *, judged: bool = True) -> list[Row]:
    engine = stamp()
    measure = "our share of a swap"
    if engine is None:
        return [Row(bench=BENCH, measure=measure, ours=0.0, peer_name="no cc", target="<= 20", good=None)]
    wall, cpu = asyncio.run(_Swapping(engine, load).measure(swaps))
    most = 1e3 * (SHARE + 0.01 * load)
    median, worst = statistics.median(wall), percentile(wall, 0.9)
    name = f"load time {load:g} s"
    return [
        Row(bench=BENCH, measure=f"{measure}, {name}, p50, ms wall", ours=median, target=f"<= {most:g}",
            good=median <= most if judged else None),
        Row(bench=BENCH, measure=f"{measure}, {name}, p90, ms wall", ours=worst, target=f"<= {most:g}",
            good=worst <= most if judged else None),
        Row(bench=BENCH, measure=f"loop, planner and runtime, {name}, ms CPU a swap", ours=statistics.median(cpu),
            target="-", good=None),
    ]  # fmt: skip


def _through(load: float, count: int, *, judged: bool) -> list[Row]:
    """The same through a real gateway and a real daemon, as clients see it."""
    if program() is None:
        return [Row(bench=BENCH, measure="through the gateway", ours=0.0, peer_name="no cc", target="-", good=None)]
    loads, wait = string(load, STRING)
    theirs = fifo(_spaced(0.0), load=load, service=0.0)
    share = shares(load, count)
    most = 1e3 * (SHARE + 0.01 * load)
    what, median = f"through gateway and daemon, load time {load:g} s", statistics.median(share)
    return [
        Row(bench=BENCH, measure=f"{what}, ABAACABC at once: swaps", ours=loads, peer=len(theirs.loads),
            peer_name="FIFO", target="<= 0.6 x", good=loads <= 0.6 * len(theirs.loads) if judged else None),
        Row(bench=BENCH, measure=f"{what}, ABAACABC at once: longest wait, s", ours=wait, peer=max(theirs.waits),
            peer_name="FIFO", target="-", good=None),
        Row(bench=BENCH, measure=f"{what}, our share, p50, ms wall", ours=median, target=f"<= {most:g}",
            good=median <= most if judged else None),
        Row(bench=BENCH, measure=f"{what}, our share, worst, ms wall", ours=max(share), target="-", good=None),
    ]  # fmt: skip


@dataclass
class _Swapping:
    """Two models that each need the whole card, and one process that does what the daemon does."""

    engine: Path
    load: float

    async def measure(self, swaps: int) -> tuple[list[float], list[float]]:
        """Milliseconds of each swap beyond the load time, and of CPU in this process."""
        wall: list[float] = []
        cpu: list[float] = []
        self.demand: Demand = {}
        async with self._living() as loop:
            await self._serves(loop, "a")
            for number in range(swaps):
                name = "ba"[number % 2]
                self.demand = {}
                loop.wake()
                await self._rested(loop)
                begun, worked = time.monotonic(), time.process_time()
                await self._serves(loop, name)
                wall.append((time.monotonic() - begun - self.load) * 1e3)
                cpu.append((time.process_time() - worked) * 1e3)
        return wall, cpu

    async def _serves(self, loop: Loop, name: str) -> None:
        """A request waits, until its model has an endpoint."""
        self.wanted, self.there = name, asyncio.Event()
        self.demand = {name: Wish(waiting=1, since=time.monotonic())}
        loop.wake()
        await asyncio.wait_for(self.there.wait(), 60)
        self.demand = {name: Wish(in_flight={f"{name}/0": 1})}
        loop.wake()

    async def _rested(self, loop: Loop) -> None:
        """Until the one that runs was of use for long enough, so that no waiting for that is measured."""
        await asyncio.sleep(max(2.5, 2 * self.load + 0.5))
        await eventually_async(lambda: not loop.memory.in_flight)

    @contextlib.asynccontextmanager
    async def _living(self) -> AsyncGenerator[Loop]:
        with tempfile.TemporaryDirectory(prefix="holdfast-bench-", ignore_cleanup_errors=True) as place:
            text = "".join(
                _SERVICE.format(name=name, engine=self.engine, starts=Path(place, "starts"), load=int(1e3 * self.load))
                for name in "ab"
            )
            of = fleet(text)

            def changed(slot: str) -> None:
                look.changed(slot)
                loop.wake()

            runtime = Runtimes(str(Path(place, "state")), on_change=changed)
            prober = Prober(clock=time.monotonic, on_change=changed)
            cards = (gpu(0),)
            look = Look(
                instances=lambda: runtime.table,
                gpus=lambda: cards,
                host=host.look,
                ports=ports.listening,
                prober=prober,
                on_ready=runtime.note_ready,
            )
            outside = Outside(
                load=lambda: (of, None),
                observe=look,
                demand=lambda: self.demand,
                perform=lambda action: perform(action, runtime, lambda name: name),
                publish=lambda summary, _: self._published(summary.status.workloads[self.wanted].endpoints),
                keep=lambda _: None,
                clock=time.monotonic,
                degraded=tuple,
            )
            loop = Loop(outside, memory=Memory())
            self.wanted, self.there = "a", asyncio.Event()
            await runtime.open()
            task = asyncio.create_task(loop.run())
            try:
                yield loop
            finally:
                task.cancel()
                await _clear(runtime)
                prober.close()
                await runtime.close()

    def _published(self, endpoints: Sequence[object]) -> None:
        if endpoints:
            self.there.set()


async def _clear(runtime: Runtimes) -> None:
    """End every engine and its keeper."""
    table = runtime.table
    for slot, instance in {} if isinstance(table, Unknown) else dict(table).items():
        run = instance.launch.run
        if not isinstance(instance.phase, Exited):
            await runtime.stop(slot, run, 0.0, Reason.StopAsked)
        await runtime.forget(slot, run)
