"""Models of Ollama, by a real daemon: fetched, served by their own names, loaded before they count, let go wholly."""

import json
import os
import signal
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.eventually import eventually
from tests.hub_server import hub_server
from tests.ollama_model import Tag, digest_of
from tests.system.box import LATEST, ROOT

pytestmark = pytest.mark.system
DOUBLE = Path(__file__).with_name("ollama.py")
TINY = Tag(gguf=(ROOT / "models/demo.gguf").read_bytes())


@pytest.fixture
def llama(box, monkeypatch):
    """A box with an `ollama` on PATH and a registry to fetch from."""
    programs = box.place / "bin"
    programs.mkdir()
    program = programs / "ollama"
    program.write_text(f'#!/bin/sh\n[ "$1" = serve ] && exec "{sys.executable}" -I -S "{DOUBLE}"\n')
    program.chmod(0o755)
    (box.place / "asked").touch()
    box.gpus("4608MiB")
    monkeypatch.setenv("OLLAMA_MODELS", str(box.place / "nothing"))
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    with hub_server(plain=TINY.served) as hub:
        monkeypatch.setenv("OLLAMA_REGISTRY", hub.base)
        yield box


def declare(box, ports, **more):
    node = {"kind": "Node", "name": "local", "ports": f"{ports}-{ports + 9}", "cache": {"path": f"{box.place}/cache"}}
    said = {
        "kind": "Model",
        "name": "chat",
        "source": "ollama:tiny",
        "gpus": 1,
        "memory": "64MiB",
        "env": {"SCRIPT": str(box.place), "PYTHONPATH": str(ROOT)},
        "health": {"interval": "100ms"},
        "update": {"grace": "300ms"},
        **more,
    }
    box.write("node.yaml", json.dumps(node))
    box.write("chat.yaml", json.dumps(said))


def state(box, *states):
    """Wait until it is in one of these states; where it is."""

    def look():
        one = box.replica("chat/0")
        return one if one is not None and one.state in states else None

    one = eventually(look, within=LATEST, what=f"chat/0 is {' or '.join(states)}")
    assert one is not None
    return one


def asked(box):
    """What servers were asked: path and keep_alive, the pid where it matters."""
    return [tuple(line.split()) for line in (box.place / "asked").read_text().splitlines()]


def runner(box):
    """The pid of the runner that was started last, once there is one."""
    return int(eventually(lambda: (path := box.place / "runner").exists() and path.read_text(), what="a runner"))


