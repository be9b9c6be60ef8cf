"""A client's connection: what is read, how strictly, within which time, and that each request is answered in turn."""

import asyncio

import pytest

from reconciler.gateway.server import Connection
from reconciler.model.routing import Front
from tests.eventually import eventually_async
from tests.gateway.client import Raw, chat, request
from tests.gateway.exchange import Exchange
from tests.gateway.gate import Gate, served
from tests.gateway.on_loop import on_loop
from tests.gateway.scripts import say
from tests.gateway.test_exchange import code, whole
from tests.gateway.upstream import Upstream

BODY = b'{"model":"chat"}'
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n"


async def ends(client: Raw) -> bool:
    """Whether the connection ends now, in whatever way, with nothing more sent."""
    return await client.rest() == b""


# -- versions, methods, bodies


@on_loop
async def test_a_client_of_http_1_0_gets_no_chunks_and_the_end_of_the_connection() -> None:
    async with Upstream() as engine, Gate(served("chat", [engine])) as gate:
        for stream in (b"false", b"true"):
            async with await gate.open() as client:
                body = b'{"model":"chat","stream":%b}' % stream
                head = HEAD.replace(b"1.1", b"1.0") + b"connection: keep-alive\r\ncontent-length: %d\r\n\r\n" % len(
                    body
                )
                found = await client.ask(head + body)
                assert whole(found)
                assert found.header("transfer-encoding") is None
                assert found.header("connection") == "close"
                assert await ends(client)


@on_loop
async def test_a_stream_that_is_cut_ends_with_an_error_event_for_http_1_0_too() -> None:
    async with Upstream("cut") as engine, Gate(served("chat", [engine])) as gate:
        body = b'{"model":"chat","stream":true}'
        found = await gate.ask(HEAD.replace(b"1.1", b"1.0") + b"content-length: %d\r\n\r\n" % len(body) + body)
        assert b'"error"' in found.events[-1]
        assert b"[DONE]" not in found.body


@on_loop
async def test_head_tells_what_get_would_and_leaves_the_connection_good() -> None:
    async with Gate(served("chat")) as gate, await gate.open() as client:
        got = await client.ask(request("GET", "/v1/models"))
        head = await client.ask(request("HEAD", "/v1/models"))
        assert (head.status, head.header("content-length"), head.body) == (200, str(len(got.body)), b"")
        assert (await client.ask(request("GET", "/v1/models"))).body == got.body


@on_loop
async def test_a_body_in_chunks_reaches_the_engine_with_its_length() -> None:
    async with Upstream() as engine, Gate(served("chat", [engine])) as gate:
        chunks = b'5;a="b;c"\r\n{"mod\r\n00B\r\nel":"chat"}\r\n0\r\nx-trailer: 1\r\n\r\n'
        assert whole(await gate.ask(HEAD + b"transfer-encoding: Chunked\r\n\r\n" + chunks))
        (seen,) = engine.seen
        assert (seen.body, seen.header("content-length"), seen.header("transfer-encoding")) == (BODY, "16", None)
        assert b"x-trailer" not in seen.head


@pytest.mark.parametrize("frame", ["length", "chunked", "none"])
@pytest.mark.parametrize("apart", [False, True])
@on_loop
async def test_who_asks_for_another_protocol_is_answered_in_this_one(frame: str, apart: bool) -> None:
    asks = HEAD + b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQ\r\n"
    rest = {
        "length": (b"content-length: 16\r\n\r\n", BODY),
        "chunked": (b"transfer-encoding: chunked\r\n\r\n", b"10\r\n" + BODY + b"\r\n0\r\n\r\n"),
        "none": (b"\r\n", b""),
    }
    head, body = rest[frame]
    async with Upstream() as engine, Gate(served("chat", [engine])) as gate, await gate.open() as client:
        await client.send(asks + head)
        if apart:
            await asyncio.sleep(0.02)
        await client.send(body + asks + head + body + chat())
        for _ in range(2):
            found = await client.answer()
            assert whole(found) if body else found.status == 400
            assert found.header("upgrade") is None
        assert whole(await client.answer())
        assert [one.body for one in engine.seen[:-1]] == [BODY] * (2 if body else 0)
        assert all("upgrade" not in one.head.decode().lower() for one in engine.seen)


@on_loop
async def test_a_tunnel_is_refused_and_what_would_go_through_it_is_a_request_of_its_own() -> None:
    async with Upstream() as engine, Gate(served("chat", [engine])) as gate, await gate.open() as client:
        await client.send(b"CONNECT 10.0.0.1:22 HTTP/1.1\r\nhost: 10.0.0.1:22\r\n\r\n" + request("GET", "/v1/models"))
        assert (await client.answer()).status == 404
        assert (await client.answer()).status == 200
        assert not engine.seen


