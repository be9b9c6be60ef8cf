"""GPUs: the real binding on a stub of the driver's library, in a process of its own; simulated ones; none."""

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
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
from reconciler.observe.amd import Amd

changes = []
began = time.monotonic()
amd = Amd(clock=time.monotonic, drm=sys.argv[2] + "/drm", proc=sys.argv[2] + "/proc")
gpus = Gpus(sys.argv[1], amd=amd, clock=time.monotonic, on_change=lambda: changes.append(1),
            interval=0.01, deadline=0.3, quiet=0.5)
gpus.start()
waited = time.monotonic() - began
for line in sys.stdin:
    if line == "stop\\n":
        gpus.stop()
    reading = gpus.look()
    threads = [thread.name for thread in threading.enumerate()]
    seen = {"unknown": reading.reason} if isinstance(reading, Unknown) else [asdict(gpu) for gpu in reading]
    print(json.dumps({"seen": seen, "changes": len(changes), "threads": threads, "waited": waited,
        "meters": {uuid: asdict(one) for uuid, one in gpus.meters().items()}}), flush=True)
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
        argv = [sys.executable, "-c", WATCHER, source, str(self.cards.parent)]
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


def cards(watch) -> Any:
    """What is known of them, once anything is: a slow machine is late to ask, and that is told as "unknown"."""
    found: Any = eventually(lambda: isinstance(now := watch.seen(), list) and [now], what="cards are known")
    return found[0]


def test_every_card_is_seen_with_what_is_on_it(library, driver):
    """Model, memory, links, and who holds it: compute and graphics are one holder, untold memory is 0."""
    me = os.getpid()
    watch = driver(f"{TWO}compute 0 {me} 500\ngraphics 0 {me} -1\ngraphics 1 1 -1\n").watch(library)
    gib = 141 * 1024 * MIB
    holder = {"pid": me, "name": processes.name(me), "memory": 500 * MIB, "slot": None}
    other = {"pid": 1, "name": processes.name(1), "memory": 0, "slot": None}
    card: dict[str, object] = {
        "model": "NVIDIA H200",
        "node": "",
        "memory": gib,
        "maker": "nvidia",
        "part": False,
        "cordoned": "",
    }
    card["numa"] = None
    first = {"index": 0, "uuid": "GPU-a", **card, "used": 512 * MIB, "links": [1]}
    second = {"index": 1, "uuid": "GPU-b", **card, "used": 0, "links": [0]}
    assert cards(watch) == [{**first, "holders": [holder]}, {**second, "holders": [other]}]


def test_a_stranger_who_takes_memory_is_seen_and_wakes_the_loop(library, driver):
    """Fault 25: what is used grows, and the stranger has a name."""
    watch = driver(TWO).watch(library)
    assert watch.ask()["changes"] == 0, "the first reading is no change"
    watch.has(TWO.replace("144384 0", "144384 90000") + "compute 1 1 90000\n")
    eventually(lambda: watch.ask()["changes"] > 0)
    card: Any = eventually(lambda: (now := cards(watch)[1])["holders"] and now)
    assert card["used"] == 90000 * MIB
    assert card["holders"] == [{"pid": 1, "name": processes.name(1), "memory": 90000 * MIB, "slot": None}]


def test_a_little_more_memory_is_seen_and_wakes_nobody(library, driver):
    """Caches breathe; only 64 MiB and more may make another plan."""
    watch = driver(TWO).watch(library)
    watch.has(TWO.replace("144384 512", "144384 575"))
    eventually(lambda: cards(watch)[0]["used"] == 575 * MIB)
    assert watch.ask()["changes"] == 0


def test_memory_that_creeps_up_wakes_the_loop_in_the_end(library, driver):
    """Each step is small; what counts is the distance from what was last told."""
    watch = driver(TWO).watch(library)
    for used in range(512, 700, 40):
        watch.has(TWO.replace("144384 512", f"144384 {used}"))
        eventually(lambda used=used: cards(watch)[0]["used"] == used * MIB)
    eventually(lambda: watch.ask()["changes"] > 0)


def test_while_the_driver_hangs_nothing_is_known(library, driver):
    """Fault 27: past the deadline the values are not believed; once it answers again they are new ones."""
    watch = driver(TWO).watch(library)
    assert len(cards(watch)) == 2
    watch.has(TWO + "hang 1\n")
    silent: Any = eventually(lambda: "unknown" in (now := watch.seen()) and now)
    assert silent["unknown"].startswith("the driver has not answered for ")
    assert "(asked about " in silent["unknown"]
    changes = watch.ask()["changes"]
    watch.has(TWO.replace("144384 0", "144384 8"))
    eventually(lambda: cards(watch)[1]["used"] == 8 * MIB)
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
    cards(watch)
    watch.has(TWO + "fail 999\n")
    eventually(lambda: watch.seen() == {"unknown": "NVML: Unknown Error"})
    watch.has("init 9\n" + TWO)
    eventually(lambda: watch.seen() == {"unknown": "NVML: Driver Not Loaded"})
    watch.has(TWO)
    cards(watch)


