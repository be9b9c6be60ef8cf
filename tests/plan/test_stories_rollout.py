"""Stories of roll-outs, as an operator would try them: what changed in a file, what runs, and every pass."""

import pytest

from reconciler.model.memory import Memory
from reconciler.model.observation import Wish
from reconciler.plan.road import road
from tests.plan.stories import Story, model, ran, told
from tests.plan.world import NOW, fleet

EDIT = "context: 8192"


def chat(more: str = "", *, memory: float = 8) -> str:
    return model("chat", memory, more)


STORIES = [
    Story(
        situation="one replica: one more serves while it is replaced, and then goes",
        fleet=chat(EDIT),
        on=ran(chat(), 1),
        passes="""
            start chat/1 on gpu 0 port 9001: SpecChanged (serves while chat/0 is replaced)
            blocked chat/0: Waiting (waits for chat/1 to serve, then is replaced (context default → 8192))
            then
            stop chat/0: SpecChanged (context default → 8192)
            then
            start chat/0 on gpu 0 port 9000: SpecChanged
            then
            stop chat/1: ScaledDown
            then
            forget chat/1: ScaledDown
            then
            nothing to do
        """,
    ),
    Story(
        situation="three replicas: one more first, then one after the other, and never fewer than three serve",
        fleet=chat(f"replicas: 3\n{EDIT}", memory=5),
        on=ran(chat("replicas: 3", memory=5), 1),
        passes="""
            start chat/3 on gpu 0 port 9003: SpecChanged (serves while chat/0 is replaced)
            blocked chat/0: Waiting (waits for chat/3 to serve, then is replaced (context default → 8192))
            blocked chat/1: Waiting (waits for chat/3 to serve, then is replaced (context default → 8192))
            blocked chat/2: Waiting (waits for chat/3 to serve, then is replaced (context default → 8192))
            then
            stop chat/0: SpecChanged (context default → 8192)
            blocked chat/1: Waiting (waits its turn after chat/0, then is replaced (context default → 8192))
            blocked chat/2: Waiting (waits its turn after chat/0, then is replaced (context default → 8192))
            then
            start chat/0 on gpu 0 port 9000: SpecChanged
            blocked chat/1: Waiting (waits for chat/0 to serve, then is replaced (context default → 8192))
            blocked chat/2: Waiting (waits for chat/0 to serve, then is replaced (context default → 8192))
            then
            stop chat/1: SpecChanged (context default → 8192)
            blocked chat/2: Waiting (waits its turn after chat/1, then is replaced (context default → 8192))
            then
            start chat/1 on gpu 0 port 9001: SpecChanged
            blocked chat/2: Waiting (waits for chat/1 to serve, then is replaced (context default → 8192))
            then
            stop chat/2: SpecChanged (context default → 8192)
            then
            start chat/2 on gpu 0 port 9002: SpecChanged
            then
            stop chat/3: ScaledDown
            then
            forget chat/3: ScaledDown
            then
            nothing to do
        """,
    ),
    Story(
        situation="several replicas and no room for one more: one after the other in its place, the others serve",
        fleet=chat(f"replicas: 3\n{EDIT}"),
        on=ran(chat("replicas: 3"), 1),
        passes="""
            stop chat/0: SpecChanged (context default → 8192)
            blocked chat/1: Waiting (waits its turn after chat/0, then is replaced (context default → 8192))
            blocked chat/2: Waiting (waits its turn after chat/0, then is replaced (context default → 8192))
            then
            start chat/0 on gpu 0 port 9000: SpecChanged
            blocked chat/1: Waiting (waits for chat/0 to serve, then is replaced (context default → 8192))
            blocked chat/2: Waiting (waits for chat/0 to serve, then is replaced (context default → 8192))
            then
            stop chat/1: SpecChanged (context default → 8192)
            blocked chat/2: Waiting (waits its turn after chat/1, then is replaced (context default → 8192))
            then
            start chat/1 on gpu 0 port 9001: SpecChanged
            blocked chat/2: Waiting (waits for chat/1 to serve, then is replaced (context default → 8192))
            then
            stop chat/2: SpecChanged (context default → 8192)
            then
            start chat/2 on gpu 0 port 9002: SpecChanged
            then
            nothing to do
        """,
    ),
    Story(
        situation="two replicas that are to grow: one more only where it fits beside both as they are to be",
        fleet=chat(f"replicas: 2\n{EDIT}", memory=8.5),
        on=ran(chat("replicas: 2", memory=7), 1),
        passes="""
            stop chat/0: SpecChanged (context default → 8192; memory 7GiB → 8704MiB)
            blocked chat/1: Waiting (waits its turn after chat/0, then is replaced (context default → 8192; memory \
7GiB → 8704MiB))
            then
            start chat/0 on gpu 0 port 9000: SpecChanged
            blocked chat/1: Waiting (waits for chat/0 to serve, then is replaced (context default → 8192; memory \
7GiB → 8704MiB))
            then
            stop chat/1: SpecChanged (context default → 8192; memory 7GiB → 8704MiB)
            then
            start chat/1 on gpu 0 port 9001: SpecChanged
            then
            nothing to do
        """,
    ),
    Story(
        situation="one replica and no room for another: it ends before it starts",
        fleet=chat(EDIT, memory=20),
        on=ran(chat(memory=20), 1),
        passes="""
            stop chat/0: SpecChanged (context default → 8192)
            then
            start chat/0 on gpu 0 port 9000: SpecChanged
            then
            nothing to do
        """,
    ),
    Story(
        situation="one more for a roll-out takes only what is spare, from nobody",
        fleet=chat(f"priority: 900\n{EDIT}") + model("low", 12, "priority: 1"),
        on=ran(chat("priority: 900") + model("low", 12, "priority: 1"), 1),
        passes="""
            stop chat/0: SpecChanged (context default → 8192)
            then
            start chat/0 on gpu 0 port 9000: SpecChanged
            then
            nothing to do
        """,
    ),
    Story(
        situation="a roll-out with requests in flight drains each before it ends",
        fleet=chat(EDIT),
        on=ran(chat(), 1),
        demand={"chat": Wish(in_flight={"chat/0": 2})},
        passes="""
            start chat/1 on gpu 0 port 9001: SpecChanged (serves while chat/0 is replaced)
            blocked chat/0: Waiting (waits for chat/1 to serve, then is replaced (context default → 8192))
            then
            drain chat/0: SpecChanged (context default → 8192)
            then
            stop chat/0: SpecChanged (context default → 8192)
            then
            start chat/0 on gpu 0 port 9000: SpecChanged
            then
            drain chat/1: ScaledDown
            then
            stop chat/1: ScaledDown
            then
            forget chat/1: ScaledDown
            then
            nothing to do
        """,
    ),
    Story(
        situation="strategy replace: it ends before it starts though there is room for one more",
        fleet=chat(EDIT + "\nupdate: {strategy: replace}"),
        on=ran(chat("update: {strategy: replace}"), 1),
        passes="""
            stop chat/0: SpecChanged (context default → 8192)
            then
            start chat/0 on gpu 0 port 9000: SpecChanged
            then
            nothing to do
        """,
    ),
    Story(
        situation="a service with a port of its own is replaced in place: two could not listen there",
        fleet="kind: Service\nname: web\ncommand: [web, --new]\nport: 8080\nupdate: {strategy: surge}",
        on=ran("kind: Service\nname: web\ncommand: [web]\nport: 8080\nupdate: {strategy: surge}", 1),
        passes="""
            stop web/0: SpecChanged (command)
            then
            start web/0 port 8080: SpecChanged
            then
            nothing to do
        """,
    ),
    Story(
        situation="two models are rolled out at once, where there is room for one more of each",
        fleet=model("a", 4, EDIT) + model("b", 4, EDIT),
        on=ran(model("a", 4) + model("b", 4), 1),
        passes="""
            start a/1 on gpu 0 port 9002: SpecChanged (serves while a/0 is replaced)
            start b/1 on gpu 0 port 9003: SpecChanged (serves while b/0 is replaced)
            blocked a/0: Waiting (waits for a/1 to serve, then is replaced (context default → 8192))
            blocked b/0: Waiting (waits for b/1 to serve, then is replaced (context default → 8192))
            then
            stop a/0: SpecChanged (context default → 8192)
            stop b/0: SpecChanged (context default → 8192)
            then
            start a/0 on gpu 0 port 9000: SpecChanged
            start b/0 on gpu 0 port 9001: SpecChanged
            then
            stop a/1: ScaledDown
            stop b/1: ScaledDown
            then
            forget a/1: ScaledDown
            forget b/1: ScaledDown
            then
            nothing to do
        """,
    ),
    Story(
        situation="two models are rolled out at once, where there is room for one more of one only",
        fleet=model("a", 8, EDIT) + model("b", 8, EDIT),
        on=ran(model("a", 8) + model("b", 8), 1),
        passes="""
            start a/1 on gpu 0 port 9002: SpecChanged (serves while a/0 is replaced)
            stop b/0: SpecChanged (context default → 8192)
            blocked a/0: Waiting (waits for a/1 to serve, then is replaced (context default → 8192))
            then
            stop a/0: SpecChanged (context default → 8192)
            start b/0 on gpu 0 port 9001: SpecChanged
            then
            start a/0 on gpu 0 port 9000: SpecChanged
            then
            stop a/1: ScaledDown
            then
            forget a/1: ScaledDown
            then
            nothing to do
        """,
    ),
    Story(
        situation="restart by command is a roll-out too",
        fleet=chat(),
        on=ran(chat(), 1),
        memory=Memory(restarts={"chat/0": 1}),
        passes="""
            start chat/1 on gpu 0 port 9001: RestartAsked (serves while chat/0 is replaced)
            blocked chat/0: Waiting (waits for chat/1 to serve, then is replaced (RestartAsked))
            then
            stop chat/0: RestartAsked
            then
            start chat/0 on gpu 0 port 9000: RestartAsked
            then
            stop chat/1: ScaledDown
            then
            forget chat/1: ScaledDown
            then
            nothing to do
        """,
    ),
    Story(
        situation="more replicas and another context in one edit",
        fleet=chat(f"replicas: 2\n{EDIT}", memory=6),
        on=ran(chat(memory=6), 1),
        passes="""
            start chat/2 on gpu 0 port 9001: SpecChanged (serves while chat/0 is replaced)
            start chat/1 on gpu 0 port 9002: NotRunning
            blocked chat/0: Waiting (waits for chat/2 to serve, then is replaced (context default → 8192))
            then
            stop chat/0: SpecChanged (context default → 8192)
            then
            start chat/0 on gpu 0 port 9000: SpecChanged
            then
            stop chat/2: ScaledDown
            then
            forget chat/2: ScaledDown
            then
            nothing to do
        """,
    ),
    Story(
        situation="fewer replicas and another context in one edit: the one that is to go tries the new context first",
        fleet=chat(f"replicas: 1\n{EDIT}", memory=6),
        on=ran(chat("replicas: 2", memory=6), 1),
        passes="""
            stop chat/1: SpecChanged (context default → 8192)
            blocked chat/0: Waiting (waits for chat/1 to serve, then is replaced (context default → 8192))
            then
            start chat/1 on gpu 0 port 9001: SpecChanged
            then
            stop chat/0: SpecChanged (context default → 8192)
            then
            start chat/0 on gpu 0 port 9000: SpecChanged
            then
            stop chat/1: ScaledDown
            then
            forget chat/1: ScaledDown
            then
            nothing to do
        """,
    ),
    Story(
        situation="only live fields change: nothing is restarted",
        fleet=chat("aliases: [small]\npriority: 300"),
        on=ran(chat(), 1),
        passes="""
            update chat/0: SpecChanged (aliases default → small; priority default → 300)
            then
            nothing to do
        """,
    ),
    Story(
        situation="a gang is replaced in place: there is no second set of cards",
        fleet=model("pair", 20, f"gpus: 2\n{EDIT}"),
        on=ran(model("pair", 20, "gpus: 2"), 2),
        passes="""
            stop pair/0: SpecChanged (context default → 8192)
            then
            start pair/0 on gpu 0,1 port 9000: SpecChanged
            then
            nothing to do
        """,
    ),
    Story(
        situation="a gang is rolled out over a second set of cards",
        fleet=model("pair", 20, f"gpus: 2\n{EDIT}"),
        on=ran(model("pair", 20, "gpus: 2"), 4),
        passes="""
            start pair/1 on gpu 2,3 port 9001: SpecChanged (serves while pair/0 is replaced)
            blocked pair/0: Waiting (waits for pair/1 to serve, then is replaced (context default → 8192))
            then
            stop pair/0: SpecChanged (context default → 8192)
            then
            start pair/0 on gpu 0,1 port 9000: SpecChanged
            then
            stop pair/1: ScaledDown
            then
            forget pair/1: ScaledDown
            then
            nothing to do
        """,
    ),
]


@pytest.mark.parametrize("story", STORIES, ids=[story.situation for story in STORIES])
def test_story(story: Story) -> None:
    assert story.told() == story.expected


def test_two_vllm_models_on_a_card_are_rolled_out_one_start_at_a_time_and_neither_is_down() -> None:
    before, after = ("".join(model(name, 4, more, engine="vllm") for name in "ab") for more in ("", EDIT))
    plans = road(fleet(after), ran(before, 1)(), {}, Memory(), NOW)
    serving = {"a/0", "b/0"}
    for decided in plans:
        starts = {action.slot for action in decided.actions if action.kind == "start"}
        assert len(starts) <= 1
        serving = (serving | starts) - {action.slot for action in decided.actions if action.kind == "stop"}
        assert {slot[0] for slot in serving} == {"a", "b"}
    assert told(plans[-1:]) == "nothing to do"
