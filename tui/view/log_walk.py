"""Walks through logs line by line, forwards and back, one or several at once. It reads by a function it is given."""

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Protocol

from reconciler.model.answers import LogPage
from reconciler.model.quantity import print_size
from tui.view.log_find import Filter
from tui.view.log_line import CONTEXT, LONGEST, Cutter, LogLine, beginning

PART = 65536
"""Bytes that are read at once to show them."""
SCAN = 2**20
"""And to look for something."""
_NEVER = "\x7f"
Key = tuple[str, int]
Places = Mapping[int, int]
"""An address of each log."""
Part = tuple[int, bytes]
"""An address, and what lies there."""


class Pages(Protocol):
    """One log, as `Client.log_page` reads it."""

    def __call__(self, *, at: int | None, back: bool, size: int) -> LogPage:
        """A part of it."""
        ...


@dataclass(slots=True, kw_only=True)
class Log:
    """One of the logs that are shown together."""

    source: int
    pages: Pages
    watch: Callable[[int], None] = lambda _read: None
    """Is told how many bytes were read, and may raise to end the walk."""
    reached: int | None = None
    """Up to where a walk forwards has read, where a line begins."""

    def read(self, at: int | None, *, back: bool, size: int) -> LogPage:
        """A part of it."""
        page = self.pages(at=at, back=back, size=size)
        self.watch(len(page.data))
        return page


def back(log: Log, before: int, keep: Filter) -> Iterator[LogLine]:
    """Lines that end at or before an address, the last first."""
    size = SCAN if keep.patterns else PART
    held: list[Part] = []  # what was read and begins amid a line, or amid a record
    unread = before
    while (page := log.read(unread, back=True, size=size)).data:
        cut = beginning(page.data, enough=len(page.data) + sum(len(data) for _, data in held) >= CONTEXT)
        if page.at <= page.first:
            cut = 0
        if cut >= 0:
            yield from _reversed(log, [(page.at + cut, page.data[cut:]), *held], keep)
            held = []
        held.insert(0, (page.at, page.data[:cut] if cut >= 0 else page.data))
        unread = page.at
    yield from _reversed(log, held, keep)


def _reversed(log: Log, parts: list[Part], keep: Filter) -> Iterator[LogLine]:
    """Lines of parts that come one after the other, the last line first."""
    parts = [part for part in parts if part[1]]
    if not parts or not keep.may_keep(b"".join(data for _, data in parts)):
        return
    cutter = Cutter(log.source, parts[0][0])
    lines = [line for at, data in parts for line in cutter.feed(data, at)]
    if rest := cutter.unfinished():
        lines.append(rest)
    yield from (line for line in reversed(lines) if keep.keeps(line))


def forth(log: Log, at: int, keep: Filter) -> Iterator[LogLine]:
    """Lines from an address on, where one begins, to the end; what has no end yet is left out."""
    size = SCAN if keep.patterns else PART
    cutter = Cutter(log.source, at)
    while True:
        page = log.read(cutter.end, back=False, size=size)
        if not page.data:
            return
        if page.first > cutter.end:
            yield note(log.source, page.at, f"{print_size(page.first - cutter.end)} were rotated away")
            cutter, page = resumed(log.source, page)
        if cutter.may_hold(page.data, keep.may_keep):
            yield from filter(keep.keeps, cutter.feed(page.data, page.at))
        else:
            cutter.pass_by(page.data, page.at)
        log.reached = cutter.at


def resumed(source: int, page: LogPage) -> tuple[Cutter, LogPage]:
    """What begins anew with a page, and the page without the end of a line with which it begins."""
    amid = page.data.find(b"\n") + 1
    page = replace(page, at=page.at + amid, data=page.data[amid:])
    return Cutter(source, page.at), page


def together_back(logs: Sequence[Log], before: Places, ends: Places, keep: Filter) -> Iterator[LogLine]:
    """Lines of several logs that end before an address of each, the last first, by their times.

    Where none has times, they are put together by how far from the end of its log each line is.
    """
    walks = [_back_by_time(back(log, before[log.source], keep), ends[log.source]) for log in reversed(logs)]
    return map(itemgetter(1), heapq.merge(*walks, key=itemgetter(0), reverse=True))


def together_forth(logs: Sequence[Log], after: Places, ends: Places, keep: Filter) -> Iterator[LogLine]:
    """Lines of several logs from an address of each on, by their times."""
    walks = [_by_time(forth(log, after[log.source], keep), ends[log.source]) for log in logs]
    return map(itemgetter(1), heapq.merge(*walks, key=itemgetter(0)))


def _back_by_time(lines: Iterator[LogLine], end: int) -> Iterator[tuple[Key, LogLine]]:
    stamp = _NEVER
    for line in lines:
        stamp = min(stamp, line.stamp or stamp)
        yield ((stamp, 0) if stamp != _NEVER else ("", line.at - end)), line


def _by_time(lines: Iterator[LogLine], end: int) -> Iterator[tuple[Key, LogLine]]:
    stamp = ""
    for line in lines:
        stamp = max(stamp, line.stamp)
        yield ((stamp, 0) if stamp else ("", line.at - end)), line


def beside(log: Log, line: LogLine, ends: Places) -> int:
    """An address of a log near what it said when another wrote this line."""
    last = log.read(None, back=True, size=1)
    low, high = last.first, last.end
    if not line.stamp:
        low = high = max(low, ends[log.source] - (ends[line.source] - line.at))
    while high - low > PART:
        middle = (low + high) // 2
        page = log.read(middle, back=False, size=PART // 4)
        lines = Cutter(log.source, page.at).feed(page.data, page.at)[1:]
        stamp = next((each.stamp for each in lines if each.stamp), "")
        if stamp and stamp < line.stamp:
            low = middle
        else:
            high = middle
    page = log.read(low, back=True, size=LONGEST)
    return page.at + page.data.rfind(b"\n") + 1


def note(source: int, at: int, text: str) -> LogLine:
    """A line of ours among those of a log."""
    return LogLine(source, at, at, text, note=True)