# -- in turn


@on_loop
async def test_requests_sent_ahead_are_answered_in_order_whatever_each_takes() -> None:
    async def slow(exchange: Exchange) -> None:
        number = int(exchange.seen.model[1:])
        await exchange.pause(0.02 * (5 - number))
        await exchange.send(say(b'{"choices":["%d"]}' % number))

    async with Upstream(slow) as engine, await Raw.open(engine.port):
        models = [served(f"m{n}", [engine]) for n in range(5)]
        async with Gate(*models) as gate, await gate.open() as client:
            await client.send(b"".join(chat(f"m{n}") + request("GET", "/v1/models") for n in range(5)))
            for number in range(5):
                assert (await client.answer()).json()["choices"] == [str(number)]
                assert (await client.answer()).json()["object"] == "list"


@on_loop
async def test_a_long_body_may_be_followed_by_the_next_request_in_one_piece() -> None:
    async with Upstream() as engine, Gate(served("chat", [engine])) as gate, await gate.open() as client:
        long, short = chat(user="x" * 60_000), chat()
        await client.send(long[:-50_000])
        await asyncio.sleep(0.02)
        await client.send(long[-50_000:] + short[:40])
        assert whole(await client.answer())
        await client.send(short[40:])
        assert whole(await client.answer())


@on_loop
async def test_many_requests_on_one_connection_are_not_one_long_head() -> None:
    async with Gate(served("chat")) as gate, await gate.open() as client:
        one = request("GET", "/v1/models", x_long="y" * 8000)
        for _ in range(6):
            await client.send(one[:4000])
            await asyncio.sleep(0.01)
            assert (await client.ask(one[4000:])).status == 200


@on_loop
async def test_a_client_that_waits_to_be_told_to_go_on_is_told_so_when_its_turn_has_come() -> None:
    expects = HEAD + b"expect: 100-continue\r\ncontent-length: 16\r\n\r\n"
    async with (
        Upstream("sse pause=0.05") as engine,
        Gate(served("chat", [engine])) as gate,
        await gate.open() as client,
    ):
        await client.send(expects)
        assert await client.line() + await client.line() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(BODY)
        assert (await client.answer()).status == 200
        await client.send(chat(stream=True))
        head = await client.head()
        await client.send(expects)
        head.body = b"".join([piece async for piece in client.pieces(head)])
        assert whole(head), "an interim answer is never within another"
        assert await client.line() + await client.line() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(BODY)
        assert (await client.answer()).status == 200


@on_loop
async def test_a_client_that_will_be_refused_is_not_told_to_go_on() -> None:
    async with Gate(served("chat"), front=Front(body=1000)) as gate, await gate.open() as client:
        await client.send(HEAD + b"expect: 100-continue\r\ncontent-length: 1001\r\n\r\n")
        assert (await client.line()).startswith(b"HTTP/1.1 413 ")


@on_loop
async def test_a_client_that_asks_on_and_on_and_reads_nothing_is_not_worked_for() -> None:
    async with Gate(*(served(f"m{n}") for n in range(200))) as gate, await Raw.open(gate.port, buffer=4096) as client:
        asked = request("GET", "/v1/models", x_long="y" * 8000)
        one = len((await gate.ask(asked)).body)

        async def asks() -> None:
            while True:
                await client.send(asked)

        asking = asyncio.create_task(asks())
        await eventually_async(lambda: any(each.stuck_since is not None for each in gate.connections))
        for _ in range(10):
            await asyncio.sleep(0.02)
        buffered = [each.transport.get_write_buffer_size() for each in gate.connections]
        asking.cancel()
        assert 0 < max(buffered) <= 64 * 1024 + 2 * one
        client.reset()


# -- in time


@on_loop
async def test_a_head_that_trickles_is_cut_off_at_its_deadline_however_steadily_it_comes() -> None:
    async with Gate(served("chat"), front=Front(head_timeout=10)) as gate, await gate.open() as client:
        await client.send(HEAD)
        for _ in range(9):
            gate.later(1)
            await client.send(b"x-a: b\r\n")
        await asyncio.sleep(0)
        gate.later(2)
        found = await client.answer()
        assert (found.status, code(found)) == (408, "request_timeout")
        client.shut()
        assert await ends(client)


