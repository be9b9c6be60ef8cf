"""One connection to an instance: sends a request, reads its answer, and is used again only where all was in order."""

import asyncio
import errno
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import httptools

from reconciler.gateway.template import Template, template

if TYPE_CHECKING:
    from reconciler.gateway.exchange import Exchange
    from reconciler.gateway.places import Live

log = logging.getLogger(__name__)
CONNECT = 5.0
"""Seconds for a connection to be made: instances are near."""
BUFFER = 64 * 1024
"""Bytes that wait to be sent, above which no more is taken from where they come."""
KEPT = 256
"""Free connections to one instance, for each worker."""
_HEAD = 64 * 1024
"""Bytes of the head of an answer."""
_ONE_CHUNK = 16 * 1024
"""Bytes of one chunk of a stream that needs no parser."""
_SHORT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
"""Errors of a connection that say nothing of who was to be reached: descriptors, memory or ports are used up here."""
_OURS = frozenset(
    {
        # of one connection only
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"upgrade",
        # what we say ourselves
        b"server",
        b"x-request-id",
        # what no page of another site shall be allowed by an engine
        b"access-control-allow-origin",
        b"access-control-allow-credentials",
        b"access-control-allow-headers",
        b"access-control-allow-methods",
        b"access-control-expose-headers",
        b"access-control-max-age",
        b"set-cookie",
        b"alt-svc",
        b"location",
    }
)
"""Headers of an answer that are not passed on."""


def _size(length: int) -> bytes:
    """The line that so many bytes begin with, if they are one chunk and the line end behind it."""
    for digits in range(1, 5):
        line = b"%x\r\n" % max(0, length - digits - 4)
        if len(line) == digits + 2 and line[:1] != b"0":
            return line
    return b""


_chunk_sizes = [_size(length) for length in range(_ONE_CHUNK)]


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    """A head of good answers, and what of it is passed on."""

    template: Template
    lines: list[bytes]


