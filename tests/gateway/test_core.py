"""One worker's data plane, with engines that answer and engines that do not."""

import asyncio

import pytest

from reconciler.gateway.core import Core
from tests.gateway.client import chat, request
from tests.gateway.gate import Gate, served
from tests.gateway.on_loop import on_loop
from tests.gateway.upstream import Upstream


def run(story):
    asyncio.run(asyncio.wait_for(story(), 280))


def test_an_answer_is_passed_on_with_a_request_id():
    async def story():
        async with Upstream() as engine, Gate(served("chat", [engine])) as gate:
            answer = await gate.ask()
            assert answer.status == 200
            assert answer.json()["choices"][0]["message"]["content"] == "one two three"
            assert answer.header("x-request-id") == gate.records[0].request_id
            assert (gate.records[0].prompt, gate.records[0].written) == (7, 3)

    run(story)


def test_a_stream_is_passed_on_and_the_usage_that_nobody_asked_for_is_not():
    async def story():
        async with Upstream() as engine, Gate(served("chat", [engine])) as gate:
            answer = await gate.ask(chat(stream=True))
            assert answer.whole
            assert answer.events[-1] == b"data: [DONE]"
            assert b'"usage"' not in answer.body
            assert (gate.records[0].prompt, gate.records[0].written) == (7, 3)

    run(story)


def test_an_instance_that_is_gone_costs_nobody_a_request():
    async def story():
        async with Upstream() as one, Upstream() as other, Gate(served("chat", [one, other])) as gate:
            await one.stop()
            answers = [await gate.ask() for _ in range(6)]
            assert [answer.status for answer in answers] == [200] * 6
            assert {record.slot for record in gate.records} == {"chat/1"}

    run(story)


def test_a_request_waits_for_a_model_and_is_answered_once_it_is_there():
    async def story():
        async with Upstream() as engine, Gate(served("chat")) as gate:
            asked = asyncio.create_task(gate.ask())
            while not gate.changes:
                await asyncio.sleep(0.01)
            assert gate.core.demand()["chat"].waiting == 1
            gate.tell(served("chat", [engine]))
            assert (await asked).status == 200
            assert not gate.core.demand()

    run(story)


@pytest.mark.parametrize("path", ["/v1/models", "/health", "/metrics"])
def test_what_is_ours_is_answered_here(path):
    async def story():
        async with Gate() as gate:
            assert (await gate.ask(request("GET", path))).status == 200

    run(story)


def test_nothing_is_left_on_the_board_when_all_has_ended():
    async def story():
        async with Upstream() as engine, Gate(served("chat", [engine])) as gate:
            await asyncio.gather(*(gate.ask(chat(stream=True)) for _ in range(20)))
            core: Core = gate.core
            assert not core.active
            assert all(gate.board.total(live.row) == 0 for live in core.directory.places.values())

    run(story)


@pytest.mark.parametrize("content", [None, b""])
@on_loop
async def test_metrics_that_cannot_be_told_are_no_empty_answer(content: bytes | None) -> None:
    class Broken(Gate):
        async def _scrape(self) -> bytes:
            if content is None:
                raise OSError(24, "Too many open files")
            return content

    async with Broken() as gate:
        found = await gate.ask(request("GET", "/metrics"))
        assert (found.status, found.header("retry-after")) == (503, "5")
