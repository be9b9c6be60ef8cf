"""Stories of models that sleep while nobody needs them: who falls asleep, who wakes where, and who ends after all."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from reconciler.model.memory import Failure, Memory, Override
from reconciler.model.observation import Asleep, Holder, Observation, Phase, Readiness, Ready, Running, Unknown, Wish
from reconciler.model.plan import Request, Sleep, Wake
from reconciler.model.status import Reason
from tests.plan.stories import Story, become, cards, model, placed
from tests.plan.world import GIB, NOW, decide, fleet, instance, machine, text

ONCE = "replicas: {min: 0, max: 1, idle: 5m}\nidle_action: sleep"
STOPS = "replicas: {min: 0, max: 1, idle: 5m}"


def vllm(names: str, memory: float = 20, more: str = ONCE) -> str:
    return "".join(model(name, memory, more, engine="vllm") for name in names.split())


A, AB, ABC = vllm("a"), vllm("a b"), vllm("a b c")


def phase(readiness: Readiness) -> Phase:
    return Running(pid=1, since=NOW - 900, readiness=readiness, was_ready=True)


def so(of: str, readiness: Mapping[str, Readiness], count: int = 1, memory: float = 24, **at: int) -> Observation:
    """A machine on which these were placed so, and answer so; the others have long been ready."""
    on = placed(of, cards(count, memory), **at)()
    for name in at:
        on = become(on, f"{name}/0", phase(readiness.get(name, Ready(since=NOW - 880))))
    return on


ASLEEP = Asleep(since=NOW - 100)
UNKNOWN = Unknown(reason="no answer in 3s")
REQUEST = Request(path="/x", body={}, within=1.0)
LONG = Memory(lulls={"a/0": NOW - 301})


def sleeping(*names: str) -> dict[str, Readiness]:
    return dict.fromkeys(names, ASLEEP)


def failed(action: str, reason: Reason) -> Memory:
    failure = Failure(at=NOW - 1, count=1, reason=reason, detail="no answer in 2m", digest="", action=action)
    return replace(LONG, failures={"a/0": failure})


STORIES = [
    Story(
        situation="one that nobody has needed for as long as `idle` says is put to sleep",
        fleet=A,
        on=lambda: so(A, {}, a=0),
        memory=LONG,
        passes="""
            sleep a/0: Idle
            then
            nothing to do
        """,
    ),
    Story(
        situation="with `idle_action: stop` it ends, though it was started so that it could sleep",
        fleet=vllm("a", more=STOPS),
        on=lambda: so(A, {}, a=0),
        memory=LONG,
        passes="""
            stop a/0: Idle
            then
            forget a/0: Idle
            then
            nothing to do
        """,
    ),
    Story(
        situation="one that was started without being able to sleep ends, though it might sleep by now",
        fleet=A,
        on=lambda: so(vllm("a", more=STOPS), {}, a=0),
        memory=LONG,
        passes="""
            stop a/0: Idle
            then
            forget a/0: Idle
            then
            nothing to do
        """,
    ),
    Story(
        situation="it is drained first where a gateway tells of requests",
        fleet=AB,
        on=lambda: so(AB, {}, count=2, a=0, b=1),
        demand={"b": Wish(in_flight={"b/0": 1})},
        memory=LONG,
        passes="""
            drain a/0: Idle
            then
            sleep a/0: Idle
            then
            nothing to do
        """,
    ),
    Story(
        situation="a request for one that sleeps wakes it",
        fleet=A,
        on=lambda: so(A, sleeping("a"), a=0),
        demand={"a": Wish(waiting=1, since=NOW)},
        passes="""
            wake a/0 on gpu 0: Asleep
            then
            nothing to do
        """,
    ),
    Story(
        situation="an idle one sleeps for another that is asked for, which starts beside what it still holds",
        fleet=AB,
        on=lambda: so(AB, {}, a=0),
        demand={"b": Wish(waiting=1, since=NOW)},
        passes="""
            drain a/0: Preempted (for b/0)
            blocked b/0: Waiting (waits for memory to be given back: gpu 0: 4.0 GiB of 24.0 GiB free beside a/0)
            then
            sleep a/0: Preempted (for b/0)
            then
            start b/0 on gpu 0 port 9001: NotRunning
            then
            nothing to do
        """,
    ),
    Story(
        situation="two that share a card by turns: the idle one falls asleep, then the other wakes",
        fleet=AB,
        on=lambda: so(AB, sleeping("b"), a=0, b=0),
        demand={"b": Wish(waiting=1, since=NOW)},
        passes="""
            drain a/0: Preempted (for b/0)
            blocked b/0: Waiting (waits for memory to be given back: gpu 0: 4.0 GiB of 24.0 GiB free beside a/0; it sleeps until then)
            then
            sleep a/0: Preempted (for b/0)
            then
            wake b/0 on gpu 0: Asleep
            then
            nothing to do
        """,  # noqa: E501
    ),
    Story(
        situation="an idle one ends where even what it would hold asleep is in the way",
        fleet=A + vllm("b", 23),
        on=lambda: so(A, {}, a=0),
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
        situation="one that sleeps ends where what it holds is in the way",
        fleet=A + vllm("b", 23),
        on=lambda: so(A, sleeping("a"), a=0),
        demand={"b": Wish(waiting=1, since=NOW)},
        passes="""
            stop a/0: Preempted (for b/0)
            blocked b/0: Waiting (waits for memory to be given back: gpu 0: 22.0 GiB of 24.0 GiB free beside a/0)
            then
            forget a/0: Idle
            start b/0 on gpu 0 port 9001: NotRunning
            then
            nothing to do
        """,
    ),
    Story(
        situation="one that sleeps where there is no room to wake it starts elsewhere",
        fleet=A + vllm("b", more=""),
        on=lambda: so(A + vllm("b", more=""), sleeping("a"), count=2, a=0, b=0),
        demand={"a": Wish(waiting=1, since=NOW)},
        passes="""
            stop a/0: Moved (there is no room to wake it where it sleeps)
            then
            start a/0 on gpu 1 port 9000: Moved
            then
            nothing to do
        """,
    ),
    Story(
        situation="where there is room nowhere it goes on sleeping, and is told why",
        fleet=A + vllm("b", more=""),
        on=lambda: so(A + vllm("b", more=""), sleeping("a"), a=0, b=0),
        demand={"a": Wish(waiting=1, since=NOW)},
        passes=(
            "blocked a/0: NoFreeGpu (needs one gpu with 20.0 GiB free; gpu 0: 4.0 GiB of 24.0 GiB free beside b/0; "
            "it sleeps until then)"
        ),
    ),
    Story(
        situation="one in use does not sleep for an equal that has only begun to wait",
        fleet=AB,
        on=lambda: so(AB, sleeping("b"), a=0, b=0),
        demand={"a": Wish(in_flight={"a/0": 1}), "b": Wish(waiting=1, since=NOW)},
        passes="blocked b/0: Waiting (waits for its turn after a/0, which is in use; it sleeps until then)",
    ),
    Story(
        situation="what always runs sleeps too while it gives way to a higher priority, and is told for whom",
        fleet=vllm("low", more="priority: 1\nidle_action: sleep") + vllm("high", more="priority: 500"),
        on=lambda: so(vllm("low", more="priority: 1\nidle_action: sleep"), {}, low=0),
        passes="""
            sleep low/0: Preempted (for high/0)
            blocked high/0: Waiting (waits for memory to be given back: gpu 0: 4.0 GiB of 24.0 GiB free beside low/0)
            then
            start high/0 on gpu 0 port 9001: NotRunning
            blocked low/0: NoFreeGpu (needs one gpu with 20.0 GiB free; gpu 0: 4.0 GiB of 24.0 GiB free beside high/0; it sleeps until then)
        """,  # noqa: E501
    ),
    Story(
        situation="and wakes when that is gone",
        fleet=vllm("low", more="priority: 1\nidle_action: sleep"),
        on=lambda: so(
            vllm("low", more="priority: 1\nidle_action: sleep") + vllm("high"), sleeping("low"), low=0, high=0
        ),
        passes="""
            stop high/0: NotInFleet
            blocked low/0: Waiting (waits for memory to be given back: gpu 0: 4.0 GiB of 24.0 GiB free beside high/0; it sleeps until then)
            then
            wake low/0 on gpu 0: Asleep
            forget high/0: NotInFleet
            then
            nothing to do
        """,  # noqa: E501
    ),
    Story(
        situation="one that sleeps and is removed ends",
        fleet=vllm("b"),
        on=lambda: so(AB, sleeping("a"), a=0),
        passes="""
            stop a/0: NotInFleet
            then
            forget a/0: NotInFleet
            then
            nothing to do
        """,
    ),
    Story(
        situation="one that sleeps and was changed ends at once: it could not be needed any more as it is",
        fleet=vllm("a", more=f"{ONCE}\ncontext: 4096"),
        on=lambda: so(A, sleeping("a"), a=0),
        passes="""
            stop a/0: SpecChanged (context default → 4096)
            then
            forget a/0: Idle
            then
            nothing to do
        """,
    ),
    Story(
        situation="a change that is live leaves it asleep, and is taken over once it is awake",
        fleet=vllm("a", more=f"{ONCE}\naliases: [x]"),
        on=lambda: so(A, sleeping("a"), a=0),
        demand={"a": Wish(waiting=1, since=NOW)},
        passes="""
            wake a/0 on gpu 0: Asleep
            then
            update a/0: SpecChanged (aliases default → x)
            then
            nothing to do
        """,
    ),
    Story(
        situation="one that sleeps ends when it is stopped by command",
        fleet=A,
        on=lambda: so(A, sleeping("a"), a=0),
        memory=Memory(overrides={"a": Override(stopped=True)}),
        passes="""
            stop a/0: StopAsked
            then
            forget a/0: StopAsked
            then
            nothing to do
        """,
    ),
    Story(
        situation="a replica beyond a lowered `max` ends: it could not be needed again",
        fleet=vllm("a", 10, "replicas: {min: 1, max: 1}\nidle_action: sleep"),
        on=lambda: two(Ready(since=NOW - 880), Ready(since=NOW - 880)),
        passes="""
            stop a/1: ScaledDown
            update a/0: SpecChanged (replicas.max 2 → 1)
            then
            forget a/1: ScaledDown
            then
            nothing to do
        """,
    ),
    Story(
        situation="so does one that sleeps already",
        fleet=vllm("a", 10, "replicas: {min: 1, max: 1}\nidle_action: sleep"),
        on=lambda: two(Ready(since=NOW - 880), ASLEEP),
        passes="""
            stop a/1: ScaledDown
            update a/0: SpecChanged (replicas.max 2 → 1)
            then
            forget a/1: ScaledDown
            then
            nothing to do
        """,
    ),
    Story(
        situation="`holdfast scale` to none ends it rather than letting it sleep",
        fleet=A,
        on=lambda: so(A, {}, a=0),
        memory=Memory(overrides={"a": Override(replicas=0, declared=(0, 1))}),
        passes="""
            stop a/0: Idle
            then
            forget a/0: Idle
            then
            nothing to do
        """,
    ),
    Story(
        situation="`holdfast scale` to one wakes it",
        fleet=A,
        on=lambda: so(A, sleeping("a"), a=0),
        memory=Memory(overrides={"a": Override(replicas=1, declared=(0, 1))}),
        passes="""
            wake a/0 on gpu 0: Asleep
            then
            nothing to do
        """,
    ),
    Story(
        situation="`holdfast restart` of one that sleeps ends it",
        fleet=A,
        on=lambda: so(A, sleeping("a"), a=0),
        memory=Memory(restarts={"a/0": 1}),
        passes="""
            stop a/0: RestartAsked
            then
            forget a/0: Idle
            then
            nothing to do
        """,
    ),
    Story(
        situation="a paused one sleeps on, whoever asks for it",
        fleet=vllm("a", more=f"{ONCE}\npaused: true"),
        on=lambda: so(A, sleeping("a"), a=0),
        demand={"a": Wish(waiting=1, since=NOW)},
        passes="blocked a: Paused (paused: nothing is done to it; to go on, remove `paused: true` at fleet.d/a.yaml:4)",
    ),
    Story(
        situation="one that did not fall asleep ends, and what went wrong is told",
        fleet=A,
        on=lambda: so(A, {}, a=0),
        memory=failed("sleep", Reason.SleepFailed),
        passes="""
            stop a/0: Idle (did not fall asleep: no answer in 2m)
            then
            forget a/0: Idle
            then
            nothing to do
        """,
    ),
    Story(
        situation="one that did not wake is started anew",
        fleet=A,
        on=lambda: so(A, sleeping("a"), a=0),
        demand={"a": Wish(waiting=1, since=NOW)},
        memory=failed("wake", Reason.WakeFailed),
        passes="""
            stop a/0: WakeFailed (no answer in 2m)
            then
            blocked a/0: BackingOff (was stopped: WakeFailed; the first time)
            then
            start a/0 on gpu 0 port 9000: WakeFailed (was stopped: WakeFailed)
            then
            nothing to do
        """,
    ),
    Story(
        situation="nothing is done to one of which it cannot be told whether it sleeps, and its memory is its own",
        fleet=AB,
        on=lambda: so(AB, {"a": UNKNOWN}, a=0),
        demand={"b": Wish(waiting=1, since=NOW)},
        memory=LONG,
        passes=("blocked b/0: Waiting (waits for its turn after a/0, which is first)"),
    ),
    Story(
        situation="but it ends when it is removed: that is the same for both",
        fleet=vllm("b"),
        on=lambda: so(AB, {"a": UNKNOWN}, a=0),
        passes="""
            stop a/0: NotInFleet
            then
            forget a/0: NotInFleet
            then
            nothing to do
        """,
    ),
    Story(
        situation="a roll-out does not count one that sleeps as serving: it is replaced first, and serves meanwhile",
        fleet=vllm("a", 10, "replicas: {min: 1, max: 2}\nidle_action: sleep\ncontext: 4096"),
        on=lambda: two(Ready(since=NOW - 880), ASLEEP),
        passes="""
            stop a/1: SpecChanged (context default → 4096)
            blocked a/0: Waiting (waits for a/1 to serve, then is replaced (context default → 4096))
            then
            start a/1 on gpu 0 port 9001: SpecChanged
            then
            stop a/0: SpecChanged (context default → 4096)
            then
            start a/0 on gpu 0 port 9000: SpecChanged
            then
            nothing to do
        """,
    ),
]


def two(first: Readiness, second: Readiness) -> Observation:
    """Two replicas of a model on one card."""
    of = fleet(vllm("a", 10, "replicas: {min: 1, max: 2}\nidle_action: sleep"))
    gpus = cards(1)
    made = (
        instance(of, f"a/{index}", phase(one), port=9000 + index, gpus=gpus)
        for index, one in enumerate((first, second))
    )
    return machine(*made, gpus=gpus)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.situation)
def test_story(story: Story) -> None:
    assert story.told() == story.expected


def wakes(on: Observation, memory: Memory | None = None) -> str:
    of = fleet(AB)
    return text(decide(of, on, memory=memory, demand={"b": Wish(waiting=1, since=NOW)}))


def holding(on: Observation, gib: float) -> Observation:
    """The same, where the driver says how much `a` holds."""
    assert not isinstance(on.gpus, Unknown)
    (gpu,) = on.gpus
    holder = Holder(pid=1, name="VLLM", memory=int(gib * GIB), slot="a/0")
    return replace(on, gpus=(replace(gpu, used=holder.memory, holders=(holder,)),))


def test_what_one_holds_that_sleeps_is_what_the_driver_says() -> None:
    """It may be more than is known of its engine: another waits then, or starts beside less."""
    of, asked = fleet(A + vllm("b", 22.5)), {"b": Wish(waiting=1, since=NOW)}
    on = so(A, sleeping("a"), a=0)
    assert "start b/0" in text(decide(of, holding(on, 1.4), demand=asked))
    assert "stop a/0: Preempted (for b/0)" in text(decide(of, holding(on, 1.6), demand=asked))


def test_memory_that_the_driver_still_tells_of_is_not_given_away() -> None:
    """One has just fallen asleep, and the driver was asked before that."""
    on = holding(so(AB, {"a": Asleep(since=NOW)}, a=0), 20)
    decided = text(decide(fleet(AB), on, demand={"b": Wish(waiting=1, since=NOW)}))
    assert decided.startswith("blocked b/0: Waiting (waits for memory to be given back")


def test_one_that_is_being_woken_has_its_memory_already() -> None:
    """What is promised counts as taken: nobody starts in it, and it is not asked again."""
    on = so(AB, sleeping("a"), a=0)
    launch = instance(fleet(AB), "a/0", gpus=cards(1)).launch
    waking = Memory(in_flight={"a/0": Wake(slot="a/0", requests=(REQUEST,), launch=launch, reason=Reason.Asleep)})
    asked = {"a": Wish(waiting=1, since=NOW), "b": Wish(waiting=1, since=NOW - 40)}
    decided = text(decide(fleet(AB), on, memory=waking, demand=asked))
    assert "start" not in decided
    assert "a/0" not in decided.partition("blocked b/0")[0]


def test_one_that_is_falling_asleep_has_its_memory_still() -> None:
    on = so(AB, {}, a=0)
    launch = instance(fleet(AB), "a/0", gpus=cards(1)).launch
    falling = Memory(in_flight={"a/0": Sleep(slot="a/0", requests=(REQUEST,), launch=launch, reason=Reason.Idle)})
    decided = text(decide(fleet(AB), on, memory=falling, demand={"b": Wish(waiting=1, since=NOW)}))
    assert decided.startswith("blocked b/0: Waiting (waits for memory to be given back")


def test_what_was_woken_stays_for_a_moment_and_not_for_as_long_as_it_had_run() -> None:
    """It had run for 15 minutes: waking it took none of that."""
    for since, says in ((1.0, "was just woken"), (3.0, "")):
        on = so(AB, {**sleeping("b"), "a": Ready(since=NOW - since, woken=True)}, a=0, b=0)
        found = wakes(on)
        assert (says in found) if says else found.startswith("drain a/0: Preempted (for b/0)")


def test_requests_that_do_not_end_in_time_are_cut_by_an_end_not_by_sleep() -> None:
    """Sleep under a request that runs may break the engine; other replicas' requests are not its own."""
    of = fleet(AB)
    on, asked = so(AB, {}, a=0), {"a": Wish(in_flight={"a/0": 1}), "b": Wish(waiting=1, since=NOW - 50)}
    drained = Memory(draining={"a/0": NOW - 121})
    assert text(decide(of, on, memory=drained, demand=asked)).startswith("stop a/0: Preempted (for b/0)")
    idle = Memory(draining={"a/0": NOW - 121})
    asked = {"b": Wish(waiting=1, since=NOW - 50)}
    assert text(decide(of, on, memory=idle, demand=asked)).startswith("sleep a/0: Preempted (for b/0)")


def test_nobody_sleeps_for_whose_weights_there_is_no_host_memory() -> None:
    """They would push out what runs. What is not known of them counts as what it takes of its GPUs; promises count."""
    of, memory = fleet(AB), replace(LONG, lulls={"a/0": NOW - 301, "b/0": NOW - 301})
    for free, says in (
        (60, "sleep a/0: Idle\nsleep b/0: Idle"),
        (40, "sleep a/0: Idle\nstop b/0: Idle"),
        (20, "stop a/0: Idle\nstop b/0: Idle"),
    ):
        on = so(AB, {}, count=2, a=0, b=1)
        host = replace(on.host, available=free * GIB)
        decided = text(decide(of, replace(on, host=host), memory=memory))
        assert decided == says, free


def test_one_that_idles_sleeps_in_what_it_held_itself() -> None:
    """What it is to give back is not in its own way."""
    tight = vllm("a b", 22)
    on = so(tight, sleeping("b"), a=0, b=0)
    assert text(decide(fleet(tight), on, memory=LONG)) == "sleep a/0: Idle"
