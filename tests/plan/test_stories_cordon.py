"""Stories of cards that nothing may run on: what was there moves by priority, and comes back when it can."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from reconciler.model.observation import Gpu, Observation, Unknown, Wish
from tests.plan.stories import Story, cards, model, models, placed, ran
from tests.plan.test_stories_sleep import A as SLEEPY
from tests.plan.test_stories_sleep import sleeping, so
from tests.plan.world import NOW, gpu, machine

WHY = "XID 79, it has fallen off the bus; restart the machine"


def cordoned(on: Callable[[], Observation], *indices: int) -> Callable[[], Observation]:
    """The same with these cards cordoned; whatever ran there seems to go on."""

    def build() -> Observation:
        seen = on()
        assert not isinstance(seen.gpus, Unknown)
        return replace(
            seen, gpus=tuple(replace(one, cordoned=WHY) if one.index in indices else one for one in seen.gpus)
        )

    return build


def part(index: int) -> Gpu:
    """A MIG instance of 24 GiB."""
    return replace(gpu(index, 24), uuid=f"MIG-{index}", part=True)


def amd(index: int) -> Gpu:
    """A card of the other maker."""
    return replace(gpu(index, 24), maker="amd", model="AMD Radeon")


STORIES = [
    Story(
        situation="a card is cordoned under a model that still answers: it is started on another",
        fleet=model("chat", 20),
        on=cordoned(ran(model("chat", 20), 2), 0),
        passes=f"""
            stop chat/0: GpuCordoned (gpu 0 is cordoned: {WHY})
            then
            start chat/0 on gpu 1 port 9000: GpuCordoned
            then
            nothing to do
        """,
    ),
    Story(
        situation="a card is cordoned under the higher priority: it takes the place of the lower one elsewhere",
        fleet=model("chat", 20, "priority: 200") + model("embed", 20),
        on=cordoned(ran(model("chat", 20, "priority: 200") + model("embed", 20), 2), 0),
        passes=f"""
            stop embed/0: Preempted (for chat/0)
            blocked chat/0: Waiting (waits for memory to be given back: gpu 1: 4.0 GiB of 24.0 GiB free beside \
embed/0; chat/0 goes on as it was (gpu 0 is cordoned: {WHY}))
            then
            stop chat/0: GpuCordoned (gpu 0 is cordoned: {WHY})
            blocked embed/0: NoFreeGpu (needs one gpu with 20.0 GiB free; gpu 1: 4.0 GiB of 24.0 GiB free beside \
chat/0; gpu 0: cordoned)
            then
            start chat/0 on gpu 1 port 9000: GpuCordoned
        """,
    ),
    Story(
        situation="a card is cordoned and nothing else has room: what still answers goes on, and is told of",
        fleet=models("chat embed", 20),
        on=cordoned(ran(models("chat embed", 20), 2), 0),
        passes=f"""
            blocked chat/0: NoFreeGpu (needs one gpu with 20.0 GiB free; gpu 1: 4.0 GiB of 24.0 GiB free beside \
embed/0; gpu 0: cordoned; chat/0 goes on as it was (gpu 0 is cordoned: {WHY}))
        """,
    ),
    Story(
        situation="nothing new is put on a card that is cordoned, however empty it is",
        fleet=models("chat embed", 20),
        on=cordoned(ran(model("chat", 20), 2), 1),
        passes="""
            blocked embed/0: NoFreeGpu (needs one gpu with 20.0 GiB free; gpu 0: 4.0 GiB of 24.0 GiB free beside \
chat/0; gpu 1: cordoned)
        """,
    ),
    Story(
        situation="every card is cordoned",
        fleet=model("chat", 20),
        on=cordoned(lambda: machine(gpus=cards(1)), 0),
        passes="""
            blocked chat/0: NoFreeGpu (needs one gpu; gpu 0: cordoned)
        """,
    ),
    Story(
        situation="one of the two cards of a gang is cordoned: the gang moves to two others",
        fleet=model("pair", 20, "gpus: 2"),
        on=cordoned(ran(model("pair", 20, "gpus: 2"), 4), 1),
        passes=f"""
            stop pair/0: GpuCordoned (gpu 1 is cordoned: {WHY})
            then
            start pair/0 on gpu 0,2 port 9000: GpuCordoned
            then
            nothing to do
        """,
    ),
    Story(
        situation="a card is taken back: what moved away from it stays where it is, what had no room comes",
        fleet=models("chat embed", 20),
        on=placed(model("chat", 20), cards(2), chat=1),
        passes="""
            start embed/0 on gpu 0 port 9001: NotRunning
            then
            nothing to do
        """,
    ),
    Story(
        situation="a paused model on a card that is cordoned is left as it is",
        fleet=model("chat", 20, "paused: true"),
        on=cordoned(ran(model("chat", 20), 2), 0),
        passes="""
            blocked chat: Paused (paused: nothing is done to it; to go on, remove `paused: true` at fleet.d/chat.yaml:4)
        """,
    ),
    Story(
        situation="a model sleeps on a card that is cordoned: it ends, as it could not be woken there",
        fleet=SLEEPY,
        on=cordoned(lambda: so(SLEEPY, sleeping("a"), count=2, a=0), 0),
        passes=f"""
            stop a/0: GpuCordoned (gpu 0 is cordoned: {WHY})
            then
            forget a/0: Idle
            then
            nothing to do
        """,
    ),
    Story(
        situation="a model that sleeps on a card that is cordoned is asked for: it is started elsewhere",
        fleet=SLEEPY,
        on=cordoned(lambda: so(SLEEPY, sleeping("a"), count=2, a=0), 0),
        demand={"a": Wish(waiting=1, since=NOW)},
        passes=f"""
            stop a/0: GpuCordoned (gpu 0 is cordoned: {WHY})
            then
            start a/0 on gpu 1 port 9000: GpuCordoned
            then
            nothing to do
        """,
    ),
    Story(
        situation="MIG instances are given out one by one, and never to a gang",
        fleet=model("one", 20) + model("two", 20, "gpus: 2"),
        on=lambda: machine(gpus=(part(100), part(101), part(102))),
        passes="""
            start one/0 on gpu 100 port 9000: NotRunning
            blocked two/0: NoFreeGpu (needs 2 gpus with 20.0 GiB free; gpu 100,101,102: a MIG instance, of which a \
process can use but one)
        """,
    ),
    Story(
        situation="a gang is of one maker's cards: of those of which there are more",
        fleet=model("pair", 20, "gpus: 2"),
        on=lambda: machine(gpus=(gpu(0, 24), amd(1), amd(2))),
        passes="""
            start pair/0 on gpu 1,2 port 9000: NotRunning
            then
            nothing to do
        """,
    ),
]


@pytest.mark.parametrize("story", STORIES, ids=[story.situation for story in STORIES])
def test_the_story_is_told(story: Story) -> None:
    assert story.told() == story.expected
