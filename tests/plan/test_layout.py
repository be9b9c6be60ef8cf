"""What the placement promises, each in a sentence; and what holds of every fleet, tried on thousands."""

import random
from dataclasses import replace

import pytest

from reconciler.plan.layout import Answer, Card, Item, Machine, Place, Problem, solve
from reconciler.plan.layout.ground import Compiled, room_of
from tests.plan import tiny

GIB = 2**30


def box(*sizes: int, name: str = "n", host: int = 512, links: tuple[tuple[int, ...], ...] = ()) -> Problem:
    """One machine with cards of so many GiB."""
    return Problem(
        machines=(Machine(name=name, host=host * GIB),),
        cards=tuple(
            Card(
                node=name,
                index=index,
                uuid=f"{name}{index}",
                model="H100",
                total=size * GIB,
                free=size * GIB,
                links=links[index] if links else (),
            )
            for index, size in enumerate(sizes)
        ),
        items=(),
    )


def item(slot: str, memory: int | None, priority: int = 100, *, count: int = 1, at: str = "", **more: object) -> Item:
    """A replica of so many GiB on each card; `at` names its cards: `n0 n1`."""
    cards = tuple(at.split())
    return Item(
        slot=slot,
        priority=priority,
        count=count,
        memory=None if memory is None else memory * GIB,
        at=Place(node=cards[0][0], cards=cards) if cards else None,
        **more,  # pyright: ignore[reportArgumentType]
    )


def place(problem: Problem, *items: Item) -> Answer:
    """The answer, checked."""
    answer = solve(replace(problem, items=items))
    tiny.check(answer)
    return answer


def where(answer: Answer) -> dict[str, str]:
    """Slot → its cards; `-` for none."""
    return {slot: "-" if at is None else " ".join(at.cards) for slot, at in sorted(answer.places.items())}


def test_of_the_cards_that_fit_the_tightest_is_taken() -> None:
    answer = place(box(80, 24, 48), item("a", 20), item("b", 40))
    assert where(answer) == {"a": "n1", "b": "n2"}


def test_a_card_in_use_is_filled_before_a_bare_one_is_opened() -> None:
    assert where(place(box(80, 80), item("a", 40, at="n1"), item("b", 30))) == {"a": "n1", "b": "n1"}


def test_bare_cards_are_taken_where_fewest_are_bare_so_that_a_gang_still_finds_a_machine() -> None:
    two = box(80, 80, name="a")
    four = box(80, 80, name="b")
    both = Problem(machines=two.machines + four.machines, cards=two.cards + four.cards, items=())
    answer = place(both, item("whole", None, at="b0"), item("new", None))
    assert where(answer) == {"whole": "b0", "new": "b1"}


def test_a_gang_takes_linked_cards() -> None:
    links = ((2,), (3,), (0,), (1,))
    assert where(place(box(80, 80, 80, 80, links=links), item("gang", 60, count=2))) == {"gang": "n0 n2"}


def test_a_gang_never_spans_machines() -> None:
    two = box(80, name="a")
    other = box(80, name="b")
    both = Problem(machines=two.machines + other.machines, cards=two.cards + other.cards, items=())
    assert where(place(both, item("gang", 10, count=2))) == {"gang": "-"}


def test_nobody_joins_one_that_does_not_share() -> None:
    answer = place(box(80, 80), item("self", 10, share=False), item("a", 10), item("b", 10), item("whole", None))
    assert (
        where(answer) == {"self": "n0", "a": "n1", "b": "n1", "whole": "-"} or where(answer)["a"] == where(answer)["b"]
    )


def test_host_ram_is_never_promised_twice() -> None:
    answer = place(box(80, 80, host=10), item("a", 10, host=6 * GIB), item("b", 10, host=6 * GIB))
    assert sorted(where(answer).values()) == ["-", "n0"]


def test_a_replica_without_cards_takes_host_ram_only() -> None:
    answer = place(box(host=10), item("cpu", None, count=0, host=6 * GIB))
    assert answer.places["cpu"] == Place(node="n", cards=())


def test_a_higher_priority_is_never_left_out_for_lower_ones() -> None:
    answer = place(box(80), item("big", 70, 200), *(item(f"small{n}", 10, 100) for n in range(8)))
    assert where(answer)["big"] == "n0"
    assert list(where(answer).values()).count("n0") == 2


def test_among_equals_as_many_as_can_be_are_placed() -> None:
    answer = place(box(80), item("big", 70), *(item(f"small{n}", 10) for n in range(8)))
    assert where(answer)["big"] == "-"
    assert list(where(answer).values()).count("n0") == 8