class Upstream(asyncio.Protocol):
    """A connection to an instance. Whose request is under way on it is its exchange."""

    __slots__ = (
        "_between",
        "_chunk_ended",
        "_ended",
        "_extra",
        "_headed",
        "_interim",
        "_parser",
        "_paused",
        "_pieces",
        "_size",
        "chunked",
        "exchange",
        "keep",
        "length",
        "lines",
        "live",
        "media",
        "reused",
        "status",
        "transport",
        "until_eof",
    )

    def __init__(self, live: "Live", exchange: "Exchange") -> None:
        self.live = live
        self.exchange: Exchange | None = exchange
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.reused = False
        """Whether it served before: its instance may have closed it in this moment."""
        self._parser: Any = httptools.HttpResponseParser(self)
        self._pieces: Iterator[bytes] | None = None
        """What is still to be sent."""
        self._paused = False
        self._begin()

    def _begin(self) -> None:
        self.status, self.media = 0, b""
        self.lines: list[bytes] = []
        """Headers to pass on, each with its line's end."""
        self.length: int | None = None
        self.chunked = self.until_eof = self.keep = False
        self._headed = self._ended = self._extra = self._interim = False
        self._chunk_ended = self._between = False
        """Whether its parser stands between two chunks: of any body, and of a stream's after the last read."""
        self._size = 0

    def send(self, head: bytes, pieces: Iterator[bytes]) -> None:
        """Send a request: its head, then its body as fast as it is taken."""
        self.transport.write(head)
        self._pieces = pieces
        self._pump()

    def _pump(self) -> None:
        if self._pieces is None:
            return
        for piece in self._pieces:
            self.transport.write(piece)
            if self._paused or self.transport.is_closing():
                return
        self._pieces = None

    def close(self) -> None:
        """End the connection, and what is under way on it, at once."""
        self.exchange = None
        self.transport.abort()

    def rest(self) -> None:
        """The answer is complete: keep the connection for the next request where that is sound."""
        self.exchange = None
        sound = self.keep and self._ended and not self._extra and self._pieces is None and not self.until_eof
        if sound and not self.live.gone and len(self.live.idle) < KEPT and not self.transport.is_closing():
            self.live.idle.append(self)
        else:
            self.transport.abort()

    # asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(BUFFER)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._pump()

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:  # nobody asked
            self._forget()
            return
        if self._between:
            size = _chunk_sizes[len(data)] if len(data) < _ONE_CHUNK else b""
            if size and data.startswith(size) and data.endswith(b"\r\n"):
                exchange.pass_event(data, data[len(size) : -2])
                return
        elif not self._headed:
            known = self.live.answer
            if known is not None and not self._size and not self._interim and (start := known.template.body(data)):
                self._ended = self.keep = True
                exchange.whole(self, data[start:], known.lines)
                return
            self._size += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self._ended:  # what comes behind an answer spoils the connection alone
                self._fail("its answer is not HTTP")
                return
            self._extra = True
        if self.exchange is not exchange:
            return
        if self._ended:
            if self._size == len(data) and self.keep and self.status == 200 and exchange.holds:
                found = template(data)
                self.live.answer = KnownAnswer(found, [b"".join(self.lines)]) if found is not None else None
            exchange.complete()
        elif not self._headed and self._size > _HEAD:
            self._fail("the head of its answer is too long")
        else:
            exchange.flush()
            self._between = self._chunk_ended and data.endswith(b"\r\n") and self.media.startswith(b"text/event-stream")

    def eof_received(self) -> None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        if self in self.live.idle:
            self.live.idle.remove(self)
        exchange = self.exchange
        if exchange is None:
            return
        if self._headed and self.until_eof and exc is None:
            self._ended = True
            exchange.complete()
            return
        self._fail("it closed the connection")

    def _fail(self, why: str) -> None:
        exchange, self.exchange = self.exchange, None
        self.transport.abort()
        if exchange is not None:
            exchange.failed(why, said=self._headed or bool(self._size))

    def _forget(self) -> None:
        if self in self.live.idle:
            self.live.idle.remove(self)
        self.transport.abort()

    # the parser calls these

    def on_message_begin(self) -> None:
        if self._ended or self.exchange is None:
            self._extra = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._headed or self._extra:
            return
        low = name.lower()
        if low in _OURS:
            return
        if low == b"content-length":
            self.length = int(value)
        elif low == b"transfer-encoding":
            if value.lower() != b"chunked":
                raise ValueError("a coding that nobody asked for")
            self.chunked = True
        else:
            if low == b"content-type":
                self.media = value.lower()
            self.lines.append(b"%b: %b\r\n" % (low, value))

    def on_headers_complete(self) -> None:
        if self._extra:
            return
        self.status = self._parser.get_status_code()
        if self.status < 200:
            self._interim = True
            return
        self._headed = True
        self.keep = self._parser.should_keep_alive()
        self.until_eof = self.length is None and not self.chunked and self.status not in (204, 304)
        if self.exchange is not None:
            self.exchange.answered(self)

    def on_body(self, piece: bytes) -> None:
        if self.exchange is not None and not self._extra:
            self.exchange.piece(piece)

    def on_chunk_header(self) -> None:
        self._chunk_ended = False

    def on_chunk_complete(self) -> None:
        self._chunk_ended = True

    def on_message_complete(self) -> None:
        if self._interim:  # 100 Continue and its like: the answer is yet to come
            self._begin()
        elif not self._extra:
            self._ended = True

    def prepare(self, exchange: "Exchange") -> None:
        """Be ready for the next request."""
        self.exchange = exchange
        self.reused = True
        if self._headed or self._interim:
            self._begin()
        else:
            self._ended = self.keep = False


async def connect(live: "Live", exchange: "Exchange") -> None:
    """Make a connection for a request; the exchange is told of it, or of why there is none."""
    loop = asyncio.get_running_loop()
    upstream: Upstream | None = None
    try:
        async with asyncio.timeout(CONNECT):
            _, upstream = await loop.create_connection(lambda: Upstream(live, exchange), live.host, live.port)
    except TimeoutError:
        exchange.unreached(f"no connection within {CONNECT:g} s")
        return
    except OSError as error:
        why = os.strerror(error.errno).lower() if error.errno else str(error)
        exchange.unreached(why, ours=error.errno in _SHORT)
        return
    try:
        exchange.connected(upstream)
    except Exception:  # nobody awaits this task
        log.exception("cannot send request %s", exchange.request_id)
        exchange.crashed()
