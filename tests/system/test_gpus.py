"""GPUs in trouble under a real daemon: the driver is a stub of its library, the engines are real processes."""

import json
import os
import subprocess
import sys

import pytest

from tests.eventually import eventually
from tests.system.box import ROOT

pytestmark = pytest.mark.system
TWO = "card GPU-a NVIDIA_L4 24576 0\ncard GPU-b NVIDIA_L4 24576 0\n"


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nvml")
    source = ROOT / "tests" / "observe" / "nvml_stub.c"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", folder / "libnvidia-ml.so.1", source], check=True)
    return folder


@pytest.fixture
def driver(box, library):
    """Writes what the stub's cards are."""
    box.env = {"LD_LIBRARY_PATH": str(library), "NVML_STUB": str(box.place / "cards")}

    def has(text):
        (box.place / "cards.new").write_text(text)
        (box.place / "cards.new").rename(box.place / "cards")

    return has


def indices(box, slot):
    one = box.replica(slot)
    return one.gpus if one is not None and one.state == "ready" else None


def gpu(box, uuid):
    return next(one for one in box.status().gpus if one.uuid == uuid)


def test_a_stranger_takes_memory_and_is_named(box, driver):
    """Fault 25."""
    me = os.getpid()
    driver(TWO.replace("GPU-a NVIDIA_L4 24576 0", "GPU-a NVIDIA_L4 24576 20480") + f"compute 0 {me} 20480\n")
    box.ports(23000)
    box.server("chat", gpus=1, memory="20GiB")
    box.daemon()
    eventually(lambda: indices(box, "chat/0") == (1,), what="it runs where there is room")
    box.server("more", gpus=1, memory="20GiB")
    found = eventually(lambda: box.stalled("more", "NoFreeGpu"), what="the other is told why")
    assert f"20.0 GiB held by pid {me} " in found.message
    assert [share.holder.split()[:2] for share in gpu(box, "GPU-a").shares] == [["pid", str(me)]]
    driver(TWO)
    eventually(lambda: indices(box, "more/0") == (0,), what="the stranger is gone")


LOST = {
    "XID 79": (TWO + "lost 0\n", "XID 79, it has fallen off the bus"),
    "ECC": (TWO + "ecc 0 1\nxid 1 0 48\n", "XID 48, memory that cannot be corrected"),
    "MIG": (TWO + "mig 0\npart 0 MIG-1 9000 0\n", "MIG was switched on"),
}


@pytest.mark.parametrize(("cards", "why"), LOST.values(), ids=LOST)
def test_a_card_in_trouble_is_cordoned_and_its_model_takes_the_place_of_a_lower_one(box, driver, cards, why):
    """Fault 26: within five seconds, by priority."""
    driver(TWO)
    box.ports(23030)
    box.server("low", gpus={"ids": ["1"]}, memory="20GiB", priority=10)
    box.server("high", gpus=1, memory="20GiB", priority=500)
    box.daemon()
    box.converged("low", "high")
    assert (indices(box, "low/0"), indices(box, "high/0")) == ((1,), (0,))
    driver(cards)
    eventually(lambda: indices(box, "high/0") == (1,), within=5.0, what="it runs elsewhere")
    box.told("GpuCordoned", f"is cordoned: {why}", subject="gpu 0")
    box.told("GpuCordoned", f"stopping: gpu 0 is cordoned: {why}", subject="high/0")
    box.told("Preempted", subject="low/0")
    assert gpu(box, "GPU-a").cordoned.startswith(why)
    assert "cordoned: " + why in " ".join(box.cli("status").stdout.split())


def test_while_the_driver_hangs_nothing_is_placed_and_old_values_are_shown_as_such(box, driver):
    """Fault 27: what runs goes on; once the driver answers again, what waited starts."""
    driver(TWO + "sense 0 97 64 312500 1980\n")
    box.ports(23060)
    box.server("chat", gpus=1, memory="20GiB")
    box.daemon()
    box.converged("chat")
    before = box.pids()
    driver(TWO + "hang 1\n")
    eventually(lambda: box.status().degraded, within=30.0, what="it says that it is blind")
    assert "cannot see gpus: the driver has not answered for " in box.status().degraded[0]
    box.server("more", gpus=1, memory="20GiB")
    found = eventually(lambda: box.stalled("more", "Unknown"), what="nothing is placed")
    assert "cannot place on gpus that cannot be seen" in found.message
    assert box.pids() == before
    status = box.status()
    assert status.now - status.meters["GPU-a"].at > 5
    assert " 97 % 64 °C 312 W " in (text := box.cli("status").stdout)
    assert "s ago" in text
    driver(TWO)
    box.converged("chat", "more")
    assert box.pids()["chat/0"] == before["chat/0"]


def test_an_inventory_of_this_machine_holds_all_that_a_plan_is_made_of(box, driver):
    driver(TWO + "numa 0 1\nlink 0 1\necc 1 1\n")
    text = subprocess.run(
        [sys.executable, "-m", "reconciler.cli", "inventory"],
        cwd=ROOT, env={**os.environ, **box.env}, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    box.inventory.write_text(text)
    assert "numa: 1, links: [1]" in text
    box.server("chat", gpus=2, memory="20GiB")
    plan = json.loads(box.cli("plan", "--inventory", str(box.inventory), "--json").stdout)
    assert [one["cordoned"].partition(" since")[0] for one in plan["gpus"]] == ["", "an uncorrectable ECC error"]
    assert "gpu 1: cordoned" in json.dumps(plan["changes"])
