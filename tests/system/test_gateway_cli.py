"""What a person types to use models, and to see them used, at a real gateway with real llama.cpp. Ports 32600-32699."""

import hashlib
import json
import re
from urllib.request import Request, urlopen

import pytest

from tests.eventually import eventually
from tests.system.box import LATEST

pytestmark = pytest.mark.system
KEY = "hf-a-key-of-this-test"


@pytest.fixture
def up(box, gguf):
    """A model that runs, one that comes when it is asked for, and a gateway that writes down every request."""

    def start(first: int, *more: dict) -> str:
        gateway = {"listen": [f"127.0.0.1:{first}"], "access_log": "all"}
        node = {"kind": "Node", "name": "local", "ports": f"{first + 1}-{first + 9}", "gateway": gateway}
        model = {"kind": "Model", "source": f"file:{gguf}", "gpus": 0, "context": 512}
        sleepy = {**model, "name": "sleepy", "replicas": {"min": 0, "max": 1}}
        every = (node, {**model, "name": "demo", "aliases": ["small"]}, sleepy, *more)
        box.write("fleet.yaml", "\n---\n".join(map(json.dumps, every)))
        done = box.cli("up", str(box.fleet), "--detach", "--wait", "60s")
        assert done.returncode == 0, done.stderr
        return f"http://127.0.0.1:{first}"

    return start


def logged(box) -> list[dict]:
    """The log of requests."""
    lines = (box.state / "gateway.log").read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith('{"time":')]


def test_models_are_talked_to_measured_and_watched_through_the_gateway(box, up):
    url = up(32600)
    done = box.cli("chat", "small", "hello")
    assert "very small model" in done.stdout, done.stderr
    assert "very small model" in box.cli("chat", "sleepy", "hello").stdout, "it comes, as it is asked for"
    words = ("--concurrency", "1,3", "--requests", "4", "--prompt-tokens", "60", "--max-tokens", "8", "--json")
    done = box.cli("bench", "demo", *words)
    assert done.returncode == 0, done.stderr
    for level in json.loads(done.stdout)["levels"]:
        assert (level["requests"], level["failed"]) == (4, 0)
        assert 50 <= level["read"] <= 70
        assert 0 < level["written"] <= 8
        assert level["first_token"]["p50"] > 0
    assert box.cli("chat", "nobody", "hello").returncode == 1
    top = json.loads(box.cli("top", "--once", "--json").stdout)
    assert top["gateway"] == {"connected": True, "listen": [url], "problems": []}
    eventually(lambda: "req/s" in box.cli("status").stdout, what="rates in status")

    with urlopen(f"{url}/metrics", timeout=LATEST) as answer:
        metrics = answer.read().decode()
    demo = 'model="demo",slot="demo/0",key=""'
    assert f'holdfast_gateway_requests_total{{{demo},status="2xx"}} 11\n' in metrics
    assert f"holdfast_gateway_token_seconds_count{{{demo}}} 11\n" in metrics
    assert 'holdfast_gateway_requests_total{model="",slot="",key="",status="4xx"} 1\n' in metrics
    assert re.search(r'holdfast_gateway_wait_seconds_count\{model="sleepy",slot="sleepy/0",key=""\} 1\n', metrics)
    eventually(lambda: len(logged(box)) >= 14, what="a line for each request")
    found = logged(box)
    assert (found[0]["asked"], found[0]["model"], found[0]["slot"]) == ("small", "demo", "demo/0")
    assert found[0]["written"] > 3
    assert found[1]["waited"] > 0
    assert [one["reason"] for one in found if one["status"] == 404] == ["model_not_found"]


def test_with_keys_each_verb_shows_one_and_none_is_written_down(box, up, tmp_path):
    key = {"sha256": hashlib.sha256(KEY.encode()).hexdigest()}
    url = up(32620, {"kind": "Access", "name": "team", "keys": [key], "roles": ["inference", "metrics"]})
    for words in (("chat", "demo", "hello"), ("bench", "demo")):
        done = box.cli(*words)
        assert done.returncode == 1
        assert "status 401" in done.stderr
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    assert "very small model" in box.cli("chat", "demo", "hello", "--key-file", str(file)).stdout
    short = ("--concurrency", "1", "--requests", "1", "--max-tokens", "4")
    assert box.cli("bench", "demo", *short, "--key-file", str(file)).returncode == 0
    request = Request(f"{url}/metrics", headers={"Authorization": f"Bearer {KEY}"})
    with urlopen(request, timeout=LATEST) as answer:
        assert 'model="demo",slot="demo/0",key="team",status="2xx"} 4\n' in answer.read().decode()
    eventually(lambda: [one["key"] for one in logged(box)].count("team") >= 4, what="a line for each request")
    for path in box.state.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path