def is_there(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def loads(box):
    """Wait until it has begun to load."""
    runner(box)
    return state(box, "starting")


LOAD, UNLOAD = ("/api/embed", "-1s"), ("/api/generate", "0s")


def test_it_is_ready_once_its_model_is_loaded_under_its_own_name(llama):
    (llama.place / "slow").touch()
    declare(llama, 21600, health={"interval": "100ms", "inference": "1s"})
    llama.daemon()
    loading = loads(llama)
    # its own API lists it by now, which proves nothing
    ps = json.load(urllib.request.urlopen(f"http://127.0.0.1:{loading.port}/api/ps"))
    assert [model["name"] for model in ps["models"]] == ["chat:latest"]
    assert llama.row("chat").endpoints == ()
    assert llama.row("chat").conditions[0].message == "chat/0 loads"
    (llama.place / "slow").unlink()
    ready = state(llama, "ready")
    assert (ready.pid, ready.run) == (loading.pid, 1)
    eventually(lambda: "/v1/completions" in [path for _, path, _ in asked(llama)], what="a tiny request")
    assert next((path, keep) for _, path, keep in asked(llama)) == LOAD
    said = [event.message for event in llama.events("chat/0")]
    assert not [text for text in said if "asleep" in text], said


def test_what_is_done_to_its_store_changes_nothing_that_was_fetched(llama):
    declare(llama, 21620)
    llama.daemon()
    state(llama, "ready")
    fetched = llama.place / "cache/ollama/blobs" / digest_of(TINY.gguf).replace(":", "-")
    (own,) = llama.place.glob(f"**/home/models/blobs/{fetched.name}")
    assert own.is_symlink()
    assert own.samefile(fetched)
    home = own.parents[2]
    environ = Path(f"/proc/{llama.replica('chat/0').pid}/environ").read_text().split("\0")
    assert {f"HOME={home}", f"OLLAMA_MODELS={home}/models"} <= set(environ)


def test_one_that_loads_is_stopped_at_once(llama):
    (llama.place / "slow").touch()
    declare(llama, 21640)
    llama.daemon()
    pid = loads(llama).pid
    assert llama.cli("stop", "chat").returncode == 0
    eventually(lambda: not is_there(pid) and not is_there(runner(llama)), within=LATEST, what="nothing is left")
    eventually(lambda: llama.replica("chat/0") is None, within=LATEST, what="it is gone")
    assert not [event for event in llama.events("chat/0") if event.reason == "WakeFailed"], "it was we who ended it"


def test_one_whose_model_cannot_be_loaded_says_why_and_is_started_anew(llama):
    (llama.place / "fails").write_text("model requires more system memory (9.0 GiB) than is available (4.1 GiB)")
    declare(llama, 21660)
    llama.daemon()
    llama.told("ollama said 500 model requires more system memory (9.0 GiB)", subject="chat/0")
    eventually(lambda: llama.replica("chat/0").run > 1, within=LATEST, what="another run")
    assert llama.replica("chat/0").restarts >= 1, "it waits longer each time"
    (llama.place / "fails").unlink()
    state(llama, "ready")


def test_one_that_dies_while_it_loads_is_started_anew(llama):
    (llama.place / "crash").touch()
    declare(llama, 21680)
    llama.daemon()
    llama.told("exited with status 3", subject="chat/0")
    (llama.place / "crash").unlink()
    assert state(llama, "ready").run > 1


def test_what_somebody_else_unloads_is_loaded_again(llama):
    declare(llama, 21700)
    llama.daemon()
    before = state(llama, "ready")
    first = runner(llama)
    os.kill(first, signal.SIGKILL)
    eventually(lambda: runner(llama) != first, within=LATEST, what="another runner")
    assert (state(llama, "ready").pid, is_there(first)) == (before.pid, False)
    assert [(path, keep) for _, path, keep in asked(llama)] == [LOAD, LOAD]


def test_an_idle_one_is_unloaded_and_loaded_again_in_the_same_server(llama):
    (llama.place / "lingers").touch()
    declare(llama, 21720, idle_action="sleep", replicas={"min": 0, "max": 1, "idle": "1s"})
    llama.daemon()
    assert llama.cli("scale", "chat", "1").returncode == 0
    before = state(llama, "ready")
    assert llama.cli("scale", "chat", "auto").returncode == 0
    eventually(lambda: UNLOAD in [(path, keep) for _, path, keep in asked(llama)], within=LATEST, what="it is let go")
    assert not [event for event in llama.events("chat/0") if event.message == "is asleep"], "it is still listed"
    (llama.place / "lingers").unlink()
    asleep = state(llama, "asleep")
    assert (asleep.pid, asleep.memory, is_there(runner(llama))) == (before.pid, 0, False)
    assert llama.cli("scale", "chat", "1").returncode == 0
    awake = state(llama, "ready")
    assert (awake.pid, awake.run) == (before.pid, 1)
    assert [(path, keep) for _, path, keep in asked(llama)] == [LOAD, UNLOAD, LOAD]


def test_a_stop_leaves_nothing_of_one_that_takes_no_sigterm(llama):
    (llama.place / "deaf").touch()
    (llama.place / "clings").touch()
    declare(llama, 21740)
    llama.daemon()
    pid = state(llama, "ready").pid
    assert llama.cli("stop", "chat").returncode == 0
    eventually(lambda: llama.replica("chat/0") is None, within=LATEST, what="it is gone")
    assert not is_there(pid)
    assert not is_there(runner(llama))


def test_a_daemon_killed_while_a_model_loads_has_it_loaded_again(llama):
    (llama.place / "slow").touch()
    declare(llama, 21760)
    llama.daemon()
    loading, first = loads(llama), runner(llama)
    llama.kill()
    eventually(lambda: not is_there(first), within=LATEST, what="nobody waits for it any more")
    llama.daemon()
    eventually(lambda: runner(llama) != first, within=LATEST, what="it is loaded again")
    (llama.place / "slow").unlink()
    ready = state(llama, "ready")
    assert (ready.pid, ready.run) == (loading.pid, 1)


def test_one_without_gpus_is_loaded_too(llama):
    declare(llama, 21780, gpus=0)
    llama.daemon()
    state(llama, "ready")
    eventually(lambda: llama.status().converged, within=LATEST, what="nothing is left to do")


def test_one_that_answers_no_more_is_started_anew(llama):
    declare(llama, 21800, health={"interval": "100ms", "timeout": "100ms"})
    llama.daemon()
    before = state(llama, "ready")
    (llama.place / "hang").touch()
    llama.told("ProbeFailing", "stopping", subject="chat/0")
    (llama.place / "hang").unlink()
    after = eventually(
        lambda: (one := llama.replica("chat/0")) and one.run == 2 and one.state == "ready" and one,
        within=LATEST,
        what="run 2",
    )
    assert after.pid != before.pid
