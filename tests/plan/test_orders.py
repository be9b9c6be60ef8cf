"""Orders by command: each becomes memory, says what will happen, and the planner makes it so."""

import pytest

from reconciler.model.fleet import Fleet
from reconciler.model.memory import Failure, Memory, Override
from reconciler.model.observation import Exited
from reconciler.model.plan import Strikes
from reconciler.model.status import Reason
from reconciler.plan import orders
from tests.plan.world import NOW, decide, fleet, instance, machine

TINY = "kind: Service\nname: tiny\ncommand: [sleep, infinity]\n"
FLEET = fleet(TINY)
RUNNING = machine(instance(FLEET, "tiny/0", run=3))


def granted(order: orders.Order | orders.Refused) -> Memory:
    assert isinstance(order, orders.Order), order
    return order.memory


def test_restart_replaces_the_run_that_is_there() -> None:
    memory = granted(orders.restart(Memory(), FLEET, RUNNING, "tiny", None))
    assert str(decide(FLEET, RUNNING, memory=memory)) == "stop tiny/0: RestartAsked"


def test_restart_does_not_wait_for_a_backoff_or_a_failed_start() -> None:
    exited = machine(instance(FLEET, "tiny/0", Exited(at=NOW, code=1), strikes=Strikes(count=6)))
    failure = Failure(at=NOW, count=5, reason=Reason.DiskFull, detail="full", digest=FLEET.workloads["tiny"].digest)
    memory = Memory(failures={"tiny/0": failure})
    assert str(decide(FLEET, exited, memory=memory)).startswith("blocked")
    memory = granted(orders.restart(memory, FLEET, exited, "tiny", 0))
    assert str(decide(FLEET, exited, memory=memory)) == "start tiny/0: RestartAsked"


def test_stop_and_resume() -> None:
    stopped = granted(orders.stop(Memory(), FLEET, "tiny"))
    assert str(decide(FLEET, RUNNING, memory=stopped)) == "stop tiny/0: StopAsked"
    resumed = granted(orders.resume(stopped, FLEET, "tiny"))
    assert resumed == Memory()
    ended = machine(instance(FLEET, "tiny/0", Exited(at=NOW, asked=Reason.StopAsked)))
    assert str(decide(FLEET, ended, memory=resumed)).startswith("start tiny/0")


def test_restart_starts_what_was_stopped_by_command() -> None:
    stopped = granted(orders.stop(Memory(), FLEET, "tiny"))
    assert granted(orders.restart(stopped, FLEET, machine(), "tiny", None)).overrides == {}


def test_pause_keeps_what_runs() -> None:
    memory = granted(orders.pause(Memory(), FLEET, "tiny"))
    changed = fleet(TINY + "env: {A: b}")
    assert str(decide(changed, RUNNING, memory=memory)).startswith("blocked tiny: Paused")


def test_a_pause_of_the_file_is_not_lifted_by_command() -> None:
    refused = orders.resume(Memory(), fleet(TINY + "paused: true"), "tiny")
    assert isinstance(refused, orders.Refused)
    assert refused.says == "cannot resume tiny: its file pauses it; remove `paused: true` at fleet.d/tiny.yaml:4"


@pytest.mark.parametrize("order", ["restart", "stop"])
def test_what_is_paused_is_not_touched_by_command(order: str) -> None:
    def refused(memory: Memory, of: Fleet) -> str:
        stop = order == "stop"
        told = orders.stop(memory, of, "tiny") if stop else orders.restart(memory, of, RUNNING, "tiny", None)
        assert isinstance(told, orders.Refused)
        return told.says.partition(f"cannot {order} tiny while it is paused; ")[2]

    assert refused(Memory(overrides={"tiny": Override(paused=True)}), FLEET) == "`holdfast resume tiny` first"
    by_file = refused(Memory(), fleet(TINY + "paused: true"))
    assert by_file == "remove `paused: true` at fleet.d/tiny.yaml:4 first"


def test_scale_up_and_back() -> None:
    memory = granted(orders.scale(Memory(), FLEET, "tiny", 2))
    assert str(decide(FLEET, RUNNING, memory=memory)) == "start tiny/1: NotRunning"
    assert granted(orders.scale(memory, FLEET, "tiny", None)) == Memory()


def test_scaling_to_what_the_file_says_overrides_nothing() -> None:
    assert granted(orders.scale(Memory(), FLEET, "tiny", 1)) == Memory()


def test_what_an_order_leaves_to_a_file_names_its_place() -> None:
    more, again = orders.scale(Memory(), FLEET, "tiny", 2), orders.scale(Memory(), FLEET, "tiny", None)
    stopped = granted(orders.stop(Memory(), FLEET, "tiny"))
    assert [order.says for order in (more, again, orders.resume(stopped, FLEET, "tiny"))] == [
        "tiny will run 2 replicas until fleet.d/tiny.yaml:1 says another number",
        "tiny runs as many replicas as fleet.d/tiny.yaml:1 says: 1",
        "tiny goes on as fleet.d/tiny.yaml:1 says",
    ]


def test_scale_is_bounded() -> None:
    refused = orders.scale(Memory(), FLEET, "tiny", 5000)
    assert isinstance(refused, orders.Refused)
    assert refused.says == "cannot scale tiny to 5000; choose 0–1000"


def test_an_unknown_name_is_answered_with_a_near_one() -> None:
    refused = orders.stop(Memory(), FLEET, "tin")
    assert isinstance(refused, orders.Refused)
    assert refused.unknown
    assert refused.says == "cannot find tin in the fleet; did you mean tiny?"


def test_consent_lets_go_of_what_is_held() -> None:
    many = fleet("\n---\n".join(f"kind: Service\nname: s{n}\ncommand: [x]" for n in range(5)))
    on = machine(*(instance(many, f"s{n}/0") for n in range(5)))
    few = fleet("kind: Service\nname: s0\ncommand: [x]")
    held = decide(few, on)
    assert not held.actions
    order = orders.consent(Memory(), held)
    assert order.says == "s1, s2, s3, s4 will be stopped and forgotten"
    assert len(decide(few, on, memory=order.memory).actions) == 4
    assert orders.consent(Memory(), decide(many, on)).says == "nothing waits for consent"
