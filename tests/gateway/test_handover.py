"""What a gateway holds over an exec of itself."""

import os
import subprocess
import sys

import msgspec

from reconciler.gateway import handover
from reconciler.gateway.handover import Handover, OldWorker
from reconciler.model.routing import Wanted

TAKE = """
import os, sys, msgspec
from reconciler.gateway import handover
found = handover.taken_over(dict(os.environ))
assert not any(name.startswith("HOLDFAST_GATEWAY") for name in os.environ)
assert not os.get_inheritable(found.lock)
os.write(found.workers[0].channel, b"here")
print(msgspec.json.encode(found).decode())
"""


def test_what_is_handed_over_outlives_an_exec(tmp_path):
    reading, writing = os.pipe()
    held = [os.open(tmp_path, os.O_RDONLY) for _ in range(3)]
    what = Handover(
        lock=held[0],
        board=held[1],
        sockets={"http://127.0.0.1:1": (held[2],)},
        workers=(OldWorker(pid=1, slot=2, column=3, channel=writing, seen=("e", 4), wants={"a": Wanted(waiting=1)}),),
        rows={"place:a/0#1": 5},
        table='{"seq":4}',
        counted="{}",
        started=1.5,
    )
    environment = handover.hand_over(what, {**os.environ})
    done = subprocess.run(
        [sys.executable, "-c", TAKE], env=environment, capture_output=True, text=True, close_fds=False, check=False
    )
    for each in (*held, writing):
        os.close(each)
    assert done.returncode == 0, done.stderr
    assert msgspec.json.decode(done.stdout, type=Handover) == what
    assert os.read(reading, 10) == b"here"
    os.close(reading)


def test_without_a_handover_nothing_is_taken_over():
    assert handover.taken_over({}) is None


def test_a_program_that_does_not_start_is_known_before_it_is_too_late(tmp_path):
    assert handover.trouble({**os.environ}) == ""
    (tmp_path / "msgspec.py").write_text("raise ImportError('half an upgrade')")
    path = os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", "")))
    assert handover.trouble({**os.environ, "PYTHONPATH": path}) == "ImportError: half an upgrade"
