"""One look: what is merged, what keeps its identity, and whom it tells."""

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from reconciler.model.observation import (
    Exited,
    Failing,
    Gpu,
    Holder,
    Host,
    NotReady,
    Ready,
    Recorded,
    Running,
    Stopping,
    Unknown,
)
from reconciler.model.plan import Strikes
from reconciler.model.status import Reason
from reconciler.observe.gather import Look, offline
from reconciler.observe.inventory import Inventory
from tests.observe.sights import launch, running

HOST = Host(name="box1", cpus=2, memory=8, available=4)
PORTS = frozenset({22})


class Probes:
    """A recorder in the place of the prober: `known` is what it says of each slot."""

    def __init__(self):
        self.known = {}
        self.had_been_ready = {}
        self.calls = []

    def watch(self, instance):
        self.calls.append(("watch", instance.slot))
        self.known.setdefault(instance.slot, (instance.phase.readiness, instance.phase.was_ready))

    def end(self, slot, run):
        self.calls.append(("end", slot, run))
        self.known.pop(slot, None)

    def forget(self, slot):
        self.calls.append(("forget", slot))
        self.known.pop(slot, None)

    def readiness(self, slot):
        return self.known.get(slot)

    def ready_for(self, slot, run):
        return self.had_been_ready.get((slot, run))


class World:
    """What there is to see."""

    def __init__(self, *instances):
        self.instances = {instance.slot: instance for instance in instances}
        self.unknown: Any = None
        self.gpus: Any = ()
        self.probes = Probes()
        self.told = []
        self.reads = []
        self.look: Any = Look(
            instances=lambda: self.read("instances", self.unknown or self.instances),
            gpus=lambda: self.read("gpus", self.gpus),
            host=lambda: self.read("host", HOST),
            ports=lambda: self.read("ports", PORTS),
            prober=self.probes,  # pyright: ignore[reportArgumentType] - a recorder
            on_ready=lambda slot, since: self.told.append((slot, since)),
        )

    def read(self, what, value):
        self.reads.append(what)
        return value

    def becomes(self, instance):
        self.instances[instance.slot] = instance
        self.look.changed(instance.slot)

    def answers(self, slot, readiness, *, was_ready=True):
        self.probes.known[slot] = readiness, was_ready
        self.look.changed(slot)


def test_each_fact_is_read_once():
    """In the first look and in every other."""
    world = World(running())
    seen = world.look()
    assert sorted(world.reads) == ["gpus", "host", "instances", "ports"]
    world.look()
    assert sorted(world.reads) == sorted(["gpus", "host", "instances", "ports"] * 2)
    assert (seen.host, seen.ports, seen.gpus) == (HOST, PORTS, ())


def test_what_did_not_change_is_the_same_object():
    """Mappings too, so that comparing two looks is comparing two addresses."""
    world = World(running("a/0", readiness=Ready(since=1.0), was_ready=True), running("b/0"))
    first = world.look()
    second = world.look()
    assert second.instances is first.instances
    assert second.healthy is first.healthy
    world.answers("b/0", NotReady(detail="503 Loading model"), was_ready=False)
    third = world.look()
    assert third.instances["a/0"] is first.instances["a/0"]
    assert third.instances["b/0"].phase.readiness == NotReady(detail="503 Loading model")
    assert third.healthy is first.healthy
    assert first.instances["b/0"].phase.readiness == NotReady(), "an earlier look is not written into"


def test_a_change_that_changes_nothing_changes_no_object():
    """The runtime may tell too often."""
    world = World(running())
    first = world.look()
    world.becomes(replace(world.instances["m/0"]))
    assert world.look().instances is first.instances


def test_readiness_is_the_probers():
    """Whatever the runtime's own record says of it."""
    world = World(running())
    assert world.look().healthy == {}
    world.answers("m/0", Ready(since=5.0))
    seen = world.look()
    assert seen.instances["m/0"].phase == Running(pid=1, since=0.0, readiness=Ready(since=5.0), was_ready=True)
    assert seen.healthy == {"m/0": "f:l"}
    world.answers("m/0", Failing(since=6.0, failures=1, detail="no answer in 3s"))
    assert world.look().healthy == {}


def test_what_owes_to_earlier_failures_is_not_in_the_index_of_the_healthy():
    """It is ready, and the planner still has something to do about it."""
    world = World(running(readiness=Ready(since=1.0), was_ready=True, strikes=Strikes(count=1)))
    assert world.look().healthy == {}


def test_readiness_is_told_once_so_that_the_record_can_say_it():
    """At first, and again after a recovery; not of what was adopted as ready."""
    world = World(running("a/0"), running("b/0", readiness=Ready(since=1.0), was_ready=True))
    world.look()
    world.answers("a/0", Ready(since=5.0))
    for _ in range(3):
        world.look.changed("a/0")
        world.look()
    assert world.told == [("a/0", 5.0)]
    world.answers("a/0", Failing(since=6.0, failures=1, detail="x"))
    world.look()
    world.answers("a/0", Ready(since=7.0))
    world.look()
    assert world.told == [("a/0", 5.0), ("a/0", 7.0)]


