"""SGLang asleep, and its adapters, under a real daemon: a double of its API, that dies of what the real one dies of."""

import json
from urllib.request import Request, urlopen

import pytest

from tests.eventually import eventually
from tests.system.box import LATEST
from tests.system.test_engines import bench

__all__ = ["bench"]
pytestmark = pytest.mark.system
ON_DEMAND = {"gpus": 1, "memory": "2560MiB", "replicas": {"min": 0, "max": 1, "idle": "1s"}, "idle_action": "sleep"}


def post(bench, path, body):
    address = bench.box.row("chat").endpoints[0].address
    request = Request(f"{address}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=LATEST) as answer:
        return answer.status


def test_it_sleeps_with_its_weights_and_wakes_in_the_same_process(bench):
    box = bench.box
    box.ports(22200)
    box.gpus("4608MiB")
    bench.declare("sglang", **ON_DEMAND)
    bench.start()
    for replicas in ("1", "auto"):
        assert box.cli("scale", "chat", replicas).returncode == 0
        before = bench.state("ready") if replicas == "1" else bench.state("asleep")
    asleep = [path for path, _ in bench.asked()]
    assert asleep == ["/pause_generation", "/update_weight_version", "/release_memory_occupation"]
    # the mark is the engine's own: whoever comes after a crash finds it asleep
    box.kill()
    bench.start()
    assert bench.state("asleep").pid == before.pid
    assert box.cli("scale", "chat", "1").returncode == 0
    assert bench.state("ready").pid == before.pid
    woken = [path for path, _ in bench.asked()][3:]
    assert woken == ["/resume_memory_occupation", "/continue_generation", "/update_weight_version"]
    assert post(bench, "/v1/completions", {"model": "chat", "prompt": "a"}) == 200


def test_its_adapters_come_and_go_while_it_runs(bench):
    box = bench.box
    box.ports(22220)
    sources = {name: box.place / name for name in ("sql", "law")}
    for path in sources.values():
        path.mkdir()
    bench.declare("sglang", adapters=[{"name": "sql", "source": f"file:{sources['sql']}"}])
    bench.start()
    box.converged("chat")
    before, endpoint = box.pids(), box.row("chat").endpoints[0]
    assert endpoint.known_as == {"sql": "chat:sql"}
    bench.put("refuses", "law")
    bench.declare("sglang", adapters=[{"name": "law", "source": f"file:{sources['law']}"}])
    told = eventually(lambda: box.stalled("chat", "AdapterFailed"), within=LATEST, what="it is told").message
    said = "cannot attach law: sglang said 400 Failed to load LoRA adapter 'law'"
    assert told == f"{said}; chat/0 serves without it"
    bench.take("refuses")
    box.converged("chat")
    with urlopen(f"{endpoint.address}/v1/models", timeout=LATEST) as answer:
        assert [card["id"] for card in json.load(answer)["data"]] == ["chat", "law"]
    assert box.pids() == before
