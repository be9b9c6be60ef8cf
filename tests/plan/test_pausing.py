"""A fleet that is paused as a whole: it is looked at and planned for as ever, and nothing is done to it."""

from dataclasses import replace

import pytest

from reconciler.model.memory import Memory, Override
from reconciler.model.observation import Exited, Wish
from reconciler.model.plan import Strikes
from reconciler.model.status import Reason
from reconciler.model.stored import Absent
from reconciler.plan import orders
from reconciler.plan.happenings import happenings
from reconciler.plan.pausing import held_back
from reconciler.plan.road import road
from reconciler.plan.routing import Routed, routed
from reconciler.plan.settle import lasting
from reconciler.plan.summary import Pass, summarise
from tests.plan.test_summary import conditions
from tests.plan.world import NOW, decide, fleet, gpu, instance, machine

TINY = "kind: Service\nname: tiny\ncommand: [sleep, infinity]\n"
CHAT = "kind: Model\nname: chat\nsource: file:/a.gguf\nmemory: 20GiB\n"
EDITED = TINY + "env: {A: b}\n"
PAUSED = Memory(paused=True)
RUNS = machine(instance(fleet(TINY), "tiny/0"))
AWAY = replace(machine(gpus=(gpu(0),)), sources={"hf:o/a": Absent()})
CRASHED = machine(instance(fleet(TINY), "tiny/0", Exited(at=NOW - 500, signal=9), strikes=Strikes(spared=True)))


def seen(text, on, memory=PAUSED):
    of = fleet(text)
    looked = Pass(fleet=of, observation=on, demand={}, plan=decide(of, on, memory=memory), now=NOW)
    return summarise(looked, memory).status


@pytest.mark.parametrize(
    ("text", "on"),
    [
        (TINY, machine()),
        (TINY, CRASHED),
        (EDITED, RUNS),
        ("", RUNS),
        (CHAT.replace("file:/a.gguf", "hf:o/a"), AWAY),
        (TINY + "priority: 7\n", RUNS),
    ],
    ids=[
        "start NotRunning",
        "start Exited",
        "stop SpecChanged",
        "stop NotInFleet",
        "fetch NotFetched",
        "update SpecChanged",
    ],
)
def test_what_would_be_done_is_told_and_not_done(text, on, request):
    would = decide(fleet(text), on)
    assert [f"{action.kind} {action.reason}" for action in would.actions] == [request.node.callspec.id]
    decided = decide(fleet(text), on, memory=PAUSED)
    assert decided.actions == ()
    told = [one.detail for one in decided.blocked if one.reason is Reason.Paused]
    assert told == [f"held back while the fleet is paused: {action}" for action in would.actions]


def test_what_is_blocked_anyway_is_told_as_ever():
    big = CHAT.replace("20GiB", "200GiB")
    on = machine(gpus=(gpu(0),))
    assert decide(fleet(big), on, memory=PAUSED) == decide(fleet(big), on)


@pytest.mark.parametrize(("wakes", "kept"), [(NOW - 5, None), (NOW, None), (NOW + 5, NOW + 5), (None, None)])
def test_nobody_looks_again_at_once_for_what_is_due_and_held(wakes, kept):
    decided = replace(decide(fleet(EDITED), RUNS), wake_at=wakes)
    assert held_back(decided, NOW).wake_at == kept


def test_what_waits_for_its_time_is_looked_at_then():
    """So that it is told when its backoff is over."""
    young = machine(instance(fleet(TINY), "tiny/0", Exited(at=NOW, code=1), strikes=Strikes(count=3, spared=True)))
    expected = decide(fleet(TINY), young)
    assert expected.wake_at is not None
    assert decide(fleet(TINY), young, memory=PAUSED) == expected


def test_the_road_is_what_would_be_done_once_it_is_resumed():
    assert road(fleet(EDITED), RUNS, {}, PAUSED, NOW) == road(fleet(EDITED), RUNS, {}, Memory(), NOW)
    assert [str(plan) for plan in road(fleet(EDITED), RUNS, {}, PAUSED, NOW)][-1] == "nothing to do"


def test_an_edit_is_seen_beside_what_serves_on():
    status = seen(EDITED, RUNS)
    assert conditions(status)["Ready"] == ("True", Reason.Ready)
    assert conditions(status)["Stalled"] == ("True", Reason.Paused)
    assert not status.workloads["tiny"].paused, "it is not the workload that is paused"
    assert not status.converged
    assert status.paused == (
        "the fleet is paused by command: 1 action is held back, see `holdfast plan`; `holdfast resume` goes on"
    )


