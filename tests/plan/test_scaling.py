"""How many replicas: by file, by command, by what waits; and when the number falls again."""

import pytest

from reconciler.model.fleet import Workload
from reconciler.model.memory import Memory, Override
from reconciler.model.observation import Exited, Stopping, Unknown, Wish
from reconciler.model.status import Reason
from reconciler.plan.scaling import Wanted, firm, needed, present, wanted
from tests.plan.world import NOW, decide, fleet, instance, machine

NONE = Memory()


def workload(replicas: str, more: str = "") -> Workload:
    text = f"kind: Model\nname: m\nsource: hf:o/m\nengine: vllm\ngpus: 0\nreplicas: {replicas}\n{more}"
    return fleet(text).workloads["m"]


def count(of: Workload, wish: Wish | None = None, *, memory: Memory = NONE, there: int = 0, now: float = NOW) -> Wanted:
    return wanted(of, memory, {} if wish is None else {"m": wish}, present=there, now=now)


@pytest.mark.parametrize(
    ("replicas", "wish", "expected"),
    [
        ("2", None, 2),
        ("0", Wish(waiting=9), 0),
        ("{min: 0}", None, 0),
        ("{min: 0}", Wish(waiting=1), 1),
        ("{min: 0}", Wish(in_flight={"m/0": 1}), 1),
        ("{min: 0}", Wish(waiting=900), 1),
        ("{min: 2, max: 5}", None, 2),
        ("{min: 0, max: 3}", Wish(waiting=4), 1),
        ("{min: 0, max: 3}", Wish(waiting=5), 2),
        ("{min: 0, max: 3}", Wish(waiting=99), 3),
        ("{min: 1, max: 8, target_queue: 1}", Wish(waiting=5), 5),
    ],
)
def test_the_number_is_what_the_queue_asks_for_within_the_bounds(
    replicas: str, wish: Wish | None, expected: int
) -> None:
    assert count(workload(replicas), wish).count == expected


def test_replicas_in_use_are_needed_though_hardly_anything_waits() -> None:
    """Two that serve four at once each are busy with eight: one alone would leave four to wait, and one more."""
    of = workload("{min: 0, max: 3, target_queue: 2}", "parallel: 4\n")
    assert needed(of, {"m": Wish(in_flight={"m/0": 8})}) == 2
    assert needed(of, {"m": Wish(in_flight={"m/0": 6})}) == 1
    assert needed(of, {"m": Wish(in_flight={"m/0": 8}, waiting=5)}) == 3


def test_a_replica_goes_once_it_was_not_needed_for_as_long_as_idle_says() -> None:
    of = workload("{min: 0, idle: 60s}")
    first = count(of, there=1)
    assert first == Wanted(count=1, lulls={"m/0": NOW}, until=NOW + 60)
    later = Memory(lulls=first.lulls)
    assert count(of, there=1, memory=later, now=NOW + 59).count == 1
    assert count(of, there=1, memory=later, now=NOW + 60) == Wanted(count=0, lulls={"m/0": NOW})


def test_one_request_begins_the_idle_time_anew() -> None:
    of = workload("{min: 0, idle: 60s}")
    lull = Memory(lulls={"m/0": NOW - 59})
    assert count(of, Wish(in_flight={"m/0": 1}), there=1, memory=lull).lulls == {}


def test_what_a_gateway_may_be_serving_unheard_is_not_idle() -> None:
    """Its idle time begins once somebody tells of it again."""
    of = workload("{min: 0, max: 2, idle: 60s}")
    lull = Memory(lulls={"m/0": NOW - 90, "m/1": NOW - 30})
    found = count(of, Wish(unheard=True), there=2, memory=lull)
    assert found == Wanted(count=2, lulls={"m/0": NOW, "m/1": NOW})
    assert count(of, there=2, memory=Memory(lulls=found.lulls), now=NOW + 59).count == 2
    assert count(of, Wish(unheard=True), there=0).count == 0, "nothing is started for it"


def test_each_replica_has_its_own_idle_time() -> None:
    """One is in use with short gaps; only the other goes."""
    of = workload("{min: 0, max: 2, idle: 60s}")
    memory = Memory(lulls={"m/0": NOW - 1, "m/1": NOW - 60})
    assert count(of, there=2, memory=memory).count == 1


def test_all_that_are_idle_go_together() -> None:
    of = workload("{min: 1, max: 4, idle: 60s}")
    memory = Memory(lulls={f"m/{index}": NOW - 60 for index in range(1, 4)})
    assert count(of, there=4, memory=memory).count == 1


def test_the_number_falls_from_the_last_one() -> None:
    """The second is idle for long, the third is not: nobody goes from the middle."""
    of = workload("{min: 0, max: 3, idle: 60s}")
    memory = Memory(lulls={"m/1": NOW - 100, "m/2": NOW - 10})
    found = count(of, Wish(in_flight={"m/0": 1}), there=3, memory=memory)
    assert (found.count, found.until) == (3, NOW + 50)


def test_commands_come_before_demand() -> None:
    of = workload("{min: 0, max: 2}")
    scaled = Memory(overrides={"m": Override(replicas=1, declared=(0, 2))})
    assert count(of, memory=scaled).count == 1
    assert count(of, Wish(waiting=50), memory=scaled).count == 1
    assert firm(of, scaled) == 1
    stopped = Memory(overrides={"m": Override(stopped=True)})
    assert count(of, Wish(waiting=50), memory=stopped, there=1).count == 0
    assert firm(of, stopped) == 0


def test_a_command_is_over_once_its_file_says_another_number() -> None:
    of = workload("{min: 0, max: 2}")
    scaled = Memory(overrides={"m": Override(replicas=2, declared=(0, 1))})
    assert count(of, memory=scaled).count == 0


def test_fewer_than_run_are_declared_now() -> None:
    of = workload("{min: 0, max: 1}")
    assert count(of, there=3).count == 1


def test_what_ended_or_ends_is_not_there() -> None:
    of = fleet("kind: Model\nname: m\nsource: hf:o/m\nengine: vllm\ngpus: 0\nreplicas: {min: 0, max: 3}")
    one = of.workloads["m"]
    ended = instance(of, "m/1", Exited(at=1.0, code=0))
    ends = instance(of, "m/2", Stopping(pid=1, since=1.0, asked=Reason.Idle))
    assert present(one, [instance(of, "m/0"), ended, ends]) == 1
    assert present(one, [ended, ends]) == 0
    assert present(one, [ended, instance(of, "m/2")]) == 3, "the one that serves keeps its slot"


def test_a_restarted_daemon_gives_what_is_idle_its_idle_time_again() -> None:
    of = fleet("kind: Model\nname: m\nsource: hf:o/m\nengine: vllm\ngpus: 0\nreplicas: {min: 0, idle: 60s}")
    on = machine(instance(of, "m/0"))
    first = decide(of, on)
    assert (str(first), first.lulls, first.wake_at) == ("nothing to do", {"m/0": NOW}, NOW + 60)
    assert str(decide(of, on, memory=Memory(lulls=first.lulls), now=NOW + 60)) == "stop m/0: Idle"


def test_while_nothing_can_be_seen_idle_time_goes_on() -> None:
    of = fleet("kind: Model\nname: m\nsource: hf:o/m\nengine: vllm\ngpus: 0\nreplicas: {min: 0, idle: 60s}")
    on = machine()
    unseen = decide(
        of, type(on)(host=on.host, instances=Unknown(reason="no answer")), memory=Memory(lulls={"m/0": NOW - 5})
    )
    assert unseen.lulls == {"m/0": NOW - 5}
