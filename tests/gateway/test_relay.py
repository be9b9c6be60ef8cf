"""What a client gets once an answer has begun: all of it as it comes, or a plain word that it is not all."""

import json

import pytest

from reconciler.model.routing import Front
from tests.eventually import eventually_async
from tests.gateway.client import chat, once, request
from tests.gateway.exchange import Exchange, Script
from tests.gateway.gate import Gate, served
from tests.gateway.on_loop import on_loop
from tests.gateway.scripts import SSE, chunk, events, say
from tests.gateway.test_exchange import whole
from tests.gateway.upstream import Upstream

LARGE = 400_000


def stumbles(size: bytes, *, after: float = 0.05):
    """A script: a stream of two events, and `after` them a chunk of that size."""

    async def script(exchange: Exchange) -> None:
        told = events("/v1/chat/completions", json.loads(await exchange.body()), 2)
        first, then = (
            SSE + b"transfer-encoding: chunked\r\n\r\n" + chunk(told[0]) + chunk(told[1]),
            size + b"\r\nabc\r\n",
        )
        await exchange.send(first if after else first + then)
        await exchange.pause(after)
        await exchange.send(then if after else b"")
        await exchange.forever()

    return script


BREAKS = ["cut", "cut how=close", stumbles(b"zz"), stumbles(b"-1"), stumbles(b"fffffffffffffffff")]


def answers(kind: str, *, size: int, sent: int, chunked: bool = False):
    """A script: an answer of so many bytes that ends after `sent` of them."""

    async def script(exchange: Exchange) -> None:
        await exchange.body()
        if not chunked:
            await exchange.send(say(b"x" * size, kind=kind)[: sent - size or None])
        else:
            await exchange.send(
                f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
            )
            for at in range(0, sent, 10_000):
                await exchange.send(chunk(b"x" * min(10_000, sent - at)))
            await exchange.send(chunk(b"") if sent == size else b"")
        if sent != size:
            exchange.end()

    return script


# -- whole


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
@on_loop
async def test_a_stream_is_passed_on_byte_for_byte_however_it_is_framed(framing: str) -> None:
    async with Upstream(f"sse framing={framing} usage=1") as engine, Gate(served("chat", [engine])) as gate:
        asked = chat(stream=True, stream_options={"include_usage": True})
        direct = await once(engine.port, asked)
        assert (await gate.ask(asked)).body == direct.body
        assert whole(direct)
        assert len(direct.events) == 6


@on_loop
async def test_the_first_event_is_passed_on_while_the_second_is_yet_to_come() -> None:
    async with (
        Upstream("hangs events=1") as engine,
        Gate(served("chat", [engine])) as gate,
        await gate.open() as client,
    ):
        await client.send(chat(stream=True))
        head = await client.head()
        pieces = client.pieces(head)
        assert (await anext(pieces)).startswith(b"data: ")
        assert gate.core.demand()["chat"].in_flight == {"chat/0": 1}


@on_loop
async def test_a_stream_whose_head_came_and_nothing_else_tells_its_head_at_once() -> None:
    async with (
        Upstream("hangs events=0") as engine,
        Gate(served("chat", [engine])) as gate,
        await gate.open() as client,
    ):
        await client.send(chat(stream=True))
        assert (await client.head()).status == 200


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("kind", ["application/json", "audio/mpeg"])
@pytest.mark.parametrize("size", [0, 1, 1000, LARGE])
@on_loop
async def test_an_answer_of_any_size_and_kind_is_passed_on_whole(size: int, kind: str, chunked: bool) -> None:
    async with (
        Upstream(answers(kind, size=size, sent=size, chunked=chunked)) as engine,
        Gate(served("chat", [engine])) as gate,
        await gate.open() as client,
    ):
        for _ in range(2):
            found = await client.ask(chat())
            assert (found.whole, len(found.body), found.header("content-type")) == (True, size, kind)
        assert len(engine.connections) == 1
        assert [one.sent for one in gate.records] == [size] * 2


