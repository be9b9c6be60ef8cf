"""Where: GPUs by memory (best fit) and ports by lease. Everything promised counts as taken.

The signature is `Room.of(…)` once a pass, then `room.choose(needs)`, `room.lease(…)` and `room.take(…)` for each start.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from reconciler.model.fleet import Needs
from reconciler.model.kinds import Node
from reconciler.model.memory import Memory
from reconciler.model.observation import Exited, Gpu, Instance, Observation, Unknown
from reconciler.model.plan import Launch, Start
from reconciler.model.quantity import print_size
from reconciler.model.status import Reason

_WHOLE = 0.9
"""Part of a card that must be free to be taken whole: a display or a monitoring agent holds a little."""


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
    tenants: list[str] = field(default_factory=list[str])
    closed: bool = False
    """Taken whole, or by one that does not share."""

    def why_not(self, needs: Needs) -> str | None:
        """Why it cannot be one of this workload's GPUs; None if it can."""
        if needs.ids and str(self.gpu.index) not in needs.ids and self.gpu.uuid not in needs.ids:
            return "not one of gpus.ids"
        if needs.models and not any(model in self.gpu.model for model in needs.models):
            return f"is {self.gpu.model}"
        if self.gpu.memory < needs.least:
            return f"has {print_size(self.gpu.memory)} in all"
        if self.closed:
            return f"taken whole by {', '.join(sorted(self.tenants))}"
        if self.tenants and (needs.memory is None or not needs.share):
            return f"shared by {', '.join(sorted(self.tenants))}"
        wanted = needs.memory if needs.memory is not None else int(self.gpu.memory * _WHOLE)
        if self.free < wanted:
            return f"{self.left()}"
        return None

    def share(self, launch: Launch) -> int:
        """Bytes that a launch on it takes: what was promised, or what it holds where that is more."""
        held = sum(holder.memory for holder in self.gpu.holders if holder.slot == launch.slot)
        return max(launch.memory if launch.memory is not None else self.gpu.memory, held)

    def left(self) -> str:
        """`46.1 GiB of 80.0 GiB free; 12.0 GiB held by pid 4242 python, not ours`."""
        text = f"{print_size(max(0, self.free))} of {print_size(self.gpu.memory)} free"
        held = [f"{print_size(h.memory)} held by pid {h.pid} {h.name}" for h in self.gpu.holders if h.slot is None]
        if held:
            text += "; " + ", ".join(held) + ", not ours"
        elif self.strangers >= 2**30:
            text += f"; {print_size(self.strangers)} held by others"
        return text


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
    next_port: int = 0
    """Where the search among them goes on: as a position."""
    freed: int | None = None
    """One of the ports taken that is about to be free."""

    @classmethod
    def of(cls, observation: Observation, memory: Memory, node: Node) -> "Room":
        """What is free after everything that runs, ends, or was promised."""
        gpus, ports = observation.gpus, observation.ports
        room = cls(
            node=node,
            cards=None if isinstance(gpus, Unknown) else {gpu.uuid: _card(gpu, node) for gpu in gpus},
            unknown=gpus.reason if isinstance(gpus, Unknown) else "",
            ports=None if isinstance(ports, Unknown) else set(ports),
            leasable=node.port_range,
        )
        held = _held(observation, memory)
        if room.ports is not None:
            room.ports.update(filter(None, [launch.port for launch in held]))
        if room.cards:
            for launch in held:
                room._occupy(launch)
        return room

    def take(self, launch: Launch) -> None:
        """Count a launch as there."""
        if launch.port is not None and self.ports is not None:
            self.ports.add(launch.port)
        self._occupy(launch)

    def _occupy(self, launch: Launch) -> None:
        for uuid in launch.gpus:
            if self.cards is not None and (card := self.cards.get(uuid)) is not None:
                card.free -= card.share(launch)
                card.tenants.append(launch.slot)
                card.closed = card.closed or launch.memory is None

    def fits(self, launch: Launch) -> NoRoom | None:
        """Why a launch could not be started again at its own place; None if it can."""
        if launch.port is not None and (self.ports is None or self._taken(launch.port)):
            return NoRoom(reason=Reason.PortTaken, detail=f"port {launch.port} is in use or cannot be seen")
        for uuid, index in zip(launch.gpus, launch.indices, strict=True):
            card = self.cards.get(uuid) if self.cards is not None else None
            if card is None:
                return NoRoom(reason=Reason.NoFreeGpu, detail=f"gpu {index} cannot be seen")
            why = card.why_not(Needs(gpus=1, memory=launch.memory))
            if why is not None:
                return NoRoom(reason=Reason.NoFreeGpu, detail=f"gpu {index}: {why}")
        return None

    def without(self, launch: Launch) -> "Room":
        """The same machine as it will be once that instance is gone: a copy."""
        cards = self.cards
        if cards is not None and launch.gpus:
            cards = dict(cards)
            for uuid in launch.gpus:
                if (card := cards.get(uuid)) is not None and launch.slot in card.tenants:
                    tenants = list(card.tenants)
                    tenants.remove(launch.slot)
                    free, closed = card.free + card.share(launch), card.closed and launch.memory is not None
                    cards[uuid] = replace(card, free=free, tenants=tenants, closed=closed)
        return replace(self, cards=cards, freed=launch.port)

    def choose(self, needs: Needs) -> tuple[Gpu, ...] | NoRoom:
        """The GPUs for one replica: of those that fit, the fullest, so that big holes stay whole."""
        if not needs.labels.items() <= self.node.labels.items():
            return self._no_node(needs)
        if needs.gpus == 0:
            return ()
        if self.cards is None:
            return NoRoom(reason=Reason.Unknown, detail=f"cannot place on gpus that cannot be seen: {self.unknown}")
        if needs.gpus is None and not self.cards and needs.cpu:
            return ()
        count = needs.gpus or 1
        if not self.cards:
            return NoRoom(reason=Reason.NoFreeGpu, detail=f"needs {_gpus(count)}, and this machine has none")
        why_not = {uuid: card.why_not(needs) for uuid, card in self.cards.items()}
        fits = sorted((self.cards[uuid] for uuid, why in why_not.items() if why is None), key=_fullest_first)
        if len(fits) >= count:
            return tuple(sorted((card.gpu for card in fits[:count]), key=lambda gpu: gpu.index))
        size = f" with {print_size(needs.memory)} free" if needs.memory is not None else " to itself"
        each = "; ".join(f"gpu {self.cards[uuid].gpu.index}: {why}" for uuid, why in why_not.items() if why is not None)
        return NoRoom(reason=Reason.NoFreeGpu, detail=f"needs {_gpus(count)}{size}; {each}")

    def lease(self, wish: int | Literal["leased"] | None, before: int | None) -> int | NoRoom | None:
        """A port nobody has: the fixed one, the one it had before, or the first free one of the node's range."""
        if wish is None:
            return None
        if self.ports is None:
            return NoRoom(reason=Reason.Unknown, detail="cannot choose a port: listening ports cannot be seen")
        if isinstance(wish, int):
            if self._taken(wish):
                return NoRoom(reason=Reason.PortTaken, detail=f"port {wish} is in use; free it, or give another port")
            return wish
        if before is not None and before in self.leasable and not self._taken(before):
            return before
        while self.next_port < len(self.leasable):
            port = self.leasable[self.next_port]
            if not self._taken(port):
                return port
            self.next_port += 1
        return NoRoom(
            reason=Reason.NoFreePort, detail=f"all ports of {self.node.ports} are in use; widen ports of this Node"
        )

    def _taken(self, port: int) -> bool:
        return self.ports is not None and port in self.ports and port != self.freed

    def _no_node(self, needs: Needs) -> NoRoom:
        labels = self.node.labels
        missing = [f"{key}: {value}" for key, value in needs.labels.items() if labels.get(key) != value]
        detail = f"needs a machine labelled {', '.join(missing)}; label this Node, or edit nodes"
        return NoRoom(reason=Reason.NoNode, detail=detail)


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


def _card(gpu: Gpu, node: Node) -> _Card:
    ours = sum(holder.memory for holder in gpu.holders if holder.slot is not None)
    strangers = max(0, gpu.used - ours)
    return _Card(gpu=gpu, free=gpu.memory - node.reserved - strangers, strangers=strangers)


def _fullest_first(card: _Card) -> tuple[int, int]:
    return card.free, card.gpu.index


def _gpus(count: int) -> str:
    return "one gpu" if count == 1 else f"{count} gpus"
