"""Who asks for the models sees those that it may ask, how each is, and in a form that official clients read."""

import asyncio
import json
import re
from datetime import UTC, datetime
from typing import Any

import openai
import pytest
from anthropic import AsyncAnthropic
from hypothesis import given
from hypothesis import strategies as st
from openai import AsyncOpenAI

from reconciler.gateway import listing
from reconciler.model.routing import Outlook, Place, Served, Table
from tests.gateway.gate import Gate

NOON = 1_790_000_000


def place(slot: str, *names: str, draining: bool = False) -> Place:
    return Place(slot=slot, run=1, address="http://127.0.0.1:9001", names=names, draining=draining)


def served(name: str, outlook: Outlook = "ready", *places: Place, **more: Any) -> Served:
    more = {"names": (name,), "engine": "vllm", "source": "hf:o/r", "created": NOON} | more
    return Served(name=name, outlook=outlook, places=places, **more)


TABLE = Table(
    models={
        one.name: one
        for one in (
            served(
                "chat",
                "ready",
                place("chat/0", "chat", "gpt-4", "law"),
                place("chat/1", "chat", "gpt-4"),
                place("chat/2", "chat", draining=True),
                names=("chat", "gpt-4", "law", "med"),
                adapters=("law", "med"),
                context=8192,
            ),
            served("small", "asleep", why="idle for 10 min", engine="llamacpp"),
            served("blue", "blocked", names=("blue", "both"), why="no GPU is free: chat holds 1 of 1"),
            served("green", "coming", names=("green", "both"), context=4096),
        )
    }
)


def everything(_: str) -> bool:
    return True


def shown(name: str, **more: Any) -> dict[str, Any]:
    return json.loads(listing.one(TABLE, name, everything, anthropic=False) or b"null")


@pytest.mark.parametrize(
    ("name", "holdfast"),
    [
        ("chat", {"state": "ready", "engine": "vllm", "context_length": 8192, "replicas": 2}),
        ("gpt-4", {"state": "ready", "engine": "vllm", "context_length": 8192, "alias_of": "chat", "replicas": 2}),
        ("law", {"state": "ready", "engine": "vllm", "context_length": 8192, "adapter_of": "chat", "replicas": 1}),
        (
            "med",
            {
                "state": "coming",
                "why": "no instance has it yet",
                "engine": "vllm",
                "context_length": 8192,
                "adapter_of": "chat",
                "replicas": 0,
            },
        ),
        ("small", {"state": "asleep", "why": "idle for 10 min", "engine": "llamacpp", "replicas": 0}),
        ("blue", {"state": "blocked", "why": "no GPU is free: chat holds 1 of 1", "engine": "vllm", "replicas": 0}),
        (
            "both",
            {
                "state": "coming",
                "engine": "vllm",
                "context_length": 4096,
                "shared_by": ["blue", "green"],
                "replicas": 0,
            },
        ),
    ],
)
def test_each_name_is_shown_as_it_is(name: str, holdfast: dict[str, Any]):
    found = shown(name)
    assert found["holdfast"] == holdfast
    assert found["max_model_len" if "context_length" in holdfast else "id"] == holdfast.get("context_length", name)
    assert found.get("context_length") == holdfast.get("context_length")


def test_where_an_engine_is_nobody_is_told():
    for form in (False, True):
        told = listing.every(TABLE, everything, anthropic=form)
        assert b"127.0.0.1" not in told
        assert b"hf:" not in told
        assert b"chat/0" not in told


@given(st.sets(st.sampled_from(["chat", "gpt-4", "law", "med", "small", "blue", "green", "both"])), st.booleans())
def test_what_is_not_shown_is_not_there(may: set[str], form: bool):
    told = json.loads(listing.every(TABLE, may.__contains__, anthropic=form))
    assert [one["id"] for one in told["data"]] == sorted(may)
    hidden = {"chat", "gpt-4", "law", "med", "small", "blue", "green", "both"} - may
    assert not hidden & set(re.findall(r"[a-z0-9-]+", json.dumps(told["data"]))), "nor does anything else name it"
    if form:
        ids = [*sorted(may), None]
        assert (told["first_id"], told["last_id"]) == (ids[0], ids[len(may) - 1] if may else None)
    for name in ("chat", "both", "gone"):
        one = listing.one(TABLE, name, may.__contains__, anthropic=form)
        assert (json.loads(one)["id"] if one is not None else None) == (name if name in may else None)


def test_of_those_that_share_a_name_the_shown_are_named():
    told = json.loads(listing.one(TABLE, "both", {"both", "green"}.__contains__, anthropic=False) or b"")
    assert told["holdfast"]["shared_by"] == ["green"]


def test_the_official_clients_read_it():
    async def story():
        async with Gate() as gate:
            gate.take(TABLE)
            address = f"http://127.0.0.1:{gate.port}"
            async with AsyncOpenAI(api_key="x", base_url=address + "/v1") as theirs:
                names = [one.id async for one in theirs.models.list()]
                assert names == ["blue", "both", "chat", "gpt-4", "green", "law", "med", "small"]
                assert (await theirs.models.retrieve("chat")).created == NOON
                with pytest.raises(openai.NotFoundError):
                    await theirs.models.retrieve("gone")
            async with AsyncAnthropic(api_key="x", base_url=address) as others:
                assert [one.id async for one in others.models.list(limit=3)] == names
                one = await others.models.retrieve("chat")
                assert (one.display_name, one.created_at) == ("chat", datetime.fromtimestamp(NOON, UTC))
                assert one.max_input_tokens == 8192

    asyncio.run(story())
