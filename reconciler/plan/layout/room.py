"""What is left of every card and machine while placements are tried: to the byte, each step can be taken back.

Cards, machines and replicas are small integers here. Partly used cards stand in one list sorted by what is left, bare
cards by size and machine, so that the best fit is a bisection. A room depends on who is where, never on how that came.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice

Spot = tuple[int, tuple[int, ...]]
"""A machine and cards of it, ascending."""

_BITS = 24
_CARD = (1 << _BITS) - 1
"""A card in a sorted list is `bytes left << _BITS | card`: compared by bytes, then by number."""


@dataclass(slots=True)
class Want:
    """An `Item` in integers. Its number is its rank: by priority, then standing, then slot."""

    number: int
    slot: str
    priority: int
    count: int
    need: int
    """Bytes on each card; 1 for one that takes cards whole."""
    alone: bool
    """Nobody else on its cards."""
    host: int
    cards: frozenset[int] | None
    nodes: frozenset[int] | None
    home: Spot | None
    """Where it runs."""
    fixed: bool
    """May not leave its home: in flight, or it yields to nobody."""
    meek: bool
    """Has no home and takes from nobody: only what is spare before anyone moves."""
    cost: int
    size: int = 0
    """Bytes it keeps from others on all its cards, a card to itself counting as the smallest that would do; without
    cards, bytes of host RAM."""
    kind: tuple[object, ...] = ()
    """Equal for replicas that fit the same places."""


@dataclass(slots=True)
class Ground:
    """What does not change while placements are tried."""

    node_of: list[int]
    cards_of: list[tuple[int, ...]]
    free: list[int]
    links: list[frozenset[int]]
    """By card: the cards it is directly linked to."""
    tied: list[bool]
    """By node: whether it matters which of its cards are taken together."""


@dataclass(slots=True)
class Room:
    """Who is where, and what that leaves."""

    ground: Ground
    wants: list[Want]
    left: list[int]
    """By card: free bytes less what its tenants need. Negative where strangers came after the tenants."""
    closed: list[int]
    """By card: tenants that have it to themselves."""
    tenants: list[tuple[int, ...]]
    """By card, ascending: the last one is the least important."""
    host: list[int]
    """By node. Negative where more was taken than was known."""
    joined: list[int]
    """By node: those who take host RAM there, and did not run there."""
    spare: list[int]
    """By card: what nobody who runs held before this decision; 0 where one has the card to itself."""
    spare_host: list[int]
    settled: list[bool]
    """By card: whether someone ran there before this decision."""
    spot: list[Spot | None]
    """By want."""
    partial: list[int] = field(default_factory=list[int])
    bare: dict[int, dict[int, tuple[int, ...]]] = field(default_factory=dict[int, dict[int, tuple[int, ...]]])
    """Bytes → machine → cards without a tenant."""
    sizes: list[int] = field(default_factory=list[int])
    """The keys of `bare`, ascending."""
    rows: dict[tuple[int, bool], list[int]] = field(default_factory=dict[tuple[int, bool], list[int]])
    """Machine, bare only → its usable cards in order of what is left; made when asked for."""
    trail: list[tuple[int, Spot | None]] = field(default_factory=list[tuple[int, Spot | None]])
    """What to do to take back every step."""

    @classmethod
    def empty(cls, ground: Ground, host: list[int], wants: list[Want]) -> "Room":
        """Nobody is anywhere."""
        room = cls(
            ground=ground,
            wants=wants,
            left=list(ground.free),
            closed=[0] * len(ground.free),
            tenants=[()] * len(ground.free),
            host=list(host),
            joined=[0] * len(host),
            spare=[],
            spare_host=[],
            settled=[],
            spot=[None] * len(wants),
        )
        for card in range(len(ground.free)):
            room._enter(card)
        return room

    def copy(self) -> "Room":
        """Another room that goes its own way from here."""
        return Room(
            ground=self.ground,
            wants=self.wants,
            left=self.left.copy(),
            closed=self.closed.copy(),
            tenants=self.tenants.copy(),
            host=self.host.copy(),
            joined=self.joined.copy(),
            spare=self.spare.copy(),
            spare_host=self.spare_host.copy(),
            settled=self.settled,
            spot=self.spot.copy(),
            partial=self.partial.copy(),
            bare={size: nodes.copy() for size, nodes in self.bare.items()},
            sizes=self.sizes.copy(),
            rows=self.rows.copy(),
        )

    def settle(self) -> None:
        """Take who is there now for those who ran before this decision."""
        self.spare = [0 if shut else left for left, shut in zip(self.left, self.closed, strict=True)]
        self.spare_host = self.host.copy()
        self.settled = [bool(tenants) for tenants in self.tenants]
        self.trail.clear()

    # Steps

    def put(self, number: int, spot: Spot) -> None:
        """Place one that is nowhere."""
        want = self.wants[number]
        node, cards = spot
        need = want.need
        for card in cards:
            self._leave(card)
            self.left[card] -= need
            self.closed[card] += want.alone
            old = self.tenants[card]
            self.tenants[card] = (number,) if not old else tuple(sorted((*old, number)))
            self._enter(card)
        if want.meek:
            for card in cards:
                self.spare[card] -= self.spare[card] if want.alone else need
            self.spare_host[node] -= want.host
        if want.host:
            self.host[node] -= want.host
            self.joined[node] += spot != want.home
        self.spot[number] = spot
        self.trail.append((number, None))

    def lift(self, number: int) -> None:
        """Take one away that is somewhere."""
        want = self.wants[number]
        spot = self.spot[number]
        if spot is None:
            return
        node, cards = spot
        for card in cards:
            self._leave(card)
            self.left[card] += want.need
            self.closed[card] -= want.alone
            self.tenants[card] = tuple(other for other in self.tenants[card] if other != number)
            self._enter(card)
        if want.meek:
            for card in cards:
                self.spare[card] += self.ground.free[card] if want.alone else want.need
            self.spare_host[node] += want.host
        if want.host:
            self.host[node] += want.host
            self.joined[node] -= spot != want.home
        self.spot[number] = None
        self.trail.append((number, spot))

    def back(self, mark: int) -> None:
        """Take back every step after `mark`, a length of the trail."""
        trail = self.trail
        while len(trail) > mark:
            number, spot = trail.pop()
            if spot is None:
                self.lift(number)
            else:
                self.put(number, spot)
            trail.pop()

    def _leave(self, card: int) -> None:
        """Out of the lists."""
        node, left = self.ground.node_of[card], self.left[card]
        self.rows.pop((node, False), None)
        if not self.tenants[card]:
            self.rows.pop((node, True), None)
            nodes = self.bare[left]
            if rest := tuple(other for other in nodes[node] if other != card):
                nodes[node] = rest
                return
            del nodes[node]
            if not nodes:
                del self.bare[left]
                del self.sizes[bisect_left(self.sizes, left)]
        elif left > 0 and not self.closed[card]:
            del self.partial[bisect_left(self.partial, left << _BITS | card)]

    def _enter(self, card: int) -> None:
        """Into the lists."""
        node, left = self.ground.node_of[card], self.left[card]
        self.rows.pop((node, False), None)
        if not self.tenants[card]:
            self.rows.pop((node, True), None)
            nodes = self.bare.get(left)
            if nodes is None:
                nodes = self.bare[left] = {}
                insort(self.sizes, left)
            old = nodes.get(node)
            nodes[node] = (card,) if old is None else tuple(sorted((*old, card)))
        elif left > 0 and not self.closed[card]:
            insort(self.partial, left << _BITS | card)

    # Questions

    def fits(self, want: Want, spot: Spot) -> bool:
        """Whether it could be put there as things are."""
        node, cards = spot
        short = want.host and (self.host[node] < want.host or (want.meek and self.spare_host[node] < want.host))
        if short and (spot != want.home or self.joined[node]):
            return False
        return all(self.admits(want, card) for card in cards)

    def admits(self, want: Want, card: int) -> bool:
        """Whether one card has what it needs there."""
        if want.meek and (self.spare[card] < want.need or (want.alone and self.settled[card])):
            return False
        if self.left[card] < want.need or self.closed[card]:
            return False
        return not (want.alone and self.tenants[card])

    def find(self, want: Want) -> Spot | None:
        """The best place that is free: its home, else the tightest, bare cards where fewest of a machine are bare."""
        if want.home is not None and self.fits(want, want.home):
            return want.home
        if want.count == 1:
            return self._one(want)
        return self._some(want) if want.count else self._none(want)

    def _may_enter(self, want: Want, node: int) -> bool:
        if want.nodes is not None and node not in want.nodes:
            return False
        need = want.host
        return not need or (self.host[node] >= need and not (want.meek and self.spare_host[node] < need))

    def _none(self, want: Want) -> Spot | None:
        """A machine for one without cards: the one with the least host RAM left."""
        fits = [(self.host[node], node) for node in range(len(self.host)) if self._may_enter(want, node)]
        return (min(fits)[1], ()) if fits else None

    def _one(self, want: Want) -> Spot | None:
        part = None if want.alone else self._partly_used(want)
        limit = self.left[part] if part is not None else None
        node_of, need = self.ground.node_of, want.need
        plain = want.cards is None and not want.meek
        for size in islice(self.sizes, bisect_left(self.sizes, need), None):
            if limit is not None and limit <= size:
                break
            best = None
            for node, cards in self.bare[size].items():
                if (best is None or (len(cards), node) < best[:2]) and self._may_enter(want, node):
                    if plain:
                        best = len(cards), node, cards[0]
                    elif (card := self._first(want, cards)) is not None:
                        best = len(cards), node, card
            if best is not None:
                return best[1], (best[2],)
        return None if part is None else (node_of[part], (part,))

    def _first(self, want: Want, cards: Iterable[int]) -> int | None:
        for card in cards:
            if (want.cards is None or card in want.cards) and self.admits(want, card):
                return card
        return None

    def _partly_used(self, want: Want) -> int | None:
        """The fullest card with tenants that has what it needs."""
        node_of = self.ground.node_of
        for key in islice(self.partial, bisect_left(self.partial, want.need << _BITS), None):
            card = key & _CARD
            if want.cards is not None and card not in want.cards:
                continue
            if self._may_enter(want, node_of[card]) and (not want.meek or self.admits(want, card)):
                return card
        return None

    def row(self, node: int, *, bare: bool) -> list[int]:
        """A machine's usable cards, those with the least left first, as keys."""
        row = self.rows.get((node, bare))
        if row is None:
            row = self.rows[node, bare] = sorted(
                self.left[card] << _BITS | card
                for card in self.ground.cards_of[node]
                if (not self.tenants[card] if bare else not self.closed[card]) and self.left[card] > 0
            )
        return row

    def _some(self, want: Want) -> Spot | None:
        """Cards of one machine: where they are fullest, then where the fewest others would do as well."""
        best: tuple[int, int, int] | None = None
        chosen: list[int] = []
        count, least = want.count, want.need << _BITS
        choosy = want.cards is not None or want.meek
        for node in range(len(self.host)) if want.nodes is None else sorted(want.nodes):
            row = self.row(node, bare=want.alone)
            start = bisect_left(row, least)
            if len(row) - start < count or not self._may_enter(want, node):
                continue
            if choosy:
                row, start = [key for key in row[start:] if self._welcome(want, key & _CARD)], 0
                if len(row) < count:
                    continue
            # the numbers of the cards in the lower bits of the keys do not carry
            score = sum(row[start : start + count]) >> _BITS, len(row) - start, node
            if best is None or score < best:
                best, chosen = score, row[start:]
        if best is None:
            return None
        return best[2], self._together(best[2], [key & _CARD for key in chosen], count)

    def _welcome(self, want: Want, card: int) -> bool:
        return (want.cards is None or card in want.cards) and self.admits(want, card)

    def _together(self, node: int, cards: list[int], count: int) -> tuple[int, ...]:
        """So many of these cards, each linked to each where that can be had; else the first ones."""
        if self.ground.tied[node] and len(cards) > count:
            for start in range(len(cards) - count + 1):
                group = [cards[start]]
                for card in cards[start + 1 :]:
                    if len(group) < count and all(card in self.ground.links[other] for other in group):
                        group.append(card)
                if len(group) == count:
                    return tuple(sorted(group))
        return tuple(sorted(cards[:count]))
