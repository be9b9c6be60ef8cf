"""What clients do, live: printed once, or each second, for people and for programs."""

import json
import os
import pty
import signal
import subprocess
import sys

import pytest

from reconciler.model.routing import Traffic, Wanted
from reconciler.model.status import GatewayStatus, Meters
from tests.api.daemon import GPUS, status, workload

pytestmark = pytest.mark.usefixtures("soon")
BUSY = status(
    workload("chat"),
    workload("files", kind="Service"),
    gpus=GPUS,
    meters={"GPU-0": Meters(at=199.0, busy=97)},
    gateway=GatewayStatus(listen=("http://127.0.0.1:8642",), connected=True),
    traffic={
        "chat": Wanted(
            waiting=3,
            oldest=1.5,
            in_flight={"chat/0": 2, "chat/1": 3},
            traffic=Traffic(requests=12.0, errors=0.5, tokens=340.0, first_byte=0.18, total=900),
        )
    },
)


def test_once_is_one_table(run, recorder):
    recorder.now = BUSY
    done = run("top", "--once")
    assert done.status == 0
    assert done.out.startswith("gateway at http://127.0.0.1:8642 · 12 req/s · 340 tok/s · 3 waiting\n")
    assert "97 %" in done.out
    assert done.out.endswith("\nhost   38 % of 8 cores, load 2.5, 32.0 of 64.0 GiB of memory\n")


def test_json_is_an_object_in_a_line(run, recorder):
    recorder.now = BUSY
    (said,) = run("top", "--once", "--json").out.splitlines()
    found = json.loads(said)
    assert found["gateway"] == {"listen": ["http://127.0.0.1:8642"], "connected": True, "problems": []}
    assert found["models"] == {
        "chat": {
            "state": "ready",
            "ready": 1,
            "wanted": 1,
            "in_flight": 5,
            "waiting": 3,
            "oldest": 1.5,
            "requests": 12.0,
            "errors": 0.5,
            "tokens": 340.0,
            "first_byte": 0.18,
            "total": 900,
        }
    }
    assert found["host"] == {"busy": 37.5, "cores": 8, "memory": 64 * 2**30, "used": 32 * 2**30, "load": 2.5}
    assert found["paused"] == ""
    assert found["gpus"][0]["uuid"] == "GPU-0"
    assert found["gpus"][0]["meters"]["busy"] == 97


def test_a_terminal_is_drawn_on_each_second_until_ctrl_c(recorder, socket, environment):
    recorder.now = BUSY
    mine, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "reconciler.cli", "top", "--socket", socket],
        env=environment | {"TERM": "xterm"},
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    while shown.count(b"12 req/s") < 2:
        shown += os.read(mine, 65536)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    os.close(mine)
    first, second, *_ = shown.split(b"12 req/s")  # a third may have come with them
    assert (first.count(b"A\r"), second.count(b"A\r")) == (0, 1), "the second is drawn over the first"
    assert b"Traceback" not in shown
