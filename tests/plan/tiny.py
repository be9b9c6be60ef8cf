"""Tiny fleets made from a seed, what must hold of every layout of one, and the best layout by trying all."""

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

from reconciler.plan.layout import Answer, Card, Item, Machine, Place, Problem

Figures = tuple[int, ...]
"""By priority, the highest first: ran and have no place, cost of all that moved or went, others without a place."""


def tiny(seed: int, *, most: int = 6, running: float = 0.4) -> Problem:
    """One to three machines of one to three cards, and up to `most` replicas; some of them run."""
    chance = random.Random(seed)
    machines: list[Machine] = []
    cards: list[Card] = []
    for number in range(chance.randint(1, 3)):
        machines.append(Machine(name=f"n{number}", host=chance.choice([10, 20, 1000])))
        count = chance.randint(1, 3)
        cards += [card(f"n{number}", index, chance.choice([10, 16, 24]), chance) for index in range(count)]
    uuids = [one.uuid for one in cards]
    items = tuple(wish(f"s{number}", uuids, chance) for number in range(chance.randint(1, most)))
    problem = Problem(machines=tuple(machines), cards=tuple(cards), items=items)
    ran = [item for item in items if chance.random() < running]
    places = scattered(replace(problem, items=tuple(ran)), chance)
    items = tuple(
        replace(item, at=places.get(item.slot), fixed=item.slot in places and chance.random() < 0.05) for item in items
    )
    return replace(problem, items=items)


def narrow(seed: int, *, most: int = 6) -> Problem:
    """Machines whose RAM is what is short: most replicas take no card."""
    chance = random.Random(f"narrow {seed}")
    machines = tuple(
        Machine(name=f"n{number}", host=chance.choice([8, 12, 20])) for number in range(chance.randint(1, 3))
    )
    cards = tuple(
        card(machine.name, index, chance.choice([10, 24]), chance)
        for machine in machines
        for index in range(chance.randint(0, 2))
    )
    items: list[Item] = []
    for number in range(chance.randint(1, most)):
        made = replace(
            wish(f"s{number}", [one.uuid for one in cards], chance), host=chance.choice([0, 1, 2, 3, 5, 7, 9])
        )
        items.append(replace(made, count=0, allowed=None) if chance.random() < 0.6 else made)
    problem = Problem(machines=machines, cards=cards, items=tuple(items))
    ran = tuple(item for item in items if chance.random() < 0.5)
    places = scattered(replace(problem, items=ran), chance)
    return replace(problem, items=tuple(replace(item, at=places.get(item.slot)) for item in items))


def card(node: str, index: int, total: int, chance: random.Random) -> Card:
    """One that is linked to its neighbour."""
    free = total - chance.choice([0, 0, 0, 1, 3])
    return Card(node=node, index=index, uuid=f"{node}-{index}", model="m", total=total, free=free, links=(index ^ 1,))


def wish(slot: str, uuids: list[str], chance: random.Random) -> Item:
    """A replica of any sort."""
    return Item(
        slot=slot,
        priority=chance.choice([1, 2, 3]),
        count=chance.choice([1, 1, 1, 1, 2, 2, 3, 0]),
        memory=chance.choice([None, 2, 3, 5, 5, 7, 8, 10, 12, 20]),
        share=chance.random() < 0.85,
        host=chance.choice([0, 0, 3, 6]),
        allowed=frozenset(chance.sample(uuids, chance.randint(1, len(uuids))))
        if chance.random() < 0.2 and uuids
        else None,
        never=chance.random() < 0.1,
        cost=chance.randint(0, 9),
        standing=chance.randint(0, 2),
    )


