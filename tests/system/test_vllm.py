"""vLLM for real, on the CPU, with a model of random weights: what its dialect says of it is true. `make test-vllm`."""

import contextlib
import json
import os
import signal
import socket
import subprocess
from dataclasses import fields
from pathlib import Path

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from reconciler.act import procfs
from tests.act.stage import alive, identity
from tests.eventually import eventually
from tests.system.box import ROOT, Box, last_words

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]

VLLM = ROOT / ".venv-vllm" / "bin"
STARTS = 240.0
"""Seconds that it may take to load, on a machine that has other things to do: 15 where it has none."""
SMALL = {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1"}
SHM = Path("/dev/shm")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A model and its adapters."""
    place = tmp_path_factory.mktemp("files")
    maker = Path(__file__).with_name("vllm_files.py")
    subprocess.run([VLLM / "python", maker, place], check=True, capture_output=True)
    return place


@pytest.fixture(scope="module")
def running(files, tmp_path_factory, request):
    """A daemon that keeps the model running, for all tests here: a start takes long."""
    box = Box(tmp_path_factory.mktemp("box"))
    programs = box.place / "bin"
    programs.mkdir()
    (programs / "vllm").symlink_to(VLLM / "vllm")
    box.env["PATH"] = f"{programs}:{os.environ['PATH']}"
    box.ports(21900)
    declare(box, files)
    box.daemon(before=("nice", "-n", "10"))
    failed = request.session.testsfailed
    yield box
    if request.session.testsfailed > failed:
        box.keep("vllm")
    left = box.clear()
    assert not left, f"left behind: {left}"


@pytest.fixture
def box(running, files):
    """The same, with the model as it was declared at first, ready."""
    declare(running, files)
    ready(running)
    return running


def declare(box, files, *adapters: str, name: str = "chat", **more: object) -> None:
    said = {
        "kind": "Model",
        "name": name,
        "source": f"file:{files}/model",
        "gpus": 0,
        "memory": "4GiB",
        "context": 16384,
        "parallel": 4,
        "adapters": [{"name": one, "source": f"file:{files}/{one}"} for one in adapters or ("sql",)],
        "env": SMALL,
        "args": ["--enforce-eager"],
        "health": {"interval": "1s", "inference": "20s"},
        "update": {"strategy": "replace"},
        **more,
    }
    box.write(f"{name}.yaml", json.dumps(said))


def ready(box, context: int = 16384, adapter: str = "sql") -> None:
    """Wait until it serves so, and nothing is left to do."""

    def look():
        instance = box.client.facts().observation.instances.get("chat/0")
        row = box.row("chat")
        if instance is None or row is None or not row.endpoints or row.endpoints[0].names != ("chat", adapter):
            return False
        return str(context) in instance.launch.argv and box.look().converged

    eventually(look, within=STARTS, what="it is ready")


@contextlib.contextmanager
def client(box):
    """OpenAI's own."""
    address = box.row("chat").endpoints[0].address
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", timeout=60.0, max_retries=0) as asked:
        yield asked


def said(box, name="chat"):
    """What it answers, choosing the likeliest token each time."""
    asked: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]
    with client(box) as chat:
        answer = chat.chat.completions.create(model=name, messages=asked, max_tokens=16, temperature=0)
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0
    return answer.choices[0].message.content


def family(box):
    """Every process of the model: the API server, the core, its worker; these two overwrite their environment."""
    server = box.replica("chat/0").pid
    below = procfs.descendants(procfs.table(), {server})
    return {pid: identity(pid) for pid in (server, *(found.pid for found in below))}


def test_it_gets_ready_and_the_official_client_chats_with_it(box):
    assert box.row("chat").endpoints[0].names == ("chat", "sql")
    assert isinstance(said(box), str)
    with client(box) as chat:
        stream = chat.completions.create(
            model="chat", prompt="once", stream=True, max_tokens=40, extra_body={"ignore_eos": True}
        )
        pieces = [chunk for chunk in stream if chunk.choices]
        assert len(pieces) > 3
        assert pieces[-1].choices[0].finish_reason == "length"
        cards = {card.id: card.to_dict() for card in chat.models.list().data}
    assert cards["chat"]["max_model_len"] == 16384
    assert cards["sql"]["parent"] == "chat"
    names = sorted(procfs.read(f"/proc/{pid}/comm") or b"" for pid in family(box))
    assert [name for name in names if name.startswith(b"VLLM::")] == [b"VLLM::EngineCor\n", b"VLLM::Worker\n"]