def test_one_that_runs_is_not_moved_for_an_equal() -> None:
    answer = place(box(80, 80), item("a", 30, at="n0"), item("b", 30, at="n1"), item("whole", None))
    assert where(answer) == {"a": "n0", "b": "n1", "whole": "-"}


def test_one_that_runs_moves_for_a_higher_one_rather_than_go() -> None:
    answer = place(box(80, 80), item("a", 30, at="n0"), item("b", 30, at="n1"), item("whole", None, 200))
    assert sorted(where(answer).values()) == ["n0", "n1", "n1"] or sorted(where(answer).values()) == ["n0", "n0", "n1"]
    (victim,) = answer.victims
    assert victim.gained == ("whole",)
    assert victim.to is not None


def test_the_lowest_priority_goes_first_then_the_cheapest() -> None:
    running = (item("a", 70, 90, at="n0"), item("b", 70, 80, at="n1", cost=60), item("c", 70, 80, at="n2", cost=5))
    answer = place(box(80, 80, 80), *running, item("new", 70, 100))
    assert where(answer) == {"a": "n0", "b": "n1", "c": "-", "new": "n2"}
    assert [(victim.slot, victim.gained) for victim in answer.victims] == [("c", ("new",))]


def test_a_victim_returns_by_itself_when_there_is_room() -> None:
    first = place(box(80), item("low", 70, 90, at="n0"), item("high", 70, 100))
    assert where(first) == {"low": "-", "high": "n0"}
    assert where(place(box(80), item("low", 70, 90))) == {"low": "n0"}


def test_whoever_never_preempts_takes_from_nobody_and_yields_to_nobody() -> None:
    low = item("low", 70, 90, at="n0")
    assert where(place(box(80), low, item("new", 70, 200, never=True))) == {"low": "n0", "new": "-"}
    assert where(place(box(80), replace(low, never=True), item("new", 70, 200))) == {"low": "n0", "new": "-"}


def test_what_is_in_flight_stays_where_it_was_promised() -> None:
    assert where(place(box(80), item("low", 70, 90, at="n0", fixed=True), item("new", 70, 200)))["new"] == "-"


def test_who_runs_stays_where_strangers_came_but_nobody_joins() -> None:
    full = box(80)
    full = replace(full, cards=tuple(replace(card, free=40 * GIB) for card in full.cards))
    answer = solve(replace(full, items=(item("a", 50, at="n0"), item("b", 10, 90))))
    assert where(answer) == {"a": "n0", "b": "-"}


def ram(slot: str, host: int, priority: int = 100, *, runs: bool = False) -> Item:
    """A replica without cards, of so many GiB of host RAM."""
    made = item(slot, None, priority, count=0, host=host * GIB)
    return replace(made, at=Place(node="n", cards=())) if runs else made


def test_of_what_takes_ram_alone_the_lowest_priority_gives_way_and_no_more_than_it_takes() -> None:
    runs = ram("low", 20, 1, runs=True), ram("mid", 20, 50, runs=True), ram("same", 20, runs=True)
    answer = place(box(host=64), *runs, ram("new", 20))
    assert [(victim.slot, victim.gained) for victim in answer.victims] == [("low", ("new",))]


def test_among_many_the_fewest_give_way_for_ram() -> None:
    runs = [ram(f"low{number:02}", 1 + number, 1, runs=True) for number in range(40)]
    answer = solve(replace(box(host=820), items=(*runs, ram("new", 39))))
    assert {victim.slot for victim in answer.victims} == {"low39"}


def test_what_runs_in_more_ram_than_there_is_stays_and_keeps_nobody_out_who_needs_none() -> None:
    runs = ram("a", 40, runs=True), ram("b", 40, runs=True)
    answer = solve(replace(box(80, host=64), items=(*runs, item("card", 10), ram("new", 1))))
    assert not answer.victims
    assert {slot: at is not None for slot, at in answer.places.items()} == {
        "a": True, "b": True, "card": True, "new": False,
    }  # fmt: skip


def test_among_many_too_who_needs_no_ram_goes_where_it_is_overdrawn() -> None:
    runs = [ram(f"a{number:02}", 10, runs=True) for number in range(80)]
    answer = solve(replace(box(80, host=64), items=(*runs, item("card", 10))))
    assert not answer.victims
    assert answer.places["card"] is not None
    low = item("low", 60, 1, count=2, at="n0 n1")
    answer = solve(replace(box(80, 80, host=64), items=(*runs, low, item("high", 60, 500, count=2))))
    assert {victim.slot for victim in answer.victims} == {"low"}


