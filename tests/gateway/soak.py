"""Mixed load through a real gateway while its fleet is killed, scaled, replaced and reloaded all the time.

`python -m tests.gateway.soak --minutes 60`. What it proves: no request fails that had no first byte, and a stream that
is cut says so, and is cut only where its engine was killed. It exits 1 where that is not so; a signal ends it early.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from reconciler.model.errors import ApiError
from tests.gateway.crowd import EVENTS, KINDS, Crowd
from tests.system.box import Box
from tests.system.front import Front

EXCUSED = 5.0
"""Seconds after a kill within which a stream of that model may be cut."""
SCRIPTS = {
    "quick": "answer",
    "late": "answer after=0.4",
    "slow": f"sse events={EVENTS} pause=0.05",
    "wide": f"sse events={EVENTS} size=50000",
    "rare": "answer",
}


class Soak:
    """One fleet, its crowd, and whoever makes trouble."""

    def __init__(self, place: Path, port: int, seed: int) -> None:
        self.box = Box(place)
        self.front = Front(self.box, port)
        self.random = random.Random(seed)
        self.crowd = Crowd(port, random.Random(seed + 1), self._excused)
        self.rounds = dict.fromkeys(SCRIPTS, 0)
        self.replicas: dict[str, object] = {
            "quick": 3,
            "late": 3,
            "slow": 3,
            "wide": 2,
            "rare": {"min": 0, "max": 1, "idle": "2s"},
        }
        self.aliased = 0
        self.killed: dict[str, float] = {}
        """When an instance of a model was killed last."""
        self.trouble: Counter[str] = Counter()

    def _excused(self, model: str) -> bool:
        return time.monotonic() - self.killed.get(model, -EXCUSED) < EXCUSED

    # -- the fleet

    def declare(self, name: str) -> None:
        aliases = ["fast", f"alias-{self.aliased}"] if name == "quick" else []
        self.front.model(
            name, SCRIPTS[name], replicas=self.replicas[name], aliases=aliases, health={"interval": "500ms"},
            env={"ROUND": str(self.rounds[name])},
        )  # fmt: skip

    def access(self, name: str, **more: object) -> None:
        keys = [{"sha256": hashlib.sha256(name.encode()).hexdigest()}]
        self.box.write(f"{name}.access.yaml", json.dumps({"kind": "Access", "name": name, "keys": keys, **more}))

    def start(self) -> None:
        """All of it, until the fleet is there."""
        self.front.declare(engines=60, body="8MiB", access_log="errors", workers=2)
        self.access("crowd")
        self.access("tight-and-for-late-only", models=["late"], limits={"requests_per_minute": 30})
        for name in SCRIPTS:
            self.declare(name)
        self.box.daemon()
        self.box.converged(*SCRIPTS)
        self.front.start()

    def clear(self) -> list[str]:
        self.front.clear()
        return self.box.clear()

    # -- trouble

    def ready(self, model: str) -> list[tuple[str, int]]:
        """Slots and pids of those that serve it."""
        row = self.box.row(model)
        found = row.replicas if row is not None else ()
        return [(one.slot, one.pid) for one in found if one.state == "ready" and one.pid is not None]

    def kill_engine(self) -> None:
        """One of a model that has another."""
        models = [name for name in SCRIPTS if len(self.ready(name)) > 1 and not self._excused(name)]
        if not models:
            return
        name = self.random.choice(models)
        slot, pid = self.random.choice(self.ready(name))
        self.killed[name] = time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        self.trouble[f"kill of an engine of {slot.split('/')[0]}"] += 1

    def roll(self) -> None:
        """A model is edited: each of its instances is replaced."""
        name = self.random.choice(list(SCRIPTS))
        self.rounds[name] += 1
        self.declare(name)
        self.trouble[f"roll-out of {name}"] += 1

    def scale(self) -> None:
        name = self.random.choice(("quick", "late", "slow", "wide"))
        self.replicas[name] = self.random.randint(2, 4)
        self.declare(name)
        self.trouble[f"scaling of {name}"] += 1

    def rename(self) -> None:
        """An edit that restarts nothing."""
        self.aliased += 1
        self.declare("quick")
        self.trouble["alias"] += 1

    def reload(self) -> None:
        assert self.front.process is not None
        os.kill(self.front.process.pid, signal.SIGHUP)
        self.trouble["reload of the gateway"] += 1

    def kill_daemon(self) -> None:
        self.box.kill()
        self.trouble["kill of the daemon"] += 1
        self.box.daemon()

    async def make_trouble(self, every: float) -> None:
        """Something, and after a while something else."""
        kinds: tuple[Callable[[], None], ...] = (
            self.kill_engine, self.kill_engine, self.kill_engine, self.roll, self.roll, self.scale, self.scale,
            self.rename, self.reload, self.reload, self.kill_daemon,
        )  # fmt: skip
        while not self.crowd.over:
            await asyncio.sleep(self.random.uniform(0.5, 1.5) * every)
            with contextlib.suppress(ApiError):
                await asyncio.to_thread(self.random.choice(kinds))

    # -- a run

    async def run(self, seconds: float, every: float, tell: Callable[[str], None]) -> None:
        crowd = asyncio.create_task(self.crowd.live(KINDS))
        trouble = asyncio.create_task(self.make_trouble(every))
        ended, end, told = asyncio.Event(), time.monotonic() + seconds, 0
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
        while time.monotonic() < end and not ended.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), min(60.0, end - time.monotonic()))
            for failure in self.crowd.tally.failures[told:]:
                tell(failure)
            told = len(self.crowd.tally.failures)
            tell(f"{time.strftime('%H:%M:%S')} {self.crowd.tally.total} requests, {told} failed; {self.size()}")
        self.crowd.over = True
        await crowd
        await trouble

    def size(self) -> str:
        """Memory and descriptors of all that is to stay small."""
        found: list[str] = []
        process = self.front.process
        if process is not None:
            for pid, what in [(process.pid, "master"), *((pid, "worker") for pid in self.front.workers())]:
                with contextlib.suppress(OSError, StopIteration):
                    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                    memory = next(line for line in lines if line.startswith("VmRSS")).split()[1]
                    found.append(f"{what} {int(memory) // 1024} MiB {len(os.listdir(f'/proc/{pid}/fd'))} fds")
        return ", ".join(found)

    def report(self) -> str:
        tally = self.crowd.tally
        trouble = ", ".join(f"{count} × {what}" for what, count in sorted(self.trouble.items()))
        lines = [f"{tally.total} requests, {len(tally.failures)} failed", tally.table(), f"  trouble: {trouble}"]
        return "\n".join([*lines, *tally.failures[:20]])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--every", type=float, default=4.0, help="seconds between two troubles")
    parser.add_argument("--port", type=int, default=32400)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    told = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="holdfast-soak-"))
    print(f"seed {told.seed}, in {place}", flush=True)
    soak = Soak(place, told.port, told.seed)
    try:
        soak.start()
        asyncio.run(soak.run(told.minutes * 60, told.every, lambda text: print(text, flush=True)))
    finally:
        left = soak.clear()
        print(soak.report(), *left, sep="\n", flush=True)
    return 1 if soak.crowd.tally.failures or left else 0


if __name__ == "__main__":
    sys.exit(main())
