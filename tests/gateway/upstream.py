"""An engine on a real socket: it answers what OpenAI's and Anthropic's clients ask, or does as it is told.

In a test: `async with Upstream() as engine` on the same loop, `with upstream()` on a thread. As a program:
`python -m tests.gateway.upstream --port 9001 --script 'sse events=3'`, told by `POST /-/script`; `GET /-/seen` tells.
What it is told is a script (`tests/gateway/scripts.py`), by the name of a model, for the next requests, or for all.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import re
import ssl
import threading
import time
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Self, cast

from tests.gateway.exchange import Exchange, Script, Seen
from tests.gateway.scripts import look, say, script

KEPT = 2**20
"""Bytes of a body that are kept to be looked at."""
_LENGTH = re.compile(rb"(?im)^content-length:[ \t]*(\d+)")
_CHUNKED = re.compile(rb"(?im)^transfer-encoding:[ \t]*chunked")


class Connection(asyncio.Protocol):
    """One connection: requests in, one script at a time."""

    transport: asyncio.Transport

    def __init__(self, engine: "Upstream") -> None:
        self.engine = engine
        self.writable = asyncio.Event()
        self.rate: int | None = None
        self._number = len(engine.connections)
        self._requests = 0
        self._buffer = bytearray()
        self._exchange: Exchange | None = None
        self._left: int | None = 0
        """Bytes of the body yet to come; None: it is chunked."""
        self._hash = hashlib.sha256()
        self._task: asyncio.Task[None] | None = None
        self._idle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # those of uvloop are none by class
        self.writable.set()
        self.engine.connections.append(self)
        self.engine.open.add(self)
        self._rest()

    def connection_lost(self, exc: Exception | None) -> None:
        self.engine.open.discard(self)
        self.writable.set()
        if self._idle is not None:
            self._idle.cancel()
        if self._task is not None and not self._task.done():
            assert self._exchange is not None
            self._exchange.seen.cancelled = time.monotonic()
            self._task.cancel()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def data_received(self, data: bytes) -> None:
        if self.rate:
            self.transport.pause_reading()
            asyncio.get_running_loop().call_later(len(data) / self.rate, self._resume)
        self._buffer += data
        self._step()

    def _resume(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def _step(self) -> None:
        if self._exchange is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._buffer[: end + 4])
            del self._buffer[: end + 4]
            self._begin(head)
        if self._exchange is not None and not self._exchange.complete.is_set():
            self._read_body(self._exchange)

    def _begin(self, head: bytes) -> None:
        seen = Seen(self._number, self._requests, head, time.monotonic())
        self._requests += 1
        length = _LENGTH.search(head)
        self._left = None if _CHUNKED.search(head) else int(length[1]) if length else 0
        self._hash = hashlib.sha256()
        self._exchange = Exchange(self, seen)
        if self._idle is not None:
            self._idle.cancel()
        if not seen.path.startswith("/-/"):
            self.engine.seen.append(seen)
        self._task = asyncio.get_running_loop().create_task(self._run(self._exchange))

    def _read_body(self, exchange: Exchange) -> None:
        if self._left is None:
            while (found := self._chunk()) is not None:
                self._take(exchange.seen, *found)
                if not found[1]:
                    break
            else:
                return
        else:
            piece = bytes(self._buffer[: self._left])
            del self._buffer[: self._left]
            self._left -= len(piece)
            self._take(exchange.seen, piece, piece)
            if self._left:
                return
        exchange.seen.digest = self._hash.hexdigest()
        exchange.complete.set()

    def _chunk(self) -> tuple[bytes, bytes] | None:
        """A chunk that is there whole: as it came, and what it carries; of the last one nothing."""
        line = self._buffer.find(b"\r\n")
        if line < 0:
            return None
        size = int(self._buffer[:line].partition(b";")[0], 16)
        end = line + 2 + size + 2
        if len(self._buffer) < end:
            return None
        raw = bytes(self._buffer[:end])
        if raw[-2:] != b"\r\n":
            raise ValueError(f"a chunk of {size} is followed by {raw[-2:]!r}")
        del self._buffer[:end]
        return raw, raw[line + 2 : -2]

    def _take(self, seen: Seen, raw: bytes, carried: bytes) -> None:
        seen.size += len(carried)
        self._hash.update(carried)
        seen.body += carried[: max(0, KEPT - len(seen.body))]
        seen.raw += raw[: max(0, KEPT - len(seen.raw))]

    async def _run(self, exchange: Exchange) -> None:
        engine = self.engine
        engine.working += 1
        engine.most = max(engine.most, engine.working)
        try:
            await (control if exchange.seen.path.startswith("/-/") else engine.choose)(exchange)
        finally:
            engine.working -= 1
        exchange.seen.ended = time.monotonic()
        await exchange.complete.wait()
        self._exchange = self._task = None
        self._rest()
        self._step()

    def _rest(self) -> None:
        if self.engine.idle is not None:
            self._idle = asyncio.get_running_loop().call_later(self.engine.idle, self.close_idle)

    def close_idle(self) -> None:
        """Close it if no request is going on."""
        if self._exchange is None and not self._buffer:
            self.transport.close()


@dataclass
class Upstream:
    """How it behaves, and what it saw."""

    script: "Script | str" = "answer"
    """Of every request that nothing below is about."""
    models: dict[str, "Script | str"] = field(default_factory=dict)
    """By the model that a request names."""
    next: "deque[Script | str]" = field(default_factory=deque)
    """Of the next requests, each once, before all others."""
    idle: float | None = None
    """Seconds after which a connection without a request is closed."""
    tls: ssl.SSLContext | None = None
    port: int = 0
    queue: int = 0
    """Requests that wait, as its `/metrics` tells."""
    seen: list[Seen] = field(default_factory=list)
    """Requests, in the order that their heads came; those of `/-/` are not among them."""
    connections: list[Connection] = field(default_factory=list)
    """All that there ever were."""
    open: set[Connection] = field(default_factory=set)
    working: int = 0
    """Requests that it works on now."""
    most: int = 0
    """Of them, the most there were at once."""
    _server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def cancelled(self) -> list[Seen]:
        return [one for one in self.seen if one.cancelled is not None]

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self), "127.0.0.1", self.port, backlog=4096, ssl=self.tls
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Listen no more and abort what is open, as a killed engine does. `async with` again: at the same port."""
        assert self._server is not None
        self._server.close()
        for one in list(self.open):
            one.transport.abort()
        await self._server.wait_closed()

    def close_idle(self) -> None:
        """Close every connection on which no request is going on."""
        for one in list(self.open):
            one.close_idle()

    async def choose(self, exchange: Exchange) -> None:
        """Do with a request as was told."""
        if exchange.seen.method == "GET":
            return await look(exchange)
        if self.next:
            chosen = self.next.popleft()
        elif self.models:
            await exchange.body()
            chosen = self.models.get(exchange.seen.model, self.script)
        else:
            chosen = self.script
        return await (script(chosen) if isinstance(chosen, str) else chosen)(exchange)


