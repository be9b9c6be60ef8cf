"""What is free this moment: memory of GPUs and hosts, and ports by lease. Everything promised counts as taken.

`Room.of(…)` once a pass, then `room.why_not(…)`, `room.lease(…)` and `room.take(…)` for each start. Where a replica
belongs is decided in `arrange.py`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from reconciler.model.fleet import Needs
from reconciler.model.kinds import Node
from reconciler.model.memory import Memory
from reconciler.model.observation import Exited, Gpu, Instance, Observation, Resident, Unknown
from reconciler.model.plan import Launch, Size, Sleep, Start, Wake
from reconciler.model.quantity import print_size
from reconciler.model.status import Reason
from reconciler.plan.cards import WHOLE, Stock, holding, left
from reconciler.plan.hosts import Ram, taken
from reconciler.plan.ports import NoRoom, Ports
from reconciler.plan.words import several


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

    nodes: Mapping[str, Node]
    """By machine."""
    cards: dict[str, _Card] | None
    """By UUID, in order; None where the GPUs are not known."""
    unknown: str
    """Why they are not known."""
    ports: Mapping[str, Ports]
    """By machine."""
    rams: Mapping[str, Ram]
    """By machine; empty where there is host memory for everything."""
    resident: Mapping[str, Resident]
    host: dict[str, int]
    """By machine: bytes of its own memory that are left."""

    @classmethod
    def of(  # noqa: PLR0917
        cls,
        observation: Observation,
        memory: Memory,
        nodes: Mapping[str, Node],
        stock: Mapping[str, Stock],
        rams: Mapping[str, Ram],
        now: float,
    ) -> "Room":
        """What is free after everything that runs, ends, or was promised."""
        gpus = observation.gpus
        held, ended = _launches(observation, memory, stock, now)
        room = cls(
            nodes=nodes,
            cards=None,
            unknown=gpus.reason if isinstance(gpus, Unknown) else "",
            ports={name: Ports.of(name, node, observation, held, ended) for name, node in nodes.items()},
            rams=rams,
            resident=observation.resident,
            host={name: ram.now for name, ram in rams.items()},
        )
        for launch in held if rams else ():
            room._occupy_host(launch)
        if not isinstance(gpus, Unknown):
            room.cards = {
                uuid: _Card(gpu=card.gpu, free=card.now, strangers=card.strangers) for uuid, card in stock.items()
            }
            for launch in held if room.cards else ():
                room._occupy_cards(launch)
        return room

    def take(self, launch: Launch) -> None:
        """Count a launch as there."""
        if launch.port is not None and (ports := self.ports.get(launch.node)) is not None:
            ports.take(launch.port)
        self._occupy_cards(launch)
        self._occupy_host(launch)

    def wake(self, asleep: Launch, launch: Launch) -> None:
        """Count one that sleeps as awake."""
        for uuid in launch.gpus:
            if self.cards is not None and (card := self.cards.get(uuid)) is not None and asleep in card.launches:
                card.free += card.share(asleep)
                card.launches.remove(asleep)
        self._occupy_cards(launch)

    def _occupy_host(self, launch: Launch) -> None:
        if launch.node in self.host:
            self.host[launch.node] -= taken(launch, self.resident)

    def _occupy_cards(self, launch: Launch) -> None:
        for uuid in launch.gpus:
            if self.cards is not None and (card := self.cards.get(uuid)) is not None:
                card.free -= card.share(launch)
                card.launches.append(launch)
                card.closed = card.closed or launch.memory is None

    def fits(self, launch: Launch) -> NoRoom | None:
        """Why a launch could not be started again at its own place; None if it can."""
        ports = self.ports.get(launch.node)
        if launch.port is not None and (ports is None or not ports.may_take(launch.port)):
            return NoRoom(reason=Reason.PortTaken, detail=f"port {launch.port} is in use or cannot be seen")
        for uuid, index in zip(launch.gpus, launch.indices, strict=True):
            card = self.cards.get(uuid) if self.cards is not None else None
            if card is None:
                return NoRoom(reason=Reason.NoFreeGpu, detail=f"gpu {index} cannot be seen")
            why = card.why_not(Size(gpus=1, memory=launch.memory), share=True)
            if why is not None:
                return NoRoom(reason=Reason.NoFreeGpu, detail=f"gpu {index}: {why}")
        why = self.why_not_host(launch.node, launch.host)
        return NoRoom(reason=Reason.NoFreeMemory, detail=why) if why is not None else None

    def without(self, launch: Launch, *, runs: bool = True) -> "Room":
        """The same machine as it will be once that instance is gone: a copy. One that never ran listens nowhere."""
        cards = self.cards
        if cards is not None and launch.gpus:
            cards = dict(cards)
            for uuid in launch.gpus:
                if (card := cards.get(uuid)) is not None and launch in card.launches:
                    rest = [other for other in card.launches if other != launch]
                    free, closed = card.free + card.share(launch), any(other.memory is None for other in rest)
                    cards[uuid] = replace(card, free=free, launches=rest, closed=closed)
        ports = self.ports
        if launch.port is not None and launch.node in ports:
            ports = {**ports, launch.node: ports[launch.node].without(launch.port, runs=runs)}
        host = self.host
        if launch.node in host:
            host = {**host, launch.node: host[launch.node] + taken(launch, self.resident)}
        return replace(self, cards=cards, ports=ports, host=host)

    def why_not_host(self, machine: str, amount: int) -> str | None:
        """Why so much host memory of a machine cannot be had now; None if it can."""
        left = self.host.get(machine)
        if not amount or left is None or left >= amount:
            return None
        return f"needs {print_size(amount)} of host memory; {self.rams[machine].left(left)}"

    def why_not(self, gpus: Iterable[Gpu], size: Size, *, share: bool) -> str | None:
        """Why a replica cannot start on these GPUs now; None if it can."""
        cards = self.cards or {}
        why = [(gpu.index, cards[gpu.uuid].why_not(size, share=share)) for gpu in gpus]
        return "; ".join(f"gpu {index}: {words}" for index, words in why if words is not None) or None

    def beside(self, gpus: Iterable[Gpu]) -> list[Launch]:
        """What is on any of these GPUs."""
        return [launch for gpu in gpus for launch in (self.cards or {})[gpu.uuid].launches]


def labelled(needs: Needs, nodes: Mapping[str, Node]) -> list[str] | NoRoom:
    """The machines that a workload may run on, this one first; or why there is none."""
    if not needs.labels:
        return list(nodes)
    found = [name for name, node in nodes.items() if needs.labels.items() <= node.labels.items()]
    if found:
        return found
    missing = list(needs.labels.items())
    if len(nodes) == 1:
        (node,) = nodes.values()
        missing = [(key, value) for key, value in missing if node.labels.get(key) != value]
    words = ", ".join(f"{key}: {value}" for key, value in missing)
    return NoRoom(reason=Reason.NoNode, detail=f"needs a machine labelled {words}; label this Node, or edit nodes")


def _launches(
    observation: Observation, memory: Memory, stock: Mapping[str, Stock], now: float
) -> tuple[list[Launch], list[Launch]]:
    """What runs, ends, or was promised; and what has ended."""
    instances: Mapping[str, Instance] = {} if isinstance(observation.instances, Unknown) else observation.instances
    held: list[Launch] = []
    ended: list[Launch] = []
    for instance in instances.values():  # thousands: looked at once, and type() takes a third less than isinstance()
        launch = instance.launch if instance.launch.sleeper is None else holding(instance, stock, now)
        (ended if type(instance.phase) is Exited else held).append(launch)
    if not memory.in_flight:
        return held, ended
    held = [launch for launch in held if launch.slot not in memory.in_flight]
    for slot, action in memory.in_flight.items():
        if isinstance(action, Start):
            held.append(action.launch)
        elif slot in instances:
            launch = instances[slot].launch if isinstance(action, Wake) else holding(instances[slot], stock, now)
            held.append(replace(launch, host=launch.asleep.host) if isinstance(action, Sleep) else launch)
    return held, ended
