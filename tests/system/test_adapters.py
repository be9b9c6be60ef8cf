"""Adapters of an engine that runs come and go by its own API; it is never restarted for them, whoever is killed."""

import json
import os
import re
from urllib.request import urlopen

import pytest

from tests.eventually import eventually
from tests.hub_server import hub_server
from tests.system.box import LATEST

pytestmark = pytest.mark.system


@pytest.fixture
def vllm(box, monkeypatch):
    """A directory on PATH with what stands in for vLLM."""
    place = box.vllm()
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
    files = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"lora"}
    with hub_server(repos={f"org/{name}": files for name in ("sql", "law", "law-2")}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.base)
        yield place


def declare(box, **adapters):
    """One model with these adapters: name → repository."""
    cache = {"path": str(box.place / "cache")}
    ports = json.loads((box.fleet / "node.yaml").read_text())
    box.write("node.yaml", json.dumps({**ports, "cache": cache}))
    listed = [{"name": name, "source": f"hf:org/{repo}"} for name, repo in adapters.items()]
    model = {"kind": "Model", "name": "chat", "source": f"file:{box.place}", "engine": "vllm", "gpus": 0}
    box.write("chat.yaml", json.dumps({**model, "adapters": listed}))


def served(box):
    """What the engine itself says it has: name → repository."""
    with urlopen(f"{box.row('chat').endpoints[0].address}/v1/models", timeout=LATEST) as answer:
        cards = json.load(answer)["data"]
    return {
        card["id"]: re.sub(r".*--org--(.*)/snapshots/.*", r"\1", card["root"]) for card in cards if "parent" in card
    }


def answers_to(box, *names):
    """Wait until all is as declared, and requests for exactly these names are sent there."""
    box.converged("chat")
    assert box.row("chat").endpoints[0].names == names


def asked(place):
    file = place / "asked"
    return file.read_text().split("\n")[:-1] if file.exists() else []


def test_adapters_come_and_go_while_it_runs(box, vllm):
    box.ports(31500)
    declare(box, sql="sql")
    box.daemon()
    answers_to(box, "chat", "sql")
    before = box.pids()
    declare(box, sql="sql", law="law")
    box.told("attaching law", subject="chat/0")
    answers_to(box, "chat", "sql", "law")
    assert served(box) == {"sql": "sql", "law": "law"}
    declare(box, law="law-2")
    box.told("detaching sql", subject="chat/0")
    answers_to(box, "chat", "law")
    assert served(box) == {"law": "law-2"}
    assert box.pids() == before


def test_what_it_cannot_load_is_told_and_attached_once_it_is_mended(box, vllm):
    box.ports(31520)
    declare(box, sql="sql")
    box.daemon()
    answers_to(box, "chat", "sql")
    before = box.pids()
    (vllm / "refuse-law").touch()
    declare(box, sql="sql", law="law")
    message = eventually(lambda: box.stalled("chat", "AdapterFailed"), within=LATEST, what="it is told").message
    said = "cannot attach law: vllm said 400 LoRA rank 64 is greater than max_lora_rank 16"
    assert message == f"{said}; chat/0 serves without it"
    assert box.told("cannot attach law", subject="chat/0").severity == "error"
    assert box.row("chat").ready
    assert box.row("chat").endpoints[0].names == ("chat", "sql")
    (vllm / "refuse-law").unlink()
    answers_to(box, "chat", "sql", "law")
    assert box.pids() == before


def test_a_daemon_killed_before_it_could_record_asks_again_and_no_more_after(box, vllm):
    box.ports(31540)
    declare(box, sql="sql")
    box.daemon()
    answers_to(box, "chat", "sql")
    before, begun = box.pids(), len(asked(vllm))
    (vllm / "hold").touch()
    declare(box, sql="sql", law="law")
    eventually(lambda: asked(vllm)[-1:] == ["load_lora_adapter law"], within=LATEST, what="the engine is asked")
    assert served(box) == {"sql": "sql", "law": "law"}
    box.kill()
    (vllm / "hold").unlink()
    box.daemon()
    answers_to(box, "chat", "sql", "law")
    once = ["unload_lora_adapter law", "load_lora_adapter law"]
    assert asked(vllm)[begun:] == [*once, *once]
    box.kill()
    box.daemon()
    answers_to(box, "chat", "sql", "law")
    assert asked(vllm)[begun:] == [*once, *once]
    assert box.pids() == before
