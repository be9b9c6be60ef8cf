"""Talking to a model, through the gateway: what is asked, what is printed, and what is told when it cannot be."""

import os
import pty
import signal
import ssl
import subprocess
import sys
import threading

import pytest

from reconciler.client.gateway import nearest
from tests.api.daemon import status, workload
from tests.cli.front import events, running
from tests.gateway.certificates import make

pytestmark = pytest.mark.usefixtures("soon")
HELLO = events("Hel\x1b[31mlo", " there")


def test_chat_prints_the_answer_as_clean_text(run, front):
    front.says = HELLO
    assert run("chat", "chat", "say", "hello") == (0, "Hello there\n", "")
    said = [{"role": "user", "content": "say hello"}]
    assert front.asked == [
        {"model": "chat", "messages": said, "stream": True, "stream_options": {"include_usage": True}}
    ]
    assert (front.paths, front.shown) == (["/v1/chat/completions"], [None])


def test_the_key_is_that_of_a_file_or_of_the_environment(run, front, tmp_path, monkeypatch):
    front.says = HELLO
    (tmp_path / "key").write_text("hf-one\n")
    monkeypatch.setenv("HOLDFAST_KEY", "hf-two")
    assert run("chat", "chat", "hi", "--key-file", str(tmp_path / "key")).status == 0
    assert run("chat", "chat", "hi").status == 0
    assert front.shown == ["Bearer hf-one", "Bearer hf-two"]


@pytest.mark.parametrize("key", ["", "two words", "schl\u00fcssel", "a\x1b[2J"], ids=ascii)
def test_what_cannot_be_a_key_is_never_sent_and_never_printed(run, front, tmp_path, key):
    (tmp_path / "key").write_text(f"{key}\n")
    done = run("chat", "chat", "hi", "--key-file", str(tmp_path / "key"))
    assert done.status == 1
    assert done.err == (
        f"holdfast: cannot use the key in {tmp_path / 'key'}: a key is one line of letters, digits and signs\n"
    )
    assert front.asked == []


def test_an_address_that_was_typed_needs_no_daemon(front, capsys, tmp_path):
    from reconciler.cli import main

    front.says = HELLO
    assert main(["chat", "chat", "hi", "--url", f"{front.url}/", "--socket", str(tmp_path / "none")]) == 0
    assert capsys.readouterr().out == "Hello there\n"


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8642", "ftp://h", "http://", "http://h:99999", "http://h:x", "http://[::1", f"http://{'h' * 64}"]
)
def test_an_address_that_is_none_is_refused(run, url):
    assert run("chat", "chat", "hi", "--url", url).err == (
        f"holdfast: cannot use {url.rstrip('/')} as the gateway's address; write http://HOST:PORT or https://HOST\n"
    )


def test_without_a_gateway_it_says_what_to_start(run, recorder):
    recorder.now = status(workload("chat"))
    done = run("chat", "chat", "hi")
    assert done == (1, "", "holdfast: cannot reach the gateway: none runs here; start it with `holdfast up`\n")


def test_a_gateway_that_is_gone_is_told_with_its_address(run, front):
    front.server.shutdown()
    front.server.server_close()
    done = run("chat", "chat", "hi")
    assert (done.status, done.out) == (1, "")
    assert f"cannot reach the gateway at {front.url}: connection refused; start it with" in done.err


def test_what_it_waits_for_is_said_beside_the_answer(run, front):
    front.says = [b": waiting for chat: loading \x1b[2J1 of 4 GiB\n\n"] * 2 + [
        b": waiting for chat: starting\n\n",
        *HELLO,
    ]
    done = run("chat", "chat", "hi")
    assert done.out == "Hello there\n"
    assert done.err == "waiting for chat: loading 1 of 4 GiB\nwaiting for chat: starting\n"


def test_on_a_terminal_what_it_waits_for_is_taken_away_again(front, environment):
    front.says = [b": waiting for chat: " + b"x" * 200 + b"\n\n", b": waiting for chat: starting\n\n", *HELLO]
    mine, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "reconciler.cli", "chat", "chat", "hi", "--url", front.url],
        env=environment | {"TERM": "xterm"},
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    while not shown.endswith(b"there\r\n"):
        shown += os.read(mine, 65536)
    assert process.wait(60) == 0
    os.close(mine)
    noted, _, rest = shown.decode().partition("waiting for chat: starting")
    assert len(noted.split("\r\n")[0].replace("\x1b[K", "")) == 80, "a note is one line"
    assert rest == "\x1b[K\r\n\x1b[J\x1b[1A\r\x1b[JHello there\r\n"