@on_loop
async def test_a_connection_that_has_not_asked_yet_is_kept_as_long_as_one_between_two_requests() -> None:
    """Pools of clients open connections ahead."""
    async with (
        Upstream() as engine,
        Gate(served("chat", [engine]), front=Front(head_timeout=10, idle_timeout=75)) as gate,
        await gate.open() as client,
        await gate.open() as silent,
    ):
        await eventually_async(lambda: gate.core.busy == 2)
        gate.later(60)
        gate.core._sweep()
        await asyncio.sleep(0)
        assert gate.core.busy == 2
        assert whole(await client.ask(chat()))
        gate.later(16)
        assert await ends(silent)
        assert whole(await client.ask(chat()))


@pytest.mark.parametrize("first", [b"P", b"\r\n\r\nP", HEAD])
@on_loop
async def test_from_its_first_byte_on_a_first_request_has_the_time_of_a_head(first: bytes) -> None:
    async with Gate(served("chat"), front=Front(head_timeout=10, idle_timeout=75)) as gate, await gate.open() as client:
        await eventually_async(lambda: gate.connections)
        gate.later(60)
        await client.send(first)
        await eventually_async(lambda: not gate.connections[0].idle)
        gate.later(11)
        found = await client.answer()
        assert (found.status, code(found)) == (408, "request_timeout")


@on_loop
async def test_line_ends_alone_are_no_request_and_give_a_connection_no_time() -> None:
    async with Gate(served("chat"), front=Front(idle_timeout=75)) as gate, await gate.open() as client:
        await eventually_async(lambda: gate.connections)
        for _ in range(5):
            gate.later(14)
            await client.send(b"\r\n")
        gate.later(6)
        assert await ends(client)


@pytest.mark.parametrize("chunked", [False, True])
@on_loop
async def test_a_body_that_trickles_is_cut_off_at_its_deadline(chunked: bool) -> None:
    frame = b"transfer-encoding: chunked\r\n\r\n1000\r\n" if chunked else b"content-length: 4096\r\n\r\n"
    async with Gate(served("chat"), front=Front(body_timeout=60)) as gate, await gate.open() as client:
        await client.send(HEAD + frame + b"{")
        await eventually_async(lambda: gate.connections and not gate.connections[0].idle)
        for _ in range(5):
            gate.later(11)
            await client.send(b" ")
        assert not gate.records
        gate.later(11)
        found = await client.answer()
        assert (found.status, code(found)) == (408, "request_timeout")


@on_loop
async def test_a_long_body_has_time_for_each_of_its_mebibytes() -> None:
    async with (
        Upstream() as engine,
        Gate(served("chat", [engine]), front=Front(body_timeout=10)) as gate,
        await gate.open() as client,
    ):
        long = chat(user="x" * (5 * 2**20))
        for at in range(0, len(long), 2**20):
            await client.send(long[at : at + 2**20])
            await eventually_async(lambda n=at: gate.core.spool.used >= n - 2**19)
            gate.later(9)
            await asyncio.sleep(0.06)
        assert whole(await client.answer())


@on_loop
async def test_a_connection_without_a_request_is_kept_for_a_while_and_no_longer() -> None:
    async with (
        Upstream() as engine,
        Gate(served("chat", [engine]), front=Front(idle_timeout=75)) as gate,
        await gate.open() as client,
    ):
        assert whole(await client.ask(chat()))
        gate.later(70)
        await asyncio.sleep(0.6)
        assert whole(await client.ask(chat()))
        gate.later(76)
        assert await ends(client)


@on_loop
async def test_a_slow_request_behind_a_stream_does_not_cut_the_stream() -> None:
    async with (
        Upstream("sse events=8 pause=0.1") as engine,
        Gate(served("chat", [engine])) as gate,
        await gate.open() as client,
    ):
        await client.send(chat(stream=True))
        head = await client.head()
        await client.send(HEAD + b"content-length: 16\r\n\r\n{")
        await eventually_async(lambda: gate.connections[0].deadline < float("inf"))
        gate.later(61)
        head.body = b"".join([piece async for piece in client.pieces(head)])
        assert whole(head)
        assert (await client.answer()).status == 408


@on_loop
async def test_one_address_has_so_many_connections_and_no_more() -> None:
    async with Gate(served("chat"), front=Front(per_address=3)) as gate:
        clients = [await gate.open() for _ in range(3)]
        for client in clients:
            assert (await client.ask(request("GET", "/health"))).status == 200
        async with await gate.open() as fourth:
            assert await ends(fourth)
        clients[0].reset()
        await eventually_async(lambda: gate.core.busy == 2)
        async with await gate.open() as next_one:
            assert (await next_one.ask(request("GET", "/health"))).status == 200
        for client in clients[1:]:
            client.reset()


