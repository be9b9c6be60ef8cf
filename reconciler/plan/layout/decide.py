"""Problem → answer. A first layout by filling; for small fleets searched until it is proved to be the best there is.

What comes out is asked again as what runs, until nothing changes: so the same fleet asked twice never moves anybody.
"""

from dataclasses import replace

from reconciler.plan.layout.again import again
from reconciler.plan.layout.answer import Answer, victims
from reconciler.plan.layout.fill import Filling
from reconciler.plan.layout.ground import Compiled, room_of
from reconciler.plan.layout.nouns import Problem
from reconciler.plan.layout.room import Room, Spot
from reconciler.plan.layout.search import Search, Worth
from reconciler.plan.layout.windows import question, worth

EXACT = 24
"""Replicas up to which the answer is searched until proved."""
_STEPS = 12_000
"""Of the search for a small fleet: twice what any of 1,200 random ones needed, and a third of a second. Who packs cards
to the last byte gets a good layout that is not proved."""
_MIDDLE = 70
"""Replicas up to which the whole fleet is searched as far as there is work left."""


def _work(start: Room) -> int:
    """What may be tried, roughly in microseconds: little where hardly anything is to be placed."""
    total = len(start.wants)
    waiting = start.spot.count(None)
    return 5_000 + min(400_000, 40_000_000_000 // total**2) * min(total, 10 * waiting) // total


def solve(problem: Problem, before: Answer | None = None) -> Answer:
    """Place every item of the problem. Never fails: whoever has no place is None in the answer.

    With the answer `before` it comes sooner, and is the same.
    """
    if before is not None and len(problem.items) > EXACT and (answer := again(problem, before)) is not None:
        return answer
    compiled = Compiled.of(problem)
    wants = compiled.wants(problem.items)
    asked = wants
    room = room_of(compiled, wants)
    proved = True
    while any(spot is None for spot in room.spot):
        stood = room.spot.copy()
        room, sure = _step(room)
        proved = proved and sure
        if room.spot == stood:
            break
        wants = [
            want
            if spot == want.home
            else replace(
                want,
                home=spot,
                fixed=want.fixed or (want.meek and spot is not None),
                meek=want.meek and spot is None,
                kind=(*want.kind[:3], want.meek and spot is None),
            )
            for want, spot in zip(wants, room.spot, strict=True)
        ]
        room = room_of(compiled, wants)
    return Answer(
        problem=problem,
        places={want.slot: compiled.place(room.spot[want.number]) for want in room.wants},
        victims=victims(asked, room, compiled),
        proved=proved,
        compiled=compiled,
        room=room,
        items={item.slot: item for item in problem.items},
        numbers={want.slot: want.number for want in wants},
    )


def _step(start: Room) -> tuple[Room, bool]:
    """One decision, and whether it is proved."""
    filling = Filling(start.copy(), _work(start))
    filling.fill(want.number for want in start.wants)
    room = _homeward(filling.room)
    figures = worth(room, room.wants)
    if not any(any(row) for row in figures.values()):
        return room, True
    if len(start.wants) <= EXACT:
        return _improve(start, room, figures, _STEPS, _STEPS)
    if len(start.wants) <= _MIDDLE:
        steps = _work(start) // (2 * len(start.wants))
        return _improve(start, room, figures, steps, steps // 4)
    return room, False


def _improve(start: Room, room: Room, figures: Worth, steps: int, each: int) -> tuple[Room, bool]:
    """Ask for each figure in turn how small it can be, with so many steps in all and for each."""
    proved = True
    for priority in sorted(figures, reverse=True):
        for figure in range(3):
            if figures[priority][figure] == 0:
                continue
            if steps <= 0:
                return room, False
            search = _question(start, figures, priority, figure, min(steps, each))
            before = search.steps
            found = search.run()
            steps -= before - search.steps
            proved = proved and search.steps > 0
            if found is not None:
                room = _homeward(_complete(start, found, priority))
                figures = worth(room, room.wants)
    return room, proved


def _question(start: Room, figures: Worth, priority: int, figure: int, steps: int) -> Search:
    """Those that matter up to this figure; the figures before it as they are, this one smaller."""
    room = start.copy()
    wants = [want for want in start.wants if not want.fixed]
    for want in wants:
        room.lift(want.number)
    matter = [
        want
        for want in wants
        if want.priority > priority or (want.priority == priority and (figure == 2 or want.home is not None))
    ]
    above = {level: row for level, row in figures.items() if level >= priority}
    return question(room, matter, above, aim=(priority, figure), nodes=list(range(len(room.host))), steps=steps)


def _complete(start: Room, found: dict[int, Spot], priority: int) -> Room:
    """The rest around what a search has found: who runs stays if it can, the others as they fit."""
    room = start.copy()
    for want in start.wants:
        if not want.fixed:
            room.lift(want.number)
    for number, spot in found.items():
        room.put(number, spot)
    for want in start.wants:
        if (
            want.home is not None
            and room.spot[want.number] is None
            and want.priority < priority
            and room.fits(want, want.home)
        ):
            room.put(want.number, want.home)
    filling = Filling(room, _work(start))
    filling.fill(want.number for want in start.wants if want.priority <= priority)
    return filling.room


def _homeward(room: Room) -> Room:
    """Send back whoever could as well have stayed, and tidy where the others went."""
    going = True
    while going:
        going = False
        for want in room.wants:
            home = want.home
            if home is None or room.spot[want.number] == home:
                continue
            mark = len(room.trail)
            room.lift(want.number)
            if room.fits(want, home):
                room.put(want.number, home)
                going = True
            else:
                room.back(mark)
    return room
