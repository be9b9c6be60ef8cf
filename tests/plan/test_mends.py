"""Where a planner is tempted to end something for nothing, to leave something out, or to wait for ever."""

from dataclasses import replace

from reconciler.model.memory import Memory
from reconciler.model.observation import (
    Exited,
    Failing,
    Gpu,
    Holder,
    Instance,
    NotReady,
    Observation,
    Phase,
    Recorded,
    Running,
    Stopping,
    Unknown,
)
from reconciler.model.plan import Start, Stop
from reconciler.model.status import Reason
from reconciler.plan.road import road
from tests.plan.stories import model
from tests.plan.world import GIB, HOST, NOW, decide, fleet, gpu, instance, machine, running

LOW, HIGH = model("low", 20), model("high", 20, "priority: 900")
NEXT = "\nthen\n"


def on(card: Gpu, text: str, slot: str, phase: Phase | None = None, port: int = 9000) -> Instance:
    """One that was started on that card from what a fleet says of it."""
    return instance(fleet(text), slot, phase or running(), port=port, gpus=(card,))


def full(**more: object) -> Observation:
    """A card on which `low` runs: there is no room beside it."""
    return machine(on(gpu(0, 24), LOW, "low/0"), gpus=(gpu(0, 24, used=0),), **more)  # pyright: ignore[reportArgumentType]


def acts(text: str, seen: Observation, memory: Memory | None = None) -> str:
    """Every pass of the road, without what is blocked."""
    plans = road(fleet(text), seen, {}, memory or Memory(), NOW)
    return NEXT.join("\n".join(map(str, one.actions)) for one in plans if one.actions)


def test_a_higher_priority_takes_the_room_of_a_lower_one() -> None:
    """What the cases below are the exceptions of."""
    assert str(decide(fleet(LOW + HIGH), full())).startswith("stop low/0: Preempted (for high/0)")


def test_nobody_goes_for_one_whose_engine_is_missing() -> None:
    text = LOW + HIGH.replace("engine: llamacpp", "engine: vllm").replace("file:/models/high.gguf", "hf:org/high")
    seen = full(host=replace(HOST, programs={"llama-server": "/usr/bin/llama-server"}))
    assert str(decide(fleet(text), seen)).startswith("blocked high/0: EngineMissing")


def test_nobody_goes_for_one_that_belongs_on_another_machine() -> None:
    decided = decide(fleet(LOW + HIGH.replace("priority", "nodes: {rack: r2}\npriority")), full())
    assert str(decided).startswith("blocked high/0: NoNode")


def test_nobody_goes_for_one_whose_size_is_still_being_read() -> None:
    seen = replace(full(), reading=frozenset({"file:/models/high.gguf"}))
    decided = decide(fleet(LOW + model("high", None, "priority: 900")), seen)
    assert str(decided).startswith("blocked high/0: Waiting (how much memory it needs is being read")


def test_nobody_goes_while_no_port_can_be_chosen() -> None:
    decided = decide(fleet(LOW + HIGH), full(ports=Unknown(reason="not seen")))
    assert str(decided).startswith("blocked high/0: Unknown (cannot choose a port")


def test_nobody_goes_for_one_whose_own_port_is_a_strangers() -> None:
    text = LOW + "kind: Service\nname: high\ncommand: [serve]\nport: 8080\ngpus: 1\nmemory: 20GiB\npriority: 900"
    assert str(decide(fleet(text), full(ports=frozenset({8080})))).startswith("blocked high/0: PortTaken (port 8080")


def test_what_is_paused_is_no_victim_though_nothing_else_is_to_be_done_with_it() -> None:
    paused = LOW.replace("gpus: 1", "gpus: 1\npaused: true")
    seen = machine(on(gpu(0, 24), paused, "low/0"), gpus=(gpu(0, 24),))
    assert str(decide(fleet(paused + HIGH), seen)).startswith("blocked high/0: NoFreeGpu")


def test_what_is_paused_and_has_ended_holds_no_room() -> None:
    paused = LOW.replace("gpus: 1", "gpus: 1\npaused: true")
    seen = machine(on(gpu(0, 24), paused, "low/0", Exited(at=NOW - 60, code=0)), gpus=(gpu(0, 24),))
    [action] = decide(fleet(paused + model("other", 20)), seen).actions
    assert str(action).startswith("start other/0 on gpu 0")


def test_what_is_no_longer_declared_and_cannot_be_seen_keeps_its_memory_and_nobody_moves_there() -> None:
    hidden = on(gpu(1, 24), model("gone", 20), "gone/0", Unknown(reason="no answer"), port=9001)
    pinned = HIGH.replace("gpus: 1", "gpus: {ids: ['0']}")
    seen = machine(on(gpu(0, 24), LOW, "low/0"), hidden, gpus=(gpu(0, 24), gpu(1, 24)))
    assert "stop low/0: Preempted (for high/0)" in str(decide(fleet(LOW + pinned), seen))


