"""Models on demand that cannot all be there: whose turn it is, in a sentence, a machine and a plan's text."""

from dataclasses import dataclass, field

import pytest

from reconciler.model.fleet import Fleet
from reconciler.model.memory import Failure, Memory, Override
from reconciler.model.observation import Exited, Instance, NotReady, Observation, Running, Wish
from reconciler.model.plan import Plan, Strikes
from reconciler.model.status import Reason
from reconciler.plan.summary import Pass, summarise
from tests.plan.world import NOW, decide, fleet, gpu, instance, machine, running

DEMAND = """
---
kind: Model
name: {name}
source: hf:org/{name}
engine: vllm
gpus: {gpus}
memory: {memory}GiB
priority: {priority}
replicas: {replicas}
"""


def model(
    name: str, *, gpus: int = 1, memory: int = 70, priority: int = 100, replicas: str = "{min: 0, idle: 10m}"
) -> str:
    return DEMAND.format(name=name, gpus=gpus, memory=memory, priority=priority, replicas=replicas)


AB = model("a") + model("b")
CARD = (gpu(0),)
WAITS = {"b": Wish(waiting=1, since=NOW)}
LONG = {"b": Wish(waiting=1, since=NOW - 30)}
USED = {"a": Wish(in_flight={"a/0": 1})}


def on(*instances: Instance, cards: int = 1) -> Observation:
    return machine(*instances, gpus=tuple(gpu(index) for index in range(cards)))


def there(text: str, slot: str, *, since: float = 100, ready: float | None = 110, card: int = 0) -> Instance:
    """It runs on that card; `ready` None: it loads."""
    phase = running(since, ready) if ready is not None else Running(pid=1, since=since, readiness=NotReady())
    return instance(fleet(text), slot, phase, gpus=(gpu(card),))


@dataclass(kw_only=True)
class Case:
    situation: str
    plan: str
    fleet: str = AB
    instances: tuple[Instance, ...] = ()
    demand: dict[str, Wish]
    memory: Memory = field(default_factory=Memory)
    cards: int = 1
    wake_at: float | None = None


