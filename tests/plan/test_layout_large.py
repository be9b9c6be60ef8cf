"""What holds of the layouts of larger fleets, and that the short way gives the long way's answer."""

import random
from dataclasses import replace

import pytest

from reconciler.plan.layout import Answer, Problem, solve
from tests.bench.yardstick import figures, first_fit, mixed, thousand
from tests.plan import tiny


@pytest.mark.parametrize("seed", range(12))
def test_a_large_layout_is_sound_stable_and_never_behind_first_fit(seed: int) -> None:
    problem = mixed(seed)
    answer = solve(problem)
    tiny.check(answer)
    again = solve(tiny.asked_again(answer))
    assert again.places == answer.places
    assert not again.victims
    assert figures(problem, dict(answer.places)) <= figures(problem, first_fit(problem))


def _change(problem: Problem, number: int, chance: random.Random) -> Problem:
    event = chance.random()
    if event < 0.5:
        new = replace(
            chance.choice(problem.items), slot=f"new{number}", at=None, priority=chance.choice([50, 450, 950])
        )
        return replace(problem, items=(*problem.items, new))
    if event < 0.75:
        gone = chance.choice(problem.items)
        return replace(problem, items=tuple(item for item in problem.items if item is not gone))
    other = chance.choice(problem.items)
    items = tuple(replace(item, at=None, cost=item.cost + 1) if item is other else item for item in problem.items)
    return replace(problem, items=items)


@pytest.mark.parametrize("seed", range(1, 6))
def test_the_answer_with_the_one_before_is_the_answer_without(seed: int) -> None:
    chance = random.Random(seed)
    answer = solve(mixed(seed + 20))
    for number in range(8):
        # some passes see what was started, some see it still on its way
        base = tiny.asked_again(answer) if chance.random() < 0.7 else answer.problem
        problem = _change(base, number, chance)
        with_it, without = solve(problem, answer), solve(problem)
        assert with_it.places == without.places
        assert with_it.victims == without.victims
        assert {slot: with_it.seen(slot) for slot in with_it.places} == {
            slot: without.seen(slot) for slot in without.places
        }
        answer = with_it


def test_adding_an_unrelated_model_moves_nobody_among_a_thousand() -> None:
    answer = solve(thousand(0, 0.6))
    tiny.check(answer)
    settled = tiny.asked_again(answer)
    one = solve(settled)
    assert not one.victims
    new = replace(settled.items[0], slot="new/0", at=None, priority=1000)
    found = solve(replace(settled, items=(*settled.items, new)), one)
    assert not found.victims
    assert {slot: place for slot, place in found.places.items() if slot != "new/0"} == answer.places


def test_up_to_24_models_the_layout_is_as_good_as_an_exact_solver_proves() -> None:
    pytest.importorskip("ortools")
    from tests.bench.cpsat import cp_sat

    small = [problem for problem in map(mixed, range(40)) if len(problem.items) <= 24]
    assert len(small) > 10
    for problem in small:
        theirs, proved = cp_sat(problem, 10.0, first_fit(problem))
        answer: Answer = solve(problem)
        assert answer.proved
        if proved:
            assert figures(problem, dict(answer.places)) == figures(problem, theirs)