def test_a_launch_on_disk_that_never_ran_does_not_stand_in_its_own_way() -> None:
    """The daemon was killed between the record and the start."""
    whole = model("chat", None)
    seen = machine(on(gpu(0, 24), whole, "chat/0", Recorded()), gpus=(gpu(0, 24), gpu(1, 24)))
    assert str(decide(fleet(whole), seen)) == "start chat/0 on gpu 0 port 9000: NotRunning"
    service = "kind: Service\nname: s\ncommand: [serve]\nport: 8080"
    seen = machine(instance(fleet(service), "s/0", Recorded(), port=8080))
    assert str(decide(fleet(service), seen)) == "start s/0 port 8080: NotRunning"
    assert "PortTaken" in str(decide(fleet(service), replace(seen, ports=frozenset({8080}))))


def test_what_serves_on_a_lost_card_takes_nobodys_place_on_another() -> None:
    chat = on(gpu(7, 24), HIGH, "high/0")
    seen = machine(chat, on(gpu(0, 24), LOW, "low/0", port=9001), gpus=(gpu(0, 24),))
    text = LOW + HIGH + model("new", 2)
    assert acts(text, seen) == "start new/0 on gpu 0 port 9002: NotRunning"


def test_what_fails_on_a_lost_card_is_started_on_another() -> None:
    phase = Running(pid=1, since=0.0, readiness=Failing(since=NOW, failures=3, detail="no answer"), was_ready=True)
    seen = machine(on(gpu(7, 24), HIGH, "high/0", phase), gpus=(gpu(0, 24),))
    assert "start high/0 on gpu 0" in acts(HIGH, seen)


def test_while_a_nameless_driver_shows_what_still_loads_nobody_goes_for_what_fits_beside() -> None:
    """Its figure counts the loading model once more, as if a stranger held it."""
    text = model("low", 6) + model("mid", 8, "priority: 500") + model("high", 9, "priority: 900")
    loading = on(gpu(0, 24), text, "mid/0", Running(pid=2, since=NOW - 3, readiness=NotReady()), port=9001)
    seen = machine(on(gpu(0, 24), text, "low/0"), loading, gpus=(gpu(0, 24, used=14),))
    assert str(decide(fleet(text), seen)).startswith("blocked high/0: Waiting (waits for memory to be given back")


def test_while_one_stops_on_a_nameless_driver_nobody_goes_for_its_successor() -> None:
    grown = model("chat", 20, "priority: 900")
    old = on(gpu(0, 24), model("chat", 10), "chat/0", Stopping(pid=1, since=NOW, asked=Reason.SpecChanged))
    seen = machine(old, on(gpu(1, 24), LOW, "low/0", port=9001), gpus=(gpu(0, 24, used=10), gpu(1, 24, used=20)))
    assert "low/0" not in acts(LOW + grown, seen)


def test_a_restart_that_a_stranger_leaves_no_room_for_is_not_said_to_wait() -> None:
    """Nothing is on its way back; the one that runs goes on."""
    stranger = Holder(pid=7, name="python", memory=10 * GIB)
    ours = Holder(pid=4000, name="llama", memory=12 * GIB, slot="low/0")
    card = gpu(0, 24, used=22, holders=(ours, stranger))
    seen = machine(on(card, LOW, "low/0"), gpus=(card,))
    decided = decide(fleet(LOW), seen, memory=Memory(restarts={"low/0": 1}))
    assert [(one.subject, one.reason) for one in decided.blocked] == [("low/0", Reason.NoFreeGpu)]
    assert not decided.actions


TWO = model("chat", 10, "replicas: 2")


def two(first: Phase | None, second: Phase | None = None, text: str = TWO) -> tuple[Instance, Instance]:
    return on(gpu(0, 24), text, "chat/0", first), on(gpu(0, 24), text, "chat/1", second, port=9001)


def test_one_that_has_nowhere_to_run_keeps_no_other_from_being_replaced() -> None:
    edited = TWO.replace("memory: 10GiB", "memory: 10GiB\ncontext: 4096\nupdate: {strategy: replace}")
    gone, there = two(Exited(at=NOW - 60, asked=Reason.Preempted))
    seen = machine(gone, there, on(gpu(0, 24), LOW, "low/0", port=9002), gpus=(gpu(0, 24),))
    text = edited + model("low", 14, "priority: 900")
    seen = machine(gone, there, on(gpu(0, 24), text, "low/0", port=9002), gpus=(gpu(0, 24),))
    assert acts(text, seen).startswith("stop chat/1: SpecChanged")


def test_a_second_edit_while_the_first_rolls_out_leaves_what_serves_serving() -> None:
    """The replica more carries the first edit, and is all that serves while chat/0 loads."""
    chat = model("chat", 10)
    edited, again = (chat.replace("memory", f"context: {n}\nmemory") for n in (4096, 8192))
    loading = on(gpu(0, 24), edited, "chat/0", Running(pid=2, since=NOW - 3, readiness=NotReady()))
    more = on(gpu(0, 24), edited, "chat/1", port=9001)
    decided = decide(fleet(again), machine(loading, more, gpus=(gpu(0, 24),)))
    assert [str(action) for action in decided.actions] == ["stop chat/0: SpecChanged (context 4096 → 8192)"]
    assert [one.detail for one in decided.blocked] == [
        "waits for chat/0 to serve, then is replaced (context 4096 → 8192)"
    ]


