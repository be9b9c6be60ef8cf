"""Which rows of the board a table needs: a name for each, and the same row for as long as it has that name. Pure."""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Literal

from reconciler.gateway.board import DAYS, GAUGES, MINUTES
from reconciler.model.routing import Limits, Table

Limit = Literal["requests_per_minute", "tokens_per_minute", "requests_per_day", "tokens_per_day", "concurrency"]
LIMITS: Mapping[Limit, range] = {
    "requests_per_minute": MINUTES[::2],
    "tokens_per_minute": MINUTES[::2],
    "requests_per_day": DAYS,
    "tokens_per_day": DAYS,
    "concurrency": GAUGES,
}
"""Each limit, and the rows that it may be counted in: for minutes the first of a pair."""
SPARE = 256
"""Names out of use that keep their rows: a model that comes back finds its counts."""


def place(slot: str, run: int) -> str:
    """The name of the row for requests in flight at an instance."""
    return f"place:{slot}#{run}"


def limit(of: Literal["model", "key"], name: str, which: Limit) -> str:
    """The name of the row that a limit is counted in: of a model, or of an Access and all its keys."""
    return f"{of}:{name}:{which}"


def names(table: Table) -> dict[str, range]:
    """The rows that a table needs, by name, and where each may be."""
    found = {place(at.slot, at.run): GAUGES for model in table.models.values() for at in model.places}
    for model in table.models.values():
        found.update((limit("model", model.name, which), LIMITS[which]) for which in set_limits(model.limits))
    for grant in table.grants:
        found.update((limit("key", grant.name, which), LIMITS[which]) for which in set_limits(grant.limits))
    return found


def set_limits(limits: Limits | None) -> tuple[Limit, ...]:
    """Those of the limits that are set."""
    return () if limits is None else tuple(which for which in LIMITS if getattr(limits, which) is not None)


def rows(table: Table, before: Mapping[str, int], idle: Callable[[int], bool]) -> dict[str, int]:
    """The row of each name that `table` needs, and of some that it does not: those keep theirs for a while.

    `before` is what this gave last. A row gets another name once it is `idle`, that of the longest unused name first:
    a worker that still drains may count in it. What finds no row is left out: see `missing`.
    """
    needed = names(table)
    unused = {name: row for name, row in before.items() if name not in needed}
    kept = {name: row for name, row in before.items() if name in needed}
    taken = set(before.values())
    free = {among: (row for row in among if row not in taken) for among in LIMITS.values()}
    for name, among in needed.items():
        if name not in kept:
            row = next(free[among], None)
            if row is None:
                row = _taken_back(unused, among, idle)
            if row is not None:
                kept[name] = row
    too_many = max(0, len(unused) - SPARE)
    for name in list(islice((name for name, row in unused.items() if idle(row)), too_many)):
        del unused[name]
    return unused | kept


def missing(table: Table, given: Mapping[str, int]) -> Iterator[str]:
    """What each name that found no row means for clients, for a person. Empty unless the board is full."""
    for name in names(table):
        if name not in given:
            kind, _, of = name.partition(":")
            lost = f"{of} gets no requests" if kind == "place" else f"requests under its limit {of} are refused"
            yield f"cannot count {name}: the board is full, so {lost}; declare fewer limits, or restart the gateway"


def _taken_back(unused: dict[str, int], among: range, idle: Callable[[int], bool]) -> int | None:
    """The row of the longest unused name whose row is idle; that name is out of `unused` then."""
    for name, row in unused.items():
        if row in among and idle(row):
            return unused.pop(name)
    return None
