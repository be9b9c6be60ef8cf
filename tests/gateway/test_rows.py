"""Which row a name has: the same while it is needed, and never one in which something else is still counted."""

from dataclasses import replace
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from reconciler.gateway.board import DAYS, GAUGES, MINUTES
from reconciler.gateway.rows import SPARE, limit, missing, names, place, rows
from reconciler.model.routing import Grant, Limits, Place, Served, Table

EVERY = Limits(requests_per_minute=1, tokens_per_minute=1, requests_per_day=1, tokens_per_day=1, concurrency=1)


def idle(row: int) -> bool:
    return True


def busy(row: int) -> bool:
    return False


def model(name: str, *runs: int, limits: Limits | None = None) -> Served:
    at = tuple(Place(slot=f"{name}/0", run=run, address="http://127.0.0.1:9001", names=(name,)) for run in runs)
    return Served(name=name, names=(name,), engine="vllm", source="file:/x", outlook="ready", places=at, limits=limits)


def table(*models: Served, grants: tuple[Grant, ...] = ()) -> Table:
    return Table(models={one.name: one for one in models}, grants=grants)


def test_a_place_a_models_limits_and_those_of_an_access_have_rows_each_of_its_kind() -> None:
    wanted = table(model("chat", 3, limits=EVERY), grants=(Grant(name="ci", keys=(), limits=EVERY),))
    given = rows(wanted, {}, busy)
    owners: tuple[tuple[Literal["model", "key"], str], ...] = (("model", "chat"), ("key", "ci"))
    assert sorted(given) == sorted(
        [place("chat/0", 3)]
        + [
            limit(of, name, which)
            for of, name in owners
            for which in (
                "requests_per_minute", "tokens_per_minute", "requests_per_day", "tokens_per_day", "concurrency"
            )
        ]
    )  # fmt: skip
    assert len(set(given.values())) == len(given)
    assert given["place:chat/0#3"] in GAUGES
    assert given["key:ci:concurrency"] in GAUGES
    assert given["model:chat:tokens_per_minute"] in MINUTES[::2]
    assert given["model:chat:tokens_per_day"] in DAYS


def test_a_limit_that_is_not_set_has_no_row() -> None:
    assert set(names(table(model("chat", limits=Limits(concurrency=2))))) == {"model:chat:concurrency"}
    assert not names(table(model("chat", limits=Limits()), grants=(Grant(name="ci", keys=()),)))


def test_a_restarted_instance_has_a_row_of_its_own_while_its_old_run_drains() -> None:
    before = rows(table(model("chat", 3)), {}, busy)
    after = rows(table(model("chat", 4)), before, idle)
    assert after["place:chat/0#3"] == before["place:chat/0#3"] != after["place:chat/0#4"]


def test_a_model_that_comes_back_finds_its_counts() -> None:
    first = rows(table(model("chat", limits=EVERY)), {}, idle)
    without = rows(table(model("other", limits=EVERY)), first, idle)
    again = rows(table(model("chat", limits=EVERY)), without, idle)
    assert {name: again[name] for name in first} == first


def test_names_out_of_use_go_in_time_the_oldest_first_and_only_once_they_are_idle() -> None:
    given: dict[str, int] = {}
    for run in range(SPARE + 2):
        given = rows(table(model("chat", run)), given, lambda row: row != 0)
    assert given["place:chat/0#0"] == 0, "still busy, the oldest of all"
    assert "place:chat/0#1" not in given
    assert "place:chat/0#2" in given
    assert len(given) == SPARE + 1


def test_a_full_board_gives_the_row_of_what_ended_long_ago_to_what_is_new() -> None:
    full = {f"place:old/0#{row}": row for row in GAUGES}
    given = rows(table(model("chat", 1)), full, lambda row: row in {5, 9})
    assert given["place:chat/0#1"] == 5


def test_what_finds_no_row_is_told_in_words_and_no_row_is_given_twice() -> None:
    full = {f"place:old/0#{row}": row for row in GAUGES}
    wanted = table(model("chat", 1, limits=Limits(concurrency=3)))
    given = rows(wanted, full, busy)
    assert list(missing(wanted, given)) == [
        "cannot count place:chat/0#1: the board is full, so chat/0#1 gets no requests; declare fewer limits, or "
        "restart the gateway",
        "cannot count model:chat:concurrency: the board is full, so requests under its limit chat:concurrency are "
        "refused; declare fewer limits, or restart the gateway",
    ]
    assert not list(missing(wanted, rows(wanted, {}, busy)))


@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from("abcd"), st.tuples(st.integers(0, 3), st.booleans())),
            st.sets(st.integers(0, 6)),
        ),
        max_size=12,
    )
)
def test_over_any_tables_a_needed_name_keeps_its_row_and_no_two_names_share_one(
    steps: list[tuple[dict[str, tuple[int, bool]], set[int]]],
) -> None:
    given: dict[str, int] = {}
    for wanted, not_idle in steps:
        models = [model(name, run, limits=EVERY if limited else None) for name, (run, limited) in wanted.items()]
        now = table(*models)
        after = rows(now, given, lambda row, not_idle=not_idle: row not in not_idle)
        assert names(now).keys() <= after.keys()
        assert len(set(after.values())) == len(after)
        assert all(after[name] == row for name, row in given.items() if name in after)
        assert rows(replace(now, seq=9), after, idle) == after
        given = after
