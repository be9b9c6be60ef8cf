"""What a router is told: who answers to which name, what may be hoped for, who may ask, and where it listens."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from reconciler.model.fleet import Fleet
from reconciler.model.memory import Memory, Override
from reconciler.model.observation import (
    Demand,
    Exited,
    Failing,
    Instance,
    NotReady,
    Observation,
    Running,
    Unknown,
    Wish,
)
from reconciler.model.plan import Strikes
from reconciler.model.routing import AccessKey, Certificate, Front, Grant, Limits, Place, Served, Site, Table
from reconciler.model.source import Problem
from reconciler.model.status import Status
from reconciler.plan.routing import GONE, Routed, routed
from reconciler.plan.summary import Pass, summarise
from tests.plan.world import NOW, decide, fleet, gpu, instance, machine, running

CHAT = """
kind: Model
name: chat
source: hf:o/chat
memory: 20GiB
context: 8192
aliases: [gpt]
adapters: [{name: sql, source: 'hf:o/sql'}]
"""
SMALL = "kind: Model\nname: small\nsource: file:/s.gguf\nengine: llamacpp\ngpus: 0\n"
CARD = (gpu(0),)


def status(of: Fleet, on: Observation, *, memory: Memory | None = None, demand: Demand | None = None) -> Status:
    remembered = memory or Memory()
    decided = decide(of, on, memory=remembered, demand=demand)
    looked = Pass(fleet=of, observation=on, demand=demand or {}, plan=decided, now=NOW)
    return summarise(looked, remembered).status


def table(text: str, on: Observation, *, memory: Memory | None = None, demand: Demand | None = None) -> Table:
    of = fleet(text)
    return routed(of, status(of, on, memory=memory, demand=demand), Routed(), now=5).table


def chat(phase: Running | Exited | Unknown | None = None, *, strikes: int = 0, index: int = 0) -> Instance:
    return instance(
        fleet(CHAT), f"chat/{index}", phase, run=3, port=9000 + index, gpus=CARD, strikes=Strikes(count=strikes)
    )


def starting() -> Running:
    return Running(pid=1, since=NOW, readiness=NotReady(detail="loads"))


def test_a_model_is_told_with_all_that_it_answers_to() -> None:
    text = CHAT + "weight: 5\nfallback: [small]\naffinity: prefix\nlimits: {concurrency: 4}\n"
    told = table(text, machine(chat(), gpus=CARD)).models["chat"]
    place = Place(
        slot="chat/0",
        run=3,
        address="http://127.0.0.1:9000",
        names=("chat", "gpt", "sql"),
        known_as={"gpt": "chat"},
    )
    assert told == Served(
        name="chat",
        names=("chat", "gpt", "sql"),
        adapters=("sql",),
        engine="vllm",
        source="hf:o/chat",
        context=8192,
        weight=5,
        shares=True,
        places=(place,),
        outlook="ready",
        fallback=("small",),
        affinity="prefix",
        limits=Limits(concurrency=4),
        created=5,
    )


@dataclass(frozen=True, kw_only=True)
class Case:
    """A situation in a sentence, and what may be hoped for."""

    situation: str
    text: str = CHAT
    on: Callable[[], Observation]
    memory: Memory = Memory()  # noqa: RUF009
    demand: Demand | None = None
    outlook: str
    why: str


def bare(memory: float = 80) -> Observation:
    return machine(gpus=(gpu(0, memory),))


ASKED = {"chat": Wish(waiting=1, since=NOW)}
ON_DEMAND = CHAT + "replicas: {min: 0}\n"
CASES = (
    Case(
        situation="it loads",
        on=lambda: machine(chat(starting()), gpus=CARD),
        outlook="coming",
        why="chat/0 loads",
    ),
    Case(situation="it is about to be started", on=bare, outlook="coming", why="it is being started"),
    Case(
        situation="nobody asked for it yet",
        text=ON_DEMAND,
        on=bare,
        outlook="absent",
        why="nothing of it runs until it is asked for",
    ),
    Case(
        situation="it was asked for", text=ON_DEMAND, on=bare, demand=ASKED, outlook="coming", why="it is being started"
    ),
    Case(
        situation="no card is large enough",
        text=ON_DEMAND,
        on=lambda: bare(10),
        demand=ASKED,
        outlook="blocked",
        why="needs one gpu with 20.0 GiB free; gpu 0: 10.0 GiB in all",
    ),
    Case(
        situation="its file says that none is to run",
        text=CHAT + "replicas: 0\n",
        on=bare,
        outlook="blocked",
        why="its file says replicas: 0",
    ),
    Case(
        situation="it was stopped by command",
        on=bare,
        memory=Memory(overrides={"chat": Override(stopped=True)}),
        outlook="blocked",
        why="stopped by command; `holdfast resume chat` starts it again",
    ),
    Case(
        situation="it was scaled to none by command",
        on=bare,
        memory=Memory(overrides={"chat": Override(replicas=0, declared=(1, 1))}),
        outlook="blocked",
        why="scaled to 0 by command, fleet.d/chat.yaml:1 says 1",
    ),
    Case(
        situation="it is paused, and nothing of it runs",
        text=CHAT + "paused: true\n",
        on=bare,
        outlook="blocked",
        why="it is paused; nothing is done to it until it is resumed",
    ),
    Case(
        situation="it ended by surprise, and is started again",
        on=lambda: machine(chat(Exited(at=NOW, code=1, ready_for=100.0)), gpus=CARD),
        outlook="coming",
        why="chat/0 exited with status 1",
    ),
    Case(
        situation="it could not start the first time",
        on=lambda: machine(chat(Exited(at=NOW, code=1)), gpus=CARD),
        outlook="coming",
        why="exited with status 1; the first time",
    ),
    Case(
        situation="it ends again and again",
        on=lambda: machine(chat(Exited(at=NOW, code=1), strikes=4), gpus=CARD),
        outlook="blocked",
        why="exited with status 1; 5 times in a row",
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.situation)
def test_what_may_be_hoped_for(case: Case) -> None:
    told = table(case.text, case.on(), memory=case.memory, demand=case.demand).models["chat"]
    assert (told.places, told.outlook, told.why) == ((), case.outlook, case.why)


def test_one_that_waits_for_another_to_leave_is_coming() -> None:
    """What it waits for ends by itself: it is on demand, and its turn comes."""
    text = f"{ON_DEMAND.replace('20GiB', '70GiB')}---\n{ON_DEMAND.replace('chat', 'code').replace('20GiB', '70GiB')}"
    of = fleet(text.replace("[gpt]", "[]").replace("sql", "x").replace("adapters: [{name: x, source: 'hf:o/x'}]", ""))
    there = instance(of, "code/0", running(ready=NOW - 600), port=9001, gpus=CARD)
    held = machine(there, gpus=(gpu(0),))
    demand = {"chat": Wish(waiting=1, since=NOW - 1), "code": Wish(in_flight={"code/0": 1})}
    told = routed(of, status(of, held, demand=demand), Routed(), now=5).table.models["chat"]
    assert told.outlook == "coming"
    assert told.why.startswith("waits for")


def test_what_drains_gets_nothing_new_and_keeps_its_place() -> None:
    told = table(CHAT, machine(chat(), gpus=CARD), memory=Memory(draining={"chat/0": NOW})).models["chat"]
    [place] = told.places
    assert (place.slot, place.run, place.draining, place.names) == ("chat/0", 3, True, ())
    assert told.outlook == "coming"


def test_one_that_is_not_in_the_fleet_is_told_until_it_has_finished() -> None:
    of, on = fleet(CHAT), machine(chat(), gpus=CARD)
    before = routed(of, status(of, on), Routed(), now=5)
    left = fleet("")
    held = replace(left, missing="fleet.d cannot be read")
    serves = routed(held, status(held, on), before, now=6)
    assert serves.table.models["chat"].outlook == "ready"
    assert serves.table.models["chat"].created == 5
    drains = routed(left, status(left, on, memory=Memory(draining={"chat/0": NOW})), serves, now=7)
    told = drains.table.models["chat"]
    assert ([place.draining for place in told.places], told.outlook, told.why) == ([True], "blocked", GONE)
    assert routed(left, status(left, machine(gpus=CARD)), drains, now=8).table.models == {}


def test_what_cannot_be_seen_is_not_gone() -> None:
    of = fleet(CHAT)
    before = routed(of, status(of, machine(chat(), gpus=CARD)), Routed(), now=5)
    unseen = status(of, machine(chat(Unknown(reason="no answer")), gpus=CARD))
    assert routed(of, unseen, before, now=6).table is before.table
    other = replace(chat(Unknown(reason="no answer")), launch=replace(chat().launch, run=4))
    told = routed(of, status(of, machine(other, gpus=CARD)), before, now=6).table.models["chat"]
    assert (told.places, told.outlook) == ((), "blocked")


def test_one_of_which_it_is_not_known_whether_it_sleeps_gets_nothing() -> None:
    of = fleet(CHAT)
    before = routed(of, status(of, machine(chat(), gpus=CARD)), Routed(), now=5)
    doubtful = Running(pid=1, since=1, readiness=Unknown(reason="no answer in 3s"), was_ready=True)
    told = routed(of, status(of, machine(chat(doubtful), gpus=CARD)), before, now=6).table.models["chat"]
    assert (told.places, told.outlook) == ((), "coming")


def test_one_failed_probe_takes_nothing_away_and_two_do() -> None:
    def outlook(failures: int) -> str:
        phase = Running(pid=1, since=1, readiness=Failing(since=NOW, failures=failures, detail="x"), was_ready=True)
        return table(CHAT, machine(chat(phase), gpus=CARD)).models["chat"].outlook

    assert [outlook(1), outlook(2)] == ["ready", "coming"]


def test_a_problem_in_its_file_says_nothing_of_a_model_that_is_started_all_the_same() -> None:
    of = fleet(CHAT, problems=(Problem(path="fleet.d/chat.yaml", message="cannot be", names=("chat",)),))
    told = routed(of, status(of, machine(chat(starting()), gpus=CARD)), Routed(), now=5).table.models["chat"]
    assert told.outlook == "coming"


def test_services_are_not_served() -> None:
    text = "kind: Service\nname: db\ncommand: [db, '{port}']\n"
    of = fleet(text)
    on = machine(instance(of, "db/0", port=9000))
    assert table(text, on).models == {}
    left = fleet("")
    assert routed(left, status(left, on), Routed(), now=5).table.models == {}


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("https://ann:secret@host/a.gguf?token=secret", "https://host/a.gguf"),
        ("https://host:8443/a.gguf", "https://host:8443/a.gguf"),
        ("hf:o/r@main", "hf:o/r@main"),
    ],
)
def test_no_secret_of_a_source_is_told(source: str, shown: str) -> None:
    text = f"kind: Model\nname: a\nsource: {source}\nengine: llamacpp\ngpus: 0\n"
    assert table(text, machine()).models["a"].source == shown


def test_who_may_ask_and_where_comes_from_the_files_that_apply_here() -> None:
    text = f"""
        kind: Access
        name: team
        keys: [{{sha256: {"a" * 64}, expires: '1970-01-01'}}, {{sha256: {"b" * 64}}}]
        roles: [metrics]
        models: [chat]
        limits: {{tokens_per_day: 9}}
        priority: 7
        ---
        kind: Route
        name: site
        hosts: [b.org, a.org]
        prefix: /x
        tls: {{certificate: /c, key: /k}}
        ---
        kind: Node
        name: other
        gateway: {{workers: 9}}
        ---
        kind: Node
        name: box1
        gateway: {{listen: ['127.0.0.1:80'], body: 1KiB, wait: 90s, audit: true}}
        """
    told = table(text, machine())
    assert told.grants == (
        Grant(
            name="team",
            keys=(AccessKey(sha256="a" * 64, expires=86400.0), AccessKey(sha256="b" * 64)),
            roles=("metrics",),
            models=("chat",),
            limits=Limits(tokens_per_day=9),
            priority=7,
        ),
    )
    tls = Certificate(certificate="/c", key="/k")
    assert told.sites == (Site(name="site", hosts=("b.org", "a.org"), prefix="/x", tls=tls),)
    assert told.front == Front(listen=("http://127.0.0.1:80",), body=1024, wait=90.0, audit=True)


def test_what_no_file_says_is_what_a_router_takes_by_itself() -> None:
    assert table("", machine()).front == Front()


def test_a_table_is_the_same_until_something_is_another() -> None:
    of, on = fleet(CHAT), machine(chat(), gpus=CARD)
    first = routed(of, status(of, on), Routed(), now=5)
    again = routed(of, status(of, on), first, now=6)
    assert again.table is first.table
    other = fleet(CHAT + "labels: {a: b}\n")
    assert routed(other, status(other, on), again, now=6).table is first.table, "labels are not a router's"
    two = replace(of, access=fleet(f"kind: Access\nname: t\nkeys: [{{sha256: {'a' * 64}}}]\n").access)
    told = routed(two, status(two, on), again, now=6).table
    assert (told.models, len(told.grants)) == (first.table.models, 1)


def test_only_what_changed_is_made_again() -> None:
    """A model whose row and workload are the same objects is the same object in the next table."""
    names = [f"m{index}" for index in range(50)]
    of = fleet("---\n".join(SMALL.replace("name: small", f"name: {name}") for name in names))
    seen = status(of, machine())
    first = routed(of, seen, Routed(), now=5)
    rows = {**seen.workloads, "m7": replace(seen.workloads["m7"], wanted=0)}
    after = routed(of, replace(seen, workloads=rows), first, now=6).table
    assert [name for name in names if after.models[name] is not first.table.models[name]] == ["m7"]
