"""up, run and down, with a real daemon and real processes."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.bench.terminal import Terminal
from tests.eventually import eventually

pytestmark = pytest.mark.system
ROOT = Path(__file__).resolve().parents[2]
TINY = "kind: Service\nname: tiny\ncommand: [sleep, infinity]\n"
PORT = 32090
NODE = f"kind: Node\nname: local\ngateway: {{listen: ['127.0.0.1:{PORT}']}}\n"


class Box:
    """A fleet, a state directory, and the command line for them."""

    def __init__(self, root: Path, environment: dict[str, str]) -> None:
        self.files, self.state = root / "fleet.d", root / "state"
        self.files.mkdir()
        (self.files / "tiny.yaml").write_text(TINY)
        (self.files / "node.yaml").write_text(NODE)
        self.environment = environment

    def argv(self, *words: str) -> list[str]:
        places = ["--fleet", str(self.files), "--state", str(self.state)]
        return [sys.executable, "-m", "reconciler.cli", words[0], *places, *words[1:]]

    def do(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*words), env=self.environment, capture_output=True, text=True, timeout=90, check=False
        )

    def begin(self, *words: str, **more: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.argv(*words), env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more
        )


@pytest.fixture
def box(tmp_path, environment) -> Generator[Box, None, None]:
    made = Box(tmp_path, environment)
    yield made
    made.do("down", "--engines")


def pid_of(text: str, what: str) -> int:
    found = re.search(rf"{what}[^(]*\(pid (\d+)\)", text)
    assert found, text
    return int(found[1])


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def models() -> list[str]:
    """What the gateway serves."""
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/v1/models", timeout=60) as answer:
        return [model["id"] for model in json.load(answer)["data"]]


def test_up_and_down_and_up_again_keep_one_engine(box):
    up = box.do("up", "--detach")
    assert up.returncode == 0, up.stderr
    assert "tiny: ● ready 1/1" in up.stdout
    assert "Next: `holdfast" in up.stdout
    gateway = pid_of(up.stdout, "starting the gateway")
    again = box.do("up", "--detach")
    assert (again.returncode, "is running already" in again.stdout) == (0, True)
    assert "starting" not in again.stdout
    down = box.do("down")
    assert down.returncode == 0
    assert f"the gateway goes on (pid {gateway})" in down.stdout
    assert models() == []
    engine, daemon = pid_of(down.stdout, "tiny/0"), pid_of(down.stdout, "the daemon")
    assert alive(engine)
    eventually(lambda: not alive(daemon))
    refused = box.do("down")
    assert (refused.returncode, "holdfast up" in refused.stderr) == (1, True)
    assert "gateway" not in box.do("up", "--detach").stdout
    assert str(engine) in box.do("status", "tiny").stdout
    ended = box.do("down", "--engines")
    assert "stopped tiny/0" in ended.stdout
    assert f"the gateway (pid {gateway}) has ended" in ended.stdout
    assert not alive(engine)
    assert not alive(gateway)
    assert box.do("down", "--engines").stdout == "no engine was running\n"


def test_a_gateway_that_was_killed_comes_back_with_the_next_up(box):
    first = pid_of(box.do("up", "--detach").stdout, "starting the gateway")
    os.kill(first, signal.SIGKILL)
    eventually(lambda: not alive(first))
    assert pid_of(box.do("up", "--detach").stdout, "starting the gateway") != first
    assert models() == []


def test_a_model_that_is_ready_is_told_with_the_address_of_the_gateway(box, tmp_path):
    subprocess.run([sys.executable, "fleet.d/demo_model.py", str(tmp_path / "demo.gguf")], cwd=ROOT, check=True)
    demo = {"kind": "Model", "name": "demo", "source": f"file:{tmp_path}/demo.gguf", "gpus": 0, "context": 512}
    (box.files / "demo.yaml").write_text(json.dumps(demo))
    up = box.do("up", "--detach")
    assert up.stdout.splitlines()[-1].endswith(f"or point an OpenAI client at http://127.0.0.1:{PORT}/v1")
    assert models() == ["demo"]


def test_what_stands_in_the_way_of_the_gateway_is_told_and_the_daemon_is_up(box):
    with socket.create_server(("127.0.0.1", PORT)):
        up = box.do("up", "--detach")
    assert up.returncode == 0
    assert f"the gateway: cannot listen at http://127.0.0.1:{PORT}: pid {os.getpid()} (" in up.stderr


def test_ctrl_c_ends_the_daemon_and_leaves_the_engines_up(box):
    process = box.begin("up")
    lines: list[str] = []
    eventually(lambda: (lines.append(process.stdout.readline()), "● ready" in lines[-1])[1])
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    assert alive(pid_of(out, "tiny/0"))
    assert "`holdfast up` takes them up again" in out
    gateway = pid_of("".join(lines), "starting the gateway")
    assert f"the gateway goes on (pid {gateway})" in out
    assert alive(gateway)
    assert not alive(pid_of("".join(lines), "starting the daemon"))


def test_the_daemon_does_not_end_with_the_terminal_on_which_up_shows_it(box):
    with Terminal(box.argv("up"), env={**box.environment, "HOLDFAST_THEME": "dark"}) as shown:
        shown.until(b"tiny")
        shown.hang_up()
        assert shown.ended() == 128 + signal.SIGHUP
    assert box.do("status", "tiny").returncode == 0


def test_up_beside_a_daemon_says_that_it_follows_it(box):
    assert box.do("up", "--detach").returncode == 0
    process = box.begin("up")
    eventually(lambda: "following it until interrupted" in process.stdout.readline())
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert "no longer watching; the daemon goes on" in out


def test_ctrl_c_while_waiting_leaves_the_daemon_in_the_background(box):
    """A terminal sends it to the whole group, the daemon's child included if it were in it."""
    (box.files / "tiny.yaml").write_text("kind: Service\nname: tiny\ncommand: [/no/such/program]\n")
    process = box.begin("up", "--detach", start_new_session=True)
    first = process.stdout.readline()
    eventually(lambda: "tiny: " in process.stdout.readline())
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert alive(pid_of(first, "starting the daemon"))
    assert box.do("status").returncode == 3