def test_an_answer_that_breaks_off_is_an_error_and_not_an_answer(run, front):
    front.says = HELLO[:2]
    done = run("chat", "chat", "hi")
    assert (done.status, done.out) == (1, "Hello\n")
    assert "in the middle of its answer; see `holdfast events`" in done.err


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (
            (401, b'{"error": {"message": "cannot take this key; show one of this fleet"}}'),
            "cannot take this key; show",
        ),
        (
            (401, b'{"error": {"message": "none came"}}'),
            "none came (status 401; `--key-file FILE` or HOLDFAST_KEY is the key that is shown)",
        ),
        ((400, b'{"error": {"message": "too \\u001b[1mlong"}}'), "too long (status 400)"),
        ((500, b"<html>"), "it answered with status 500"),
    ],
)
def test_a_refusal_is_told_in_its_own_words(run, front, refusal, told):
    front.refuses = refusal
    done = run("chat", "chat", "hi")
    assert done.status == 1
    assert done.err.startswith(f"holdfast: cannot chat with chat: {told}")


def test_an_error_within_the_answer_is_told(run, front):
    front.says = [*HELLO[:2], b'data: {"error": {"message": "chat/0 went away"}}\n\n']
    done = run("chat", "chat", "hi")
    assert done == (1, "Hello\n", "holdfast: cannot go on with chat: chat/0 went away\n")


def test_nothing_is_not_asked(run, front, monkeypatch):
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO(" \n"))
    assert "cannot ask nothing" in run("chat", "chat").err
    assert front.asked == []


def conversation(front, environment, *lines: str) -> str:
    """What a terminal shows of one."""
    mine, theirs = pty.openpty()
    words = [sys.executable, "-m", "reconciler.cli", "chat", "chat", "--url", front.url]
    process = subprocess.Popen(words, env=environment | {"TERM": "dumb"}, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    left = list(lines)
    try:
        while True:
            shown += os.read(mine, 65536)
            if shown.endswith(b"> ") and left:
                os.write(mine, left.pop(0).encode())
    except OSError:  # it has ended
        process.wait(60)
    finally:
        os.close(mine)
    return shown.decode()


def test_a_conversation_remembers_what_was_said(front, environment):
    front.says = HELLO
    shown = conversation(front, environment, "one\n", "two\n", "\x04")
    assert "talking to chat; Ctrl-C ends an answer, Ctrl-D the conversation" in shown
    assert [[one["content"] for one in asked["messages"]] for asked in front.asked] == [
        ["one"],
        ["one", "Hel\x1b[31mlo there", "two"],
    ]
    assert front.paths[0] == "/v1/models/chat"


def test_a_conversation_with_a_model_that_nobody_has_does_not_begin(front, environment):
    front.refuses = (404, b'{"error": {"message": "no model answers to chat"}}')
    shown = conversation(front, environment)
    assert shown == "holdfast: cannot chat with chat: no model answers to chat (status 404)\r\n"


def test_ctrl_c_ends_the_wait_quietly(front, environment):
    asked = threading.Event()
    front.on_ask = lambda _: (asked.set(), threading.Event().wait(60))
    process = subprocess.Popen(
        [sys.executable, "-m", "reconciler.cli", "chat", "chat", "hi", "--url", front.url],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert asked.wait(60)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == (b"", b"")
    assert process.returncode == 130


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        (("http://10.0.0.7:80", "http://127.0.0.1:8642"), "http://127.0.0.1:8642"),
        (("https://0.0.0.0:443", "http://10.0.0.7:80"), "http://10.0.0.7:80"),
        (("https://10.0.0.7:443",), "https://10.0.0.7:443"),
        (("http://0.0.0.0:8642",), "http://127.0.0.1:8642"),
        (("http://[::]:8642", "http://10.0.0.7:80"), "http://[::1]:8642"),
    ],
    ids=str,
)
def test_of_several_addresses_the_nearest_is_taken(listen, expected):
    assert nearest(listen) == expected


def test_a_certificate_is_checked_and_one_of_another_name_says_how_to_name_it(run, tmp_path, monkeypatch):
    pair = make(tmp_path / "tls", "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    with running(context) as front:
        front.says = HELLO
        assert "; name its authority in SSL_CERT_FILE\n" in run("chat", "chat", "hi", "--url", front.url).err
        monkeypatch.setenv("SSL_CERT_FILE", pair.certificate)
        assert run("chat", "chat", "hi", "--url", front.url).out == "Hello there\n"
        elsewhere = front.url.replace("localhost", "127.0.0.1")
        told = run("chat", "chat", "hi", "--url", elsewhere).err
        assert "; name it as its certificate does: --url https://NAME\n" in told
