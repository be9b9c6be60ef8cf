"""B10: ten replicas up, a start through a slot's own keeper, adoption; beside bare subprocesses and Ray's actors."""

import asyncio
import json
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from reconciler.act.link import Link, connect
from reconciler.act.process import ProcessRuntime
from reconciler.model.observation import Exited
from reconciler.model.plan import Launch, Probe
from reconciler.model.status import Reason
from tests.bench import peers
from tests.bench.living import Starts, percentile, stamp
from tests.bench.rows import Row
from tests.eventually import eventually, eventually_async

BENCH = "B10"
TEN = 10
_RAY = """
import json, time, ray
ray.init(num_cpus=10, include_dashboard=False, log_to_driver=False)
@ray.remote
class Engine:
    def up(self): return 1
seconds, calls = [], []
for _ in range(3):
    begun = time.monotonic()
    engines = [Engine.remote() for _ in range(10)]
    ray.get([engine.up.remote() for engine in engines])
    seconds.append(time.monotonic() - begun)
    for _ in range(200):
        begun = time.monotonic()
        ray.get(engines[0].up.remote())
        calls.append(time.monotonic() - begun)
    for engine in engines:
        ray.kill(engine)
print(json.dumps([sorted(seconds)[1] * 1e3, sorted(calls)[len(calls) // 2] * 1e6]))
"""


def rows(quick: bool) -> list[Row]:
    """Everything is measured from the order to the first instruction of the engine, by the engine's own stamp."""
    engine = stamp()
    if engine is None:
        return [Row(bench=BENCH, measure="ten replicas up", ours=0.0, peer_name="no cc", target="<= 30", good=None)]
    found = asyncio.run(_Measure(engine).all(passes=2 if quick else 7, restarts=20 if quick else 300))
    ray = _ray(install=not quick)
    up = statistics.median(found["up"])
    call = statistics.median(found["call"])
    bare = statistics.median(found["bare"])
    return [
        _row("ten replicas up, ms", up, 30, peer=bare, name="subprocess.Popen"),
        _beside_ray("ten replicas up, ms", up, ray[0] if ray else None),
        _beside_ray("a control call, us", call, ray[1] if ray else None),
        _row("order to exec, new keeper, p50, ms", statistics.median(found["new"]), 3),
        _row("order to exec, slot's keeper, p50, ms", statistics.median(found["again"]), 1.5),
        _row("order to exec, slot's keeper, p99, ms", percentile(found["again"], 0.99), 10),
        _row("exit to order to exec, runtime only, p50, ms", statistics.median(found["restart"]), 3),
        _row("50 instances adopted, ms", statistics.median(found["adopt"]), 300),
        _row("a keeper's private memory, KiB", max(found["memory"]), 4096),
    ]


def _row(measure: str, ours: float, most: float, *, peer: float | None = None, name: str = "") -> Row:
    return Row(
        bench=BENCH, measure=measure, ours=ours, peer=peer, peer_name=name, target=f"<= {most:g}", good=ours <= most
    )


def _beside_ray(measure: str, ours: float, peer: float | None) -> Row:
    return Row(
        bench=BENCH,
        measure=measure,
        ours=ours,
        peer=peer,
        peer_name="ray" if peer is not None else "ray: not installed",
        target="< peer",
        good=ours < peer if peer is not None else None,
    )


def _ray(*, install: bool) -> list[float] | None:
    """Milliseconds for ten actors and microseconds for a call; None where Ray cannot be had."""
    binaries = peers.venv("ray", "ray>=2.54", install=install)
    if binaries is None:
        return None
    try:
        done = subprocess.run(
            [binaries / "python", "-c", _RAY], check=True, capture_output=True, timeout=180, stdin=subprocess.DEVNULL
        )
    except (subprocess.SubprocessError, OSError):
        return None
    return json.loads(done.stdout.splitlines()[-1])


