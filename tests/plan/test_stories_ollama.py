"""Stories of Ollama: who has started has not loaded yet, and whom somebody else unloads is loaded again."""

import pytest

from reconciler.model.memory import Failure, Memory, Override
from reconciler.model.observation import Asleep, Observation, Phase, Running, Unknown
from reconciler.model.plan import Wake
from reconciler.model.status import Reason
from tests.plan.stories import Story, become, cards, model, placed
from tests.plan.world import NOW, decide, fleet, instance, machine, text

A = model("a", 20, engine="ollama")
AB = A + model("b", 20, "priority: 200", engine="ollama")
CPU = model("a", 4, "gpus: 0", engine="ollama")


def unloaded() -> Phase:
    """It runs, and answers that nothing is loaded."""
    return Running(pid=1, since=NOW - 1, readiness=Asleep(since=NOW - 1))


def started() -> Observation:
    """A machine with one card, on which `a` has just started."""
    return become(placed(AB, cards(1, 24), a=0)(), "a/0", unloaded())


REFUSED = Failure(at=NOW - 1, count=1, reason=Reason.WakeFailed, detail="ollama said 500 no", digest="", action="wake")

STORIES = [
    Story(
        situation="one that has started has its model loaded, though it is to stop and not to sleep when it idles",
        fleet=A,
        on=started,
        passes="""
            wake a/0 on gpu 0: Asleep
            then
            nothing to do
        """,
    ),
    Story(
        situation="one without GPUs has its model loaded as well",
        fleet=CPU,
        on=lambda: machine(instance(fleet(CPU), "a/0", unloaded())),
        passes="""
            wake a/0: Asleep
            then
            nothing to do
        """,
    ),
    Story(
        situation="one whose model cannot be loaded is started anew, after a while",
        fleet=A,
        on=started,
        memory=Memory(failures={"a/0": REFUSED}),
        passes="""
            stop a/0: WakeFailed (ollama said 500 no)
            then
            blocked a/0: BackingOff (was stopped: WakeFailed; the first time)
            then
            start a/0 on gpu 0 port 9000: WakeFailed (was stopped: WakeFailed)
            then
            nothing to do
        """,
    ),
    Story(
        situation="where another that ranks higher is to have the place, it waits with nothing loaded",
        fleet=AB,
        on=started,
        passes="""
            start b/0 on gpu 0 port 9001: NotRunning
            blocked a/0: NoFreeGpu (needs one gpu with 20.0 GiB free; gpu 0: 4.0 GiB of 24.0 GiB free beside b/0; it sleeps until then)
        """,  # noqa: E501
    ),
]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.situation)
def test_story(story: Story) -> None:
    assert story.told() == story.expected


def loading(on: Observation, **more: object) -> Memory:
    """While its model is loaded."""
    assert not isinstance(on.instances, Unknown)
    launch = on.instances["a/0"].launch
    assert launch.sleeper is not None
    wake = Wake(slot="a/0", requests=launch.sleeper.wake, launch=launch, reason=Reason.Asleep)
    return Memory(in_flight={"a/0": wake}, **more)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("of", "more", "says"),
    [
        (A, {}, "nothing to do"),
        ("", {}, "stop a/0: NotInFleet"),
        (A, {"overrides": {"a": Override(stopped=True)}}, "stop a/0: StopAsked"),
        (A, {"restarts": {"a/0": 1}}, "stop a/0: RestartAsked"),
        (A.replace("ollama:a", "ollama:a:8b"), {}, "stop a/0: SpecChanged (source ollama:a → ollama:a:8b)"),
        (model("a", 20, "labels: {x: y}", engine="ollama"), {}, "nothing to do"),
        (model("a", 20, "replicas: {min: 0, max: 1, idle: 5m}", engine="ollama"), {}, "nothing to do"),
    ],
    ids=["nothing else", "its file is gone", "stop", "restart", "an edit", "a label", "it is not needed any more"],
)
def test_while_a_model_is_loaded_only_an_end_does_not_wait_for_that(
    of: str, more: dict[str, object], says: str
) -> None:
    on = started()
    assert text(decide(fleet(of), on, memory=loading(on, **more))) == says
