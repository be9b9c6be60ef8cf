"""Engines that cannot run here, by a double of the API of each, under a real daemon: loading, dying, deaf, forking."""

import json
import os
import sys
from pathlib import Path

import pytest

from tests.act.stage import alive
from tests.eventually import eventually

pytestmark = pytest.mark.system
DOUBLE = Path(__file__).with_name("engine.py")
PROGRAMS = {"sglang": "sglang", "tgi": "text-generation-launcher", "triton": "tritonserver"}
OPENAI = ("/v1/completions", {"model": "chat", "prompt": "are you there?", "max_tokens": 1})
TINY = {
    "sglang": OPENAI,
    "tgi": OPENAI,
    "triton": ("/v2/models/chat/generate", {"text_input": "a", "max_tokens": 1, "stream": False}),
}
METRICS = {
    "sglang": ["chat/0", "sglang", "3", "1", "25%", "900", "100", "300ms", "-", "-"],
    "tgi": ["chat/0", "tgi", "2", "0", "-", "100", "30", "-", "20ms", "1.5s"],
    "triton": ["chat/0", "triton", "-", "-", "-", "-", "-", "-", "-", "500ms"],
}
PORTS = {"sglang": 22000, "tgi": 22300, "triton": 22400}
ANY = pytest.mark.parametrize("engine", PROGRAMS)


class Bench:
    """A box with engines on PATH, and what they do and were asked."""

    def __init__(self, box):
        self.box, self.place = box, box.place / "bin"
        self.place.mkdir()
        for program in PROGRAMS.values():
            self.put(program, DOUBLE.read_text().replace("#!/usr/bin/env python3", f"#!{sys.executable} -IS", 1))
            (self.place / program).chmod(0o755)

    def put(self, name, text=""):
        (self.place / name).write_text(text)

    def take(self, name):
        (self.place / name).unlink()

    def start(self):
        self.box.daemon(before=("env", f"PATH={self.place}:{os.environ['PATH']}"))

    def declare(self, engine, **more):
        weights = self.box.place / "weights"
        (weights / "chat").mkdir(parents=True, exist_ok=True)
        said = {"kind": "Model", "name": "chat", "source": f"file:{weights}", "engine": engine, "gpus": 0}
        self.box.write("chat.yaml", json.dumps({**said, "health": {"interval": "200ms"}, **more}))

    def state(self, *states, run=1):
        """Wait until its one replica is in one of these states."""

        def look():
            one = self.box.replica("chat/0")
            return one if one is not None and one.state in states and one.run == run else None

        return eventually(look, what=f"chat/0 is {' or '.join(states)} in run {run}")

    def asked(self):
        """What was posted to it: path and body."""
        file = self.place / "asked"
        told = file.read_text().splitlines() if file.exists() else []
        return [(line.split(" ", 1)[0], json.loads(line.split(" ", 1)[1])) for line in told]

    def workers(self):
        return [int(pid) for pid in (self.place / "workers").read_text().split()]


@pytest.fixture
def bench(box):
    return Bench(box)


@ANY
def test_one_that_loads_is_waited_for_and_one_that_cannot_infer_is_replaced(bench, engine):
    box, (path, body) = bench.box, TINY[engine]
    box.ports(PORTS[engine])
    bench.put("loads")
    bench.declare(engine, health={"interval": "200ms", "inference": "300ms", "failures": 2})
    bench.start()
    eventually(lambda: bench.state("starting").detail == "connection refused", what="nothing listens yet")
    bench.put("warms")
    bench.take("loads")
    eventually(lambda: "503" in bench.state("starting").detail, what="it answers that it is not ready")
    assert not bench.asked(), "what is not ready is asked for nothing"
    bench.take("warms")
    bench.state("ready")
    eventually(lambda: (path, body) in bench.asked(), what="a tiny request")
    bench.put("errs", path)
    box.told("stopping", "a tiny request got 500 CUDA error", subject="chat/0")
    bench.take("errs")
    bench.state("ready", run=2)


@ANY
def test_one_that_dies_while_it_loads_says_why(bench, engine):
    bench.box.ports(PORTS[engine] + 20)
    bench.put("dies")
    bench.declare(engine)
    bench.start()
    bench.box.told("exited with status 1", "Not enough memory", subject="chat/0")
    bench.take("dies")
    eventually(lambda: (one := bench.box.replica("chat/0")) and one.state == "ready", what="it is up in the end")


@ANY
def test_one_that_is_deaf_leaves_no_worker_behind(bench, engine):
    bench.box.ports(PORTS[engine] + 40)
    bench.put("deaf")
    bench.declare(engine, update={"grace": "300ms"})
    bench.start()
    pids = [bench.state("ready").pid, *bench.workers()]
    assert len(pids) == 3
    assert all(map(alive, pids))
    assert bench.box.cli("stop", "chat").returncode == 0
    eventually(lambda: bench.box.replica("chat/0") is None, what="it is gone")
    assert not any(map(alive, pids))
    assert not bench.box.engines("chat/0")


@ANY
def test_one_that_hangs_is_replaced_and_its_metrics_are_shown_in_common_words(bench, engine):
    box = bench.box
    box.ports(PORTS[engine] + 60)
    bench.declare(engine, health={"interval": "100ms", "timeout": "200ms", "failures": 2}, update={"grace": "300ms"})
    bench.start()
    bench.state("ready")
    shown = box.cli("metrics", "chat")
    assert shown.stdout.splitlines()[1].split() == METRICS[engine]
    assert shown.returncode == 0
    assert "cannot ask nosuch: it is not in the fleet" in box.cli("metrics", "nosuch").stderr
    health = "/v2/models/chat/ready" if engine == "triton" else "/health"
    bench.put("hangs", health)
    box.told("no answer in 200ms", subject="chat/0")
    eventually(lambda: box.replica("chat/0").run == 2, what="it is started anew")
    assert box.cli("metrics").stdout == "chat/0: none: it is not ready\n"
    bench.take("hangs")
    bench.state("ready", run=2)
