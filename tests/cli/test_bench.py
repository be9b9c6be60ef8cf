"""How fast a model answers: what is asked of the gateway, what is counted, and what is said of it."""

import json
import signal
import ssl
import subprocess
import sys
import threading

import pytest

from tests.cli.front import events, running
from tests.gateway.certificates import make

pytestmark = pytest.mark.usefixtures("soon")
ANSWER = events("a", "b", "c", usage=(40, 3))


def test_each_level_asks_as_often_as_was_said_after_two_that_are_not_counted(run, front):
    front.says = ANSWER
    done = run("bench", "chat", "--concurrency", "1,4", "--requests", "6", "--max-tokens", "9", "--json")
    assert done.status == 0
    found = json.loads(done.out)
    assert [(one["concurrency"], one["requests"], one["failed"]) for one in found["levels"]] == [(1, 6, 0), (4, 6, 0)]
    assert (found["model"], found["url"], found["max_tokens"], found["warmup"]) == ("chat", front.url, 9, 2)
    assert len(front.asked) == 2 + 12
    for one in found["levels"]:
        assert (one["read"], one["written"]) == (40.0, 3.0)
        assert 0 < one["first_token"]["p50"] <= one["first_token"]["p90"] <= one["first_token"]["p99"]
        assert one["tokens_all"] == pytest.approx(one["requests_all"] * 3)
    asked = front.asked[0]
    assert (asked["model"], asked["max_tokens"], asked["stream"]) == ("chat", 9, True)
    assert asked["stream_options"] == {"include_usage": True}


def test_no_two_prompts_are_alike(run, front):
    front.says = ANSWER
    run("bench", "chat", "--concurrency", "2", "--requests", "8")
    prompts = [one["messages"][0]["content"] for one in front.asked]
    assert len({prompt[:20] for prompt in prompts}) == len(prompts)


@pytest.mark.parametrize("template", [0, 17])
def test_a_prompt_has_as_many_tokens_as_were_asked_for(run, front, template):
    """A word may be two tokens, and a template adds some: two requests tell."""

    def count(asked: dict) -> None:
        words = len(asked["messages"][0]["content"].split())
        front.says = events("a", usage=(template + 2 * words, 1))

    front.on_ask = count
    found = json.loads(run("bench", "chat", "--concurrency", "1", "--prompt-tokens", "101", "--json").out)
    assert abs(found["levels"][0]["read"] - 101) <= 1


def test_an_engine_that_counts_no_tokens_is_said_to_be_one(run, front):
    front.says = events("a", "b")
    done = run("bench", "chat", "--concurrency", "1", "--prompt-tokens", "7")
    assert done.status == 0
    assert "prompts of 7 words, as its engine counts no tokens" in done.out
    assert len(front.asked[-1]["messages"][0]["content"].split()) == 7


def test_it_goes_on_for_as_long_as_was_said(run, front):
    front.says = ANSWER

    def goes_on(seconds: float) -> bool:
        found = json.loads(run("bench", "chat", "--concurrency", "2", "--duration", f"{seconds}s", "--json").out)
        assert found["levels"][0]["seconds"] >= seconds
        return found["levels"][0]["requests"] > 2

    assert any(goes_on(seconds) for seconds in (0.3, 3, 30)), "each of the two asks again while there is time"


def test_what_fails_is_counted_told_and_not_measured(run, front):
    asked: list[int] = []

    def some_fail(_: dict) -> None:
        asked.append(1)
        late = len(asked) > 2
        front.says = ANSWER[:2] if late and len(asked) % 2 else ANSWER
        front.refuses = (429, b'{"error": {"message": "too many; wait"}}') if len(asked) == 4 else None

    front.on_ask = some_fail
    done = run("bench", "chat", "--concurrency", "1", "--requests", "4", "--json")
    found = json.loads(done.out)["levels"][0]
    assert done.status == 1
    assert (found["requests"], found["failed"]) == (1, 3)
    assert sorted(found["errors"]) == [["its answer broke off", 2], ["too many; wait (status 429)", 1]]


def test_a_model_that_does_not_answer_is_not_measured(run, front):
    front.refuses = (404, b'{"error": {"message": "no model answers to cat"}}')
    done = run("bench", "cat")
    assert done.status == 1
    assert done.err.endswith("holdfast: cannot bench cat: no model answers to cat (status 404)\n")
    assert len(front.asked) == 1


def test_an_error_within_an_answer_is_a_failure(run, front):
    front.says = [*ANSWER[:3], b'data: {"error": {"message": "chat/0 went away"}}\n\n']
    assert run("bench", "chat").err.endswith("cannot bench chat: chat/0 went away\n")


@pytest.mark.parametrize(
    "words",
    [
        ["--concurrency", "0"],
        ["--concurrency", "1,x"],
        ["--requests", "0"],
        ["--requests", "32", "--duration", "3s"],
        ["--max-tokens", "many"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_measured_is_usage(run, front, words):
    assert run("bench", "chat", *words).status == 2
    assert front.asked == []


def test_ctrl_c_ends_it_quietly(front, environment):
    asked = threading.Event()
    front.on_ask = lambda _: (asked.set(), threading.Event().wait(60))
    process = subprocess.Popen(
        [sys.executable, "-m", "reconciler.cli", "bench", "chat", "--url", front.url],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert asked.wait(60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, b"", b"chat: waiting for its first answer\n")


def test_a_certificate_is_checked(environment, tmp_path):
    pair = make(tmp_path / "tls", "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    with running(context) as front:
        front.says = ANSWER

        def bench(url: str, **env: str) -> subprocess.CompletedProcess[str]:
            words = [sys.executable, "-m", "reconciler.cli", "bench", "chat", "--concurrency", "1", "--requests", "1"]
            return subprocess.run(
                [*words, "--url", url], env=environment | env, capture_output=True, text=True, check=False
            )

        trusted = {"SSL_CERT_FILE": pair.certificate}
        assert bench(front.url).stderr.endswith("; name its authority in SSL_CERT_FILE\n")
        assert bench(front.url, **trusted).returncode == 0
        told = bench(front.url.replace("localhost", "127.0.0.1"), **trusted).stderr
        assert told.endswith("; name it as its certificate does: --url https://NAME\n")
