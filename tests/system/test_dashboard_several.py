"""Two machines in one dashboard, one by a real ssh, in a real terminal before real daemons. Ports 25200-25279."""

import os
import shlex
import signal
import sys

import pytest

from tests.act.stage import alive, identity
from tests.client.sshd import clients, machine
from tests.eventually import eventually
from tests.system.box import LATEST, Box
from tests.tmux import Terminal

pytestmark = pytest.mark.system
TUI = [sys.executable, "-m", "reconciler.cli", "tui"]


@pytest.fixture
def far(tmp_path):
    """Another machine's fleet and daemon."""
    made = Box(tmp_path / "far")
    yield made
    assert not made.clear()


@pytest.fixture
def ssh(tmp_path):
    """The way there: it is called `gpu2`. Behind `gpu9` is nobody."""
    with machine(tmp_path / "ssh") as made:
        made.configure("Host gpu9", "HostName 127.0.0.1", "Port 1")
        yield made
        eventually(lambda: not clients(made), what="no ssh is left")


@pytest.fixture
def terminal(box, far, ssh, tmp_path):
    """`holdfast tui` in a terminal of that size."""
    made: list[Terminal] = []

    def begin(*hosts: str, size: tuple[int, int]) -> Terminal:
        here = {"HOLDFAST_FLEET": box.fleet, "HOLDFAST_STATE": box.state, "HOLDFAST_SOCKET": box.client.path}
        there = [f"HOLDFAST_SOCKET={far.client.path}", f"HOLDFAST_FLEET={far.fleet}", f"HOLDFAST_STATE={far.state}"]
        env = os.environ | ssh.env | {"HOME": str(tmp_path), "HOLDFAST_THEME": "dark"}
        env |= {key: str(value) for key, value in here.items()}
        env["HOLDFAST_REMOTE"] = f"env {shlex.join(there)} {ssh.env['HOLDFAST_REMOTE']}"
        argv = [*TUI, *(word for host in hosts for word in ("--host", host))]
        made.append(Terminal(tmp_path / "terminal", argv, env=env, size=size))
        return made[-1]

    yield begin
    for each in made:
        each.close()


def engine(of: Box) -> tuple[int, int] | None:
    """The process of its `chat` and when that began, once it is ready, and while it lives."""
    found = of.replica("chat/0")
    if found is None or found.state != "ready" or found.pid is None:
        return None
    return identity(found.pid) if alive(found.pid) else None


@pytest.mark.parametrize("size", [(80, 24), (140, 40)])
def test_two_machines_are_seen_and_led_as_one_and_each_by_itself(box, far, ssh, terminal, size):
    first = {80: 25200, 140: 25240}[size[0]]
    for each, others, ports in ((box, "near", first), (far, "other", first + 20)):
        each.ports(ports)
        each.service("chat")
        each.service(others)
        each.daemon()
        each.converged("chat", others)
    shown = terminal("localhost", "gpu2", "gpu9", size=size)
    shown.until("near", "other", "MACHINE", "gpu9 is away", within=LATEST)

    # the chat of that machine, and no other, is restarted
    shown.press("b", "b")
    shown.until("gpu2 · 2 workloads", "localhost · 2 workloads")
    shown.press("/")
    shown.press(*"gpu2", "Space", *"chat", "Enter")
    shown.until("1 of 4")
    here, there = (eventually(lambda of=of: engine(of), within=LATEST, what="both run") for of in (box, far))
    shown.press("r")
    shown.until("restart chat on gpu2?")
    shown.press("y")
    there = eventually(lambda: now if (now := engine(far)) != there else None, within=LATEST, what="it was restarted")
    assert eventually(lambda: engine(box), within=LATEST, what="this daemon knows its own") == here

    # each has its plan
    shown.press("2")
    shown.until(" on localhost", within=LATEST)
    shown.press("G")
    shown.until(" on gpu2", "gpu9: cannot reach gpu9", within=LATEST)

    # one goes, and the other is led as before; it comes back as it was
    shown.press("1", "Escape")
    shown.until("near", "other")
    far.kill()
    shown.until("gpu2 is away", "other", within=LATEST)
    box.service("fresh")
    shown.until("fresh", within=LATEST)
    far.daemon()
    shown.until("other", gone=["gpu2 is away"], within=LATEST)
    assert eventually(lambda: engine(far), within=LATEST, what="its daemon knows it again") == there

    # the way there breaks off
    for each in clients(ssh):
        os.kill(each, signal.SIGKILL)
    shown.until("gpu2 is away", within=LATEST)
    shown.until("other", gone=["gpu2 is away"], within=LATEST)

    shown.press("q")
    shown.ended(0)
    assert eventually(lambda: engine(far), within=LATEST, what="its daemon knows it again") == there
