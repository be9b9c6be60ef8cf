"""Sees each request end: counts it, logs it, has it recorded where that is wished. Every request pays for this."""

import asyncio
from bisect import bisect_left
from collections.abc import Callable

from reconciler.gateway.access_log import Stamps, dropped, line
from reconciler.gateway.lines import Lines
from reconciler.gateway.metrics import BOUNDS, TOKEN_BOUNDS, Names, Series, Snapshot, names
from reconciler.gateway.record import Record
from reconciler.gateway.traffic import Lately
from reconciler.gateway.trail import Trail
from reconciler.model.routing import Table, Traffic

BEAT = 0.2
"""Seconds that a line of the log waits at most."""
_FULL = 64 * 1024
_KEPT = 600.0
"""Seconds for which the figures of what left the table can still be read."""


class _Seen:
    """Where the requests of one model's instance for one key are counted."""

    __slots__ = ("lately", "series")

    def __init__(self, model: str, slot: str, key: str, lately: Lately) -> None:
        self.series = Series(model=model, slot=slot, key=key)
        self.lately = lately


class Observer:
    """One for each worker. `log`: where lines of the access log go; `trail`: begins what keeps a record of each."""

    def __init__(self, *, log: Lines | None = None, trail: Callable[[], Trail] | None = None) -> None:
        self._connections = self._opened = 0
        self._refused: dict[str, int] = {}
        self._log, self._begin_trail = log, trail
        self._trail: Trail | None = None
        self._logs_errors = self._logs_all = self._audits = False
        self._seen: dict[tuple[str, str, str], _Seen] = {}
        self._lately: dict[str, Lately] = {}
        self._gone: dict[tuple[str, str, str], float] = {}
        self._present = Names(models=frozenset(), slots=frozenset(), keys=frozenset())
        self._lines: list[bytes] = []
        self._size = 0
        self._unlogged = self._unsaid = 0
        self._stamps = Stamps()
        self._epoch = 0.0
        """What makes seconds since the epoch of CLOCK_MONOTONIC."""
        self._second = float("-inf")

    def take(self, table: Table) -> None:
        """Go by this table: what is logged, and of what there can be figures."""
        front = table.front
        self._logs_all = self._log is not None and front.access_log == "all"
        self._logs_errors = self._log is not None and front.access_log != "off"
        self._audits = front.audit
        if front.audit and self._trail is None and self._begin_trail is not None:
            self._trail = self._begin_trail()
        self._present = names(table)

    def connected(self) -> None:
        """A client's connection was taken."""
        self._connections += 1
        self._opened += 1

    def disconnected(self) -> None:
        """One that was taken is over."""
        self._connections -= 1

    def refused(self, reason: str) -> None:
        """A connection was turned away, for a reason in a word."""
        self._refused[reason] = self._refused.get(reason, 0) + 1

    def ended(self, record: Record) -> None:
        """A request is over, however that was."""
        labels = (record.model, record.slot, record.key)
        seen = self._seen.get(labels)
        if seen is None:
            seen = self._first(labels)
        series, lately = seen.series, seen.lately
        began, status, reason, written = record.began, record.status, record.reason, record.written
        series.classes[status // 100] += 1
        lately.requests += 1
        if reason:
            series.errors[reason] = series.errors.get(reason, 0) + 1
            if reason != "client_left":
                lately.errors += 1
        series.read += record.prompt
        series.written += written
        lately.tokens += written
        series.received += record.received
        series.sent += record.sent
        series.retries += record.retries
        took, spread = record.ended - began, series.duration
        spread.counts[bisect_left(BOUNDS, took)] += 1
        spread.sum += took
        first_byte = record.first_byte
        if first_byte == first_byte:  # noqa: PLR0124  not NaN
            took, spread = first_byte - began, series.first_byte
            spread.counts[bisect_left(BOUNDS, took)] += 1
            spread.sum += took
            lately.first_bytes.append(took)
            if record.streamed and (tokens := written or record.pieces) > 1:
                took, spread = (record.last_byte - first_byte) / (tokens - 1), series.token
                spread.counts[bisect_left(TOKEN_BOUNDS, took)] += 1
                spread.sum += took
        if record.waited:
            spread = series.waiting
            spread.counts[bisect_left(BOUNDS, record.waited)] += 1
            spread.sum += record.waited
        if self._logs_all or (self._logs_errors and (reason or status >= 400)):
            said = line(record, self._stamps.at(record.ended + self._epoch))
            self._lines.append(said)
            self._size += len(said)
            if self._size >= _FULL:
                self._flush(record.ended)
        if self._audits and self._trail is not None:
            self._trail.add(record, record.ended + self._epoch)

    async def run(self, monotonic: Callable[[], float], wall: Callable[[], float]) -> None:
        """Do at each beat what is due, until cancelled."""
        while True:
            self.tick(monotonic(), wall())
            await asyncio.sleep(BEAT)

    def tick(self, now: float, wall: float) -> None:
        """What a beat does: `now` of CLOCK_MONOTONIC, `wall` since the epoch."""
        self._epoch = wall - now
        if self._lines or self._unsaid:
            self._flush(now)
        if now - self._second >= 1.0:
            self._second = max(self._second + 1.0, now - 1.0)
            for lately in self._lately.values():
                lately.close()
            self._drop(now)

    def close(self, now: float, within: float) -> None:
        """Write what is left, waiting at most so many seconds for each reader and disk."""
        self._flush(now)
        if self._trail is not None:
            self._trail.close(within)
        if self._log is not None:
            self._log.close(within)

    def snapshot(self) -> Snapshot:
        """All that was counted."""
        return Snapshot(
            series=[seen.series for seen in self._seen.values()],
            connections=self._connections,
            opened=self._opened,
            refused=self._refused,
            unlogged=self._unlogged + (self._log.lost if self._log is not None else 0),
            unrecorded=self._trail.lost if self._trail is not None else 0,
        )

    def traffic(self) -> dict[str, Traffic]:
        """The rates of each model in the last seconds."""
        return {model: lately.traffic() for model, lately in self._lately.items() if model}

    def _first(self, labels: tuple[str, str, str]) -> _Seen:
        model, slot, key = labels
        lately = self._lately.setdefault(model, Lately())
        self._seen[labels] = seen = _Seen(model, slot, key, lately)
        return seen

    def _flush(self, now: float) -> None:
        if self._log is None:
            return
        lines, count = self._lines, len(self._lines)
        if self._unsaid:
            lines = [dropped(self._unsaid, self._stamps.at(now + self._epoch)), *lines]
        if not lines:
            return
        if self._log.put(b"".join(lines)):
            self._unsaid = 0
        else:
            self._unlogged += count
            self._unsaid += count
        self._lines, self._size = [], 0

    def _drop(self, now: float) -> None:
        """Forget what has been out of the table for long."""
        for labels, seen in self._seen.items():
            if self._present.has(seen.series):
                self._gone.pop(labels, None)
            else:
                self._gone.setdefault(labels, now)
        for labels in [labels for labels, since in self._gone.items() if now - since >= _KEPT]:
            del self._gone[labels], self._seen[labels]
        for model in self._lately.keys() - {model for model, _, _ in self._seen}:
            del self._lately[model]
