"""Counters in shared memory: every worker of a gateway writes a column of its own and reads all of them.

So nothing is locked. A cell is 8 aligned bytes, which a processor writes and reads whole. Column 0 is the master's.
"""

import os
import weakref
from mmap import mmap

GAUGES = range(16384)
"""Rows that go up and down: requests in flight."""
MINUTES = range(16384, 32768)
"""Pairs of rows, the even one for even minutes: what was counted in a minute, and which minute that was."""
DAYS = range(32768, 49152)
"""Rows of what was counted in a day, and which day that was."""
HEIGHT = DAYS.stop
STAMP = 40
"""In a row of minutes or days, the bits below this are a count, those above it say of when."""
COUNT = (1 << STAMP) - 1
_CELL = 8


class Board:
    """The counters, as one process sees them."""

    __slots__ = ("__weakref__", "_own", "_starts", "_workers", "cells", "column", "descriptor")

    def __init__(self, descriptor: int, column: int) -> None:
        """Prefer `create` and `open`."""
        self.descriptor = descriptor
        """Of the memory: what a worker inherits."""
        self.column = column
        self._map()

    def _map(self) -> None:
        self.cells = memoryview(mmap(self.descriptor, 0)).cast("B").cast("q")
        """All columns, one after the other."""
        self._starts = tuple(range(0, len(self.cells), HEIGHT))
        self._workers = self._starts[1:]
        self._own = self._starts[self.column]

    @classmethod
    def create(cls, columns: int) -> "Board":
        """A new one, all zero, seen by column 0, whose descriptor is closed with it. Raises OSError.

        Untouched rows take no memory.
        """
        descriptor = os.memfd_create("holdfast-board", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, columns * HEIGHT * _CELL)
        made = cls(descriptor, 0)
        weakref.finalize(made, os.close, descriptor)
        return made

    @classmethod
    def open(cls, descriptor: int, column: int) -> "Board":
        """One that is there, as the process that writes `column` sees it. Raises OSError, IndexError."""
        return cls(descriptor, column)

    def widen(self, columns: int) -> None:
        """Make room for at least so many columns; whoever opens it from now on sees them too. Raises OSError."""
        size = columns * HEIGHT * _CELL
        if os.fstat(self.descriptor).st_size < size:
            os.ftruncate(self.descriptor, size)
        self._map()

    @property
    def columns(self) -> int:
        """How many there are, that of the master included."""
        return len(self._starts)

    def add(self, row: int, by: int) -> None:
        """Raise a gauge in the own column."""
        self.cells[self._own + row] += by

    def own(self, row: int) -> int:
        """What the own column says."""
        return self.cells[self._own + row]

    def total(self, row: int) -> int:
        """The sum of a gauge over all workers."""
        cells = self.cells
        total = 0
        for start in self._workers:
            total += cells[start + row]
        return total

    def cell(self, row: int) -> int:
        """Where the own column of a row is among the cells."""
        return self._own + row

    def workers_cells(self, row: int) -> tuple[int, ...]:
        """Where the columns of all workers are, of a gauge: the master's has none."""
        return tuple(start + row for start in self._workers)

    def stamped(self, row: int, stamp: int) -> int:
        """The same in a row of minutes or days, ready to be added to: what is there of another time is forgotten."""
        cell = self._own + row
        if self.cells[cell] >> STAMP != stamp:
            self.cells[cell] = stamp << STAMP
        return cell

    def count(self, row: int, stamp: int, by: int) -> None:
        """Count in the own column, in a row of minutes or days."""
        self.cells[self.stamped(row, stamp)] += by

    def counted(self, row: int, stamp: int) -> int:
        """What all columns counted at that time, in a row of minutes or days."""
        cells = self.cells
        total = 0
        for start in self._starts:
            cell = cells[start + row]
            if cell >> STAMP == stamp:
                total += cell & COUNT
        return total

    def idle(self, row: int, minute: int, day: int) -> bool:
        """Whether a row says nothing any more, so that it may be given another name; of a pair name the even one."""
        if row in GAUGES:
            return all(not self.cells[start + row] for start in self._starts)
        if row in DAYS:
            return not self.counted(row, day)
        pair = (self.cells[start + one] for start in self._starts for one in (row, row + 1))
        return all(cell >> STAMP < minute - 1 or not cell & COUNT for cell in pair)

    def clear(self, column: int) -> None:
        """Take over the column of a worker that has ended: nothing of it is in flight, what it counted stays counted.

        For the master alone: this writes its column and another's.
        """
        cells, start = self.cells, self._starts[column]
        for row in range(MINUTES.start, HEIGHT):
            cell = cells[start + row]
            if cell & COUNT:
                kept = cells[row]
                if cell >> STAMP > kept >> STAMP:
                    cells[row] = cell
                elif cell >> STAMP == kept >> STAMP:
                    cells[row] = kept + (cell & COUNT)
        cells[start : start + HEIGHT] = _NOTHING


_NOTHING = memoryview(bytes(HEIGHT * _CELL)).cast("q")
