"""A good layout for any size: priority by priority, the biggest first into the tightest place that is free.

Where none is free, room is made: those placed in this decision step aside (ejection chains), then those who run at a
lower priority go, the cheapest set, and look for another place when their own priority's turn comes.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import nsmallest
from itertools import groupby, islice

from reconciler.plan.layout.room import Room, Spot, Want
from reconciler.plan.layout.windows import mend, windows

_OPENINGS = 32
"""Places tried, of those where room could be made, each time."""
_WINDOWS = 20
_QUESTION = 200
"""Steps for one window."""
_DEPTH = 3
"""How long a chain of stepping aside may be."""

Loss = tuple[tuple[int, int, int], ...]
"""Who would go: (priority, how many, their cost), highest priority first. Smaller is better, () is nobody."""


@dataclass(frozen=True, slots=True, order=True)
class _Opening:
    """A place where a want fits once these have gone."""

    loss: Loss
    moved: int
    """Bytes of those that step aside."""
    spot: Spot
    soft: tuple[int, ...] = field(compare=False)
    """Run at a lower priority."""
    loose: tuple[int, ...] = field(compare=False)
    """Placed in this decision: must find another place at once."""


@dataclass(slots=True)
class Filling:
    """Fills one room. `work` is what may still be tried, counted and not timed: the same problem, the same answer."""

    room: Room
    work: int
    """Roughly microseconds."""
    lowest: int = field(init=False)
    """Priority of the least that runs and may go."""
    refused: dict[tuple[object, ...], list[tuple[int, int]]] = field(
        default_factory=dict[tuple[object, ...], list[tuple[int, int]]]
    )
    """Kind → (bytes, host bytes) that found no place; forgotten once anybody moves."""

    def __post_init__(self) -> None:
        runs = (want.priority for want in reversed(self.room.wants) if want.home is not None and not want.fixed)
        self.lowest = next(runs, 1 << 30)

    def fill(self, numbers: Iterable[int]) -> None:
        """Place those of these that are nowhere, and whoever has to go for them."""
        room, wants = self.room, self.room.wants
        priorities = sorted({wants[number].priority for number in numbers}, reverse=True)
        while priorities:
            priority = priorities.pop(0)
            self._level([want for want in self._members(priority) if room.spot[want.number] is None])
            lower = {want.priority for want in wants if want.priority < priority and room.spot[want.number] is None}
            if lower:
                priorities = sorted(lower, reverse=True)
            room = self.room

    def _members(self, priority: int) -> list[Want]:
        return [want for want in self.room.wants if want.priority == priority]

    def _level(self, waiting: list[Want]) -> None:
        """One priority: first those that ran, then as many of the others as can be."""
        self.refused.clear()
        for want in sorted(waiting, key=_biggest):
            if want.home is not None:
                self._place(want, _DEPTH)
        self._mend([want for want in waiting if want.home is not None])
        new = [want for want in waiting if want.home is None]
        if new:
            self._most(new)
            self._mend(new)

    def _most(self, new: list[Want]) -> None:
        """As many of these as can be: all, the biggest first; else as many of the smallest as go in like that."""
        start = self.room
        new.sort(key=_biggest)
        rising = sorted(new, key=_smallest)
        best, out = self._try(start, new, rising, len(new))
        chosen, few, many, count = self.room, 0, len(new), len(new) - len(out)
        while out and many - few > 1 and self.work > 0:
            self.work -= 20 * len(new)
            score, out = self._try(start, new, rising, count)
            if score < best:
                best, chosen = score, self.room
            if any(want.size < rising[count].size for want in out):
                many = count
            else:
                few = count
            count = (few + many) // 2
        self.room = chosen
        self.refused.clear()
        if out:
            self._exchange(new)
        for want in rising:
            if self.room.spot[want.number] is None:
                self._place(want, _DEPTH)

    def _exchange(self, new: list[Want]) -> None:
        """Leave out who takes more for who takes less: equals, as many, and more is left for those that come after."""
        room = self.room
        placed = [want for want in new if room.spot[want.number] is not None]
        placed.sort(key=lambda want: (-self._takes(want), want.number))
        for want in sorted((want for want in new if room.spot[want.number] is None), key=_smallest):
            for other in placed:
                taken = self._takes(other)
                if taken <= want.size or self.work <= 0:
                    break
                self.work -= 40
                mark = len(room.trail)
                room.lift(other.number)
                spot = room.find(want)
                if spot is not None:
                    room.put(want.number, spot)
                    if self._takes(want) < taken:
                        break
                room.back(mark)

    def _takes(self, want: Want) -> int:
        """Bytes that nobody else can have where it is."""
        spot = self.room.spot[want.number]
        if spot is None:
            return 0
        return sum(self.room.ground.free[card] for card in spot[1]) if want.alone else want.size

    def _try(
        self, start: Room, new: list[Want], rising: list[Want], count: int
    ) -> tuple[tuple[int, Loss, int], list[Want]]:
        """So many of the smallest, the biggest of them first; then the others. How bad that is, and who is left out."""
        self.room = start.copy()
        self.refused.clear()
        small = {want.number for want in rising[:count]}
        turn = [want for want in new if want.number in small] + rising[count:]
        out = [want for want in turn if not self._place(want, 0)]
        return (len(out), self._missing(), sum(map(self._takes, new))), out

    def _mend(self, wants: list[Want]) -> None:
        """Lay small parts of the fleet out anew for those who have no place, or had to move."""
        room = self.room
        for want in sorted(wants, key=_smallest):
            for figure in (0, 1) if want.home is not None else (2,):
                if self.work <= 0 or want.meek or not want.count:
                    break
                if room.spot[want.number] is not None and (
                    want.home is None or figure == 0 or room.spot[want.number] == want.home
                ):
                    continue
                self._try_windows(want, figure)

    def _try_windows(self, want: Want, figure: int) -> None:
        room = self.room
        for nodes in islice(windows(room, want), _WINDOWS):
            if self.work <= 0:
                return
            done, work = mend(room, want, figure, nodes, _QUESTION)
            self.work -= work
            if done:
                return

    def _missing(self) -> Loss:
        """Who ran and is nowhere now."""
        room = self.room
        return loss(want for want in room.wants if want.home is not None and room.spot[want.number] is None)

    def _place(self, want: Want, depth: int) -> bool:
        """Find or make room for one. Those who ran and had to go are nowhere after it."""
        room = self.room
        hopeless = self.refused.setdefault((depth, *want.kind), [])
        if any(need <= want.need and host <= want.host for need, host in hopeless):
            return False
        if (spot := room.find(want)) is not None:
            room.put(want.number, spot)
            return True
        if not want.meek and self._press(want, depth, want.priority):
            self.refused.clear()
            return True
        hopeless.append((want.need, want.host))
        return False

    def _press(self, want: Want, depth: int, below: int) -> bool:
        """Make room: by stepping aside alone, then by those who run below a priority alone, then by both."""
        for soft, loose in ((False, True), (True, False), (True, True)):
            if (loose and not depth) or (soft and below <= self.lowest) or self.work <= 0:
                continue
            self.work -= 4 * len(self.room.left)
            found: list[tuple[Loss, int, _Opening]] = []
            for rank, opening in enumerate(
                nsmallest(_OPENINGS, self._openings(want, below if soft else -1, loose=loose))
            ):
                mark = len(self.room.trail)
                if self._open(want, opening, depth, below):
                    if not opening.soft:
                        return True
                    found.append((self._regret(opening.soft), rank, opening))
                self.room.back(mark)
            if found:
                return self._open(want, min(found)[2], depth, below)
        return False

    def _open(self, want: Want, opening: _Opening, depth: int, below: int) -> bool:
        """Take an opening; whether all who must found another place. Half done where not: to be taken back."""
        room = self.room
        self.work -= 20 * (1 + len(opening.loose))
        for number in (*opening.soft, *opening.loose):
            room.lift(number)
        room.put(want.number, opening.spot)
        for other in sorted((room.wants[number] for number in opening.loose), key=_biggest):
            if (spot := room.find(other)) is not None:
                room.put(other.number, spot)
            elif depth < 2 or not self._press(other, depth - 1, below):
                return False
        return True

    def _regret(self, soft: tuple[int, ...]) -> Loss:
        """What it costs in the end, as far as can be seen: those who find another place at once only move."""
        room = self.room
        missing: list[Want] = []
        moved: list[Want] = []
        for want in sorted((room.wants[number] for number in soft), key=_biggest):
            spot = room.find(want)
            if spot is None:
                missing.append(want)
            else:
                room.put(want.number, spot)
                moved.append(want)
        return loss(missing, moved)

    def _openings(self, want: Want, below: int, *, loose: bool) -> list[_Opening]:
        """Every place where those who may go would leave enough."""
        room, ground = self.room, self.room.ground
        nodes = range(len(room.host)) if want.nodes is None else sorted(want.nodes)
        found: list[_Opening] = []
        for node in nodes:
            singles: list[_Opening] = []
            for card in ground.cards_of[node] if want.count else ():
                if ground.free[card] < want.need or (want.cards is not None and card not in want.cards):
                    continue
                opening = self._card(want, card, below, loose=loose)
                if opening is not None:
                    singles.append(opening)
            if len(singles) < want.count:
                continue
            if want.count == 1 and (not want.host or room.host[node] >= want.host):
                found += [opening for opening in singles if opening.soft or opening.loose]
            elif want.count == 1:
                found += [both for opening in singles if (both := self._with_host(want, node, [opening], below))]
            elif both := self._with_host(want, node, nsmallest(want.count, singles), below):
                found.append(both)
        return found

    def _card(self, want: Want, card: int, below: int, *, loose: bool) -> _Opening | None:
        """The cheapest of its tenants that would have to go."""
        room, wants = self.room, self.room.wants
        tenants = room.tenants[card]
        spot = room.ground.node_of[card], (card,)
        if room.admits(want, card):
            return _Opening(loss=(), moved=0, spot=spot, soft=(), loose=())
        if not tenants or (not loose and wants[tenants[-1]].priority >= below):
            return None
        going: list[Want] = []
        rest: list[tuple[bool, int, int, Want]] = []
        for number in tenants:
            other = wants[number]
            lower = other.priority < below
            may = not other.fixed and (lower or (loose and self._is_loose(other)))
            if other.alone or want.alone:
                if not may:
                    return None
                going.append(other)
            elif may:
                rest.append((not lower, other.priority if lower else 0, other.cost if lower else other.need, other))
        short = want.need - room.left[card] - sum(other.need for other in going)
        rest.sort(key=lambda entry: entry[:3])
        extra: list[Want] = []
        for entry in rest:
            if short <= 0:
                break
            extra.append(entry[3])
            short -= entry[3].need
        if short > 0:
            return None
        for other in reversed(extra[:-1]):
            if short + other.need <= 0:
                extra.remove(other)
                short += other.need
        going += extra
        lower = [other for other in going if other.priority < below]
        aside = [other for other in going if other.priority >= below]
        return _Opening(
            loss=loss(lower),
            moved=sum(other.size for other in aside),
            spot=spot,
            soft=tuple(other.number for other in lower),
            loose=tuple(other.number for other in aside),
        )

    def _is_loose(self, other: Want) -> bool:
        return not other.meek and self.room.spot[other.number] != other.home

    def _with_host(self, want: Want, node: int, parts: list[_Opening], below: int) -> _Opening | None:
        """Cards of one machine as one place, and who else there has to go for host RAM."""
        room = self.room
        going = {number for part in parts for number in part.soft}
        aside = {number for part in parts for number in part.loose}
        short = want.host and want.host - room.host[node] - sum(room.wants[number].host for number in going | aside)
        if short > 0 and below > self.lowest:
            self.work -= len(room.wants) // 20
            there = [
                other
                for other, spot in zip(room.wants, room.spot, strict=True)
                if spot is not None and spot[0] == node and other.host and other.priority < below and not other.fixed
            ]
            # who could have stayed after all is sent back in the end
            for other in sorted(there, key=lambda other: (other.priority, other.cost, -other.host, other.number)):
                if short > 0 and other.number not in going:
                    going.add(other.number)
                    short -= other.host
        if short > 0 or not going | aside:
            return None
        return _Opening(
            loss=loss(room.wants[number] for number in going),
            moved=sum(room.wants[number].size for number in aside),
            spot=(node, tuple(sorted(part.spot[1][0] for part in parts))),
            soft=tuple(sorted(going)),
            loose=tuple(sorted(aside)),
        )


def loss(missing: Iterable[Want], moved: Iterable[Want] = ()) -> Loss:
    """By priority: how many have no place, and what it costs all of them."""
    rows = sorted(
        [(-want.priority, 1, want.cost + 1) for want in missing] + [(-w.priority, 0, w.cost + 1) for w in moved]
    )
    return tuple(
        (-priority, sum(row[1] for row in group), sum(row[2] for row in group))
        for priority, group in ((key, list(rows)) for key, rows in groupby(rows, key=lambda row: row[0]))
    )


def _biggest(want: Want) -> tuple[int, int, int]:
    return -want.count, -want.size, want.number


def _smallest(want: Want) -> tuple[int, int]:
    return want.size, want.number
