"""The access log: a request as a JSON object in a line. Never what was said, never a key; and nothing forges a line."""

import json
import time
from math import isnan

import msgspec

from reconciler.gateway.record import Record

_LONGEST = 512
"""Characters of anything that a client made up."""
_MILLISECONDS = tuple(f".{number:03}Z" for number in range(1000))
_encode = msgspec.json.Encoder().encode


class Line(msgspec.Struct, gc=False):
    """What is said of a request, in this order. Seconds to the microsecond; null where it did not come to that."""

    time: str
    """When it ended, RFC 3339."""
    id: str
    trace: str
    client: str
    key: str
    method: str
    path: str
    asked: str
    model: str
    slot: str
    status: int
    reason: str
    stream: bool
    seconds: float
    """From its head to the end."""
    first_byte: float
    waited: float
    retries: int
    received: int
    sent: int
    read: int
    """Tokens, as are those `written`."""
    written: int


class Stamps:
    """Times as RFC 3339 in UTC, to the millisecond. The part that stays the same for a second is made once in it."""

    __slots__ = ("_second", "_text")

    def __init__(self) -> None:
        self._second, self._text = -1, ""

    def at(self, when: float) -> str:
        """`when` is in seconds since the epoch."""
        second = int(when)
        if second != self._second:
            self._second, self._text = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return self._text + _MILLISECONDS[int((when - second) * 1000)]


def line(record: Record, at: str) -> bytes:
    """One request, in ASCII. `at`: when it ended."""
    began, first_byte = record.began, record.first_byte
    shown = Line(
        at,
        record.request_id[:_LONGEST],
        record.trace,
        record.client,
        record.key,
        record.method,
        record.path[:_LONGEST],
        record.asked[:_LONGEST],
        record.model,
        record.slot,
        record.status,
        record.reason,
        record.streamed,
        int((record.ended - began) * 1e6) / 1e6,
        int((first_byte - began) * 1e6) / 1e6 if first_byte == first_byte else first_byte,  # noqa: PLR0124  NaN
        int(record.waited * 1e6) / 1e6,
        record.retries,
        record.received,
        record.sent,
        record.prompt,
        record.written,
    )
    try:
        raw = _encode(shown)
    except UnicodeEncodeError:  # halves of a character
        return _escaped(shown)
    return raw + b"\n" if raw.isascii() and b"\x7f" not in raw else _escaped(shown)


def dropped(count: int, at: str) -> bytes:
    """What stands in the place of lines that nobody read in time."""
    return _encode({"time": at, "dropped": count}) + b"\n"


def _escaped(shown: Line) -> bytes:
    """The same with what a terminal might act on escaped: msgspec leaves DEL, C1 and marks of direction as they are."""
    fields = msgspec.structs.asdict(shown)
    fields["first_byte"] = None if isnan(shown.first_byte) else shown.first_byte
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"
