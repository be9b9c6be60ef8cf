"""The short way to the same answer: what changed since the last one, where nobody has to give way for it.

Objects that are the same as last time are not looked into: hand unchanged items over as they were.
"""

from dataclasses import replace
from operator import attrgetter

from reconciler.plan.layout.answer import Answer
from reconciler.plan.layout.nouns import Item, Place, Problem
from reconciler.plan.layout.room import Want

_wish = attrgetter(
    "priority", "count", "memory", "share", "host", "allowed", "nodes", "fixed", "never", "cost", "standing", "slot"
)


def again(problem: Problem, before: Answer) -> Answer | None:
    """The answer; None where the machines are others, or somebody has no place without more ado."""
    last = before.problem
    if (problem.cards is not last.cards and problem.cards != last.cards) or (
        problem.machines is not last.machines and problem.machines != last.machines
    ):
        return None
    if len(before.room.wants) > 2 * len(problem.items) + 100:
        return None  # numbers of those long gone: the long way counts anew
    changed = _changed(problem, before)
    gone = before.items.keys() - {item.slot for item in problem.items}
    room, compiled = before.room.copy(), before.compiled
    room.wants, numbers = before.room.wants.copy(), dict(before.numbers)
    items, places = dict(before.items), dict(before.places)
    for slot in gone:
        room.lift(numbers.pop(slot))
        del items[slot], places[slot]
    waiting: list[tuple[Item, Want]] = []
    for item in changed:
        number = numbers.get(item.slot)
        if number is None:
            number = numbers[item.slot] = len(room.wants)
            room.spot.append(None)
            room.wants.append(compiled.want(number, item))
        else:
            room.lift(number)
            room.wants[number] = compiled.want(number, item)
        items[item.slot] = item
    # only once all have left: where one was, another may run
    for item in changed:
        want = room.wants[numbers[item.slot]]
        if want.home is None:
            waiting.append((item, want))
        else:
            room.put(want.number, want.home)
            places[item.slot] = item.at
    room.settle()
    for item, want in sorted(waiting, key=_turn):
        spot = room.find(want)
        if spot is None:
            return None
        room.put(want.number, spot)
        places[item.slot] = compiled.place(spot)
    return replace(
        before, problem=problem, places=places, victims=(), proved=True, room=room, items=items, numbers=numbers
    )


def _changed(problem: Problem, before: Answer) -> list[Item]:
    """Items that are new, ask for something else, or are not where the last answer put them."""
    items, places, astray = before.items, before.places, before.astray
    changed: list[Item] = []
    for item in problem.items:
        old = items.get(item.slot)
        if old is item:
            if astray and item.slot in astray:
                changed.append(item)
        elif old is None or not _stands(item, old, places[item.slot]):
            changed.append(item)
    return changed


def _stands(item: Item, old: Item, place: Place | None) -> bool:
    return place is not None and item.at == place and _wish(item) == _wish(old)


def _turn(entry: tuple[Item, Want]) -> tuple[int, int, int, int, str]:
    """The order of the long way."""
    item, want = entry
    return -item.priority, -want.count, -want.size, item.standing, item.slot
