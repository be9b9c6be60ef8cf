"""A client that sends exactly these bytes and reads exactly what comes: for what no HTTP library would do."""

import asyncio
import contextlib
import json
import socket
import ssl
import struct
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Self

PATIENCE = 60.0
"""Seconds that anything may take before a test fails."""


@dataclass(slots=True)
class Answer:
    """One answer, read strictly: what no server may send is a ValueError."""

    status: int
    head: bytes
    headers: list[tuple[str, str]] = field(default_factory=list)
    """Names in lower case."""
    body: bytes = b""
    whole: bool = True
    """Whether its end was there: the length, or the last chunk; without either, the end of the connection."""

    def header(self, name: str) -> str | None:
        """The one value of a header; ValueError where there are two."""
        values = [value for key, value in self.headers if key == name]
        if len(values) > 1:
            raise ValueError(f"{name} {len(values)} times in {self.head!r}")
        return values[0] if values else None

    def json(self):
        return json.loads(self.body)

    @property
    def events(self) -> list[bytes]:
        """Of a stream: each event or comment, without the blank line."""
        return [one for one in self.body.split(b"\n\n") if one]


def request(
    method: str = "POST", path: str = "/v1/chat/completions", body: object = None, host: str = "gateway", **headers: str
) -> bytes:
    """A request by the rules. A body that is no bytes is sent as JSON; `x_y="z"` is the header `x-y: z`."""
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    lines = {"host": host, **{key.replace("_", "-"): value for key, value in headers.items()}}
    if data or method == "POST":
        lines = {"content-type": "application/json", "content-length": str(len(data)), **lines}
    head = "".join(f"{key}: {value}\r\n" for key, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + data


def chat(model: str = "chat", *, key: str | None = None, **more: object) -> bytes:
    """A request for one answer of a model, or with `stream=True` for a stream."""
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return request(body={"model": model, "messages": [{"role": "user", "content": "hi"}], **more}, **headers)


class Raw:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(
        cls, port: int, *, tls: ssl.SSLContext | None = None, name: str | None = None, buffer: int | None = None
    ) -> "Raw":
        """To this port of 127.0.0.1. `name` is the SNI; `buffer`: bytes that the system may hold for it unread."""
        sock = socket.socket()
        sock.setblocking(False)
        if buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        limit = 2**16 if buffer is None else buffer
        server = (name or "localhost") if tls else None
        return cls(*await asyncio.open_connection(sock=sock, ssl=tls, server_hostname=server, limit=limit))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    @property
    def address(self) -> tuple[str, int]:
        """Its own."""
        return self.writer.get_extra_info("sockname")[:2]

    # -- sending

    async def send(self, data: bytes) -> None:
        """These bytes, once the system took most of them."""
        self.writer.write(data)
        await asyncio.wait_for(self.writer.drain(), PATIENCE)

    async def trickle(self, data: bytes, *, step: int = 1, pause: float = 0.01) -> None:
        """These bytes, `step` at a time. ConnectionError where the server has had enough."""
        for begin in range(0, len(data), step):
            self.writer.write(data[begin : begin + step])
            await self.writer.drain()
            await asyncio.sleep(pause)

    def shut(self) -> None:
        """Nothing more is sent; what comes is read."""
        self.writer.write_eof()

    def reset(self) -> None:
        """Abort: the server reads ECONNRESET."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()

    # -- reading

    async def read(self, most: int = 65536) -> bytes:
        """What is there next; nothing at the end."""
        return await asyncio.wait_for(self.reader.read(most), PATIENCE)

    async def exactly(self, count: int) -> bytes:
        """So many bytes. asyncio.IncompleteReadError where it ends before."""
        return await asyncio.wait_for(self.reader.readexactly(count), PATIENCE)

    async def rest(self) -> bytes:
        """All until the end; of a connection that is reset, what came before."""
        found = b""
        with contextlib.suppress(ConnectionError):
            while data := await self.read():
                found += data
        return found

    async def slowly(self, rate: int, seconds: float) -> bytes:
        """What comes in so many seconds, read at so many bytes a second."""
        found, end = b"", time.monotonic() + seconds
        while time.monotonic() < end:
            found += await self.read(max(1, rate // 20))
            await asyncio.sleep(0.05)
        return found

    async def line(self) -> bytes:
        """Up to and with the next line end."""
        return await asyncio.wait_for(self.reader.readuntil(b"\r\n"), PATIENCE)

    async def head(self) -> Answer:
        """Status and headers of the next answer, its body unread. Interim answers are passed over."""
        while True:
            first = await self.line()
            lines = [first]
            while lines[-1] != b"\r\n":
                lines.append(await self.line())
            version, _, rest = first.partition(b" ")
            if version not in (b"HTTP/1.1", b"HTTP/1.0"):
                raise ValueError(f"no answer: {first!r}")
            pairs = [line[:-2].decode("latin-1").partition(":") for line in lines[1:-1]]
            headers = [(key.lower(), value.strip()) for key, _, value in pairs]
            found = Answer(int(rest[:3]), b"".join(lines), headers)
            if found.status >= 200 or found.status == 101:
                return found

    async def answer(self, *, method: str = "POST") -> Answer:
        """The next answer with all of its body."""
        found = await self.head()
        try:
            async for piece in self.pieces(found, method=method):
                found.body += piece
        except (asyncio.IncompleteReadError, ConnectionError):
            found.whole = False
        return found

    async def pieces(self, of: Answer, *, method: str = "POST") -> AsyncGenerator[bytes]:
        """A body: each chunk as it comes, or each read. asyncio.IncompleteReadError where it is cut."""
        length, coding = of.header("content-length"), of.header("transfer-encoding")
        if length is not None and coding is not None:
            raise ValueError(f"a length and chunks: {of.head!r}")
        if method == "HEAD" or of.status in (204, 304):
            return
        if coding is not None:
            while True:
                size = int((await self.line())[:-2], 16)
                data = await self.exactly(size + 2)
                if data[size:] != b"\r\n":
                    raise ValueError(f"a chunk of {size} goes on with {data[size:]!r}")
                if not size:
                    return
                yield data[:size]
        elif length is not None:
            left = int(length)
            while left:
                data = await self.read(min(left, 65536))
                if not data:
                    raise asyncio.IncompleteReadError(b"", left)
                left -= len(data)
                yield data
        else:
            while data := await self.read():
                yield data

    async def ask(self, data: bytes) -> Answer:
        """Send a request, read its answer."""
        await self.send(data)
        return await self.answer(method=data.split(b" ", 1)[0].decode())


async def once(port: int, data: bytes) -> Answer:
    """The answer to one request on a connection of its own."""
    async with await Raw.open(port) as raw:
        return await raw.ask(data)
