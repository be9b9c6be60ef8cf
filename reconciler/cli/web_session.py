"""One browser's dashboard: a process of its own, which ends with the browser."""

import asyncio
import contextlib
import json
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from typing import Any, cast

from aiohttp import WSMsgType, web
from textual_serve.app_service import AppService
from textual_serve.download_manager import DownloadManager

_ENDING = 3.0
"""Seconds that a dashboard has to end by itself."""
_LARGEST = 1000
"""Columns or lines that a browser may have."""
MESSAGE = 1 << 20
"""Bytes that it may send at once: what is pasted."""


class Session(AppService):
    """From `start` to `stop`; in between it follows what the browser says."""

    def __init__(self, argv: Sequence[str], socket: web.WebSocketResponse) -> None:
        """`argv`: the dashboard; `socket`: the browser."""
        super().__init__(
            "",
            write_bytes=socket.send_bytes,
            write_str=socket.send_str,
            close=self._close,
            download_manager=DownloadManager(),
        )
        self._argv = argv
        self._socket = socket

    async def _open_app_process(self, width: int = 80, height: int = 24) -> Process:
        environment = self._build_environment(width=width, height=height)
        self._process = process = await asyncio.create_subprocess_exec(
            *self._argv, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment
        )
        self._stdin = process.stdin
        return process

    async def _close(self) -> None:
        with contextlib.suppress(ConnectionError):
            await self._socket.close()

    async def run(self) -> None:
        """Until it ends; the browser is told."""
        try:
            await super().run()
        finally:
            await self._close()

    async def follow(self) -> None:
        """Do what the browser says, until it leaves. What it does not say as it should is passed over."""
        async for message in self._socket:
            if message.type is not WSMsgType.TEXT:
                continue
            with contextlib.suppress(ValueError, TypeError, KeyError, IndexError):
                await self._take(json.loads(message.data))

    async def _take(self, said: Any) -> None:
        what, *more = cast("list[Any]", said)
        if what == "stdin":
            await self.send_bytes(str(more[0]).encode("utf-8", "replace"))
        elif what == "resize":
            await self.set_terminal_size(side(more[0]["width"], 80), side(more[0]["height"], 24))
        elif what == "ping":
            await self._socket.send_json(["pong", str(more[0])])
        elif what == "focus":
            await self.focus()
        elif what == "blur":
            await self.blur()

    async def stop(self) -> None:
        """End the dashboard: asked, then made to."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._quit(process), _ENDING)
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        if self._task is not None:
            await self._task

    async def _quit(self, process: Process) -> None:
        await self.send_meta({"type": "quit"})
        await process.wait()


def side(value: object, otherwise: int) -> int:
    """Columns or lines, as a browser says them."""
    try:
        return max(1, min(_LARGEST, int(str(value))))
    except ValueError:
        return otherwise
