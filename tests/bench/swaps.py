"""Swaps on demand through a real gateway and daemon: how many a string of requests costs, and what of each is ours."""

import asyncio
import contextlib
import json
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

from tests.bench.ends import free, program
from tests.bench.living import Starts
from tests.gateway.client import Raw, chat
from tests.system.box import Box
from tests.system.front import Front

PATIENCE = 300.0


class Swaps:
    """Three models that each need the whole card, and clients."""

    def __init__(self, place: Path, load: float) -> None:
        self.load = load
        self.box = Box(place)
        self.front = Front(self.box, free(1)[0])
        self.starts = Starts(place / "starts")

    @contextlib.contextmanager
    def living(self) -> Generator[None]:
        """Daemon and gateway, until the block ends."""
        command = [str(program()), f"mark={self.starts.path}:{{name}}/0", f"load={1e3 * self.load:.0f}", "{port}"]
        engine = {"kind": "Engine", "name": "fixed", "command": command}
        first = free(1)[0]
        listen = {"listen": [self.front.url], "access_log": "errors"}
        node = {"kind": "Node", "name": "local", "ports": f"{first}-{first + 19}", "gateway": listen}
        self.box.write("node.yaml", json.dumps(node))
        self.box.write("engine.yaml", json.dumps(engine))
        self.box.gpus("80GiB")
        for name in "abc":
            model = {"kind": "Model", "name": name, "source": f"file:{self.box.place}", "engine": "fixed", "gpus": 1,
                     "memory": "70GiB", "replicas": {"min": 0, "idle": "10m"}}  # fmt: skip
            self.box.write(f"{name}.yaml", json.dumps(model))
        self.box.daemon()
        self.front.start()
        try:
            yield
        finally:
            self.front.clear()
            self.box.clear()

    def loads(self) -> int:
        """Engines that were started so far."""
        return sum(self.starts.count(f"{name}/0") for name in "abc")

    async def ask(self, name: str) -> float:
        """Seconds until a request is answered."""
        begun = time.monotonic()
        async with await Raw.open(self.front.port) as client:
            await client.send(chat(name))
            answer = await asyncio.wait_for(client.reader.read(65536), PATIENCE)
        if b" 200 " not in answer[:16]:
            raise RuntimeError(f"{name} was answered {answer!r}")
        return time.monotonic() - begun


async def _all(swaps: Swaps, text: str) -> float:
    return max(await asyncio.gather(*(swaps.ask(name) for name in text)))


async def _in_turn(swaps: Swaps, count: int) -> list[float]:
    found: list[float] = []
    await swaps.ask("a")
    for number in range(count):
        await asyncio.sleep(max(2.5, 2 * swaps.load + 0.5))  # what has just loaded stays for a while
        found.append(1e3 * (await swaps.ask("ba"[number % 2]) - swaps.load))
    return found


@contextlib.contextmanager
def _place(load: float) -> Generator[Swaps]:
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-", ignore_cleanup_errors=True) as place:
        swaps = Swaps(Path(place), load)
        with swaps.living():
            yield swaps


def string(load: float, text: str) -> tuple[int, float]:
    """How many loads these requests cost, all sent at once; the longest wait, in seconds."""
    with _place(load) as swaps:
        longest = asyncio.run(_all(swaps, text))
        return swaps.loads(), longest


def shares(load: float, count: int) -> list[float]:
    """Milliseconds of each swap beyond the load time: from a client's request to its answer, by turns."""
    with _place(load) as swaps:
        return asyncio.run(_in_turn(swaps, count))
