"""Models that sleep, on a real daemon with real processes: the engine is a double of vLLM, the GPUs are simulated."""

import json
import os
import sys
from pathlib import Path

import pytest

from tests.eventually import eventually

pytestmark = pytest.mark.system
DOUBLE = Path(__file__).with_name("sleeper.py")


@pytest.fixture
def dozy(box):
    """A box with a model on demand that may sleep, and a `vllm` on PATH."""
    programs = box.place / "bin"
    programs.mkdir()
    program = programs / "vllm"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{DOUBLE}" "$@"\n')
    program.chmod(0o755)
    (box.place / "errs").touch()
    (box.place / "asked").touch()
    box.gpus("4608MiB")
    return box


def declare(box, name="chat", **more):
    said = {
        "kind": "Model",
        "name": name,
        "source": f"file:{box.place}",
        "engine": "vllm",
        "gpus": 1,
        "memory": "2560MiB",  # asleep it is to fit into the memory of the machine that tests this, too
        "replicas": {"min": 0, "max": 1, "idle": "1s"},
        "idle_action": "sleep",
        "health": {"interval": "200ms"},
        "args": ["--script", str(box.place)],
        **more,
    }
    box.write(f"{name}.yaml", json.dumps(said))


def start(box):
    box.daemon(before=("env", f"PATH={box.place / 'bin'}:{os.environ['PATH']}"))


def state(box, slot, *states):
    """Wait until it is in one of these states; where it is."""

    def look():
        one = box.replica(slot)
        return one if one is not None and one.state in states else None

    one = eventually(look, what=f"{slot} is {' or '.join(states)}")
    assert one is not None
    return one


def asked(box):
    """What engines were told: pid and path."""
    return [tuple(line.split()) for line in (box.place / "asked").read_text().splitlines()]


def scale(box, name, replicas):
    done = box.cli("scale", name, str(replicas))
    assert done.returncode == 0, done.stderr


def doze_off(box, name="chat"):
    """Have it loaded, and let go of it."""
    scale(box, name, 1)
    before = state(box, f"{name}/0", "ready")
    scale(box, name, "auto")
    return before


def test_an_idle_model_sleeps_and_wakes_in_the_same_process(dozy):
    dozy.ports(21400)
    declare(dozy)
    start(dozy)
    before = doze_off(dozy)
    asleep = state(dozy, "chat/0", "asleep")
    assert (asleep.pid, asleep.memory) == (before.pid, 2 * 2**30)
    dozy.told("is asleep", subject="chat/0")
    row = dozy.row("chat")
    assert row.endpoints == ()
    assert row.conditions[0].message == "0 of 0 ready, 1 asleep"
    assert dozy.status().converged
    assert "asleep" in dozy.cli("status").stdout
    scale(dozy, "chat", 1)
    awake = state(dozy, "chat/0", "ready")
    assert (awake.pid, awake.run, awake.memory) == (before.pid, 1, 2560 * 2**20)
    assert dozy.row("chat").endpoints[0].slot == "chat/0"
    pid = str(before.pid)
    assert asked(dozy) == [(pid, "/sleep?level=1"), (pid, "/wake_up")]


def test_two_models_share_a_card_by_turns(dozy):
    dozy.ports(21420)
    for name in ("one", "two"):
        declare(dozy, name)
    start(dozy)
    one = doze_off(dozy, "one")
    state(dozy, "one/0", "asleep")
    two = doze_off(dozy, "two")
    state(dozy, "two/0", "asleep")
    assert state(dozy, "one/0", "asleep").pid == one.pid
    scale(dozy, "one", 1)
    assert state(dozy, "one/0", "ready").pid == one.pid
    assert state(dozy, "two/0", "asleep").pid == two.pid


def test_one_that_will_not_fall_asleep_is_stopped(dozy):
    dozy.ports(21440)
    (dozy.place / "errs").write_text("/sleep?level=1")
    declare(dozy)
    start(dozy)
    before = doze_off(dozy)
    dozy.told("cannot sleep", "500 CUDA error", subject="chat/0")
    dozy.told("stopping", "did not fall asleep: vllm said 500 CUDA error", subject="chat/0")
    eventually(lambda: dozy.replica("chat/0") is None, what="it is gone")
    assert asked(dozy) == [(str(before.pid), "/sleep?level=1")], "it was told once"


def test_one_that_will_not_wake_is_started_anew(dozy):
    dozy.ports(21460)
    (dozy.place / "errs").write_text("/wake_up")
    declare(dozy)
    start(dozy)
    before = doze_off(dozy)
    state(dozy, "chat/0", "asleep")
    scale(dozy, "chat", 1)
    dozy.told("cannot wake", "500 CUDA error", subject="chat/0")
    eventually(lambda: (one := dozy.replica("chat/0")) and one.run == 2 and one.state == "ready", what="run 2")
    assert dozy.replica("chat/0").pid != before.pid
    dozy.told("WakeFailed", "stopping", subject="chat/0")


def test_a_daemon_killed_while_a_model_falls_asleep_finds_it_asleep(dozy):
    """It is recorded as ready: what it does now has to be asked, and nothing is done until it is known."""
    dozy.ports(21480)
    slow = dozy.place / "slow"
    slow.touch()
    declare(dozy)
    start(dozy)
    before = doze_off(dozy)
    eventually(lambda: asked(dozy), what="it is told to sleep")
    dozy.kill()
    start(dozy)
    assert state(dozy, "chat/0", "unknown").pid == before.pid
    assert dozy.row("chat").endpoints == ()
    slow.unlink()
    assert state(dozy, "chat/0", "asleep").pid == before.pid
    assert asked(dozy) == [(str(before.pid), "/sleep?level=1")], "it was told once"
    scale(dozy, "chat", 1)
    awake = state(dozy, "chat/0", "ready")
    assert (awake.pid, awake.run) == (before.pid, 1)


def test_a_daemon_killed_between_sleep_and_its_observation_finds_it_asleep(dozy):
    dozy.ports(21500)
    declare(dozy)
    start(dozy)
    before = doze_off(dozy)
    eventually(lambda: asked(dozy), what="it is told to sleep")
    dozy.kill()
    start(dozy)
    assert state(dozy, "chat/0", "asleep").pid == before.pid
    assert dozy.row("chat").endpoints == ()
    assert asked(dozy) == [(str(before.pid), "/sleep?level=1")]


def test_one_that_sleeps_is_stopped_by_command(dozy):
    dozy.ports(21520)
    declare(dozy)
    start(dozy)
    doze_off(dozy)
    state(dozy, "chat/0", "asleep")
    assert dozy.cli("stop", "chat").returncode == 0
    eventually(lambda: dozy.replica("chat/0") is None, what="it is gone")


def test_one_that_sleeps_ends_with_its_file(dozy):
    dozy.ports(21540)
    declare(dozy)
    dozy.service("other")
    start(dozy)
    doze_off(dozy)
    state(dozy, "chat/0", "asleep")
    dozy.remove("chat.yaml")
    eventually(lambda: dozy.row("chat") is None, what="it is gone")
