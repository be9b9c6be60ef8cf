"""One request's life: who is asked, who is asked next, who waits for what, and what an engine is told of a client."""

import asyncio
import json
import re
import resource
from dataclasses import replace

import pytest

from reconciler.gateway.errand import NEWS
from reconciler.gateway.key import digest, new_key
from reconciler.model.routing import AccessKey, Front, Grant, Limits, Outlook, Wanted
from tests.eventually import eventually_async
from tests.gateway.client import Answer, chat, request
from tests.gateway.exchange import Exchange
from tests.gateway.gate import Gate, served
from tests.gateway.on_loop import on_loop
from tests.gateway.scripts import chunk, say
from tests.gateway.upstream import Upstream


def whole(found: Answer) -> bool:
    """Whether it is one answer of a model, or one stream, from beginning to end."""
    if found.status != 200 or not found.whole:
        return False
    if found.header("content-type") == "text/event-stream":
        return found.events[-1] == b"data: [DONE]" and found.body.count(b"[DONE]") == 1
    return bool(found.json()["choices"])


def code(found: Answer) -> str:
    """What a refusal is called."""
    return found.json()["error"]["code"]


def granted(key: str, name: str = "team", *, priority: int = 100) -> Grant:
    return Grant(name=name, keys=(AccessKey(sha256=digest(key.encode()).hex()),), priority=priority)


async def moved(exchange: Exchange) -> None:
    await exchange.body()
    elsewhere = f"location: http://127.0.0.1:{exchange.engine.queue}/v1/chat/completions\r\n"
    await exchange.send(say(b"{}", "307 Temporary Redirect", more=elsewhere))


async def half_chunked(exchange: Exchange) -> None:
    await exchange.body()
    await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
    await exchange.send(b'8\r\n{"choice\r\n')
    exchange.end()


# -- who is asked


@on_loop
async def test_two_at_once_go_to_two_instances_and_each_ends_where_it_began() -> None:
    async with Upstream("answer after=0.2") as a, Upstream("answer after=0.2") as b:
        async with Gate(served("chat", [a, b])) as gate, await gate.open() as one, await gate.open() as two:
            await one.send(chat())
            await two.send(chat())
            assert whole(await one.answer())
            assert whole(await two.answer())
        assert (len(a.seen), len(b.seen)) == (1, 1)


@on_loop
async def test_what_drains_gets_nothing_new_and_ends_what_it_has() -> None:
    async with Upstream("sse events=4 pause=0.1") as a, Upstream() as b:
        async with Gate(served("chat", [a, b])) as gate, await gate.open() as client:
            await client.send(chat(stream=True))
            await client.head()
            (chats,) = gate.table.models.values()
            draining = replace(chats.places[0], draining=True)
            gate.tell(replace(chats, places=(draining, chats.places[1])))
            for _ in range(4):
                assert whole(await gate.ask())
            assert b"[DONE]" in await client.reader.readuntil(b"0\r\n\r\n")
        assert (len(a.seen), len(b.seen)) == (1, 4)


FAILS = [
    "reset", "gone", "half_head", "garbage", "status code=502", "status code=503", "status code=504", "endless_head",
    "upgrade", "both", "short",
]  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fails", FAILS)
@on_loop
async def test_an_engine_that_fails_before_the_first_byte_costs_nobody_a_request(fails: str, stream: bool) -> None:
    async with Upstream(fails) as a, Upstream() as b, Gate(served("chat", [a, b])) as gate:
        assert whole(await gate.ask(chat(stream=stream)))
        assert (len(a.seen), len(b.seen)) == (1, 1)
        (record,) = gate.records
        assert (record.slot, record.retries, record.reason) == ("chat/1", 1, "")
        await eventually_async(lambda: not a.open, what="nothing is asked again on that connection")


@on_loop
async def test_an_engine_that_dies_within_an_answer_in_chunks_that_is_no_stream_costs_nobody_a_request() -> None:
    async with Upstream(half_chunked) as a, Upstream() as b, Gate(served("chat", [a, b])) as gate:
        assert whole(await gate.ask())
        assert (len(a.seen), len(b.seen)) == (1, 1)


