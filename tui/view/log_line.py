"""Bytes of a log → lines that a terminal would not act on, each with the level and the time of its record."""

import re
from collections.abc import Callable
from typing import NamedTuple

from tui.view.clean import GONE, clean
from tui.view.log_level import Level, Record, begins, judge

LONGEST = 8192
"""Bytes of a line; a longer one is shown in pieces."""
_WINDOW = LONGEST + 4
"""Bytes in which its end, or a place to cut it, is found."""
_TAB = "    "
CONTEXT = 32768
"""Bytes at the beginning of a part that are looked through for the beginning of a record."""
_RETURNS = bytes.maketrans(b"\r", b"\n")
_CONTROLS = bytes(sorted({code for code in GONE if code < 0x80} - set(b"\r\x1b")))
_COLOURS = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]")


class LogLine(NamedTuple):
    """One line, or a piece of a very long one, or a note of ours."""

    source: int
    """Whose it is: which of the logs that are shown together."""
    at: int
    """The address of its first byte; of a note, that of what comes after it."""
    end: int
    """The address of what comes next."""
    text: str
    level: Level = Level.INFO
    stamp: str = ""
    """See `Record.stamp`."""
    head: int = 0
    """See `Record.head`."""
    note: bool = False
    """Whether it is not of the log, but says something of it."""


def shown(raw: bytes) -> str:
    """A line as it is shown. Of what returns overwrote (progress bars), the last state."""
    text = raw.decode("utf-8", "replace")
    if text.isascii() and text.isprintable():
        return text
    if "\r" in text:
        text = next((part for part in reversed(text.split("\r")) if part), "")
    return clean(text).replace("\t", _TAB).replace("\n", " ")


def plain(data: bytes) -> bytes:
    """Many lines as far as they can be made as they are shown at once: for a first look at what may be in them."""
    if b"\x1b" in data:
        data = _COLOURS.sub(b"", data)
    return data.translate(_RETURNS, _CONTROLS).replace(b"\t", _TAB.encode())


class Cutter:
    """Makes lines of the parts of one log as they come, one after the other."""

    def __init__(self, source: int, at: int) -> None:
        """`at`: the address of the beginning of a line."""
        self.at: int = at
        """Where the line begins that has no end yet."""
        self.end: int = at
        """The address up to which it was fed."""
        self._source = source
        self._rest: bytes = b""
        self._before = Record()

    def feed(self, data: bytes, at: int) -> list[LogLine]:
        """Whole lines. `data` lies at `at`, and continues what came before even where its address is not the next."""
        held, left = len(self._rest), self.end
        data, self.end = self._rest + data, at + len(data)
        found: list[LogLine] = []
        begin, place = 0, self.at if held else at
        while begin < len(data):
            end = data.find(b"\n", begin, begin + _WINDOW)
            if end < 0 and len(data) - begin < _WINDOW:
                break
            stop = end + 1 if end >= 0 else _whole(data, begin + LONGEST)
            after = at + stop - held if stop >= held else left + stop - held
            found.append(self._line(data[begin : end if end >= 0 else stop], place, after))
            begin, place = stop, after
        self._rest, self.at = data[begin:], place
        return found

    def may_hold(self, data: bytes, may_keep: Callable[[bytes], bool]) -> bool:
        """Whether lines that `data` ends, or holds, may be wanted."""
        return may_keep(self._rest + data)

    def pass_by(self, data: bytes, at: int) -> None:
        """The same as `feed`, without making lines of it."""
        last = data.rfind(b"\n") + 1
        if not last:
            self.feed(data, at)
            return
        self._rest, self._before = data[last:], Record()
        self.at, self.end = at + last, at + len(data)

    def unfinished(self) -> LogLine | None:
        """What has come of a line that has no end yet."""
        if not self._rest:
            return None
        before, line = self._before, self._line(self._rest, self.at, self.end)
        self._before = before
        return line

    def _line(self, raw: bytes, at: int, end: int) -> LogLine:
        text = shown(raw)
        self._before = known = judge(text, self._before)
        return LogLine(self._source, at, end, text, known.level, known.stamp, known.head)


def beginning(data: bytes, *, enough: bool) -> int:
    """Where in a part of a log, which begins amid a line, a record begins; where that is `enough`, a line; else -1."""
    first = data.find(b"\n") + 1
    if not first:
        return _whole(data, 0) if len(data) >= 4 * LONGEST else -1
    at = first
    while 0 < at < min(CONTEXT, len(data)):
        end = data.find(b"\n", at)
        if begins(shown(data[at : min(end if end >= 0 else len(data), at + 200)])):
            return at
        at = end + 1
    return first if enough else -1


def _whole(data: bytes, at: int) -> int:
    """The next place that is not amid a letter."""
    for later in range(at, min(at + 3, len(data))):
        if data[later] & 0xC0 != 0x80:
            return later
    return at
