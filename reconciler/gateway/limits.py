"""How much at most: a request is let in while what counts of its Access and of its model is below all their limits.

Tokens are known only once they are spent, and workers count side by side: the last requests let in may go beyond. Far
from a limit a worker goes by what it saw a moment ago, and by what it counted itself since.
"""

import math
from collections.abc import Mapping
from typing import Literal

from reconciler.gateway.board import Board
from reconciler.gateway.counters import MINUTE, Clock, Counter, Daily, Flying, Sliding, Window
from reconciler.gateway.refusal import Refusal
from reconciler.gateway.rows import limit, set_limits
from reconciler.model.routing import Grant, Limits, Served

_Of = Literal["key", "model"]


LOOK = 0.01
"""Seconds after which a worker looks again at what the others counted, while it is far from every limit."""
_REQUESTS, _TOKENS = 1000, 200_000
"""What a worker may count before it looks again; it is far from a limit where as much remains for each worker."""
_NO_LIMIT = 1 << 62


class _Meter:
    """All limits of one Access, or of one model. What it says of them holds `until`, less what is counted here."""

    __slots__ = (
        "_cells",
        "_clock",
        "_flying",
        "_flying_cell",
        "_flying_cells",
        "_lost",
        "_requests_least",
        "_spending",
        "_starting",
        "_tokens_least",
        "_windows",
        "_workers",
        "limits",
        "requests",
        "requests_line",
        "tokens",
        "tokens_line",
        "until",
    )  # fmt: skip

    def __init__(
        self, of: _Of, name: str, limits: Limits, *, board: Board, rows: Mapping[str, int], clock: Clock
    ) -> None:
        self.limits = limits
        self._flying: Flying | None = None
        self._flying_cell = 0
        """The own one, of requests at once."""
        self._flying_cells: tuple[int, ...] = ()
        """Those of all workers."""
        self._windows: list[Window] = []
        self._lost: Counter | None = None
        self._clock, self._cells = clock, board.cells
        self._workers = board.columns
        # who asks may not know the model's own name, but an alias
        whose = f"Access {name}" if of == "key" else "this model"
        for which in set_limits(limits):
            row, most = rows.get(limit(of, name, which)), getattr(limits, which)
            if row is None:
                self._lost = Counter(which=which, whose=whose, most=most, board=board, clock=clock)
            elif which == "concurrency":
                self._flying = Flying(which=which, whose=whose, most=most, board=board, row=row, clock=clock)
                self._flying_cell, self._flying_cells = board.cell(row), board.workers_cells(row)
            else:
                kind = Daily if which.endswith("day") else Sliding
                self._windows.append(kind(which=which, whose=whose, most=most, board=board, row=row, clock=clock))
        self.until = 0.0
        """Seconds of the monotonic clock."""
        self.requests = self.tokens = _NO_LIMIT
        """What remains of the nearest limit of requests, and of that of tokens."""
        self.requests_line = self.tokens_line = b""
        """What answers say of these two."""
        self._requests_least = self._tokens_least = 0
        """As long as no less remains of them it holds."""
        self._starting: tuple[int, ...] = ()
        """Cells that a request is counted in, that of requests at once among them."""
        self._spending: tuple[int, ...] = ()
        """Cells that tokens are."""

    def look(self, now: float) -> Counter | None:
        """See what all workers have counted: a limit of which nothing remains, that of requests at once aside."""
        when, met = self._clock.moment(), self._lost
        self.requests = self.tokens = _NO_LIMIT
        starting = [self._flying_cell] if self._flying is not None else []
        spending: list[int] = []
        for window in self._windows:
            used = window.used(when)
            remains = window.most - math.ceil(used)
            if used >= window.most and met is None:
                met = window
            if window.tokens:
                spending.append(window.cell(when))
                if remains < self.tokens:
                    self.tokens, self.tokens_line = remains, window.line(window.empty_in(used, when))
            else:
                starting.append(window.cell(when))
                if remains < self.requests:
                    self.requests, self.requests_line = remains, window.line(window.empty_in(used, when))
        self._starting, self._spending = tuple(starting), tuple(spending)
        far = self.requests >= _REQUESTS * self._workers and self.tokens >= _TOKENS * self._workers
        self.until = now + min(LOOK, when.left * MINUTE) if far and met is None else 0.0
        self._requests_least, self._tokens_least = self.requests - _REQUESTS, self.tokens - _TOKENS
        return met

    def met(self, now: float) -> Counter | None:
        """A limit of which nothing remains."""
        if now >= self.until and (met := self.look(now)) is not None:
            return met
        flying = self._flying
        if flying is None:
            return None
        cells, used = self._cells, 0
        for cell in self._flying_cells:
            used += cells[cell]
        return flying if used >= flying.most else None

    def begin(self) -> None:
        """Count a request, at the time of which `met` was asked."""
        cells = self._cells
        for cell in self._starting:
            cells[cell] += 1
        self.requests -= 1
        if self.requests <= self._requests_least:
            self.until = 0.0

    def spend(self, now: float, tokens: int) -> None:
        """Count tokens."""
        if now >= self.until:
            self.look(now)
        cells = self._cells
        for cell in self._spending:
            cells[cell] += tokens
        self.tokens -= tokens
        if self.tokens <= self._tokens_least:
            self.until = 0.0

    def done(self) -> None:
        """A request has ended."""
        if self._flying is not None:
            self._cells[self._flying_cell] -= 1


