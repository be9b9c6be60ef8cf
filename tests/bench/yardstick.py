"""Fleets to place, how layouts of them compare, and what first fit by priority makes of them."""

import random
from dataclasses import replace

from reconciler.plan.layout import Card, Item, Machine, Place, Problem

GIB = 2**30
MODELS = {"L4": 24, "L40S": 48, "H100": 80, "H200": 141}
Places = dict[str, Place | None]
Figures = tuple[int, ...]
"""By priority, the highest first: ran and have no place, cost of all that moved or went, others without a place."""


def mixed(seed: int) -> Problem:
    """One of the seeded fleets: two of five have up to 24 replicas, the others up to 150; half of them run already."""
    chance = random.Random(f"mixed {seed}")
    replicas = chance.randint(5, 24) if chance.random() < 0.4 else chance.randint(25, 150)
    return fleet(seed, replicas, chance.choice([0.6, 0.8, 1.0, 1.2, 1.5]), running=chance.random() < 0.5)


def thousand(seed: int, load: float) -> Problem:
    """1,000 replicas on 125 machines of eight cards, asking for `load` times what there is."""
    chance = random.Random(f"thousand {seed}")
    machines = tuple(Machine(name=f"node-{number:03}", host=2048 * GIB) for number in range(125))
    models = [chance.choice(list(MODELS)) for _ in machines]
    cards = tuple(
        Card(
            node=machine.name,
            index=index,
            uuid=f"{machine.name}-gpu-{index}",
            model=model,
            total=MODELS[model] * GIB,
            free=(MODELS[model] - 1) * GIB,
            links=tuple(other for other in range(8) if other != index),
        )
        for machine, model in zip(machines, models, strict=True)
        for index in range(8)
    )
    wishes = [_wish(chance, number, chance.choice([100, 200, 300, 400])) for number in range(1000)]
    scale = load * sum(card.free for card in cards) / sum(_bytes(wish) for wish in wishes)
    items = tuple(wish if wish.memory is None else replace(wish, memory=int(wish.memory * scale)) for wish in wishes)
    return Problem(machines=machines, cards=cards, items=items)


def fleet(seed: int, replicas: int, load: float, *, running: bool) -> Problem:
    """A mixed fleet whose models ask for `load` times what its cards have, or about it."""
    chance = random.Random(f"fleet {seed} {replicas}")
    levels = chance.sample(range(100, 1000, 100), chance.randint(3, 5))
    wishes = [_wish(chance, number, chance.choice(levels)) for number in range(replicas)]
    cards: list[Card] = []
    machines: list[Machine] = []
    asked = sum(_bytes(wish) for wish in wishes) / load
    while sum(card.free for card in cards) < asked or not machines:
        name = f"node-{len(machines):03}"
        machines.append(Machine(name=name, host=chance.choice([256, 512, 1024]) * GIB))
        cards += _cards(chance, name)
    items: list[Item] = []
    uuids = [card.uuid for card in cards]
    for wish in wishes:
        kind = chance.random()
        if kind < 0.05:
            wish = replace(wish, allowed=frozenset(chance.sample(uuids, min(len(uuids), chance.randint(1, 8)))))
        elif kind < 0.15:
            model = chance.choice(sorted({card.model for card in cards}))
            wish = replace(wish, allowed=frozenset(card.uuid for card in cards if card.model == model))
        items.append(wish)
    problem = Problem(machines=tuple(machines), cards=tuple(cards), items=tuple(items))
    return _run_some(problem, chance) if running else problem


def _wish(chance: random.Random, number: int, priority: int) -> Item:
    kind = chance.random()
    count, memory = 1, chance.randint(2, 20) * GIB + chance.randint(0, 2**29)
    share = True
    if kind < 0.30:
        memory = chance.randint(18, 75) * GIB + chance.randint(0, 2**29)
    elif kind < 0.45:
        count = chance.choice([2, 2, 2, 4, 4, 8])
        memory = chance.choice([20, 40, 70, 75, 120]) * GIB
        share = chance.random() < 0.5
    elif kind < 0.60:
        memory = None
        count = chance.choice([1, 1, 1, 2, 4])
    return Item(
        slot=f"m{number:04}/0",
        priority=priority,
        count=count,
        memory=memory,
        share=share,
        host=chance.choice([0, 4, 8, 16]) * GIB,
        cost=chance.randint(5, 120),
    )


