"""B7: what doing nothing costs: a pass over a settled fleet, the daemon at rest, the command line's first word."""

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from reconciler.loop import Loop, Outside
from reconciler.model.fleet import Fleet
from reconciler.model.memory import Memory
from reconciler.model.observation import Instance, Observation, Ready, Running, healthy_of
from reconciler.model.plan import Action, Start
from reconciler.observe import host, ports
from reconciler.plan.planner import plan
from reconciler.spec.load import Loader
from tests.bench import peers
from tests.bench.living import ROOT, Starts, daemon, percentile, stamp
from tests.bench.rows import Row

BENCH = "B7"


def rows(quick: bool) -> list[Row]:
    """A pass in this process; the daemon at rest by what the kernel counted of it; verbs by the clock."""
    size = 100 if quick else 1000
    hinted, full = asyncio.run(_passes(size, 20 if quick else 200))
    peer, peer_name = _supervisorctl(5 if quick else 50, quick=quick)
    result = [
        _row("a pass with nothing to do, us CPU an object", hinted, 10.0, peer=peer, peer_name=peer_name),
        _row("the same, after a look at every file, us CPU an object", full, 10.0, peer=peer, peer_name=peer_name),
        *_at_rest(50, 3.0 if quick else 30.0, probed=True),
    ]
    if not quick:
        result += _at_rest(1000, 30.0, probed=False)
    return [*result, _verb("--help", ROOT, 150.0, 3 if quick else 10)]


def _row(measure: str, ours: float, most: float, *, peer: float | None = None, peer_name: str = "") -> Row:
    good = ours <= most
    return Row(
        bench=BENCH, measure=measure, ours=ours, peer=peer, peer_name=peer_name, target=f"<= {most:g}", good=good
    )


