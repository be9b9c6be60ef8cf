"""Stories of placement, as an operator would try them: the fleet, the machine, and every pass."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from reconciler.model.observation import Exited, Holder, Observation, Unknown, healthy_of
from tests.plan.stories import Story, after, bare, cards, lost, model, models, placed, ran
from tests.plan.world import GIB, NOW, gpu, machine

OLD = model("old", 20, "gpus: {ids: ['0']}")
FIRST = model("first", 20, "gpus: {ids: ['0']}")
PINNED = model("a", 4, "gpus: {ids: ['0']}") + model("b", 4, "gpus: {ids: ['1']}")
NODE = "kind: Node\nname: box1\nlabels: {rack: r1}"
STRANGER = gpu(0, 24, used=12, holders=(Holder(pid=4242, name="python", memory=12 * GIB),))
PAIRS = {index: (index ^ 1,) for index in range(8)}
QUADS = {index: tuple({*range(index // 4 * 4, index // 4 * 4 + 4)} - {index}) for index in range(8)}


def crowded() -> Observation:
    """A model runs on a card on which a stranger now takes all the rest."""
    on = ran(model("chat", 20), 2)()
    assert not isinstance(on.gpus, Unknown)
    first, *others = on.gpus
    holders = (*first.holders, Holder(pid=7, name="python", memory=4 * GIB))
    return replace(on, gpus=(replace(first, used=24 * GIB, holders=holders), *others))


def linked(links: dict[int, tuple[int, ...]]) -> Callable[[], Observation]:
    """Eight cards, of which a model has the first."""
    return lambda: after(FIRST, machine(gpus=cards(8, links=links)))


def died(on: Observation, slot: str) -> Observation:
    """The same after one of ours has ended by itself."""
    assert not isinstance(on.instances, Unknown)
    ended = replace(on.instances[slot], phase=Exited(at=NOW, code=1, ready_for=800.0))
    instances = {**on.instances, slot: ended}
    return replace(on, instances=instances, healthy=healthy_of(instances))


STORIES = [
    Story(
        situation="two models share one card, each by its memory",
        fleet=models("chat embed", 10),
        on=bare(1),
        passes="""
            start chat/0 on gpu 0 port 9000: NotRunning
            start embed/0 on gpu 0 port 9001: NotRunning
            then
            nothing to do
        """,
    ),
    Story(
        situation="two models of which only one fits on the card: the first by name is placed, the other is told why",
        fleet=models("chat embed", 14),
        on=bare(1),
        passes="""
            start chat/0 on gpu 0 port 9000: NotRunning
            blocked embed/0: NoFreeGpu (needs one gpu with 14.0 GiB free; gpu 0: 10.0 GiB of 24.0 GiB free beside \
chat/0)
        """,
    ),
    Story(
        situation="one too big for any card: every card is explained, each in its own words",
        fleet=model("huge", 40, "gpus: {memory: 20GiB}") + model("small", 20),
        on=lambda: machine(
            gpus=(
                gpu(0, 16),
                gpu(1, 24),
                gpu(2, 48, used=30, holders=(Holder(pid=4242, name="python", memory=30 * GIB),)),
                gpu(3, 48, used=16),
            )
        ),
        passes="""
            start small/0 on gpu 1 port 9000: NotRunning
            blocked huge/0: NoFreeGpu (needs one gpu with 40.0 GiB free; gpu 0: 16.0 GiB in all; gpu 1: 24.0 GiB \
in all; gpu 2: 18.0 GiB of 48.0 GiB free; 30.0 GiB held by pid 4242 python, not ours; gpu 3: 32.0 GiB of 48.0 GiB \
free; 16.0 GiB held by others)
        """,
    ),
    Story(
        situation="what can never fit keeps nobody else from a card",
        fleet=model("huge", 100, "priority: 900") + model("small", 4),
        on=bare(1),
        passes="""
            start small/0 on gpu 0 port 9000: NotRunning
            blocked huge/0: NoFreeGpu (needs one gpu with 100.0 GiB free; gpu 0: 24.0 GiB in all)
        """,
    ),
    Story(
        situation="pinned by index and by UUID",
        fleet=model("first", 4, "gpus: {ids: ['3']}") + model("second", 4, "gpus: {ids: [GPU-1]}"),
        on=bare(4),
        passes="""
            start first/0 on gpu 3 port 9000: NotRunning
            start second/0 on gpu 1 port 9001: NotRunning
            then
            nothing to do
        """,
    ),
    Story(
        situation="pinned to a card that is full: it waits though others are empty, and says so",
        fleet=OLD + model("pinned", 10, "gpus: {ids: ['0']}"),
        on=ran(OLD, 3),
        passes="""
            blocked pinned/0: NoFreeGpu (needs one gpu with 10.0 GiB free; gpu 0: 4.0 GiB of 24.0 GiB free beside \
old/0; gpu 1,2: not one of gpus.ids)
        """,
    ),
    Story(
        situation="one that is free to go elsewhere makes room for one that is pinned there and has a higher priority",
        fleet=model("free", 20) + model("pinned", 20, "gpus: {ids: ['0']}\npriority: 200"),
        on=ran(model("free", 20), 2),
        passes="""
            stop free/0: Moved (to gpu 1, for pinned/0)
            blocked pinned/0: Waiting (waits for memory to be given back: gpu 0: 4.0 GiB of 24.0 GiB free beside \
free/0)
            then
            start pinned/0 on gpu 0 port 9001: NotRunning
            start free/0 on gpu 1 port 9000: Moved
            then
            nothing to do
        """,
    ),
    Story(
        situation="of equals the one that is free to go elsewhere goes where it is in nobody's way",
        fleet=model("free", 20) + model("pinned", 20, "gpus: {ids: ['0']}"),
        on=bare(2),
        passes="""
            start free/0 on gpu 1 port 9000: NotRunning
            start pinned/0 on gpu 0 port 9001: NotRunning
            then
            nothing to do
        """,
    ),
    Story(
        situation="pinned by the model of the card",
        fleet=model("fast", 20, "gpus: {model: H200}") + model("any", 10),
        on=lambda: machine(gpus=(gpu(0, 24, model="L4"), gpu(1, 141, model="H200"))),
        passes="""
            start any/0 on gpu 0 port 9000: NotRunning
            start fast/0 on gpu 1 port 9001: NotRunning
            then
            nothing to do
        """,
    ),
    Story(
        situation="pinned to a model of card that this machine does not have",
        fleet=model("fast", 20, "gpus: {model: H200}"),
        on=bare(2),
        passes="blocked fast/0: NoFreeGpu (needs one gpu with 20.0 GiB free; gpu 0,1: NVIDIA H100, not H200)",
    ),
    Story(
        situation="pinned by a label that this machine carries, and by one that it does not",
        fleet=model("here", 4, "nodes: {rack: r1}") + model("there", 4, "nodes: {rack: r2}") + NODE,
        on=bare(1),
        passes="""
            start here/0 on gpu 0 port 9000: NotRunning
            blocked there/0: NoNode (needs a machine labelled rack: r2; label this Node, or edit nodes)
        """,
    ),
    Story(
        situation="a stranger on the card is left alone, and named with its pid",
        fleet=model("chat", 20),
        on=lambda: machine(gpus=(STRANGER,)),
        passes="""
            blocked chat/0: NoFreeGpu (needs one gpu with 20.0 GiB free; gpu 0: 12.0 GiB of 24.0 GiB free; 12.0 \
GiB held by pid 4242 python, not ours)
        """,
    ),
    Story(
        situation="with a stranger on one card the other is taken",
        fleet=model("chat", 20),
        on=lambda: machine(gpus=(STRANGER, gpu(1, 24))),
        passes="""
            start chat/0 on gpu 1 port 9000: NotRunning
            then
            nothing to do
        """,
    ),
    Story(
        situation="what is left beside a stranger is used where it is enough",
        fleet=model("chat", 20) + model("embed", 10),
        on=lambda: machine(gpus=(STRANGER, gpu(1, 24))),
        passes="""
            start chat/0 on gpu 1 port 9000: NotRunning
            start embed/0 on gpu 0 port 9001: NotRunning
            then
            nothing to do
        """,
    ),
    Story(
        situation="memory of which nobody is told whose it is counts as held by others",
        fleet=model("chat", 20),
        on=lambda: machine(gpus=(gpu(0, 24, used=12),)),
        passes="""
            blocked chat/0: NoFreeGpu (needs one gpu with 20.0 GiB free; gpu 0: 12.0 GiB of 24.0 GiB free; 12.0 \
GiB held by others)
        """,
    ),
    Story(
        situation="a stranger comes where a model runs: what runs is not moved for it",
        fleet=model("chat", 20),
        on=crowded,
        passes="nothing to do",
    ),
    Story(
        situation="a card is lost while a model runs on it: it died there, and starts on another",
        fleet=model("chat", 20),
        on=lambda: lost(ran(model("chat", 20), 2)(), ended=True),
        passes="""
            start chat/0 on gpu 1 port 9000: Exited (exited with status 1 (CUDA error: device lost))
            then
            nothing to do
        """,
    ),
    Story(
        situation="a card cannot be seen any more and its model still answers: it is let be",
        fleet=model("chat", 20),
        on=lambda: lost(ran(model("chat", 20), 2)(), ended=False),
        passes="nothing to do",
    ),
    Story(
        situation="a card is lost and no other has room: what is left is told of",
        fleet=models("chat embed", 20),
        on=lambda: lost(ran(models("chat embed", 20), 2)(), ended=True),
        passes="""
            blocked chat/0: NoFreeGpu (needs one gpu with 20.0 GiB free; gpu 1: 4.0 GiB of 24.0 GiB free beside \
embed/0)
        """,
    ),
    Story(
        situation="a card is lost under one of higher priority: it takes the place of a lower one",
        fleet=model("chat", 20, "priority: 200") + model("embed", 20),
        on=lambda: lost(ran(model("chat", 20, "priority: 200") + model("embed", 20), 2)(), ended=True),
        passes="""
            stop embed/0: Preempted (for chat/0)
            blocked chat/0: Waiting (waits for memory to be given back: gpu 1: 4.0 GiB of 24.0 GiB free beside \
embed/0)
            then
            start chat/0 on gpu 1 port 9000: Exited (exited with status 1 (CUDA error: device lost))
            blocked embed/0: NoFreeGpu (needs one gpu with 20.0 GiB free; gpu 1: 4.0 GiB of 24.0 GiB free beside \
chat/0)
        """,
    ),
    Story(
        situation="gpus that cannot be seen: what runs goes on, what is new waits",
        fleet=models("chat embed", 20),
        on=lambda: replace(ran(model("chat", 20), 2)(), gpus=Unknown(reason="NVML has not answered for 7 s")),
        passes="""
            blocked embed/0: Unknown (cannot place on gpus that cannot be seen: NVML has not answered for 7 s)
        """,
    ),
    Story(
        situation="a gang of 2 takes two cards that are linked, and not the first two that are free",
        fleet=FIRST + model("pair", 20, "gpus: 2"),
        on=linked(PAIRS),
        passes="""
            start pair/0 on gpu 2,3 port 9001: NotRunning
            then
            nothing to do
        """,
    ),
    Story(
        situation="a gang of 4 takes the four cards that are linked with each other",
        fleet=FIRST + model("four", 22, "gpus: 4"),
        on=linked(QUADS),
        passes="""
            start four/0 on gpu 4,5,6,7 port 9001: NotRunning
            then
            nothing to do
        """,
    ),
    Story(
        situation="two gangs and what is single share out the links of 8 cards",
        fleet=model("one", 20) + model("two", 20, "gpus: 2") + model("four", 20, "gpus: 4"),
        on=lambda: machine(gpus=cards(8, links=QUADS)),
        passes="""
            start four/0 on gpu 0,1,2,3 port 9000: NotRunning
            start one/0 on gpu 6 port 9001: NotRunning
            start two/0 on gpu 4,5 port 9002: NotRunning
            then
            nothing to do
        """,
    ),
    Story(
        situation="a gang of 4 for which only three cards are free is told of each, and holds none of them meanwhile",
        fleet=FIRST + model("four", 20, "gpus: 4") + model("late", 10),
        on=ran(FIRST, 4),
        passes="""
            start late/0 on gpu 1 port 9001: NotRunning
            blocked four/0: NoFreeGpu (needs 4 gpus with 20.0 GiB free; gpu 0: 4.0 GiB of 24.0 GiB free beside \
first/0; gpu 1: 14.0 GiB of 24.0 GiB free beside late/0; the other 2 fit)
        """,
    ),
    Story(
        situation="one that takes its card whole, and two that share",
        fleet=model("whole", None) + models("a b", 8),
        on=bare(2),
        passes="""
            start a/0 on gpu 1 port 9000: NotRunning
            start b/0 on gpu 1 port 9001: NotRunning
            start whole/0 on gpu 0 port 9002: NotRunning
            then
            nothing to do
        """,
    ),
    Story(
        situation="one that does not share its card has it to itself though it needs little",
        fleet=model("alone", 4, "gpus: {share: false}") + models("a b", 8),
        on=bare(2),
        passes="""
            start a/0 on gpu 1 port 9000: NotRunning
            start alone/0 on gpu 0 port 9001: NotRunning
            start b/0 on gpu 1 port 9002: NotRunning
            then
            nothing to do
        """,
    ),
    Story(
        situation="a whole card is not to be had where something small is on each",
        fleet=model("whole", None) + PINNED,
        on=ran(PINNED, 2),
        passes="""
            blocked whole/0: NoFreeGpu (needs one gpu to itself (as its memory is not known: declare it \
to share); gpu 0: shared by a/0; gpu 1: shared by b/0)
        """,
    ),
    Story(
        situation="nobody moves for an unrelated model",
        fleet=models("a b c", 8) + model("new", 8),
        on=ran(models("a b c", 8), 4),
        passes="""
            start new/0 on gpu 1 port 9003: NotRunning
            then
            nothing to do
        """,
    ),
    Story(
        situation="nobody moves to tidy up: two that are alone on their cards stay there",
        fleet=models("a b", 8),
        on=placed(models("a b", 8), cards(3), a=0, b=2),
        passes="nothing to do",
    ),
    Story(
        situation="a model that ended is started where it was, though another card is fuller",
        fleet=models("a b", 8),
        on=lambda: died(placed(models("a b", 8), cards(2), a=0, b=1)(), "a/0"),
        passes="""
            start a/0 on gpu 0 port 9000: Exited (exited with status 1)
            then
            nothing to do
        """,
    ),
]


@pytest.mark.parametrize("story", STORIES, ids=[story.situation for story in STORIES])
def test_story(story: Story) -> None:
    assert story.told() == story.expected