def test_one_that_has_died_says_that_it_is_not_started_and_how_it_ended():
    row = seen(TINY, CRASHED).workloads["tiny"]
    assert (row.conditions[0].status, row.conditions[0].reason) == ("False", Reason.Paused)
    assert row.conditions[0].message == (
        "held back while the fleet is paused: start tiny/0: Exited (was killed by signal 9)"
    )
    assert row.replicas[0].detail == "was killed by signal 9"


def test_what_is_held_back_is_news_and_no_trouble():
    (told,) = happenings(seen(TINY, RUNS), seen(EDITED, RUNS), decide(fleet(EDITED), RUNS, memory=PAUSED))
    assert (told.severity, told.subject, told.reason) == ("info", "tiny", Reason.Paused)
    assert told.message == "held back while the fleet is paused: stop tiny/0: SpecChanged (env (A))"


def test_with_nothing_to_do_it_has_converged_and_says_that_it_is_paused():
    status = seen(TINY, RUNS)
    assert status.converged
    assert conditions(status)["Stalled"][0] == "False"
    assert status.paused == "the fleet is paused by command: nothing is to do; `holdfast resume` goes on"
    assert seen(TINY, RUNS, Memory()).paused == ""


def test_a_workload_that_is_paused_itself_waits_for_nothing_meanwhile():
    status = seen(EDITED + "paused: true\n", RUNS)
    assert status.workloads["tiny"].paused
    assert status.converged


def test_what_was_begun_is_told_as_that_until_it_has_ended():
    (begun,) = decide(fleet(EDITED), RUNS).actions
    row = seen(EDITED, RUNS, Memory(paused=True, in_flight={"tiny/0": begun})).workloads["tiny"]
    assert row.conditions[1].status == "True"
    assert row.conditions[2].status == "False"


def test_who_asks_for_a_model_that_is_held_back_is_refused_and_told_why():
    of, on = fleet(CHAT), machine(gpus=(gpu(0),))
    table = routed(of, seen(CHAT, on), Routed(), now=0).table
    assert table.models["chat"].outlook == "blocked"
    assert table.models["chat"].why.startswith("held back while the fleet is paused: start chat/0")
    serves = machine(instance(of, "chat/0", port=9000, gpus=(gpu(0),)), gpus=(gpu(0),))
    table = routed(of, seen(CHAT, serves), Routed(), now=0).table
    assert table.models["chat"].outlook == "ready", "what runs serves on"


def test_one_that_is_asked_for_on_demand_is_held_back_too():
    of, on = fleet(CHAT + "replicas: {min: 0}\n"), machine(gpus=(gpu(0),))
    asked = {"chat": Wish(waiting=1, since=NOW)}
    assert decide(of, on, demand=asked).actions
    assert decide(of, on, demand=asked, memory=PAUSED).actions == ()


def test_the_pause_is_asked_for_outlives_the_daemon_and_is_taken_back():
    paused = orders.pause_fleet(Memory())
    assert paused.memory == PAUSED
    assert lasting(paused.memory) != lasting(Memory())
    resumed = orders.resume_fleet(paused.memory)
    assert (resumed.memory, resumed.says) == (Memory(), "the fleet goes on as its files say")
    assert orders.resume_fleet(Memory()).says == "the fleet was not paused"


def test_resuming_the_fleet_leaves_workloads_paused_that_were_so_themselves():
    one = Memory(paused=True, overrides={"tiny": Override(paused=True)})
    assert orders.resume_fleet(one).memory == replace(one, paused=False)


def test_meanwhile_nothing_is_restarted_or_stopped_and_what_is_promised_is_promised_for_later():
    of = fleet(TINY)
    for order in (orders.restart(PAUSED, of, RUNS, "tiny", None), orders.stop(PAUSED, of, "tiny")):
        assert isinstance(order, orders.Refused)
        assert order.says.endswith("tiny while the fleet is paused; `holdfast resume` first")
    stopped = Memory(paused=True, overrides={"tiny": Override(stopped=True)})
    for order in (orders.scale(PAUSED, of, "tiny", 2), orders.resume(stopped, of, "tiny")):
        assert isinstance(order, orders.Order)
        assert order.says.endswith(", once the fleet is resumed")