def _bytes(item: Item) -> int:
    return item.count * (60 * GIB if item.memory is None else item.memory if item.share else max(item.memory, 60 * GIB))


def _cards(chance: random.Random, node: str) -> list[Card]:
    model = chance.choice(list(MODELS))
    count = chance.choice([1, 2, 4, 8, 8])
    together = {2: 2, 4: 2, 8: 8}.get(count, 1) if model in ("H100", "H200") else chance.choice([1, 2])
    total = MODELS[model] * GIB
    return [
        Card(
            node=node,
            index=index,
            uuid=f"{node}-gpu-{index}",
            model=model,
            total=total,
            free=total - GIB - (chance.randint(1, 12) * GIB if chance.random() < 0.05 else 0),
            links=tuple(o for o in range(count) if o != index and o // together == index // together),
        )
        for index in range(count)
    ]


def _run_some(problem: Problem, chance: random.Random) -> Problem:
    """Seven of ten already run, where a careless hand once put them: the high priorities are the newest."""
    order = sorted(problem.items, key=lambda item: (item.priority * chance.random(), item.slot))
    old = order[: len(order) * 7 // 10]
    places = first_fit(replace(problem, items=tuple(replace(item, priority=0) for item in old)), chance)
    return replace(problem, items=tuple(replace(item, at=places.get(item.slot)) for item in problem.items))


def first_fit(problem: Problem, chance: random.Random | None = None) -> Places:
    """Naive: by priority, each stays where it runs if that is free, else takes the first place."""
    left = {card.uuid: card.free for card in problem.cards}
    tenants: dict[str, int] = dict.fromkeys(left, 0)
    shut: set[str] = set()
    host = {machine.name: machine.host for machine in problem.machines}
    cards: dict[str, list[str]] = {machine.name: [] for machine in problem.machines}
    for card in problem.cards:
        cards[card.node].append(card.uuid)
    places: Places = {}
    names = list(cards)
    for item in sorted(problem.items, key=lambda item: -item.priority):
        need, alone = item.memory or 1, item.memory is None or not item.share

        def good(uuid: str, item: Item = item, need: int = need, alone: bool = alone) -> bool:
            if item.allowed is not None and uuid not in item.allowed:
                return False
            return left[uuid] >= need and uuid not in shut and not (alone and tenants[uuid])

        place = None
        if item.at is not None and host[item.at.node] >= item.host and all(good(uuid) for uuid in item.at.cards):
            place = item.at
        else:
            if chance is not None:
                chance.shuffle(names)
            for node in names:
                fits = [uuid for uuid in cards[node] if good(uuid)] if host[node] >= item.host else []
                if len(fits) >= item.count:
                    place = Place(node=node, cards=tuple(fits[: item.count]))
                    break
        places[item.slot] = place
        if place is not None:
            host[place.node] -= item.host
            for uuid in place.cards:
                left[uuid] -= need
                tenants[uuid] += 1
                if alone:
                    shut.add(uuid)
    return places


def figures(problem: Problem, places: Places) -> Figures:
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


def value(problem: Problem, ours: Figures, theirs: Figures) -> float:
    """Ours for each of theirs where they first differ: replicas kept, cost spared, or replicas placed. 1 if nowhere."""
    for number, priority in enumerate(sorted({item.priority for item in problem.items}, reverse=True)):
        mine = [item for item in problem.items if item.priority == priority]
        ran = [item for item in mine if item.at is not None]
        wholes = len(ran), sum(item.cost + 1 for item in ran), len(mine)
        for figure, whole in enumerate(wholes):
            one, other = whole - ours[3 * number + figure], whole - theirs[3 * number + figure]
            if one != other:
                return one / other if other else 2.0
    return 1.0
