"""The scriptable engine does what it is told, and the raw client sees exactly that."""

import asyncio
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path

import httpx2
import pytest

from tests.eventually import eventually_async
from tests.gateway.client import Raw, chat, once, request
from tests.gateway.exchange import Exchange
from tests.gateway.scripts import script
from tests.gateway.upstream import Upstream, upstream

ROOT = Path(__file__).parent.parent.parent


def served(test: Callable[[Upstream], Coroutine[None, None, None]]) -> None:
    """Run a test beside an engine on the same loop."""

    async def run() -> None:
        async with Upstream() as engine:
            await test(engine)

    asyncio.run(run())


def test_it_answers_json_with_usage_and_keeps_the_connection() -> None:
    async def test(engine: Upstream) -> None:
        async with await Raw.open(engine.port) as raw:
            first, second = await raw.ask(chat()), await raw.ask(chat("other"))
        assert first.json()["usage"]["total_tokens"] == 10
        assert second.json()["model"] == "other"
        assert [(one.connection, one.number, one.model) for one in engine.seen] == [(0, 0, "chat"), (0, 1, "other")]
        assert engine.seen[0].head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")

    served(test)


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_it_streams_events_in_each_framing(framing: str) -> None:
    async def test(engine: Upstream) -> None:
        engine.script = f"sse events=4 framing={framing}"
        found = await once(engine.port, chat(stream=True, stream_options={"include_usage": True}))
        assert found.whole
        assert len(found.events) == 4 + 3
        assert json.loads(found.events[-2][6:])["usage"]["completion_tokens"] == 4
        assert found.events[-1] == b"data: [DONE]"

    served(test)


def test_a_request_in_chunks_is_taken_apart_and_kept_as_it_came() -> None:
    async def test(engine: Upstream) -> None:
        head = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        found = await once(engine.port, head + b'5;a=b\r\n{"mod\r\n8\r\nel":"c"}\r\n0\r\n\r\n')
        assert found.json()["model"] == "c"
        assert engine.seen[0].body == b'{"model":"c"}'
        assert engine.seen[0].raw.startswith(b"5;a=b\r\n")

    served(test)


@pytest.mark.parametrize(
    ("script", "whole"),
    [
        ("cut events=2", False), ("cut events=2 how=close", False), ("short", False), ("chunked pieces=3", True),
        ("until_close", True), ("closes", True), ("interim", True), ("status code=500", True),
    ],
)  # fmt: skip
def test_a_body_is_whole_or_it_is_not(script: str, whole: bool) -> None:
    async def test(engine: Upstream) -> None:
        engine.script = script
        assert (await once(engine.port, chat())).whole is whole

    served(test)


def test_a_stream_that_is_cut_has_sent_the_events_before() -> None:
    async def test(engine: Upstream) -> None:
        engine.script = "cut events=2"
        found = await once(engine.port, chat(stream=True))
        assert len(found.events) == 2

    served(test)


@pytest.mark.parametrize("script", ["reset", "gone", "half_head"])
def test_it_dies_before_its_answer(script: str) -> None:
    async def test(engine: Upstream) -> None:
        engine.script = script
        async with await Raw.open(engine.port) as raw:
            await raw.send(chat())
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await raw.answer()

    served(test)


@pytest.mark.parametrize(
    ("script", "sent"),
    [
        ("twice", b'{"stolen":true}'), ("extra", b"extra"), ("bad_chunk", b"zz\r\n"), ("garbage", b"not http"),
        ("both", b"content-length: 3\r\ntransfer-encoding"), ("upgrade", b"101 Switching"), ("early", b"413 Too Large"),
        ("huge_head size=50000", b"x-49: y"),
    ],
)  # fmt: skip
def test_it_violates_http_as_told(script: str, sent: bytes) -> None:
    async def test(engine: Upstream) -> None:
        engine.script = script
        async with await Raw.open(engine.port) as raw:
            await raw.send(chat())
            found = b""
            while sent not in found:
                data = await raw.read()
                assert data, found
                found += data

    served(test)


