"""Items, cards and machines → the integers that placements are tried on, and places back again."""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field

from reconciler.plan.layout.nouns import Card, Item, Place, Problem
from reconciler.plan.layout.room import Ground, Room, Spot, Want

_Names = tuple[frozenset[str] | None, frozenset[str] | None]
_Allowed = tuple[int, frozenset[int] | None, frozenset[int] | None]


@dataclass(slots=True)
class Compiled:
    """The machines in integers: by name, and their cards by index; both ascending."""

    nodes: list[str]
    cards: list[Card]
    ground: Ground
    host: list[int]
    node_number: dict[str, int] = field(init=False)
    card_number: dict[str, int] = field(init=False)
    frees: list[int] = field(init=False)
    sets: dict[_Names, _Allowed] = field(init=False, default_factory=dict[_Names, _Allowed])
    """Allowed cards and nodes → a number for the pair, and both in integers."""

    def __post_init__(self) -> None:
        self.node_number = {name: number for number, name in enumerate(self.nodes)}
        self.frees = sorted(self.ground.free)
        self.card_number = {card.uuid: number for number, card in enumerate(self.cards)}

    @classmethod
    def of(cls, problem: Problem) -> "Compiled":
        """The same for every order of the same machines."""
        machines = sorted(problem.machines, key=lambda machine: machine.name)
        nodes = [machine.name for machine in machines]
        numbers = {name: number for number, name in enumerate(nodes)}
        cards = sorted(
            (card for card in problem.cards if card.node in numbers), key=lambda c: (c.node, c.index, c.uuid)
        )
        node_of = [numbers[card.node] for card in cards]
        cards_of: list[list[int]] = [[] for _ in nodes]
        for card, node in enumerate(node_of):
            cards_of[node].append(card)
        links: list[frozenset[int]] = []
        for number, card in enumerate(cards):
            there = cards_of[node_of[number]]
            links.append(frozenset(other for other in there if cards[other].index in card.links))
        tied = [0 < sum(len(links[card]) for card in there) < len(there) * (len(there) - 1) for there in cards_of]
        ground = Ground(
            node_of=node_of,
            cards_of=[tuple(there) for there in cards_of],
            free=[card.free for card in cards],
            links=links,
            tied=tied,
        )
        return cls(nodes=nodes, cards=cards, ground=ground, host=[machine.host for machine in machines])

    def place(self, spot: Spot | None) -> Place | None:
        """In the caller's names."""
        if spot is None:
            return None
        return Place(node=self.nodes[spot[0]], cards=tuple(self.cards[card].uuid for card in spot[1]))

    def home(self, item: Item) -> Spot | None:
        """Where it runs, if all of that is still there."""
        if item.at is None or (node := self.node_number.get(item.at.node)) is None:
            return None
        cards = [self.card_number.get(uuid, -1) for uuid in item.at.cards]
        if any(card < 0 or self.ground.node_of[card] != node for card in cards):
            return None
        return node, tuple(sorted(cards))

    def allowed(self, item: Item) -> tuple[int, frozenset[int] | None, frozenset[int] | None]:
        """Which cards and nodes it may use; None for all."""
        key = item.allowed if item.count else None, item.nodes
        known = self.sets.get(key)
        if known is None:
            nodes = None
            if item.nodes is not None:
                nodes = frozenset(self.node_number[name] for name in item.nodes if name in self.node_number)
            cards = None
            if item.allowed is not None and item.count:
                cards = frozenset(self.card_number[uuid] for uuid in item.allowed if uuid in self.card_number)
                there = frozenset(self.ground.node_of[card] for card in cards)
                nodes = there if nodes is None else nodes & there
            if nodes is not None and item.count:
                within = frozenset(card for node in nodes for card in self.ground.cards_of[node])
                cards = within if cards is None else cards & within
            known = self.sets[key] = len(self.sets), cards, nodes
        return known

    def least(self, need: int) -> int:
        """Bytes of the smallest card with so many: what one that shares with nobody takes."""
        entry = bisect_left(self.frees, need)
        return self.frees[entry] if entry < len(self.frees) else need

    def wants(self, items: Iterable[Item]) -> list[Want]:
        """In order of rank: priority, standing, slot."""
        ranked = sorted(items, key=lambda item: (-item.priority, item.standing, item.slot))
        return [self.want(number, item) for number, item in enumerate(ranked)]

    def want(self, number: int, item: Item) -> Want:
        """One item in integers."""
        which, cards, nodes = self.allowed(item)
        home = self.home(item)
        need = 1 if item.memory is None else max(1, item.memory)
        alone = item.count > 0 and (item.memory is None or not item.share)
        meek = item.never and home is None
        return Want(
            number=number,
            slot=item.slot,
            priority=item.priority,
            count=item.count,
            need=need,
            alone=alone,
            host=item.host,
            cards=cards,
            nodes=nodes,
            home=home,
            fixed=home is not None and (item.fixed or item.never),
            meek=meek,
            cost=item.cost,
            size=item.count * (self.least(need) if alone else need) if item.count else item.host,
            kind=(item.count, alone, which, meek),
        )


def room_of(compiled: Compiled, wants: list[Want]) -> Room:
    """Everybody at home."""
    room = Room.empty(compiled.ground, compiled.host, wants)
    for want in wants:
        if want.home is not None:
            room.put(want.number, want.home)
    room.settle()
    return room
