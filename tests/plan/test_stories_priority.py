"""Stories of priority and of giving way, as an operator would try them: the fleet, the machine, and every pass."""

import pytest

from reconciler.model.observation import Wish
from tests.plan.stories import Story, after, bare, cards, model, models, placed, ran
from tests.plan.world import gpu

EIGHT = models("a b c d e f g h", 20)
LARGE = model("large", 20, "gpus: 4\npriority: 500")
TWO = models("busy quiet", 20)
URGENT = model("urgent", 20, "priority: 500")
FIRM = model("firm", 20, "preemption: never")

STORIES = [
    Story(
        situation="four small ones and a large one of higher priority: all fit, and the small ones share",
        fleet=models("a b c d", 10) + LARGE,
        on=bare(8),
        passes="""
            start large/0 on gpu 0,1,2,3 port 9000: NotRunning
            start a/0 on gpu 4 port 9001: NotRunning
            start b/0 on gpu 4 port 9002: NotRunning
            start c/0 on gpu 5 port 9003: NotRunning
            start d/0 on gpu 5 port 9004: NotRunning
            then
            nothing to do
        """,
    ),
    Story(
        situation="a large one of higher priority arrives on 8 full cards: four are named that give way to it",
        fleet=EIGHT + LARGE,
        on=ran(EIGHT, 8),
        passes="""
            stop a/0: Preempted (for large/0)
            stop b/0: Preempted (for large/0)
            stop c/0: Preempted (for large/0)
            stop d/0: Preempted (for large/0)
            blocked large/0: Waiting (waits for memory to be given back: gpu 0: 4.0 GiB of 24.0 GiB free beside \
a/0; gpu 1: 4.0 GiB of 24.0 GiB free beside b/0; gpu 2: 4.0 GiB of 24.0 GiB free beside c/0; gpu 3: 4.0 GiB of \
24.0 GiB free beside d/0)
            then
            start large/0 on gpu 0,1,2,3 port 9008: NotRunning
            blocked a/0: NoFreeGpu (needs one gpu with 20.0 GiB free; gpu 0,1,2,3: 4.0 GiB of 24.0 GiB free beside \
large/0; gpu 4: 4.0 GiB of 24.0 GiB free beside e/0; gpu 5: 4.0 GiB of 24.0 GiB free beside f/0; gpu 6: 4.0 GiB of \
24.0 GiB free beside g/0; gpu 7: 4.0 GiB of 24.0 GiB free beside h/0)
            blocked b/0: NoFreeGpu (needs one gpu with 20.0 GiB free; gpu 0,1,2,3: 4.0 GiB of 24.0 GiB free beside \
large/0; gpu 4: 4.0 GiB of 24.0 GiB free beside e/0; gpu 5: 4.0 GiB of 24.0 GiB free beside f/0; gpu 6: 4.0 GiB of \
24.0 GiB free beside g/0; gpu 7: 4.0 GiB of 24.0 GiB free beside h/0)
            blocked c/0: NoFreeGpu (needs one gpu with 20.0 GiB free; gpu 0,1,2,3: 4.0 GiB of 24.0 GiB free beside \
large/0; gpu 4: 4.0 GiB of 24.0 GiB free beside e/0; gpu 5: 4.0 GiB of 24.0 GiB free beside f/0; gpu 6: 4.0 GiB of \
24.0 GiB free beside g/0; gpu 7: 4.0 GiB of 24.0 GiB free beside h/0)
            blocked d/0: NoFreeGpu (needs one gpu with 20.0 GiB free; gpu 0,1,2,3: 4.0 GiB of 24.0 GiB free beside \
large/0; gpu 4: 4.0 GiB of 24.0 GiB free beside e/0; gpu 5: 4.0 GiB of 24.0 GiB free beside f/0; gpu 6: 4.0 GiB of \
24.0 GiB free beside g/0; gpu 7: 4.0 GiB of 24.0 GiB free beside h/0)
        """,
    ),
    Story(
        situation="when the large one goes, those that gave way come back, and nobody else moves",
        fleet=EIGHT,
        on=lambda: after(EIGHT + LARGE, ran(EIGHT, 8)()),
        passes="""
            stop large/0: NotInFleet
            blocked a/0: Waiting (waits for memory to be given back: gpu 0: 4.0 GiB of 24.0 GiB free beside \
large/0)
            blocked b/0: Waiting (waits for memory to be given back: gpu 1: 4.0 GiB of 24.0 GiB free beside \
large/0)
            blocked c/0: Waiting (waits for memory to be given back: gpu 2: 4.0 GiB of 24.0 GiB free beside \
large/0)
            blocked d/0: Waiting (waits for memory to be given back: gpu 3: 4.0 GiB of 24.0 GiB free beside \
large/0)
            then
            start a/0 on gpu 0 port 9000: Preempted (there is room again)
            start b/0 on gpu 1 port 9001: Preempted (there is room again)
            start c/0 on gpu 2 port 9002: Preempted (there is room again)
            start d/0 on gpu 3 port 9003: Preempted (there is room again)
            forget large/0: NotInFleet
            then
            nothing to do
        """,
    ),
    Story(
        situation="when the large one is made small by its file, as many come back as there is room for",
        fleet=EIGHT + LARGE.replace("gpus: 4", "gpus: 2"),
        on=lambda: after(EIGHT + LARGE, ran(EIGHT, 8)()),
        passes="""
            stop large/0: SpecChanged (gpus 4 → 2)
            blocked a/0: Waiting (waits for memory to be given back: gpu 2: 4.0 GiB of 24.0 GiB free beside \
large/0)
            blocked b/0: Waiting (waits for memory to be given back: gpu 3: 4.0 GiB of 24.0 GiB free beside \
large/0)
            blocked c/0: NoFreeGpu (needs one gpu with 20.0 GiB free; gpu 0,1: 4.0 GiB of 24.0 GiB free beside \
large/0; gpu 2: 4.0 GiB of 24.0 GiB free beside a/0; gpu 3: 4.0 GiB of 24.0 GiB free beside b/0; gpu 4: 4.0 GiB of \
24.0 GiB free beside e/0; gpu 5: 4.0 GiB of 24.0 GiB free beside f/0; gpu 6: 4.0 GiB of 24.0 GiB free beside g/0; \
gpu 7: 4.0 GiB of 24.0 GiB free beside h/0)
            blocked d/0: NoFreeGpu (needs one gpu with 20.0 GiB free; gpu 0,1: 4.0 GiB of 24.0 GiB free beside \
large/0; gpu 2: 4.0 GiB of 24.0 GiB free beside a/0; gpu 3: 4.0 GiB of 24.0 GiB free beside b/0; gpu 4: 4.0 GiB of \
24.0 GiB free beside e/0; gpu 5: 4.0 GiB of 24.0 GiB free beside f/0; gpu 6: 4.0 GiB of 24.0 GiB free beside g/0; \
gpu 7: 4.0 GiB of 24.0 GiB free beside h/0)
            then
            start large/0 on gpu 0,1 port 9008: SpecChanged
            start a/0 on gpu 2 port 9000: Preempted (there is room again)
            start b/0 on gpu 3 port 9001: Preempted (there is room again)
        """,
    ),
    Story(
        situation="a large one arrives where the small ones can move together: they move, and keep their ports",
        fleet=models("a b c d", 10) + model("large", 20, "gpus: 6\npriority: 500"),
        on=placed(models("a b c d", 10), cards(8), a=0, b=2, c=4, d=6),
        passes="""
            stop a/0: Moved (to gpu 4, for large/0)
            stop b/0: Moved (to gpu 6, for large/0)
            blocked large/0: Waiting (waits for memory to be given back: gpu 0: 14.0 GiB of 24.0 GiB free beside \
a/0; gpu 2: 14.0 GiB of 24.0 GiB free beside b/0)
            then
            start large/0 on gpu 0,1,2,3,5,7 port 9004: NotRunning
            start a/0 on gpu 4 port 9000: Moved
            start b/0 on gpu 6 port 9001: Moved
            then
            nothing to do
        """,
    ),
    Story(
        situation="a model is moved, not ended, where that makes the room",
        fleet=model("small", 10) + model("large", 22, "priority: 300"),
        on=placed(model("small", 10), (gpu(0, 16), gpu(1, 24)), small=1),
        passes="""
            stop small/0: Moved (to gpu 0, for large/0)
            blocked large/0: Waiting (waits for memory to be given back: gpu 1: 14.0 GiB of 24.0 GiB free beside \
small/0)
            then
            start large/0 on gpu 1 port 9001: NotRunning
            start small/0 on gpu 0 port 9000: Moved
            then
            nothing to do
        """,
    ),
    Story(
        situation="the cheapest goes: of two equals the one that nobody uses",
        fleet=TWO + URGENT,
        on=ran(TWO, 2),
        demand={"busy": Wish(in_flight={"busy/0": 3})},
        passes="""
            drain quiet/0: Preempted (for urgent/0)
            blocked urgent/0: Waiting (waits for memory to be given back: gpu 1: 4.0 GiB of 24.0 GiB free beside \
quiet/0)
            then
            stop quiet/0: Preempted (for urgent/0)
            then
            start urgent/0 on gpu 1 port 9002: NotRunning
            blocked quiet/0: NoFreeGpu (needs one gpu with 20.0 GiB free; gpu 0: 4.0 GiB of 24.0 GiB free beside \
busy/0; gpu 1: 4.0 GiB of 24.0 GiB free beside urgent/0)
        """,
    ),
    Story(
        situation="the lowest goes: though it is busy, and the other would be cheaper",
        fleet=model("busy", 20, "priority: 50") + model("quiet", 20) + URGENT,
        on=ran(model("busy", 20, "priority: 50") + model("quiet", 20), 2),
        demand={"busy": Wish(in_flight={"busy/0": 3})},
        passes="""
            drain busy/0: Preempted (for urgent/0)
            blocked urgent/0: Waiting (waits for memory to be given back: gpu 1: 4.0 GiB of 24.0 GiB free beside \
busy/0)
            then
            stop busy/0: Preempted (for urgent/0)
            then
            start urgent/0 on gpu 1 port 9002: NotRunning
            blocked busy/0: NoFreeGpu (needs one gpu with 20.0 GiB free; gpu 0: 4.0 GiB of 24.0 GiB free beside \
quiet/0; gpu 1: 4.0 GiB of 24.0 GiB free beside urgent/0)
        """,
    ),
    Story(
        situation="one large enough goes rather than two small ones",
        fleet=model("one", 20) + models("two three", 10) + URGENT,
        on=placed(model("one", 20) + models("two three", 10), cards(2), two=0, three=0, one=1),
        passes="""
            stop one/0: Preempted (for urgent/0)
            blocked urgent/0: Waiting (waits for memory to be given back: gpu 1: 4.0 GiB of 24.0 GiB free beside \
one/0)
            then
            start urgent/0 on gpu 1 port 9003: NotRunning
            blocked one/0: NoFreeGpu (needs one gpu with 20.0 GiB free; gpu 0: 4.0 GiB of 24.0 GiB free beside \
three/0, two/0; gpu 1: 4.0 GiB of 24.0 GiB free beside urgent/0)
        """,
    ),
    Story(
        situation="who gives way is drained first where it has requests in flight",
        fleet=model("low", 20) + URGENT,
        on=ran(model("low", 20), 1),
        demand={"low": Wish(in_flight={"low/0": 2})},
        passes="""
            drain low/0: Preempted (for urgent/0)
            blocked urgent/0: Waiting (waits for memory to be given back: gpu 0: 4.0 GiB of 24.0 GiB free beside \
low/0)
            then
            stop low/0: Preempted (for urgent/0)
            then
            start urgent/0 on gpu 0 port 9001: NotRunning
            blocked low/0: NoFreeGpu (needs one gpu with 20.0 GiB free; gpu 0: 4.0 GiB of 24.0 GiB free beside \
urgent/0)
        """,
    ),
    Story(
        situation="an equal priority does not preempt: who runs stays",
        fleet=models("chat rival", 20),
        on=ran(model("rival", 20), 1),
        passes="""
            blocked chat/0: NoFreeGpu (needs one gpu with 20.0 GiB free; gpu 0: 4.0 GiB of 24.0 GiB free beside \
rival/0)
        """,
    ),
    Story(
        situation="preemption never: it takes from nobody though its priority is higher, and says so",
        fleet=model("low", 20) + model("polite", 20, "priority: 900\npreemption: never"),
        on=ran(model("low", 20), 1),
        passes="""
            blocked polite/0: NoFreeGpu (needs one gpu with 20.0 GiB free, and takes from nobody (preemption: \
never); gpu 0: 4.0 GiB of 24.0 GiB free beside low/0)
        """,
    ),
    Story(
        situation="preemption never: it yields to nobody, and who asks is told so",
        fleet=FIRM + URGENT,
        on=ran(FIRM, 1),
        passes="""
            blocked urgent/0: NoFreeGpu (needs one gpu with 20.0 GiB free; gpu 0: 4.0 GiB of 24.0 GiB free beside \
firm/0 (preemption: never))
        """,
    ),
    Story(
        situation="preemption never: of two that arrive together the higher priority is placed all the same",
        fleet=FIRM + URGENT,
        on=bare(1),
        passes="""
            start urgent/0 on gpu 0 port 9000: NotRunning
            blocked firm/0: NoFreeGpu (needs one gpu with 20.0 GiB free; gpu 0: 4.0 GiB of 24.0 GiB free beside \
urgent/0)
        """,
    ),
    Story(
        situation="a higher priority is never left out for many lower ones",
        fleet=models("a b c d", 6) + model("one", 22, "priority: 101"),
        on=bare(1),
        passes="""
            start one/0 on gpu 0 port 9000: NotRunning
            blocked a/0: NoFreeGpu (needs one gpu with 6.0 GiB free; gpu 0: 2.0 GiB of 24.0 GiB free beside one/0)
            blocked b/0: NoFreeGpu (needs one gpu with 6.0 GiB free; gpu 0: 2.0 GiB of 24.0 GiB free beside one/0)
            blocked c/0: NoFreeGpu (needs one gpu with 6.0 GiB free; gpu 0: 2.0 GiB of 24.0 GiB free beside one/0)
            blocked d/0: NoFreeGpu (needs one gpu with 6.0 GiB free; gpu 0: 2.0 GiB of 24.0 GiB free beside one/0)
        """,
    ),
    Story(
        situation="three priorities and two cards: the lowest is left out, whatever the order of names",
        fleet=model("a", 20, "priority: 1") + model("b", 20, "priority: 900") + model("c", 20, "priority: 500"),
        on=bare(2),
        passes="""
            start b/0 on gpu 0 port 9000: NotRunning
            start c/0 on gpu 1 port 9001: NotRunning
            blocked a/0: NoFreeGpu (needs one gpu with 20.0 GiB free; gpu 0: 4.0 GiB of 24.0 GiB free beside b/0; \
gpu 1: 4.0 GiB of 24.0 GiB free beside c/0)
        """,
    ),
    Story(
        situation="a priority raised in its file takes the place of a lower one at once",
        fleet=model("a", 20) + model("b", 20, "priority: 300"),
        on=ran(models("a b", 20), 1),
        passes="""
            stop a/0: Preempted (for b/0)
            blocked b/0: Waiting (waits for memory to be given back: gpu 0: 4.0 GiB of 24.0 GiB free beside a/0)
            then
            start b/0 on gpu 0 port 9001: NotRunning
            blocked a/0: NoFreeGpu (needs one gpu with 20.0 GiB free; gpu 0: 4.0 GiB of 24.0 GiB free beside b/0)
        """,
    ),
    Story(
        situation="a priority lowered in its file where there is room for all changes nothing that runs",
        fleet=model("a", 10, "priority: 1") + model("b", 10),
        on=ran(models("a b", 10), 1),
        passes="""
            update a/0: SpecChanged (priority default → 1)
            then
            nothing to do
        """,
    ),
    Story(
        situation="nobody gives way where it would help nobody",
        fleet=models("a b", 10) + model("huge", 30, "priority: 900"),
        on=ran(models("a b", 10), 1),
        passes="blocked huge/0: NoFreeGpu (needs one gpu with 30.0 GiB free; gpu 0: 24.0 GiB in all)",
    ),
    Story(
        situation="only as many give way as it takes",
        fleet=models("a b c", 7) + model("urgent", 9, "priority: 500"),
        on=ran(models("a b c", 7), 1),
        passes="""
            stop a/0: Preempted (for urgent/0)
            blocked urgent/0: Waiting (waits for memory to be given back: gpu 0: 3.0 GiB of 24.0 GiB free beside \
a/0, b/0, c/0)
            then
            start urgent/0 on gpu 0 port 9003: NotRunning
            blocked a/0: NoFreeGpu (needs one gpu with 7.0 GiB free; gpu 0: 1.0 GiB of 24.0 GiB free beside b/0, \
c/0, urgent/0)
        """,
    ),
    Story(
        situation="what is paused is not made to give way, and who asks is told who is there",
        fleet=model("low", 20, "paused: true") + URGENT,
        on=ran(model("low", 20), 1),
        passes="""
            blocked low: Paused (paused: nothing is done to it; to go on, remove `paused: true` at fleet.d/low.yaml:4)
            blocked urgent/0: NoFreeGpu (needs one gpu with 20.0 GiB free; gpu 0: 4.0 GiB of 24.0 GiB free beside \
low/0 (left as it is))
        """,
    ),
]


@pytest.mark.parametrize("story", STORIES, ids=[story.situation for story in STORIES])
def test_story(story: Story) -> None:
    assert story.told() == story.expected
