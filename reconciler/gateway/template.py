"""Heads that came before: whoever asks or answers again sends the same one, but for the length of its body.

What a parser made of the first holds for all that are the same to the byte. They need no parser.
"""

from typing import NamedTuple

_DIGITS = 9
_LENGTH = b"\r\ncontent-length:"


class Template(NamedTuple):
    """One head: what stands before the digits of its Content-Length, and what behind them."""

    before: bytes
    after: bytes
    begin: int
    """Where the digits begin, and where what is behind them ends at the latest."""
    end: int

    def body(self, data: bytes) -> int:
        """Where the body begins in one whole message that has this head and a body; 0 where `data` is no such thing."""
        before, after, begin, end = self
        if not data.startswith(before):
            return 0
        stop = data.find(after, begin, end)
        digits = data[begin:stop]
        # a sign or a space would be read by `int`, and by no parser of HTTP
        if stop < 0 or not digits.isdigit():
            return 0
        start = stop + len(after)
        return start if 0 < int(digits) == len(data) - start else 0


def template(data: bytes) -> Template | None:
    """That of one whole message that a parser has accepted; None where it is not one message, or has no length."""
    end = data.find(b"\r\n\r\n") + 4
    found = data[:end].lower().find(_LENGTH)
    if found < 0:
        return None
    begin = found + len(_LENGTH)
    while data[begin : begin + 1] in (b" ", b"\t"):
        begin += 1
    stop = begin
    while data[stop : stop + 1].isdigit():
        stop += 1
    made = Template(data[:begin], data[stop:end], begin, begin + _DIGITS + end - stop)
    return made if made.body(data) else None
