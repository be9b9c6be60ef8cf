"""Scriptable servers, and a prober with what it told: for tests of readiness."""

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from reconciler.model.observation import Ready
from reconciler.observe.probes import Prober
from tests.eventually import eventually_async
from tests.observe.sights import running

HERE = os.getpid()


def response(status="200 OK", body=b"", *more):
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *more, "", ""]
    return "\r\n".join(head).encode() + body


LOADING = response(
    "503 Service Unavailable", b'{"error":{"message":"Loading model"}}', "Content-Type: application/json"
)


class Engine:
    """A server that answers what it is told to: bytes, or None to say nothing; `by_path` wins."""

    def __init__(self, answer: bytes):
        self.answer: bytes | None = answer
        self.by_path: dict[str, bytes | None] = {}
        self.asked = []
        self.port = 0
        self.hangs_up = True

    async def serve(self, reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            method, path, _ = head.decode().split("\r\n")[0].split(" ")
            length = next(
                (int(line[16:]) for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:"), 0
            )
            self.asked.append((method, path, (await reader.readexactly(length)).decode()))
            answer = self.by_path.get(path, self.answer)
            if answer is None:
                await reader.read()
            else:
                writer.write(answer)
                await writer.drain()
                if not self.hangs_up:
                    await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def times(self, path):
        return sum(1 for _, asked, _ in self.asked if asked == path)


@asynccontextmanager
async def engine(answer=b"", port=0):
    made = Engine(answer or response())
    server = await asyncio.start_server(made.serve, "127.0.0.1", port)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made


class Watching:
    """A prober, and what it told."""

    def __init__(self, **more):
        self.told = []
        self.prober = Prober(clock=time.monotonic, on_change=self._changed, **more)

    def _changed(self, slot):
        self.told.append(self.now(slot))

    def now(self, slot="m/0") -> Any:
        known = self.prober.readiness(slot)
        return known[0] if known else None

    async def until(self, kind, slot="m/0") -> Any:
        await eventually_async(lambda: isinstance(self.now(slot), kind), what=f"{slot} is {kind.__name__}")
        return self.now(slot)


@contextmanager
def watching(instance=None, **more):
    made = Watching(**more)
    if instance is not None:
        made.prober.watch(instance)
    try:
        yield made
    finally:
        made.prober.close()


def ready(**more):
    return running(pid=HERE, readiness=Ready(since=1.0), was_ready=True, **more)


def scenario(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run an async test in a loop of its own."""

    def run():
        asyncio.run(asyncio.wait_for(test(), 280))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run
