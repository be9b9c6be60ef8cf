"""The official clients of OpenAI and Anthropic, at a real gateway with real llama.cpp behind it. Ports 32100-32199."""

import asyncio
import hashlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from tests.eventually import eventually
from tests.gateway.certificates import make
from tests.system.box import Box
from tests.system.front import Front

pytestmark = pytest.mark.system
PORT, TLS = 32100, 32150
SAID = "Hello! I am a very small model, made here by a script, and I hold fast."
"""All that the demo model says to a first message."""
CHAT: Any = {"model": "chat", "messages": [{"role": "user", "content": "hello"}]}
MESSAGE: Any = {**CHAT, "max_tokens": 50}
TOOL: Any = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
KEYS = {
    "narrow": {"models": ["embed"]},
    "tight": {"limits": {"requests_per_minute": 1}},
    "watcher": {"roles": ["metrics"]},
}
"""Keys, each of an Access of this name."""


def declare(box, gguf, name, **more):
    said = {"kind": "Model", "name": name, "source": f"file:{gguf}", "gpus": 0, "context": 1024}
    box.write(f"{name}.yaml", json.dumps({**said, **more}))


class Door(Front):
    """A gateway with a key for all models, and what its certificate is checked by."""

    key: str
    tls: ssl.SSLContext


@pytest.fixture(scope="module")
def front(request, tmp_path_factory, gguf):
    """Two real models, one that is paused, and who may ask them."""
    box = Box(tmp_path_factory.mktemp("clients"))
    front = Door(box, PORT)
    front.declare(listen=[front.url, f"https://127.0.0.1:{TLS}"])
    declare(box, gguf, "chat", parallel=4, aliases=["small"])
    declare(box, gguf, "embed", args=["--embedding", "--pooling", "mean"])
    declare(box, gguf, "paused", paused=True)
    for name, more in KEYS.items():
        keys = [{"sha256": hashlib.sha256(name.encode()).hexdigest()}]
        box.write(f"{name}.yaml", json.dumps({"kind": "Access", "name": name, "keys": keys, **more}))
    old = {"sha256": hashlib.sha256(b"old").hexdigest(), "expires": "2026-01-01"}
    box.write("old.yaml", json.dumps({"kind": "Access", "name": "old", "keys": [old]}))
    made = box.cli("key", "new", "--name", "people")
    box.write("people.yaml", made.stderr)
    front.key = made.stdout.strip()
    pair = make(box.place, "localhost")
    tls = {"certificate": pair.certificate, "key": pair.key}
    routes = [
        {"kind": "Route", "name": "plain", "hosts": ["127.0.0.1"]},
        {"kind": "Route", "name": "secure", "hosts": ["localhost"], "tls": tls},
        {"kind": "Route", "name": "team", "hosts": ["127.0.0.1"], "prefix": "/team", "models": ["chat"]},
    ]
    box.write("routes.yaml", "\n---\n".join(map(json.dumps, routes)))
    front.tls = ssl.create_default_context(cafile=pair.certificate)
    try:
        box.daemon()
        eventually(lambda: all((row := box.row(name)) and row.ready for name in ("chat", "embed")), what="models serve")
        front.start()
        yield front
    finally:
        if request.session.testsfailed:
            box.keep("gateway_clients")
        front.clear()
        left = box.clear()
    assert not left, f"left behind: {left}"


@pytest.fixture
def connect(front) -> Iterator[Callable[..., Any]]:
    """Makes clients: of which class, with which key, and the rest as they take it."""
    made: list[Any] = []

    def connect(kind: Any, key: str = front.key, *, at: str = front.url, retries: int = 0, **more: Any) -> Any:
        base = at + ("/v1" if kind.__module__.startswith("openai") else "")
        client = kind(base_url=base, api_key=key, max_retries=retries, timeout=20.0, **more)
        made.append(client)
        return client

    yield connect
    for client in made:
        if isinstance(client, openai.AsyncOpenAI | anthropic.AsyncAnthropic):
            asyncio.run(client.close())
        else:
            client.close()


@pytest.fixture
def client(connect):
    return connect(openai.OpenAI)


@pytest.fixture
def claude(connect):
    return connect(anthropic.Anthropic)


# -- OpenAI's


def test_chat_answers_with_its_usage_and_a_request_id(client):
    answer = client.chat.completions.create(**CHAT)
    assert answer.choices[0].message.content == SAID
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.model, answer.usage.completion_tokens) == ("chat", 15)
    assert answer._request_id


def test_an_alias_is_the_model(client):
    assert client.chat.completions.create(**{**CHAT, "model": "small"}).choices[0].message.content == SAID


def test_a_conversation_goes_on(client):
    said = [*CHAT["messages"], {"role": "assistant", "content": SAID}, {"role": "user", "content": "and?"}]
    answer = client.chat.completions.create(model="chat", messages=said)
    assert "That is all I can say" in answer.choices[0].message.content


