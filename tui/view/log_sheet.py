"""The lines of logs that are held to be looked at, and which are seen. Bounded: what is far from those is let go."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rich.cells import chop_cells

from tui.view.log_line import LogLine
from tui.view.paint import width

MOST = 10_000
"""Lines that are held."""
_LATE = 500
"""As many lines of others may have come before one that was said earlier."""
_AHEAD = 2
"""Screens of lines that are held before and after what is seen."""


class Row(NamedTuple):
    """A line as it is seen: all of it, or where lines are folded a piece."""

    line: LogLine
    text: str
    begin: int
    """Where in the line it begins, in letters."""


class Sheet:
    """Addresses are by source: `lo` where the first line held begins, `hi` where what comes after the last does."""

    def __init__(self, *, most: int = MOST) -> None:
        self.lines: list[LogLine] = []
        self.lo: dict[int, int] = {}
        self.hi: dict[int, int] = {}
        self.first = True
        """Whether nothing comes before the first line held."""
        self.last = True
        """Whether nothing came after the last one, when it was looked."""
        self.folds = False
        self.left = 0
        """Columns that are scrolled away, where lines are not folded."""
        self.sticky = True
        """Whether it stays at the end."""
        self._most = most
        self._width, self._height = 80, 24
        self._top, self._row = 0, 0  # the first line that is seen, and the first of its rows
        self._down = False  # whether it was scrolled down last
        self._owed = 0  # rows that are still to be scrolled up, once they are held

    # -- what it holds

    def begin(self, lo: Mapping[int, int], hi: Mapping[int, int]) -> None:
        """Hold nothing; addresses where lines before and after what will be held end and begin."""
        self.lines, self.lo, self.hi = [], dict(lo), dict(hi)
        self.first = self.last = self._down = False
        self._top = self._row = self._owed = 0

    def prepend(self, lines: Sequence[LogLine], lo: Mapping[int, int], *, first: bool) -> None:
        """Hold these too, which come before the first."""
        self.lines[:0] = lines
        self.lo.update(lo)
        self.first = first
        self._top += len(lines)
        gone = self.lines[self._most :]
        for line in reversed(gone):
            self.hi[line.source] = line.at
        if gone:
            del self.lines[self._most :]
            self.last = False
        self._settle()
        if self._owed:
            self.scroll(self._owed)

    def append(self, lines: Sequence[LogLine], hi: Mapping[int, int], *, last: bool) -> None:
        """Hold these too, which come after the last of their source.

        One that was not whole is replaced by what it has become. What another source said later stays after it.
        """
        seen: set[int] = set()
        for line in lines:
            place = self._unfinished(line) if line.source not in seen else None
            seen.add(line.source)
            if place is None:
                self.lines.insert(self._after(line), line)
            else:
                self.lines[place] = line
        self.hi.update(hi)
        self.last = last
        count = len(self.lines) - self._most
        if count > 0:
            for line in self.lines[:count]:
                self.lo[line.source] = line.end
            del self.lines[:count]
            self.first = False
            self._top = max(0, self._top - count)
        self._settle()
        self.sticky = self.sticky or (self._down and self.at_end)  # what it was scrolled to turns out to be the end

    def cut_gaps(self) -> None:
        """Let go of what lies before the last note, so that what it stands for can be read."""
        place = next((n for n in range(min(self._top, len(self.lines)) - 1, -1, -1) if self.lines[n].note), None)
        if place is None:
            return
        for line in self.lines[: place + 1]:
            self.lo[line.source] = max(self.lo.get(line.source, 0), line.end)
        del self.lines[: place + 1]
        self.first = False
        self._top -= place + 1

    def _unfinished(self, line: LogLine) -> int | None:
        """The place of the line of which this one is more."""
        for place in range(len(self.lines) - 1, -1, -1):
            held = self.lines[place]
            if held.source == line.source:
                return place if held.at == line.at and not held.note and not line.note else None
        return None

    def _after(self, line: LogLine) -> int:
        """The place at which a line is to be held: sources are read in turns, but speak when they like."""
        place = len(self.lines)
        while line.stamp and place and len(self.lines) - place < _LATE:
            held = self.lines[place - 1]
            if held.source == line.source or held.note or held.stamp <= line.stamp:
                break
            place -= 1
        return place

    # -- what is seen

    def measure(self, columns: int, height: int, *, folds: bool) -> None:
        """Columns for the text of a line, and rows."""
        if (columns, height, folds) != (self._width, self._height, self.folds):
            self._width, self._height, self.folds = max(1, columns), max(1, height), folds
            self._row = 0
            self._settle()

    def rows(self) -> list[Row]:
        """What is seen, from top to bottom."""
        found: list[Row] = []
        for place in range(self._top, len(self.lines)):
            rows = self._fold(self.lines[place])
            found += rows[self._row :] if place == self._top else rows
            if len(found) >= self._height:
                break
        return found[: self._height]

    @property
    def wants_earlier(self) -> bool:
        """Whether lines before the first should be read."""
        return not self.first and self._top < _AHEAD * self._height

    @property
    def wants_later(self) -> bool:
        """Whether lines after the last should be read."""
        return not self.last and len(self.lines) - self._top < (_AHEAD + 1) * self._height

    @property
    def at_end(self) -> bool:
        """Whether the last line is seen, and nothing came after it."""
        return self.last and (self._top, self._row) >= self._bottom()

    def widest(self) -> int:
        """Columns of the longest line that is seen."""
        return max((width(row.text) for row in self.rows()), default=0)

    @property
    def top(self) -> int:
        """The place of the first line that is seen."""
        return self._top

    def places(self, place: int) -> dict[int, int]:
        """By source, the address at which what comes before a line ends."""
        found = dict(self.lo)
        found.update((line.source, line.end) for line in self.lines[:place])
        return found

    # -- how it is moved

    def scroll(self, by: int) -> None:
        """So many rows down, or up. At the end it sticks there."""
        top, row = self._top, self._row + by
        while row < 0 and top > 0:
            top -= 1
            row += self._count(top)
        while 0 <= top < len(self.lines) and row >= (count := self._count(top)):
            row -= count
            top += 1
        self._owed = min(0, row) if not self.first else 0
        self._top, self._row = min((top, max(0, row)), self._bottom())
        self._down = by > 0
        self.sticky = self._down and self.at_end

    def to_first(self) -> None:
        """To the first line held."""
        self._top = self._row = self._owed = 0
        self.sticky = self._down = False

    def to_last(self) -> None:
        """To the last, and stay there."""
        self._top, self._row = self._bottom()
        self._owed, self.sticky = 0, True

    def show(self, source: int, at: int) -> bool:
        """Make a line seen; whether it is held."""
        for place, line in enumerate(self.lines):
            if line.source == source and line.at == at and not line.note:
                self.sticky = False
                if not self._top <= place < self._top + self._height * 3 // 4 or self.folds:
                    self._top, self._row = place, 0
                    self.scroll(-(self._height // 3))
                return True
        return False

    def shift(self, by: int) -> None:
        """So many columns to the right, or left."""
        self.left = max(0, min(self.left + by, max(self.left, self.widest() - self._width // 2)))

    def _settle(self) -> None:
        bottom = self._bottom()
        if self.sticky or (self._top, self._row) > bottom:
            self._top, self._row = bottom

    def _bottom(self) -> tuple[int, int]:
        """Where the first row is, when the last row is the last of all."""
        left = self._height
        for place in range(len(self.lines) - 1, -1, -1):
            count = self._count(place)
            if count >= left:
                return place, count - left
            left -= count
        return 0, 0

    def _count(self, place: int) -> int:
        return len(self._fold(self.lines[place])) if self.folds else 1

    def _fold(self, line: LogLine) -> list[Row]:
        if not self.folds or len(line.text) * 2 <= self._width:
            return [Row(line, line.text, 0)]
        room, text = self._width, line.text
        pieces = (
            [text[at : at + room] for at in range(0, len(text), room)] if text.isascii() else chop_cells(text, room)
        )
        found: list[Row] = []
        begin = 0
        for piece in pieces or [""]:
            found.append(Row(line, piece, begin))
            begin += len(piece)
        return found
