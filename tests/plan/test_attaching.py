"""Adapters of models that run: attached and detached by the engine's own API where it can, else by a replacement."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from reconciler.model.memory import Failure, Memory
from reconciler.model.observation import (
    Exited,
    Failing,
    Instance,
    NotReady,
    Observation,
    Running,
    Unknown,
    healthy_of,
)
from reconciler.model.plan import Attach, Detach, Launch, Plan, Start
from reconciler.model.status import Reason
from reconciler.plan.failures import with_failure
from reconciler.plan.planner import plan
from reconciler.plan.road import road
from reconciler.plan.settle import settled
from tests.plan.stories import Story, become, model, ran
from tests.plan.world import NOW, fleet

SQL, LAW, TAX = (f"{{name: {name}, source: 'hf:org/{name}'}}" for name in ("sql", "law", "tax"))


def chat(*adapters: str, more: str = "", engine: str = "vllm") -> str:
    """A model with these adapters."""
    return model("chat", 20, f"adapters: [{', '.join(adapters)}]\n{more}", engine=engine)


def refused(name: str, source: str, *, count: int = 1, at: float = NOW - 0.5) -> Memory:
    """An adapter that an engine could not load."""
    words = "vllm said 400 rank is 64"
    failure = Failure(at=at, count=count, reason=Reason.AdapterFailed, detail=words, digest=source)
    return Memory(refusals={"chat/0": {name: failure}})


def running_as(before: str, phase: Running) -> Callable[[], Observation]:
    """That fleet, with its model in another phase."""
    return lambda: become(ran(before, 1)(), "chat/0", phase)


STORIES = [
    Story(
        situation="an adapter more is attached to what runs, and one for whom no batch has a place is said to wait",
        fleet=chat(SQL, LAW),
        on=ran(chat(SQL), 1),
        passes="""
            attach chat/0 adapter law: SpecChanged (hf:org/law; 2 take turns for 1 in a batch (--max-loras))
            then
            nothing to do
        """,
    ),
    Story(
        situation="where args make room for more, nothing is said of turns",
        fleet=chat(SQL, LAW, more="args: [--max-loras, 4]"),
        on=ran(chat(SQL, more="args: [--max-loras, 4]"), 1),
        passes="""
            attach chat/0 adapter law: SpecChanged (hf:org/law)
            then
            nothing to do
        """,
    ),
    Story(
        situation="an adapter that is gone is detached, be it the last one",
        fleet=model("chat", 20, engine="vllm"),
        on=ran(chat(SQL), 1),
        passes="""
            detach chat/0 adapter sql: SpecChanged
            then
            nothing to do
        """,
    ),
    Story(
        situation="what goes makes room for what comes, one after the other",
        fleet=chat(LAW, TAX),
        on=ran(chat(SQL, LAW), 1),
        passes="""
            detach chat/0 adapter sql: SpecChanged
            then
            attach chat/0 adapter tax: SpecChanged (hf:org/tax)
            then
            nothing to do
        """,
    ),
    Story(
        situation="another source under the same name is another adapter",
        fleet=chat("{name: sql, source: 'file:/m/sql'}"),
        on=ran(chat(SQL), 1),
        passes="""
            detach chat/0 adapter sql: SpecChanged
            then
            attach chat/0 adapter sql: SpecChanged (file:/m/sql)
            then
            nothing to do
        """,
    ),
    Story(
        situation="their order means nothing",
        fleet=chat(LAW, SQL),
        on=ran(chat(SQL, LAW), 1),
        passes="nothing to do",
    ),
    Story(
        situation="the first adapter of a model that was not started for any has it replaced",
        fleet=chat(SQL, more="update: {strategy: replace}"),
        on=ran(model("chat", 20, engine="vllm"), 1),
        passes="""
            stop chat/0: SpecChanged (adapter sql none → hf:org/sql; it was not started for adapters)
            then
            start chat/0 on gpu 0 port 9000: SpecChanged
            then
            nothing to do
        """,
    ),
    Story(
        situation="with a restart field changed too it is replaced, and both are told",
        fleet=chat(SQL, LAW, more="context: 4096\nupdate: {strategy: replace}"),
        on=ran(chat(SQL), 1),
        passes="""
            stop chat/0: SpecChanged (context default → 4096; adapter law none → hf:org/law)
            then
            start chat/0 on gpu 0 port 9000: SpecChanged
            then
            nothing to do
        """,
    ),
    Story(
        situation="a live field changed too is taken over first, whatever becomes of the adapter",
        fleet=chat(SQL, LAW, more="priority: 200\nargs: [--max-loras=2]"),
        on=ran(chat(SQL, more="args: [--max-loras=2]"), 1),
        passes="""
            update chat/0: SpecChanged (priority default → 200)
            then
            attach chat/0 adapter law: SpecChanged (hf:org/law)
            then
            nothing to do
        """,
    ),
    Story(
        situation="llama.cpp cannot, and is replaced",
        fleet=chat("{name: law, source: 'file:/m/law'}", engine="llamacpp", more="update: {strategy: replace}"),
        on=ran(model("chat", 20), 1),
        passes="""
            stop chat/0: SpecChanged (adapters default → name: law, source: file:/m/law)
            then
            start chat/0 on gpu 0 port 9000: SpecChanged
            then
            nothing to do
        """,
    ),
    Story(
        situation="replicas take it up each for itself, at once",
        fleet=chat(SQL, LAW, more="replicas: 2\nargs: [--max-loras=2]"),
        on=ran(chat(SQL, more="replicas: 2\nargs: [--max-loras=2]"), 2),
        passes="""
            attach chat/0 adapter law: SpecChanged (hf:org/law)
            attach chat/1 adapter law: SpecChanged (hf:org/law)
            then
            nothing to do
        """,
    ),
    Story(
        situation="what it could not load is told and tried again later, and then again",
        fleet=chat(SQL, LAW, more="args: [--max-loras=2]"),
        on=ran(chat(SQL, more="args: [--max-loras=2]"), 1),
        memory=refused("law", "hf:org/law"),
        passes="""
            blocked chat/0: AdapterFailed (cannot attach law: vllm said 400 rank is 64; chat/0 serves without it)
            then
            attach chat/0 adapter law: SpecChanged (hf:org/law)
            then
            nothing to do
        """,
    ),
    Story(
        situation="one that cannot be loaded keeps no other waiting",
        fleet=chat(SQL, LAW, TAX, more="args: [--max-loras=3]"),
        on=ran(chat(SQL, more="args: [--max-loras=3]"), 1),
        memory=refused("law", "hf:org/law"),
        passes="""
            attach chat/0 adapter tax: SpecChanged (hf:org/tax)
            then
            blocked chat/0: AdapterFailed (cannot attach law: vllm said 400 rank is 64; chat/0 serves without it)
            then
            attach chat/0 adapter law: SpecChanged (hf:org/law)
            then
            nothing to do
        """,
    ),
    Story(
        situation="another source for it is tried at once",
        fleet=chat(SQL, "{name: law, source: 'hf:org/law-r16'}", more="args: [--max-loras=2]"),
        on=ran(chat(SQL, more="args: [--max-loras=2]"), 1),
        memory=refused("law", "hf:org/law"),
        passes="""
            attach chat/0 adapter law: SpecChanged (hf:org/law-r16)
            then
            nothing to do
        """,
    ),
    Story(
        situation="one that loads has to serve first",
        fleet=chat(SQL, LAW),
        on=running_as(chat(SQL), Running(pid=1, since=NOW - 1, readiness=NotReady())),
        passes="nothing to do",
    ),
    Story(
        situation="one that does not answer is let be",
        fleet=chat(SQL, LAW),
        on=running_as(
            chat(SQL), Running(pid=1, since=1.0, readiness=Failing(since=NOW, failures=1, detail="x"), was_ready=True)
        ),
        passes="nothing to do",
    ),
    Story(
        situation="one that is paused keeps the adapters it has",
        fleet=chat(SQL, LAW, more="paused: true"),
        on=ran(chat(SQL), 1),
        passes="""
            blocked chat: Paused (paused: nothing is done to it; to go on, remove `paused: true` at fleet.d/chat.yaml:4)
        """,
    ),
    Story(
        situation="other adapters end the waiting of one that cannot start, and it starts with them",
        fleet=chat(LAW),
        on=lambda: become(
            ran(chat(SQL), 1)(), "chat/0", Exited(at=NOW - 0.1, code=1, detail="No adapter found"), strikes=9
        ),
        passes="""
            start chat/0 on gpu 0 port 9000: SpecChanged
            then
            nothing to do
        """,
    ),
]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.situation)
def test_story(story: Story) -> None:
    assert story.told() == story.expected


def first(text: str, on: Observation, memory: Memory | None = None) -> Plan:
    return plan(fleet(text), on, {}, memory or Memory(), NOW)


def test_an_attach_carries_all_that_is_to_be_asked_and_recorded() -> None:
    """Asking twice does no harm: what may be there is let go first."""
    on = ran(chat(SQL), 1)()
    [attach] = first(chat(SQL, "{name: law, source: 'file:../m/law'}"), on).actions
    assert isinstance(attach, Attach)
    assert [(one.path, dict(one.body), one.also) for one in attach.requests] == [
        ("/v1/unload_lora_adapter", {"lora_name": "law"}, (404,)),
        ("/v1/load_lora_adapter", {"lora_name": "law", "lora_path": "/etc/m/law"}, ()),
    ]
    before = there_is(on).launch
    assert dict(attach.launch.adapters) == {"sql": "hf:org/sql", "law": "file:/etc/m/law"}
    assert attach.launch.files == (*before.files, "/etc/m/law")
    assert " ".join(attach.launch.argv) == " ".join(before.argv).replace("sql=org/sql", "sql=org/sql law=/etc/m/law")


def launched(on: Observation, launch: Launch) -> Observation:
    """The same with its model's record changed."""
    there = replace(there_is(on), launch=launch)
    return replace(on, instances={"chat/0": there}, healthy=healthy_of({"chat/0": there}))


