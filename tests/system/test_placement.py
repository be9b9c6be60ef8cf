"""Placement on a real daemon with real processes: the GPUs are simulated, the engines only hold a promise of them."""

import json
import os
import threading
import time
import urllib.error
import urllib.request

import pytest

from tests.eventually import eventually

pytestmark = pytest.mark.system


def indices(box, slot):
    """The GPUs of a replica that runs; None where it does not."""
    one = box.replica(slot)
    return one.gpus if one is not None and one.state == "ready" else None


def test_what_runs_gives_way_to_a_higher_priority_and_comes_back_when_there_is_room(box):
    box.gpus("24GiB", "24GiB")
    box.ports(21200)
    box.server("low", gpus=1, memory="20GiB", priority=10)
    box.server("mid", gpus=1, memory="20GiB", priority=50)
    box.daemon()
    box.converged("low", "mid")
    before = box.pids()

    box.server("high", gpus=1, memory="20GiB", priority=500)
    eventually(lambda: indices(box, "high/0"), what="the higher one runs")
    box.told("Preempted", "for high/0", subject="low/0")
    assert box.stalled("low", "NoFreeGpu")
    assert box.pids()["mid/0"] == before["mid/0"], "of two victims the lower one went"

    box.remove("high.yaml")
    eventually(lambda: indices(box, "low/0"), what="the lower one is back")
    box.converged("low", "mid")
    assert box.pids()["mid/0"] == before["mid/0"]
    assert box.pids()["low/0"] != before["low/0"]


def test_a_stranger_to_the_fleet_moves_nobody(box):
    box.gpus("24GiB", "24GiB")
    box.ports(21230)
    box.server("one", gpus=1, memory="10GiB")
    box.daemon()
    box.converged("one")
    before = box.pids()
    box.server("two", gpus=1, memory="20GiB", priority=900)
    box.converged("one", "two")
    assert box.pids()["one/0"] == before["one/0"]


class Client(threading.Thread):
    """Asks for one model again and again, at whatever address the status names, and counts what was refused."""

    def __init__(self, box, name):
        super().__init__(daemon=True)
        self.box, self.name_asked = box, name
        self.answered = 0
        self.refused = []
        self.done = threading.Event()

    def run(self):
        while not self.done.is_set():
            endpoints = self.box.row(self.name_asked).endpoints
            for attempt in range(3):  # a router has its table a moment longer than the daemon
                try:
                    with urllib.request.urlopen(endpoints[0].address, timeout=10) as answer:
                        self.answered += answer.status == 200
                    break
                except (OSError, IndexError, urllib.error.URLError) as error:
                    if attempt == 2:
                        self.refused.append(repr(error))
                    endpoints = self.box.row(self.name_asked).endpoints
            time.sleep(0.005)


def test_a_changed_restart_field_is_rolled_out_without_a_moment_of_silence(box):
    box.ports(21260)
    box.server("web", update={"strategy": "surge"})
    box.daemon()
    box.converged("web")
    before = box.pids()
    client = Client(box, "web")
    client.start()
    box.server("web", update={"strategy": "surge"}, env={"A": "1"})
    eventually(lambda: (now := box.replica("web/0")) and now.run == 2, what="it is replaced")
    box.converged("web")
    eventually(lambda: box.replica("web/1") is None, what="the one more is gone")
    answered = client.answered
    eventually(lambda: client.answered > answered, what="it still answers")
    client.done.set()
    client.join()
    assert client.refused == []
    assert client.answered > 5
    assert box.pids().keys() == {"web/0"}
    assert box.pids()["web/0"] != before["web/0"]


def test_a_successor_that_fails_leaves_the_old_one_serving_and_says_why(box):
    box.ports(21290)
    box.server("web", update={"strategy": "surge"})
    box.daemon()
    box.converged("web")
    before = box.pids()
    box.service("web", "false", update={"strategy": "surge"}, env={"A": "{port}"})
    found = eventually(lambda: box.stalled("web", "BackingOff"), what="it says that the new one fails")
    assert "exited with status 1" in found.message
    assert box.pids()["web/0"] == before["web/0"]
    assert box.row("web").endpoints[0].slot == "web/0"
    box.server("web", update={"strategy": "surge"})
    box.converged("web")
    eventually(lambda: box.pids() == before, what="all is as it was")


def test_the_memory_of_a_model_is_estimated_from_its_own_header(box, gguf):
    box.gpus("24GiB")
    box.ports(21320)
    model = {"kind": "Model", "name": "demo", "source": f"file:{gguf}", "context": 512, "gpus": 1}
    box.write("demo.yaml", json.dumps(model))
    box.daemon()
    eventually(lambda: indices(box, "demo/0"), what="it runs")
    launch = box.client.facts().observation.instances["demo/0"].launch
    assert launch.basis == "estimated"
    assert launch.within
    assert 2**20 < launch.memory < 2**30


def test_what_a_model_on_the_cpu_holds_is_measured_and_planned_with(box, gguf):
    """And remembered: a restarted daemon knows it too."""
    box.ports(21350)
    model = {"kind": "Model", "name": "demo", "source": f"file:{gguf}", "context": 512, "gpus": 0}
    box.write("demo.yaml", json.dumps(model))
    box.daemon()
    eventually(lambda: (now := box.replica("demo/0")) and now.state == "ready", what="it runs")
    launch = box.client.facts().observation.instances["demo/0"].launch
    assert (launch.memory, launch.host_basis) == (None, "estimated")
    assert 100 * 2**20 < launch.host < 2**30
    known = eventually(lambda: box.client.facts().memory.measured, what="it is counted")
    [(name, amount)] = known.items()
    assert name == f"{launch.fingerprint}@0 host"
    assert 2**20 < amount < 2**30

    box.client.restart("demo")
    again = eventually(lambda: (now := box.replica("demo/0")) and now.run == 2 and now, what="it is replaced")
    launch = box.client.facts().observation.instances[again.slot].launch
    assert (launch.host, launch.host_basis) == (amount, "measured")
    assert json.loads((box.state / "memory.json").read_text())["measured"] == {name: amount}


def test_host_memory_is_not_promised_twice_and_goes_to_the_higher_priority(box):
    more_than_half = f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') * 55 // 100 // 2**20}MiB"
    box.ports(21380)
    box.server("low", gpus=0, memory=more_than_half, priority=10)
    box.daemon()
    box.converged("low")
    box.server("high", gpus=0, memory=more_than_half, priority=500)
    box.told("Preempted", "for high/0", subject="low/0")
    eventually(lambda: (now := box.replica("high/0")) and now.state == "ready", what="the higher one runs")
    found = eventually(lambda: box.stalled("low", "NoFreeMemory"), what="the lower one is told why it does not")
    assert "beside high/0" in found.message
    box.remove("high.yaml")
    box.converged("low")
