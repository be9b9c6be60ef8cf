"""Better layouts of a few machines at a time: all that stands there is taken up, and laid out anew by a search.

The rest of the fleet stays as it is, so each question is small, and answered for certain (`search.py`).
"""

from collections.abc import Iterable, Iterator
from heapq import nsmallest

from reconciler.plan.layout.room import Room, Want
from reconciler.plan.layout.search import Search, Worth

_CROWD = 14
"""Replicas in a window, about: of those that take cards; what takes host RAM alone stays where it is."""
_NODES = 6
_WAITING = 4
"""Others without a place that may be tried there too."""


def worth(room: Room, wants: Iterable[Want]) -> Worth:
    """What a layout leaves to wish for these; all zero is perfect."""
    figures: Worth = {}
    for want in wants:
        row, spot = figures.setdefault(want.priority, [0, 0, 0]), room.spot[want.number]
        if want.home is None:
            row[2] += spot is None
        elif spot != want.home:
            row[0] += spot is None
            row[1] += want.cost + 1
    return figures


def question(
    room: Room, matter: list[Want], figures: Worth, *, aim: tuple[int, int], nodes: list[int], steps: int
) -> Search:
    """Can these, who are nowhere, leave no more to wish than `figures`, and less at `aim` (priority, figure)?"""
    priority, figure = aim
    asked = {level: list(row) for level, row in figures.items()}
    asked[priority][figure] -= 1
    for later in range(figure + 1, 3):
        asked[priority][later] = 1 << 60
    return Search(start=room, wants=matter, figures=asked, steps=steps, aim=aim, nodes=nodes)


def windows(room: Room, want: Want) -> Iterator[list[int]]:
    """Small sets of machines where one might find room, the emptiest first."""
    ground, wants = room.ground, room.wants
    slack: list[tuple[int, int]] = []
    for node in range(len(room.host)) if want.nodes is None else want.nodes:
        there = [card for card in ground.cards_of[node] if want.cards is None or card in want.cards]
        if sum(ground.free[card] >= want.need for card in there) < want.count:
            continue
        free = sum(max(0, room.left[card]) for card in there if not room.closed[card])
        soft = sum(
            wants[number].need if not wants[number].alone else room.left[card]
            for card in there
            for number in room.tenants[card]
            if wants[number].priority < want.priority and not wants[number].fixed
        )
        slack.append((-free - soft, node))
    spot = room.spot[want.number]
    fixed = sorted({place[0] for place in (want.home, spot) if place is not None})
    order = [node for _, node in sorted(slack) if node not in fixed]
    seen: set[tuple[int, ...]] = set()
    for stride in (1, 2, 3):
        for start in range(len(order)):
            nodes = fixed.copy()
            crowd = 0
            for node in order[start::stride]:
                crowd += len({number for card in ground.cards_of[node] for number in room.tenants[card]})
                if len(nodes) > len(fixed) and (crowd > _CROWD or len(nodes) >= _NODES):
                    break
                nodes.append(node)
            key = tuple(sorted(nodes))
            if key not in seen:
                seen.add(key)
                yield list(key)


def mend(room: Room, want: Want, figure: int, nodes: list[int], steps: int) -> tuple[bool, int]:
    """Lay these machines out anew so that this figure of its priority is one better. Whether that went, and the work.

    Those of lower priorities stay where they still fit; the others of them are nowhere after it.
    """
    inside = set(nodes)
    there = [
        other
        for other, spot in zip(room.wants, room.spot, strict=True)
        if spot is not None and spot[0] in inside and other.count and not other.fixed and not other.meek
    ]
    matter = [other for other in there if other.priority >= want.priority]
    # others who wait may take its turn, or wait instead of someone who stands there
    waiting = [
        other
        for other in room.wants
        if other.priority >= want.priority and room.spot[other.number] is None and not other.meek and other is not want
    ]
    matter += [want, *nsmallest(_WAITING, waiting, key=lambda other: (other.size, other.number))]
    matter = list({other.number: other for other in matter}.values())
    stood = [(other.number, room.spot[other.number]) for other in there]
    mark = len(room.trail)
    figures = worth(room, matter)
    for other in (*there, *matter):
        room.lift(other.number)
    search = question(room, matter, figures, aim=(want.priority, figure), nodes=nodes, steps=steps)
    found = search.run()
    if found is None:
        room.back(mark)
        return False, search.work(steps)
    for number, spot in found.items():
        room.put(number, spot)
    for number, spot in stood:
        if spot is not None and room.wants[number].priority < want.priority and room.fits(room.wants[number], spot):
            room.put(number, spot)
    return True, search.work(steps)
