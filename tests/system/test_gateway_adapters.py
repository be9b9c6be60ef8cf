"""Adapters that come, go and change under load: no request for one meets an engine that lacks it. Ports 25300-25309."""

import json
import os
from urllib.request import urlopen

import pytest

from tests.eventually import eventually
from tests.gateway.client import chat
from tests.gateway.crowd import Client, expect, under_load
from tests.system.box import LATEST
from tests.system.front import Front

pytestmark = pytest.mark.system


@pytest.fixture
def front(box, monkeypatch):
    """A gateway that is not started yet, and what stands in for vLLM on PATH."""
    place = box.vllm()
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
    front = Front(box, 25300)
    front.declare(engines=8)
    yield front
    front.clear()


def adapter(front: Front, name: str) -> str:
    """One that is here: its source."""
    place = front.box.place / name
    place.mkdir()
    (place / "adapter_config.json").write_text("{}")
    (place / "adapter_model.safetensors").write_bytes(b"lora")
    return f"file:{place}"


def attached(front: Front) -> list[str]:
    """What the engine itself says it has: the sources."""
    row = front.box.row("chat")
    assert row is not None
    with urlopen(f"http://127.0.0.1:{row.replicas[0].port}/v1/models", timeout=LATEST) as answer:
        return [f"file:{card['root']}" for card in json.load(answer)["data"] if "parent" in card]


def test_an_adapter_of_another_source_fails_no_request_for_it(front):
    sources = [adapter(front, f"law-{edition}") for edition in range(4)]

    def declare(edition: int) -> None:
        model = {"kind": "Model", "name": "chat", "source": f"file:{front.box.place}", "engine": "vllm", "gpus": 0}
        listed = [{"name": "law", "source": sources[edition]}]
        front.box.write("chat.yaml", json.dumps({**model, "adapters": listed}))

    async def ask(client: Client) -> str:
        expect(await client.ask(chat("law")), 200, b'"law"')
        return "whole"

    def change() -> None:
        for edition in (1, 2, 3):
            declare(edition)
            eventually(lambda edition=edition: attached(front) == [sources[edition]], within=LATEST, what="it is there")
            front.box.converged("chat")

    declare(0)
    front.box.daemon()
    front.box.converged("chat")
    before = front.box.pids()
    front.start()
    tally = under_load(front.port, change, ("law", ask, 8, 0.005))
    assert not tally.failures, tally.failures[:5]
    assert front.box.pids() == before, "an adapter restarts nothing"
