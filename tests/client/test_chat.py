"""A conversation: what is remembered, what is measured, how it is stopped, and what else an answer brings."""

import json
import socket
import struct
import threading
from itertools import count

import pytest

from reconciler.client.chat import Conversation, Instead, Note, Piece
from reconciler.client.gateway import Gateway
from reconciler.model.errors import HoldfastError
from tests.cli.front import Front, events, running


@pytest.fixture
def front():
    with running() as made:
        yield made


def conversation(front: Front, **more) -> Conversation:
    return Conversation(lambda: Gateway(url=front.url, headers={}), "chat", **more)


def delta(**given: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": given}]}).encode() + b"\n\n"


def test_what_was_said_is_sent_again_with_the_next_question(front):
    front.says = events("one")
    talk = conversation(front)
    assert list(talk.ask("first")) == [Piece("one")]
    assert list(talk.ask("second")) == [Piece("one")]
    assert [each["content"] for each in front.asked[1]["messages"]] == ["first", "one", "second"]
    assert [each["content"] for each in talk.messages] == ["first", "one", "second", "one"]


def test_an_answer_is_measured(front):
    front.says = events("a", "b", "c", usage=(40, 3))
    ticks = count()
    talk = conversation(front, clock=lambda: float(next(ticks)))
    list(talk.ask("hi"))
    assert talk.measured is not None
    assert (talk.measured.first, talk.measured.last, talk.measured.took) == (1.0, 3.0, 4.0)
    assert (talk.measured.read, talk.measured.written, talk.measured.step) == (40, 3, 1.0)


def test_it_is_measured_as_it_comes(front):
    front.says = events("a", "b", "c", usage=(40, 3))
    ticks = count()
    talk = conversation(front, clock=lambda: float(next(ticks)))
    for number, _ in enumerate(talk.ask("hi"), 1):
        assert talk.measured is not None
        assert (talk.measured.first, talk.measured.last, talk.measured.written) == (1.0, number, None)
    assert talk.measured is not None
    assert talk.measured.written == 3


@pytest.mark.parametrize(
    "usage",
    [
        b'{"completion_tokens": -1}',
        b'{"completion_tokens": 1' + b"0" * 4000 + b"}",
        b'{"completion_tokens": "9"}',
        b"[]",
        b"null",
    ],
)
def test_an_engine_that_counts_nothing_sensible_is_not_believed(front, usage):
    front.says = [*events("a")[:-1], b'data: {"choices": [], "usage": ' + usage + b"}\n\n", b"data: [DONE]\n\n"]
    talk = conversation(front)
    assert list(talk.ask("hi")) == [Piece("a")]
    assert talk.measured is not None
    assert (talk.measured.written, talk.measured.step) == (None, None)


def test_what_it_thinks_is_told_apart_and_not_remembered(front):
    front.says = [delta(reasoning_content="hm"), delta(reasoning="so"), *events("yes")]
    talk = conversation(front)
    assert list(talk.ask("hi")) == [Piece("hm", thought=True), Piece("so", thought=True), Piece("yes")]
    assert talk.messages[-1]["content"] == "yes"


def test_what_is_waited_for_is_told(front):
    front.says = [b": waiting for chat:  starting\n\n", *events("yes")]
    assert list(conversation(front).ask("hi")) == [Note("waiting for chat: starting"), Piece("yes")]


def test_who_answers_instead_is_told(front):
    front.says, front.headers = events("yes"), {"x-holdfast-fallback": "small"}
    assert list(conversation(front).ask("hi")) == [Instead("small"), Piece("yes")]


def test_a_question_without_an_answer_was_never_asked(front):
    talk = conversation(front)
    front.refuses = (503, b'{"error": {"message": "chat is not ready"}}')
    with pytest.raises(HoldfastError, match="cannot chat with chat: chat is not ready"):
        list(talk.ask("hi"))
    front.refuses, front.says = None, events("half")[:2]
    with pytest.raises(HoldfastError, match="lost chat in the middle of its answer"):
        list(talk.ask("hi"))
    assert talk.messages == []


@pytest.mark.parametrize(
    ("status", "after", "told"),
    [
        (503, "5", r"chat is paused \(status 503; try again in 5 s\)$"),
        (429, "60", r"chat is paused \(status 429; try again in 60 s\)$"),
        (401, None, r"\(status 401; `--key-file FILE` or HOLDFAST_KEY is the key that is shown\)$"),
        (503, "Wed, 21 Oct 2026 07:28:00 GMT", r"\(status 503\)$"),
        (503, "9" * 400, r"\(status 503\)$"),
    ],
)
def test_a_refusal_says_when_one_may_ask_again(front, status, after, told):
    front.refuses = (status, b'{"error": {"message": "chat is paused"}}')
    front.headers = {"Retry-After": after} if after else {}
    with pytest.raises(HoldfastError, match=told):
        list(conversation(front).ask("hi"))
    front.refuses = (status, b"[" * 60_000)
    with pytest.raises(HoldfastError, match=f"it answered with status {status}"):
        list(conversation(front).ask("hi"))


def test_an_answer_that_breaks_off_is_said_to(front):
    def broken():
        yield from events("half")[:2]
        raise ConnectionError

    front.says = broken()
    with pytest.raises(HoldfastError, match="^lost chat in the middle of its answer"):
        list(conversation(front).ask("hi"))
    front.says = [b"data: " + b"[" * 60_000 + b"\n\n"]
    with pytest.raises(HoldfastError, match="^cannot understand chat"):
        list(conversation(front).ask("hi"))


def test_a_gateway_that_is_killed_in_an_answer_is_said_to_be_lost():
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        answer = Conversation(lambda: Gateway(url=url, headers={}), "chat").ask("hi")
        heard = threading.Thread(target=lambda: came.append(next(answer)))
        came: list[object] = []
        heard.start()
        connection, _ = server.accept()
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + delta(content="half"))
        heard.join(60)
        assert came == [Piece("half")]
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        with pytest.raises(HoldfastError, match=f"^lost the gateway at {url}: it broke off its answer; see"):
            next(answer)


def test_what_is_stopped_before_it_is_heard_is_not_heard(front):
    front.says = events("one", "two")
    talk = conversation(front)
    answer = talk.ask("hi")
    talk.stop()
    assert list(answer) == []
    assert list(talk.ask("again")) == [Piece("one"), Piece("two")]


def test_what_had_come_already_is_not_heard_once_it_is_stopped(front):
    front.says = [b"".join(events("0", "1", "2"))]
    talk = conversation(front)
    answer = talk.ask("hi")
    first = next(answer)
    talk.stop()
    assert [first, *answer] == [Piece("0")]


def test_an_answer_that_was_stopped_ends_at_once_and_is_remembered_as_far_as_it_came(front):
    never = threading.Event()

    def endless():
        yield from events("so far")[:2]
        never.wait(60)

    front.says = endless()
    talk = conversation(front)
    came = []
    for each in talk.ask("hi"):
        came.append(each)
        threading.Thread(target=talk.stop).start()
    never.set()
    assert came == [Piece("so far")]
    assert [each["content"] for each in talk.messages] == ["hi", "so far"]


def test_what_is_stopped_before_its_first_word_was_never_asked(front):
    asked, never = threading.Event(), threading.Event()
    front.on_ask = lambda _: (asked.set(), never.wait(60))
    talk = conversation(front)
    threading.Thread(target=lambda: (asked.wait(60), talk.stop())).start()
    assert list(talk.ask("hi")) == []
    never.set()
    assert talk.messages == []
