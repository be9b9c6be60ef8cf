"""A head that is known says what a parser would, or nothing; and what is made of it is what was made of the first."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.gateway.template import Template, template
from reconciler.model.routing import AccessKey, Grant, Site
from tests.eventually import eventually_async
from tests.gateway.client import Raw, chat, request
from tests.gateway.gate import Gate, served
from tests.gateway.upstream import Upstream

FIRST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nAccept: */*\r\n\r\nabc"
KNOWN = template(FIRST) or Template(b"", b"", 0, 0)


@pytest.mark.parametrize("body", [b"a", b"abc", b"x" * 1234])
def test_another_length_is_the_same_head(body: bytes) -> None:
    data = FIRST.replace(b": 3", b": %d" % len(body)).replace(b"abc", body)
    assert KNOWN.body(data) == len(data) - len(body)


@pytest.mark.parametrize(
    "data",
    [
        FIRST[:-1],
        FIRST + b"G",
        FIRST + FIRST,
        FIRST.replace(b": 3", b": +3"),
        FIRST.replace(b": 3", b": 3 "),
        FIRST.replace(b": 3", b":  3"),
        FIRST.replace(b": 3", b": 0x3"),
        FIRST.replace(b": 3", b": 3, 3"),
        FIRST.replace(b": 3", b": "),
        FIRST.replace(b": 3", b": -3"),
        FIRST.replace(b": 3", b": \xb3"),
        FIRST.replace(b": 3", b": 3\r\nContent-Length: 3"),
        FIRST.replace(b": 3", b": 3\nX: y"),
        FIRST.replace(b": 3", b": 0").replace(b"abc", b""),
        FIRST.replace(b": 3", b": " + b"0" * 20 + b"3"),
        FIRST.replace(b"Host: x", b"Host: y"),
        FIRST.replace(b"Accept: */*", b"Transfer-Encoding: chunked"),
        b"\r\n" + FIRST,
        b"",
    ],
)
def test_what_is_not_one_whole_message_with_that_head_is_left_to_the_parser(data: bytes) -> None:
    assert KNOWN.body(data) == 0


@given(st.binary(max_size=80), st.integers(0, len(FIRST)), st.integers(0, 8))
def test_nothing_but_digits_may_differ(piece: bytes, at: int, dropped: int) -> None:
    data = FIRST[:at] + piece + FIRST[at + dropped :]
    start = KNOWN.body(data)
    if start:
        digits = data[len(KNOWN.before) : start - len(KNOWN.after)]
        assert digits.isdigit()
        assert data == KNOWN.before + digits + KNOWN.after + data[start:]
        assert int(digits) == len(data[start:])


def test_only_one_whole_message_with_a_length_has_a_head_to_know() -> None:
    chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    for data in (FIRST[:-1], FIRST + b"x", chunked, b"GET / HTTP/1.1\r\n\r\n"):
        assert template(data) is None


# -- at the gateway

KEY = "hfk_test"
GRANT = Grant(name="ci", keys=(AccessKey(sha256=sha256(KEY.encode()).hexdigest()),))


def run(test: Callable[[Gate, Upstream, Raw], Coroutine[None, None, None]]) -> None:
    """A client's connection, on which a request was answered."""

    async def go() -> None:
        engine = Upstream()
        async with engine, Gate(served("chat", [engine]), grants=(GRANT,)) as gate, await gate.open() as client:
            assert (await client.ask(chat(key=KEY))).status == 200
            await test(gate, engine, client)

    asyncio.run(go())


def test_requests_that_begin_alike_are_answered_counted_and_passed_on_alike() -> None:
    async def test(gate: Gate, engine: Upstream, client: Raw) -> None:
        second = await client.ask(chat(key=KEY, more="longer"))
        assert gate.core.heads, "nothing is known, so nothing is tested"
        assert second.json()["usage"]["total_tokens"] == 10
        first, last = gate.records
        assert first.request_id != last.request_id
        for name in ("client", "key", "method", "path", "asked", "model", "status", "prompt", "written", "pieces"):
            assert getattr(first, name) == getattr(last, name), name
        assert last.received == engine.seen[1].size == first.received + len(b', "more": "longer"')
        heads = [
            seen.head.replace(record.request_id.encode(), b"ID").replace(b": %d\r\n" % seen.size, b": N\r\n")
            for seen, record in zip(engine.seen, gate.records, strict=True)
        ]
        assert sorted(heads[0].split(b"\r\n")) == sorted(heads[1].split(b"\r\n"))

    run(test)


