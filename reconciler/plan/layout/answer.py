"""The answer in the caller's words: places, victims and who gained, and what a refused replica saw on each card."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.plan.layout.ground import Compiled
from reconciler.plan.layout.nouns import Item, Place, Problem, Seen, Victim
from reconciler.plan.layout.room import Room, Want


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Where everybody goes. Hand it to the next `solve` as `before`: the same answer comes sooner."""

    problem: Problem
    places: Mapping[str, Place | None]
    """By slot; None for one that has no place now: ask `seen` why."""
    victims: tuple[Victim, ...]
    """Who runs and must go, by slot."""
    proved: bool
    """Whether no layout is better: nothing is left to wish, or a search has shown it."""
    compiled: Compiled = field(repr=False, compare=False)
    room: Room = field(repr=False, compare=False)
    items: Mapping[str, Item] = field(repr=False, compare=False)
    numbers: Mapping[str, int] = field(repr=False, compare=False)

    @property
    def astray(self) -> frozenset[str]:
        """Slots that are to be elsewhere than they are."""
        return frozenset(slot for slot, item in self.items.items() if item.at is None or item.at != self.places[slot])

    def seen(self, slot: str) -> tuple[Seen, ...]:
        """What a replica sees of every card, once those of a lower priority that it may displace are left out."""
        wants = self.room.wants
        if slot not in self.numbers:
            return ()
        want = wants[self.numbers[slot]]
        rows: list[Seen] = []
        for number, card in enumerate(self.compiled.cards):
            tenants = [
                wants[other]
                for other in self.room.tenants[number]
                if want.meek or wants[other].fixed or wants[other].priority >= want.priority
            ]
            node = self.room.ground.node_of[number]
            rows.append(
                Seen(
                    card=card,
                    allowed=(want.cards is None or number in want.cards) and (want.nodes is None or node in want.nodes),
                    free=card.free - sum(other.need for other in tenants if not other.alone or other.need > 1),
                    tenants=tuple(sorted(other.slot for other in tenants if other is not want)),
                    closed=any(other.alone for other in tenants),
                )
            )
        return tuple(rows)

    def tenants(self, machine: str, slot: str) -> tuple[str, ...]:
        """Who takes host RAM of a machine that a replica may not displace."""
        want = self.room.wants[self.numbers[slot]] if slot in self.numbers else None
        node = self.compiled.node_number[machine]
        there = (
            other
            for other, spot in zip(self.room.wants, self.room.spot, strict=True)
            if spot is not None and spot[0] == node and other.host
        )
        found = (o.slot for o in there if want is None or want.meek or o.fixed or o.priority >= want.priority)
        return tuple(sorted(found))

    def host(self, slot: str) -> Mapping[str, int]:
        """Bytes of host RAM that a replica sees left on each machine, counted like `seen`."""
        want = self.room.wants[self.numbers[slot]] if slot in self.numbers else None
        left = dict(zip(self.compiled.nodes, self.room.host, strict=True))
        if want is not None and not want.meek:
            for other, spot in zip(self.room.wants, self.room.spot, strict=True):
                if spot is not None and not other.fixed and other.priority < want.priority:
                    left[self.compiled.nodes[spot[0]]] += other.host
        return left


def victims(wants: list[Want], room: Room, compiled: Compiled) -> tuple[Victim, ...]:
    """Those who are not where they ran, which is the home of these wants."""
    gone = [want for want in wants if want.home is not None and room.spot[want.number] != want.home]
    rows = [
        Victim(
            slot=want.slot,
            to=compiled.place(room.spot[want.number]),
            gained=tuple(sorted(wants[number].slot for number in _gained(want, wants, room))),
        )
        for want in gone
    ]
    return tuple(sorted(rows, key=lambda victim: victim.slot))


def _gained(victim: Want, wants: list[Want], room: Room) -> set[int]:
    """Who came onto its cards at a higher priority; else for whom those came that did; else who came to its machine."""
    came = {
        want.number
        for want in wants
        if room.spot[want.number] not in (None, want.home) and not want.meek and want is not victim
    }
    road, known = [victim], {victim.number}
    while road:
        home = road.pop(0).home
        there = {
            number for card in (home[1] if home is not None else ()) for number in room.tenants[card]
        } & came - known
        higher = {number for number in there if wants[number].priority > victim.priority}
        if higher:
            return higher
        road += [wants[number] for number in sorted(there)]
        known |= there
    higher = {number for number in came if wants[number].priority > victim.priority}
    near = {number for number in higher if (spot := room.spot[number]) and victim.home and spot[0] == victim.home[0]}
    return near or higher
