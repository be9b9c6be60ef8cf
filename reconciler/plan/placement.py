"""What is free this moment: memory of GPUs, and ports by lease. Everything promised counts as taken.

`Room.of(…)` once a pass, then `room.why_not(…)`, `room.lease(…)` and `room.take(…)` for each start. Where a replica
belongs is decided in `arrange.py`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import filterfalse
from typing import Literal

from reconciler.model.fleet import Needs
from reconciler.model.kinds import Node
from reconciler.model.memory import Memory
from reconciler.model.observation import Exited, Gpu, Instance, Observation, Unknown
from reconciler.model.plan import Launch, Size, Start
from reconciler.model.status import Reason
from reconciler.plan.cards import WHOLE, Stock, left
from reconciler.plan.words import several


@dataclass(frozen=True, slots=True, kw_only=True)
class NoRoom:
    """Why there is no place, in words."""

    reason: Reason
    detail: str


@dataclass(slots=True)
class _Card:
    """What is left of one GPU, in bytes."""

    gpu: Gpu
    free: int
    strangers: int
    launches: list[Launch] = field(default_factory=list[Launch])
    closed: bool = False
    """Taken whole, or by one that does not share."""

    def why_not(self, size: Size, *, share: bool) -> str | None:
        """Why a replica of this size cannot start on it now; None if it can."""
        if self.closed:
            return f"taken whole by {self.tenants}"
        if self.launches and (size.memory is None or not share):
            return f"shared by {self.tenants}"
        wanted = size.memory if size.memory is not None else int(self.gpu.memory * WHOLE)
        if self.free >= wanted:
            return None
        return left(self.gpu, self.free, self.strangers, f" beside {self.tenants}" if self.launches else "")

    @property
    def tenants(self) -> str:
        """Who is on it, in words."""
        return several(sorted(launch.slot for launch in self.launches))

    def share(self, launch: Launch) -> int:
        """Bytes that a launch on it takes: what was promised, or what it holds where that is more."""
        held = sum(holder.memory for holder in self.gpu.holders if holder.slot == launch.slot)
        return max(launch.memory if launch.memory is not None else self.gpu.memory, held)


@dataclass(slots=True)
class Room:
    """What is left of the machine while one pass decides."""

    node: Node
    cards: dict[str, _Card] | None
    """By UUID, in order of index; None where the GPUs are not known."""
    unknown: str
    """Why they are not known."""
    ports: set[int] | None
    """Taken; None where they are not known."""
    leasable: range
    """The node's own ports."""
    spoken_for: frozenset[int] = frozenset()
    """Ports of those that ended and may come back: clients know them by these, so they are leased to others last."""
    next_port: int = 0
    """Where the search among them goes on: as a position."""
    promised: list[int] = field(default_factory=list[int])
    """Ports of ours, each as often as it was given."""
    listening: frozenset[int] = frozenset()
    """Ports that answer."""
    freed: int | None = None
    """One of the ports taken that is about to be free."""

    @classmethod
    def of(cls, observation: Observation, memory: Memory, node: Node, stock: Mapping[str, Stock]) -> "Room":
        """What is free after everything that runs, ends, or was promised."""
        gpus, ports = observation.gpus, observation.ports
        room = cls(
            node=node,
            cards=None,
            unknown=gpus.reason if isinstance(gpus, Unknown) else "",
            ports=None if isinstance(ports, Unknown) else set(ports),
            leasable=node.port_range,
            listening=frozenset() if isinstance(ports, Unknown) else ports,
            spoken_for=_spoken_for(observation),
        )
        held = _held(observation, memory)
        if room.ports is not None:
            room.promised = list(filter(None, [launch.port for launch in held]))
            room.ports.update(room.promised)
        if not isinstance(gpus, Unknown):
            room.cards = {
                uuid: _Card(gpu=card.gpu, free=card.now, strangers=card.strangers) for uuid, card in stock.items()
            }
            for launch in held if room.cards else ():
                room._occupy(launch)
        return room

    def take(self, launch: Launch) -> None:
        """Count a launch as there."""
        if launch.port is not None and self.ports is not None:
            self.ports.add(launch.port)
            self.promised.append(launch.port)
        self._occupy(launch)

    def _occupy(self, launch: Launch) -> None:
        for uuid in launch.gpus:
            if self.cards is not None and (card := self.cards.get(uuid)) is not None:
                card.free -= card.share(launch)
                card.launches.append(launch)
                card.closed = card.closed or launch.memory is None

    def fits(self, launch: Launch) -> NoRoom | None:
        """Why a launch could not be started again at its own place; None if it can."""
        if launch.port is not None and (self.ports is None or self._taken(launch.port)):
            return NoRoom(reason=Reason.PortTaken, detail=f"port {launch.port} is in use or cannot be seen")
        for uuid, index in zip(launch.gpus, launch.indices, strict=True):
            card = self.cards.get(uuid) if self.cards is not None else None
            if card is None:
                return NoRoom(reason=Reason.NoFreeGpu, detail=f"gpu {index} cannot be seen")
            why = card.why_not(Size(gpus=1, memory=launch.memory), share=True)
            if why is not None:
                return NoRoom(reason=Reason.NoFreeGpu, detail=f"gpu {index}: {why}")
        return None

    def without(self, launch: Launch, *, runs: bool = True) -> "Room":
        """The same machine as it will be once that instance is gone: a copy. One that never ran listens nowhere."""
        cards = self.cards
        if cards is not None and launch.gpus:
            cards = dict(cards)
            for uuid in launch.gpus:
                if (card := cards.get(uuid)) is not None and launch in card.launches:
                    rest = [other for other in card.launches if other is not launch]
                    free, closed = card.free + card.share(launch), any(other.memory is None for other in rest)
                    cards[uuid] = replace(card, free=free, launches=rest, closed=closed)
        free = self.promised.count(launch.port or 0) == 1 and (runs or launch.port not in self.listening)
        return replace(self, cards=cards, freed=launch.port if free else None)

    def why_not(self, gpus: Iterable[Gpu], size: Size, *, share: bool) -> str | None:
        """Why a replica cannot start on these GPUs now; None if it can."""
        cards = self.cards or {}
        why = [(gpu.index, cards[gpu.uuid].why_not(size, share=share)) for gpu in gpus]
        return "; ".join(f"gpu {index}: {words}" for index, words in why if words is not None) or None

    def beside(self, gpus: Iterable[Gpu]) -> list[Launch]:
        """What is on any of these GPUs."""
        return [launch for gpu in gpus for launch in (self.cards or {})[gpu.uuid].launches]

    def lease(self, wish: int | Literal["leased"] | None, before: int | None) -> int | NoRoom | None:
        """A port nobody has: the fixed one, the one it had before, or the first free one of the node's range."""
        if wish is None:
            return None
        if self.ports is None:
            return NoRoom(reason=Reason.Unknown, detail="cannot choose a port: listening ports cannot be seen")
        if isinstance(wish, int):
            if self._taken(wish):
                return taken(wish)
            return wish
        if before is not None and before in self.leasable and not self._taken(before):
            return before
        free = filterfalse(self.ports.__contains__, self.leasable[self.next_port :])
        port = next(filterfalse(self.spoken_for.__contains__, free), None)
        if port is not None:
            self.next_port = self.leasable.index(port)
            return port
        back = sorted(self.spoken_for.intersection(self.leasable) - self.ports)
        if back:
            return back[0]
        if self.freed in self.leasable:
            return self.freed
        return NoRoom(
            reason=Reason.NoFreePort, detail=f"all ports of {self.node.ports} are in use; widen ports of this Node"
        )

    def _taken(self, port: int) -> bool:
        return self.ports is not None and port in self.ports and port != self.freed


