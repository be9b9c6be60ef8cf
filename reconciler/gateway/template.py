"""Heads that came before: whoever asks or answers again sends the same one, but for the length of its body.

What a parser made of the first holds for all that are the same to the byte. They need no parser.
"""

from dataclasses import dataclass

_DIGITS = 9
_LENGTH = b"\r\ncontent-length:"


@dataclass(frozen=True, slots=True)
class Template:
    """One head: what stands before the digits of its Content-Length, and what behind them."""

    before: bytes
    after: bytes
    begin: int
    """Where the digits begin, and where what is behind them ends at the latest."""
    end: int

    def body(self, data: bytes) -> int:
        """Where the body begins in one whole message that has this head and a body; 0 where `data` is no such thing."""
        if not data.startswith(self.before):
            return 0
        begin, after = self.begin, self.after
        stop = data.find(after, begin, self.end)
        if stop < 0:
            return 0
        start = stop + len(after)
        length = len(data) - start
        # to the byte: a sign, a space or a zero before it are for the parser to judge
        return start if length and data[begin:stop] == b"%d" % length else 0


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
