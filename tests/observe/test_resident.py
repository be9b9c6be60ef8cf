"""Host memory of what runs: what is counted of real processes, and when whose turn it is."""

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

from reconciler.model.observation import NotReady, Resident, Running
from reconciler.observe.resident import AT_ONCE, Residents, count
from tests.plan.world import fleet, instance, running

MIB = 2**20
HOLDS = "held = bytearray(b'1') * (60 << 20)"
MAPS = """
import mmap
file = open({path!r}, "rb")
mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
total = sum(mapped[place] for place in range(0, len(mapped), 4096))
"""
FORKS = f"""
import os, time
{HOLDS}
read, write = os.pipe()
if os.fork() == 0:
    more = bytearray(b'2') * (30 << 20)
    os.write(write, b'1')
    time.sleep(60)
os.read(read, 1)
"""
WAITS = "\nprint('there', flush=True)\ninput()\n"


@contextmanager
def process(program: str) -> Generator[int]:
    """A process that has done that, and waits; its pid."""
    with subprocess.Popen(
        [sys.executable, "-c", program + WAITS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline()
        yield child.pid
        os.killpg(child.pid, signal.SIGKILL)


def counted(pid: int) -> Resident:
    """What is counted of one."""
    return count({"a/0": (3, pid)})["a/0"]


def test_what_a_process_holds_is_its_own() -> None:
    with process("pass") as bare, process(HOLDS) as full:
        assert counted(full).run == 3
        assert 55 * MIB < counted(full).own - counted(bare).own < 65 * MIB


def test_what_it_has_mapped_of_files_is_told_apart(tmp_path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"1" * 40 * MIB)
    with process("pass") as bare, process(MAPS.format(path=str(path))) as full:
        assert counted(full).own - counted(bare).own < 5 * MIB
        assert 38 * MIB < counted(full).files - counted(bare).files < 42 * MIB


def test_its_children_count_with_it_and_what_they_share_once() -> None:
    """A forked child shares all pages that neither has written to since."""
    with process("pass") as bare, process(FORKS) as parent:
        assert 80 * MIB < counted(parent).own - counted(bare).own < 110 * MIB


def test_one_that_has_ended_is_left_out() -> None:
    assert count({"a/0": (1, 2**22 - 1)}) == {}


SERVICES = "".join(f"kind: Service\nname: s{number}\ncommand: [serve]\n---\n" for number in range(AT_ONCE + 8))
ONE = Resident(run=1, own=5, files=0)


class Clock:
    """A clock that is set by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_who_is_ready_is_counted_a_few_at_a_time_and_each_has_its_turn() -> None:
    of, residents = fleet(SERVICES), Residents(Clock())
    there = {f"{name}/0": instance(of, f"{name}/0") for name in of.workloads}
    first = residents.due(there)
    residents.take(dict.fromkeys(first, ONE))
    second = residents.due(there)
    assert (len(first), len(second)) == (AT_ONCE, 8)
    assert {*first, *second} == there.keys()


def test_one_that_loads_is_not_counted() -> None:
    loads = instance(fleet(SERVICES), "s0/0", Running(pid=1, since=1.0, readiness=NotReady()))
    assert Residents(Clock()).due({"s0/0": loads}) == {}


def test_it_is_counted_more_and_more_seldom_and_anew_with_each_run() -> None:
    clock, of = Clock(), fleet(SERVICES)
    residents, there = Residents(clock), {"s0/0": instance(of, "s0/0")}
    waits: list[float] = []
    for _ in range(5):
        assert residents.due(there) == {"s0/0": (1, 4000)}
        residents.take({"s0/0": ONE})
        begun = clock.now
        while not residents.due(there):
            clock.now += 10
        waits.append(clock.now - begun)
    assert waits == [10, 40, 160, 600, 600]
    residents.take({"s0/0": ONE})
    assert residents.due({"s0/0": instance(of, "s0/0", running(), run=2)}) == {"s0/0": (2, 4000)}


def test_the_same_figures_are_the_same_object_and_what_is_gone_is_forgotten() -> None:
    clock, there = Clock(), {"s0/0": instance(fleet(SERVICES), "s0/0")}
    residents = Residents(clock)
    residents.take({"s0/0": ONE})
    known = residents.known
    residents.take({"s0/0": ONE})
    assert residents.known is known
    assert residents.due(there) == {}
    residents.due({})
    assert residents.known == {}
