"""Stories of models on demand, as an operator would try them: what runs, who asks for what, and every pass."""

import pytest

from reconciler.model.memory import Memory
from reconciler.model.observation import NotReady, Observation, Ready, Running, Wish
from tests.plan.stories import Story, bare, become, cards, model, placed, ran
from tests.plan.world import NOW

ONCE = "replicas: {min: 0, max: 1, idle: 5m}"
MANY = "replicas: {min: 1, max: 3, target_queue: 4, idle: 5m}"
AB = model("a", 20, ONCE) + model("b", 20, ONCE)
STEADY = model("steady", 20)


def up(text: str, count: int, *, ready: float = 900.0, took: float = 10.0, **places: int) -> Observation:
    """A machine on which these run, ready for so many seconds, after loading for so many."""
    on = placed(text, cards(count), **places)()
    since = NOW - ready
    for name in places:
        on = become(on, f"{name}/0", Running(pid=1, since=since - took, readiness=Ready(since=since), was_ready=True))
    return on


def loading(on: Observation, slot: str) -> Observation:
    return become(on, slot, Running(pid=1, since=NOW - 5, readiness=NotReady()))


STORIES = [
    Story(
        situation="min 0 and nobody asks: nothing is started",
        fleet=AB,
        on=bare(1),
        passes="nothing to do",
    ),
    Story(
        situation="a request for one that is down starts it",
        fleet=AB,
        on=bare(1),
        demand={"b": Wish(waiting=1, since=NOW)},
        passes="""
            start b/0 on gpu 0 port 9000: NotRunning
            then
            nothing to do
        """,
    ),
    Story(
        situation="requests for two that do not both fit: who has waited longest goes first, the other is told",
        fleet=AB,
        on=bare(1),
        demand={"a": Wish(waiting=1, since=NOW - 1), "b": Wish(waiting=1, since=NOW - 3)},
        passes="""
            start b/0 on gpu 0 port 9000: NotRunning
            blocked a/0: Waiting (waits for its turn after b/0, which is first)
            then
            blocked a/0: Waiting (waits for its turn after b/0, which has just loaded)
        """,
    ),
    Story(
        situation="an idle one goes for one that is asked for",
        fleet=AB,
        on=lambda: up(AB, 1, a=0),
        demand={"b": Wish(waiting=1, since=NOW)},
        passes="""
            drain a/0: Preempted (for b/0)
            blocked b/0: Waiting (waits for memory to be given back: gpu 0: 4.0 GiB of 24.0 GiB free beside a/0)
            then
            stop a/0: Preempted (for b/0)
            then
            forget a/0: Idle
            start b/0 on gpu 0 port 9001: NotRunning
            then
            nothing to do
        """,
    ),
    Story(
        situation="of two idle ones the one goes that has been idle for longer",
        fleet=AB + model("c", 20, ONCE),
        on=lambda: up(AB, 2, a=0, b=1),
        demand={"c": Wish(waiting=1, since=NOW)},
        memory=Memory(lulls={"a/0": NOW - 10, "b/0": NOW - 100}),
        passes="""
            drain b/0: Preempted (for c/0)
            blocked c/0: Waiting (waits for memory to be given back: gpu 1: 4.0 GiB of 24.0 GiB free beside b/0)
            then
            stop b/0: Preempted (for c/0)
            then
            forget b/0: Idle
            start c/0 on gpu 1 port 9002: NotRunning
            then
            nothing to do
        """,
    ),
    Story(
        situation="with room for both nobody goes",
        fleet=AB,
        on=lambda: up(AB, 2, a=0),
        demand={"b": Wish(waiting=1, since=NOW)},
        passes="""
            start b/0 on gpu 1 port 9001: NotRunning
            then
            nothing to do
        """,
    ),
    Story(
        situation="one that has just loaded stays for twice as long as that took, before it goes for an equal",
        fleet=AB,
        on=lambda: up(AB, 1, ready=5, took=10, a=0),
        demand={"b": Wish(waiting=1, since=NOW)},
        passes="blocked b/0: Waiting (waits for its turn after a/0, which was loaded not long ago)",
    ),
    Story(
        situation="one in use does not go at once for an equal",
        fleet=AB,
        on=lambda: up(AB, 1, a=0),
        demand={"a": Wish(in_flight={"a/0": 1}), "b": Wish(waiting=1, since=NOW)},
        passes="blocked b/0: Waiting (waits for its turn after a/0, which is in use)",
    ),
    Story(
        situation="one in use goes for an equal that has waited for half a minute, after its requests",
        fleet=AB,
        on=lambda: up(AB, 1, a=0),
        demand={"a": Wish(in_flight={"a/0": 1}), "b": Wish(waiting=1, since=NOW - 31)},
        passes="""
            drain a/0: Preempted (for b/0)
            blocked b/0: Waiting (waits for memory to be given back: gpu 0: 4.0 GiB of 24.0 GiB free beside a/0)
            then
            stop a/0: Preempted (for b/0)
            then
            start b/0 on gpu 0 port 9001: NotRunning
            blocked a/0: Waiting (waits for its turn after b/0, which is first)
            then
            blocked a/0: Waiting (waits for its turn after b/0, which has just loaded)
        """,
    ),
    Story(
        situation="one that loads is let be of use once, though another waits",
        fleet=AB,
        on=lambda: loading(up(AB, 1, a=0), "a/0"),
        demand={"a": Wish(waiting=1, since=NOW - 40), "b": Wish(waiting=1, since=NOW - 35)},
        passes="blocked b/0: Waiting (waits for its turn after a/0, which loads)",
    ),
    Story(
        situation="what always runs does not go for an equal on demand, however long that waits",
        fleet=STEADY + model("b", 20, ONCE),
        on=lambda: up(STEADY, 1, steady=0),
        demand={"b": Wish(waiting=1, since=NOW - 600)},
        passes="""
            blocked b/0: NoFreeGpu (needs one gpu with 20.0 GiB free; gpu 0: 4.0 GiB of 24.0 GiB free beside \
steady/0)
        """,
    ),
    Story(
        situation="a request for one of higher priority takes the place of what always runs, and says for whom",
        fleet=STEADY + model("b", 20, ONCE + "\npriority: 500"),
        on=lambda: up(STEADY, 1, steady=0),
        demand={"b": Wish(waiting=1, since=NOW)},
        passes="""
            drain steady/0: Preempted (for b/0)
            blocked b/0: Waiting (waits for memory to be given back: gpu 0: 4.0 GiB of 24.0 GiB free beside steady/0)
            then
            stop steady/0: Preempted (for b/0)
            then
            start b/0 on gpu 0 port 9001: NotRunning
            blocked steady/0: NoFreeGpu (needs one gpu with 20.0 GiB free; gpu 0: 4.0 GiB of 24.0 GiB free beside b/0)
        """,
    ),
    Story(
        situation="what always runs takes the place of an idle one on demand, whatever its priority",
        fleet=STEADY + model("b", 20, ONCE + "\npriority: 500"),
        on=lambda: up(model("b", 20, ONCE + "\npriority: 500"), 1, b=0),
        memory=Memory(lulls={"b/0": NOW - 60}),
        passes="""
            stop b/0: Preempted (for steady/0)
            blocked steady/0: Waiting (waits for memory to be given back: gpu 0: 4.0 GiB of 24.0 GiB free beside \
b/0)
            then
            forget b/0: Idle
            start steady/0 on gpu 0 port 9001: NotRunning
            then
            nothing to do
        """,
    ),
    Story(
        situation="idle for less than its time: it stays, where nobody needs its place",
        fleet=AB,
        on=lambda: up(AB, 1, a=0),
        memory=Memory(lulls={"a/0": NOW - 299}),
        passes="nothing to do",
    ),
    Story(
        situation="idle for its time: it goes, though nobody needs its place",
        fleet=AB,
        on=lambda: up(AB, 1, a=0),
        memory=Memory(lulls={"a/0": NOW - 301}),
        passes="""
            stop a/0: Idle
            then
            forget a/0: Idle
            then
            nothing to do
        """,
    ),
    Story(
        situation="nine wait and a replica takes four: two more are started, as many as max allows",
        fleet=model("a", 6, MANY),
        on=ran(model("a", 6, MANY), 1),
        demand={"a": Wish(waiting=9, in_flight={"a/0": 4}, since=NOW)},
        passes="""
            start a/1 on gpu 0 port 9001: NotRunning
            start a/2 on gpu 0 port 9002: NotRunning
            then
            nothing to do
        """,
    ),
    Story(
        situation="more for a long queue have the priority of their model: a lower one gives way to them",
        fleet=model("a", 6, MANY + "\npriority: 900") + model("steady", 12),
        on=ran(model("a", 6, MANY + "\npriority: 900") + model("steady", 12), 1),
        demand={"a": Wish(waiting=9, in_flight={"a/0": 4}, since=NOW)},
        passes="""
            start a/1 on gpu 0 port 9002: NotRunning
            drain steady/0: Preempted (for a/1, a/2)
            blocked a/2: Waiting (waits for memory to be given back: gpu 0: none of 24.0 GiB free beside a/0, a/1, \
steady/0)
            then
            stop steady/0: Preempted (for a/2)
            then
            start a/2 on gpu 0 port 9003: NotRunning
            blocked steady/0: NoFreeGpu (needs one gpu with 12.0 GiB free; gpu 0: 6.0 GiB of 24.0 GiB free beside \
a/0, a/1, a/2)
        """,
    ),
    Story(
        situation="more for a long queue take nothing from what always runs at the same priority",
        fleet=model("a", 6, MANY) + model("steady", 12),
        on=ran(model("a", 6, MANY) + model("steady", 12), 1),
        demand={"a": Wish(waiting=9, in_flight={"a/0": 4}, since=NOW)},
        passes="""
            start a/1 on gpu 0 port 9002: NotRunning
            blocked a/2: Waiting (waits for its turn after a/1, which is first)
            then
            blocked a/2: Waiting (waits for its turn after a/1, which has just loaded)
        """,
    ),
    Story(
        situation="when the queue is gone for as long as idle says the last ones go",
        fleet=model("a", 6, MANY),
        on=ran(model("a", 6, "replicas: 3"), 1),
        memory=Memory(lulls={"a/1": NOW - 301, "a/2": NOW - 301}),
        passes="""
            stop a/1: Idle
            stop a/2: Idle
            update a/0: SpecChanged (replicas 3 → max: 3, idle: 5m)
            then
            forget a/1: Idle
            forget a/2: Idle
            then
            nothing to do
        """,
    ),
    Story(
        situation="a request for one that can never fit moves nobody",
        fleet=STEADY + model("huge", 40, ONCE + "\npriority: 900"),
        on=lambda: up(STEADY, 1, steady=0),
        demand={"huge": Wish(waiting=1, since=NOW - 60)},
        passes="blocked huge/0: NoFreeGpu (needs one gpu with 40.0 GiB free; gpu 0: 24.0 GiB in all)",
    ),
]


@pytest.mark.parametrize("story", STORIES, ids=[story.situation for story in STORIES])
def test_story(story: Story) -> None:
    assert story.told() == story.expected
