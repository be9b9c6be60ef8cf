"""A conversation with a model: what was said, and answers as they come, with what is measured of them.

What a model says is passed on as it said it: whoever shows it cleans it.
"""

import contextlib
import json
import socket
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPResponse
from typing import Any, cast
from urllib.parse import quote

from reconciler.client.gateway import Gateway, answered, message, refusal
from reconciler.model.bench import Answer
from reconciler.model.errors import HoldfastError

_LINE = 1 << 20
_MOST = 1 << 22
"""Characters of an answer."""
_TOKENS = 1 << 40
"""More than anybody has counted."""
Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class Piece:
    """Some of an answer's text."""

    text: str
    thought: bool = False
    """It is what the model thinks before it answers."""


@dataclass(frozen=True, slots=True)
class Note:
    """What is waited for: a model that is woken, a place in the queue."""

    text: str


@dataclass(frozen=True, slots=True)
class Instead:
    """Another model answers: the fallback of the one that was asked."""

    model: str


class Conversation:
    """With one model. One answer at a time; `stop` may be called from another thread."""

    def __init__(self, gate: Callable[[], Gateway], model: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`gate` is asked anew for each question: where the gateway is may change."""
        self.model = model
        self.messages: list[Message] = []
        """What was said. A question stays only with its answer."""
        self.measured: Answer | None = None
        """Of the last answer, as far as it has come; None before its first word."""
        self._gate = gate
        self._clock = clock
        self._connection: socket.socket | None = None
        self._stopped = False

    def begin(self) -> None:
        """See that the model can be asked. Raises HoldfastError with the gateway's words where it cannot."""
        with answered(self._gate(), "GET", f"/v1/models/{quote(self.model, safe='', errors='replace')}") as response:
            self._check(response)

    def ask(self, text: str) -> Generator[Piece | Note | Instead, None, None]:
        """The answer, as it comes. What came is remembered, even where it was stopped or closed early.

        Raises HoldfastError where it is refused, hangs or breaks off; then nothing of it was said.
        """
        self._stopped, self.measured = False, None  # now: it may be stopped before it is heard
        return self._answer({"role": "user", "content": text})

    def _answer(self, asked: Message) -> Generator[Piece | Note | Instead, None, None]:
        parts: list[str] = []
        try:
            came = 0
            for event in self._stream([*self.messages, asked]):
                if isinstance(event, Piece):
                    came += len(event.text)
                    if not event.thought:
                        parts.append(event.text)
                yield event
                if came > _MOST:
                    raise HoldfastError(f"cannot go on with {self.model}: it does not come to an end")
        except HoldfastError:
            if not self._stopped:
                parts.clear()
                raise
        finally:
            self._connection = None
            if parts:
                self.messages += [asked, {"role": "assistant", "content": "".join(parts)}]

    def stop(self) -> None:
        """End the answer that is coming, if there is one."""
        self._stopped = True
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(OSError):  # it has just ended
                # of the connection itself: what TLS knows of it is for whoever reads
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def _connected(self, connection: socket.socket) -> None:
        self._connection = connection
        if self._stopped:
            self.stop()

    def _check(self, response: HTTPResponse) -> None:
        if response.status != HTTPStatus.OK:
            why = refusal(response.status, response.read(65536), response.headers.get("Retry-After"))
            raise HoldfastError(f"cannot chat with {self.model}: {why}")

    def _stream(self, said: list[Message]) -> Generator[Piece | Note | Instead, None, None]:
        body = {
            "model": self.model,
            "messages": said,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        began = self._clock()
        first = last = None
        usage: dict[str, Any] = {}
        ended = False
        with answered(self._gate(), "POST", "/v1/chat/completions", body, connected=self._connected) as response:
            self._check(response)
            if other := response.headers.get("x-holdfast-fallback"):
                yield Instead(other)
            while not self._stopped and (raw := response.readline(_LINE)):
                if raw.startswith(b":"):
                    yield Note(" ".join(raw[1:].decode("utf-8", "replace").split()))
                if not raw.startswith(b"data:"):
                    continue
                data = raw.removeprefix(b"data:").strip()
                if data == b"[DONE]":
                    ended = True
                    break
                event = self._event(data)
                usage = _usage(event) or usage
                pieces, finished = _pieces(event)
                ended = ended or finished
                if pieces:
                    last = self._clock() - began
                    first = last if first is None else first
                    self.measured = Answer(first=first, last=last, took=last)
                yield from pieces
        self.measured = Answer(
            first=first,
            last=last,
            took=self._clock() - began,
            read=_number(usage.get("prompt_tokens")),
            written=_number(usage.get("completion_tokens")),
        )
        if not ended and not self._stopped:
            raise HoldfastError(f"lost {self.model} in the middle of its answer; see `holdfast events`")

    def _event(self, data: bytes) -> dict[str, Any]:
        try:
            event: Any = json.loads(data)
        except (ValueError, RecursionError):
            raise HoldfastError(f"cannot understand {self.model}: it sent an event that is no JSON") from None
        given = cast("dict[str, Any]", event) if isinstance(event, dict) else {}
        if "error" in given:
            raise HoldfastError(f"cannot go on with {self.model}: {message(given['error'])}")
        return given


def _pieces(event: dict[str, Any]) -> tuple[list[Piece], bool]:
    """The text of one event, and whether the model says that it is the last."""
    try:
        choice = event["choices"][0]
        delta = choice["delta"]
        thought, text = delta.get("reasoning_content") or delta.get("reasoning"), delta.get("content")
        finished = choice.get("finish_reason") is not None
    except (KeyError, IndexError, TypeError, AttributeError):
        return [], False
    found = [Piece(thought, thought=True)] if isinstance(thought, str) and thought else []
    return [*found, *([Piece(text)] if isinstance(text, str) and text else [])], finished


def _usage(event: dict[str, Any]) -> dict[str, Any]:
    given: Any = event.get("usage")
    return cast("dict[str, Any]", given) if isinstance(given, dict) else {}


def _number(given: Any) -> int | None:
    return given if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < _TOKENS else None
