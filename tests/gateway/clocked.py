"""A clock that a test sets, and tables of one model and one Access."""

from reconciler.gateway.board import Board
from reconciler.gateway.counters import Clock
from reconciler.gateway.limits import Limiter
from reconciler.gateway.rows import rows
from reconciler.model.routing import Grant, Limits, Served, Table

DAY = 86400.0


class Hands:
    """Where the hands of both clocks are."""

    def __init__(self, *, monotonic: float = 6000.0, wall: float = 20_000 * DAY + 3600) -> None:
        self.monotonic, self.wall = monotonic, wall

    @property
    def clock(self) -> Clock:
        return Clock(monotonic=lambda: self.monotonic, wall=lambda: self.wall)

    def go(self, seconds: float) -> None:
        self.monotonic += seconds
        self.wall += seconds


def model(limits: Limits | None = None, name: str = "chat") -> Served:
    return Served(name=name, names=(name,), engine="vllm", source="file:/x", outlook="ready", limits=limits)


def grant(limits: Limits | None = None, name: str = "ci") -> Grant:
    return Grant(name=name, keys=(), limits=limits)


def table(*parts: Served | Grant) -> Table:
    return Table(
        models={part.name: part for part in parts if isinstance(part, Served)},
        grants=tuple(part for part in parts if isinstance(part, Grant)),
    )


def limiters(hands: Hands, *parts: Served | Grant, workers: int = 1) -> list[Limiter]:
    """One for each worker of a gateway that goes by a table of these."""
    master = Board.create(workers + 1)
    given = rows(table(*parts), {}, lambda _: True)
    return [Limiter(Board.open(master.descriptor, column), given, hands.clock) for column in range(1, workers + 1)]
