"""The embedded server on the demo model: real processes, the official client."""

import http.client
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from openai import OpenAI

from tests.eventually import eventually
from tests.ports import free_port

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "demo.gguf"
    subprocess.run([sys.executable, ROOT / "fleet.d" / "demo_model.py", path], check=True)
    return path


def start(*arguments, **more):
    return subprocess.Popen(
        [sys.executable, "-m", "reconciler.act.llama_server", *map(str, arguments)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def last_line(*arguments):
    """Exit status and the last line of what is refused."""
    process = start(*arguments)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors.strip().splitlines()[-1]


def status(port, path="/health"):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


@pytest.fixture(scope="module")
def server(model):
    port = free_port()
    flags = ["-a", "demo", "--host", "127.0.0.1", "--port", port, "-c", 1024, "-np", 2, "-ngl", 0, "-ctk", "q8_0"]
    process = start("--model", model, *flags, "--metrics")
    try:
        eventually(lambda: status(port) == 200, what="the server answers /health with 200")
        yield process, port
    finally:
        process.kill()
        process.communicate()


def client(port):
    return OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)


def test_the_official_client_streams_a_chat(server):
    """A chat arrives in pieces, and the pieces are the demo's sentence."""
    with client(server[1]) as openai:
        stream = openai.chat.completions.create(
            model="demo", messages=[{"role": "user", "content": "Who are you?"}], stream=True
        )
        deltas = [chunk.choices[0].delta.content for chunk in stream if chunk.choices]
    pieces = [delta for delta in deltas if delta]
    assert len(pieces) > 5
    assert "".join(pieces) == "Hello! I am a very small model, made here by a script, and I hold fast."


def test_it_answers_as_llama_server_does(server):
    """Models by alias, the context of each slot, metrics where asked for."""
    _, port = server
    with client(port) as openai:
        assert [entry.id for entry in openai.models.list().data] == ["demo"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/props") as answer:
        assert json.load(answer)["default_generation_settings"]["n_ctx"] == 512, "-c is the total of two slots"
    assert status(port, "/metrics") == 200


def test_no_web_page_from_elsewhere_may_read_its_answers(server):
    """There is no Access-Control-Allow-Origin for a foreign origin."""
    request = urllib.request.Request(f"http://127.0.0.1:{server[1]}/health", headers={"Origin": "https://evil.example"})
    with urllib.request.urlopen(request) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] is None


def test_it_is_idle_when_nobody_asks(server):
    """No polling loop: once clients have left, none of its threads wakes for a third of a second."""
    process, _ = server

    def switches():
        tasks = Path(f"/proc/{process.pid}/task").iterdir()
        lines = [line for task in tasks for line in (task / "status").read_text().splitlines()]
        return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))

    last = [switches(), time.monotonic()]

    def quiet():
        now = switches()
        if now != last[0]:
            last[:] = now, time.monotonic()
        return time.monotonic() - last[1] > 0.33

    eventually(quiet)


@pytest.mark.parametrize("asked_by", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_at_once_when_asked_to_even_in_the_middle_of_an_answer(model, asked_by):
    """SIGTERM while it streams without end: exit 0, promptly, and no [DONE] for what was cut."""
    port = free_port()
    process = start("--model", model, "--port", port, "-c", 512, "-np", 1, "--context-shift")
    try:
        assert process.stderr is not None
        # from here on it can be asked to end; llama.cpp says its lines in a thread of its own, and in pieces
        assert any("serving on http" in line for line in process.stderr)
        body = {"prompt": "a", "stream": True, "ignore_eos": True, "n_predict": -1}
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/completion", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer.readline()
            process.send_signal(asked_by)
            assert process.wait(timeout=60) == 0
            with pytest.raises((http.client.IncompleteRead, ConnectionError)):
                answer.read()  # what was cut does not end as if it were whole
    finally:
        process.kill()
        process.communicate()


REFUSED = {
    "a flag it does not know": (["--modle", "x"], "cannot understand --modle: did you mean --model?"),
    "a number that is none": (["-c", "many"], "cannot set -c to 'many': write a whole number"),
    "a value that is missing": (["--alias"], "cannot set --alias: give NAME,… after it"),
    "a type that does not exist": (["-ctk", "q9"], "cannot set -ctk to 'q9': choose one of"),
    "no model": ([], "cannot start without a model: give --model FILE"),
    "a file that is not there": (["--model", "/nowhere/x.gguf"], "cannot load /nowhere/x.gguf: No such file"),
    "a file of another kind": (["--model", __file__], f"cannot load {__file__}: it is no GGUF file"),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_ends_with_status_1_and_a_line_that_says_why(arguments, message):
    """One clear last line for each mistake."""
    code, line = last_line("--port", free_port(), *arguments)
    assert code == 1
    assert line.startswith(message)


def test_a_broken_model_is_named_in_the_last_line(model, tmp_path):
    """Cut in half, it starts like a GGUF file and is none."""
    broken = tmp_path / "half.gguf"
    broken.write_bytes(model.read_bytes()[: os.path.getsize(model) // 2])
    code, line = last_line("--model", broken, "--port", free_port())
    assert code == 1
    assert line.startswith(f"cannot load {broken}:")


def test_the_last_line_is_the_last_though_the_library_goes_on_to_say_things():
    program = """
import os
from reconciler.act.llama_server import _fail

leave = os._exit
os._exit = lambda code: os.write(2, b"srv: exiting\\n") and leave(code)
_fail("cannot load it")
"""
    process = subprocess.run([sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False)
    assert process.returncode == 1
    assert process.stderr.splitlines()[-1] == "cannot load it"


def test_a_taken_port_is_named_in_the_last_line(model):
    """Another program listens there: it is not shared, and no other port is taken instead."""
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", 0))
        thief.listen()
        port = thief.getsockname()[1]
        code, line = last_line("--model", model, "--port", port)
    assert code == 1
    assert line == f"cannot listen on 127.0.0.1:{port}: Address already in use; choose another port"


def test_the_demo_model_is_made_once(model):
    """A second run finds the file and leaves it alone."""
    before = os.stat(model)
    said = subprocess.check_output([sys.executable, ROOT / "fleet.d" / "demo_model.py", model], text=True)
    assert said.endswith("demo.gguf is there\n")
    assert os.stat(model).st_ino == before.st_ino


def test_a_demo_model_cut_short_is_made_again(tmp_path):
    """Whatever differs from what it should be is not taken for it."""
    path = tmp_path / "demo.gguf"
    path.write_bytes(b"GGUF")
    subprocess.run([sys.executable, ROOT / "fleet.d" / "demo_model.py", path], check=True)
    assert path.stat().st_size > 100_000
    assert [entry.name for entry in tmp_path.iterdir()] == ["demo.gguf"]


def test_no_word_of_the_demo_comes_twice():
    """The next word is chosen by the last one alone: a word said twice would make it go round in circles."""
    tokens, _ = runpy.run_path(str(ROOT / "fleet.d" / "demo_model.py"))["vocabulary"]()
    assert len(set(tokens)) == len(tokens)