def test_what_runs_is_watched_and_what_does_not_is_not():
    """Recorded: not yet. Stopping and exited: no more. Gone: forgotten."""
    world = World(running("a/0"))
    world.becomes(replace(world.instances["a/0"], slot="r/0", launch=launch("r/0"), phase=Recorded()))
    world.look()
    assert world.probes.calls == [("watch", "a/0")]
    world.becomes(replace(world.instances["a/0"], phase=Stopping(pid=1, since=1.0, asked=Reason.SpecChanged)))
    world.look()
    world.becomes(replace(world.instances["a/0"], phase=Exited(at=2.0, code=0)))
    world.look()
    del world.instances["a/0"]
    world.look.changed("a/0")
    assert "a/0" not in world.look().instances
    assert world.probes.calls[1:] == [("end", "a/0", 1), ("end", "a/0", 1), ("forget", "a/0")]


def test_how_long_it_had_been_ready_is_added_where_the_record_knows_less():
    """The prober saw it; the record may have been written before."""
    world = World(running())
    world.look()
    world.probes.had_been_ready = {("m/0", 1): 700.0}
    world.becomes(replace(world.instances["m/0"], phase=Exited(at=800.0, code=1, ready_for=650.0)))
    assert world.look().instances["m/0"].phase == Exited(at=800.0, code=1, ready_for=700.0)
    world.becomes(replace(world.instances["m/0"], phase=Exited(at=800.0, code=1, ready_for=750.0)))
    assert world.look().instances["m/0"].phase.ready_for == 750.0


def test_while_instances_are_unknown_none_is_forgotten():
    """Unknown is not absent; and whatever happened meanwhile is seen when they are known again."""
    world = World(running("a/0"), running("b/0"))
    world.look()
    world.probes.calls.clear()
    world.unknown = Unknown(reason="cannot read the state directory")
    seen = world.look()
    assert (seen.instances, seen.healthy) == (world.unknown, {})
    assert world.probes.calls == []
    world.unknown = None
    world.instances["b/0"] = replace(world.instances["b/0"], phase=Exited(at=1.0))
    assert world.look().instances["b/0"].phase == Exited(at=1.0)


def test_an_instance_that_nobody_told_of_is_seen_all_the_same():
    """A lost event costs seconds, not correctness."""
    world = World(running("a/0"))
    world.look()
    world.instances["b/0"] = running("b/0")
    assert sorted(world.look().instances) == ["a/0", "b/0"]
    del world.instances["a/0"]
    assert sorted(world.look().instances) == ["b/0"]


def gpu(*holders):
    return Gpu(index=0, uuid="GPU-a", model="H200", memory=10, used=5, holders=holders)


@pytest.fixture
def family():
    """A process that leads a session, and its child."""
    program = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline()
        with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
            yield process.pid, int(file.read())
        process.communicate()


def test_holders_of_gpus_are_ours_by_session_and_everyone_elses_are_not(family):
    """Fault 25: an engine's worker is its instance's; whoever else holds memory stays a stranger."""
    leader, child = family
    world = World(running("chat/0", pid=leader))
    mine, worker, stranger = (Holder(pid=pid, name="x", memory=1) for pid in (leader, child, os.getpid()))
    world.gpus = (gpu(mine, worker, stranger),)
    seen = world.look()
    assert [holder.slot for holder in seen.gpus[0].holders] == ["chat/0", "chat/0", None]
    assert world.look().gpus is seen.gpus
    world.becomes(replace(world.instances["chat/0"], phase=Stopping(pid=leader, since=1.0, asked=Reason.SpecChanged)))
    assert [holder.slot for holder in world.look().gpus[0].holders] == ["chat/0", "chat/0", None]
    world.becomes(replace(world.instances["chat/0"], phase=Exited(at=1.0)))
    assert [holder.slot for holder in world.look().gpus[0].holders] == [None, None, None]


def test_unknown_gpus_stay_unknown():
    """With their reason."""
    world = World(running())
    world.gpus = Unknown(reason="NVML has not answered for 7s")
    assert world.look().gpus is world.gpus


def test_without_a_daemon_there_are_no_instances_and_an_inventory_stands_for_the_machine():
    """`holdfast plan --inventory`: that machine's name, memory and GPUs, and not this one's ports."""
    cards = (gpu(),)
    seen = offline([Inventory(node="box1", memory=512, driver="580", gpus=cards)], lambda: 0.0)
    assert (seen.host.name, seen.host.memory, seen.host.driver) == ("box1", 512, "580")
    assert (seen.gpus, seen.instances, seen.ports) == (cards, {}, frozenset())


def test_without_a_daemon_and_without_an_inventory_this_machine_is_looked_at():
    """No GPU here is known to be none."""
    seen = offline((), lambda: 0.0)
    assert seen.host.cpus == len(os.sched_getaffinity(0))
    assert isinstance(seen.ports, frozenset)
    assert seen.instances == {}
