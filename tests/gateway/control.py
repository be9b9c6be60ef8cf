"""What a gateway sees of a daemon: a control socket that tells tables and is told reports. On a thread of its own."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Generator
from pathlib import Path

import msgspec
from aiohttp import web

from reconciler.model.metrics import ReplicaMetrics
from reconciler.model.routing import Report, Table


class Control:
    """The daemon's socket; `close` is its end, `open` begins it again."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.reports: list[Report] = []
        self.metrics: list[ReplicaMetrics] = []
        """What engines say of themselves."""
        self.hosts: set[str] = set()
        """What requests called it."""
        self._table: bytes = b""
        self._changed: asyncio.Condition
        self._runner: web.AppRunner | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def _do(self, what: Coroutine[object, object, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(60)

    def table(self, table: Table | bytes) -> None:
        """Tell this one, to whoever listens and whoever comes."""
        self._table = table if isinstance(table, bytes) else msgspec.json.encode(table)
        if self._runner is not None:
            self._do(self._told())

    def open(self) -> None:
        self._do(self._open())

    def close(self) -> None:
        """As if it were killed: connections break off."""
        self._do(self._close())

    def end(self) -> None:
        """For good."""
        self.close()
        self._do(self._cancel())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _told(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _open(self) -> None:
        self._changed = asyncio.Condition()
        app = web.Application()
        app.router.add_get("/v1/table/stream", self._stream)
        app.router.add_post("/v1/demand", self._demand)
        app.router.add_get("/v1/metrics", self._metrics)
        self._runner = web.AppRunner(app, shutdown_timeout=0.01)
        await self._runner.setup()
        await web.UnixSite(self._runner, self.path).start()

    async def _close(self) -> None:
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    async def _cancel(self) -> None:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        self.hosts.add(request.headers["host"])
        response = web.StreamResponse()
        await response.prepare(request)
        last = b""
        with contextlib.suppress(ConnectionError):
            while True:
                if self._table != last:
                    last = self._table
                    await response.write(last + b"\n")
                async with self._changed:
                    while self._table == last:
                        await self._changed.wait()
        return response

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(self.metrics), content_type="application/json")

    async def _demand(self, request: web.Request) -> web.Response:
        self.hosts.add(request.headers["host"])
        try:
            self.reports.append(msgspec.json.decode(await request.read(), type=Report))
        except msgspec.DecodeError as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({})


@contextlib.contextmanager
def control(path: Path) -> Generator[Control]:
    """One that is open, until the end."""
    made = Control(path)
    made.open()
    try:
        yield made
    finally:
        made.end()
