"""B15: fifty containers seen in one look, and all of them asked for anew; beside Docker's own client."""

import asyncio
import os
import shutil
import statistics
import subprocess
import tempfile
import time

from reconciler.act.docker.runtime import DockerRuntime
from reconciler.model.container import Container
from reconciler.model.plan import Launch, Probe
from tests.bench.rows import Row
from tests.dockerd import IMAGE, Dockerd

BENCH = "B15"
FIFTY = 50
_MOST = 100.0


def rows(quick: bool) -> list[Row]:
    """Wall time on the event loop's clock: what a pass would wait for if it waited."""
    if shutil.which("dockerd") is None:
        return [
            Row(bench=BENCH, measure="50 containers seen, ms", ours=0.0, peer_name="no dockerd", target="", good=None)
        ]
    engine = Dockerd()
    before = os.environ.get("DOCKER_HOST")
    os.environ["DOCKER_HOST"] = engine.host
    try:
        return asyncio.run(_measure(engine, 4 if quick else FIFTY, 3 if quick else 15))
    finally:
        engine.close()
        os.environ.pop("DOCKER_HOST")
        if before is not None:
            os.environ["DOCKER_HOST"] = before


async def _measure(engine: Dockerd, count: int, rounds: int) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as state:
        runtime = DockerRuntime(state, on_change=lambda _: None, on_images=lambda: None)
        await asyncio.gather(*(runtime.start(_launch(number), {}) for number in range(count)))
        looks, peers = [], []
        for _ in range(rounds):  # in turn, so that both have the same machine
            looks.append(await _timed(runtime))
            peers.append(await asyncio.to_thread(_ps, engine.host))
        running = sum(instance.phase.kind == "running" for instance in runtime.instances.values())
        await runtime.close()
        anew = []
        for _ in range(max(3, rounds // 3)):
            again = DockerRuntime(state, on_change=lambda _: None, on_images=lambda: None)
            begun = time.perf_counter()
            await again.open()
            anew.append((time.perf_counter() - begun) * 1e3)
            await again.close()
    if running != count:
        raise RuntimeError(f"{running} of {count} run")
    return [
        _row(f"{count} containers seen in one look, ms", looks, peers),
        _row(f"{count} containers taken up by a new daemon, ms", anew, []),
    ]


def _row(measure: str, ours: list[float], peers: list[float]) -> Row:
    figure = statistics.median(ours)
    peer = statistics.median(peers) if peers else None
    name = "docker ps" if peers else ""
    return Row(
        bench=BENCH,
        measure=measure,
        ours=figure,
        peer=peer,
        peer_name=name,
        target=f"<= {_MOST:g}" if peers else "",
        good=figure <= _MOST if peers else None,
    )


async def _timed(runtime: DockerRuntime) -> float:
    begun = time.perf_counter()
    await runtime.look()
    return (time.perf_counter() - begun) * 1e3


def _ps(host: str) -> float:
    begun = time.perf_counter()
    subprocess.run(["docker", "-H", host, "ps", "--all", "--no-trunc"], check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - begun) * 1e3


def _launch(number: int) -> Launch:
    return Launch(
        slot=f"m{number}/0",
        run=1,
        source="",
        engine="command",
        argv=("sleep", "100000"),
        container=Container(image=IMAGE, shm=1 << 20),
        probe=Probe(path=None, interval=5.0, timeout=3.0, failures=3, start=300.0),
        fingerprint="",
        live="",
        settings="",
    )