class _Measure:
    """Our figures, and those of bare subprocesses by turns with them."""

    def __init__(self, engine: Path) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="holdfast-bench-"))
        self.engine = engine
        self.starts = Starts(self.place / "starts")
        self.ended: dict[str, float] = {}

    async def all(self, *, passes: int, restarts: int) -> dict[str, list[float]]:
        """Samples by name."""
        found: dict[str, list[float]] = {key: [] for key in ("up", "bare", "call", "new", "again", "restart", "memory")}
        try:
            for number in range(passes):
                found["up"].append(await self._ten(number))
                found["bare"].append(self._bare(number))
            await self._one(found, restarts)
            found["adopt"] = await self._adopt(50)
        finally:
            shutil.rmtree(self.place, ignore_errors=True)
        return found

    def _launch(self, slot: str, run: int) -> Launch:
        return Launch(
            slot=slot,
            run=run,
            source="bench.yaml",
            engine="command",
            argv=(str(self.engine), str(self.starts.path), slot),
            probe=Probe(path=None, interval=5, timeout=3, failures=3, start=300),
            fingerprint="f",
            live="l",
            settings="{}",
        )

    def _runtime(self) -> ProcessRuntime:
        runtime: ProcessRuntime

        def changed(slot: str) -> None:
            instance = runtime.instances.get(slot)
            if instance is not None and isinstance(instance.phase, Exited):
                self.ended[slot] = time.monotonic()

        runtime = ProcessRuntime(str(self.place / "state"), on_change=changed)
        return runtime

    async def _ten(self, number: int) -> float:
        """Milliseconds until ten slots that nobody knew have been executed."""
        runtime = self._runtime()
        await runtime.open()
        await runtime.start(self._launch(f"warm{number}/0", 1), {})  # the forkserver is there when a fleet comes up
        names = [f"up{number}/{index}" for index in range(TEN)]
        begun = time.monotonic_ns()
        await asyncio.gather(*(runtime.start(self._launch(name, 1), {}) for name in names))
        last = max(self.starts.wait(name, 1)[1] for name in names)
        await self._clear(runtime)
        return (last - begun) / 1e6

    def _bare(self, number: int) -> float:
        names = [f"bare{number}/{index}" for index in range(TEN)]
        begun = time.monotonic_ns()
        children = [subprocess.Popen([self.engine, self.starts.path, name], start_new_session=True) for name in names]
        last = max(self.starts.wait(name, 1)[1] for name in names)
        for child in children:
            child.kill()
            child.wait()
        return (last - begun) / 1e6

    async def _one(self, found: dict[str, list[float]], restarts: int) -> None:
        """One order at a time: through a new keeper, and through the one that is there."""
        runtime = self._runtime()
        await runtime.open()
        await runtime.start(self._launch("warm/0", 1), {})
        for number in range(restarts // 5):
            found["new"].append(await self._order(runtime, f"new{number}/0", 1))
        name = "again/0"
        await self._order(runtime, name, 1)
        for run in range(2, restarts + 2):
            pid = self.starts.seen[name][-1][0]
            begun = time.monotonic()
            subprocess.run(["kill", "-9", str(pid)], check=True)
            await eventually_async(lambda since=begun: self.ended.get(name, 0.0) > since)
            found["again"].append(await self._order(runtime, name, run))
        found["restart"] = await self._crashes(runtime, restarts)
        found["memory"].append(self._private("again.0"))
        await self._calls(found["call"])
        await self._clear(runtime)

    async def _order(self, runtime: ProcessRuntime, name: str, run: int) -> float:
        begun = time.monotonic_ns()
        await runtime.start(self._launch(name, run), {})
        return (self.starts.wait(name, run)[1] - begun) / 1e6

    async def _crashes(self, runtime: ProcessRuntime, count: int) -> list[float]:
        """From the end that the runtime tells to the next run's first instruction, ordered in the same turn."""
        samples: list[float] = []
        name = "crash/0"
        await self._order(runtime, name, 1)
        for run in range(2, count + 2):
            before = self.ended.get(name, 0.0)
            subprocess.run(["kill", "-9", str(self.starts.seen[name][-1][0])], check=True)
            while self.ended.get(name, 0.0) == before:
                await asyncio.sleep(0)
            await runtime.start(self._launch(name, run), {})
            samples.append(self.starts.wait(name, run)[1] / 1e6 - self.ended[name] * 1e3)
        return samples

    async def _calls(self, samples: list[float]) -> None:
        link = Link(
            connect(str(self.place / "state" / "slots" / "again.0")), on_state=lambda _: None, on_gone=lambda _: None
        )
        for _ in range(500):
            begun = time.monotonic_ns()
            await link.ask("hello", within=10)
            samples.append((time.monotonic_ns() - begun) / 1e3)
        link.close()

    async def _adopt(self, count: int) -> list[float]:
        runtime = self._runtime()
        await runtime.open()
        await asyncio.gather(*(runtime.start(self._launch(f"fifty/{index}", 1), {}) for index in range(count)))
        samples: list[float] = []
        for _ in range(5):
            await runtime.close()
            runtime = self._runtime()
            begun = time.monotonic_ns()
            await runtime.open()
            samples.append((time.monotonic_ns() - begun) / 1e6)
            if len(runtime.instances) != count:
                raise RuntimeError(f"adopted {len(runtime.instances)} of {count}")
        await self._clear(runtime)
        return samples

    def _private(self, folder: str) -> float:
        """KiB that only this keeper holds."""
        at = str(self.place / "state" / "slots" / folder)
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if str((path / "cwd").readlink()) == at:
                    lines = (path / "smaps_rollup").read_text().splitlines()
                    return float(sum(int(line.split()[1]) for line in lines if line.startswith("Private_")))
            except OSError:
                continue
        raise RuntimeError(f"no keeper at {at}")

    async def _clear(self, runtime: ProcessRuntime) -> None:
        slots = {slot: instance.launch.run for slot, instance in runtime.instances.items()}
        await asyncio.gather(*(runtime.stop(slot, run, 0.0, Reason.StopAsked) for slot, run in slots.items()))
        await asyncio.gather(*(runtime.forget(slot, run) for slot, run in slots.items()))
        await runtime.close()
        eventually(lambda: not runtime.instances)