async def control(exchange: Exchange) -> None:
    """`POST /-/script {"script": …, "models": {…}, "next": [...]}`, `POST /-/close_idle`, `GET /-/seen`."""
    engine, told = exchange.engine, await exchange.body()
    if exchange.seen.path == "/-/script":
        fields = json.loads(told)
        engine.script = fields.get("script", engine.script)
        engine.models.update(fields.get("models", {}))
        engine.next.extend(fields.get("next", []))
    elif exchange.seen.path == "/-/close_idle":
        engine.close_idle()
    rows = [
        {
            "connection": one.connection, "number": one.number, "head": one.head.decode("latin-1"), "model": one.model,
            "size": one.size, "digest": one.digest, "began": one.began, "ended": one.ended, "cancelled": one.cancelled,
        }
        for one in engine.seen
    ]  # fmt: skip
    facts = {"seen": rows, "open": len(engine.open), "working": engine.working - 1, "most": engine.most}
    await exchange.send(say(json.dumps(facts).encode()))


@contextlib.contextmanager
def upstream(engine: Upstream | None = None) -> Generator[Upstream]:
    """It runs on a thread of its own until the block ends; for tests that block."""
    engine = engine or Upstream()
    began, done = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def live() -> None:
        async with engine:
            began.set()
            await done.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(live()), daemon=True)
    thread.start()
    if not began.wait(60):
        raise RuntimeError("the upstream does not listen")
    try:
        yield engine
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(60)
        loop.close()


async def _serve(engine: Upstream) -> None:
    async with engine:
        print(f"serving on {engine.port}", flush=True)
        await asyncio.get_running_loop().create_future()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--script", default="answer")
    parser.add_argument("--idle", type=float)
    parser.add_argument("--once", help="listen only once this file is there")
    told = parser.parse_args()
    while told.once is not None and not os.path.exists(told.once):
        time.sleep(0.02)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(Upstream(script=told.script, idle=told.idle, port=told.port)))


if __name__ == "__main__":
    main()
