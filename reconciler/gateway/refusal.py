"""Why a request gets no answer from a model, in values: what clients are told of it, each in its own dialect."""

import json
from dataclasses import dataclass
from typing import Literal

Dialect = Literal["openai", "anthropic"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A request that is not answered by a model."""

    status: int
    code: str
    """For programs and metrics: `model_not_found`, `rate_limited`, `unavailable` …"""
    message: str
    """For people: what cannot be done, and what to do."""
    retry_after: float | None = None
    """Seconds."""
    param: str | None = None
    """Which part of the request is meant; of a wrong method those that are right, which the head tells."""
    closes: bool = False
    """Whether nothing more is read from this connection."""


_KINDS = {
    400: ("invalid_request_error", "invalid_request_error"),
    401: ("authentication_error", "authentication_error"),
    403: ("permission_error", "permission_error"),
    404: ("invalid_request_error", "not_found_error"),
    413: ("invalid_request_error", "request_too_large"),
    429: ("rate_limit_error", "rate_limit_error"),
}
"""By status: what OpenAI calls it, what Anthropic does."""


def content(refusal: Refusal, dialect: Dialect, request_id: str) -> bytes:
    """The body that says so, as JSON."""
    ours = ("api_error", "overloaded_error" if refusal.status == 503 else "api_error")
    openai, anthropic = _KINDS.get(refusal.status, ours if refusal.status >= 500 else _KINDS[400])
    if dialect == "anthropic":
        error = {"type": anthropic, "message": refusal.message}
        return json.dumps({"type": "error", "error": error, "request_id": request_id}).encode()
    param = None if refusal.status == 405 else refusal.param
    said = {"message": refusal.message, "type": openai, "param": param, "code": refusal.code}
    return json.dumps({"error": said}).encode()


def event(refusal: Refusal, dialect: Dialect, request_id: str) -> bytes:
    """The same as the last event of a stream that has begun. No `[DONE]` follows it."""
    named = b"event: error\n" if dialect == "anthropic" else b""
    return named + b"data: " + content(refusal, dialect, request_id) + b"\n\n"


def unknown_model(name: str) -> Refusal:
    """There is no such model, or none for this key: which of the two is nobody's business."""
    message = f"cannot find model {name!r}, or it is not for you; GET /v1/models lists those that are"
    return Refusal(status=404, code="model_not_found", message=message, param="model")


def no_answer(model: str, asked: int, last: str) -> Refusal:
    """So many of its instances were asked in vain; `last`: what came of the last."""
    count = f"{asked} of its instances were asked in vain" if asked > 1 else "it was asked in vain"
    message = f"cannot get an answer from {model}: {count}, at last: {last}"
    return Refusal(status=502, code="upstream_failed", message=message, retry_after=1)


def queue_full(model: str, most: int, retry_after: float) -> Refusal:
    """So many wait for a model, and go first."""
    message = f"cannot wait for {model}: {most} may, and others go first"
    return Refusal(status=503, code="queue_full", message=message, retry_after=retry_after)


def no_connection(why: str) -> Refusal:
    """The gateway can make none, to whichever instance."""
    message = f"cannot ask any instance now: the gateway can make no connection: {why}"
    return Refusal(status=503, code="no_connection", message=message, retry_after=1)


def unavailable(model: str, how: str, why: str, retry_after: float) -> Refusal:
    """None of its instances takes requests, in the plan's words where it has any."""
    message = f"{model} {how}{': ' if why else ''}{why}"
    return Refusal(status=503, code="unavailable", message=message, retry_after=retry_after)