def there_is(on: Observation) -> Instance:
    assert not isinstance(on.instances, Unknown)
    return on.instances["chat/0"]


def test_without_its_last_adapter_the_recorded_launch_can_take_one_up_again() -> None:
    """Started again from its record, where its file cannot be read, it is as it was."""
    on = ran(chat(SQL), 1)()
    [detach] = first(model("chat", 20, engine="vllm"), on).actions
    assert isinstance(detach, Detach)
    assert "--lora-modules" not in detach.launch.argv
    [attach] = first(chat(LAW), launched(on, detach.launch)).actions
    assert isinstance(attach, Attach)
    before = " ".join(there_is(on).launch.argv)
    assert " ".join(attach.launch.argv) == before.replace("sql=org/sql", "law=org/law")


def started(text: str, on: Observation, memory: Memory | None = None) -> Launch:
    [start] = first(text, on, memory).actions
    assert isinstance(start, Start)
    return start.launch


def test_what_could_not_be_attached_does_not_keep_its_model_from_starting() -> None:
    """Its engine would not start at all with it; it is attached, or told of, once the model serves."""
    text, refusal = chat(SQL, LAW), refused("law", "hf:org/law")
    crashed = become(ran(chat(SQL), 1)(), "chat/0", Exited(at=NOW - 900, code=1, ready_for=5.0))
    both, alone = started(text, crashed), started(text, crashed, refusal)
    assert set(both.adapters) == {"sql", "law"}
    assert set(alone.adapters) == {"sql"}
    for launch, memory in ((both, Memory()), (alone, refusal)):
        again = become(launched(crashed, launch), "chat/0", Exited(at=NOW - 0.1, code=1), strikes=5)
        assert [one.reason for one in first(text, again, memory).blocked] == [Reason.BackingOff]


