"""Models on demand: the real loop and planner in virtual time, over simulated cards, engines and a small gateway."""

import asyncio
import math
from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.model.fleet import Fleet
from reconciler.model.kinds import Replicas
from reconciler.model.status import Reason
from reconciler.plan.turns import PATIENCE, RESIDENCE
from tests.plan.world import fleet
from tests.sim.gateway import Cards, Request, World, replay, world
from tests.sim.machine import simulate

_MODEL = """
---
kind: Model
name: {name}
source: hf:org/{name}
engine: vllm
gpus: {gpus}
memory: {memory}GiB
priority: {priority}
replicas: {{min: 0, max: {most}, idle: 5m}}
update: {{drain: 20s}}
"""


def model(name: str, *, gpus: int = 1, memory: int = 70, priority: int = 100, most: int = 1) -> str:
    return _MODEL.format(name=name, gpus=gpus, memory=memory, priority=priority, most=most)


def models(names: str) -> Fleet:
    return fleet("".join(map(model, names)))


strings = st.lists(st.tuples(st.sampled_from("abcde"), st.floats(0, 20)), min_size=1, max_size=25)
"""Models, and seconds after the request before."""
loads = st.sampled_from([0.3, 2.0, 10.0, 50.0])
thoroughly = settings(max_examples=40, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def spread(string: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    at, found = 0.5, list[tuple[str, float]]()
    for name, gap in string:
        at += gap
        found.append((name, at))
    return found


def bound(load: float, others: int, served: float) -> float:
    """Seconds that nobody of equal priority waits beyond: a turn for each other model, and for its own."""
    turn = max(PATIENCE, RESIDENCE * load) + load + 22.0
    return (others + 1) * turn + served


@thoroughly
@given(strings, loads)
def test_nobody_of_equal_priority_waits_for_longer_than_a_turn_of_each(
    string: list[tuple[str, float]], load: float
) -> None:
    requests = spread(string)
    names = "".join(sorted({name for name, _ in requests}))
    outcome = replay(models(names), requests, Cards(load_time=load), within=20_000)
    assert max(outcome.waits) <= bound(load, len(names) - 1, float(len(requests)))
    assert outcome.cut == 0


@thoroughly
@given(strings, loads, st.permutations([100, 100, 200, 300, 900]))
def test_nobody_of_any_priority_waits_for_ever(
    string: list[tuple[str, float]], load: float, priorities: list[int]
) -> None:
    """Each request that comes can hold up a lower one by one load at most."""
    requests = spread(string)
    of = fleet("".join(model(name, priority=priority) for name, priority in zip("abcde", priorities, strict=True)))
    outcome = replay(of, requests, Cards(load_time=load), within=50_000)
    assert max(outcome.waits) <= 500.0 + len(requests) * (bound(load, 1, 1.0) + 20)
    assert outcome.cut == 0


@thoroughly
@given(strings, loads)
def test_a_model_stays_at_least_until_it_was_of_use(string: list[tuple[str, float]], load: float) -> None:
    """No engine is started that goes before it has served. How many swaps that makes is measured in B13."""
    requests = spread(string)
    names = "".join(sorted({name for name, _ in requests}))
    outcome = replay(models(names), requests, Cards(load_time=load), within=20_000)
    served = {name: sum(name == other for other, _ in requests) for name in names}
    assert all(outcome.loads.count(name) <= served[name] for name in names)


@thoroughly
@given(strings)
def test_on_several_cards_all_are_served(string: list[tuple[str, float]]) -> None:
    """One needs two cards, one may run twice, and there are two."""
    requests = spread(string)
    of = fleet("".join([*map(model, "abc"), model("d", gpus=2), model("e", most=2)]))
    outcome = replay(of, requests, Cards(load_time=10.0, cards=2), within=20_000)
    assert max(outcome.waits) <= 2 * bound(10.0, 4, float(len(requests)))
    assert outcome.cut == 0


@thoroughly
@given(strings)
def test_when_demand_ends_all_go_after_their_idle_time_and_nothing_moves_any_more(
    string: list[tuple[str, float]],
) -> None:
    requests = spread(string)

    async def story() -> None:
        machine = Cards(load_time=5.0, cards=2)
        here = world(models("abcde"), machine)
        asked = [here.ask(name, at) for name, at in requests]
        await _served(here, asked)
        last = max(asked, key=lambda request: request.begun or 0.0)
        await asyncio.sleep((last.begun or 0.0) + 295 - machine.now)
        assert last.slot in machine.processes()
        await asyncio.sleep(10)
        assert not machine.processes()
        assert not machine.records
        passes, starts = here.loop.passes, len(machine.started)
        await asyncio.sleep(300)
        assert here.loop.passes - passes <= 35, "an idle loop looks every ten seconds and not more often"
        assert len(machine.started) == starts
        assert here.loop.memory.lulls == {}

    simulate(story())


async def _served(here: World, asked: Sequence[Request], within: float = 5000.0) -> None:
    async with asyncio.timeout(within):
        while not all(request in here.gateway.done for request in asked):
            assert not here.task.done(), here.task
            await asyncio.sleep(0.5)


def test_two_in_use_without_a_pause_share_one_card_in_fair_turns() -> None:
    """Each has a request in flight at any time; both are served by turns, and half of the time goes to service."""

    async def story() -> None:
        machine = Cards(load_time=5.0)
        here = world(models("ab"), machine)
        asked = [here.ask(name, 0.5 + 1.01 * number) for number in range(600) for name in "ab"]
        await asyncio.sleep(600)
        done = {name: sum(request.model == name for request in here.gateway.done) for name in "ab"}
        assert min(done.values()) >= 0.35 * max(done.values())
        assert sum(done.values()) >= 400
        assert 10 <= len(machine.started) <= 40
        begun = [request for request in asked if request.begun is None]
        assert all(request.at > 200 for request in begun)

    simulate(story())


def test_a_load_that_takes_longer_than_patience_is_never_called_off_for_an_equal() -> None:
    outcome = replay(models("abc"), [("a", 0.5), ("b", 1.0), ("c", 1.5), ("a", 2.0)], Cards(load_time=200.0))
    assert outcome.loads == ("a", "b", "c")


def test_one_that_never_gets_ready_does_not_keep_others_waiting_for_ever() -> None:
    """Its starts are given up after its deadline; then the others have their turn."""

    async def story() -> None:
        machine = Cards(load_time=5.0, loads={"b": math.inf})
        here = world(models("ab"), machine)
        here.ask("b", 0.5)
        asked = [here.ask("a", 1.0 + 50 * number) for number in range(100)]
        await _served(here, asked, 20_000)
        longest = max((request.begun or 0.0) - request.at for request in asked)
        deadline = 300.0 + 20 * 70
        assert longest <= deadline + 120

    simulate(story())


def test_a_crash_under_its_requests_is_mended_while_others_wait() -> None:
    async def story() -> None:
        machine = Cards(load_time=5.0)
        here = world(models("ab"), machine)
        asked = [here.ask("a", 0.5 + number) for number in range(20)] + [here.ask("b", 3.0)]
        await asyncio.sleep(10)
        machine.end("a/0", 1)
        machine.wake()
        await _served(here, asked)
        assert set(machine.started[:2]) == {"a/0"}

    simulate(story())


def test_demand_that_vanishes_for_a_moment_stops_nothing() -> None:
    """A gateway that is restarted says nothing for a while."""

    async def story() -> None:
        machine = Cards(load_time=5.0)
        here = world(models("ab"), machine)
        await _served(here, [here.ask("a", 0.5)])
        here.gateway.told = False
        machine.wake()
        await asyncio.sleep(250)
        here.gateway.told = True
        await _served(here, [here.ask("a", 260.0)])
        await asyncio.sleep(250)
        assert machine.started == ["a/0"]
        assert "a/0" in machine.processes()

    simulate(story())


def test_a_restarted_daemon_goes_on_with_what_runs() -> None:
    async def story() -> None:
        machine = Cards(load_time=5.0)
        here = world(models("ab"), machine)
        await _served(here, [here.ask("a", 0.5), here.ask("b", 1.0)])
        here.task.cancel()
        revived = world(models("ab"), machine)
        await _served(revived, [revived.ask("b", machine.now + 5.0)])
        assert machine.started == ["a/0", "b/0"]
        await asyncio.sleep(310)
        assert not machine.processes()

    simulate(story())


def test_a_long_queue_starts_more_and_lets_the_last_go_after_its_idle_time() -> None:
    async def story() -> None:
        machine = Cards(load_time=5.0, cards=3)
        here = world(fleet(model("a", most=3)), machine)
        asked = [here.ask("a", 0.5) for _ in range(40)]
        await _served(here, asked)
        assert sorted(machine.started) == ["a/0", "a/1", "a/2"]
        await asyncio.sleep(295)
        assert set(machine.processes()) == {"a/0", "a/1", "a/2"}
        await _served(here, [here.ask("a", machine.now + 0.5)])
        await asyncio.sleep(20)
        assert set(machine.processes()) == {"a/0"}, "the one that was in use stays"

    simulate(story())


def test_nothing_waits_for_the_look_every_ten_seconds() -> None:
    """Every turn comes when it is due."""
    machine = Cards(load_time=3.0)
    outcome = replay(models("ab"), [("a", 0.5), ("b", 1.0)], machine)
    # loaded 3 s, of use 1 s, idle for as long as it took to load, and loaded 3 s
    assert outcome.waits[1] <= 3.0 + 1.0 + 3.0 + 3.0


def test_what_can_never_fit_evicts_nobody_and_is_told() -> None:
    async def story() -> None:
        machine = Cards(load_time=5.0)
        here = world(fleet(model("a") + model("b", memory=90)), machine)
        await _served(here, [here.ask("a", 0.5)])
        here.ask("b", 10.0)
        await asyncio.sleep(200)
        assert machine.stops == []
        summary = here.loop.summary
        assert summary is not None
        assert summary.status.workloads["b"].conditions[2].reason is Reason.NoFreeGpu

    simulate(story())


def test_the_kinds_of_replicas_that_these_stories_are_about_are_the_defaults() -> None:
    """`{min: 0}` is one replica at most, for a quarter of an hour."""
    assert (Replicas(min=0).max, Replicas(min=0).idle.total_seconds()) == (None, 900.0)


def dozy(names: str, *, idle: str = "5m") -> Fleet:
    """Models that sleep when they idle; on one card there is room for one that is awake."""
    return fleet("".join(f"{model(name)}idle_action: sleep\n" for name in names).replace("idle: 5m", f"idle: {idle}"))


@thoroughly
@given(strings, loads)
def test_models_that_sleep_are_loaded_once_and_woken_after_that(string: list[tuple[str, float]], load: float) -> None:
    """Whoever asked for what: nobody is cut, and nobody waits longer than where models are loaded each time."""
    requests = spread(string)
    names = "".join(sorted({name for name, _ in requests}))
    machine = Cards(load_time=load)
    outcome = replay(dozy(names), requests, machine, within=20_000)
    assert sorted(outcome.loads) == sorted(names)
    assert outcome.cut == 0
    assert max(outcome.waits) <= bound(load, len(names) - 1, float(len(requests)))
    assert not machine.stops


@thoroughly
@given(strings, st.sets(st.sampled_from(["a/0", "b/0", "c/0"])))
def test_models_that_cannot_fall_asleep_or_wake_are_served_all_the_same(
    string: list[tuple[str, float]], deaf: set[str]
) -> None:
    requests = spread(string)
    names = "".join(sorted({name for name, _ in requests}))
    machine = Cards(load_time=2.0, deaf=deaf)
    outcome = replay(dozy(names), requests, machine, within=20_000)
    assert outcome.cut == 0
    assert not {slot for _, slot in machine.turns} & deaf


def test_one_that_will_not_wake_is_started_anew() -> None:
    async def story() -> None:
        here = world(dozy("a", idle="3s"), Cards(load_time=2.0))
        here.ask("a", 0.5)
        await asyncio.sleep(20.0)
        assert here.machine.turns == [("sleep", "a/0")]
        here.machine.deaf.add("a/0")
        here.ask("a", here.machine.now + 1.0)
        await asyncio.sleep(30.0)
        assert here.machine.stops == [("a/0", Reason.WakeFailed), ("a/0", Reason.Idle)]
        assert len(here.gateway.done) == 2
        here.task.cancel()

    simulate(story())


def test_a_daemon_killed_anywhere_loads_nothing_again_that_sleeps() -> None:
    """Killed at every boundary between two effects: what sleeps is found asleep."""

    async def life(crash_at: int | None, found: list[int]) -> None:
        machine = Cards(load_time=2.0)
        machine.crash_at = crash_at
        here = world(dozy("ab", idle="4s"), machine)
        asked = [here.ask(name, at) for name, at in (("a", 0.5), ("b", 6.0), ("a", 12.0), ("b", 30.0))]
        while len(here.gateway.done) < len(asked) or machine.now < 60.0:
            assert machine.now < 600.0, (crash_at, here.loop.plan)
            await asyncio.sleep(0.05)
            if machine.crashed.is_set():
                machine.crashed.clear()
                machine.crash_at = None
                here.revive()
        here.task.cancel()
        assert sorted(machine.started) == ["a/0", "b/0"], crash_at
        assert not machine.stops, crash_at
        assert not any(request.cut for request in asked), crash_at
        assert all(process.asleep_at is not None for process in machine.processes().values()), crash_at
        found.append(machine.boundaries)

    counted: list[int] = []
    simulate(life(None, counted))
    assert counted[0] > 20
    for number in range(1, counted[0] + 1):
        simulate(life(number, counted))