class Ticket:
    """One request that was let in."""

    __slots__ = ("_clock", "_ended", "_meters")

    def __init__(self, meters: tuple[_Meter, ...], clock: Clock) -> None:
        self._meters = meters
        self._clock = clock
        self._ended = False

    def spend(self, prompt: int, written: int) -> None:
        """Count tokens that it took."""
        tokens = prompt + written
        if tokens and self._meters:
            now = self._clock.monotonic()
            for meter in self._meters:
                meter.spend(now, tokens)

    def done(self) -> None:
        """It has ended, and is at once with others no more. Again: nothing."""
        if self._meters and not self._ended:
            self._ended = True
            for meter in self._meters:
                meter.done()

    @property
    def headers(self) -> bytes:
        """`x-ratelimit-…` lines for an answer: of the limit of requests that is nearest, and of that of tokens."""
        if not self._meters:
            return b""
        now = self._clock.monotonic()
        of_requests = of_tokens = self._meters[0]
        for meter in self._meters:
            if now >= meter.until:
                meter.look(now)
            if meter.requests < of_requests.requests:
                of_requests = meter
            if meter.tokens < of_tokens.tokens:
                of_tokens = meter
        requests = of_requests.requests_line % max(0, of_requests.requests) if of_requests.requests_line else b""
        return requests + of_tokens.tokens_line % max(0, of_tokens.tokens) if of_tokens.tokens_line else requests


class Limiter:
    """The limits of a table, counted on a board."""

    __slots__ = ("_board", "_clock", "_free", "_keys", "_models", "_rows")

    def __init__(self, board: Board, rows: Mapping[str, int], clock: Clock) -> None:
        """`rows`: as `rows.rows` gives them for this table."""
        self._board, self._rows, self._clock = board, rows, clock
        self._keys: dict[str, _Meter] = {}
        self._models: dict[str, _Meter] = {}
        self._free = Ticket((), clock)

    def admit(self, grant: Grant | None, model: Served) -> Ticket | Refusal:
        """Let a request in and count it, or say which limit it meets: then nothing is counted.

        `grant`: whose key it showed; None where nobody needs one. The Ticket is to be told once it is `done`.
        """
        meters = ()
        if grant is not None and (limits := grant.limits) is not None:
            meter = self._keys.get(grant.name)
            if meter is None or meter.limits is not limits:
                meter = self._keys[grant.name] = self._meter("key", grant.name, limits)
            meters = (meter,)
        if (limits := model.limits) is not None:
            meter = self._models.get(model.name)
            if meter is None or meter.limits is not limits:
                meter = self._models[model.name] = self._meter("model", model.name, limits)
            meters = (*meters, meter)
        if not meters:
            return self._free
        now = self._clock.monotonic()
        for meter in meters:
            counter = meter.met(now)
            if counter is not None:
                return _refusal(counter)
        for meter in meters:
            meter.begin()
        return Ticket(meters, self._clock)

    def _meter(self, of: _Of, name: str, limits: Limits) -> _Meter:
        return _Meter(of, name, limits, board=self._board, rows=self._rows, clock=self._clock)


def _refusal(counter: Counter) -> Refusal:
    if isinstance(counter, Window):
        after = counter.free_in()
        when = f"in {max(1, math.ceil(after))} s"
    elif isinstance(counter, Flying):
        after, when = 1.0, "once one of them has ended"
    else:
        return Refusal(
            status=503,
            code="limit_unavailable",
            message=f"cannot answer now: {counter.tells}, and it cannot be counted; the gateway's log says why",
            retry_after=MINUTE,
        )
    return Refusal(
        status=429,
        code="rate_limit_exceeded",
        message=f"cannot answer now: {counter.tells}; try again {when}",
        retry_after=after,
    )
