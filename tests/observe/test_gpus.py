"""GPUs: the real binding on a stub of the driver's library, in a process of its own; simulated ones; none."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from reconciler.model.observation import Gpu, Holder, Unknown
from reconciler.observe import processes
from reconciler.observe.gpus import Gpus, materially
from reconciler.observe.inventory import Inventory
from tests.eventually import eventually

ROOT = Path(__file__).parents[2]
MIB = 2**20
TWO = "card GPU-a NVIDIA_H200 144384 512\ncard GPU-b NVIDIA_H200 144384 0\nlink 0 1\n"

# Answers each line of its input with what it sees.
WATCHER = """
import json, sys, threading, time
from dataclasses import asdict
from reconciler.model.observation import Unknown
from reconciler.observe.gpus import Gpus

changes = []
began = time.monotonic()
gpus = Gpus(sys.argv[1], clock=time.monotonic, on_change=lambda: changes.append(1), interval=0.01, deadline=0.3)
gpus.start()
waited = time.monotonic() - began
for line in sys.stdin:
    if line == "stop\\n":
        gpus.stop()
    reading = gpus.look()
    threads = [thread.name for thread in threading.enumerate()]
    seen = {"unknown": reading.reason} if isinstance(reading, Unknown) else [asdict(gpu) for gpu in reading]
    print(json.dumps({"seen": seen, "changes": len(changes), "threads": threads, "waited": waited}), flush=True)
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nvml")
    source = Path(__file__).with_name("nvml_stub.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", folder / "libnvidia-ml.so.1", source], check=True)
    return folder