@on_loop
async def test_a_want_of_descriptors_of_our_own_is_not_blamed_on_an_engine(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever asks is told at once, an engine that is well is asked as soon as that is over, and the log tells."""
    async with (
        Upstream() as engine,
        Gate(served("chat", [engine])) as gate,
        await gate.open() as one,
        await gate.open() as other,
    ):
        await eventually_async(lambda: gate.core.busy == 2)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            found = [await client.ask(chat()) for client in (one, other, one)]
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert {(each.status, code(each)) for each in found} == {(503, "no_connection")}
        assert found[0].header("retry-after") == "1"
        assert "too many open files" in found[0].json()["error"]["message"]
        (live,) = gate.core.directory.places.values()
        assert (live.failures, live.out_until, live.own, gate.board.total(live.row)) == (0, 0.0, 0, 0)
        (said,) = caplog.records
        assert said.getMessage() == (
            "cannot connect to any engine: too many open files; requests are refused until that ends"
        )
        assert whole(await one.ask(chat()))


@on_loop
async def test_an_engine_that_refuses_connections_costs_nobody_a_request_and_is_left_alone_for_a_while() -> None:
    async with Upstream() as a, Upstream() as b, Gate(served("chat", [a, b])) as gate:
        await a.stop()
        for _ in range(4):
            assert whole(await gate.ask())
        assert len(b.seen) == 4
        assert [one.retries for one in gate.records] == [1, 0, 0, 0]


@on_loop
async def test_an_engine_that_does_not_begin_to_answer_is_left_for_another() -> None:
    async with (
        Upstream("never") as a,
        Upstream() as b,
        Gate(served("chat", [a, b]), front=Front(first_byte=60)) as gate,
        await gate.open() as client,
    ):
        await client.send(chat())
        await eventually_async(lambda: a.seen)
        gate.later(61)
        assert whole(await client.answer())
        await eventually_async(lambda: a.cancelled, what="the one that was silent need not go on")


@on_loop
async def test_a_redirect_of_an_engine_leads_nowhere() -> None:
    async with (
        Upstream() as evil,
        Upstream(moved, queue=evil.port) as a,
        Upstream() as b,
        Gate(served("chat", [a, b])) as gate,
    ):
        assert whole(await gate.ask())
        assert (len(a.seen), len(b.seen), len(evil.seen)) == (1, 1, 0)


@on_loop
async def test_where_all_fail_each_was_asked_once_and_the_client_is_told_so() -> None:
    async with Upstream("status code=503") as a, Upstream("status code=503") as b, Gate(served("chat", [a, b])) as gate:
        found = await gate.ask()
        assert (found.status, code(found), found.header("retry-after")) == (502, "upstream_failed", "1")
        assert "it answered 503" in found.json()["error"]["message"]
        assert (len(a.seen), len(b.seen)) == (1, 1)


@pytest.mark.parametrize("warm", [False, True])
@on_loop
async def test_a_request_that_two_instances_died_of_is_given_to_no_third(warm: bool) -> None:
    async with Upstream() as a, Upstream() as b, Upstream() as c, Upstream() as d:
        engines = [a, b, c, d]
        async with Gate(served("chat", engines)) as gate:
            if warm:
                for _ in engines:
                    await gate.ask()

            async def dies(exchange: Exchange) -> None:
                await exchange.body()
                await exchange.pause(0.3)
                await exchange.engine.stop()

            for one in engines:
                one.seen.clear()
                one.script = dies
            found = await gate.ask()
            assert (found.status, code(found)) == (502, "upstream_failed")
            assert sum(len(one.seen) for one in engines) == 2


# -- an engine's connections


@on_loop
async def test_connections_are_kept_both_ways() -> None:
    async with Upstream() as engine, Gate(served("chat", [engine])) as gate, await gate.open() as client:
        for _ in range(5):
            assert whole(await client.ask(chat()))
            assert whole(await client.ask(chat(stream=True)))
        assert len(engine.connections) == 1


@on_loop
async def test_a_kept_connection_that_the_engine_closed_meanwhile_is_no_failure() -> None:
    async with Upstream("stale") as engine, Gate(served("chat", [engine])) as gate:
        for _ in range(3):
            assert whole(await gate.ask())
        assert [one.retries for one in gate.records] == [0, 0, 0]
        engine.script = "answer"
        engine.close_idle()
        await eventually_async(lambda: not engine.open)
        assert whole(await gate.ask())


@pytest.mark.parametrize("script", ["closes", "twice", "extra", "until_close", "early"])
@on_loop
async def test_a_connection_that_is_not_at_a_clean_end_is_never_used_again(script: str) -> None:
    async with Upstream() as engine, Gate(served("chat", [engine])) as gate, await gate.open() as client:
        engine.next.append(script)
        first = await client.ask(chat())
        assert first.whole
        assert whole(await client.ask(chat()))
        assert [(one.connection, one.number) for one in engine.seen] == [(0, 0), (1, 0)]


@on_loop
async def test_an_interim_answer_is_not_the_answer() -> None:
    async with Upstream("interim") as engine, Gate(served("chat", [engine])) as gate:
        found = await gate.ask()
        assert whole(found)
        assert b"link" not in found.head


# -- who waits


@on_loop
async def test_a_request_for_a_model_that_is_down_is_demand_and_is_answered_once_it_is_there() -> None:
    async with Upstream() as engine, Gate(served("chat")) as gate, await gate.open() as client:
        await client.send(chat())
        await eventually_async(lambda: "chat" in gate.core.demand())
        wanted = gate.core.demand()["chat"]
        assert (wanted.waiting, wanted.in_flight) == (1, {})
        assert gate.changes
        gate.later(7)
        assert gate.core.demand()["chat"].oldest >= 7
        gate.tell(served("chat", [engine]))
        assert whole(await client.answer())
        assert gate.records[0].waited >= 7
        assert not gate.core.demand()


@on_loop
async def test_a_request_whose_engines_are_all_gone_waits_and_is_answered_once_one_is_back() -> None:
    async with Upstream() as engine, Gate(served("chat", [engine])) as gate, await gate.open() as client:
        await engine.stop()
        await client.send(chat())
        await eventually_async(lambda: "chat" in gate.core.demand())
        async with engine:
            gate.later(60)
            assert whole(await client.answer())


async def _dies(exchange: Exchange) -> None:
    await exchange.body()
    exchange.reset()


@on_loop
async def test_a_request_whose_only_engine_died_of_it_waits_for_its_next_run() -> None:
    async with Upstream(_dies) as a, Upstream() as b, Gate(served("chat", [a])) as gate, await gate.open() as client:
        await client.send(chat())
        await eventually_async(lambda: gate.core.demand().get("chat", Wanted()).waiting)
        gate.tell(served("chat", outlook="coming", why="it is being started"))
        gate.later(NEWS + 60)
        gate.tell(served("chat", [b]))
        assert whole(await client.answer())
        assert (len(a.seen), len(b.seen)) == (1, 1)


@on_loop
async def test_a_request_whose_only_engine_was_let_go_and_then_failed_waits_for_another() -> None:
    let_go = asyncio.Event()

    async def unavailable(exchange: Exchange) -> None:
        await exchange.body()
        await let_go.wait()
        await exchange.send(say(b"{}", "503 Service Unavailable"))

    async with (
        Upstream(unavailable) as a,
        Upstream() as b,
        Gate(served("chat", [a])) as gate,
        await gate.open() as client,
    ):
        await client.send(chat())
        await eventually_async(lambda: a.seen)
        gate.tell(served("chat", outlook="coming", why="it is being started"))
        let_go.set()
        await eventually_async(lambda: gate.core.demand().get("chat", Wanted()).waiting)
        gate.tell(served("chat", [b]))
        assert whole(await client.answer())


@on_loop
async def test_where_nobody_tells_that_its_only_engine_ended_it_is_refused_soon() -> None:
    async with Upstream("garbage") as engine, Gate(served("chat", [engine])) as gate, await gate.open() as client:
        await client.send(chat())
        await eventually_async(lambda: gate.core.demand().get("chat", Wanted()).waiting)
        gate.later(NEWS)
        found = await client.answer()
        assert (found.status, code(found)) == (502, "upstream_failed")
        assert len(engine.seen) == 1


@on_loop
async def test_a_model_that_is_blocked_is_refused_with_the_plans_own_words() -> None:
    blocked = served("chat", outlook="blocked", why="needs 80.0 GiB on one gpu, most free is 46.1 GiB")
    async with Gate(blocked) as gate:
        found = await gate.ask()
        assert (found.status, code(found)) == (503, "unavailable")
        assert found.json()["error"]["message"] == (
            "chat is not running: needs 80.0 GiB on one gpu, most free is 46.1 GiB"
        )
        assert int(found.header("retry-after") or 0) >= 1


def one_alias(key: str) -> Grant:
    return replace(granted(key), models=("gpt-4",))


@on_loop
async def test_who_may_use_an_alias_alone_is_told_nothing_of_the_model_behind_it() -> None:
    key = new_key()
    chats = served("chat", names=("chat", "gpt-4"), limits=Limits(concurrency=1))
    ask = chat(key=key, model="gpt-4")
    async with Upstream("reset") as engine, Gate(chats, grants=(one_alias(key),), front=Front(queue=1)) as gate:
        told = [await gate.ask(request("GET", "/v1/models", authorization=f"Bearer {key}"))]
        async with await gate.open() as client:
            await client.send(ask)
            await eventually_async(lambda: len(gate.core.waits) == 1)
            told.append(await gate.ask(ask))
            assert code(told[-1]) == "rate_limit_exceeded"
            gate.tell(replace(chats, limits=None))
            told.append(await gate.ask(ask))
            assert code(told[-1]) == "queue_full"
            gate.tell(replace(chats, outlook="blocked", why="chat/0 has failed 9 times"))
            told.append(await client.answer())
            assert told[-1].json()["error"]["message"] == "gpt-4 is not running"
        gate.tell(served("chat", [engine], names=("chat", "gpt-4")))
        async with await gate.open() as client:
            await client.send(ask)
            await eventually_async(lambda: len(gate.core.waits) == 1)
            gate.later(NEWS)
            told.append(await client.answer())
        assert code(told[-1]) == "upstream_failed"
        engine.script = "cut"
        gate.later(20)
        told.append(await gate.ask(chat(key=key, model="gpt-4", stream=True)))
        assert b"cannot go on" in told[-1].body
    assert not [each.body for each in told if re.search(rb"\bchat\b(?!.completion)", each.body)]


@on_loop
async def test_a_stream_that_waits_by_an_alias_is_told_so_by_that() -> None:
    key = new_key()
    chats = served("chat", names=("chat", "gpt-4"), outlook="coming", why="loads what chat needs")
    async with Gate(chats, grants=(one_alias(key),)) as gate, await gate.open() as client:
        await client.send(chat(key=key, model="gpt-4", stream=True))
        await eventually_async(lambda: len(gate.core.waits) == 1)
        gate.later(11)
        pieces = client.pieces(await client.head())
        assert await anext(pieces) == b": waiting for gpt-4: coming\n\n"


@on_loop
async def test_who_waits_is_told_at_once_when_the_model_cannot_come() -> None:
    async with Gate(served("chat")) as gate, await gate.open() as client:
        await client.send(chat())
        await eventually_async(lambda: "chat" in gate.core.demand())
        gate.tell(served("chat", outlook="blocked", why="no gpu is free"))
        found = await client.answer()
        assert (found.status, found.json()["error"]["message"]) == (503, "chat is not running: no gpu is free")


@on_loop
async def test_who_waits_for_a_model_that_is_taken_away_is_told_that_there_is_none() -> None:
    async with Gate(served("chat")) as gate, await gate.open() as client:
        await client.send(chat())
        await eventually_async(lambda: "chat" in gate.core.demand())
        gate.take(replace(gate.table, models={}))
        found = await client.answer()
        assert (found.status, code(found)) == (404, "model_not_found")


@on_loop
async def test_a_queue_that_is_full_refuses_the_next_and_has_room_again_when_one_leaves() -> None:
    async with Gate(served("chat"), front=Front(queue=2)) as gate, await gate.open() as one, await gate.open() as two:
        await one.send(chat())
        await two.send(chat())
        await eventually_async(lambda: (now := gate.core.demand().get("chat")) is not None and now.waiting == 2)
        found = await gate.ask()
        assert (found.status, code(found)) == (503, "queue_full")
        assert int(found.header("retry-after") or 0) >= 1
        one.reset()
        await eventually_async(lambda: gate.core.demand()["chat"].waiting == 1)
        async with Upstream() as engine, await gate.open() as three:
            await three.send(chat())
            await eventually_async(lambda: gate.core.demand()["chat"].waiting == 2)
            gate.tell(served("chat", [engine]))
            assert whole(await two.answer())
            assert whole(await three.answer())


@on_loop
async def test_a_queue_that_one_key_has_filled_is_open_to_who_goes_first_and_the_last_of_it_is_told() -> None:
    low, high = new_key(), new_key()
    grants = (granted(low, "low", priority=100), granted(high, "high", priority=500))
    async with (
        Upstream() as engine,
        Gate(served("chat"), grants=grants, front=Front(queue=3)) as gate,
        await gate.open() as first,
        await gate.open() as plain,
        await gate.open() as stream,
        await gate.open() as one,
        await gate.open() as other,
    ):
        for number, (client, data) in enumerate(
            ((first, chat(key=low)), (stream, chat(key=low, stream=True)), (plain, chat(key=low)))
        ):
            await client.send(data)
            await eventually_async(lambda n=number: len(gate.core.waits) == n + 1)
        gate.later(11)
        head = await stream.head()
        await one.send(chat(key=high))
        found = await plain.answer()
        assert (found.status, code(found)) == (503, "queue_full")
        assert int(found.header("retry-after") or 0) >= 1
        await other.send(chat(key=high))
        head.body = b"".join([piece async for piece in stream.pieces(head)])
        assert b'"code": "queue_full"' in head.events[-1]
        assert code(await gate.ask(chat(key=low))) == "queue_full"
        gate.tell(served("chat", [engine]))
        for client in (one, other, first):
            assert whole(await client.answer())
        assert gate.core.demand() == {}


@on_loop
async def test_who_gives_way_in_a_queue_is_answered_by_the_fallback_that_can() -> None:
    low, high = new_key(), new_key()
    grants = (granted(low, "low", priority=100), granted(high, "high", priority=500))
    chats, small = served("chat", fallback=("small",)), served("small", outlook="absent")
    async with (
        Upstream() as engine,
        Gate(chats, small, grants=grants, front=Front(queue=1)) as gate,
        await gate.open() as one,
        await gate.open() as other,
    ):
        await one.send(chat(key=low))
        await eventually_async(lambda: len(gate.core.waits) == 1)
        gate.tell(served("small", [engine]))
        await other.send(chat(key=high))
        found = await one.answer()
        assert whole(found)
        assert found.header("x-holdfast-fallback") == "small"


@on_loop
async def test_nobody_waits_for_longer_than_the_gateway_says() -> None:
    async with (
        Gate(served("chat", outlook="coming", why="loads since 4 m"), front=Front(wait=60)) as gate,
        await gate.open() as client,
    ):
        await client.send(chat())
        await eventually_async(lambda: "chat" in gate.core.demand())
        gate.later(61)
        found = await client.answer()
        assert (found.status, code(found)) == (503, "unavailable")
        assert found.json()["error"]["message"] == "chat did not come up in time: loads since 4 m"


@on_loop
async def test_nor_for_longer_in_all_where_an_engine_is_announced_that_never_listens() -> None:
    async with (
        Upstream() as engine,
        Gate(served("chat", [engine]), front=Front(wait=60)) as gate,
        await gate.open() as client,
    ):
        await engine.stop()
        await client.send(chat())
        await eventually_async(lambda: (gate.later(2), gate.records)[1], what="it was refused")
        assert gate.core.asked > 1, "it was asked again meanwhile"
        found = await client.answer()
        assert (found.status, code(found)) == (503, "unavailable")


@on_loop
async def test_those_with_priority_go_first_and_equals_in_the_order_they_came() -> None:
    low, high = new_key(), new_key()
    grants = (granted(low, "low", priority=100), granted(high, "high", priority=500))
    async with Upstream() as engine, Gate(served("chat"), grants=grants) as gate:
        clients = [await gate.open() for _ in range(5)]
        for number, (client, key) in enumerate(zip(clients, (low, low, high, low, high), strict=True)):
            await client.send(chat(key=key, user=f"n{number}"))
            await eventually_async(lambda n=number: len(gate.core.waits) == n + 1)
        gate.tell(served("chat", [engine]))
        for client in clients:
            async with client:
                assert whole(await client.answer())
        asked = [entry.json()["user"] for entry in sorted(engine.seen, key=lambda one: one.connection)]
        assert asked == ["n2", "n4", "n0", "n1", "n3"]


@on_loop
async def test_a_stream_that_waits_is_told_so_in_comments_and_then_goes_on_as_one_stream() -> None:
    async with Upstream() as engine, Gate(served("chat", why="wakes")) as gate, await gate.open() as client:
        await client.send(chat(stream=True))
        await eventually_async(lambda: "chat" in gate.core.demand())
        gate.later(11)
        head = await client.head()
        assert (head.status, head.header("content-type")) == (200, "text/event-stream")
        pieces = client.pieces(head)
        assert await anext(pieces) == b": waiting for chat: wakes\n\n"
        gate.later(11)
        assert await anext(pieces) == b": waiting for chat: wakes\n\n"
        gate.tell(served("chat", [engine]))
        head.body = b"".join([piece async for piece in pieces])
        assert whole(head)
        assert len(head.events) == 5
        assert whole(await client.ask(chat())), "the connection is good for the next"


@pytest.mark.parametrize("script", ["status code=400", "status code=503", "reset"])
@on_loop
async def test_a_stream_that_waited_and_cannot_be_ends_with_an_error_event(script: str) -> None:
    async with Upstream(script) as engine, Gate(served("chat")) as gate, await gate.open() as client:
        await client.send(chat(stream=True))
        await eventually_async(lambda: "chat" in gate.core.demand())
        gate.later(11)
        head = await client.head()
        gate.tell(served("chat", [engine]))
        await eventually_async(lambda: engine.seen and (len(gate.core.waits) or gate.records))
        gate.later(NEWS)
        head.body = b"".join([piece async for piece in client.pieces(head)])
        assert head.events[0].startswith(b": waiting")
        assert "error" in json.loads(head.events[-1].removeprefix(b"data: "))
        assert b"[DONE]" not in head.body


@on_loop
async def test_what_waits_and_is_no_stream_gets_no_comments() -> None:
    async with Upstream() as engine, Gate(served("chat")) as gate, await gate.open() as client:
        await client.send(chat())
        await eventually_async(lambda: "chat" in gate.core.demand())
        gate.later(11)
        async with await gate.open() as other:
            await other.send(chat(stream=True))
            await eventually_async(lambda: gate.core.demand()["chat"].waiting == 2)
            gate.later(11)
            await other.head()
        gate.tell(served("chat", [engine]))
        found = await client.answer()
        assert whole(found)
        assert found.header("content-type") == "application/json"


@on_loop
async def test_a_client_that_leaves_waits_no_longer() -> None:
    async with Gate(served("chat")) as gate, await gate.open() as client:
        await client.send(chat())
        await eventually_async(lambda: "chat" in gate.core.demand())
        client.reset()
        await eventually_async(lambda: not gate.core.demand())
        assert [one.reason for one in gate.records] == ["client_left"]


# -- another model in its place


@pytest.mark.parametrize("outlook", ["coming", "blocked"])
@on_loop
async def test_a_declared_fallback_answers_and_the_answer_says_so(outlook: Outlook) -> None:
    async with Upstream() as small:
        big = served("big", outlook=outlook, fallback=("gone", "small"))
        async with Gate(big, served("small", [small])) as gate:
            found = await gate.ask(chat("big"))
            assert whole(found)
            assert found.header("x-holdfast-fallback") == "small"
            assert [one.model for one in small.seen] == ["small"]
            assert (gate.records[0].asked, gate.records[0].model) == ("big", "small")
            assert (await gate.ask(chat("small"))).header("x-holdfast-fallback") is None


@on_loop
async def test_a_fallback_answers_where_all_instances_failed() -> None:
    async with (
        Upstream("reset") as big,
        Upstream() as small,
        Gate(served("big", [big], fallback=("small",)), served("small", [small])) as gate,
    ):
        assert whole(await gate.ask(chat("big")))


@on_loop
async def test_a_fallback_s_own_limits_hold_for_whom_it_answers_in_another_s_place() -> None:
    async with Upstream() as engine:
        limits = Limits(requests_per_minute=2)
        big = served("big", outlook="blocked", fallback=("small",))
        async with Gate(big, served("small", [engine], limits=limits)) as gate:
            assert [(await gate.ask(chat(name))).status for name in ("big", "small", "big", "small")] == [
                200,
                200,
                503,
                429,
            ]


@on_loop
async def test_a_fallback_that_the_key_does_not_allow_does_not_answer() -> None:
    key = new_key()
    async with Upstream() as small:
        big = served("big", outlook="blocked", fallback=("small",))
        only = Grant(name="team", keys=granted(key).keys, models=("big",))
        async with Gate(big, served("small", [small]), grants=(only,)) as gate:
            assert (await gate.ask(chat("big", key=key))).status == 503
            assert (await gate.ask(chat("small", key=key))).status == 404
            assert not small.seen


# -- what an engine is told


@on_loop
async def test_an_engine_gets_the_bytes_that_the_client_sent() -> None:
    body = b'{ "model" : "chat",\t"messages":[{"role":"user","content":"\\u00fc \xc3\xbc"}], "x": 1e400 }'
    async with Upstream() as engine, Gate(served("chat", [engine])) as gate:
        assert whole(await gate.ask(request(body=body)))
        assert engine.seen[0].body == body


@on_loop
async def test_an_engine_that_knows_a_model_by_another_name_is_told_that_name_and_nothing_else_is_changed() -> None:
    async with Upstream() as engine, Gate(served("chat", [engine], known_as={"chat": "/models/a b.gguf"})) as gate:
        assert whole(await gate.ask(request(body=b'{"a": "chat", "model": "chat", "b": {"model": "chat"}}')))
        assert engine.seen[0].body == b'{"a": "chat", "model": "/models/a b.gguf", "b": {"model": "chat"}}'


@on_loop
async def test_usage_is_asked_for_and_counted_and_shown_to_those_alone_who_asked() -> None:
    async with Upstream() as engine, Gate(served("chat", [engine])) as gate:
        without = await gate.ask(chat(stream=True))
        asked_for = await gate.ask(chat(stream=True, stream_options={"include_usage": True}))
        assert whole(without)
        assert b"usage" not in without.body
        assert whole(asked_for)
        assert b'"usage"' in asked_for.body
        assert [one.json()["stream_options"] for one in engine.seen] == [{"include_usage": True}] * 2
        await gate.ask()
        assert "stream_options" not in engine.seen[2].json()
        assert [(one.prompt, one.written) for one in gate.records] == [(7, 3)] * 3


@on_loop
async def test_no_key_and_no_cookie_of_a_client_ever_reaches_an_engine() -> None:
    key, other = new_key(), new_key()
    secrets = {"authorization": f"Bearer {key}", "x_api_key": other, "cookie": "s=secret", "proxy_authorization": key}
    more = {"x_forwarded_for": "6.6.6.6", "forwarded": "for=6.6.6.6;host=evil", "x_real_ip": "6.6.6.6"}
    async with Upstream() as engine, Gate(served("chat", [engine]), grants=(granted(key),)) as gate:
        found = await gate.ask(request(body={"model": "chat"}, host="evil.com", **secrets, **more))
        assert whole(found)
        (seen,) = engine.seen
        names = {line.split(b":", 1)[0].lower() for line in seen.head.split(b"\r\n")[1:-2]}
        assert names == {b"host", b"content-type", b"content-length", b"x-request-id"}
        assert seen.header("host") == f"127.0.0.1:{engine.port}"
        for secret in (key, other, "secret", "6.6.6.6", "evil"):
            assert secret.encode() not in seen.head


@on_loop
async def test_a_request_id_is_kept_where_it_is_proper_made_where_not_and_told_to_both_sides() -> None:
    async with Upstream() as engine, Gate(served("chat", [engine])) as gate:
        kept = await gate.ask(request(body={"model": "chat"}, x_request_id="abc-123"))
        made = [await gate.ask(), await gate.ask(request(body={"model": "chat"}, x_request_id="bad id\t;" * 40))]
        assert kept.header("x-request-id") == "abc-123"
        assert [one.header("x-request-id") for one in engine.seen] == [
            one.header("x-request-id") for one in (kept, *made)
        ]
        assert len({one.header("x-request-id") for one in made}) == 2
        assert all(";" not in (one.header("x-request-id") or ";") for one in made)


@on_loop
async def test_a_trace_is_passed_on_where_it_is_one() -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with Upstream() as engine, Gate(served("chat", [engine])) as gate:
        await gate.ask(request(body={"model": "chat"}, traceparent=parent))
        await gate.ask(request(body={"model": "chat"}, traceparent="00-xyz-1-01"))
        trace = (engine.seen[0].header("traceparent") or "").split("-")[1]
        assert trace == "0af7651916cd43dd8448eb211c80319c" == gate.records[0].trace
        assert "xyz" not in (engine.seen[1].header("traceparent") or "")


@on_loop
async def test_what_an_engine_says_to_browsers_or_of_itself_is_not_passed_on() -> None:
    more = (
        "access-control-allow-origin: *\r\nSet-Cookie: a=b\r\nLocation: http://127.0.0.1:1/\r\nserver: uvicorn\r\n"
        "connection: keep-alive\r\nkeep-alive: timeout=5\r\nx-request-id: engine\r\nX-Mine: kept\r\n"
    )

    async def talks(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.send(say(b'{"choices":[1]}', more=more))

    async with Upstream(talks) as engine, Gate(served("chat", [engine])) as gate:
        found = await gate.ask()
        names = {name for name, _ in found.headers}
        assert names == {"content-type", "content-length", "x-request-id", "x-mine"}
        assert found.header("x-request-id") != "engine"


@on_loop
async def test_an_engines_own_error_is_the_clients() -> None:
    async with (
        Upstream("status code=400") as a,
        Upstream("status code=500") as b,
        Gate(served("chat", [a]), served("big", [b])) as gate,
    ):
        for model, status in (("chat", 400), ("big", 500)):
            found = await gate.ask(chat(model))
            assert (found.status, found.json()["error"]["message"]) == (status, "as told")
        assert [one.reason for one in gate.records] == ["", "upstream_error"]


@on_loop
async def test_a_body_that_cannot_be_made_the_engines_own_is_the_clients_to_mend() -> None:
    """More fields than are looked at, and one of them is to be changed."""
    many = {"model": "chat", "stream": True, "stream_options": {}} | {f"x{n}": n for n in range(5000)}
    async with Upstream() as engine, Gate(served("chat", [engine])) as gate:
        found = await gate.ask(request(body=many))
        assert (found.status, code(found)) == (400, "invalid_request")
        assert gate.board.total(next(iter(gate.core.directory.places.values())).row) == 0


@on_loop
async def test_a_head_alone_binds_nobody_another_instance_may_give_the_whole_answer() -> None:
    async def spoken(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ntransfer-encoding: chunked\r\n\r\n")
        if len(engine.seen) == 1:
            await exchange.pause(0.05)
            exchange.reset()
        else:
            await exchange.send(chunk(b"sound") + chunk(b""))

    async with Upstream(spoken) as engine, Gate(served("chat", [engine, engine])) as gate:
        found = await gate.ask(request(path="/v1/audio/speech", body={"model": "chat"}))
        assert (found.status, found.header("content-type"), found.body) == (200, "audio/mpeg", b"sound")
        assert len(engine.seen) == 2


@on_loop
async def test_an_answer_without_content_that_came_in_chunks_is_passed_on() -> None:
    async def nothing(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ntransfer-encoding: chunked\r\n\r\n")
        await exchange.pause(0.05)
        await exchange.send(chunk(b""))

    async with Upstream(nothing) as engine, Gate(served("chat", [engine])) as gate:
        found = await gate.ask(request(path="/v1/audio/speech", body={"model": "chat"}))
        assert (found.status, found.body, found.whole) == (200, b"", True)


@on_loop
async def test_an_answer_that_has_begun_keeps_no_room_for_its_request() -> None:
    async with Upstream("hangs") as engine, Gate(served("chat", [engine])) as gate, await gate.open() as client:
        await client.send(chat(stream=True, user="x" * 2**20))
        await client.head()
        await client.line()
        await eventually_async(lambda: gate.core.spool.used == 0)
        assert gate.core.active