def test_its_metrics_are_found_by_the_names_that_we_know(box):
    said(box)
    [asked] = box.client.metrics()
    found = asked.metrics
    assert found is not None, asked.detail
    assert not [field.name for field in fields(found) if getattr(found, field.name) is None]
    assert found.running == found.waiting == 0
    assert found.prompt_tokens > 0
    assert found.generated_tokens > 0
    assert found.first_token.count > 0
    assert found.next_token.count > 0
    assert found.request.count > 0


def test_adapters_come_and_go_in_the_same_processes(box, files):
    before = family(box)
    assert said(box) != said(box, "sql"), "the adapter is heard"
    declare(box, files, "sql", "wide")
    stalled = eventually(lambda: box.stalled("chat", "AdapterFailed"), what="one that it cannot load is told")
    assert stalled.message.startswith("cannot attach wide: vllm said ")
    assert "LoRA rank 32 is greater than max_lora_rank 16" in stalled.message
    assert box.row("chat").endpoints[0].names == ("chat", "sql")
    (files / "law").symlink_to(files / "sql")
    declare(box, files, "law")
    box.told("detaching sql", subject="chat/0")
    ready(box, adapter="law")
    assert isinstance(said(box, "law"), str)
    with pytest.raises(openai.NotFoundError):
        said(box, "sql")
    assert family(box) == before


def test_what_it_holds_of_the_host_is_counted(box):
    known = eventually(lambda: box.client.facts().memory.measured, what="it is counted")
    [amount] = [amount for name, amount in known.items() if name.endswith("@0 host")]
    assert 2**30 < amount < 4 * 2**30, "no more than it was promised"


def test_it_outlives_the_daemon(box):
    before = family(box)
    box.kill()
    box.daemon(before=("nice", "-n", "10"))
    ready(box)
    assert family(box) == before
    assert isinstance(said(box), str)


def test_an_edit_of_its_context_replaces_it(box, files):
    before, shared = family(box), {*SHM.iterdir()}
    declare(box, files, context=8192)
    ready(box, 8192)
    box.told("context 16384 → 8192", subject="chat/0")
    with client(box) as chat:
        assert next(card.to_dict() for card in chat.models.list().data)["max_model_len"] == 8192
    assert not before.keys() & family(box).keys()
    assert len({*SHM.iterdir()} - shared) <= len(shared), "it took its shared memory with it"


def test_killed_it_leaves_nothing_and_is_started_again(box):
    """By itself its core and its worker would go on, and hold their memory (vllm#55510)."""
    before, run = family(box), box.replica("chat/0").run
    os.kill(box.replica("chat/0").pid, signal.SIGKILL)
    box.told("Exited", "signal 9", subject="chat/0")
    ready(box)
    assert box.replica("chat/0").run == run + 1
    assert not [pid for pid, who in before.items() if identity(pid) == who and alive(pid)]
    assert isinstance(said(box), str)


def test_a_core_that_is_killed_is_an_end_of_all_of_it(box):
    before, run = family(box), box.replica("chat/0").run
    [core] = [pid for pid in before if (procfs.read(f"/proc/{pid}/comm") or b"").startswith(b"VLLM::Engine")]
    os.kill(core, signal.SIGKILL)
    eventually(lambda: box.replica("chat/0").run == run + 1, within=60.0, what="it is started again")
    ready(box)
    assert not [pid for pid, who in before.items() if identity(pid) == who and alive(pid)]


def test_what_it_cannot_do_is_told_in_its_own_words(box, files):
    """Sleep is for GPUs."""
    declare(box, files, name="dozy", adapters=[], args=["--enforce-eager", "--enable-sleep-mode"])
    stalled = eventually(lambda: box.stalled("dozy", "BackingOff"), within=STARTS, what="it cannot start")
    assert "Sleep mode is not supported on current platform" in stalled.message
    assert "Traceback" not in last_words(box)
    box.remove("dozy.yaml")
    eventually(lambda: box.row("dozy") is None, what="it is gone")


def test_a_stop_ends_a_request_in_flight_and_leaves_nothing(box):
    before, port = family(box), box.replica("chat/0").port
    with client(box) as chat:
        stream = iter(
            chat.completions.create(
                model="chat", prompt="once", stream=True, max_tokens=16000, extra_body={"ignore_eos": True}
            )
        )
        for _ in range(20):
            next(stream)
        box.remove("chat.yaml")
        eventually(lambda: box.row("chat") is None, within=60.0, what="it is gone")
        heard = 0
        with contextlib.suppress(Exception):  # that is how it ends for the client, or early
            for _ in stream:
                heard += 1
        assert heard < 15000, "it was cut"
    assert not box.engines("chat/0")
    assert not [pid for pid, who in before.items() if identity(pid) == who and alive(pid)]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5.0).close()