def cordons(watch) -> Any:
    """By index and identity: why each card is cordoned."""
    return {(card["index"], card["uuid"]): card["cordoned"] for card in cards(watch)}


def test_a_card_that_fell_off_the_bus_is_cordoned_and_the_others_are_not(library, driver):
    """Fault 26: it is told of with what was known of it, and taken back once it has been well for a while."""
    watch = driver(TWO).watch(library)
    watch.has(TWO + "lost 0\n")
    why = "XID 79, it has fallen off the bus; restart the machine, or load its driver anew"
    eventually(lambda: cordons(watch) == {(0, "GPU-a"): why, (1, "GPU-b"): ""})
    assert cards(watch)[0]["memory"] == 144384 * MIB
    eventually(lambda: watch.ask()["changes"] > 0)
    watch.has(TWO)
    again: Any = eventually(lambda: [one for one in cordons(watch).values() if "it answers again" in one])
    assert again == [f"{why} (it answers again, and is taken back once it has been well for 0 s)"]
    eventually(lambda: set(cordons(watch).values()) == {""})


def test_a_card_that_was_lost_before_anyone_looked_is_told_of(library, driver):
    """Nothing is known of it but where it should be."""
    watch = driver(TWO + "lost 0\n").watch(library)
    assert [(card["model"], card["memory"]) for card in cards(watch)] == [("unknown", 0), ("NVIDIA H200", 144384 * MIB)]
    assert cordons(watch)[0, "gpu 0"].startswith("XID 79")
    watch.has(TWO)
    eventually(lambda: set(cordons(watch)) == {(0, "GPU-a"), (1, "GPU-b")}, what="it has its name again")


def test_a_critical_error_cordons_a_card_that_answers(library, driver):
    """The driver tells of it while we wait, and only once; it is believed until the card was reset."""
    watch = driver(TWO).watch(library)
    watch.has(TWO + "xid 1 1 48\n")
    eventually(lambda: "XID 48, memory that cannot be corrected; reset it" in cordons(watch)[1, "GPU-b"])
    watch.has(TWO)
    assert watch.ask()["meters"]["GPU-b"]["xid"] == 48
    threading.Event().wait(1)
    assert cordons(watch)[1, "GPU-b"].startswith("XID 48"), "time alone does not mend it"
    watch.has(TWO + "broken 1 16\n")
    eventually(lambda: "it has to be reset" in cordons(watch)[1, "GPU-b"])
    watch.has(TWO)
    eventually(lambda: set(cordons(watch).values()) == {""})


def test_an_error_of_a_program_cordons_nothing(library, driver):
    """XID 31 is a fault of who computes there."""
    watch = driver(TWO).watch(library)
    watch.has(TWO + "xid 1 0 31\n")
    eventually(lambda: watch.ask()["meters"]["GPU-a"]["xid"] == 31)
    assert set(cordons(watch).values()) == {""}


def test_ecc_errors_and_what_the_driver_asks_for_cordon_a_card(library, driver):
    """Until they are gone: they are counted from the load of the driver."""
    watch = driver(TWO).watch(library)
    watch.has(TWO + "ecc 0 2\naction 1 2\n")
    wanted = [
        "2 uncorrectable ECC errors since its driver was loaded; reset it (`nvidia-smi --gpu-reset`) or restart the "
    ]
    wanted = [f"{wanted[0]}machine", "its driver asks for it; restart the machine"]
    eventually(lambda: [*cordons(watch).values()] == wanted)
    watch.has(TWO)
    eventually(lambda: set(cordons(watch).values()) == {""})


def test_a_card_that_fails_is_unknown_at_first_and_cordoned_in_the_end(library, driver):
    """One failure may pass: meanwhile nothing is believed. Then it is that card's alone."""
    watch = driver(TWO).watch(library)
    watch.has(TWO + "broken 1 999\n")
    eventually(lambda: cordons(watch)[1, "GPU-b"] == "gpu 1: NVML: Unknown Error, again and again")
    assert cordons(watch)[0, "GPU-a"] == ""


def test_a_card_that_answers_too_late_is_cordoned(library, driver):
    """It hangs: its name is told, and the others stay."""
    watch = driver(TWO).watch(library)
    watch.has(TWO + "slow 1 400\n")
    eventually(lambda: "took" in cordons(watch)[1, "GPU-b"])
    assert cordons(watch)[0, "GPU-a"] == ""


