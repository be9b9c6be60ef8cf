"""What clients see of a fleet that changes: replaced, killed, on demand, asleep, too big. Ports 32200-32299."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.eventually import eventually
from tests.gateway.client import Answer, Raw, chat, once, request
from tests.gateway.crowd import Tally, asks, under_load
from tests.system.box import LATEST
from tests.system.front import Front

pytestmark = pytest.mark.system
ON_DEMAND = {"min": 0, "max": 1, "idle": "1s"}
QUICK = {"interval": "200ms"}


@pytest.fixture
def front(box, request):
    """A gateway that is not started yet, on a port for each test."""
    names = [item.name for item in request.session.items if item.path == request.path]
    front = Front(box, 32200 + 9 * names.index(request.node.name))
    front.declare(engines=8)
    yield front
    if front.log.exists():
        assert "Traceback" not in front.said(), front.said()
    front.clear()


def ask(front: Front, data: bytes) -> Answer:
    return asyncio.run(once(front.port, data))


def whole(tally: Tally) -> None:
    assert not tally.failures, tally.failures[:5]
    assert {fate for _, fate in tally.fates} == {"whole"}, tally.table()


def runs(front: Front, name: str) -> list[int]:
    """The run of each replica that serves."""
    row = front.box.row(name)
    return [one.run for one in row.replicas if one.state == "ready"] if row is not None else []


# -- replaced, killed


def test_a_roll_out_under_load_fails_no_request(front, gguf):
    """Of two replicas, of one with room for another, of one that has to end before the next begins, of llama.cpp."""
    names = ("pair", "one", "held", "real")

    def declare(edition: str) -> None:
        changed = {"env": {"EDITION": edition}, "health": QUICK}
        front.model("pair", "sse events=20 pause=0.02", replicas=2, **changed)
        front.model("one", "answer after=0.1", **changed)
        front.model("held", "answer after=0.1", update={"strategy": "replace"}, **changed)
        real = {"engine": "llamacpp", "source": f"file:{gguf}", "context": 1024, "parallel": 4, "params": {}}
        front.model("real", **real, **changed)

    def roll() -> None:
        before = front.box.pids()
        declare("2")
        eventually(lambda: not set(front.box.pids().values()) & set(before.values()), within=LATEST, what="all are new")
        front.box.converged(*names)

    declare("1")
    front.box.daemon()
    front.box.converged(*names)
    front.start()
    loads = (*asks("one", 3, 4), *asks("held", 3, 4), asks("pair", 20, 6)[1], *asks("real", 15, 2, says=b"hold fast."))
    whole(under_load(front.port, roll, *loads))


def test_an_engine_killed_under_load_fails_no_request_without_a_first_byte(front):
    """Where it was the only one, its clients are answered by its next run."""
    names = ("pair", "long", "only")
    for name in names:
        script = "sse events=120 pause=0.02" if name == "long" else "answer after=0.2"
        front.model(name, script, replicas=1 if name == "only" else 2, health=QUICK)
    front.box.daemon()
    front.box.converged(*names)
    front.start()

    def kill() -> None:
        pids = front.box.pids()
        for name in names:
            os.kill(pids[f"{name}/0"][0], signal.SIGKILL)
        eventually(lambda: all(2 in runs(front, name) for name in names), within=LATEST, what="others are there")

    loads = [asks(name, 3, 4)[0] for name in ("pair", "only")]
    tally = under_load(front.port, kill, *loads, asks("long", 120, 8)[1], excused="long")
    assert not tally.failures, tally.failures[:5]
    assert tally.fates["long stream", "cut"] > 0, tally.table()
    assert {fate for kind, fate in tally.fates if kind != "long stream"} == {"whole"}, tally.table()


def test_streams_outlive_the_daemon_and_what_the_next_one_replaces(front):
    """It is killed, and the model edited, before another begins, which knows nothing of gateways."""
    front.model("chat", "sse events=100 pause=0.05")
    front.box.daemon()
    front.box.converged("chat")
    front.start()
    before = front.box.pids()

    async def run() -> Answer:
        async with await Raw.open(front.port) as raw:
            stream = asyncio.create_task(raw.ask(chat(stream=True)))
            front.box.kill()
            assert (await once(front.port, request("GET", "/v1/models"))).status == 200
            front.model("chat", "answer")
            await asyncio.to_thread(front.box.daemon)
            return await stream

    answer = asyncio.run(run())
    assert sum(b'"content"' in event for event in answer.events) == 100
    assert answer.events[-1] == b"data: [DONE]"
    eventually(lambda: (now := front.box.pids()) != before and list(now) == ["chat/0"], what="it was replaced")
    assert ask(front, chat()).status == 200


# -- on demand


def test_the_first_request_starts_a_model_and_is_answered_and_it_idles_out_again(front):
    front.model("rare", replicas=ON_DEMAND, health=QUICK)
    front.box.daemon()
    front.start()
    assert front.box.pids() == {}
    answer = ask(front, chat("rare"))
    assert (answer.status, answer.json()["model"]) == (200, "rare")
    eventually(lambda: front.box.pids() == {}, within=LATEST, what="it idles out")
    stream = ask(front, chat("rare", stream=True))
    assert stream.events[-1] == b"data: [DONE]"


def test_a_stream_that_waits_is_told_so(front):
    """Comments keep the connection alive; a stream that is answered then is whole."""
    loaded = front.box.place / "loaded"
    front.model("rare", replicas=ON_DEMAND, once=loaded, health=QUICK)
    front.box.daemon()
    front.start()

    async def run() -> Answer:
        async with await Raw.open(front.port) as raw:
            await raw.send(chat("rare", stream=True))
            answer = await raw.head()
            pieces = raw.pieces(answer)
            answer.body += await anext(pieces)
            assert answer.body.startswith(b": waiting for rare: "), answer.body
            loaded.touch()
            async for piece in pieces:
                answer.body += piece
            return answer

    answer = asyncio.run(run())
    assert (answer.status, answer.header("content-type")) == (200, "text/event-stream")
    assert answer.events[-1] == b"data: [DONE]"
    assert sum(b'"content"' in event for event in answer.events) == 3


def test_a_model_that_can_never_fit_is_unavailable_in_the_words_of_the_plan(front):
    front.box.gpus("16GiB")
    front.model("huge", gpus=1, memory="40GiB", replicas=ON_DEMAND)
    front.model("large", gpus=1, memory="40GiB", fallback=["small"])
    front.model("small", health=QUICK)
    front.box.daemon()
    eventually(lambda: (row := front.box.row("small")) and row.ready, what="the small one serves")
    front.start()
    answer = ask(front, chat("huge"))
    assert (answer.status, answer.json()["error"]["code"]) == (503, "unavailable")
    assert "16.0 GiB in all" in answer.json()["error"]["message"], answer.body
    assert int(answer.header("retry-after") or 0) > 0
    other = ask(front, chat("large"))
    assert (other.status, other.json()["model"]) == (200, "small")
    assert other.header("x-holdfast-fallback") == "small"


def test_two_models_share_a_card_by_turns_as_they_are_asked_for(front):
    front.box.gpus("16GiB")
    for name in ("red", "blue"):
        front.model(name, gpus=1, memory="10GiB", replicas={**ON_DEMAND, "idle": "10m"}, health=QUICK)
    front.box.daemon()
    front.start()
    for name in ("red", "blue"):
        answer = ask(front, chat(name))
        assert (answer.status, answer.json()["model"]) == (200, name)
        assert list(front.box.pids()) == [f"{name}/0"]


def test_a_request_wakes_a_model_that_sleeps(front):
    programs = front.box.place / "bin"
    programs.mkdir()
    double = Path(__file__).with_name("sleeper.py")
    (programs / "vllm").write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{double}" "$@"\n')
    (programs / "vllm").chmod(0o755)
    for name in ("errs", "asked"):
        (front.box.place / name).touch()
    front.box.gpus("4608MiB")
    said = {
        "kind": "Model", "name": "chat", "source": f"file:{front.box.place}", "engine": "vllm", "gpus": 1,
        "memory": "2560MiB", "replicas": ON_DEMAND, "idle_action": "sleep", "health": QUICK,
        "args": ["--script", str(front.box.place)],
    }  # fmt: skip
    front.box.write("chat.yaml", json.dumps(said))
    front.box.daemon(before=("env", f"PATH={programs}:{os.environ['PATH']}"))
    front.start()
    assert ask(front, chat()).status == 200
    asleep = eventually(
        lambda: (one := front.box.replica("chat/0")) and one.state == "asleep" and one, within=LATEST, what="it sleeps"
    )
    assert ask(front, chat()).status == 200
    assert front.box.replica("chat/0").pid == asleep.pid, "it was woken, not started"


# -- names


def test_aliases_adapters_and_shared_names_lead_to_their_models(front):
    programs = front.box.vllm()
    adapter = front.box.place / "sql"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapter_model.safetensors").write_bytes(b"lora")
    said = {
        "kind": "Model", "name": "chat", "source": f"file:{front.box.place}", "engine": "vllm", "gpus": 0,
        "aliases": ["gpt-4o"], "adapters": [{"name": "sql", "source": f"file:{adapter}"}],
    }  # fmt: skip
    front.box.write("chat.yaml", json.dumps(said))
    front.model("old", weight=100, aliases=["either"])
    front.model("new", weight=100, aliases=["either"])
    front.box.daemon(before=("env", f"PATH={programs}:{os.environ['PATH']}"))
    front.box.converged("chat", "old", "new")
    front.start()
    for asked, known in (("chat", "chat"), ("gpt-4o", "chat"), ("sql", "sql")):
        assert ask(front, chat(asked)).json()["model"] == known
    assert {ask(front, chat("either")).json()["model"] for _ in range(40)} == {"old", "new"}
    before = front.box.pids()
    front.model("old", weight=0, aliases=["either", "former"])
    eventually(lambda: ask(front, chat("former")).status == 200, within=LATEST, what="the alias is there")
    assert {ask(front, chat("either")).json()["model"] for _ in range(20)} == {"new"}
    assert front.box.pids() == before, "an edit of names restarts nothing"
