"""The dashboard in a real terminal, before a real daemon with real llama.cpp. Ports 24010-24099."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.act.stage import alive
from tests.eventually import eventually
from tests.system.box import LATEST, ROOT
from tests.tmux import Terminal

pytestmark = pytest.mark.system
HOLDFAST = [sys.executable, "-m", "reconciler.cli"]


@pytest.fixture
def declare(box, gguf):
    """A model of llama.cpp, and a gateway before it."""

    def write(first: int, **more: object) -> None:
        gateway = {"listen": [f"127.0.0.1:{first}"]}
        node = {"kind": "Node", "name": "local", "ports": f"{first + 1}-{first + 9}", "gateway": gateway}
        model = {"kind": "Model", "name": "demo", "source": f"file:{gguf}", "gpus": 0, "context": 512, **more}
        box.write("fleet.yaml", "\n---\n".join(map(json.dumps, (node, model))))

    return write


@pytest.fixture
def terminal(box, tmp_path):
    """A verb of holdfast in a terminal."""
    made: list[Terminal] = []

    def begin(*words: str, size: tuple[int, int]) -> Terminal:
        where = {"HOLDFAST_FLEET": box.fleet, "HOLDFAST_STATE": box.state, "HOLDFAST_SOCKET": box.client.path}
        env = {**os.environ, "HOME": str(tmp_path), "HOLDFAST_THEME": "dark"} | {k: str(v) for k, v in where.items()}
        made.append(Terminal(tmp_path / "terminal", [*HOLDFAST, *words], env=env, size=size))
        return made[-1]

    yield begin
    for each in made:
        each.close()


def pid(box) -> int | None:
    """Of the engine, once nothing is under way."""
    look = box.look()
    if look is None or not (look.converged or look.paused) or not look.workloads["demo"].ready:
        return None
    [only] = look.workloads["demo"].replicas
    return only.pid


def test_up_is_the_dashboard_and_leaves_the_engines_up(box, declare, terminal):
    declare(24010)
    shown = terminal("up", size=(100, 30))
    shown.until("demo", "● ready", "in sync", within=LATEST)
    engine = pid(box)
    shown.press("q")
    said = shown.until("the daemon has ended", "takes them up again")
    assert f"demo/0 (pid {engine})" in said.replace("\n", "")
    shown.ended(0)
    assert alive(engine)
    assert box.look() is None


def test_up_prints_as_it_did_where_that_is_asked_for(declare, terminal):
    declare(24020)
    shown = terminal("up", "--plain", size=(100, 30))
    shown.until("demo", "● ready", "Ctrl-C ends the daemon and leaves the engines up", within=LATEST)
    shown.press("C-c")
    shown.until("the daemon has ended")
    shown.ended(130)


@pytest.mark.parametrize(("first", "size"), [(24030, (80, 24)), (24040, (200, 50))])
def test_a_fleet_is_watched_and_led(box, declare, terminal, first, size):
    """What a person does on a day on which all happens."""
    declare(first)
    assert box.cli("up", "--detach", "--wait", "60s").returncode == 0
    shown = terminal("tui", size=size)
    shown.until("demo", "● ready", "in sync")
    running = pid(box)

    shown.press("r")
    shown.until("restart demo?")
    shown.press("y")
    eventually(lambda: pid(box) not in (None, running), within=LATEST, what="it was restarted")
    shown.until("● ready", "in sync", within=LATEST)
    running = pid(box)

    shown.press("2")
    shown.press("P")
    shown.until("‖ paused")
    declare(first, context=1024)
    shown.until("demo/0", "context 512 → 1024", within=LATEST)
    assert eventually(lambda: pid(box), within=LATEST, what="nothing is under way") == running
    shown.press("P")
    shown.until("in sync", gone=["‖ paused"], within=LATEST)
    eventually(lambda: pid(box) not in (None, running), within=LATEST, what="the edit was done")
    running = pid(box)

    shown.press("1")
    shown.until("● ready")
    os.kill(box.client.info().pid, 9)
    shown.until("away", "trying again", "demo", within=LATEST)
    assert alive(running)
    box.daemon()
    shown.until("● ready", "in sync", gone=["away"], within=LATEST)
    assert eventually(lambda: pid(box), within=LATEST, what="nothing is under way") == running

    shown.press("q")
    shown.ended(0)


def test_the_two_minutes_of_the_readme(box, gguf, terminal):
    """What it tells a stranger to do, on the fleet that it comes with; what is typed there is typed here."""
    shutil.copytree(ROOT / "fleet.d", box.fleet, dirs_exist_ok=True)
    (box.place / "models").mkdir()
    shutil.copy(gguf, box.place / "models")
    gateway = {"listen": ["127.0.0.1:24090"]}
    box.write("node.yaml", json.dumps({"kind": "Node", "name": "local", "ports": "24091-24099", "gateway": gateway}))
    told = (ROOT / "README.md").read_text().partition("## Two minutes")[2].partition("\n## ")[0]
    spoil, mend, edit = re.findall(r"`((?:echo|git|sed) [^`]*)`", told)

    def type_elsewhere(command: str) -> None:
        subprocess.run(["bash", "-ec", command], cwd=box.place, check=True, capture_output=True)

    type_elsewhere("git init -q && git add fleet.d && git -c user.name=a -c user.email=a@example.org commit -qm start")
    assert box.cli("up", "--detach", "--wait", "60s").returncode == 0
    shown = terminal("tui", size=(110, 30))
    shown.until("● 1 ready", "in sync")

    shown.press("3")
    shown.until("host", "cores")
    shown.press("1")
    shown.until("‖ paused", "its file pauses it: remove `paused: true` at fleet.d/chat-gpu.yaml:19")

    type_elsewhere(spoil)
    shown.until("◕ ready, stuck", within=LATEST)
    shown.press("g", "l")
    shown.until("cannot understand --oops", "following")
    type_elsewhere(mend)
    shown.press("Escape")
    shown.until("in sync", "● ready", gone=["stuck"], within=LATEST)

    running = pid(box)
    shown.press("r")
    shown.until("restart demo?")
    shown.press("y")
    eventually(lambda: pid(box) not in (None, running), within=LATEST, what="it was restarted")

    shown.press("c")
    shown.until("Ask demo something.")
    shown.press("hello", "Enter")
    shown.until("▌ hello", "and I hold fast.", "to the first token")
    shown.press("Escape")
    shown.until("i write")
    shown.press("Escape")
    shown.until("● 1 ready", "in sync", gone=["hold fast."])

    shown.press("2")
    shown.until("nothing to do")
    shown.press("P")
    shown.until("‖ paused")
    type_elsewhere(edit)
    shown.until("demo/0", "context 1024 → 2048", within=LATEST)
    shown.press("P")
    shown.until("in sync", "nothing to do", gone=["‖ paused"], within=LATEST)
    shown.press("q")
    shown.ended(0)
