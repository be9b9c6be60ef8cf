"""The gateway's way to the daemon: its tables as they come, and what is reported back, over its socket for gateways."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator

from reconciler.client import connect
from reconciler.model.errors import ApiError

PAUSES = (0.05, 1.0)
"""Seconds between attempts to reach a daemon that is away: the first, the longest."""
_PATIENCE = 10.0
"""Seconds in which an answer has to begin."""
_LONGEST = 2**30
_LIMIT = 2**16


class Link:
    """One daemon, by its socket. What goes wrong raises ApiError, whose text says what to do."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._kept: _Connection | None = None
        """For all that is asked but the stream."""

    async def tables(self) -> AsyncGenerator[bytes]:
        """Each table as JSON, the present one first. Ends only by ApiError."""
        connection = await self._connected()
        connection.ask("GET", "/v1/table/stream")
        try:
            async with asyncio.timeout(_PATIENCE):
                await connection.head()
            left = b""
            while piece := await connection.chunk():
                *lines, left = (left + piece).split(b"\n")
                for line in lines:
                    yield line
            raise ApiError(f"lost the daemon at {self.path}: it ended")
        except (OSError, EOFError, ValueError, TimeoutError, asyncio.LimitOverrunError) as error:
            raise self._lost(error) from error
        finally:
            connection.close()

    async def report(self, body: bytes) -> None:
        """Tell it what clients want, as a Report in JSON."""
        await self._ask("POST", "/v1/demand", body)

    async def metrics(self) -> bytes:
        """What engines measure of themselves, asked now: a list of ReplicaMetrics in JSON."""
        return await self._ask("GET", "/v1/metrics")

    async def _ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        connection, self._kept = self._kept, None
        if connection is None or connection.ended:
            connection = await self._connected()
        try:
            async with asyncio.timeout(_PATIENCE):
                connection.ask(method, path, body)
                await connection.head()
                parts: list[bytes] = []
                while part := await connection.chunk():
                    parts.append(part)
        except (OSError, EOFError, ValueError, TimeoutError, asyncio.LimitOverrunError) as error:
            connection.close()
            raise self._lost(error) from error
        except BaseException:
            connection.close()
            raise
        self._kept = connection
        return b"".join(parts)

    def close(self) -> None:
        """Let go of it."""
        if self._kept is not None:
            self._kept.close()

    async def _connected(self) -> "_Connection":
        try:
            made = connect(self.path, 0.0)
        except OSError as error:
            raise self._lost(error) from error
        return await _Connection.over(made)

    def _lost(self, error: BaseException) -> ApiError:
        why = "it ended" if isinstance(error, EOFError) else str(error) or type(error).__name__
        return ApiError(f"cannot reach the daemon at {self.path}: {why}; start it with `holdfast up`")


class _Connection:
    """HTTP/1.1 as the daemon speaks it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._left: int | None = 0
        """Bytes of the body that are to come; None: it comes in chunks."""

    @classmethod
    async def over(cls, made: socket.socket) -> "_Connection":
        return cls(*await asyncio.open_unix_connection(sock=made, limit=_LIMIT))

    @property
    def ended(self) -> bool:
        return self._reader.at_eof()

    def ask(self, method: str, path: str, body: bytes = b"") -> None:
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        kind = "Content-Type: application/json\r\n" if body else ""
        self._writer.write(f"{head}{kind}\r\n".encode() + body)

    async def head(self) -> None:
        """The head of an answer. Raises ValueError where it is no good one, with what the daemon says of it."""
        status, *fields = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        given = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        self._left = None if given.get("transfer-encoding") == "chunked" else int(given.get("content-length", 0))
        code = status.split()[1]
        if not code.startswith("2"):
            said = (await self.chunk())[:500].decode(errors="replace")
            raise ValueError(f"it answered {code}: {said}; it may be of another version, restart it")

    async def chunk(self) -> bytes:
        """The next part of its body; empty at the end."""
        if self._left is not None:
            size, self._left = min(self._left, _LIMIT), max(0, self._left - _LIMIT)
            return await self._reader.readexactly(size)
        size = int(await self._reader.readuntil(b"\r\n"), 16)
        if size > _LONGEST:
            raise ValueError("it sent too much at once")
        part = await self._reader.readexactly(size + 2)
        return part[:-2]

    def close(self) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            self._writer.close()