def test_a_key_that_is_taken_away_is_taken_away_at_once() -> None:
    async def test(gate: Gate, engine: Upstream, client: Raw) -> None:
        gate.take(replace(gate.table, grants=(replace(GRANT, keys=()),)))
        assert (await client.ask(chat(key=KEY))).status == 401
        assert len(engine.seen) == 1

    run(test)


def test_another_key_is_another_head() -> None:
    async def test(gate: Gate, engine: Upstream, client: Raw) -> None:
        assert (await client.ask(chat(key="hfk_tess"))).status == 401

    run(test)


def test_a_key_that_expires_is_looked_at_each_time() -> None:
    async def go() -> None:
        soon = replace(GRANT, keys=(replace(GRANT.keys[0], expires=time.time() + 3600),))
        async with Upstream() as engine, Gate(served("chat", [engine]), grants=(soon,)) as gate:
            async with await gate.open() as client:
                assert (await client.ask(chat(key=KEY))).status == 200
            assert not gate.core.heads

    asyncio.run(go())


def test_a_body_that_comes_in_two_pieces_after_a_head_that_is_known_is_whole() -> None:
    async def test(gate: Gate, engine: Upstream, client: Raw) -> None:
        data = chat(key=KEY, text="x" * 5000)
        await client.send(data[:-2000])
        await asyncio.sleep(0)
        await client.send(data[-2000:])
        assert (await client.answer()).status == 200
        assert engine.seen[1].digest == sha256(data.partition(b"\r\n\r\n")[2]).hexdigest()
        assert (await client.ask(chat(key=KEY))).status == 200

    run(test)


def test_requests_sent_ahead_are_answered_in_turn() -> None:
    async def test(gate: Gate, engine: Upstream, client: Raw) -> None:
        engine.next.append("answer after=0.05 size=100")
        await client.send(chat(key=KEY, n=1))
        await eventually_async(lambda: len(engine.seen) == 2)
        await client.send(chat(key=KEY, n=2))
        answers = [await client.answer() for _ in range(2)]
        await client.send(chat(key=KEY, n=3) + chat(key=KEY, n=4))
        answers += [await client.answer() for _ in range(2)]
        assert [one.body.endswith(b" ") for one in answers] == [True, False, False, False]
        assert [seen.json().get("n") for seen in engine.seen] == [None, 1, 2, 3, 4]

    run(test)


def test_a_site_is_known_with_its_head() -> None:
    async def go() -> None:
        sites = (Site(name="a", hosts=("a.example",)), Site(name="b", hosts=("b.example",), models=("other",)))
        async with Upstream() as engine, Gate(served("chat", [engine]), sites=sites) as gate:
            client = await gate.open()
            for host, status in (("a.example", 200), ("a.example", 200), ("b.example", 404), ("b.example", 404)):
                asked = request(body={"model": "chat", "messages": []}, host=host)
                assert (await client.ask(asked)).status == status
            client.reset()

    asyncio.run(go())


def test_an_answer_is_told_by_its_own_head_and_a_worse_one_is_not_taken_for_a_good_one() -> None:
    async def test(gate: Gate, engine: Upstream, client: Raw) -> None:
        engine.next.extend(["answer size=100", "status code=500", "status code=500", "answer", "chunked", "answer"])
        answers = [await client.ask(chat(key=KEY)) for _ in range(6)]
        assert [one.status for one in answers] == [200, 500, 500, 200, 200, 200]
        assert [one.body.endswith(b" " * 100) for one in answers] == [True, False, False, False, False, False]
        assert len({one.body for one in answers[3:]}) == 1

    run(test)


def test_what_follows_an_answer_with_a_head_that_is_known_spoils_the_connection_as_ever() -> None:
    async def test(gate: Gate, engine: Upstream, client: Raw) -> None:
        engine.next.extend(["answer", "twice"])
        for _ in range(4):
            found = await client.ask(chat(key=KEY))
            assert found.json()["model"] == "chat"
        assert [seen.connection for seen in engine.seen] == [0, 0, 0, 1, 1]

    run(test)
