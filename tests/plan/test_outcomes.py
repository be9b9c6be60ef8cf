"""What becomes of any fleet on any machine, against the best by trying all; and that the road is what happens."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import pytest

from reconciler.model.fleet import Workload
from reconciler.model.kinds import Model
from reconciler.model.observation import Instance, Ready, Running
from reconciler.model.plan import Drain, Forget, Plan, Start, Stop
from reconciler.model.slots import split_slot
from reconciler.plan.road import road
from tests.plan.days import Days, model, workload_of
from tests.plan.world import GIB

BATCHES, SEEDS = 3, 120
Counts = tuple[int, ...]


def still(seed: int) -> Days:
    """A machine on which nothing runs yet; nobody is on demand, paused or polite."""
    days = Days.of(seed)
    days.named = True
    for name, spec in days.specs.items():
        few = spec.replicas if isinstance(spec.replicas, int) else 1
        days.specs[name] = spec.model_copy(update={"replicas": few, "paused": False, "preemption": "lower"})
    for uuid in sorted(days.cards)[: days.chance.randint(0, 1)]:
        days.strangers[uuid] = 3 * GIB
    return days


def settle(days: Days) -> list[Plan]:
    """Every pass until nothing is left to do."""
    return [one.plan for one in days.until_quiet(200)]


def serving(days: Days, name: str = "") -> dict[str, Instance]:
    """Who answers now."""
    found = sorted(days.instances.items())
    return {slot: one for slot, one in found if _serves(one) and (not name or split_slot(slot)[0] == name)}


def _serves(instance: Instance) -> bool:
    return isinstance(instance.phase, Running) and isinstance(instance.phase.readiness, Ready)


def placed(days: Days) -> Counts:
    """How many serve of each priority, the highest first."""
    fleet = days.fleet()
    levels = sorted({workload.priority for workload in fleet.workloads.values()}, reverse=True)
    names = [split_slot(slot)[0] for slot in serving(days)]
    return tuple(sum(fleet.workloads[name].priority == level for name in names) for level in levels)


def best(days: Days) -> Counts:
    """The most that can be served of the highest priority, then of the next: by trying every place of everyone."""
    fleet = days.fleet()
    levels = sorted({workload.priority for workload in fleet.workloads.values()}, reverse=True)
    wants = sorted((fleet.workloads[split_slot(slot)[0]] for slot in fleet.slots), key=lambda one: -one.priority)
    free = {uuid: card.memory - days.reserved - days.strangers.get(uuid, 0) for uuid, card in days.cards.items()}
    found: set[Counts] = set()

    def go_on(
        rest: list[Workload], left: dict[str, int], shut: frozenset[str], used: frozenset[str], got: Counts
    ) -> None:
        if not rest:
            found.add(got)
            return
        want, level = rest[0], levels.index(rest[0].priority)
        more = tuple(number + (at == level) for at, number in enumerate(got))
        for cards in _places(days, want, left, shut, used):
            alone = frozenset(cards) if want.needs.memory is None or not want.needs.share else frozenset[str]()
            less = {uuid: size - (want.needs.memory or 0) * (uuid in cards) for uuid, size in left.items()}
            go_on(rest[1:], less, shut | alone, used | set(cards), more)
        go_on(rest[1:], left, shut, used, got)

    go_on(wants, free, frozenset(), frozenset(), (0,) * len(levels))
    return max(found)


def _places(
    days: Days, want: Workload, left: dict[str, int], shut: frozenset[str], used: frozenset[str]
) -> Iterator[tuple[str, ...]]:
    needs = want.needs
    alone = needs.memory is None or not needs.share
    good = [
        uuid
        for uuid, free in sorted(left.items())
        if uuid not in shut
        and not (alone and uuid in used)
        and (not needs.ids or str(days.cards[uuid].index) in needs.ids)
        and free >= (needs.memory if needs.memory is not None else int(days.cards[uuid].memory * 0.9))
    ]
    return combinations(good, needs.gpus or 1)


@pytest.mark.parametrize("batch", range(BATCHES))
def test_no_higher_priority_is_left_out_for_lower_ones_and_what_fits_is_placed_whole(batch: int) -> None:
    for seed in range(batch, SEEDS, BATCHES):
        days = still(seed)
        if len(days.fleet().slots) <= 6:
            settle(days)
            assert placed(days) == best(days), seed


@pytest.mark.parametrize("batch", range(BATCHES))
def test_adding_one_for_which_there_is_room_moves_and_stops_nobody(batch: int) -> None:
    for seed in range(batch, SEEDS, BATCHES):
        days = still(seed)
        days.plug(7)
        settle(days)
        before = {slot: one.launch for slot, one in serving(days).items()}
        if not any(_spare(days, uuid) >= 8 * GIB for uuid in days.cards):
            continue
        days.specs["new"] = Model(
            name="new", source="hf:org/repo", engine="llamacpp", gpus=1, memory=8 * GIB, priority=1
        )
        plans = settle(days)
        assert not [a for one in plans for a in one.actions if isinstance(a, Stop | Drain)], seed
        assert "new/0" in serving(days), seed
        assert {slot: serving(days)[slot].launch for slot in before} == before, seed


@pytest.mark.parametrize("batch", range(BATCHES))
def test_what_the_road_says_is_what_happens_to_each(batch: int) -> None:
    """For every replica the same starts on the same gpus and the same stops, in the same order."""
    for seed in range(batch, SEEDS, BATCHES):
        days = still(seed)
        for name, spec in days.specs.items():  # those that size themselves load in an order that only time tells
            days.specs[name] = spec.model_copy(update={"engine": "llamacpp"})
        settle(days)
        for _ in range(2):
            edit(days)
            memory = replace(days.memory, in_flight={})
            said = road(days.fleet(), days.look(), {}, memory, days.now)
            assert told(list(said)) == told(settle(days)), seed


def _spare(days: Days, uuid: str) -> int:
    """Bytes of a card that one more may have."""
    there = [one.launch for one in serving(days).values() if uuid in one.launch.gpus]
    if any(launch.memory is None for launch in there):
        return 0
    names = {split_slot(launch.slot)[0] for launch in there}
    if any(not workload_of(days.specs[name]).needs.share for name in names):
        return 0
    free = days.cards[uuid].memory - days.reserved - days.strangers.get(uuid, 0)
    return free - sum(launch.memory or 0 for launch in there)


def edit(days: Days) -> None:
    """Somebody changes a file, or adds one."""
    name = days.chance.choice(sorted(days.specs))
    change = days.chance.choice(["context", "memory", "priority", "add"])
    spec = days.specs[name]
    if change == "add":
        made = model("new", days.chance)
        days.specs["new"] = made.model_copy(
            update={"replicas": 1, "paused": False, "preemption": "lower", "engine": "llamacpp"}
        )
    elif change == "priority":
        days.specs[name] = spec.model_copy(update={"priority": days.chance.choice([1, 100, 900])})
    elif change == "memory" and spec.memory != "auto":
        days.specs[name] = spec.model_copy(update={"memory": days.chance.choice([4, 10, 20]) * GIB})
    else:
        days.specs[name] = spec.model_copy(update={"context": days.chance.randint(1, 9999)})


def told(plans: list[Plan]) -> dict[str, list[str]]:
    """By slot: what is done, where, and why. A stop is told again until it has ended."""
    found: dict[str, list[str]] = {}
    for one in plans:
        for action in one.actions:
            if isinstance(action, Forget):
                continue
            where = f" {action.launch.indices} {action.launch.port}" if isinstance(action, Start) else ""
            line = f"{action.kind}{where}: {action.reason}"
            if found.setdefault(action.slot, [])[-1:] != [line]:
                found[action.slot].append(line)
    return found


@pytest.mark.parametrize("batch", range(BATCHES))
def test_where_there_is_room_for_one_more_never_fewer_serve_than_before(batch: int) -> None:
    """And the one more takes nothing from anybody, through an edit and a second one in the middle of the first."""
    for seed in range(batch, SEEDS, BATCHES):
        days = still(seed)
        days.plug(7)
        settle(days)
        names = sorted({split_slot(slot)[0] for slot in serving(days)})
        name = next((one for one in names if _may_surge(days, days.specs[one])), None)
        if name is None:
            continue
        before, others = len(serving(days, name)), serving(days).keys() - serving(days, name).keys()
        for passes in (days.chance.randint(3, 9), 200):
            spec = days.specs[name]
            days.specs[name] = spec.model_copy(update={"context": days.chance.randint(1, 10**6)})
            for _ in days.until_quiet(passes):
                assert len(serving(days, name)) >= before, (seed, days.now)
                assert others <= serving(days).keys(), (seed, days.now)
        new = workload_of(days.specs[name]).fingerprint
        assert all(one.launch.fingerprint == new for one in serving(days, name).values()), seed


def _may_surge(days: Days, spec: Model) -> bool:
    """Whether one more of it finds room."""
    workload, memory = workload_of(spec), spec.memory
    if workload.spec.strategy != "surge" or spec.gpus != 1 or not isinstance(memory, int):
        return False
    return any(_spare(days, uuid) >= memory for uuid in days.cards)
