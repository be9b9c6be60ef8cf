"""One question, answered for certain: can these replicas be placed so that no more is left to wish than some figures?

Depth first: whoever has the fewest places left goes next, symmetric places count as one, rooms that failed once are
remembered whatever road led there, and what cannot fit by counting (`bounds.py`) is not tried.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, combinations
from operator import le

from reconciler.plan.layout.bounds import Bounds
from reconciler.plan.layout.room import Room, Spot, Want

Worth = dict[int, list[int]]
"""Priority → [those that ran and have no place, cost of all that moved or went, others without a place]."""


@dataclass(slots=True)
class Search:
    """A room where everyone who is not asked stands, and those who are asked."""

    start: Room
    wants: list[Want]
    figures: Worth
    """What may still be left to wish; eaten up on the way down."""
    steps: int
    aim: tuple[int, int]
    """Priority and figure to be as small as can be."""
    nodes: list[int]
    """The machines that may be used, ascending: those asked about run there, or nowhere."""
    left: list[int] = field(init=False)
    shut: list[int] = field(init=False)
    crowd: list[int] = field(init=False)
    """By card: tenants."""
    fresh: list[int] = field(init=False)
    """By card: tenants that did not run there. Those that did may stay even where strangers left too little."""
    host: list[int] = field(init=False)
    fresh_host: list[int] = field(init=False)
    spare: list[int] = field(init=False)
    spare_host: list[int] = field(init=False)
    needs: list[int] = field(init=False)
    roomy: list[int] = field(init=False)
    """By entry of `needs`: the cards with so much left, as bits."""
    bare: int = field(init=False)
    """Cards without a tenant, as bits."""
    may: list[int] = field(init=False)
    """By want: the cards it may ever use, as bits."""
    size: list[int] = field(init=False)
    """By want: its entry of `needs`."""
    machine: list[int] = field(init=False)
    """By node: its cards, as bits."""
    marks: list[tuple[int, int]] = field(init=False)
    """By card: what tells it from another for good, and who might stay there, as bits of wants."""
    node_marks: list[tuple[int, int]] = field(init=False)
    twins: list[int] = field(init=False)
    """By want: itself and those after it that it makes no difference to swap it with, as bits."""
    ranks: dict[int, int] = field(init=False)
    """Priority → how many there are below it."""
    bounds: Bounds = field(init=False)
    failed: dict[tuple[object, ...], list[tuple[int, ...]]] = field(
        init=False, default_factory=dict[tuple[object, ...], list[tuple[int, ...]]]
    )
    """Who waited in which room → figures that were not enough: nor are stricter ones."""
    crumbs: dict[int, int] = field(init=False, default_factory=dict[int, int])
    found: dict[int, Spot] = field(init=False, default_factory=dict[int, Spot])
    best: dict[int, Spot] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        room, ground = self.start, self.start.ground
        self.wants = sorted(self.wants, key=_hardest)
        meek = any(want.meek for want in self.wants)
        self.left, self.shut = room.left.copy(), room.closed.copy()
        self.crowd = [len(tenants) for tenants in room.tenants]
        self.fresh, self.fresh_host = [0] * len(self.left), room.joined.copy()
        self.host = room.host.copy()
        self.spare = room.spare.copy() if meek else [0] * len(self.left)
        self.spare_host = room.spare_host.copy() if meek else [0] * len(self.host)
        self.needs = sorted({want.need for want in self.wants})
        self.size = [self.needs.index(want.need) for want in self.wants]
        self.roomy, self.bare = [0] * len(self.needs), 0
        there = [card for node in self.nodes for card in ground.cards_of[node]]
        for card in there:
            self._note(card)
        everywhere = _bits(there)
        self.may = [everywhere if want.cards is None else _bits(want.cards) & everywhere for want in self.wants]
        self.machine = [_bits(cards) for cards in ground.cards_of]
        self._mark(settled=meek)
        self.ranks = {priority: rank for rank, priority in enumerate(sorted({want.priority for want in self.wants}))}
        keys = [(want.priority, want.need, want.host, want.kind, want.home) for want in self.wants]
        self.twins = [
            _bits(other for other in range(one, len(keys)) if keys[other] == keys[one] and keys[one][4] is None)
            for one in range(len(keys))
        ]
        self.bounds = Bounds.of(self.start, self.wants, self.nodes)

    def _mark(self, *, settled: bool) -> None:
        """Number what tells cards and machines apart."""
        pins = sorted({tuple(sorted(want.cards)) for want in self.wants if want.cards is not None})
        labels = sorted({tuple(sorted(want.nodes)) for want in self.wants if want.nodes is not None})
        owners, guests = [0] * len(self.left), [0] * len(self.host)
        for position, want in enumerate(self.wants):
            if want.home is not None:
                guests[want.home[0]] |= 1 << position
                for card in want.home[1]:
                    owners[card] |= 1 << position
        self.marks = [
            (_bits(n for n, pin in enumerate(pins) if card in pin) << 1 | (settled and self.start.settled[card]), who)
            for card, who in enumerate(owners)
        ]
        self.node_marks = [
            (_bits(n for n, label in enumerate(labels) if node in label), who) for node, who in enumerate(guests)
        ]

    def run(self) -> dict[int, Spot] | None:
        """Number → place of all but those left out, the best found; None where there is none, or no step left."""
        self._down((1 << len(self.wants)) - 1)
        return self.best

    def work(self, steps: int) -> int:
        """What it took of so many steps, in the microseconds that the fillings are counted in."""
        return 150 * len(self.wants) + (steps - self.steps) * (60 + 10 * len(self.wants))

    def _down(self, waiting: int) -> None:
        """Place those waiting, as bits."""
        priority, aim = self.aim
        if self.steps <= 0 or self.figures[priority][aim] < 0:
            return
        if not waiting:
            self._keep()
            return
        self.steps -= 1
        if not self.bounds.pass_(self.figures):
            return
        position = self._next(waiting)
        if position is None:
            return
        failed = self.failed.setdefault((waiting, self._nodes_state(waiting)), [])
        rows = self._rows()
        if any(all(map(le, rows, other)) for other in failed):
            return
        want = self.wants[position]
        rest = waiting & ~(1 << position)
        figures = self.figures[want.priority]
        for spot in self._spots(position, waiting):
            price = want.cost + 1 if want.home is not None and spot != want.home else 0
            if price > figures[1]:
                continue
            figures[1] -= price
            self._move(position, spot, 1)
            self.found[want.number] = spot
            self._down(rest)
            del self.found[want.number]
            self._move(position, spot, -1)
            figures[1] += price
        self._skip(position, waiting)
        if self.steps > 0:
            # the figures are those of now: a layout found on the way has made them stricter
            failed.append(self._rows())

    def _keep(self) -> None:
        """A layout: from now on only better ones count."""
        priority, aim = self.aim
        self.best = dict(self.found)
        self.figures[priority][aim] = -1

    def _next(self, waiting: int) -> int | None:
        """Who has the fewest places; None where somebody who must have one has none."""
        best, least = None, 1 << 60
        bits = waiting
        while bits:
            low = bits & -bits
            position = low.bit_length() - 1
            bits ^= low
            count = self._options(position, waiting)
            if count == 0:
                return None
            if count < least:
                best, least = position, count
        return best

    def _options(self, position: int, waiting: int) -> int:
        """How many roads one has, about: 0 only if there is none."""
        want = self.wants[position]
        figures = self.figures[want.priority]
        if want.home is None:
            total = int((self.twins[position] & waiting).bit_count() <= figures[2])
        else:
            total = int(figures[0] > 0 and figures[1] > want.cost) + self._may_stay(want, want.home)
            if figures[1] <= want.cost:
                return total
        usable = self._usable(position)
        host, count = self.host, want.count
        for node in self.nodes:
            if (not want.host or host[node] >= want.host) and (want.nodes is None or node in want.nodes):
                there = (usable & self.machine[node]).bit_count()
                if there >= count:
                    total += there - count + 1
        return total

    def _usable(self, position: int) -> int:
        """The cards it could use now, as bits."""
        want = self.wants[position]
        usable = self.roomy[self.size[position]] & self.may[position]
        if want.alone:
            usable &= self.bare
        if want.meek:
            spare, settled = self.spare, self.start.settled
            usable &= _bits(
                card for card in range(len(spare)) if spare[card] >= want.need and not (want.alone and settled[card])
            )
        return usable

    def _skip(self, position: int, waiting: int) -> None:
        """Go on without it, and without its twins, if the figures allow."""
        want = self.wants[position]
        figures = self.figures[want.priority]
        out = self.twins[position] & waiting if want.home is None else 1 << position
        which, count, price = (2, out.bit_count(), 0) if want.home is None else (0, 1, want.cost + 1)
        if figures[which] < count or price > figures[1]:
            return
        figures[which] -= count
        figures[1] -= price
        self.bounds.settle(position, count)
        self._down(waiting & ~out)
        self.bounds.settle(position, -count)
        figures[which] += count
        figures[1] += price

    def _move(self, position: int, spot: Spot, sign: int) -> None:
        want = self.wants[position]
        node, cards = spot
        new = spot != want.home
        for card in cards:
            self.left[card] -= sign * want.need
            self.shut[card] += sign * want.alone
            self.crowd[card] += sign
            self.fresh[card] += sign * new
            if want.meek:
                self.spare[card] -= sign * (self.start.ground.free[card] if want.alone else want.need)
            self._note(card)
            self.bounds.note(node, card, self.left[card], shut=self.shut[card] > 0, bare=not self.crowd[card])
        self.bounds.settle(position, sign)
        self.host[node] -= sign * want.host
        if want.host:
            self.fresh_host[node] += sign * new
        if want.meek:
            self.spare_host[node] -= sign * want.host

    def _note(self, card: int) -> None:
        """Set the bits of one card."""
        bit = 1 << card
        left = -1 if self.shut[card] else self.left[card]
        for entry, need in enumerate(self.needs):
            if left >= need:
                self.roomy[entry] |= bit
            else:
                self.roomy[entry] &= ~bit
        if self.crowd[card]:
            self.bare &= ~bit
        else:
            self.bare |= bit

    def _rows(self) -> tuple[int, ...]:
        return tuple(chain.from_iterable(self.figures.values()))

    def _nodes_state(self, waiting: int) -> tuple[object, ...]:
        """What decides how it goes on: symmetric rooms have the same."""
        return tuple(sorted(self._node_key(node, waiting) for node in self.nodes))

    def _node_key(self, node: int, waiting: int) -> tuple[object, ...]:
        mark, guests = self.node_marks[node]
        guests &= waiting
        cards = sorted([self._class(card, waiting) for card in self.start.ground.cards_of[node]])
        return mark, guests, self.host[node], self.spare_host[node], guests and self.fresh_host[node] > 0, tuple(cards)

    def _class(self, card: int, waiting: int) -> tuple[int, int, int, int, int]:
        """What one card is worth."""
        mark, owners = self.marks[card]
        owners &= waiting
        left, crowd = self.left[card], self.crowd[card] > 0
        if not owners and crowd and (self.shut[card] or left < self._crumb(waiting)):
            return 0, 0, 0, 0, 0
        state = (self.shut[card] > 0) << 2 | crowd << 1 | (owners and self.fresh[card] > 0)
        return left, state, self.spare[card], mark, owners

    def _crumb(self, waiting: int) -> int:
        """Bytes of the smallest of those waiting that share: a used card with less is as good as full."""
        least = self.crumbs.get(waiting)
        if least is None:
            there = (want for position, want in enumerate(self.wants) if waiting >> position & 1)
            least = self.crumbs[waiting] = min((w.need for w in there if not w.alone and w.count), default=1 << 60)
        return least

    def _spots(self, position: int, waiting: int) -> Iterator[Spot]:
        """Its home, then the places that differ: where it drives out the least, then the tightest."""
        want = self.wants[position]
        home = want.home
        if home is not None:
            if self._may_stay(want, home):
                yield home
            if want.cost >= self.figures[want.priority][1]:
                return
        rest = waiting & ~(1 << position)
        usable = self._usable(position)
        seen: set[object] = set()
        rows: list[tuple[int, int, Spot]] = []
        for node in self.nodes:
            if want.nodes is not None and node not in want.nodes:
                continue
            if want.host and (self.host[node] < want.host or (want.meek and self.spare_host[node] < want.host)):
                continue
            there = usable & self.machine[node]
            if there.bit_count() < want.count:
                continue
            key = self._node_key(node, rest)
            for classes, cards in self._choices(want, node, there, rest):
                if (key, classes) not in seen and (node, cards) != home:
                    seen.add((key, classes))
                    harm = sum(self._harm(want, card, rest) for card in cards)
                    rows.append((harm, sum(self.left[card] for card in cards), (node, cards)))
        rows.sort()
        for row in rows:
            yield row[2]

    def _harm(self, want: Want, card: int, waiting: int) -> int:
        """What it would cost those who might stay on this card and are still to be placed, the higher the dearer."""
        owners = self.marks[card][1] & waiting
        if not owners:
            return 0
        there = [other for position, other in enumerate(self.wants) if owners >> position & 1]
        short = want.need + sum(other.need for other in there) - self.left[card]
        if want.alone or any(other.alone for other in there):
            short = 1 << 60
        harm = 0
        for other in sorted(there, key=lambda other: (other.priority, other.cost)):
            if short > 0:
                harm += (other.cost + 1) << 10 * self.ranks[other.priority]
                short -= other.need
        return harm

    def _choices(self, want: Want, node: int, usable: int, waiting: int) -> Iterator[tuple[object, tuple[int, ...]]]:
        """Each set of classes of cards once, with the first cards of those classes."""
        if not want.count:
            yield (), ()
            return
        kinds = {card: self._class(card, waiting) for card in self.start.ground.cards_of[node] if usable >> card & 1}
        if want.count == 1:
            for card, kind in kinds.items():
                yield kind, (card,)
            return
        seen: set[object] = set()
        for cards in combinations(sorted(kinds, key=lambda card: (kinds[card], card)), want.count):
            classes = tuple(kinds[card] for card in cards)
            if classes not in seen:
                seen.add(classes)
                yield classes, tuple(sorted(cards))

    def _may_stay(self, want: Want, home: Spot) -> bool:
        node, cards = home
        if node not in self.nodes:
            return False
        if want.host and self.host[node] < want.host and self.fresh_host[node]:
            return False
        for card in cards:
            if self.fresh[card] and (
                self.left[card] < want.need or self.shut[card] or (want.alone and self.crowd[card])
            ):
                return False
        return True


def _bits(numbers: Iterable[int]) -> int:
    bits = 0
    for number in numbers:
        bits |= 1 << number
    return bits


def _hardest(want: Want) -> tuple[object, ...]:
    single = want.count <= 1
    return single, -want.count, -want.size, want.home is None, -want.priority, want.host, want.kind, want.number
