"""However a request or an answer is cut into pieces it is the same; whatever is done to it, the worker goes on."""

import asyncio
import contextlib
import random

import pytest

from tests.eventually import eventually_async
from tests.gateway.client import PATIENCE, Answer, Raw, chat, request
from tests.gateway.exchange import Exchange
from tests.gateway.gate import Gate, served
from tests.gateway.on_loop import on_loop
from tests.gateway.scripts import SSE, chunk, content, events, say
from tests.gateway.smuggling import CHUNKED, CHUNKS, PASSED, REFUSED, made
from tests.gateway.test_exchange import whole
from tests.gateway.upstream import Upstream

SEEDS = range(5)
EACH = 30
"""Mutants of one seed."""
WAIT = 0.05
"""Seconds without an answer after which a connection is taken to wait for more of the request."""
REQUESTS = {
    "length": chat(user="x" * 40),
    "chunks": made(CHUNKED, body=CHUNKS),
    "extensions and a trailer": made(
        CHUNKED, body=b"1;a\r\n{\r\n0f;b=c\r\n" + b'"model":"chat"}' + b"\r\n0\r\nx: y\r\n\r\n"
    ),
    "h2c": made(b"connection: upgrade", b"upgrade: h2c", CHUNKED, body=CHUNKS),
    "two": request("GET", "/v1/models") + made(CHUNKED, body=CHUNKS),
}
JSON = content("/v1/chat/completions", "chat")
STREAM = [*events("/v1/chat/completions", {"model": "chat"}, 2, usage=True)]
ANSWERS = {
    "length": say(JSON),
    "chunks": b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    + chunk(JSON[:20]) + chunk(JSON[20:]) + chunk(b""),
    "a stream": SSE + b"transfer-encoding: chunked\r\n\r\n" + b"".join(map(chunk, STREAM)) + chunk(b""),
}  # fmt: skip


async def in_pieces(client: Raw, data: bytes, cuts: list[int]) -> None:
    """Send it so that it comes in these pieces: the next one when the loop has turned."""
    for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        client.writer.write(data[begin:end])
        for _ in range(3):
            await asyncio.sleep(0)


async def answered(client: Raw, count: int) -> list[tuple[int, bytes]]:
    found = [await client.answer() for _ in range(count)]
    return [(one.status, one.body) for one in found]


@pytest.mark.parametrize("kind", REQUESTS)
@on_loop
async def test_a_request_cut_anywhere_is_answered_as_the_whole_one_is(kind: str) -> None:
    data, count = REQUESTS[kind], 2 if kind == "two" else 1
    async with Upstream() as engine, Gate(served("chat", [engine])) as gate, await gate.open() as client:
        await client.send(data)
        expected = await answered(client, count)
        (body,) = (one.body for one in engine.seen)
        for cut in range(1, len(data)):
            await in_pieces(client, data, [cut])
            assert await answered(client, count) == expected, cut
        await in_pieces(client, data, list(range(1, len(data))))
        assert await answered(client, count) == expected, "byte by byte"
        assert {one.body for one in engine.seen} == {body}
        assert len(engine.seen) == len(data) + 1
        assert gate.core.busy == 1


@pytest.mark.parametrize("kind", ANSWERS)
@on_loop
async def test_an_answer_cut_anywhere_is_passed_on_as_the_whole_one_is(kind: str) -> None:
    data = ANSWERS[kind]
    cuts: list[int] = []

    async def pieces(exchange: Exchange) -> None:
        await exchange.body()
        for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            await exchange.send(data[begin:end])
            for _ in range(3):
                await asyncio.sleep(0)

    asked = chat(stream=kind == "a stream")
    async with Upstream(pieces) as engine, Gate(served("chat", [engine])) as gate, await gate.open() as client:
        expected = await client.ask(asked)
        assert whole(expected)
        for cut in [*([at] for at in range(1, len(data))), list(range(1, len(data)))]:
            cuts[:] = cut
            found = await client.ask(asked)
            assert (found.status, found.body, found.whole) == (200, expected.body, True), cut
        assert len(engine.connections) == 1
        assert {(one.prompt, one.written) for one in gate.records} == {
            (gate.records[0].prompt, gate.records[0].written)
        }