def test_one_started_without_what_was_refused_backs_off_as_any_other() -> None:
    """That it lacks an adapter is no edit, which would have it tried at once, again and again."""
    text, refusal = chat(SQL, LAW), refused("law", "hf:org/law")
    crashed = become(ran(chat(SQL), 1)(), "chat/0", Exited(at=NOW - 900, code=1, ready_for=5.0))
    start = first(text, crashed, refusal).actions[0]
    memory, _ = with_failure(refusal, start, at=NOW, reason=Reason.StartFailed, detail="no such file")
    assert [one.reason for one in first(text, crashed, memory).blocked] == [Reason.StartFailed]


def test_what_was_refused_is_forgotten_once_all_is_as_declared() -> None:
    memory = refused("law", "hf:org/law")
    missing, there = ran(chat(SQL), 1)(), ran(chat(SQL, LAW), 1)()
    assert settled(memory, fleet(chat(SQL, LAW)), missing).refusals == memory.refusals
    assert settled(memory, fleet(chat(SQL, LAW)), there).refusals == {}


def test_it_is_asked_ever_more_seldom() -> None:
    """A second, two, four … up to a minute and a bit, as a start is."""
    waits: list[float] = []
    for count in (1, 2, 3, 7, 20):
        [blocked] = first(
            chat(SQL, LAW), ran(chat(SQL), 1)(), refused("law", "hf:org/law", count=count, at=NOW)
        ).blocked
        assert blocked.until is not None
        waits.append(blocked.until - NOW)
    assert [round(wait) for wait in waits[:3]] == [1, 2, 4]
    assert 60 <= waits[3] <= 66
    assert 60 <= waits[4] <= 66


def test_a_settled_model_with_adapters_costs_a_comparison() -> None:
    text = chat(SQL, LAW)
    on = ran(text, 1)()
    assert on.healthy["chat/0"] == fleet(text).slots["chat/0"]
    assert len(road(fleet(text), on, {}, Memory(), NOW)) == 1
