"""What clients and engines may do to a gateway, and the promise for each: bounds that hold, and nothing steered."""

import asyncio
import gc
import hashlib
import json
from pathlib import Path

import pytest

from reconciler.gateway.key import digest, new_key
from reconciler.model.routing import AccessKey, Front, Grant, Site
from tests.eventually import eventually_async
from tests.gateway.client import Raw, chat, request
from tests.gateway.exchange import Exchange
from tests.gateway.gate import Gate, served
from tests.gateway.on_loop import on_loop
from tests.gateway.scripts import SSE, chunk, events
from tests.gateway.test_exchange import code, whole
from tests.gateway.upstream import Upstream

MIB = 2**20
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n"


def own_memory() -> int:
    """Bytes of memory that this process has for itself: what it mapped of files is not among them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


async def most_memory(during: asyncio.Task[None]) -> int:
    """The most that there was of it while something went on."""
    most = own_memory()
    while not during.done():
        await asyncio.sleep(0.005)
        most = max(most, own_memory())
    await during
    return most


# -- slow clients


@on_loop
async def test_a_thousand_clients_that_trickle_are_all_gone_by_the_deadline_and_a_good_one_is_served_all_along() -> (
    None
):
    async with Upstream() as engine, Gate(served("chat", [engine]), front=Front(head_timeout=10)) as gate:
        slow = [await gate.open() for _ in range(1000)]
        for number, client in enumerate(slow):
            client.writer.write(HEAD if number % 2 else HEAD + b"content-length: 100\r\n\r\n{")
        await eventually_async(lambda: gate.core.busy == 1000)
        assert whole(await gate.ask())
        for _ in range(5):
            for client in slow:
                client.writer.write(b"x")
            gate.later(12)
            await asyncio.sleep(0.05)
            assert whole(await gate.ask())
        gate.later(10)
        await eventually_async(lambda: not any(one.idle is False and one.deadline > 1e300 for one in gate.connections))
        gate.later(3)
        await eventually_async(lambda: gate.core.busy == 0)
        for client in slow:
            client.reset()


@on_loop
async def test_a_client_that_takes_nothing_of_a_stream_is_held_back_and_then_gone() -> None:
    sent = 0

    async def pours(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.body()
        await exchange.send(SSE + b"transfer-encoding: chunked\r\n\r\n")
        while True:
            await exchange.send(chunk(b": " + b"x" * 8190 + b"\n\n"))
            sent += 8194
            await asyncio.sleep(0)

    async with (
        Upstream(pours) as engine,
        Gate(served("chat", [engine]), front=Front(silence=60)) as gate,
        await Raw.open(gate.port, buffer=4096) as client,
    ):
        await client.send(chat(stream=True))
        await client.slowly(20, 0.3)
        await eventually_async(lambda: gate.connections[0].stuck_since is not None)
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.05)
        (held,) = gate.connections
        assert 0 < held.transport.get_write_buffer_size() <= 256 * 1024
        assert sent < 32 * MIB, "what the kernel's buffers on the way take, and no more"
        gate.later(61)
        await eventually_async(lambda: engine.cancelled, what="who takes nothing for a minute has left")


@on_loop
async def test_a_client_that_reads_slowly_gets_all_of_it() -> None:
    async with (
        Upstream("sse events=200 size=20000") as engine,
        Gate(served("chat", [engine])) as gate,
        await Raw.open(gate.port, buffer=4096) as client,
    ):
        await client.send(chat(stream=True))
        head = await client.head()
        async for piece in client.pieces(head):
            head.body += piece
            if len(head.body) % 7 == 0:
                await asyncio.sleep(0.001)
        assert whole(head)
        assert len(head.body) > 200 * 20000


# -- clients that leave


@pytest.mark.parametrize("script", ["sse events=1000 pause=0.02", "hangs", "never"])
@on_loop
async def test_the_engine_of_a_client_that_leaves_stops_at_once(script: str) -> None:
    async with Upstream(script) as engine, Gate(served("chat", [engine])) as gate, await gate.open() as client:
        await client.send(chat(stream=True))
        await eventually_async(lambda: engine.seen)
        if script != "never":
            await client.head()
        client.reset()
        looks = 0

        def cancelled() -> bool:
            nonlocal looks
            looks += 1
            return bool(engine.cancelled)

        await eventually_async(cancelled)
        assert looks < 50, "it waited for a timer"
        (record,) = gate.records
        assert record.reason == "client_left"
        assert not gate.core.demand()


@on_loop
async def test_a_client_that_leaves_before_its_body_is_there_costs_no_engine_anything() -> None:
    async with Upstream() as engine, Gate(served("chat", [engine])) as gate:
        async with await gate.open() as client:
            await client.send(HEAD + b"content-length: 300000\r\n\r\n" + b" " * 299_999)
            await eventually_async(lambda: gate.core.spool.used)
            client.reset()
        await eventually_async(lambda: gate.core.busy == 0)
        assert (engine.connections, gate.core.spool.used) == ([], 0)


# -- large and hostile requests


@on_loop
async def test_a_body_that_is_too_large_is_refused_before_it_is_sent_and_while_it_is() -> None:
    async with Upstream() as engine, Gate(served("chat", [engine])) as gate:
        async with await gate.open() as client:
            await client.send(HEAD + b"content-length: %d\r\n\r\n" % (64 * MIB + 1))
            found = await client.answer()
            assert (found.status, code(found)) == (413, "too_large")
        async with await gate.open() as client:
            await client.send(HEAD + b"transfer-encoding: chunked\r\n\r\n")
            piece = chunk(b" " * MIB)
            for _ in range(64):
                await client.send(piece)
            await client.send(chunk(b" "))
            found = await client.answer()
            assert (found.status, code(found)) == (413, "too_large")
        assert not engine.seen
        await eventually_async(lambda: gate.core.spool.used == 0)


@pytest.mark.parametrize("known_as", [{}, {"chat": "/models/chat"}])
@on_loop
async def test_a_body_of_60_mib_is_passed_on_in_constant_memory(known_as: dict[str, str]) -> None:
    start, end = b'{"model":"chat","messages":[{"role":"user","content":"', b'"}]}'
    piece = b"x" * MIB
    hashed = hashlib.sha256(start.replace(b'"chat"', json.dumps(known_as.get("chat", "chat")).encode()))
    for _ in range(60):
        hashed.update(piece)
    hashed.update(end)

    async with Upstream() as engine, Gate(served("chat", [engine], known_as=known_as)) as gate:
        assert whole(await gate.ask())

        async def sends() -> None:
            async with await gate.open() as client:
                await client.send(HEAD + b"content-length: %d\r\n\r\n" % (len(start) + 60 * MIB + len(end)))
                await client.send(start)
                for _ in range(60):
                    await client.send(piece)
                await client.send(end)
                assert (await client.answer()).status == 200

        gc.collect()
        before = own_memory()
        grown = await most_memory(asyncio.create_task(sends())) - before
        print(f"grew by {grown / MIB:.1f} MiB")
        assert engine.seen[1].digest == hashed.hexdigest()
        assert grown <= 16 * MIB
        await eventually_async(lambda: gate.core.spool.used == 0)


@on_loop
async def test_an_engine_that_does_not_read_a_large_body_holds_back_nobodys_memory() -> None:
    async with Upstream("deaf") as engine, Gate(served("chat", [engine])) as gate, await gate.open() as client:
        await client.send(chat(user="x" * (40 * MIB)))
        await eventually_async(lambda: engine.seen)
        for _ in range(10):
            await asyncio.sleep(0.02)
        (exchange,) = gate.core.active
        assert exchange.upstream is not None
        assert exchange.upstream.transport.get_write_buffer_size() <= 256 * 1024
        client.reset()
        await eventually_async(lambda: not gate.core.active)


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "zstd", "gzip, identity", "x"])
@on_loop
async def test_a_compressed_body_is_refused_unread(coding: str) -> None:
    async with Upstream() as engine, Gate(served("chat", [engine])) as gate:
        found = await gate.ask(request(body=b"\x1f\x8b" + b"\0" * 100, content_encoding=coding))
        assert (found.status, code(found)) == (415, "unsupported_encoding")
        assert not engine.seen


# -- guessing keys


@on_loop
async def test_guessing_keys_gets_slower_and_good_keys_of_the_same_address_never_wait() -> None:
    key = new_key()
    grant = Grant(name="team", keys=(AccessKey(sha256=digest(key.encode()).hex()),))
    async with Upstream() as engine, Gate(served("chat", [engine]), grants=(grant,)) as gate:
        for _ in range(10):
            found = await gate.ask(chat(key=new_key()))
            assert (found.status, code(found)) == (401, "invalid_api_key")
            assert found.header("www-authenticate") == "Bearer"
        guessing = [await gate.open() for _ in range(30)]
        for client in guessing:
            await client.send(chat(key=new_key()))
        await eventually_async(
            lambda: gate.core.busy == 8, what="so many wait for their answer, the others are cut off"
        )
        began = gate.records[-1]
        assert whole(await gate.ask(chat(key=key)))
        assert gate.records[-1] is not began
        assert gate.records[-1].key == "team"
        assert len(engine.seen) == 1
        for client in guessing:
            client.reset()


# -- who decides where a request goes


STEERS = [
    {"api_base": "http://127.0.0.1:{evil}", "base_url": "http://127.0.0.1:{evil}", "api_key": "x"},
    {"user": "http://127.0.0.1:{evil}/", "metadata": {"target": "127.0.0.1:{evil}"}},
]
HEADERS = [
    "host: 127.0.0.1:{evil}", "x-forwarded-host: 127.0.0.1:{evil}", "forwarded: host=127.0.0.1:{evil}",
    "x-forwarded-for: 127.0.0.1", "x-original-url: /admin", "x-rewrite-url: /admin", "x-http-method-override: GET",
    "x-model: other", "location: http://127.0.0.1:{evil}/", "proxy: http://127.0.0.1:{evil}", "via: 1.1 evil",
]  # fmt: skip


@pytest.mark.parametrize("more", STEERS)
@on_loop
async def test_nothing_in_a_body_but_the_models_name_says_where_it_goes(more: dict[str, object]) -> None:
    async with Upstream() as evil, Upstream() as engine, Gate(served("chat", [engine])) as gate:
        more = json.loads(json.dumps(more).replace("{evil}", str(evil.port)))
        assert whole(await gate.ask(request(body={"model": "chat", **more})))
        assert (len(engine.seen), len(evil.seen)) == (1, 0)


@pytest.mark.parametrize("header", HEADERS)
@on_loop
async def test_no_header_says_where_a_request_goes_or_whose_it_is(header: str) -> None:
    async with Upstream() as evil, Upstream() as engine, Gate(served("chat", [engine])) as gate:
        lines = header.format(evil=evil.port).encode() + b"\r\ncontent-length: 16\r\n\r\n" + b'{"model":"chat"}'
        head = HEAD.replace(b"host: gateway\r\n", b"") if header.startswith("host") else HEAD
        assert whole(await gate.ask(head + lines))
        assert (len(engine.seen), len(evil.seen)) == (1, 0)
        assert gate.records[0].client == "127.0.0.1"
        assert engine.seen[0].path == "/v1/chat/completions"
        assert b"evil" not in engine.seen[0].head
        assert str(evil.port).encode() not in engine.seen[0].head


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:{evil}/v1/chat/completions", "//127.0.0.1:{evil}/v1/chat/completions", "/v1/../admin",
        "/v1/chat/completions/../../sleep", "/v1/chat/completions%2f..%2fsleep", "/%2e%2e/sleep", "/sleep", "/v1//chat",
        "/V1/chat/completions", "/v1/chat/completions/", "/v1/chat/completions;x", "/v1/chat%2fcompletions", "*",
        "/v1/chat/completions%00", "/collective_rpc", "/v1/load_lora_adapter", "/slots", "/props", "/metrics/../sleep",
    ],
)  # fmt: skip
@on_loop
async def test_only_paths_that_are_listed_reach_an_engine(target: str) -> None:
    async with Upstream() as evil, Upstream() as engine, Gate(served("chat", [engine])) as gate:
        found = await gate.ask(request(path=target.format(evil=evil.port), body={"model": "chat"}))
        assert found.status in {400, 404}
        assert (len(engine.seen), len(evil.seen)) == (0, 0)


@on_loop
async def test_the_host_chooses_a_site_and_no_model_that_the_site_does_not_show() -> None:
    sites = (Site(name="a", hosts=("a.example.org",), models=("chat",)), Site(name="b", prefix="/b", models=("big",)))
    async with Upstream() as engine, Gate(served("chat", [engine]), served("big", [engine]), sites=sites) as gate:
        told = {
            (host, path, model): (await gate.ask(request(path=path, body={"model": model}, host=host))).status
            for host in ("a.example.org", "a.example.org:8642", "elsewhere")
            for path in ("/v1/completions", "/b/v1/completions")
            for model in ("chat", "big")
        }
        assert {asked for asked, status in told.items() if status == 200} == {
            ("a.example.org", "/v1/completions", "chat"),
            ("a.example.org:8642", "/v1/completions", "chat"),
            ("elsewhere", "/b/v1/completions", "big"),
        }
        assert set(told.values()) == {200, 404}
        refused = await gate.ask(request(path="/v1/completions", body={"model": "chat"}, host="127.0.0.1"))
        assert b"no Route is for host 127.0.0.1 and this path" in refused.body
        assert {one.path for one in engine.seen} == {"/v1/completions"}


@on_loop
async def test_who_watches_the_gateway_need_not_know_its_sites() -> None:
    async with Upstream() as engine, Gate(served("chat", [engine]), sites=(Site(name="a", hosts=("a.test",)),)) as gate:
        told = {path: await gate.ask(request("GET", path)) for path in ("/health", "/metrics", "/v1/models")}
        assert {path: answer.status for path, answer in told.items()} == {
            "/health": 200,
            "/metrics": 200,
            "/v1/models": 404,
        }


# -- tables that change


@on_loop
async def test_a_thousand_streams_go_on_untouched_while_tables_change() -> None:
    go = asyncio.Event()

    async def waits(exchange: Exchange) -> None:
        told = events("/v1/chat/completions", json.loads(await exchange.body()), 2)
        await exchange.send(SSE + b"transfer-encoding: chunked\r\n\r\n" + chunk(told[0]))
        await go.wait()
        await exchange.send(b"".join(map(chunk, told[1:])) + chunk(b""))

    async with Upstream(waits) as engine, Upstream() as other, Gate(served("chat", [engine])) as gate:
        clients = [await gate.open() for _ in range(1000)]
        for client in clients:
            client.writer.write(chat(stream=True))
        await eventually_async(lambda: engine.working == 1000)
        heads = [await client.head() for client in clients]
        first = gate.table.models["chat"]
        gate.tell(served("chat", [engine], names=("chat", "gpt")), served("new", [other]))
        gate.tell(served("chat", [other, engine]))
        gate.tell(served("chat", outlook="blocked", why="as told"))
        refused = await gate.ask()
        assert (refused.status, code(refused)) == (503, "unavailable")
        assert int(refused.header("retry-after") or 0) > 0
        gate.tell(first)
        go.set()
        for client, head in zip(clients, heads, strict=True):
            head.body = b"".join([piece async for piece in client.pieces(head)])
            assert whole(head)
            client.reset()
        assert (len(engine.seen), len(other.seen), len(engine.cancelled)) == (1000, 0, 0)
        assert {one.slot for one in gate.records[1:]} == {"chat/0"}