def test_a_daemon_of_another_fleet_is_named(box, tmp_path):
    assert box.do("up", "--detach").returncode == 0
    (tmp_path / "other.d").mkdir()
    done = box.do("up", "--detach", str(tmp_path / "other.d"))
    assert done.returncode == 1
    assert str(tmp_path / "other.d") in done.stderr
    assert str(box.files) in done.stderr


def test_up_says_what_is_wrong_with_a_key_before_anything_starts(box, tmp_path):
    done = box.do("up", "--detach", "--key-file", str(tmp_path / "key"))
    assert (done.returncode, done.stderr) == (1, f"holdfast: cannot use {tmp_path}/key: no such file or directory\n")
    assert "starting" not in done.stdout


def test_up_says_what_cannot_come_up_and_leaves_the_daemon(box):
    (box.files / "tiny.yaml").write_text("kind: Service\nname: tiny\ncommand: [/no/such/program]\n")
    done = box.do("up", "--detach", "--wait", "2s")
    assert done.returncode == 1
    assert done.stderr.startswith("holdfast: cannot bring everything up: tiny is ")
    assert box.do("status").returncode == 3


def test_up_does_not_wait_for_what_only_an_edit_can_mend(box):
    (box.files / "tiny.yaml").write_text("kind: Service\nname: tiny\n")
    done = box.do("up", "--detach", "--wait", "80s")
    assert done.returncode == 1
    assert "tiny.yaml:1:" in done.stderr


def test_a_daemon_that_cannot_start_says_why_in_one_line(box):
    box.state.mkdir(mode=0o700)
    (box.state / "holdfast.sock").write_text("not a socket")
    done = box.do("up", "--detach")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "cannot listen at" in done.stderr
    os.unlink(box.state / "holdfast.sock")


def test_run_ends_cleanly_by_sigterm(box):
    process = box.begin("run")
    eventually(lambda: box.do("status").returncode == 0)
    process.terminate()
    assert process.wait(60) == 0
    process.communicate()
