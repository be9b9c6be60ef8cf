"""What cannot fit by counting, kept up to date step by step while a search goes down and up.

Each bound asks of everyone still waiting how many pieces of some size it takes (or bytes, or groups of cards in one
machine), and compares that with how many there are, less the most that may be left out.
"""

from dataclasses import dataclass

from reconciler.plan.layout.room import Room, Want


@dataclass(slots=True)
class _Bound:
    """One size, one group, one set of cards."""

    need: int
    """Bytes of a piece; 0: bytes themselves are counted."""
    count: int
    """Cards in a group."""
    alone: bool
    """Only bare cards count."""
    cards: frozenset[int] | None
    asks: list[int]
    """By want."""
    due: int
    """What all those waiting ask for."""
    most: dict[tuple[int, bool], list[int]]
    """Priority, whether it ran → how much less when so many are left out, at most."""
    there: list[int]
    """By card."""
    sums: list[int]
    """By node."""
    supply: int

    def worth(self, left: int, *, shut: bool, bare: bool) -> int:
        """What one card offers."""
        if shut or left <= 0 or (self.alone and not bare):
            return 0
        if not self.need:
            return left
        return min(1, left // self.need) if self.alone else left // self.need


@dataclass(slots=True)
class Bounds:
    """All of them, for one search."""

    bounds: list[_Bound]
    asking: list[list[tuple[_Bound, int]]]
    """By want: the bounds that it asks something of."""

    @classmethod
    def of(cls, room: Room, wants: list[Want], nodes: list[int]) -> "Bounds":
        """For every size, group and set of cards that occurs. Who may stay where there is too little is not counted."""
        counted = [want if _countable(want, room, wants) else None for want in wants]
        sets = [None, *sorted({want.cards for want in wants if want.cards is not None}, key=sorted)]
        shapes = {(0, 1, False)}
        shapes |= {(want.need, count, False) for want in wants if want.count for count in (1, want.count)}
        shapes |= {(want.need, count, True) for want in wants if want.alone for count in (1, want.count)}
        there = [card for node in nodes for card in room.ground.cards_of[node]]
        least = [_least(want, room, there) for want in wants]
        bounds: list[_Bound] = []
        for cards in sets:
            for need, count, alone in sorted(shapes):
                asks = [
                    0 if want is None or not _within(want, cards) else _asks(want, need, count, alone, least[number])
                    for number, want in enumerate(counted)
                ]
                if any(asks) and (cards is None or sum(map(bool, asks)) > 0):
                    bounds.append(_bound(room, wants, _Shape(need, count, alone, cards), asks, there))
        asking = [[(bound, bound.asks[n]) for bound in bounds if bound.asks[n]] for n in range(len(wants))]
        return cls(bounds=bounds, asking=asking)

    def pass_(self, figures: dict[int, list[int]]) -> bool:
        """Whether there may be enough for those waiting."""
        for bound in self.bounds:
            if bound.due > bound.supply:
                short = bound.due - bound.supply
                for (priority, ran), sums in bound.most.items():
                    figure = figures[priority][0 if ran else 2]
                    short -= sums[min(figure, len(sums) - 1)]
                if short > 0:
                    return False
        return True

    def settle(self, position: int, count: int) -> None:
        """One is not waiting any more (-1: again), or so many that ask the same."""
        for bound, ask in self.asking[position]:
            bound.due -= ask * count

    def note(self, node: int, card: int, left: int, *, shut: bool, bare: bool) -> None:
        """A card changed."""
        for bound in self.bounds:
            if bound.cards is not None and card not in bound.cards:
                continue
            now = bound.worth(left, shut=shut, bare=bare)
            change = now - bound.there[card]
            if change:
                bound.there[card] = now
                total = bound.sums[node]
                bound.sums[node] = total + change
                bound.supply += (total + change) // bound.count - total // bound.count


@dataclass(frozen=True, slots=True)
class _Shape:
    need: int
    count: int
    alone: bool
    cards: frozenset[int] | None


def _bound(room: Room, wants: list[Want], shape: _Shape, asks: list[int], there: list[int]) -> _Bound:
    most: dict[tuple[int, bool], list[int]] = {}
    for key in sorted({(want.priority, want.home is not None) for want in wants}):
        mine = [
            ask for want, ask in zip(wants, asks, strict=True) if ask and (want.priority, want.home is not None) == key
        ]
        sums = [0]
        for ask in sorted(mine, reverse=True):
            sums.append(sums[-1] + ask)
        if mine:
            most[key] = sums
    bound = _Bound(
        need=shape.need,
        count=shape.count,
        alone=shape.alone,
        cards=shape.cards,
        asks=asks,
        due=sum(asks),
        most=most,
        there=[0] * len(room.left),
        sums=[0] * len(room.host),
        supply=0,
    )
    for card in there:
        node = room.ground.node_of[card]
        if shape.cards is None or card in shape.cards:
            shut, bare = room.closed[card] > 0, not room.tenants[card]
            bound.there[card] = bound.worth(room.left[card], shut=shut, bare=bare)
            bound.sums[node] += bound.there[card]
    bound.supply = sum(total // bound.count for total in bound.sums)
    return bound


def _within(want: Want, cards: frozenset[int] | None) -> bool:
    return cards is None or (
        want.cards is not None and want.cards <= cards and (want.home is None or cards.issuperset(want.home[1]))
    )


def _asks(want: Want, need: int, count: int, alone: bool, least: int) -> int:
    """How many pieces, groups or bytes one takes at the least."""
    if count > 1:
        return want.count // count if want.need >= need and want.count >= count and (want.alone or not alone) else 0
    if alone:
        return want.count if want.alone and want.need >= need else 0
    if not need:
        return want.count * max(least if want.alone else 0, want.need)
    return want.count * max(least // need if want.alone else 0, int(want.need >= need))


def _least(want: Want, room: Room, there: list[int]) -> int:
    """Bytes of the smallest bare card that one could take to itself."""
    cards = (card for card in there if want.cards is None or card in want.cards)
    sizes = [room.left[card] for card in cards if room.left[card] >= want.need and not room.tenants[card]]
    if want.home is not None:
        sizes += [max(0, room.left[card]) for card in want.home[1]]
    return min(sizes, default=0)


def _countable(want: Want, room: Room, wants: list[Want]) -> bool:
    """Whether its place costs what it needs: not where those who ran may stay though there is too little."""
    if want.home is None:
        return True
    for card in want.home[1]:
        there = [other for other in wants if other.home is not None and card in other.home[1]]
        if sum(other.need for other in there) > room.left[card] or room.closed[card]:
            return False
        if any(other.alone for other in there) and len(there) + len(room.tenants[card]) > 1:
            return False
    return True