def mutant(chance: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """It with a few bytes changed, gone, doubled, or come from another."""
    made = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(made) + 1)
        match chance.randrange(5):
            case 0:
                made[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del made[at : at + chance.randint(1, 20)]
            case 2:
                made[at:at] = made[at : at + chance.randint(1, 40)]
            case 3:
                made[at:at] = chance.choice(
                    [b"\r\n", b"\n", b"\0", b"\r", b" ", b":", b"0\r\n\r\n", b"\xff", b"\r\n\r\n"]
                )
            case _:
                other = chance.choice(others)
                begin = chance.randrange(len(other))
                made[at:at] = other[begin : begin + chance.randint(1, 60)]
    return bytes(made)


async def sent(gate: Gate, *those: bytes, wait: float = WAIT) -> list[Answer]:
    """Every answer to what is sent on one connection, read strictly, until it ends or more is waited for."""
    found: list[Answer] = []
    async with await gate.open() as client:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            for data in those:
                client.writer.write(data)
                method = data.split(b" ", 1)[0].decode("latin-1")
                answers = 0
                while data is those[-1] or not answers:
                    async with asyncio.timeout(wait):
                        found.append(await client.answer(method=method))
                        answers += 1
        client.reset()
    return found


@pytest.mark.parametrize("seed", SEEDS)
@on_loop
async def test_whatever_is_done_to_a_request_the_worker_goes_on_and_says_no_or_answers(seed: int) -> None:
    chance = random.Random(seed)
    sound = [*REQUESTS.values(), *PASSED.values(), *REFUSED.values()]
    async with Upstream() as engine, Gate(served("chat", [engine])) as gate:
        for _ in range(EACH):
            data = mutant(chance, chance.choice(sound), sound)
            for one in await sent(gate, data):
                assert one.status < 500 or one.status == 505, (data, one)
        for seen in engine.seen:
            assert seen.path in {"/v1/chat/completions", "/v1/completions"}
            assert seen.all("transfer-encoding") == []
            assert seen.header("content-length") == str(len(seen.body)), seen
        assert whole(await gate.ask())
        await eventually_async(lambda: gate.core.busy == 0)
        assert not gate.core.active
        assert gate.core.spool.used == 0


@pytest.mark.parametrize("seed", SEEDS)
@on_loop
async def test_behind_a_request_that_was_sound_one_that_resembles_it_is_read_as_on_a_connection_of_its_own(
    seed: int,
) -> None:
    chance = random.Random(seed)
    sound = [
        data for data in PASSED.values() if data.startswith(b"POST") and b"close" not in data and b"/1.0" not in data
    ]
    async with Upstream() as engine, Gate(served("chat", [engine])) as gate:

        async def seen_of(*those: bytes, wait: float) -> tuple[list[int], list[bytes]]:
            """Statuses of all answers to them on one connection, and which bodies an engine saw."""
            engine.seen.clear()
            statuses = [one.status for one in await sent(gate, *those, wait=wait)]
            return statuses, [seen.body for seen in engine.seen]

        async def alike(data: bytes, other: bytes, wait: float) -> bool:
            first, alone = await seen_of(data, wait=wait), await seen_of(other, wait=wait)
            return await seen_of(data, other, wait=wait) == (first[0] + alone[0], first[1] + alone[1])

        for _ in range(EACH):
            data = chance.choice(sound)
            other = mutant(chance, data, sound)
            for wait in (WAIT, 20 * WAIT, PATIENCE / 6):  # a machine that is busy may answer late: with more patience
                if await alike(data, other, wait):
                    break
            else:
                pytest.fail(f"{data!r} {other!r}")


@pytest.mark.parametrize("seed", SEEDS)
@on_loop
async def test_whatever_is_done_to_an_answer_the_client_gets_one_or_is_told_that_there_is_none(seed: int) -> None:
    chance = random.Random(seed)
    sound = list(ANSWERS.values())
    data = b""

    async def says(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.send(data)
        exchange.end()

    async with Upstream(says) as engine, Upstream(says) as other, Gate(served("chat", [engine, other])) as gate:
        for _ in range(EACH):
            data = mutant(chance, chance.choice(sound), sound)
            async with await gate.open() as client:
                found = await client.ask(chat(stream=True))
                assert found.status < 600, data
                assert b"[DONE]" not in found.body or found.whole, data
            gate.later(60)
        engine.script = other.script = "answer"
        assert whole(await gate.ask())
        assert not gate.core.active