def test_who_leaves_is_seen_to_have_left() -> None:
    async def test(engine: Upstream) -> None:
        engine.script = "hangs events=1"
        async with await Raw.open(engine.port) as raw:
            await raw.send(chat(stream=True))
            await raw.head()
            assert engine.working == engine.most == 1
        await eventually_async(lambda: engine.cancelled)
        assert engine.working == 0
        assert engine.seen[0].ended is None

    served(test)


def test_what_is_next_comes_once_and_models_have_scripts_of_their_own() -> None:
    async def test(engine: Upstream) -> None:
        engine.next.append("status code=503 retry_after=7")
        engine.models["sick"] = "status code=500"
        first, second, third = [await once(engine.port, chat(name)) for name in ("chat", "sick", "chat")]
        assert [first.status, second.status, third.status] == [503, 500, 200]
        assert first.header("retry-after") == "7"

    served(test)


def test_a_function_is_a_script_too() -> None:
    async def test(engine: Upstream) -> None:
        async def teapot(exchange: Exchange) -> None:
            await exchange.send(b"HTTP/1.1 418 Teapot\r\ncontent-length: 0\r\n\r\n")

        engine.script = teapot
        assert (await once(engine.port, chat())).status == 418

    served(test)


def test_idle_connections_are_closed_when_told_and_a_reused_one_may_be_stale() -> None:
    async def test(engine: Upstream) -> None:
        engine.script = "stale"
        async with await Raw.open(engine.port) as raw:
            assert (await raw.ask(chat())).status == 200
            with pytest.raises(ConnectionError):
                await raw.ask(chat())
        async with await Raw.open(engine.port) as raw:
            assert (await raw.ask(chat())).status == 200
            engine.close_idle()
            assert await raw.read() == b""

    served(test)


def test_a_slow_reader_takes_no_more_than_its_rate() -> None:
    async def test(engine: Upstream) -> None:
        engine.script = "deaf"
        async with await Raw.open(engine.port) as raw:
            raw.writer.write(request(body=b"x" * 2**24))
            await eventually_async(lambda: engine.seen)
            assert engine.seen[0].size < 2**22
            raw.reset()

    served(test)


def test_a_big_body_is_known_by_its_digest() -> None:
    async def test(engine: Upstream) -> None:
        body = b"y" * (3 * 2**20)
        assert (await once(engine.port, request(body=body))).status == 200
        seen = engine.seen[0]
        assert (seen.size, len(seen.body)) == (len(body), 2**20)
        assert seen.digest == hashlib.sha256(body).hexdigest()

    served(test)


def test_stopped_it_refuses_and_comes_back_at_its_port() -> None:
    async def test(engine: Upstream) -> None:
        port = engine.port
        await engine.stop()
        with pytest.raises(ConnectionRefusedError):
            await Raw.open(port)
        async with engine:
            assert engine.port == port
            assert (await once(port, chat())).status == 200

    served(test)


def test_an_unknown_script_is_told_with_those_that_exist() -> None:
    with pytest.raises(ValueError, match=r"no script nonsense; there are answer, "):
        script("nonsense")


def test_on_a_thread_it_serves_a_client_that_blocks() -> None:
    with upstream(Upstream(script="answer size=10")) as engine:
        found = httpx2.post(f"{engine.address}/v1/messages", json={"model": "chat"})
        assert found.json()["usage"] == {"input_tokens": 7, "output_tokens": 3}
        assert found.content.endswith(b" " * 10)


def test_as_a_program_it_is_told_and_asked_over_http() -> None:
    words = [sys.executable, "-m", "tests.gateway.upstream", "--port", "0", "--script", "status code=500"]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        at = f"http://127.0.0.1:{process.stdout.readline().split()[-1]}"
        assert httpx2.post(f"{at}/v1/completions", json={"model": "a"}).status_code == 500
        httpx2.post(f"{at}/-/script", json={"script": "answer"})
        assert httpx2.post(f"{at}/v1/completions", json={"model": "b"}).status_code == 200
        assert [one["model"] for one in httpx2.get(f"{at}/-/seen").json()["seen"]] == ["a", "b"]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