# -- within bounds


@pytest.mark.parametrize("how", ["one line", "many lines", "never ends"])
@on_loop
async def test_a_head_that_is_too_long_is_refused(how: str) -> None:
    more = {"one line": b"x: " + b"y" * 40_000, "many lines": b"x: y\r\n" * 7000, "never ends": b"x: y\r\n" * 100_000}
    async with Gate(served("chat")) as gate, await gate.open() as client:
        client.writer.write(HEAD + more[how] + (b"" if how == "never ends" else b"\r\n\r\n"))
        found = await client.answer()
        assert (found.status, code(found)) == (431, "head_too_long")


@on_loop
async def test_a_path_that_is_too_long_is_refused() -> None:
    async with Gate(served("chat")) as gate:
        found = await gate.ask(request("GET", "/v1/models?" + "x" * 9000))
        assert (found.status, code(found)) == (414, "uri_too_long")


@pytest.mark.parametrize(
    "endless", [b"0\r\nx: " + b"y" * 100_000, b"0\r\n" + b"x: y\r\n" * 20_000, b"1;" + b"y" * 100_000]
)
@on_loop
async def test_what_is_no_body_may_not_be_long_between_its_pieces_or_after_them(endless: bytes) -> None:
    async with Gate(served("chat")) as gate, await gate.open() as client:
        await client.send(HEAD + b"transfer-encoding: chunked\r\n\r\n10\r\n" + BODY + b"\r\n")
        await asyncio.sleep(0.02)
        for at in range(0, len(endless), 10_000):
            client.writer.write(endless[at : at + 10_000])
            await asyncio.sleep(0.005)
        assert (await client.answer()).status == 431


@on_loop
async def test_a_client_that_is_refused_reads_why_though_it_goes_on_sending() -> None:
    async with Gate(served("chat"), front=Front(body=10_000)) as gate, await gate.open() as client:
        await client.send(HEAD + b"transfer-encoding: chunked\r\n\r\n")
        for _ in range(50):
            client.writer.write(b"400\r\n" + b" " * 1024 + b"\r\n")
            await asyncio.sleep(0.002)
        found = await client.answer()
        assert (found.status, code(found)) == (413, "too_large")
        assert found.header("connection") == "close"


@on_loop
async def test_spaces_around_what_a_header_says_are_none_of_it() -> None:
    async with Upstream() as engine, Gate(served("chat", [engine])) as gate:
        spaced = b"content-encoding: identity \t\r\ncontent-length: \t16 \t\r\nuser-agent:  a b \r\naccept:\r\n\r\n"
        assert whole(await gate.ask(HEAD.replace(b"json", b"json  ") + spaced + BODY))
        assert (engine.seen[0].header("content-type"), engine.seen[0].header("user-agent")) == (
            "application/json",
            "a b",
        )


@on_loop
async def test_each_mib_of_a_body_has_its_own_deadline_whatever_length_was_declared() -> None:
    async with Gate(served("chat"), front=Front(body_timeout=60)) as gate, await gate.open() as client:
        await client.send(HEAD + b"content-length: 60000000\r\n\r\n{")
        await eventually_async(lambda: gate.connections and not gate.connections[0].idle)
        gate.later(61)
        assert (await client.answer()).status == 408


@on_loop
async def test_a_request_that_comes_while_another_is_answered_brings_no_deadline_to_it() -> None:
    async with (
        Upstream("sse events=3 pause=0.2") as engine,
        Gate(served("chat", [engine]), front=Front(body_timeout=5, idle_timeout=5)) as gate,
        await gate.open() as client,
    ):
        await client.send(chat(stream=True))
        head = await client.head()
        await client.send(chat())
        await asyncio.sleep(0.05)
        gate.later(100)
        assert [piece async for piece in client.pieces(head)][-1].endswith(b"[DONE]\n\n")
        assert (await client.answer()).status == 200


@on_loop
async def test_a_network_of_ipv6_has_the_connections_of_one_address() -> None:
    async with Gate(served("chat"), front=Front(per_address=2)) as gate:
        made = [Connection(gate.core) for _ in range(4)]
        for number, one in enumerate(made):
            one.address = f"2001:db8::{number}"
        assert [gate.core.opened(one) for one in made] == [True, True, False, False]
        for one in made:
            gate.core.closed(one)
        made[0].address = "2001:db8::9"
        assert gate.core.opened(made[0])
        gate.core.closed(made[0])
