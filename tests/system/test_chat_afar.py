"""The dashboard, by real ssh: models behind a real gateway are woken, heard and stopped. Ports 24000-24009."""

import json
import os
import signal
import urllib.request

import pytest
from textual.geometry import Region

from reconciler.client.remote import Remote
from tests.client.sshd import clients, machine
from tests.eventually import eventually, eventually_async
from tests.system.box import LATEST
from tests.system.front import TAUGHT
from tui.app import Dashboard
from tui.screens.chat import Chat
from tui.widgets.canvas import Canvas

pytestmark = pytest.mark.system


@pytest.fixture
def there(box, gguf, tmp_path, monkeypatch):
    """A machine with a gateway, two models that run and one that comes when it is asked for; and the way to it."""
    gateway = {"listen": ["127.0.0.1:24000"]}
    node = {"kind": "Node", "name": "local", "ports": "24001-24009", "gateway": gateway}
    model = {"kind": "Model", "gpus": 0}
    small = {**model, "source": f"file:{gguf}", "context": 512}
    sleepy = {**small, "name": "sleepy", "replicas": {"min": 0, "max": 1}}
    params = {"script": "sse events=100000 pause=0.05"}
    endless = {**model, "name": "endless", "source": f"file:{box.place}", "engine": "taught", "params": params}
    fleet = (node, {**small, "name": "demo"}, sleepy, TAUGHT, endless)
    box.write("fleet.yaml", "\n---\n".join(map(json.dumps, fleet)))
    done = box.cli("up", str(box.fleet), "--detach", "--wait", "60s")
    assert done.returncode == 0, done.stderr
    (tmp_path / "run").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    with machine(tmp_path / "ssh") as made:
        yield made
    eventually(lambda: not clients(made), what="no ssh is left")


def shown(app: Dashboard) -> str:
    canvas = next(each for each in app.screen.query(Canvas) if each.display and each.id in ("models", "talk"))
    return "\n".join(strip.text for strip in canvas.render_lines(Region(0, 0, *canvas.size)))


def cancelled(box) -> list[bool]:
    """Of what the endless model was asked: whether nobody waits for it any more."""
    [only] = box.row("endless").replicas
    with urllib.request.urlopen(f"http://127.0.0.1:{only.port}/-/seen", timeout=LATEST) as answer:
        seen = json.load(answer)["seen"]
    return [each["cancelled"] is not None for each in seen if each["head"].startswith("POST /v1/chat")]


async def test_models_of_another_machine_are_woken_heard_and_stopped(box, there):
    async def reads(*texts: str) -> None:
        await eventually_async(
            lambda: all(text in shown(app) for text in texts), within=2 * LATEST, what=f"{texts} in {shown(app)}"
        )

    with Remote("gpu2", ["--socket", box.client.path], env=there.env) as remote:
        app = Dashboard({"gpu2": remote.client})
        async with app.run_test(size=(100, 30)) as pilot:
            await eventually_async(lambda: app.world.machines["gpu2"].status is not None, within=LATEST)
            await pilot.press("5")
            await eventually_async(lambda: isinstance(app.screen, Chat) and app.screen.is_mounted)
            await reads("demo", "sleepy", "the first question wakes it")
            await pilot.press("j", "j", "enter", *"hello", "enter")
            await reads("▌ hello", "very small model", "to the first token", "sleepy on gpu2 ● ready")
            for pid in clients(there):
                os.kill(pid, signal.SIGKILL)
            await pilot.press(*"again", "enter")
            await reads("▌ again")
            await eventually_async(lambda: shown(app).count("in all") == 2, within=LATEST, what="a second answer")
            await pilot.press("ctrl+o", "k", "enter", *"tell", "enter")
            await reads("endless on gpu2", "t9 ", "tok/s", "so far")
            assert cancelled(box) == [False]
            await pilot.press("escape")
            await reads("stopped", "in all")
            await eventually_async(lambda: cancelled(box) == [True], within=LATEST, what="its engine works no longer")