SINCE = Memory(lulls={"a/0": NOW - 100})
CASES = [
    Case(
        situation="an idle one goes at once for one that is waited for, and its gateway hears of it first",
        instances=(there(AB, "a/0"),),
        demand=WAITS,
        memory=SINCE,
        plan="drain a/0: Preempted (for b/0)\nblocked b/0: Waiting (…",
    ),
    Case(
        situation="one in use stays while others have not waited for long",
        instances=(there(AB, "a/0"),),
        demand=WAITS | USED,
        plan="blocked b/0: Waiting (waits for its turn after a/0, which is in use)",
        wake_at=NOW + 30,
    ),
    Case(
        situation="one in use is drained for one that has waited for long",
        instances=(there(AB, "a/0"),),
        demand=LONG | USED,
        plan="drain a/0: Preempted (for b/0)\nblocked b/0: Waiting (…",
    ),
    Case(
        situation="one that loads is let be of use, however long another has waited",
        instances=(there(AB, "a/0", since=NOW - 100, ready=None),),
        demand={"b": Wish(waiting=1, since=NOW - 900), "a": Wish(waiting=1, since=NOW - 100)},
        plan="blocked b/0: Waiting (waits for its turn after a/0, which loads)",
    ),
    Case(
        situation="one that loads and is not waited for any more is let be of use",
        instances=(there(AB, "a/0", since=NOW - 100, ready=None),),
        demand=LONG,
        plan="blocked b/0: Waiting (waits for its turn after a/0, which loads)",
    ),
    Case(
        situation="one in use stays for twice its load time",
        instances=(there(AB, "a/0", since=NOW - 90, ready=NOW - 30),),
        demand={"b": Wish(waiting=1, since=NOW - 90)} | USED,
        plan="blocked b/0: Waiting (waits for its turn after a/0, which was loaded not long ago)",
        wake_at=NOW + 90,
    ),
    Case(
        situation="one that nobody asks for any more stays no longer than another load takes",
        instances=(there(AB, "a/0", since=NOW - 30, ready=NOW - 15),),
        demand=WAITS,
        memory=Memory(lulls={"a/0": NOW - 5}),
        plan="blocked b/0: Waiting (waits for its turn after a/0, which was loaded not long ago)",
        wake_at=NOW + 10,
    ),
    Case(
        situation="one in use goes for a higher priority",
        fleet=model("a") + model("b", priority=500),
        instances=(there(AB, "a/0"),),
        demand=WAITS | USED,
        plan="drain a/0: Preempted (for b/0)\nblocked b/0: Waiting (…",
    ),
    Case(
        situation="one that loads is let be of use before a higher priority that comes and goes",
        fleet=model("a") + model("b", priority=500),
        instances=(there(AB, "a/0", since=NOW - 5, ready=None),),
        demand=WAITS | {"a": Wish(waiting=1, since=NOW - 5)},
        plan="blocked b/0: Waiting (waits for its turn after a/0, which loads)",
    ),
    Case(
        situation="one that loads goes for what is always to run",
        fleet=model("a") + model("b", replicas="1"),
        instances=(there(AB, "a/0", since=NOW - 5, ready=None),),
        demand={"a": Wish(waiting=1, since=NOW - 5)},
        plan="stop a/0: Preempted (for b/0)\nblocked b/0: Waiting (…",
    ),
    Case(
        situation="what always runs does not go for an equal on demand, however long that waits",
        fleet=model("a", replicas="1") + model("b"),
        instances=(there(model("a", replicas="1"), "a/0"),),
        demand={"b": Wish(waiting=1, since=NOW - 900)},
        plan="blocked b/0: NoFreeGpu (…",
    ),
    Case(
        situation="one scaled by command does not go for an equal on demand",
        instances=(there(AB, "a/0"),),
        demand={"b": Wish(waiting=1, since=NOW - 900)},
        memory=Memory(overrides={"a": Override(replicas=1, declared=(0, 1))}),
        plan="blocked b/0: NoFreeGpu (…",
    ),
    Case(
        situation="a lower priority does not take the place of one that was in use just now",
        fleet=model("a", priority=500) + model("b"),
        instances=(there(AB, "a/0"),),
        demand=LONG,
        memory=Memory(lulls={"a/0": NOW - 5}),
        plan="blocked b/0: Waiting (waits for its turn after a/0, which was in use just now)",
        wake_at=NOW + 15,
    ),
    Case(
        situation="who gave way for another comes after it, though its own requests are older",
        instances=(
            instance(fleet(AB), "a/0", Exited(at=NOW - 1, code=0, asked=Reason.Preempted, ready_for=9.0), gpus=CARD),
        ),
        demand={"a": Wish(waiting=5, since=NOW - 200), "b": Wish(waiting=1, since=NOW - 100)},
        plan="start b/0 on gpu 0 port 9000: NotRunning\nblocked a/0: …",
    ),
    Case(
        situation="one that fails does not keep the place from one that is waited for",
        instances=(instance(fleet(AB), "a/0", Exited(at=NOW - 1, code=1), gpus=CARD, strikes=Strikes(count=3)),),
        demand={"a": Wish(waiting=5, since=NOW - 200), "b": Wish(waiting=1, since=NOW - 1)},
        plan="start b/0 on gpu 0 port 9000: NotRunning\nblocked a/0: BackingOff (…",
    ),
    Case(
        situation="an idle one does not go for one that could not be started yet",
        instances=(there(AB, "a/0"),),
        demand=WAITS,
        memory=Memory(
            lulls={"a/0": NOW - 100},
            failures={"b/0": Failure(at=NOW - 1, count=4, reason=Reason.StartFailed, detail="no", digest="")},
        ),
        plan="blocked b/0: StartFailed (no)",
    ),
    Case(
        situation="one that can never fit is told so, and nobody goes for it",
        fleet=model("a") + model("b", memory=90),
        instances=(there(AB, "a/0"),),
        demand={"b": Wish(waiting=1, since=NOW - 900)},
        memory=SINCE,
        plan="blocked b/0: NoFreeGpu (…",
    ),
    Case(
        situation="of two idle ones the one goes that was idle for longer",
        fleet=AB + model("c"),
        instances=(there(AB, "a/0"), there(AB, "b/0", card=1)),
        demand={"c": Wish(waiting=1, since=NOW)},
        memory=Memory(lulls={"a/0": NOW - 50, "b/0": NOW - 90}),
        cards=2,
        plan="drain b/0: Preempted (for c/0)\nblocked c/0: Waiting (…",
    ),
    Case(
        situation="a long queue takes the place of an idle one, not of one in use",
        fleet=model("a", replicas="{min: 0, max: 2}") + model("b"),
        instances=(there(AB, "a/0"), there(AB, "b/0", card=1)),
        demand={"a": Wish(waiting=9, in_flight={"a/0": 1}, since=NOW - 100), "b": Wish(in_flight={"b/0": 1})},
        cards=2,
        plan="blocked a/1: Waiting (waits for its turn after a/0, which is in use, b/0, which is in use)",
    ),
    Case(
        situation="the second replica of one in use goes at once for the first of another",
        fleet=model("a", replicas="{min: 0, max: 2}") + model("b"),
        instances=(
            there(model("a", replicas="{min: 0, max: 2}"), "a/0"),
            there(model("a", replicas="{min: 0, max: 2}"), "a/1", card=1),
        ),
        demand={"a": Wish(waiting=9, in_flight={"a/0": 2}, since=NOW - 1), "b": Wish(waiting=1, since=NOW)},
        cards=2,
        plan="drain a/1: Preempted (for b/0)\nblocked b/0: Waiting (…",
    ),
    Case(
        situation="two cards are taken at once for one that needs both and has waited for long",
        fleet=AB + model("c", gpus=2),
        instances=(there(AB, "a/0"), there(AB, "b/0", card=1)),
        demand={"a": Wish(in_flight={"a/0": 1}), "b": Wish(in_flight={"b/0": 1}), "c": Wish(waiting=1, since=NOW - 30)},
        cards=2,
        plan="drain a/0: Preempted (for c/0)\ndrain b/0: Preempted (for c/0)\nblocked c/0: Waiting (…",
    ),
    Case(
        situation="a paused one that is down starts for nobody",
        instances=(),
        demand={"a": Wish(waiting=1, since=NOW)},
        memory=Memory(overrides={"a": Override(paused=True)}),
        plan="blocked a: Paused (…",
    ),
    Case(
        situation="a paused one that is idle goes for nobody",
        instances=(there(AB, "a/0"),),
        demand={"b": Wish(waiting=1, since=NOW - 900)},
        memory=Memory(overrides={"a": Override(paused=True)}, lulls={"a/0": NOW - 100}),
        plan="blocked b/0: NoFreeGpu (…",
    ),
    Case(
        situation="a stopped one starts for nobody",
        demand={"a": Wish(waiting=1, since=NOW)},
        memory=Memory(overrides={"a": Override(stopped=True)}),
        plan="nothing to do",
    ),
]


