"""Weights of a hub, a real daemon and a real llama.cpp: fetched, checked, loaded; and nothing twice."""

import json
import os
import signal
from pathlib import Path

import pytest

from tests.eventually import eventually
from tests.hub_server import COMMIT, hub_server, pattern
from tests.system.box import LATEST, ROOT

pytestmark = pytest.mark.system

MIB = 2**20
DEMO = (ROOT / "models/demo.gguf").read_bytes()


@pytest.fixture
def hub(monkeypatch):
    with hub_server(repos={"org/tiny-GGUF": {"demo-Q8_0.gguf": DEMO}}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.base)
        yield hub


def declared(box, source="hf:org/tiny-GGUF", **more):
    cache = {"path": str(box.place / "cache")}
    box.write("node.yaml", json.dumps({"kind": "Node", "name": "local", "ports": "9340-9359", "cache": cache}))
    model = {"kind": "Model", "name": "chat", "source": source, "gpus": 0, "context": 256, **more}
    box.write("chat.yaml", json.dumps(model))


def message(box):
    row = box.row("chat")
    return row.conditions[1].message if row is not None else ""


def fetching(box) -> list[int]:
    """The fetch processes of this box."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"reconciler.act.fetch\0" in path.read_bytes() and (path.parent / "fd").exists():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_a_model_of_a_hub_is_fetched_and_serves(box, hub):
    declared(box)
    box.daemon()
    eventually(lambda: (row := box.row("chat")) is not None and row.ready, within=LATEST, what="chat is ready")
    facts = box.client.facts()
    argv = facts.observation.instances["chat/0"].launch.argv
    assert argv[argv.index("--model") + 1].endswith(f"/snapshots/{COMMIT}/demo-Q8_0.gguf")
    messages = [event.message for event in box.client.events()]
    assert any(text.startswith("fetching hf:org/tiny-GGUF/*.gguf") for text in messages), messages


def test_a_daemon_killed_in_the_middle_of_a_fetch_finds_it_again(box, hub):
    data = pattern(24 * MIB)
    hub.repos["org/big"] = {"big.gguf": data}
    hub.rate = 8 * MIB
    declared(box, "hf:org/big/big.gguf", memory="1GiB")
    box.daemon()
    eventually(lambda: " of 24.0 MiB" in message(box), within=LATEST, what="progress is told")
    (before,) = fetching(box)
    box.kill()
    box.daemon()
    eventually(lambda: " of 24.0 MiB" in message(box), within=LATEST, what="the fetch is found again")
    assert fetching(box) == [before]
    # and a fetch that is killed itself goes on where it was
    os.kill(before, signal.SIGKILL)
    eventually(lambda: [pid for pid in fetching(box) if pid != before], within=LATEST, what="it is fetched again")
    hub.rate = None
    path = box.place / f"cache/hub/models--org--big/snapshots/{COMMIT}/big.gguf"
    eventually(path.exists, within=LATEST, what="it is here")
    assert path.read_bytes() == data
    assert hub.sent[f"/org/big/resolve/{COMMIT}/big.gguf"] <= len(data) + 6 * MIB


def test_a_model_that_is_removed_is_fetched_no_longer(box, hub):
    hub.repos["org/big"] = {"big.gguf": pattern(8 * MIB)}
    hub.rate = MIB // 2
    declared(box, "hf:org/big/big.gguf", memory="1GiB")
    box.daemon()
    eventually(lambda: " of 8.0 MiB" in message(box), within=LATEST, what="progress is told")
    box.remove("chat.yaml")
    eventually(lambda: not fetching(box), within=LATEST, what="the fetch has ended")


def test_what_stands_in_the_way_is_told_and_no_token_shows(box, hub, monkeypatch):
    hub.token = "hf_canary"
    declared(box)
    box.daemon()
    stalled = eventually(lambda: box.stalled("chat"), within=LATEST, what="it says why")
    assert stalled.reason == "SecretMissing"
    assert "{HF_TOKEN: {secret: hf-token}}" in stalled.message
    secrets = box.state / "secrets"
    secrets.mkdir(mode=0o700)
    (secrets / "hub").write_text("hf_canary")
    declared(box, "hf:org/tiny-GGUF/demo-Q8_0.gguf", env={"HF_TOKEN": {"secret": "hub"}})
    eventually(lambda: (row := box.row("chat")) is not None and row.ready, within=LATEST, what="chat is ready")
    written = [path for root in (box.state, box.place / "cache") for path in root.rglob("*") if path.is_file()]
    leaks = [path for path in written if path.parent != secrets and b"hf_canary" in path.read_bytes()]
    assert leaks == []
