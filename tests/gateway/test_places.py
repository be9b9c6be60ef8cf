"""From a table to who answers: names, weights, adapters, sites; and what goes on outlives the table it began under."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import pytest

from reconciler.gateway import rows
from reconciler.gateway.places import Directory
from reconciler.model.routing import Place, Served, Site, Table


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def place(slot: str, *names: str, run: int = 1, draining: bool = False) -> Place:
    return Place(slot=slot, run=run, address="http://127.0.0.1:9001", names=names, draining=draining)


def served(name: str, *places: Place, names: tuple[str, ...] = (), weight: int = 100) -> Served:
    names = names or (name,)
    return Served(name=name, names=names, engine="vllm", source="hf:a/b", outlook="ready", places=places, weight=weight)


class Held(Directory):
    """A directory that is told tables as a worker is, each with the rows that it needs."""

    def __init__(self, *models: Served, sites: tuple[Site, ...] = ()) -> None:
        self.clock = Clock()
        super().__init__(self.clock)
        self._rows: Mapping[str, int] = {}
        self.tell(*models, sites=sites)

    def tell(self, *models: Served, sites: tuple[Site, ...] = ()) -> None:
        table = Table(seq=self.table.seq + 1, models={one.name: one for one in models}, sites=sites)
        self._rows = rows.rows(table, self._rows, lambda _: True)
        self.take(table, self._rows)

    def parts(self, name: str, asks: int = 2000) -> dict[str, float]:
        """Which models requests for a name go to, and which part of them."""
        found = Counter(entry.name for _ in range(asks) if (entry := self.find(name)) is not None)
        return {model: count / asks for model, count in sorted(found.items())}


def test_a_name_that_nobody_has_is_not_found() -> None:
    assert Held(served("chat")).find("other") is None


def test_each_name_of_a_model_leads_to_it() -> None:
    held = Held(served("chat", place("chat/0", "chat", "gpt", "sql"), names=("chat", "gpt", "sql")))
    assert [held.parts(name, 1) for name in ("chat", "gpt", "sql")] == [{"chat": 1.0}] * 3


def test_models_that_share_a_name_get_their_parts_of_its_requests_by_weight() -> None:
    old = served("old", place("old/0", "chat"), names=("chat",), weight=90)
    new = served("new", place("new/0", "chat"), names=("chat",), weight=10)
    parts = Held(old, new).parts("chat")
    assert parts == {"old": pytest.approx(0.9, abs=0.04), "new": pytest.approx(0.1, abs=0.04)}


def test_a_model_of_weight_0_gets_nothing_beside_another() -> None:
    old = served("old", place("old/0", "chat"), names=("chat",))
    assert Held(old, served("new", place("new/0", "chat"), names=("chat",), weight=0)).parts("chat") == {"old": 1.0}


@pytest.mark.parametrize("weight", [0, 50])
def test_of_models_that_share_a_name_those_that_serve_it_answer(weight: int) -> None:
    down = served("old", names=("chat",), weight=100)
    up = served("new", place("new/0", "chat"), names=("chat",), weight=50)
    idle = served("idle", place("idle/0", "idle"), names=("idle", "chat"), weight=weight)
    assert Held(down, up, idle).parts("chat", 50) == {"new": 1.0}


def test_where_none_of_them_serves_it_requests_still_wait_by_weight() -> None:
    parts = Held(served("a", names=("chat",), weight=50), served("b", names=("chat",), weight=50)).parts("chat")
    assert parts == {"a": pytest.approx(0.5, abs=0.05), "b": pytest.approx(0.5, abs=0.05)}


def test_what_drains_is_known_and_gets_nothing_new() -> None:
    held = Held(served("chat", place("chat/0", "chat", draining=True), place("chat/1", "chat")))
    entry = held.find("chat")
    assert entry is not None
    assert [live.slot for live in entry.places] == ["chat/1"]
    assert set(held.places) == {"chat/0#1", "chat/1#1"}


def test_a_place_keeps_its_failures_its_age_and_its_count_over_tables_for_as_long_as_its_process_runs() -> None:
    held = Held(served("chat", place("chat/0", "chat")))
    before = held.places["chat/0#1"]
    before.failed(0.0, "as told")
    held.clock.now = 60.0
    held.tell(served("chat", place("chat/0", "chat", "sql"), names=("chat", "sql")), served("other"))
    after = held.places["chat/0#1"]
    assert after is before
    assert (after.failures, after.since, after.names) == (1, 0.0, {"chat", "sql"})
    held.tell(served("chat", place("chat/0", "chat", run=2)))
    assert held.places["chat/0#2"].failures == 0
    assert (before.gone, list(held.places)) == (True, ["chat/0#2"])


def test_a_model_that_goes_leaves_nowhere_to_send_those_who_wait_for_it() -> None:
    held = Held(served("chat", place("chat/0", "chat")))
    entry = held.find("chat")
    assert entry is not None
    held.tell(served("other"))
    assert (held.find("chat"), entry.places) == (None, ())


def test_a_place_for_which_the_board_has_no_row_is_passed_over() -> None:
    directory = Directory(Clock())
    table = Table(models={"chat": served("chat", place("chat/0", "chat"))})
    directory.take(table, {})
    entry = directory.find("chat")
    assert entry is not None
    assert entry.places == ()


ALL = Site(name="all")
DOMAIN = Site(name="domain", hosts=("ai.example.org",))
TEAM = Site(name="team", hosts=("ai.example.org",), prefix="/team-a")
BENEATH = Site(name="beneath", hosts=("*.example.org",))
DEEPER = Site(name="deeper", hosts=("*.dev.example.org",))


@pytest.mark.parametrize(
    ("host", "path", "name", "rest"),
    [
        ("ai.example.org", "/v1/models", "domain", "/v1/models"),
        ("ai.example.org", "/team-a/v1/models", "team", "/v1/models"),
        ("ai.example.org", "/team-a", "team", "/"),
        ("ai.example.org", "/team-ab/v1/models", "domain", "/team-ab/v1/models"),
        ("ai.example.org", "/TEAM-A/v1/models", "domain", "/TEAM-A/v1/models"),
        ("b.example.org", "/v1/models", "beneath", "/v1/models"),
        ("b.dev.example.org", "/v1/models", "deeper", "/v1/models"),
        ("example.org", "/v1/models", "all", "/v1/models"),
        ("xexample.org", "/v1/models", "all", "/v1/models"),
        ("ai.example.org.evil.com", "/v1/models", "all", "/v1/models"),
        ("", "/v1/models", "all", "/v1/models"),
    ],
)
def test_a_site_is_found_by_its_host_before_its_prefix_and_the_closest_counts(
    host: str, path: str, name: str, rest: str
) -> None:
    found = Held(sites=(ALL, DOMAIN, TEAM, BENEATH, DEEPER)).site(host, path)
    assert found is not None
    assert found[0] is not None
    assert (found[0].name, found[1]) == (name, rest)


def test_where_no_site_is_declared_all_is_shown_and_where_some_are_nothing_else() -> None:
    assert Held().site("evil.com", "/v1/models") == (None, "/v1/models")
    assert Held(sites=(DOMAIN,)).site("evil.com", "/v1/models") is None


def test_a_site_shows_its_models_alone() -> None:
    narrow, wide = replace(TEAM, models=("chat", "code-*")), DOMAIN
    held = Held(sites=(narrow, wide))
    assert [held.shows(narrow, name) for name in ("chat", "code-1", "chatty", "big")] == [True, True, False, False]
    assert held.shows(wide, "big")
    held.tell(sites=(wide,))
    assert not held.shows(narrow, "chat"), "a site that is gone shows nothing, to those who came by it"
