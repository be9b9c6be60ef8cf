"""`holdfast` as a person types it, against a real daemon, and llama.cpp as it really serves."""

import json

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests.eventually import eventually
from tests.system.box import LATEST

pytestmark = pytest.mark.system


def test_verbs_do_what_they_say_and_exit_as_they_should(box):
    nobody = box.cli("status")
    assert nobody.returncode == 1
    assert "nothing listens there" in nobody.stderr
    box.service("one")
    box.service("two")
    box.daemon()
    box.converged("one", "two")
    first = box.pids()

    assert box.cli("status").returncode == 0
    assert box.cli("apply", "--wait", "30s").stdout.splitlines()[-1] == "converged"
    assert set(json.loads(box.cli("status", "--json").stdout)["workloads"]) == {"one", "two"}

    assert box.cli("scale", "one", "2").returncode == 0
    box.converged("one", "two")
    eventually(lambda: box.replica("one/1"), what="a second one")
    assert box.cli("scale", "one", "auto").returncode == 0
    eventually(lambda: box.replica("one/1") is None, what="it is gone")
    assert box.pids() == first

    assert box.cli("restart", "one/0").returncode == 0
    eventually(lambda: box.replica("one/0").run == 2, what="run 2")
    box.converged("one", "two")
    second = box.pids()
    assert second["one/0"] != first["one/0"]
    assert second["two/0"] == first["two/0"]

    assert box.cli("stop", "one").returncode == 0
    eventually(lambda: not box.engines("one/0"), what="it is stopped")
    box.kill()
    box.daemon()
    eventually(lambda: (now := box.row("two")) and now.ready, what="two is adopted")
    assert not box.engines("one/0"), "what was asked for is kept"
    assert box.cli("resume", "one").returncode == 0
    box.converged("one", "two")

    assert box.cli("pause", "two").returncode == 0
    box.service("two", "sleep", "77")
    eventually(lambda: "two: Paused" in str(box.client.road().passes[0]), what="an edit waits")
    assert box.pids()["two/0"] == first["two/0"]
    assert box.cli("resume", "two").returncode == 0
    eventually(lambda: box.replica("two/0").run == 2, what="the edit is applied")

    assert box.cli("stop", "nobody").returncode == 1
    told = box.cli("events", "one").stdout
    assert "RestartAsked" in told
    assert "StopAsked" in told


def test_status_says_by_its_exit_that_something_is_missing(box):
    box.service("ghost", "/nowhere/program")
    box.daemon()
    eventually(lambda: box.stalled("ghost"), what="it cannot run")
    found = box.cli("status")
    assert found.returncode == 3
    assert "/nowhere/program" in found.stdout
    waited = box.cli("apply", "--wait", "1s")
    assert waited.returncode == 1
    assert "/nowhere/program" in waited.stderr


def test_logs_follow_what_is_written(box):
    box.service("talks", "sh", "-c", "for word in a b c; do echo word $word; done; echo '\x1b[31mred'; exec sleep 100")
    box.daemon()
    box.converged("talks")
    shown = eventually(lambda: (text := box.cli("logs", "talks").stdout).count("\n") == 4 and text, what="four lines")
    assert shown.splitlines()[:3] == ["word a", "word b", "word c"]
    assert "\x1b" not in shown


def test_up_and_down_leave_engines_or_end_them(box):
    box.write("node.yaml", json.dumps({"kind": "Node", "name": "local", "gateway": {"listen": ["127.0.0.1:32095"]}}))
    box.service("one")
    up = box.cli("up", str(box.fleet), "--detach", "--wait", "30s")
    assert up.returncode == 0, up.stderr
    before = box.pids()
    again = box.cli("up", str(box.fleet), "--detach", "--wait", "30s")
    assert "is running already" in again.stdout
    down = box.cli("down")
    assert "engines go on: one/0" in down.stdout
    assert box.engines("one/0") == [before["one/0"][0]]
    ended = box.cli("down", "--engines")
    assert ended.returncode == 0
    assert "stopped one/0" in ended.stdout
    assert not box.engines("one/0")


def model(gguf, **fields):
    said = {"kind": "Model", "name": "demo", "source": f"file:{gguf}", "gpus": 0, "context": 512, **fields}
    return json.dumps(said)


def test_a_model_gets_ready_and_the_official_client_streams_a_chat_from_it(box, gguf):
    box.ports(31080)
    box.write("demo.yaml", model(gguf, aliases=["small"]))
    box.daemon()
    box.converged("demo", within=60.0)
    [endpoint] = box.row("demo").endpoints
    assert set(endpoint.names) == {"demo", "small"}
    with openai.OpenAI(base_url=f"{endpoint.address}/v1", api_key="none", timeout=LATEST, max_retries=0) as client:
        asked: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]
        stream = client.chat.completions.create(model="demo", messages=asked, stream=True, max_tokens=64)
        pieces = [chunk.choices[0].delta.content for chunk in stream if chunk.choices]
    said = [piece for piece in pieces if piece]
    assert len(said) > 3
    assert "very small model" in "".join(said)
    [counted] = json.loads(box.cli("metrics", "demo", "--json").stdout)
    assert counted["metrics"]["generated_tokens"] > len(said)
    assert (counted["metrics"]["running"], counted["metrics"]["waiting"]) == (0, 0)
    before = box.pids()
    box.write("demo.yaml", model(gguf, aliases=["tiny"]))
    eventually(lambda: "tiny" in box.row("demo").endpoints[0].names, what="a new alias")
    assert box.pids() == before


def test_a_bad_flag_is_told_by_the_engine_and_shown_by_status(box, gguf):
    box.ports(31100)
    box.write("demo.yaml", model(gguf, args=["--no-such-flag"]))
    box.daemon()
    stalled = eventually(lambda: box.stalled("demo", "BackingOff"), within=LATEST, what="it backs off")
    assert "no-such-flag" in stalled.message
    first = ("logs", "demo", "--run", "first")
    eventually(lambda: "no-such-flag" in box.cli(*first).stdout, within=LATEST, what="its first words are kept")
    found = box.cli("status", "demo")
    assert found.returncode == 3
    assert "no-such-flag" in found.stdout
