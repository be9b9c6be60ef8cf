"""Weights of a hub, a real daemon and a real llama.cpp: fetched, checked, loaded; and nothing twice."""

import json
import os
import signal
from pathlib import Path

import pytest

from tests.eventually import eventually
from tests.hub_server import COMMIT, hub_server, pattern
from tests.ollama_model import Tag, digest_of
from tests.system.box import LATEST, ROOT

pytestmark = pytest.mark.system

MIB = 2**20
DEMO = (ROOT / "models/demo.gguf").read_bytes()


@pytest.fixture
def hub(monkeypatch):
    with hub_server(repos={"org/tiny-GGUF": {"demo-Q8_0.gguf": DEMO}}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.base)
        yield hub


def declared(box, source="hf:org/tiny-GGUF", limit: str | None = None, **more):
    cache = {"path": str(box.place / "cache"), **({"size": limit} if limit else {})}
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
    assert sum(text.startswith("hf:org/tiny-GGUF/*.gguf is here, whole and checked") for text in messages) == 1, (
        messages
    )


def test_a_model_of_ollamas_registry_is_served_by_llamacpp(box, monkeypatch):
    tiny = Tag(gguf=DEMO)
    with hub_server(plain=tiny.served) as hub:
        monkeypatch.setenv("OLLAMA_REGISTRY", hub.base)
        monkeypatch.setenv("OLLAMA_MODELS", str(box.place / "nothing"))
        declared(box, "ollama:tiny", engine="llamacpp")
        box.daemon()
        eventually(lambda: (row := box.row("chat")) is not None and row.ready, within=LATEST, what="chat is ready")
    argv = box.client.facts().observation.instances["chat/0"].launch.argv
    blob = digest_of(DEMO).replace(":", "-")
    assert argv[argv.index("--model") + 1] == str(box.place / "cache/ollama/blobs" / blob)
    assert any(event.message.startswith("fetching ollama:tiny") for event in box.client.events())


def test_a_daemon_killed_in_the_middle_of_a_fetch_finds_it_again(box, hub):
    data = pattern(24 * MIB)
    hub.repos["org/big"] = {"big.gguf": data}
    hub.rate = MIB // 2  # three quarters of a minute, whatever else the machine does meanwhile
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
    hub.repos["org/big"] = {"big.gguf": pattern(64 * MIB)}
    hub.rate = MIB // 2  # for two minutes, were nobody to end it
    declared(box, "hf:org/big/big.gguf", memory="1GiB")
    box.daemon()
    eventually(lambda: " of 64.0 MiB" in message(box), within=LATEST, what="progress is told")
    box.write("wrong.yaml", "kind: Model\nname: [\n")  # it may be what still needs it
    eventually(lambda: box.status().problems, within=LATEST, what="it is told what is wrong")
    box.remove("chat.yaml")
    eventually(
        lambda: (chat := box.status().workloads.get("chat")) is None or not chat.wanted, within=LATEST, what="gone"
    )
    assert fetching(box)
    box.remove("wrong.yaml")
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


def test_where_there_is_no_room_the_command_that_is_advised_makes_it(box, hub):
    hub.repos["org/old"] = {"old.gguf": pattern(3 * MIB)}
    hub.repos["org/big"] = {"big.gguf": pattern(3 * MIB)}
    declared(box, "hf:org/old/old.gguf", "5MiB", memory="1GiB")
    box.daemon()
    old = box.place / f"cache/hub/models--org--old/snapshots/{COMMIT}/old.gguf"
    eventually(old.exists, within=LATEST, what="the old one is here")
    refused = box.cli("models", "prune", "--yes", "hf:org/old/old.gguf")
    assert "cannot delete hf:org/old/old.gguf: chat needs it" in refused.stderr
    declared(box, "hf:org/big/big.gguf", "5MiB", memory="1GiB")
    command = "holdfast models prune hf:org/old/old.gguf"
    stalled = eventually(lambda: box.stalled("chat", "DiskFull"), within=LATEST, what="it says what to type")
    assert f"`{command}` gives back 3.0 MiB" in stalled.message
    done = box.cli(*command.split()[1:], "--yes")
    assert "deleted hf:org/old/old.gguf: 3.0 MiB" in done.stdout
    assert not old.exists()
    big = box.place / f"cache/hub/models--org--big/snapshots/{COMMIT}/big.gguf"
    eventually(big.exists, within=LATEST, what="the new one has come")
    found = {each.source: each for each in box.client.models().kept}
    assert found["hf:org/big/big.gguf"].needed_by == ("chat",)
    assert list(found) == ["hf:org/big/big.gguf"]
