"""A client's connection: reads requests strictly and within deadlines, and has each answered in turn."""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, cast

import httptools

from reconciler.gateway import paths, trace
from reconciler.gateway.body import Body
from reconciler.gateway.exchange import Exchange
from reconciler.gateway.head import (
    ENCODED,
    EXPECT,
    FORWARDED,
    HEAD,
    HOST,
    LENGTH,
    MEDIA,
    NONE,
    READ,
    REQUEST_ID,
    TOO_LONG,
    TRACE,
    malformed,
    too_large,
    unsound,
    wrong,
)
from reconciler.gateway.known import Known, begun, remembered
from reconciler.gateway.nearby import is_local
from reconciler.gateway.paths import Operation
from reconciler.gateway.refusal import Refusal

if TYPE_CHECKING:
    from reconciler.gateway.core import Core

AHEAD = 16
"""Requests that a client may send before the first of them is answered."""
BUFFER = 64 * 1024
"""Bytes of answers that a client has not taken yet, above which its engine waits."""
LINGER = 2.0
"""Seconds in which a client that is refused may go on sending, so that it reads why."""
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(asyncio.Protocol):
    """One connection of a client."""

    __slots__ = (
        "_ahead",
        "_beside",
        "_core",
        "_current",
        "_expects",
        "_fields",
        "_forwarded",
        "_heading",
        "_known",
        "_linger",
        "_parser",
        "_reading",
        "_size",
        "_target",
        "_twice",
        "address",
        "deadline",
        "local",
        "stuck_since",
        "transport",
    )

    def __init__(self, core: "Core") -> None:
        self._core = core
        self._parser: Any = httptools.HttpRequestParser(self)
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.address = ""
        self.local = False
        """Whether it came in at an address that only this machine reaches."""
        self.deadline = 0.0
        """By when something must have happened, seconds of the core's clock; infinite while a request is answered."""
        self.stuck_since: float | None = None
        """Since when it takes nothing of what is sent."""
        self._current: Exchange | None = None
        """The request that is answered now."""
        self._reading: Exchange | None = None
        """The request whose body comes now."""
        self._ahead: deque[Exchange] = deque()
        """Requests that are complete, and whose turn is yet to come."""
        self._heading = False
        """Whether a head has begun to come, and is not complete."""
        self._beside = 0
        """Bytes since it began, or since the last of a body."""
        self._linger = False
        """Whether all that comes is thrown away."""
        self._known: Known | None = None
        """What its last request with a body began with."""
        self._fresh()

    def _fresh(self) -> None:
        self._target = b""
        self._size = 0
        self._twice = False
        self._expects = False
        self._fields = NONE.copy()
        self._forwarded: list[bytes] = []

    # asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if peer else ""
        own = transport.get_extra_info("sockname")
        self.local = bool(own) and is_local(own[0])
        self.transport.set_write_buffer_limits(BUFFER)
        self.deadline = self._core.now() + self._core.idle_timeout
        if not self._core.opened(self):
            self._linger = True
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._core.closed(self)
        current, self._current = self._current, None
        if current is not None:
            current.abandon()
        if self._reading is not None:
            self._reading.abandon()
            self._reading = None
        for exchange in self._ahead:
            exchange.abandon()
        self._ahead.clear()

    def pause_writing(self) -> None:
        self.stuck_since = self._core.now()
        if self._current is not None:
            self._current.hold(held=True)

    def resume_writing(self) -> None:
        self.stuck_since = None
        if self._current is not None:
            self._current.hold(held=False)
        self._next()

    def data_received(self, data: bytes) -> None:
        if self._linger:
            return
        idle = self._current is None and self._reading is None and not self._heading
        first = idle and not self._ahead and self.stuck_since is None
        if first and (known := self._known) is not None and (start := known.template.body(data)):
            core = self._core
            if known.table is core.directory.table and len(data) - start <= core.front.body and not core.draining:
                exchange = self._current = begun(known, core, self, data[start:])
                self.deadline = _NEVER
                core.begin(exchange)
                return
        self._beside += len(data)
        refused = self._parse(data)
        if refused is None and self._beside > HEAD and (self._heading or self._reading is not None):
            refused = TOO_LONG
        if refused is not None:
            self._break(refused)
        elif self._reading is not None and self._reading.refusal is not None and self._current is None:
            # the rest of its body is not worth waiting for
            self._break(self._reading.refusal)
        elif self._reading is not None and self._core.draining:
            self._reading.keep = False
        elif first and len(self._ahead) == 1 and self._reading is None:
            self._remember(self._ahead[0], data)
        self._next()

    def eof_received(self) -> None:
        return None

    def _parse(self, data: bytes) -> Refusal | None:
        """What is wrong with it, if anything is."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as other:
            return self._parse(self._stay() + data[other.args[0] :])
        except httptools.HttpParserCallbackError as error:
            return malformed(error.__context__ or error)
        except httptools.HttpParserError as error:
            return malformed(error)
        return None

    def _remember(self, exchange: Exchange, data: bytes) -> None:
        """Know the head of one whole request, if the next with the same one is to be treated alike."""
        fields = self._fields
        if fields[REQUEST_ID] is None and fields[TRACE] is None and fields[EXPECT] is None:
            self._known = remembered(exchange, data)

    def _stay(self) -> bytes:
        """Another protocol was asked for, and is not spoken here: the request goes on with its body, as of HTTP/1.1.

        Its parser reads no further. A new one does, from a head that says the same of the body, to be fed first.
        """
        self._parser = httptools.HttpRequestParser(self)
        if self._fields[ENCODED] is not None:
            return b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
        return b"POST / HTTP/1.1\r\ncontent-length: %b\r\n\r\n" % (self._fields[LENGTH] or b"0")

    # the parser calls these

    def on_message_begin(self) -> None:
        if self._reading is not None:  # its second head
            return
        if len(self._ahead) >= 4 * AHEAD:
            raise BufferError(f"more than {4 * AHEAD} requests at once")
        self._fresh()
        self._heading, self._beside = True, 0
        if self._current is None and not self._ahead:
            self.deadline = self._core.now() + self._core.front.head_timeout

    def on_url(self, url: bytes) -> None:
        if self._heading:
            self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._heading:  # a trailer, or of a second head
            return
        self._size += len(name) + len(value) + 4
        kind = READ.get(name)
        if kind is None:
            name = name.lower()
            kind = READ.get(name)
            if kind is None:
                return
        value = value.rstrip(b" \t")
        if kind == FORWARDED:
            self._forwarded.append(b"%b: %b\r\n" % (name, value))
        elif self._fields[kind] is None:
            self._fields[kind] = value
        else:
            self._twice = True

    def on_headers_complete(self) -> None:
        if not self._heading:
            return
        self._heading = False
        core, now = self._core, self._core.now()
        fields, target = self._fields, self._target
        method: bytes = self._parser.get_method()
        path, _, query = target.partition(b"?")
        placed = core.place(fields[HOST], path) if core.sited else (None, path)
        site, rest = (None, path) if isinstance(placed, Refusal) else placed
        operation = placed if isinstance(placed, Refusal) else paths.find(method, rest)
        refused: Refusal | None = None
        if isinstance(operation, Refusal):
            refused, operation = operation, _ANTHROPICS if rest.startswith(b"/v1/messages") else _NOTHING
        exchange = self._reading = Exchange(core, self, operation, now)
        exchange.client, exchange.method = self.address, _METHODS.get(method) or method.decode("ascii")
        exchange.path = _PATHS.get(rest) or rest[:256].decode("ascii", "replace")
        if query:
            exchange.query = query
        if site is not None:
            exchange.site = site
        exchange.body = Body(core.spool)
        version = self._parser.get_http_version()
        if version != "1.1":
            exchange.chunks = False
        exchange.request_id = trace.request_id(fields[REQUEST_ID])
        exchange.id_line = b"x-request-id: %b\r\n" % exchange.request_id.encode()
        lines = exchange.forwarded = self._forwarded
        if (media := fields[MEDIA]) is not None:
            exchange.media = media
            lines.append(b"content-type: %b\r\n" % media)
        lines.append(exchange.id_line)
        if (parent := fields[TRACE]) is not None:
            exchange.trace, passed = trace.passed_on(parent)
            if passed:
                lines.append(b"traceparent: %b\r\n" % passed)
        refused = (
            unsound(fields, target, version, size=self._size, twice=self._twice, most=core.front.body)
            or core.authenticate(exchange, fields)
            or refused
        )
        if refused is not None:
            exchange.refusal = refused
        elif fields[EXPECT] is not None and exchange.chunks:
            self._expects = True
            self._continue()
        if self.deadline < _NEVER:  # else another is answered meanwhile
            self.deadline = now + core.front.body_timeout

    def _continue(self) -> None:
        """Tell a client that waits to send its body to do so, once all that it sent before is answered."""
        if self._expects and self._current is None and not self._ahead:
            self._expects = False
            self.transport.write(_CONTINUE)

    def on_body(self, piece: bytes) -> None:
        self._beside = 0
        exchange = self._reading
        if exchange is None or exchange.refusal is not None:
            return
        before = exchange.received
        after = exchange.received = before + len(piece)
        if after > self._core.front.body:
            exchange.refusal = too_large(self._core.front.body)
            return
        if after >> 20 > before >> 20 and self.deadline < _NEVER:
            self.deadline = self._core.now() + self._core.front.body_timeout
        refused = exchange.body.feed(piece)
        if refused is not None:
            exchange.refusal = refused

    def on_message_complete(self) -> None:
        exchange = self._reading
        if exchange is None:
            return
        if not (exchange.chunks and self._parser.should_keep_alive()) or self._core.draining:
            exchange.keep = False
        if self._parser.should_upgrade():  # its body is yet to come
            return
        self._reading = None
        self._ahead.append(exchange)
        if len(self._ahead) >= AHEAD and not self.transport.is_closing():
            self.transport.pause_reading()

    # what ends a connection

    def _break(self, refused: Refusal) -> None:
        """Answer what went before, then this, and read nothing more."""
        self._linger = True
        exchange, self._reading = self._reading, None
        if exchange is None:
            exchange = Exchange(self._core, self, _NOTHING, self._core.now())
            exchange.client, exchange.body = self.address, Body(self._core.spool)
            exchange.request_id = trace.request_id(None)
            exchange.id_line = b"x-request-id: %b\r\n" % exchange.request_id.encode()
        exchange.refusal, exchange.keep = refused, False
        self._ahead.append(exchange)
        if self._current is not None:
            self.deadline = _NEVER

    # one request after the other

    def _next(self) -> None:
        """Begin with the next request, where none is being answered."""
        if self._current is None and self._ahead and self.stuck_since is None:
            exchange = self._current = self._ahead.popleft()
            if not self._ahead and not self._linger:
                self.transport.resume_reading()
            self.deadline = _NEVER
            self._core.begin(exchange)

    def answered(self, exchange: Exchange, *, abort: bool) -> None:
        """A request has its answer."""
        self._current = None
        if abort:
            self.transport.abort()
        elif self._linger and not self._ahead:
            self._say_farewell()
        elif not exchange.keep:
            self.transport.close()
        elif self._ahead:
            # not at once: a long row of requests would be a deep stack
            self._core.loop.call_soon(self._next)
        else:
            if self._expects:
                self._continue()
            front = self._core.front
            patience = front.head_timeout if self._heading else self._core.idle_timeout
            self.deadline = exchange.ended + (front.body_timeout if self._reading is not None else patience)

    def _say_farewell(self) -> None:
        """Let the client read why before the connection ends: what it still sends would otherwise reset it."""
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self.deadline = self._core.now() + LINGER
        else:
            self.transport.close()

    def late(self) -> None:
        """Its deadline has passed."""
        if self._linger or (self._reading is None and not self._heading):
            self.transport.abort() if self._linger else self.transport.close()
            return
        what = "body" if self._reading is not None else "head"
        self._heading = False
        self._break(wrong(408, "request_timeout", f"the {what} of the request did not come in time"))
        self._next()

    @property
    def idle(self) -> bool:
        """Whether no request is under way."""
        return self._current is None and self._reading is None and not self._heading


_METHODS = {b"POST": "POST", b"GET": "GET", b"HEAD": "HEAD"}
_PATHS = {one.path: one.path.decode() for one in (*paths.INFERENCE, *paths.OWN)}
_NOTHING = Operation(name="", path=b"", model_in="nowhere", role=None)
_ANTHROPICS = Operation(name="", path=b"", model_in="nowhere", role=None, dialect="anthropic")
_NEVER = float("inf")