def test_one_that_went_for_nothing_may_come_back_to_ram_that_is_overdrawn_unless_somebody_joined() -> None:
    items = ram("a", 40, runs=True), ram("b", 40, runs=True), ram("new", 5)
    compiled = Compiled.of(replace(box(host=64), items=items))
    room = room_of(compiled, compiled.wants(items))
    a, _, new = room.wants
    home = room.spot[a.number]
    assert home is not None
    room.lift(a.number)
    assert room.fits(a, home)
    room.put(new.number, home)
    assert not room.fits(a, home)


def test_a_higher_priority_gets_ram_only_once_enough_of_too_much_has_gone() -> None:
    runs = ram("a", 40, 1, runs=True), ram("b", 40, 2, runs=True)
    answer = place(box(host=64), *runs, ram("high", 10, 500))
    assert {victim.slot for victim in answer.victims} == {"a"}


def test_one_whose_card_is_gone_is_placed_anew() -> None:
    assert where(place(box(80), item("a", 50, at="n7"))) == {"a": "n0"}


def test_a_pinned_one_makes_another_step_aside() -> None:
    pinned = item("pinned", 70, allowed=frozenset({"n0"}))
    assert where(place(box(80, 80), item("any", 70, standing=-1), pinned)) == {"any": "n1", "pinned": "n0"}


def test_a_refused_one_sees_what_higher_ones_left_it() -> None:
    answer = place(box(80, 48), item("a", 60, 200), item("low", 15, 50), item("big", 50, 100))
    assert where(answer)["big"] == "-"
    seen = answer.seen("big")
    assert [(one.card.uuid, one.free // GIB, one.tenants, one.closed) for one in seen] == [
        ("n0", 20, ("a",), False),
        ("n1", 48, (), False),
    ]


@pytest.mark.parametrize("part", range(4))
def test_the_layout_is_the_best_there_is(part: int) -> None:
    """Against every layout of small fleets, tried one by one."""
    for seed in range(150 * part, 150 * part + 150):
        problem = tiny.tiny(seed)
        answer = solve(problem)
        tiny.check(answer)
        assert answer.proved
        # what `preemption: never` gets of room that victims leave comes on top
        assert tiny.figures(problem, dict(answer.places)) <= tiny.best(problem), seed


@pytest.mark.parametrize("part", range(2))
def test_where_ram_is_short_the_layout_is_the_best_there_is_too(part: int) -> None:
    """And stays it: asked again nothing changes."""
    for seed in range(250 * part, 250 * part + 250):
        problem = tiny.narrow(seed)
        answer = solve(problem)
        tiny.check(answer)
        assert answer.proved
        assert tiny.figures(problem, dict(answer.places)) <= tiny.best(problem), seed
        again = solve(tiny.asked_again(answer))
        assert again.places == answer.places, seed


def test_the_order_of_the_input_does_not_matter() -> None:
    for seed in range(200):
        problem = tiny.tiny(seed, most=10)
        chance = random.Random(seed)
        shuffled = Problem(
            machines=tuple(chance.sample(problem.machines, len(problem.machines))),
            cards=tuple(chance.sample(problem.cards, len(problem.cards))),
            items=tuple(chance.sample(problem.items, len(problem.items))),
        )
        assert solve(problem).places == solve(shuffled).places, seed


def _happen(problem: Problem, number: int, chance: random.Random) -> Problem:
    """One is added, one is removed, or a card is lost."""
    uuids = [card.uuid for card in problem.cards]
    event = chance.random()
    if event < 0.6 or not problem.items:
        return replace(problem, items=(*problem.items, tiny.wish(f"new{number}", uuids, chance)))
    if event < 0.85 or len(uuids) < 2:
        gone = chance.choice(problem.items)
        return replace(problem, items=tuple(item for item in problem.items if item is not gone))
    lost = chance.choice(uuids)
    return replace(problem, cards=tuple(card for card in problem.cards if card.uuid != lost))


@pytest.mark.parametrize("part", range(2))
def test_asked_again_nothing_changes_whatever_happened(part: int) -> None:
    """3,000 sequences of additions, removals and failures: no cycle, and nobody goes but for a higher priority."""
    for seed in range(1500 * part, 1500 * part + 1500):
        chance = random.Random(f"sequence {seed}")
        answer = solve(tiny.tiny(seed, most=5))
        for number in range(2):
            answer = solve(_happen(tiny.asked_again(answer), number, chance))
            tiny.check(answer)
            again = solve(tiny.asked_again(answer))
            assert again.places == answer.places, seed
            assert not again.victims
