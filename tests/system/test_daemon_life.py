"""The daemon dies, is killed again and again, is started twice, is told to end. Engines outlive all of it."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.act.stage import alive, identity
from tests.eventually import eventually
from tests.system.box import LATEST, ROOT, last_words

pytestmark = pytest.mark.system

STEADY = tuple(f"steady-{index}" for index in range(5))
EDITED = tuple(f"edited-{index}" for index in range(3))
KILLS = 100
SEED = 20


def test_engines_outlive_a_killed_daemon_and_the_next_one_adopts_them_untouched(box):
    names = ("one", "two", "three")
    for name in names:
        box.service(name, replicas=2)
    box.daemon()
    box.converged(*names)
    before, seen = box.pids(), len(box.events())
    box.kill()
    assert all(identity(pid) == (pid, start) for pid, start in before.values())
    # again, in the middle of the start that follows
    second = box.daemon(answers=False)
    eventually(lambda: f"(pid {second.pid}, " in (box.state / "lock").read_text(), what="it has begun")
    box.kill()
    box.daemon()
    began = time.monotonic()
    box.converged(*names)
    assert time.monotonic() - began < 5, "adoption within 1 s, told generously"
    assert box.pids() == before
    later = box.events()[seen:]
    assert not [event for event in later if event.message.startswith(("starting", "stopping", "updating"))]


ZYGOTE = """
import os, signal, sys
from reconciler.daemon import Settings, run
from reconciler.spec import load
for _ in sys.stdin:
    pid = os.fork()
    if pid == 0:
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(2, 1)
        os.setsid()
        os._exit(run(Settings(fleet=sys.argv[1], state=sys.argv[2], socket=sys.argv[3])))
    print(pid, flush=True)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL, "it ended by itself"
    print("gone", flush=True)
"""
"""Forks daemons, so that a hundred of them do not read all of Python a hundred times."""


def test_a_hundred_kills_lose_nothing_double_nothing_and_touch_nothing_unchanged(box):
    chance = random.Random(SEED)
    for name in (*STEADY, *EDITED):
        box.service(name)
    box.daemon()
    box.converged(*STEADY, *EDITED)
    before = {slot: who for slot, who in box.pids().items() if slot.startswith("steady")}
    box.kill()
    wanted = dict.fromkeys(EDITED, 1)
    recorded: set[frozenset[bytes]] = set()
    longer, idle = 1.0, 0
    for number, life in enumerate(lives(box)):
        name, moment = chance.choice(EDITED), chance.uniform(0.005, 0.15) * longer
        early = chance.random() * moment
        time.sleep(early)
        wanted[name] = chance.choice((0, 1, 2, 3))
        box.service(name, replicas=wanted[name], env={"EDIT": str(number)})
        time.sleep(moment - early)
        os.kill(life, signal.SIGKILL)
        known = len(recorded)
        recorded.add(frozenset(path.read_bytes() for path in box.state.glob("slots/*/launch.json")))
        idle = idle + 1 if len(recorded) == known else 0
        if idle == 8:  # a slow machine: they die before they do anything
            longer, idle = longer * 1.5, 0
    box.daemon()
    box.converged(*STEADY, *EDITED, within=60.0)
    after = box.pids()
    assert {slot: who for slot, who in after.items() if slot.startswith("steady")} == before
    slots = {f"{name}/{index}" for name, count in wanted.items() for index in range(count)}
    assert after.keys() == slots | before.keys()
    assert not [slot for slot in after if len(box.engines(slot)) != 1], "exactly one of each"
    assert {carried for _, carried in box.ours() if carried} == after.keys(), "and no other one"
    assert len(recorded) > KILLS / 20, "they died in the middle of something"


def lives(box):
    """The pids of a hundred daemons, each started when the one before has been killed."""
    argv = [sys.executable, "-c", ZYGOTE, str(box.fleet), str(box.state), box.client.path]
    with (
        open(box.log, "ab") as log,
        subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT
        ) as zygote,
    ):
        orders, answers = zygote.stdin, zygote.stdout
        assert orders is not None
        assert answers is not None
        for _ in range(KILLS):
            orders.write("\n")
            orders.flush()
            yield int(answers.readline())
            assert answers.readline() == "gone\n"
        orders.close()


def test_a_second_daemon_on_the_same_state_says_who_is_there_and_ends(box):
    box.service("one")
    first = box.daemon()
    box.converged("one")
    before = box.pids()
    argv = [*box.argv(), "--socket", str(box.place / "other.sock")]
    second = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=LATEST, check=False)
    assert second.returncode == 1
    assert f"cannot start: a daemon (pid {first.pid}, " in second.stderr
    assert f"is at work in {box.state}" in second.stderr
    assert "Traceback" not in second.stderr
    assert first.poll() is None
    assert box.pids() == before


def test_told_to_end_while_converging_it_ends_at_once_and_engines_stay(box):
    box.ports(31060)
    for index in range(4):
        box.service(f"up-{index}")
    box.server("slow", f"late:{box.place / 'never'}", health={"path": "/"})
    box.service("deaf", "sh", "-c", "trap '' TERM; while :; do sleep 1; done", update={"grace": "20s"})
    daemon = box.daemon()
    eventually(lambda: len(box.pids()) == 6, what="all run")
    before = box.pids()
    box.service("deaf", "sh", "-c", "exec sleep 100", update={"grace": "20s"})
    eventually(lambda: box.replica("deaf/0").state == "stopping", what="one is being stopped")
    daemon.send_signal(signal.SIGTERM)
    daemon.wait(5)  # the promise is 2 s, told generously
    assert daemon.returncode == 0
    assert "Traceback" not in last_words(box)
    assert all(alive(pid) and identity(pid) == (pid, start) for pid, start in before.values())
    for pid in box.engines("deaf/0"):
        os.kill(pid, signal.SIGKILL)