def test_a_replica_more_that_gave_way_is_not_waited_for() -> None:
    chat = model("chat", 10)
    edited = chat.replace("memory", "context: 4096\nmemory")
    gone = on(gpu(0, 24), edited, "chat/1", Exited(at=NOW - 60, asked=Reason.Preempted), port=9001)
    other = model("other", 14, "priority: 900")
    seen = machine(
        on(gpu(0, 24), chat, "chat/0"), gone, on(gpu(0, 24), other, "other/0", port=9002), gpus=(gpu(0, 24),)
    )
    assert "stop chat/0: SpecChanged" in acts(edited + other, seen)


def test_replicas_that_grow_are_replaced_in_the_order_in_which_there_is_room() -> None:
    """chat/0 does not fit where it is until chat/1 has gone elsewhere; so chat/1 goes first."""
    grown = model("chat", 16, "replicas: 2\nupdate: {strategy: replace}")
    pinned = model("other", 10, "gpus: {ids: ['1']}")
    first, second = two(None)
    seen = machine(first, second, on(gpu(1, 30), pinned, "other/0", port=9002), gpus=(gpu(0, 24), gpu(1, 30)))
    last = road(fleet(grown + pinned), seen, {}, Memory(), NOW)
    assert {str(a).split(":")[0] for one in last for a in one.actions if isinstance(a, Start)} == {
        "start chat/0 on gpu 1 port 9000",
        "start chat/1 on gpu 0 port 9001",
    }


def test_a_replica_more_waits_for_memory_on_its_way_back_rather_than_be_given_up() -> None:
    chat = model("chat", 10)
    edited = chat.replace("memory", "context: 4096\nmemory")
    ended = on(gpu(0, 24), model("old", 10), "old/0", Exited(at=NOW - 1, code=0), port=9001)
    seen = machine(on(gpu(0, 24), chat, "chat/0"), ended, gpus=(gpu(0, 24, used=20, holders=held(10)),))
    assert not [a for a in decide(fleet(edited), seen).actions if a.slot == "chat/0"]


def held(gib: float) -> tuple[Holder, ...]:
    """What the driver names: chat/0, and a process that is just about to be gone."""
    chat = Holder(pid=4000, name="llama", memory=10 * GIB, slot="chat/0")
    return chat, Holder(pid=5000, name="llama", memory=int(gib * GIB))


def test_a_road_goes_on_from_what_is_in_flight() -> None:
    seen = machine(gpus=(gpu(0, 24),))
    text = fleet(LOW)
    first = decide(text, seen)
    plans = road(text, seen, {}, Memory(in_flight={"low/0": first.actions[0]}), NOW)
    assert [str(one) for one in plans] == ["nothing to do"]


def test_a_reading_that_wavers_changes_nothing_of_what_is_given() -> None:
    text = fleet(LOW + model("big", 30))
    plans = {
        str(decide(text, machine(gpus=(replace(gpu(0, 24), used=300 * 2**20 + noise),)))) for noise in (0, 5, 2**20)
    }
    assert len(plans) == 1


def test_one_that_gave_way_is_not_sent_away_again_while_a_nameless_driver_hides_a_stranger_behind_it() -> None:
    """What has just been started is not in the driver's figure yet: the 3 GiB might be its own, or a stranger's."""
    text = model("low", 10) + model("high", 22, "priority: 900")
    loading = on(gpu(0, 24), text, "low/0", Running(pid=2, since=NOW - 1, readiness=NotReady()))
    assert not decide(fleet(text), machine(loading, gpus=(gpu(0, 24, used=3),))).actions


def test_what_goes_on_as_it_was_keeps_its_room_though_a_stranger_has_left_too_little() -> None:
    text = model("chat", 8, "context: 4096") + model("new", 4)
    stranger = Holder(pid=7, name="python", memory=17 * GIB)
    ours = Holder(pid=4000, name="llama", memory=5 * GIB, slot="chat/0")
    card = gpu(0, 24, used=22, holders=(ours, stranger))
    assert not decide(fleet(text), machine(on(card, model("chat", 8), "chat/0"), gpus=(card,))).actions


def test_the_replica_more_is_not_replaced_while_the_last_one_beside_it_is_on_its_way_out() -> None:
    """Its stop was ordered, or it drains: it still answers, and soon nobody would."""
    chat = model("chat", 10)
    edited, again = (chat.replace("memory", f"context: {n}\nmemory") for n in (4096, 8192))
    seen = machine(on(gpu(0, 24), chat, "chat/0"), on(gpu(0, 24), edited, "chat/1", port=9001), gpus=(gpu(0, 24),))
    stop = Stop(slot="chat/0", run=1, grace=10.0, reason=Reason.SpecChanged)
    for memory in (Memory(in_flight={"chat/0": stop}), Memory(draining={"chat/0": NOW - 1})):
        assert "chat/1" not in {a.slot for a in decide(fleet(again), seen, memory=memory).actions}
