"""One question to a server on this machine: connect, perhaps an HTTP request, an answer within a deadline.

Plain non-blocking sockets on the event loop. aiohttp and even asyncio's own streams make a task, a transport and a
protocol of every connection: 200 us and more, where this takes 70; fifty servers asked every 5 s are to cost a
thousandth of a core. Each question has a connection of its own, which is what a client's next request would get, and
which leaves no kept-alive connection for the server to watch over.
"""

import asyncio
import errno
import json
import os
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

from reconciler.model.quantity import print_duration

ANSWER_LIMIT = 64 * 1024
"""Bytes of an answer that are read where nothing else is said."""
LATE = 0.25
"""Seconds by which a deadline may be missed; past that it was this process that did not run, not the server."""
_WORDS = 200
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[^\r\n]*\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,9})[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.IGNORECASE)
_JSON = re.compile(rb"\r\ncontent-type:[^\r\n]*json", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How a question ended."""

    good: bool
    """Whether it was answered 2xx; without an HTTP request, whether the connection was accepted."""
    connected: bool
    """Whether something listens there."""
    detail: str = ""
    """What was answered instead, in words."""
    status: int | None = None
    """Of the HTTP answer; None where there was none."""
    body: bytes = b""
    """Of a 2xx answer."""
    late: bool = False
    """Whether nothing can be said, because this process itself was stopped or busy."""


def get(path: str, port: int) -> bytes:
    """A GET request."""
    return _request("GET", path, port, b"")


def post(path: str, port: int, body: dict[str, Any]) -> bytes:
    """A POST request of JSON."""
    return _request("POST", path, port, json.dumps(body).encode())


def _request(method: str, path: str, port: int, body: bytes) -> bytes:
    target = quote(path, safe="/?&=%#:;,@!$'()*+~[]")
    lines = [f"{method} {target} HTTP/1.1", f"Host: 127.0.0.1:{port}", "User-Agent: holdfast", "Accept: */*"]
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body


async def ask(port: int, request: bytes, within: float, *, limit: int = ANSWER_LIMIT) -> Answer:
    """Put one question, and wait at most so many seconds for its Answer."""
    answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def done(answer: Answer) -> None:
        if not answered.done():
            answered.set_result(answer)

    question = Question(port, request, within, done, limit=limit)
    try:
        return await answered
    finally:
        question.cancel()


class Question:
    """A question under way. `done` is called once with its Answer, never before the constructor has returned."""

    __slots__ = (
        "_answer",
        "_connected",
        "_deadline",
        "_done",
        "_due",
        "_fd",
        "_limit",
        "_loop",
        "_reads",
        "_request",
        "_sock",
        "_timeout",
        "_waits",
    )

    def __init__(
        self,
        port: int,
        request: bytes | None,
        timeout: float,
        done: Callable[[Answer], None],
        *,
        limit: int = ANSWER_LIMIT,
    ) -> None:
        self._loop, self._limit = asyncio.get_running_loop(), limit
        self._request, self._timeout, self._done = request, timeout, done
        self._answer = b""
        self._connected = self._reads = self._waits = False
        self._due = self._loop.time() + timeout
        self._deadline = self._loop.call_at(self._due, self._expired)
        try:
            self._sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        except OSError as error:
            self._sock = None
            # our own want of descriptors says nothing about the server
            self._loop.call_soon(self._end, False, f"cannot ask: {error.strerror}", True)
            return
        # selectors are given the number: looking up an object they do not know costs them a printed form of it
        self._fd = self._sock.fileno()
        code = self._sock.connect_ex(("127.0.0.1", port))
        if code not in (0, errno.EINPROGRESS):
            self._loop.call_soon(self._end, False, _plain(code))
        elif not self._speak():
            self._waits = True
            self._loop.add_writer(self._fd, self._writable)

    def cancel(self) -> None:
        """Ask no more; `done` is not called."""
        self._close()

    def _writable(self) -> None:
        self._waits = False
        self._loop.remove_writer(self._fd)
        self._speak()

    def _speak(self) -> bool:
        """Send the request; False while the connection is being made, which on one machine it hardly ever is."""
        sock = self._sock
        if sock is None:
            return True
        try:
            if sock.getpeername() == sock.getsockname():
                # nobody listens, and the kernel happened to connect the socket to itself
                self._loop.call_soon(self._end, False, _plain(errno.ECONNREFUSED))
                return True
            self._connected = True
            if self._request is None:
                self._loop.call_soon(self._end, True, "")
                return True
            # a request of a few hundred bytes always fits into the buffer of a new connection
            sock.send(self._request)
        except OSError as error:
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or error.errno
            if code == errno.ENOTCONN:
                return False
            self._loop.call_soon(self._end, False, _plain(code))
            return True
        self._reads = True
        self._loop.add_reader(self._fd, self._readable)
        return True

    def _readable(self) -> None:
        sock = self._sock
        if sock is None:
            return
        try:
            data = sock.recv(ANSWER_LIMIT)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(False, _plain(error.errno))
            return
        self._answer += data
        if data and len(self._answer) < self._limit and not _whole(self._answer):
            return
        self._reads = False
        self._loop.remove_reader(self._fd)
        status = _status(self._answer)
        if status is None:
            said = "no HTTP answer" if self._answer else "it closed the connection without an answer"
            self._end(False, said)
        elif 200 <= status < 300:
            self._end(True, "", status=status, body=self._answer.partition(b"\r\n\r\n")[2])
        else:
            self._end(False, f"{status} {_words(self._answer, status)}".rstrip(), status=status)

    def _expired(self) -> None:
        if self._loop.time() > self._due + LATE:
            self._end(False, "this process did not run in time", True)
        elif _status(self._answer) is not None:
            self._end(False, f"an answer that did not end in {print_duration(self._timeout)}")
        else:
            self._end(False, f"no answer in {print_duration(self._timeout)}")

    def _end(self, good: bool, detail: str, late: bool = False, status: int | None = None, body: bytes = b"") -> None:
        if self._deadline is None:
            return  # cancelled, or ended, since this was scheduled
        connected = self._connected
        self._close()
        self._done(Answer(good=good, connected=connected, detail=detail, late=late, status=status, body=body))

    def _close(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._sock is not None:
            if self._reads:
                self._loop.remove_reader(self._fd)
            if self._waits:
                self._loop.remove_writer(self._fd)
            self._sock.close()
            self._sock = None


def _plain(code: int | None) -> str:
    return "connection refused" if code == errno.ECONNREFUSED else os.strerror(code or 0).lower()


def _status(answer: bytes) -> int | None:
    """`HTTP/1.1 503 …` → 503; None while there is no status line, or where it is none."""
    match = _STATUS.match(answer)
    return int(match[1]) if match else None


def _whole(answer: bytes) -> bool:
    """Whether the answer is complete though the connection stays open; without a length only its end tells."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return False
    length = _LENGTH.search(answer, 0, end + 2)
    if length:
        return len(answer) >= end + 4 + int(length[1])
    return answer.endswith(b"0\r\n\r\n") and _CHUNKED.search(answer, 0, end + 2) is not None


def _words(answer: bytes, status: int) -> str:
    """What a refusal says, in one short printable line: the message of a JSON error, the phrase of its status."""
    head, _, body = answer.partition(b"\r\n\r\n")
    told = first_object(body) if _JSON.search(head) else None
    if told is not None:
        error: Any = told.get("error") or told.get("error_message") or told
        message: Any = error.get("message") if isinstance(error, dict) else error  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if isinstance(message, str):
            return "".join(char if char.isprintable() else " " for char in message[:_WORDS]).strip()
    return _PHRASES.get(status, "")


def first_object(body: bytes) -> dict[str, Any] | None:
    """The JSON object that a body holds; None where it holds none."""
    start = body.find(b"{")  # past the length of a first chunk, where there are chunks
    if start < 0:
        return None
    try:
        told: Any = json.JSONDecoder().raw_decode(body[start:].decode(errors="replace"))[0]
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", told) if isinstance(told, dict) else None