async def _passes(size: int, rounds: int) -> tuple[float, float]:
    """Microseconds of CPU for each object of a pass with nothing to do: with nothing touched, and looking anew."""
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as root:
        for number in range(size):
            Path(root, f"model-{number:04}.yaml").write_text(
                f"kind: Model\nname: model-{number:04}\nsource: file:/models/{number}.gguf\nengine: llamacpp\n"
                f"gpus: 0\ncontext: 4096\nparallel: 2\naliases: [alias-{number}]\n"
            )
        loader = Loader(root, clock=time.monotonic)
        instances = _settled(loader.load().fleet)
        healthy = healthy_of(instances)

        def observe() -> Observation:
            # what is read anew in each pass of the daemon is read anew here
            return Observation(host=host.look(), instances=instances, ports=ports.listening(), healthy=healthy)

        def load() -> tuple[Fleet, float | None]:
            loaded = loader.load()
            return loaded.fleet, loaded.look_again_at

        loop = Loop(
            Outside(
                load=load,
                observe=observe,
                demand=dict,
                perform=_nothing_to_do,
                publish=lambda _, __: None,
                keep=lambda _: None,
                clock=time.monotonic,
                degraded=tuple,
            ),
            memory=Memory(),
        )
        idle = await _median(loop, rounds, lambda: None)
        full = await _median(loop, max(5, rounds // 10), lambda: loader.touch(None))
        if loop.plan.actions or loop.plan.blocked:
            raise AssertionError(f"there was something to do: {loop.plan}")
        return idle / size, full / size


async def _median(loop: Loop, rounds: int, before: Callable[[], None]) -> float:
    """Microseconds of CPU of a pass and of publishing it."""
    taken: list[float] = []
    for _ in range(rounds):
        before()
        begun = time.process_time_ns()
        loop.look()
        await asyncio.sleep(0)
        taken.append((time.process_time_ns() - begun) / 1000)
    return statistics.median(taken)


async def _nothing_to_do(action: Action) -> None:
    raise AssertionError(f"there was something to do: {action}")


def _settled(fleet: Fleet) -> dict[str, Instance]:
    """An instance, ready, for everything that is wanted."""
    machine = host.look()
    decided = plan(fleet, Observation(host=_with_llama(machine)), {}, Memory(), now=0.0)
    starts = [action for action in decided.actions if isinstance(action, Start)]
    if len(starts) != len(fleet.workloads):
        raise AssertionError(f"only {len(starts)} of {len(fleet.workloads)} would start: {decided.blocked[:3]}")
    return {
        start.slot: Instance(
            slot=start.slot,
            launch=start.launch,
            phase=Running(pid=number, since=0.0, readiness=Ready(since=1.0), was_ready=True),
        )
        for number, start in enumerate(starts, start=1_000_000)
    }


def _with_llama(machine: host.Host) -> host.Host:
    return host.Host(
        name=machine.name,
        cpus=machine.cpus,
        memory=machine.memory,
        available=machine.available,
        programs={"llama-server": "/usr/bin/llama-server"},
        python=machine.python,
    )


def _at_rest(count: int, seconds: float, *, probed: bool) -> list[Row]:
    """What a daemon takes that has nothing to do, with so many services."""
    engine = stamp()
    what = f"{count} services, {'ports probed' if probed else 'no ports'}"
    if engine is None:
        return [Row(bench=BENCH, measure=what, ours=0.0, peer_name="no cc", target="<= 0.2", good=None)]
    with ExitStack() as stack:
        living = stack.enter_context(daemon())
        names = [f"service-{number:04}" for number in range(count)]
        for name in names:
            living.write(name, living.service(name, engine, port=probed))
        living.start()
        living.ready(names, within=300)
        time.sleep(min(30.0, seconds))  # what it learns of their host memory is written within half a minute
        cpu, written = _cpu(living.pid), _written(living.pid)
        begun = time.monotonic()
        time.sleep(seconds)
        part = (_cpu(living.pid) - cpu) / 1e9 / (time.monotonic() - begun) * 100
        more = [now - before for now, before in zip(_written(living.pid), written, strict=True)]
        result = [
            _row(f"at rest, {what}, % of a core", part, 0.2),
            _row(f"at rest, {what}, write calls", more[0], 0),
            _row(f"at rest, {what}, bytes written to disk", more[1], 0),
            _row(f"at rest, {what}, MiB resident", _resident(living.pid), 100.0 if probed else 300.0),
        ]
        if probed:
            result.append(_verb("status", living.place, 250.0, 10, "--state", str(living.state)))
        return result


def _cpu(pid: int) -> int:
    """Nanoseconds that all its threads have run."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total


def _written(pid: int) -> tuple[int, int]:
    """Calls of write, and bytes that went to disk."""
    figures = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(figures["syscw"]), int(figures["write_bytes"])


def _resident(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


def _verb(verb: str, place: Path, most: float, rounds: int, *more: str) -> Row:
    """Milliseconds on the clock of a command."""
    taken: list[float] = []
    program = os.path.join(sys.prefix, "bin", "holdfast")
    for _ in range(rounds):
        begun = time.monotonic()
        subprocess.run([program, verb, *more], cwd=place, check=False, capture_output=True)
        taken.append((time.monotonic() - begun) * 1000)
    return _row(f"holdfast {verb}, median, ms", percentile(taken, 0.5), most)


def _supervisorctl(count: int, *, quick: bool) -> tuple[float | None, str]:
    """Microseconds on the clock for each program of a `supervisorctl status`."""
    binaries, engine = peers.venv("supervisord", "supervisor", "setuptools<81", install=not quick), stamp()
    if binaries is None or engine is None:
        return None, "supervisorctl: not installed"
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-bench-")))
        starts = Starts(place / "starts")
        names = [f"program-{number}" for number in range(count)]
        programs = {name: [str(engine), str(starts.path), name] for name in names}
        control = stack.enter_context(peers.supervisord(binaries, place / "supervisord", programs))
        for name in names:
            starts.wait(name, 1)
        taken: list[float] = []
        for _ in range(5):
            begun = time.monotonic()
            subprocess.run([*control, "status"], check=False, capture_output=True)
            taken.append((time.monotonic() - begun) * 1e6 / count)
    return statistics.median(taken), f"supervisorctl status, us wall a program of {count}"