class Driver:
    """The stub's cards, and a process that watches them."""

    def __init__(self, folder, cards):
        self.cards = folder / "cards"
        self.has(cards)
        self.process = None

    def has(self, text):
        draft = self.cards.with_suffix(".new")
        draft.write_text(text)
        draft.rename(self.cards)

    def watch(self, library, source="auto"):
        environment = {**os.environ, "LD_LIBRARY_PATH": str(library), "NVML_STUB": str(self.cards)}
        argv = [sys.executable, "-c", WATCHER, source]
        self.process = subprocess.Popen(
            argv, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.ask()  # from here on, another reading is another one
        return self

    def ask(self, word="look"):
        assert self.process
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def seen(self) -> Any:
        return self.ask()["seen"]


@pytest.fixture
def driver(tmp_path):
    made = []

    def make(cards):
        made.append(Driver(tmp_path, cards))
        return made[-1]

    yield make
    for one in made:
        if one.process:
            one.process.kill()
            one.process.communicate()


def test_every_card_is_seen_with_what_is_on_it(library, driver):
    """Model, memory, links, and who holds it: compute and graphics are one holder, untold memory is 0."""
    me = os.getpid()
    watch = driver(f"{TWO}compute 0 {me} 500\ngraphics 0 {me} -1\ngraphics 1 1 -1\n").watch(library)
    gib = 141 * 1024 * MIB
    holder = {"pid": me, "name": processes.name(me), "memory": 500 * MIB, "slot": None}
    other = {"pid": 1, "name": processes.name(1), "memory": 0, "slot": None}
    card = {"model": "NVIDIA H200", "node": "", "memory": gib}
    first = {"index": 0, "uuid": "GPU-a", **card, "used": 512 * MIB, "links": [1]}
    second = {"index": 1, "uuid": "GPU-b", **card, "used": 0, "links": [0]}
    assert watch.seen() == [{**first, "holders": [holder]}, {**second, "holders": [other]}]


def test_a_stranger_who_takes_memory_is_seen_and_wakes_the_loop(library, driver):
    """Fault 25: what is used grows, and the stranger has a name."""
    watch = driver(TWO).watch(library)
    assert watch.ask()["changes"] == 0, "the first reading is no change"
    watch.has(TWO.replace("144384 0", "144384 90000") + "compute 1 1 90000\n")
    eventually(lambda: watch.ask()["changes"] > 0)
    card: Any = eventually(lambda: watch.seen()[1] if watch.seen()[1]["holders"] else None)
    assert card["used"] == 90000 * MIB
    assert card["holders"] == [{"pid": 1, "name": processes.name(1), "memory": 90000 * MIB, "slot": None}]


def test_a_little_more_memory_is_seen_and_wakes_nobody(library, driver):
    """Caches breathe; only 64 MiB and more may make another plan."""
    watch = driver(TWO).watch(library)
    watch.has(TWO.replace("144384 512", "144384 575"))
    eventually(lambda: watch.seen()[0]["used"] == 575 * MIB)
    assert watch.ask()["changes"] == 0


def test_memory_that_creeps_up_wakes_the_loop_in_the_end(library, driver):
    """Each step is small; what counts is the distance from what was last told."""
    watch = driver(TWO).watch(library)
    for used in range(512, 700, 40):
        watch.has(TWO.replace("144384 512", f"144384 {used}"))
        eventually(lambda used=used: watch.seen()[0]["used"] == used * MIB)
    eventually(lambda: watch.ask()["changes"] > 0)


def test_while_the_driver_hangs_nothing_is_known(library, driver):
    """Fault 27: past the deadline the values are not believed; once it answers again they are new ones."""
    watch = driver(TWO).watch(library)
    assert len(watch.seen()) == 2
    watch.has(TWO + "hang 1\n")
    silent: Any = eventually(lambda: watch.seen() if "unknown" in watch.seen() else None)
    assert silent["unknown"].startswith("NVML has not answered for ")
    changes = watch.ask()["changes"]
    watch.has(TWO.replace("144384 0", "144384 8"))
    eventually(lambda: isinstance(watch.seen(), list) and watch.seen()[1]["used"] == 8 * MIB)
    eventually(lambda: watch.ask()["changes"] > changes, what="the loop is told that it can plan again")


def test_a_driver_that_hangs_from_the_start_holds_up_nobody(library, driver):
    """The first reading is waited for up to its deadline, and is not taken for an empty machine."""
    watch = driver(TWO + "hang 1\n").watch(library)
    answer = watch.ask()
    assert "unknown" in answer["seen"]
    assert answer["waited"] < 15


def test_a_driver_that_fails_is_not_a_machine_without_gpus(library, driver):
    """At the start and later on; and it is tried again."""
    watch = driver("init 999\n").watch(library)
    assert watch.seen() == {"unknown": "NVML: Unknown Error"}
    watch.has(TWO)
    eventually(lambda: isinstance(watch.seen(), list))
    watch.has(TWO + "fail 999\n")
    eventually(lambda: watch.seen() == {"unknown": "NVML: Unknown Error"})
    watch.has("init 9\n" + TWO)
    eventually(lambda: watch.seen() == {"unknown": "NVML: Driver Not Loaded"})
    watch.has(TWO)
    eventually(lambda: isinstance(watch.seen(), list))


def test_a_card_that_fell_off_the_bus_is_gone_and_the_others_are_not(library, driver):
    """The driver is sure of it (XID 79): it is no longer there to be given to anyone."""
    watch = driver(TWO).watch(library)
    watch.has(TWO + "lost 0\n")
    left: Any = eventually(lambda: watch.seen() if len(watch.seen()) == 1 else None)
    assert [(card["index"], card["uuid"]) for card in left] == [(1, "GPU-b")]
    eventually(lambda: watch.ask()["changes"] > 0)
    watch.has(TWO)
    eventually(lambda: len(watch.seen()) == 2)


def test_a_card_that_comes_is_seen(library, driver):
    """Cached handles do not hide it."""
    watch = driver(TWO).watch(library)
    watch.has(TWO + "card GPU-c NVIDIA_L4 23034 0\n")
    eventually(lambda: [card["model"] for card in watch.seen()] == ["NVIDIA H200", "NVIDIA H200", "NVIDIA L4"])


def test_a_card_that_goes_leaves_its_index_to_the_next(library, driver):
    """Indices shift: nothing that was kept of the one is told of the other."""
    watch = driver(TWO).watch(library)
    watch.has("card GPU-b NVIDIA_H200 144384 0\n")
    eventually(lambda: [(card["index"], card["uuid"]) for card in watch.seen()] == [(0, "GPU-b")])


def test_after_stop_the_driver_is_asked_no_more(library, driver):
    """Its thread ends."""
    watch = driver(TWO).watch(library)
    assert "gpus" in watch.ask()["threads"]
    eventually(lambda: "gpus" not in watch.ask("stop")["threads"])


def test_without_a_driver_there_are_no_gpus_and_no_thread(tmp_path, driver):
    """That is known, not unknown; and it costs nothing to know."""
    watch = driver("").watch(tmp_path)
    assert watch.seen() == []
    eventually(lambda: watch.ask()["threads"] == ["MainThread"])


def test_a_driver_that_was_asked_for_by_name_and_is_not_there_is_unknown(tmp_path, driver):
    """`nvidia` says that there must be one."""
    assert driver("").watch(tmp_path, "nvidia").seen() == {"unknown": "there is no NVIDIA driver on this machine"}


def test_the_gpus_of_an_inventory_are_those_written_in_it():
    """No thread, no driver."""
    gpus = (Gpu(index=0, uuid="GPU-x", model="H200", memory=10, used=1),)
    before = threading.active_count()
    poller = Gpus(Inventory(node="box1", memory=1, gpus=gpus), clock=lambda: 0.0)
    poller.start()
    assert poller.look() is gpus
    assert threading.active_count() == before


def card(uuid="GPU-a", used=0, holders=()):
    return Gpu(index=0, uuid=uuid, model="m", memory=1000 * MIB, used=used, holders=holders)


ME, YOU = Holder(pid=1, name="a", memory=1), Holder(pid=2, name="b", memory=1)
CHANGES = {
    "nothing": ((card(),), (card(),), False),
    "63 MiB more": ((card(),), (card(used=63 * MIB),), False),
    "64 MiB more": ((card(),), (card(used=64 * MIB),), True),
    "64 MiB less": ((card(used=64 * MIB),), (card(),), True),
    "another holder": ((card(holders=(ME,)),), (card(holders=(YOU,)),), True),
    "a holder's share only": ((card(holders=(ME,)),), (card(holders=(Holder(pid=1, name="a", memory=9),)),), False),
    "a card more": ((), (card(),), True),
    "a card in the place of another": ((card(),), (card(uuid="GPU-b"),), True),
    "known, then not": ((card(),), Unknown(reason="x"), True),
    "still unknown": (Unknown(reason="x"), Unknown(reason="x"), False),
}


@pytest.mark.parametrize(("before", "after", "wakes"), CHANGES.values(), ids=CHANGES)
def test_what_wakes_the_loop(before, after, wakes):
    """Only what may lead to another plan."""
    assert materially(before, after) is wakes
