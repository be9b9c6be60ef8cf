"""Ports of one machine, by lease: everything that listens, runs, or was promised counts as taken."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from reconciler.model.kinds import Node
from reconciler.model.observation import Observation, Unknown
from reconciler.model.plan import Launch
from reconciler.model.status import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class NoRoom:
    """Why there is no place, in words."""

    reason: Reason
    detail: str


@dataclass(slots=True)
class Ports:
    """What is left of a machine's ports while one pass decides."""

    node: Node
    taken: set[int] | None
    """None where they are not known."""
    leasable: range
    """The node's own."""
    spoken_for: frozenset[int] = frozenset()
    """Ports of those that ended and may come back: clients know them by these, so they are leased to others last."""
    next: int = 0
    """Where the search among them goes on: as a position."""
    promised: list[int] = field(default_factory=list[int])
    """Ports of ours, each as often as it was given."""
    listening: frozenset[int] = frozenset()
    """Ports that answer."""
    freed: int | None = None
    """One of those taken that is about to be free."""

    @classmethod
    def of(
        cls, machine: str, node: Node, observation: Observation, held: Iterable[Launch], ended: Iterable[Launch]
    ) -> "Ports":
        """Of a machine, by the name that launches carry. What listens is known of this one only."""
        listening = observation.ports if not machine else frozenset[int]()
        answering = frozenset[int]() if isinstance(listening, Unknown) else listening
        promised = _ports_of(machine, held)
        return cls(
            node=node,
            taken=None if isinstance(listening, Unknown) else {*listening, *promised},
            leasable=node.port_range,
            spoken_for=frozenset(_ports_of(machine, ended)),
            promised=promised,
            listening=answering,
        )

    def take(self, port: int) -> None:
        """Count it as taken."""
        if self.taken is not None:
            self.taken.add(port)
            self.promised.append(port)

    def without(self, port: int, *, runs: bool) -> "Ports":
        """As they will be once the instance that was given this port is gone. One that never ran listens nowhere."""
        free = self.promised.count(port) == 1 and (runs or port not in self.listening)
        return replace(self, freed=port if free else None)

    def may_take(self, port: int) -> bool:
        """Whether it is known to be free, or about to be."""
        return self.taken is not None and not self._is_taken(port)

    def lease(self, wish: int | Literal["leased"], before: int | None) -> int | NoRoom:
        """A port nobody has: the fixed one, the one it had before, or the first free one of the node's range."""
        if self.taken is None:
            return NoRoom(reason=Reason.Unknown, detail="cannot choose a port: listening ports cannot be seen")
        if isinstance(wish, int):
            return taken(wish) if self._is_taken(wish) else wish
        if before is not None and before in self.leasable and not self._is_taken(before):
            return before
        for port in self.leasable[self.next :]:
            if port not in self.taken and port not in self.spoken_for:
                self.next = self.leasable.index(port)
                return port
        back = sorted(self.spoken_for.intersection(self.leasable) - self.taken)
        if back:
            return back[0]
        if self.freed is not None and self.freed in self.leasable:
            return self.freed
        return NoRoom(
            reason=Reason.NoFreePort, detail=f"all ports of {self.node.ports} are in use; widen ports of this Node"
        )

    def _is_taken(self, port: int) -> bool:
        return self.taken is not None and port in self.taken and port != self.freed


def taken(port: int) -> NoRoom:
    """That a fixed port is another's."""
    return NoRoom(reason=Reason.PortTaken, detail=f"port {port} is in use; free it, or give another port")


def _ports_of(machine: str, launches: Iterable[Launch]) -> list[int]:
    return [launch.port for launch in launches if launch.port is not None and launch.node == machine]