def _spoken_for(observation: Observation) -> frozenset[int]:
    """What was leased to those that have ended."""
    instances: Mapping[str, Instance] = {} if isinstance(observation.instances, Unknown) else observation.instances
    ended = (instance.launch.port for instance in instances.values() if type(instance.phase) is Exited)
    return frozenset(filter(None, ended))


def labelled(needs: Needs, node: Node) -> NoRoom | None:
    """Why a machine is none of those a workload may run on; None if it is."""
    if needs.labels.items() <= node.labels.items():
        return None
    missing = [f"{key}: {value}" for key, value in needs.labels.items() if node.labels.get(key) != value]
    detail = f"needs a machine labelled {', '.join(missing)}; label this Node, or edit nodes"
    return NoRoom(reason=Reason.NoNode, detail=detail)


def taken(port: int) -> NoRoom:
    """That a fixed port is another's."""
    return NoRoom(reason=Reason.PortTaken, detail=f"port {port} is in use; free it, or give another port")


def _held(observation: Observation, memory: Memory) -> list[Launch]:
    """What runs, ends, or was promised."""
    instances: Mapping[str, Instance] = {} if isinstance(observation.instances, Unknown) else observation.instances
    # there are thousands: type() takes a third less than isinstance()
    held = [instance.launch for instance in instances.values() if type(instance.phase) is not Exited]
    if not memory.in_flight:
        return held
    held = [launch for launch in held if launch.slot not in memory.in_flight]
    for slot, action in memory.in_flight.items():
        if isinstance(action, Start):
            held.append(action.launch)
        elif slot in instances:
            held.append(instances[slot].launch)
    return held