@on_loop
async def test_an_answer_without_a_body_is_one() -> None:
    async def nothing(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with Upstream(nothing) as engine, Gate(served("chat", [engine])) as gate, await gate.open() as client:
        for _ in range(2):
            await client.send(chat())
            assert (await client.head()).status == 204
            assert (await client.ask(request("GET", "/health"))).status == 200, "the next begins where it should"


# -- not whole


@pytest.mark.parametrize("broken", BREAKS)
@on_loop
async def test_a_stream_that_breaks_ends_with_an_error_event_and_no_end_of_its_own(broken: Script | str) -> None:
    async with (
        Upstream(broken) as a,
        Upstream() as b,
        Gate(served("chat", [a, b])) as gate,
        await gate.open() as client,
    ):
        found = await client.ask(chat(stream=True))
        assert found.whole, "as HTTP it is complete: the client can read the last event"
        assert [one.startswith(b"data: ") for one in found.events] == [True] * 3
        error = json.loads(found.events[-1][6:])["error"]
        assert (error["code"], b"[DONE]" in found.body) == ("upstream_failed", False)
        assert error["message"].startswith("cannot go on: the instance ended in the middle of its answer: ")
        assert len(b.seen) == 0, "what has begun is never begun again"
        assert gate.records[0].reason == "cut"
        await eventually_async(lambda: not a.open, what="its connection is never used again")
        assert whole(await client.ask(chat())), "the client's is good"


@pytest.mark.parametrize("stream", [False, True])
@on_loop
async def test_what_broke_before_any_of_it_was_passed_on_is_asked_of_another(stream: bool) -> None:
    async with Upstream(stumbles(b"zz", after=0)) as a, Upstream() as b, Gate(served("chat", [a, b])) as gate:
        assert whole(await gate.ask(chat(stream=stream)))
        assert (len(a.seen), len(b.seen), gate.records[0].retries) == (1, 1, 1)
        assert (gate.records[0].prompt, gate.records[0].written) == (7, 3)


@on_loop
async def test_an_answer_of_which_only_the_head_came_is_asked_of_another_and_nothing_of_the_two_is_mixed() -> None:
    async def head_alone(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ntransfer-encoding: chunked\r\n\r\n")
        await exchange.pause(0.05)
        exchange.end()

    good = answers("audio/wav", size=1000, sent=1000, chunked=True)
    async with Upstream(head_alone) as a, Upstream(good) as b, Gate(served("chat", [a, b])) as gate:
        found = await gate.ask()
        assert (found.status, found.header("content-type"), found.body) == (200, "audio/wav", b"x" * 1000)


@on_loop
async def test_a_stream_of_which_only_the_head_came_goes_on_with_the_events_of_another() -> None:
    async with Upstream("cut events=0") as a, Upstream() as b, Gate(served("chat", [a, b])) as gate:
        found = await gate.ask(chat(stream=True))
        assert whole(found)
        assert (len(a.seen), len(b.seen), len(found.events)) == (1, 1, 5)


@on_loop
async def test_what_was_counted_of_an_answer_that_broke_is_not_counted_with_the_next() -> None:
    async def counts(exchange: Exchange) -> None:
        told = events("/v1/chat/completions", json.loads(await exchange.body()), 1, usage=True)
        await exchange.send(SSE + b"transfer-encoding: chunked\r\n\r\n" + b"".join(map(chunk, told)) + b"zz\r\n")

    async with Upstream(counts) as a, Upstream("status code=400") as b, Gate(served("chat", [a, b])) as gate:
        assert (await gate.ask(chat(stream=True))).status == 400
        assert (gate.records[0].prompt, gate.records[0].written, gate.records[0].streamed) == (0, 0, False)


@on_loop
async def test_an_answer_in_a_coding_that_nobody_asked_for_is_none() -> None:
    async def zipped(exchange: Exchange) -> None:
        await exchange.body()
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: gzip, chunked\r\n\r\n"
        await exchange.send(head + chunk(b"\x1f\x8b") + chunk(b""))

    async with Upstream(zipped) as a, Upstream() as b, Gate(served("chat", [a, b])) as gate:
        assert whole(await gate.ask())
        assert (len(a.seen), len(b.seen)) == (1, 1)


@on_loop
async def test_a_stream_that_falls_silent_ends_with_an_error_event() -> None:
    async with Upstream("hangs") as engine, Gate(served("chat", [engine]), front=Front(silence=60)) as gate:
        async with await gate.open() as client:
            await client.send(chat(stream=True))
            head = await client.head()
            pieces = client.pieces(head)
            await anext(pieces)
            gate.later(61)
            rest = b"".join([piece async for piece in pieces])
            assert b"it was silent for too long" in rest
            assert b"[DONE]" not in rest
        await eventually_async(lambda: engine.cancelled)


@on_loop
async def test_a_stream_that_ends_with_the_connection_before_its_end_is_no_whole_stream() -> None:
    async def stops(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.send(b'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {"choices":[]}\n\n')
        exchange.end()

    async with Upstream(stops) as engine, Gate(served("chat", [engine])) as gate:
        found = await gate.ask(chat(stream=True))
        assert b'"error"' in found.events[-1]


@on_loop
async def test_anthropics_clients_are_told_in_their_own_words() -> None:
    async with Upstream("cut") as engine, Gate(served("chat", [engine])) as gate:
        asked = request(path="/v1/messages", body={"model": "chat", "max_tokens": 5, "messages": [], "stream": True})
        found = await gate.ask(asked)
        first, second = found.events[-1].split(b"\n")
        assert first == b"event: error"
        assert json.loads(second[6:])["type"] == "error"
        assert b"message_stop" not in found.body


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("kind", ["application/json", "audio/mpeg"])
@on_loop
async def test_an_answer_too_long_to_be_kept_that_is_cut_is_seen_to_be_cut(kind: str, chunked: bool) -> None:
    script = answers(kind, size=LARGE + 100_000, sent=LARGE, chunked=chunked)
    async with Upstream(script) as a, Upstream() as b, Gate(served("chat", [a, b])) as gate:
        found = await gate.ask()
        assert (found.status, found.whole, len(b.seen)) == (200, False, 0)
        assert gate.records[0].reason == "cut"


@on_loop
async def test_what_goes_on_when_a_worker_ends_is_told_so() -> None:
    async with Upstream("hangs") as engine, Gate(served("chat", [engine])) as gate, await gate.open() as client:
        await client.send(chat(stream=True))
        head = await client.head()
        pieces = client.pieces(head)
        await anext(pieces)
        gate.core.cut()
        rest = b"".join([piece async for piece in pieces])
        assert b"the gateway ends" in rest
        assert b"[DONE]" not in rest


@on_loop
async def test_a_worker_that_drains_ends_what_it_has_and_lets_each_connection_go_with_its_next_answer() -> None:
    async with (
        Upstream("sse events=4 pause=0.05") as engine,
        Gate(served("chat", [engine])) as gate,
        await gate.open() as busy,
        await gate.open() as idle,
    ):
        assert (await idle.ask(request("GET", "/health"))).header("connection") is None
        await busy.send(chat(stream=True))
        head = await busy.head()
        gate.core.drain()
        head.body = b"".join([piece async for piece in busy.pieces(head)])
        assert whole(head)
        last = await idle.ask(chat())
        assert (whole(last), last.header("connection")) == (True, "close")
        assert await idle.rest() == b""
        gate.later(11)
        assert await busy.rest() == b""