def told(case: Case) -> Plan:
    of = fleet(case.fleet)
    instances = (_as(of, one) for one in case.instances)
    return decide(of, on(*instances, cards=case.cards), memory=case.memory, demand=case.demand)


def _as(of: Fleet, one: Instance) -> Instance:
    """The same, started from the case's own fleet."""
    cards = tuple(gpu(index) for index in one.launch.indices)
    return instance(of, one.slot, one.phase, gpus=cards, run=one.launch.run, strikes=one.launch.strikes)


@pytest.mark.parametrize("case", CASES, ids=[case.situation for case in CASES])
def test_turn(case: Case) -> None:
    decided = told(case)
    lines, expected = str(decided).split("\n"), case.plan.split("\n")
    assert len(lines) == len(expected), str(decided)
    for line, want in zip(lines, expected, strict=True):
        assert line == want or (want.endswith("…") and line.startswith(want[:-1])), str(decided)
    if case.wake_at is not None:
        assert decided.wake_at == case.wake_at


def test_a_gateway_is_told_that_it_is_coming_and_what_it_waits_for() -> None:
    of = fleet(AB)
    seen = on(there(AB, "a/0"))
    demand = WAITS | USED
    decided = decide(of, seen, demand=demand)
    status = summarise(Pass(fleet=of, observation=seen, demand=demand, plan=decided, now=NOW), Memory()).status
    ready, moving, stalled = status.workloads["b"].conditions
    assert (ready.status, moving.status, stalled.status) == ("False", "True", "False")
    assert (moving.reason, moving.message) == (Reason.Waiting, "waits for its turn after a/0, which is in use")
    assert not status.converged


def test_a_gateway_is_told_that_it_will_not_come() -> None:
    of = fleet(model("b", memory=90))
    seen = on()
    decided = decide(of, seen, demand=WAITS)
    status = summarise(Pass(fleet=of, observation=seen, demand=WAITS, plan=decided, now=NOW), Memory()).status
    _, moving, stalled = status.workloads["b"].conditions
    assert (moving.status, stalled.status, stalled.reason) == ("False", "True", Reason.NoFreeGpu)
    assert "needs one gpu with 90.0 GiB free" in stalled.message


def test_one_that_is_idle_and_down_is_ready_for_want_of_anybody_who_asks() -> None:
    of = fleet(AB)
    status = summarise(Pass(fleet=of, observation=on(), demand={}, plan=Plan(), now=NOW), Memory()).status
    assert {row.conditions[0].reason for row in status.workloads.values()} == {Reason.Idle}
    assert status.converged