class Shelf:
    """What is left of cards and machines: counted in another way than the solver counts."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.left = {card.uuid: card.free for card in problem.cards}
        self.on: dict[str, list[Item]] = {card.uuid: [] for card in problem.cards}
        self.host = {machine.name: machine.host for machine in problem.machines}
        self.places: dict[str, Place | None] = {}

    def admits(self, item: Item, place: Place) -> bool:
        """Whether it may be put there."""
        return self.host[place.node] >= item.host and all(
            self.left[uuid] >= (item.memory or 1)
            and not any(alone(other) for other in self.on[uuid])
            and not (alone(item) and self.on[uuid])
            for uuid in place.cards
        )

    def put(self, item: Item, place: Place) -> None:
        """Place it."""
        self.places[item.slot] = place
        self.host[place.node] -= item.host
        for uuid in place.cards:
            self.left[uuid] -= item.memory or 1
            self.on[uuid].append(item)

    def lift(self, item: Item, place: Place) -> None:
        """Take it away."""
        self.places[item.slot] = None
        self.host[place.node] += item.host
        for uuid in place.cards:
            self.left[uuid] += item.memory or 1
            self.on[uuid].remove(item)


def alone(item: Item) -> bool:
    """Whether it has its cards to itself."""
    return item.memory is None or not item.share


def choices(problem: Problem, item: Item) -> Iterator[Place]:
    """Every place it could ever have."""
    for machine in problem.machines:
        cards = [card.uuid for card in problem.cards if card.node == machine.name]
        for chosen in combinations(
            [uuid for uuid in cards if item.allowed is None or uuid in item.allowed], item.count
        ):
            yield Place(node=machine.name, cards=chosen)


def scattered(problem: Problem, chance: random.Random) -> dict[str, Place]:
    """Everybody somewhere, as it comes."""
    shelf = Shelf(problem)
    for item in problem.items:
        places = [place for place in choices(problem, item) if shelf.admits(item, place)]
        if places:
            shelf.put(item, chance.choice(places))
    return {slot: place for slot, place in shelf.places.items() if place is not None}


def runs(problem: Problem, item: Item) -> bool:
    """Whether all of its cards are still there."""
    return item.at is not None and {card.uuid for card in problem.cards}.issuperset(item.at.cards)


def asked_again(answer: Answer) -> Problem:
    """The same fleet, once the answer runs."""
    items = tuple(replace(item, at=answer.places[item.slot], fixed=False) for item in answer.problem.items)
    return replace(answer.problem, items=items)


def check(answer: Answer) -> None:
    """Nothing is promised twice, nobody fixed is touched, nobody moves for nothing, nobody takes who may not."""
    problem, places = answer.problem, answer.places
    assert set(places) == {item.slot for item in problem.items}
    shelf = Shelf(problem)
    for item in problem.items:
        place = places[item.slot]
        if runs(problem, item) and (item.fixed or item.never):
            assert place == item.at, item
        if place is None:
            continue
        assert len(set(place.cards)) == item.count
        assert {card.node for card in problem.cards if card.uuid in place.cards} <= {place.node}
        assert place == item.at or item.allowed is None or item.allowed.issuperset(place.cards)
        shelf.put(item, place)
    assert all(left >= 0 for left in (*shelf.left.values(), *shelf.host.values()))
    assert all(len(there) == 1 for there in shelf.on.values() if any(alone(item) for item in there))
    gone = {item.slot for item in problem.items if runs(problem, item) and places[item.slot] != item.at}
    assert {victim.slot for victim in answer.victims} == gone
    by_slot = {item.slot: item for item in problem.items}
    for victim in answer.victims:
        assert victim.to == places[victim.slot]
        assert victim.gained
        for slot in victim.gained:
            assert by_slot[slot].priority > by_slot[victim.slot].priority
            assert places[slot] is not None
            assert places[slot] != by_slot[slot].at
            assert not by_slot[slot].never


def figures(problem: Problem, places: dict[str, Place | None]) -> Figures:
    """What a layout leaves to wish: smaller is better, compared from the left."""
    row: dict[int, list[int]] = {item.priority: [0, 0, 0] for item in problem.items}
    for item in problem.items:
        place, figure = places[item.slot], row[item.priority]
        if item.at is None:
            figure[2] += place is None
        elif place != item.at:
            figure[0] += place is None
            figure[1] += item.cost + 1
    return tuple(number for priority in sorted(row, reverse=True) for number in row[priority])


def best(problem: Problem) -> Figures:
    """The figures of the best layout there is, by trying every one."""
    now = Shelf(problem)
    for item in problem.items:
        if item.at is not None:
            now.put(item, item.at)
    spare = Shelf(problem)
    spare.left = {uuid: 0 if any(map(alone, now.on[uuid])) else left for uuid, left in now.left.items()}
    spare.on = {uuid: list(there) for uuid, there in now.on.items()}
    spare.host = dict(now.host)
    shelf = Shelf(problem)
    found: list[Figures] = []

    def place_next(rest: tuple[Item, ...]) -> None:
        if not rest:
            places = {item.slot: shelf.places.get(item.slot) for item in problem.items}
            found.append(figures(problem, places))
            return
        item, rest = rest[0], rest[1:]
        stuck = item.at is not None and (item.fixed or item.never)
        meek = item.never and item.at is None
        for place in [item.at] if stuck and item.at is not None else choices(problem, item):
            if not shelf.admits(item, place) or (meek and not spare.admits(item, place)):
                continue
            shelf.put(item, place)
            if meek:
                spare.put(item, place)
            place_next(rest)
            shelf.lift(item, place)
            if meek:
                spare.lift(item, place)
        if not stuck:
            place_next(rest)

    place_next(tuple(sorted(problem.items, key=lambda item: -item.priority)))
    return min(found)
