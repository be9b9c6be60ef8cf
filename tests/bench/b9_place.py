"""B9: a thousand models placed on a thousand GPUs, and how good layouts are: beside OR-tools' CP-SAT and first fit."""

import statistics
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace

from reconciler.plan.layout import Answer, Problem, solve
from reconciler.plan.layout.decide import EXACT
from tests.bench.rows import Row
from tests.bench.yardstick import figures, first_fit, mixed, thousand, value

try:
    from tests.bench.cpsat import cp_sat
except ImportError:
    cp_sat = None

BENCH = "B9"
SECONDS = 6.0
"""CP-SAT's limit for one fleet: with 15 the two hundred take an hour."""


def rows(quick: bool) -> list[Row]:
    """CPU milliseconds, then values: at the first figure where two layouts differ, ours for each of CP-SAT's."""
    passes = 1 if quick else 5
    return [
        _scratch("1,000 models on 1,000 GPUs that fit", 0.8, passes),
        _scratch("1,000 models on 1,000 GPUs, a third too many", 1.3, passes),
        *_one_change(4 if quick else 40),
        _memory(),
        *_quality(4 if quick else 200, 0.5 if quick else SECONDS),
    ]


def _scratch(measure: str, load: float, passes: int) -> Row:
    ours: list[float] = []
    naive: list[float] = []
    for seed in range(passes):
        problem = thousand(seed, load)
        ours.append(_milliseconds(lambda problem=problem: solve(problem)))
        naive.append(_milliseconds(lambda problem=problem: first_fit(problem)))
    median = statistics.median(ours)
    return Row(
        bench=BENCH,
        measure=f"{measure}, ms CPU",
        ours=median,
        peer=statistics.median(naive),
        peer_name="first fit by priority",
        target="<= 100",
        good=median <= 100,
    )


def _milliseconds(what: Callable[[], object]) -> float:
    begun = time.process_time()
    what()
    return (time.process_time() - begun) * 1e3


def settled(answer: Answer) -> Problem:
    """The same fleet, once the answer runs."""
    items = answer.problem.items
    return replace(answer.problem, items=tuple(replace(item, at=answer.places[item.slot]) for item in items))


def _one_change(count: int) -> list[Row]:
    """One is added, one removed, by turns, in a fleet that is placed."""
    problem = thousand(0, 0.6)
    answer = solve(settled(solve(problem)))
    new = [item for item in thousand(1, 0.6).items if item.count == 1][:count]
    samples: list[float] = []
    for number, item in enumerate(new):
        items = answer.problem.items
        added = replace(answer.problem, items=(*items, replace(item, slot=f"new{number}/0")))
        removed = replace(answer.problem, items=items[:number] + items[number + 1 :])
        for changed in (added, removed):
            begun = time.process_time()
            found = solve(changed, answer)
            samples.append((time.process_time() - begun) * 1e3)
            if found.places != solve(changed).places:
                return [Row(bench=BENCH, measure="one change: another answer", ours=1, target="0", good=False)]
    median, worst = statistics.median(samples), max(samples)
    return [
        Row(bench=BENCH, measure="one change of 1,000, p50, ms CPU", ours=median, target="<= 2", good=median <= 2),
        Row(bench=BENCH, measure="one change of 1,000, worst, ms CPU", ours=worst, target="<= 2", good=worst <= 2),
    ]


def _memory() -> Row:
    problem = thousand(0, 1.3)
    tracemalloc.start()
    kept = solve(problem)
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    good = peak <= 300 and len(kept.places) == 1000
    return Row(bench=BENCH, measure="1,000 models on 1,000 GPUs, MiB at most", ours=peak, target="<= 300", good=good)


def _quality(count: int, seconds: float) -> list[Row]:
    if cp_sat is None:
        measure = "value of CP-SAT's best"
        return [Row(bench=BENCH, measure=measure, ours=0.0, peer_name="no ortools", target=">= 0.99", good=None)]
    ours: list[float] = []
    naive: list[float] = []
    short = proofs = ahead = 0
    for seed in range(count):
        problem = mixed(seed)
        simple = first_fit(problem)
        theirs, proved = cp_sat(problem, seconds, simple)
        best, mine = figures(problem, theirs), figures(problem, dict(solve(problem).places))
        ours.append(min(1.0, value(problem, mine, best)))
        naive.append(min(1.0, value(problem, figures(problem, simple), best)))
        ahead += mine < best
        if len(problem.items) <= EXACT and proved:
            proofs += 1
            short += mine > best
    what = f"value of CP-SAT's best in {seconds:g} s, {count} fleets"
    name = "first fit by priority"
    mean, worst = statistics.mean(ours), min(ours)
    good = None if count < 200 else mean >= 0.99
    least = None if count < 200 else worst >= 0.95
    return [
        Row(bench=BENCH, measure=f"{what}, mean", ours=mean, peer=statistics.mean(naive), peer_name=name,
            target=">= 0.99", good=good),
        Row(bench=BENCH, measure=f"{what}, worst", ours=worst, peer=min(naive), peer_name=name,
            target=">= 0.95", good=least),
        Row(bench=BENCH, measure="of these, better than CP-SAT's", ours=ahead, target="-", good=None),
        Row(bench=BENCH, measure=f"not the optimum, of {proofs} proved of up to {EXACT} models", ours=short,
            target="0", good=short == 0),
    ]  # fmt: skip
