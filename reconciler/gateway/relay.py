"""What a client gets: an instance's answer as it comes, our own where there is none, never one cut without a word."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Literal

from reconciler.gateway import refusal as refusals
from reconciler.gateway.limits import Ticket
from reconciler.gateway.paths import Operation
from reconciler.gateway.record import Record
from reconciler.gateway.refusal import Refusal
from reconciler.gateway.usage import Stream, of_answer

if TYPE_CHECKING:
    from reconciler.gateway.core import Core
    from reconciler.gateway.server import Connection
    from reconciler.gateway.upstream import Upstream

HELD = 256 * 1024
"""Bytes of an answer that are kept until it is complete, so that an instance that dies in it costs nobody a request."""
_TAIL = 4096
"""Bytes at the end of a long answer in which its usage is looked for."""
_LAST = b"0\r\n\r\n"
Passing = Literal["held", "stream", "sized", "chunked", "bare"]
"""How an answer is passed on: whole once it is complete; as events in chunks; with its length; in chunks; until the
connection ends."""


class Relay(Record, ABC):
    """The half of a request that looks at its client. Slots: each request pays for every look at an attribute."""

    __slots__ = (
        "_out",
        "_passing",
        "_size",
        "_tail",
        "_usage",
        "begun",
        "chunks",
        "connection",
        "core",
        "fell_back",
        "id_line",
        "keep",
        "moved",
        "operation",
        "over",
        "passed",
        "strips",
        "tickets",
    )

    def __init__(self, core: "Core", connection: "Connection", operation: Operation, now: float) -> None:
        Record.__init__(self, now)
        self.core, self.connection, self.operation = core, connection, operation
        self.id_line = b""
        """The header with its id."""
        self.keep = True
        """Whether the connection may be used again."""
        self.chunks = True
        """Whether the client understands chunks: HTTP/1.1."""
        self.tickets: tuple[Ticket, ...] = ()
        """What let it in: the first tells its client of limits."""
        self.strips = False
        """Whether the engine was asked for its usage, and the client did not ask."""
        self.fell_back = False
        """Whether another model answers than the one that was asked for."""
        self.begun = False
        """Whether the head of the answer was made."""
        self.passed = False
        """Whether anything of an instance's answer was passed on."""
        self.over = False
        self.moved = 0.0
        """When something came of its instance, or that was asked."""
        self._passing: Passing = "held"
        self._usage: Stream | None = None
        self._tail = b""
        self._size = 0
        self._out: list[bytes] = []

    @abstractmethod
    def end(self, *, gone: bool = False, abort: bool = False) -> None:
        """It is over; `gone`: the client is; `abort`: it must see that its answer is not whole."""

    def pass_head(self, upstream: "Upstream") -> None:
        """The head of an answer is there."""
        self.status = upstream.status
        if upstream.media.startswith(b"text/event-stream"):
            self.streamed = True
            self._passing = "stream"
            if self.operation.usage != "none":
                self._usage = Stream(self.operation.usage, strip=self.strips)
            if not self.begun:
                self._head(upstream.status, upstream.lines, self._chunked())
        elif (
            self.begun or not (upstream.chunked or upstream.until_eof) or upstream.media.startswith(b"application/json")
        ):
            self._passing = "held"
        else:
            self._pass_bare(upstream)

    def _chunked(self) -> bytes:
        return b"transfer-encoding: chunked\r\n" if self.chunks else b""

    def _pass_bare(self, upstream: "Upstream") -> None:
        """From now on pass the answer on as it comes."""
        if upstream.length is not None:
            self._passing, frame = "sized", b"content-length: %d\r\n" % upstream.length
        else:
            self._passing, frame = ("chunked" if self.chunks else "bare"), self._chunked()
        self._head(upstream.status, upstream.lines, frame)

    def pass_piece(self, piece: bytes, upstream: "Upstream", now: float) -> None:
        """Some of the answer's body, to be sent by the next `flush`."""
        self.pieces += 1
        if self._passing == "held":
            self._size += len(piece)
            if self._size <= HELD:
                self._out.append(piece)
                return
            if self.begun:  # it is to be told in an event: that much of it will do
                return
            held, self._out = self._out, []
            self._pass_bare(upstream)
            piece = b"".join((*held, piece))
        if self._passing == "stream":
            if self._usage is not None:
                piece = self._usage.feed(piece)
        else:
            self._tail = (self._tail + piece)[-_TAIL:]
        if not piece:
            return
        if not self.sent:
            self.first_byte = now
        self.last_byte = now
        self.sent += len(piece)
        if self.chunks and self._passing != "sized":
            self._out.append(b"%x\r\n%b\r\n" % (len(piece), piece))
        else:
            self._out.append(piece)

    def pass_event(self, chunk: bytes, carried: bytes) -> None:
        """One chunk of a stream, after its first read: where nothing is to be taken out, it goes as it came."""
        self.moved = now = self.core.now()
        self.pieces += 1
        usage = self._usage
        piece = usage.feed(carried) if usage is not None else carried
        if not piece:
            return
        if not self.passed:
            self.passed, self.first_byte = True, now
        self.last_byte = now
        self.sent += len(piece)
        if not self.chunks:
            chunk = piece
        elif piece is not carried:
            chunk = b"%x\r\n%b\r\n" % (len(piece), piece)
        self.connection.transport.write(chunk)

    @property
    def holds(self) -> bool:
        """Whether the answer is passed on once it is complete."""
        return self._passing == "held" and self._size <= HELD and not self.begun

    def flush(self) -> None:
        """Send what came in one read. A head alone only of a stream: for all others another may still answer."""
        out = self._out
        if out and (self._passing == "stream" or (self.sent and self._passing != "held")):
            self.passed = self.sent > 0
            self.connection.transport.write(out[0] if len(out) == 1 else b"".join(out))
            out.clear()

    def pass_end(self, upstream: "Upstream") -> bool:
        """The answer is complete. False where it only looks so: a stream that ended before its end."""
        if self._passing == "held":
            out = self._out
            content = out[0] if len(out) == 1 else b"".join(out)
            out.clear()
            self.pass_held(content, upstream.lines)
            return True
        usage = self._usage
        if self._passing == "stream":
            if upstream.until_eof and usage is not None and not usage.finished:
                return False
            if usage is not None and (held := usage.rest()):
                self._out.append(b"%x\r\n%b\r\n" % (len(held), held) if self.chunks else held)
        else:
            self._count(self._tail)
        if self.chunks and self._passing != "sized":
            self._out.append(_LAST)
        if self._out:
            self.connection.transport.write(b"".join(self._out))
            self._out.clear()
        return True

    def pass_held(self, content: bytes, lines: list[bytes]) -> None:
        """An answer is complete, and nothing of it was passed on; `lines` are headers of its own."""
        self.passed = True
        if self.begun:  # a stream was waiting, and what came is none: most likely why it cannot be
            self._count(content)
            self.reason = self.reason or "upstream_error"
            self._write_last(b"data: " + content.replace(b"\r", b"").replace(b"\n", b" ") + b"\n\n")
            return
        self.first_byte = self.last_byte = self.core.now()
        self.sent += len(content)
        self._head(self.status, lines, b"content-length: %d\r\n" % len(content))
        self._out.append(content)
        self.connection.transport.write(b"".join(self._out))
        self._count(content)  # once it is on its way

    def _count(self, content: bytes) -> None:
        if self.operation.usage != "none" and self.status < 300:
            counted = of_answer(content, self.operation.usage)
            if counted is not None:
                self.prompt, self.written = counted

    def count_stream(self) -> None:
        """Take over what a stream has told of its tokens, whole or not."""
        tokens = self._usage.tokens if self._usage is not None else None
        if tokens is not None:
            self.prompt, self.written = tokens

    def _head(self, status: int, lines: list[bytes], frame: bytes) -> None:
        """The head of the answer, for the next write."""
        self.begun = True
        if self.core.draining or not frame:
            self.keep = False
        self._out += [
            _STATUS.get(status) or b"HTTP/1.1 %d \r\n" % status,
            *lines,
            self.id_line,
            self.tickets[0].headers if self.tickets else b"",
            b"x-holdfast-fallback: %b\r\n" % self.model.encode() if self.fell_back else b"",
            frame,
            b"\r\n" if self.keep else b"connection: close\r\n\r\n",
        ]

    def _write_last(self, content: bytes) -> None:
        """The last event of a stream, and its end."""
        self.sent += len(content)
        self._out.append(b"%x\r\n%b\r\n%b" % (len(content), content, _LAST) if self.chunks else content)
        self.connection.transport.write(b"".join(self._out))
        self._out.clear()

    def forget(self) -> None:
        """Nothing was passed on: what came of this answer counts for nothing."""
        if self._out and self._out[0].startswith(b"HTTP/"):  # the head was made, and not sent
            self.begun = self.streamed = False
        self._out.clear()
        self._size = self.pieces = self.sent = 0
        self._usage = None
        self._passing = "held"

    def break_off(self, message: str) -> None:
        """An answer that has begun cannot be made whole: say so in its own form, or break off so that it shows."""
        self.reason = "cut"
        if self.streamed:
            refused = Refusal(status=502, code="upstream_failed", message=message)
            self._write_last(b"\n\n" + refusals.event(refused, self.operation.dialect, self.request_id))
            self.end()
        else:
            self._out.clear()
            self.end(abort=True)

    def refuse(self, refused: Refusal) -> None:
        """Tell the client why there is no answer."""
        self.reason = refused.code
        if self.begun:
            self._write_last(refusals.event(refused, self.operation.dialect, self.request_id))
            self.end()
            return
        content = refusals.content(refused, self.operation.dialect, self.request_id)
        lines: list[bytes] = []
        if refused.retry_after is not None:
            lines.append(b"retry-after: %d\r\n" % max(1, round(refused.retry_after + 0.499)))
        if refused.status == 405 and refused.param is not None:
            lines.append(b"allow: %b\r\n" % refused.param.encode())
        if refused.status == 401:
            lines.append(b"www-authenticate: Bearer\r\n")
        if refused.closes:
            self.keep = False
        self.reply(refused.status, content, b"application/json", lines)

    def reply(self, status: int, content: bytes, media: bytes, lines: list[bytes] | None = None) -> None:
        """Answer it ourselves."""
        self.status = status
        self._out.clear()
        frame = b"content-length: %d\r\n" % len(content)
        self._head(status, [b"content-type: %b\r\n" % media, *(lines or ())], frame)
        if self.method != "HEAD":
            self._out.append(content)
            self.sent += len(content)
        self.first_byte = self.last_byte = self.core.now()
        self.connection.transport.write(b"".join(self._out))
        self._out.clear()
        self.end()

    def comment(self, text: str) -> None:
        """A line in a stream that clients pass over: there is a connection still, and this is why it is silent."""
        if not self.begun:
            self.status, self.streamed = 200, True
            self._head(200, [b"content-type: text/event-stream\r\n", b"cache-control: no-cache\r\n"], self._chunked())
        said = f": {' '.join(text.split())}\n\n".encode()
        self._out.append(b"%x\r\n%b\r\n" % (len(said), said) if self.chunks else said)
        self.connection.transport.write(b"".join(self._out))
        self._out.clear()


_STATUS = {
    status: f"HTTP/1.1 {status} {text}\r\n".encode()
    for status, text in {
        200: "OK", 201: "Created", 202: "Accepted", 204: "No Content", 400: "Bad Request", 401: "Unauthorized",
        403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout", 409: "Conflict",
        411: "Length Required", 413: "Content Too Large", 414: "URI Too Long", 415: "Unsupported Media Type",
        417: "Expectation Failed", 422: "Unprocessable Content", 429: "Too Many Requests",
        431: "Request Header Fields Too Large", 500: "Internal Server Error", 501: "Not Implemented",
        502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout", 505: "HTTP Version Not Supported",
    }.items()
}  # fmt: skip
