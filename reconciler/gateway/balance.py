"""Which of a model's instances answers the next request: the least busy, or the one that knows how it begins."""

import zlib
from collections.abc import Collection, Sequence

from reconciler.gateway.places import Live, Rows

SLOW_START = 10.0
"""Seconds in which an instance that is new beside others is given its full part."""
_FIRST = 0.1
"""The part that it begins with."""
_CROWDED = 1.25
"""An instance that knows a prefix is left for another when it has so many times the mean load, and one request more."""


def choose(
    lives: Sequence[Live],
    name: str,
    board: Rows,
    now: float,
    *,
    tried: Collection[Live] = (),
    prefix: int | None = None,
) -> Live | None:
    """Of those that have `name`, were not tried and did not fail just now, the least busy one; None: there is none.

    `prefix`: of requests that begin alike, the same number: they go to one instance for as long as it is not crowded.
    """
    if len(lives) == 1:
        live = lives[0]
        return live if live.out_until <= now and name in live.names and live not in tried else None
    if not lives:
        return None
    best, least = None, 0.0
    if prefix is not None:
        able = [live for live in lives if live.out_until <= now and name in live.names and live not in tried]
        if able and (known := _knows(able, board, prefix)) is not None:
            return known
    for live in lives:
        if live.out_until > now or name not in live.names or live in tried:
            continue
        load = board.total(live.row) + live.queue
        if now - live.since < SLOW_START and live.since > min(other.since for other in lives):
            load = (load + 1) / (_FIRST + (1 - _FIRST) * (now - live.since) / SLOW_START) - 1
        # equals take turns: the one that was chosen longest ago is next
        if best is None or load < least or (load == least and live.turn < best.turn):
            best, least = live, load
    return best


def _knows(lives: Sequence[Live], board: Rows, prefix: int) -> Live | None:
    """The one that knows a prefix, unless it is crowded.

    Rendezvous hashing: an instance that comes or goes moves only its own part of the prefixes.
    """
    loads = [board.total(live.row) + live.queue for live in lives]
    scores = [zlib.crc32(live.slot.encode(), prefix) for live in lives]
    index = scores.index(max(scores))
    return lives[index] if loads[index] <= 1 + _CROWDED * sum(loads) / len(loads) else None
