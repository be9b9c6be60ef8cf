"""What an edit of the fleet does to requests that are under way: those that connect, wait, or are tried again."""

import asyncio
from dataclasses import replace

import pytest

from reconciler.model.routing import Outlook, Served
from tests.eventually import eventually_async
from tests.gateway.client import chat
from tests.gateway.exchange import Exchange
from tests.gateway.gate import Gate, served
from tests.gateway.on_loop import on_loop
from tests.gateway.upstream import Upstream


def drains(model: Served, outlook: Outlook = "coming") -> Served:
    """The same, its instances finishing what they have begun, as a table says it."""
    places = tuple(replace(place, names=(), known_as={}, draining=True) for place in model.places)
    return replace(model, places=places, outlook=outlook)


@on_loop
async def test_one_that_drains_before_the_connection_to_it_is_made_is_asked_by_the_name_it_knows() -> None:
    async with Upstream() as engine:
        model = served("chat", [engine], names=("chat", "gpt"), known_as={"gpt": "chat"})
        async with Gate(model) as gate, await gate.open() as client:
            await client.send(chat("gpt"))
            while not gate.core.active:
                await asyncio.sleep(0)
            [exchange] = gate.core.active
            assert exchange.connecting is not None
            gate.tell(drains(model))
            assert (await client.answer()).status == 200
            assert [one.model for one in engine.seen] == ["chat"]


@on_loop
async def test_what_one_had_before_it_was_out_of_the_table_for_a_while_is_still_in_flight() -> None:
    async with Upstream("never") as engine, Gate(served("chat", [engine])) as gate:
        asking = [asyncio.create_task(gate.ask()) for _ in range(3)]
        await eventually_async(lambda: engine.working == 3, what="it has them")
        gate.tell(served("chat"))
        gate.tell(served("chat", [engine]))
        asking.append(asyncio.create_task(gate.ask()))
        await eventually_async(lambda: engine.working == 4, what="it has one more")
        assert gate.core.demand()["chat"].in_flight == {"chat/0": 4}
        for each in asking:
            each.cancel()


@on_loop
async def test_a_name_is_answered_by_the_model_that_comes_and_not_by_one_that_never_will() -> None:
    """A model is renamed, and keeps its former name as an alias: the one that leaves is there until it has drained."""
    async with Upstream() as old, Upstream() as new:
        left = served("chat", [old])
        comes = served("chat-2", names=("chat-2", "chat"), outlook="coming")
        async with Gate(drains(left, "blocked"), comes) as gate:
            asking = [asyncio.create_task(gate.ask()) for _ in range(20)]
            await eventually_async(lambda: gate.core.demand().get("chat-2"), what="they wait")
            gate.tell(served("chat-2", [new], names=("chat-2", "chat")))
            assert {answer.status for answer in await asyncio.gather(*asking)} == {200}
            assert len(new.seen) == 20


@pytest.mark.parametrize("how", ["the model is gone", "the alias is another's", "the model can no longer come"])
@on_loop
async def test_who_waits_for_a_name_gets_it_of_the_model_that_has_it_now(how: str) -> None:
    async with Upstream() as engine, Gate(served("blue", names=("blue", "prod"), outlook="coming")) as gate:
        asking = asyncio.create_task(gate.ask(chat("prod")))
        await eventually_async(lambda: gate.core.demand().get("blue"), what="it waits")
        models = {
            "the model is gone": {},
            "the alias is another's": {"blue": served("blue", outlook="coming")},
            "the model can no longer come": {"blue": served("blue", names=("blue", "prod"), outlook="blocked")},
        }[how]
        green = served("green", [engine], names=("green", "prod"), known_as={"prod": "green"})
        gate.take(replace(gate.table, models={**models, "green": green}))
        assert (await asking).status == 200
        assert [one.model for one in engine.seen] == ["green"]
        assert [record.model for record in gate.records] == ["green"]


@on_loop
async def test_a_request_whose_instance_ends_is_asked_of_the_model_that_has_its_name_now() -> None:
    async with Upstream("never") as old, Upstream() as new, Gate(served("blue", [old], names=("prod",))) as gate:
        asking = asyncio.create_task(gate.ask(chat("prod")))
        await eventually_async(lambda: old.working, what="the first has it")
        green = served("green", [new], names=("prod",))
        gate.take(replace(gate.table, models={"blue": served("blue", [old]), "green": green}))
        await old.stop()
        assert (await asking).status == 200
        assert len(new.seen) == 1


@on_loop
async def test_a_request_of_which_two_instances_died_is_no_other_models_either_that_has_its_name_then() -> None:
    async def dies(exchange: Exchange) -> None:
        await exchange.body()
        if old.seen and other.seen:
            green = served("green", [new], names=("prod",))
            gate.take(replace(gate.table, models={"blue": served("blue", [old, other]), "green": green}))
        exchange.reset()
        await exchange.forever()

    async with (
        Upstream(dies) as old,
        Upstream(dies) as other,
        Upstream() as new,
        Gate(served("blue", [old, other], names=("prod",))) as gate,
    ):
        assert (await gate.ask(chat("prod"))).status == 502
        assert not new.seen


@pytest.mark.parametrize("left", [{"blue": served("blue", outlook="coming")}, {}])
@on_loop
async def test_who_waits_for_a_name_that_nobody_has_any_more_is_told_so_by_that_name(left: dict[str, Served]) -> None:
    async with Gate(served("blue", names=("blue", "prod"), outlook="coming")) as gate:
        asking = asyncio.create_task(gate.ask(chat("prod")))
        await eventually_async(lambda: gate.core.demand().get("blue"), what="it waits")
        gate.take(replace(gate.table, models=left))
        answer = await asking
        assert (answer.status, answer.json()["error"]["code"]) == (404, "model_not_found")
        assert "prod" in answer.json()["error"]["message"]
