"""One request that came to the scriptable engine, and what a script may do with it."""

import asyncio
import json
import re
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.gateway.upstream import Connection

_MODEL = re.compile(rb'"model"\s*:\s*"([^"]*)"')

Script = Callable[["Exchange"], Awaitable[None]]


@dataclass(slots=True)
class Seen:
    """One request as it came."""

    connection: int
    """Which connection, counted from 0."""
    number: int
    """Which request on it, counted from 0."""
    head: bytes
    """Raw, its blank line included."""
    began: float
    body: bytes = b""
    """What it carried, chunks taken apart; of a big one its first MiB."""
    size: int = 0
    digest: str = ""
    """SHA-256 of the whole body, once it is there."""
    raw: bytes = b""
    """The body as it came, chunk sizes included; of a big one its first MiB."""
    ended: float | None = None
    """When its script had ended."""
    cancelled: float | None = None
    """When the connection went while the script was at work."""

    @property
    def method(self) -> str:
        return self.head.split(b" ", 1)[0].decode()

    @property
    def path(self) -> str:
        return self.head.split(b" ", 2)[1].decode()

    @property
    def model(self) -> str:
        found = _MODEL.search(self.body)
        return found[1].decode() if found else ""

    def all(self, name: str) -> list[str]:
        """The values of a header, in order."""
        pairs = (line.partition(b":") for line in self.head.split(b"\r\n")[1:])
        return [value.strip().decode("latin-1") for key, _, value in pairs if key.lower().decode("latin-1") == name]

    def header(self, name: str) -> str | None:
        """The one value of a header, by its lower-case name; None where there is none, an error where there are two."""
        values = self.all(name)
        if len(values) > 1:
            raise ValueError(f"{name} {len(values)} times in {self.head!r}")
        return values[0] if values else None

    def json(self):
        return json.loads(self.body)


class Exchange:
    """What a script has in hand: one request, and the connection to answer it on, by HTTP's rules or against them."""

    def __init__(self, connection: "Connection", seen: Seen) -> None:
        self.seen = seen
        self.engine = connection.engine
        self.complete = asyncio.Event()
        self._connection = connection

    async def body(self) -> bytes:
        """All of the request's body (of a big one its first MiB)."""
        await self.complete.wait()
        return self.seen.body

    async def send(self, data: bytes) -> None:
        """These bytes, and wait until the system took most of them."""
        self._connection.transport.write(data)
        await self._connection.writable.wait()

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def forever(self) -> None:
        await asyncio.get_running_loop().create_future()

    def end(self) -> None:
        """Close the connection after what was sent."""
        self._connection.transport.close()

    def reset(self) -> None:
        """Abort the connection: the peer reads ECONNRESET."""
        linger = struct.pack("ii", 1, 0)
        self._connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._connection.transport.abort()

    def read_at(self, rate: int) -> None:
        """Read no more than so many bytes a second of what comes from now on; 0: nothing at all."""
        self._connection.rate = rate
        if not rate:
            self._connection.transport.pause_reading()
