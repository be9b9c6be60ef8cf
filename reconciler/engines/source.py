"""Bytes of a file that may be far away, read from the front and never more of them than a cap."""

from collections.abc import Callable
from struct import Struct
from typing import Any

Read = Callable[[int, int], bytes]
"""(offset, length) → as many of these bytes as there are."""
Source = Read | bytes | bytearray | memoryview

_FIRST, _MOST = 256 * 2**10, 4 * 2**20


class HeaderError(ValueError):
    """A header that cannot be understood. Never leaves the readers: they answer Unreadable."""


class Cursor:
    """A place in a source. Fetches ahead, more each time, and raises HeaderError past the end or past the cap."""

    def __init__(self, source: Source, cap: int) -> None:
        """`cap` in bytes."""
        self._read: Read | None = source if callable(source) else None
        self._data = b"" if callable(source) else bytes(memoryview(source)[:cap])
        self._start = 0
        self._cap = cap
        self._ahead = _FIRST
        self.at = 0

    def take(self, length: int) -> bytes:
        """The next bytes, exactly as many."""
        begin = self._hold(length)
        self.at += length
        return self._data[begin : begin + length]

    def numbers(self, layout: Struct) -> tuple[Any, ...]:
        """The next values of a layout."""
        begin = self._hold(layout.size)
        self.at += layout.size
        return layout.unpack_from(self._data, begin)

    def skip(self, length: int) -> None:
        """Go on behind the next bytes without fetching them."""
        if length > self._cap - self.at:
            raise HeaderError(f"cannot be read: its header says it is longer than {self._cap // 2**20} MiB")
        self.at += length

    def strings(self, count: int) -> None:
        """Go on behind so many strings, each behind its length of 8 bytes."""
        length_at = Struct("<Q").unpack_from
        done = 0
        while done < count:
            begin = self._hold(8)
            data, end = self._data, len(self._data)
            place = begin
            while done < count and place + 8 <= end:
                following = place + 8 + length_at(data, place)[0]
                if following > end:
                    break
                place, done = following, done + 1
            self.at += place - begin
            if place == begin:
                self.skip(8 + length_at(data, begin)[0])
                done += 1

    def _hold(self, length: int) -> int:
        """Have the next bytes here; where in the buffer they begin."""
        begin = self.at - self._start
        if begin >= 0 and begin + length <= len(self._data):
            return begin
        if length > self._cap - self.at:
            raise HeaderError(f"cannot be read: its header says it is longer than {self._cap // 2**20} MiB")
        if self._read is not None:
            wanted = min(max(length, self._ahead), self._cap - self.at)
            self._data = self._data[begin:] if 0 <= begin < len(self._data) else b""
            self._start = self.at
            while len(self._data) < wanted:
                more = self._read(self._start + len(self._data), wanted - len(self._data))
                if not more:
                    break
                self._data += more[: wanted - len(self._data)]
            self._ahead = min(2 * self._ahead, _MOST)
            begin = 0
        if begin < 0 or begin + length > len(self._data):
            raise HeaderError("cannot be read: it ends within its own header; fetch it again")
        return begin