def test_a_stream_is_whole_and_tells_no_usage_unasked(client):
    chunks = list(client.chat.completions.create(**CHAT, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == SAID
    assert [chunk for chunk in chunks if chunk.usage is not None] == []
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_a_stream_tells_its_usage_when_asked(client):
    *chunks, last = client.chat.completions.create(**CHAT, stream=True, stream_options={"include_usage": True})
    assert (last.choices, last.usage.completion_tokens) == ([], 15)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == SAID


def test_a_stream_that_is_left_leaves_the_connection_and_the_engine_usable(client):
    for _ in range(5):
        with client.chat.completions.create(**CHAT, stream=True) as stream:
            next(iter(stream))
    assert client.chat.completions.create(**CHAT).choices[0].message.content == SAID


def test_the_helper_for_streams_gathers_the_same(client):
    with client.chat.completions.stream(**CHAT) as stream:
        kinds = {event.type for event in stream}
        assert stream.get_final_completion().choices[0].message.content == SAID
    assert "content.delta" in kinds


def test_tools_are_passed_on(client):
    tools = [{"type": "function", "function": {"name": "weather", "description": "of a city", "parameters": TOOL}}]
    answer = client.chat.completions.create(**CHAT, tools=tools, tool_choice="auto")
    assert answer.choices[0].message.role == "assistant"
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(**CHAT, tools=[{"type": "nonsense"}])
    assert caught.value.status_code in {400, 500}, "the engine has read them"


def test_completions_answer_and_stream(client):
    answer = client.completions.create(model="chat", prompt="hello", max_tokens=5)
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("Hello! I am a very", "length")
    assert answer.usage.completion_tokens == 5
    pieces = client.completions.create(model="chat", prompt="hello", max_tokens=5, stream=True)
    assert "".join(piece.choices[0].text for piece in pieces) == "Hello! I am a very"


def test_responses_answer_and_stream(client):
    answer = client.responses.create(model="chat", input="hello")
    assert (answer.output_text, answer.status) == (SAID, "completed")
    *events, last = client.responses.create(model="chat", input="hello", stream=True)
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == SAID
    assert (last.type, last.response.usage.output_tokens) == ("response.completed", 15)


def test_embeddings_come_as_floats_and_as_base64(client):
    for encoding in ("float", "base64", openai.omit):
        answer = client.embeddings.create(model="embed", input=["one", "two"], encoding_format=encoding)
        assert [len(one.embedding) > 0 for one in answer.data] == [True, True]
        assert answer.usage.total_tokens > 0


def test_models_are_listed_and_found(client):
    listed = {model.id: model for model in client.models.list()}
    assert set(listed) == {"chat", "small", "embed", "paused"}
    assert {model.owned_by for model in listed.values()} == {"holdfast"}
    assert listed["chat"].context_length == 1024
    assert listed["small"].holdfast["alias_of"] == "chat"
    assert listed["paused"].holdfast["state"] == "blocked"
    assert client.models.retrieve("small").id == "small"


def test_tokens_are_counted_and_spelled_out(front, client):
    options: Any = {"headers": {"authorization": f"Bearer {front.key}"}}
    said = httpx2.post(f"{front.url}/tokenize", json={"model": "chat", "content": "hello"}, **options).json()
    asked = {"model": "chat", "tokens": said["tokens"]}
    said = httpx2.post(f"{front.url}/detokenize", json=asked, **options).json()
    assert said["content"].strip() == "hello"


def test_its_asynchronous_client_asks_much_at_once(connect):
    async def run() -> None:
        async with connect(openai.AsyncOpenAI) as client:
            asked = [client.chat.completions.create(**CHAT) for _ in range(12)]
            answers = await asyncio.gather(*asked, *(streamed(client) for _ in range(12)))
            assert {answer if isinstance(answer, str) else answer.choices[0].message.content for answer in answers} == {
                SAID
            }
            assert (await client.embeddings.create(model="embed", input="one")).data
            assert [model.id async for model in client.models.list()] == ["chat", "embed", "paused", "small"]
            assert (await client.responses.create(model="chat", input="hello")).output_text == SAID
            with pytest.raises(openai.NotFoundError):
                await client.chat.completions.create(**{**CHAT, "model": "nosuch"})

    async def streamed(client: Any) -> str:
        stream = await client.chat.completions.create(**CHAT, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    asyncio.run(run())


# -- Anthropic's


def test_messages_answer_with_their_usage(claude):
    answer = claude.messages.create(**MESSAGE)
    assert (answer.content[0].text, answer.stop_reason, answer.usage.output_tokens) == (SAID, "end_turn", 15)


def test_messages_stream(claude):
    events = list(claude.messages.create(**MESSAGE, stream=True))
    assert (events[0].type, events[-1].type) == ("message_start", "message_stop")
    with claude.messages.stream(**MESSAGE) as stream:
        assert "".join(stream.text_stream) == SAID
        assert stream.get_final_message().usage.output_tokens == 15


def test_messages_take_tools_and_a_system_prompt(claude):
    tools = [{"name": "weather", "description": "of a city", "input_schema": TOOL}]
    assert claude.messages.create(**MESSAGE, tools=tools, system="be brief").role == "assistant"


def test_messages_tokens_are_counted(claude):
    assert claude.messages.count_tokens(**CHAT).input_tokens > 0


def test_models_are_listed_and_found_in_its_own_form(claude):
    models = list(claude.models.list())
    assert [model.id for model in models] == ["chat", "embed", "paused", "small"]
    assert {model.type for model in models} == {"model"}
    assert models[0].created_at.year >= 2026
    assert claude.models.retrieve("chat").max_input_tokens == 1024


def test_its_asynchronous_client_streams(connect):
    async def run() -> None:
        async with connect(anthropic.AsyncAnthropic) as client:
            answers = await asyncio.gather(*(client.messages.create(**MESSAGE) for _ in range(6)))
            assert {answer.content[0].text for answer in answers} == {SAID}
            async with client.messages.stream(**MESSAGE) as stream:
                assert "".join([text async for text in stream.text_stream]) == SAID
            with pytest.raises(anthropic.NotFoundError):
                await client.messages.create(**{**MESSAGE, "model": "nosuch"})

    asyncio.run(run())


# -- errors, as each client knows them


def ask(client: Any, **more: Any) -> Any:
    """One question in its client's way."""
    if isinstance(client, openai.OpenAI):
        return client.chat.completions.create(**{**CHAT, **more})
    return client.messages.create(**{**MESSAGE, **more})


BOTH = pytest.mark.parametrize("of", [openai, anthropic], ids=["openai", "anthropic"])


def kind(of: Any) -> Any:
    return of.OpenAI if of is openai else of.Anthropic


@BOTH
def test_an_unknown_model_is_not_found(connect, of):
    with pytest.raises(of.NotFoundError, match="cannot find model 'nosuch'"):
        ask(connect(kind(of)), model="nosuch")


@BOTH
def test_a_model_that_is_not_for_a_key_is_not_found_either(connect, of):
    client = connect(kind(of), "narrow")
    with pytest.raises(of.NotFoundError, match="cannot find model 'chat', or it is not for you"):
        ask(client)
    assert [model.id for model in client.models.list()] == ["embed"]


@BOTH
def test_wrong_keys_are_no_authentication(connect, of):
    for key, why in (("wrong", "key"), ("old", "expired")):
        with pytest.raises(of.AuthenticationError, match=why):
            ask(connect(kind(of), key))


@BOTH
def test_a_key_for_something_else_is_not_permitted(connect, of):
    with pytest.raises(of.PermissionDeniedError, match="lacks the role inference"):
        ask(connect(kind(of), "watcher"))


@BOTH
def test_what_is_no_request_is_bad(connect, of):
    for more in ({"model": ""}, {"messages": [{"role": 5}]}):
        with pytest.raises(of.BadRequestError):
            ask(connect(kind(of)), **more)


def test_more_than_a_limit_is_too_much(connect):
    """One limit for both clients, as they show one key."""
    assert ask(connect(openai.OpenAI, "tight"))
    for of in (openai, anthropic):
        with pytest.raises(of.RateLimitError, match="the limit of Access tight is 1 request") as caught:
            ask(connect(kind(of), "tight"))
        assert 0 < int(caught.value.response.headers["retry-after"]) <= 120


@BOTH
def test_a_model_that_cannot_serve_is_unavailable(connect, of):
    with pytest.raises(of.InternalServerError, match="paused") as caught:
        ask(connect(kind(of)), model="paused")
    assert caught.value.status_code == 503
    assert int(caught.value.response.headers["retry-after"]) > 0


def test_a_client_that_comes_back_as_it_was_told_is_answered_then(front, gguf, connect):
    """It is told 503, and when to come again; meanwhile the model is resumed, and starts."""
    client, before = connect(openai.OpenAI, retries=2), front.said().count('"status":503')

    def resume() -> None:
        eventually(lambda: front.said().count('"status":503') > before, what="it was refused")
        declare(front.box, gguf, "paused")

    resuming = threading.Thread(target=resume)
    resuming.start()
    answer = ask(client, model="paused")
    resuming.join()
    assert answer.choices[0].message.content == SAID
    assert front.said().count('"status":503') > before


# -- where


def test_over_tls_by_name(front, connect):
    http = httpx2.Client(verify=front.tls)
    client = connect(openai.OpenAI, at=f"https://localhost:{TLS}", http_client=http)
    assert client.chat.completions.create(**CHAT).choices[0].message.content == SAID
    assert "".join(one.choices[0].delta.content or "" for one in client.chat.completions.create(**CHAT, stream=True))


@BOTH
def test_beneath_a_prefix_with_its_own_models(front, connect, of):
    client = connect(kind(of), at=f"{front.url}/team")
    assert ask(client)
    assert [model.id for model in client.models.list()] == ["chat"]
    with pytest.raises(of.NotFoundError):
        ask(client, model="small")


def test_no_key_is_in_any_log(front):
    said = front.said() + front.box.log.read_text()
    assert front.key not in said
    assert hashlib.sha256(front.key.encode()).hexdigest() not in said
