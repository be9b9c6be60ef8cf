"""What one limit allows, and what of it is used: in a minute that slides, in a day, or at once."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from reconciler.gateway.board import Board
from reconciler.gateway.rows import Limit

MINUTE, DAY = 60.0, 86400.0
_TELLS: dict[Limit, str] = {
    "requests_per_minute": "requests a minute",
    "tokens_per_minute": "tokens a minute",
    "requests_per_day": "requests a day",
    "tokens_per_day": "tokens a day",
    "concurrency": "requests at once",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """What time it is, in seconds."""

    monotonic: Callable[[], float] = time.monotonic
    """The same in all processes of a machine, and nobody sets it: for minutes."""
    wall: Callable[[], float] = time.time
    """Since the epoch: for days. One that is set to another day begins that day's counts anew: nobody is locked out."""

    def day(self) -> int:
        """Which day it is in UTC, counted from the epoch."""
        return int(self.wall() // DAY)

    def moment(self) -> "Moment":
        """What time it is for limits."""
        minutes = self.monotonic() / MINUTE
        minute = int(minutes)
        return Moment(minute, minute + 1 - minutes, self.day())


class Moment(NamedTuple):
    """A time as limits are counted by."""

    minute: int
    left: float
    """How much of the minute is still to come, 1 to 0."""
    day: int


@dataclass(slots=True, kw_only=True)
class Counter:
    """One limit. One that is nothing more than this found no row: nothing can be let in under it."""

    which: Limit
    whose: str
    """`Access ci`, `this model`."""
    most: int
    board: Board
    clock: Clock

    @property
    def tells(self) -> str:
        """The limit in words."""
        return f"the limit of {self.whose} is {self.most} {_TELLS[self.which]}"


@dataclass(slots=True, kw_only=True)
class Window(Counter, ABC):
    """A limit of requests or tokens in some time."""

    row: int
    tokens: bool = field(init=False)
    """Whether it counts tokens, not requests."""
    _line: bytes = field(init=False)
    _reset: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = self.which.startswith("tokens")
        what = self.which.partition("_")[0].encode()
        self._line = b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: " % (what, self.most, what)
        self._reset = b"\r\nx-ratelimit-reset-%b: " % what

    def line(self, empty_in: float) -> bytes:
        """What an answer says of it: the limit, what remains (`%d`), in how many seconds all of it does."""
        return b"%b%%d%b%ds\r\n" % (self._line, self._reset, math.ceil(empty_in))

    @abstractmethod
    def used(self, when: Moment) -> float:
        """What counts at that moment."""

    @abstractmethod
    def cell(self, when: Moment) -> int:
        """The own cell of the board to count in, for as long as it is the same minute and day."""

    @abstractmethod
    def free_in(self) -> float:
        """Seconds until less than the limit counts, if nobody else counts before."""

    @abstractmethod
    def empty_in(self, used: float, when: Moment) -> float:
        """Seconds until nothing of what is used counts."""


@dataclass(slots=True, kw_only=True)
class Sliding(Window):
    """In a minute that slides: all of this fixed one, and of the last as much as the sliding one reaches into."""

    before: int = 0
    """What was counted in the last one: it is over, and changes no more."""
    _of: int = -1

    def used(self, when: Moment) -> float:
        """All of this fixed minute, and of the last what the sliding one reaches into."""
        minute, left, _ = when
        if minute != self._of:
            self._of, self.before = minute, self.board.counted(self.row + (minute - 1 & 1), minute - 1)
        return self.board.counted(self.row + (minute & 1), minute) + self.before * left

    def cell(self, when: Moment) -> int:
        """That of this fixed minute."""
        return self.board.stamped(self.row + (when.minute & 1), when.minute)

    def free_in(self) -> float:
        """Until enough has slid away."""
        when = self.clock.moment()
        now = self.used(when) - self.before * when.left
        if now < self.most:
            return max(0.0, when.left - (self.most - now) / self.before) * MINUTE if self.before else 0.0
        return (when.left + 1 - self.most / now if self.most else when.left + 1) * MINUTE

    def empty_in(self, used: float, when: Moment) -> float:
        """Until all has."""
        now = used > self.before * when.left  # something of this minute counts until the next is over
        return (when.left + now) * MINUTE if used else 0.0


@dataclass(slots=True, kw_only=True)
class Daily(Window):
    """In a day of UTC."""

    def used(self, when: Moment) -> int:
        """All of that day."""
        return self.board.counted(self.row, when.day)

    def cell(self, when: Moment) -> int:
        """That of the day."""
        return self.board.stamped(self.row, when.day)

    def free_in(self) -> float:
        """Until the day is over."""
        return DAY - self.clock.wall() % DAY

    def empty_in(self, used: float, when: Moment) -> float:  # noqa: ARG002 — a day ends by the wall clock
        """Until the day is over."""
        return self.free_in() if used else 0.0


@dataclass(slots=True, kw_only=True)
class Flying(Counter):
    """At once."""

    row: int