def test_mig_instances_are_cards_of_their_own(library, driver):
    """A card that is cut into parts is not given to anyone; one that was whole before is told of."""
    parts = "mig 0\npart 0 MIG-1 18000 10\npart 0 MIG-2 18000 0\n"
    watch = driver(TWO).watch(library)
    watch.has(TWO + parts)
    eventually(lambda: len(cordons(watch)) == 4)
    assert [(c["index"], c["uuid"], c["part"], c["used"] // MIB) for c in cards(watch) if not c["cordoned"]] == [
        (1, "GPU-b", False, 0), (100, "MIG-1", True, 10), (101, "MIG-2", True, 0)
    ]  # fmt: skip
    assert cordons(watch)[0, "GPU-a"] == "MIG was switched on: its instances are cards of their own"
    later = driver(TWO + parts).watch(library)
    assert set(cordons(later)) == {(1, "GPU-b"), (100, "MIG-1"), (101, "MIG-2")}
    later.has(TWO + parts.replace("part 0 MIG-2 18000 0\n", "ecc 0 1\n"))
    eventually(lambda: "ECC" in (now := cordons(later))[100, "MIG-1"] and "does not list it" in now[101, "MIG-2"])


def test_sensors_and_the_nearest_memory_are_read(library, driver):
    """What a card does not tell is not told."""
    watch = driver(TWO + "sense 0 97 64 312500 1980\nnuma 0 1\n").watch(library)
    meters = watch.ask()["meters"]
    assert {**meters["GPU-a"], "at": 0} == {
        "at": 0, "busy": 97, "celsius": 64, "watts": 312.5, "mhz": 1980, "ecc": 0, "xid": None
    }  # fmt: skip
    assert {**meters["GPU-b"], "at": 0, "ecc": None} == dict.fromkeys(meters["GPU-b"], None) | {"at": 0}
    assert [card["numa"] for card in cards(watch)] == [1, None]
    watch.has(TWO + "sense 0 3 50 100000 210\nnuma 0 1\n")
    eventually(lambda: watch.ask()["meters"]["GPU-a"]["watts"] == 100.0, what="power, more seldom than the others")
    assert watch.ask()["changes"] == 0, "nobody is woken by a temperature"


def test_cards_of_both_makers_are_seen_side_by_side(library, driver, tmp_path):
    """NVIDIA's first, then AMD's with the indices that follow."""
    device = tmp_path / "drm" / "card0" / "device"
    device.mkdir(parents=True)
    (tmp_path / "proc").mkdir()
    facts = {"vendor": "0x1002", "unique_id": "77", "mem_info_vram_total": 8 * MIB, "mem_info_vram_used": MIB}
    for name, value in facts.items():
        (device / name).write_text(f"{value}\n")
    seen = driver(TWO).watch(library).seen()
    assert [(card["index"], card["maker"], card["uuid"]) for card in seen] == [
        (0, "nvidia", "GPU-a"), (1, "nvidia", "GPU-b"), (2, "amd", "GPU-77")
    ]  # fmt: skip


def test_nvitop_sees_the_same_cards(library, driver):
    """Another reader of the same library, which knows nothing of us."""
    me = os.getpid()
    text = f"{TWO}compute 1 {me} 500\nsense 0 97 64 312500 1980\n"
    watch = driver(text).watch(library)
    ask = (
        "import json; from nvitop import Device\n"
        "print(json.dumps([[d.index, d.uuid(), d.name(), d.memory_total(), d.memory_used(), sorted(d.processes())] "
        "for d in Device.all()]))"
    )
    environment = {**os.environ, "LD_LIBRARY_PATH": str(library), "NVML_STUB": str(watch.cards)}
    done = subprocess.run([sys.executable, "-c", ask], env=environment, capture_output=True, text=True, check=True)
    ours = [
        [card["index"], card["uuid"], card["model"], card["memory"], card["used"], [h["pid"] for h in card["holders"]]]
        for card in cards(watch)
    ]
    assert json.loads(done.stdout) == ours


def test_a_card_that_comes_is_seen(library, driver):
    """Cached handles do not hide it."""
    watch = driver(TWO).watch(library)
    watch.has(TWO + "card GPU-c NVIDIA_L4 23034 0\n")
    eventually(lambda: [card["model"] for card in cards(watch)] == ["NVIDIA H200", "NVIDIA H200", "NVIDIA L4"])


def test_a_card_that_goes_leaves_its_index_to_the_next(library, driver):
    """Indices shift: nothing that was kept of the one is told of the other."""
    watch = driver(TWO).watch(library)
    watch.has("card GPU-b NVIDIA_H200 144384 0\n")
    eventually(lambda: [(card["index"], card["uuid"]) for card in cards(watch)] == [(0, "GPU-b"), (0, "GPU-a")])
    assert [bool(card["cordoned"]) for card in cards(watch)] == [False, True]


def test_after_stop_the_driver_is_asked_no_more(library, driver):
    """Its thread ends."""
    watch = driver(TWO).watch(library)
    assert "gpus" in watch.ask()["threads"]
    eventually(lambda: "gpus" not in watch.ask("stop")["threads"])


def test_without_a_driver_there_are_no_gpus_and_no_thread(tmp_path, driver):
    """That is known, not unknown; and it costs nothing to know."""
    watch = driver("").watch(tmp_path)
    assert cards(watch) == []
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
    "a cordon": ((card(),), (replace(card(), cordoned="lost"),), True),
    "a NUMA node that is known now": ((card(),), (replace(card(), numa=1),), False),
    "still unknown": (Unknown(reason="x"), Unknown(reason="x"), False),
}


@pytest.mark.parametrize(("before", "after", "wakes"), CHANGES.values(), ids=CHANGES)
def test_what_wakes_the_loop(before, after, wakes):
    """Only what may lead to another plan."""
    assert materially(before, after) is wakes
