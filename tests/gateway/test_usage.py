"""Tokens are counted as engines tell them, however their bytes come; and streams pass untouched and at once."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.gateway.paths import Usage
from reconciler.gateway.usage import TAIL, Stream, of_answer

CHUNK = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def data(value: Any, newline: str = "\n", space: str = " ") -> bytes:
    return f"data:{space}{json.dumps(value, separators=(',', ':'), ensure_ascii=False)}{newline * 2}".encode()


def said(text: str, **more: Any) -> dict[str, Any]:
    return {**CHUNK, "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}], **more}


ONLY_USAGE = data({**CHUNK, "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}})
DONE = b"data: [DONE]\n\n"

ANSWERS: list[tuple[str, Usage, Any, tuple[int, int] | None]] = [
    (
        "vLLM, chat",
        "openai",
        {
            "choices": [{"message": {"content": '"usage":{"prompt_tokens":1}'}}],
            "usage": {
                "prompt_tokens": 9,
                "total_tokens": 13,
                "completion_tokens": 4,
                "prompt_tokens_details": {"cached_tokens": 8},
            },
            "prompt_logprobs": None,
        },
        (9, 4),
    ),
    (
        "llama.cpp, chat",
        "openai",
        {
            "choices": [],
            "usage": {"completion_tokens": 4, "prompt_tokens": 9, "total_tokens": 13},
            "timings": {"prompt_n": 1, "predicted_n": 4},
        },
        (9, 4),
    ),
    (
        "embeddings",
        "openai",
        {"data": [{"embedding": [0.5] * 9}], "usage": {"prompt_tokens": 7, "total_tokens": 7}},
        (7, 0),
    ),
    ("rerank", "openai", {"results": [], "usage": {"total_tokens": 7}}, (7, 0)),
    ("images", "openai", {"data": [], "usage": {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8}}, (3, 5)),
    ("audio, by duration", "openai", {"text": "x", "usage": {"type": "duration", "seconds": 9}}, None),
    ("no usage", "openai", {"text": "usage", "x": {"usage": {"prompt_tokens": 1}}}, None),
    ("an error", "openai", {"error": {"message": "x"}}, None),
    (
        "Anthropic's",
        "anthropic",
        {
            "type": "message",
            "usage": {
                "input_tokens": 5,
                "output_tokens": 4,
                "cache_creation_input_tokens": 1,
                "cache_read_input_tokens": 3,
            },
        },
        (9, 4),
    ),
    (
        "Responses",
        "responses",
        {
            "metadata": {"usage": {"input_tokens": 1}},
            "usage": {"input_tokens": 9, "output_tokens": 4, "input_tokens_details": {"cached_tokens": 2}},
            "tools": [{"usage": {"input_tokens": 2}}],
        },
        (9, 4),
    ),
    (
        "llama.cpp, its own",
        "native",
        {"content": "x", "tokens_predicted": 4, "tokens_evaluated": 9, "prompt": "y"},
        (9, 4),
    ),
    (
        "Ollama, its own",
        "native",
        {"done": True, "prompt_eval_count": 9, "prompt_eval_duration": 5, "eval_count": 4, "eval_duration": 7},
        (9, 4),
    ),
    ("SGLang, its own", "native", {"text": "x", "meta_info": {"prompt_tokens": 9, "completion_tokens": 4}}, (9, 4)),
    ("TGI, its own", "native", {"generated_text": "x", "details": {"generated_tokens": 4}}, (0, 4)),
    ("nothing told", "native", {"generated_text": '"eval_count":4'}, None),
    ("speech", "none", {"usage": {"prompt_tokens": 1}}, None),
]


@pytest.mark.parametrize(
    ("kind", "answer", "tokens"), [case[1:] for case in ANSWERS], ids=[case[0] for case in ANSWERS]
)
def test_tokens_of_an_answer(kind: Usage, answer: Any, tokens: tuple[int, int] | None):
    for written in (json.dumps(answer), json.dumps(answer, indent=2)):
        assert of_answer(written.encode(), kind) == tokens


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b"[]", b'{"usage":5}', b'{"usage":{"prompt_tokens":"x"}}', b"[" * 9999]
)
@pytest.mark.parametrize("kind", ["openai", "anthropic", "responses", "native", "none"])
def test_an_answer_that_is_none_has_no_tokens(content: bytes, kind: Usage):
    assert of_answer(content, kind) is None


def test_the_end_of_a_long_answer_is_enough():
    answer = {
        "data": [[0.125] * 100_000],
        "usage": {"prompt_tokens": 9, "completion_tokens_details": {"x": 1}},
        "id": "x",
    }
    assert of_answer(json.dumps(answer).encode()[-TAIL:], "openai") == (9, 0)


def test_llama_cpp_repeats_a_long_prompt_behind_its_tokens():
    timings = {"cache_n": 7, "prompt_n": 2, "prompt_ms": 5.5, "predicted_n": 4, "predicted_ms": 1.5}
    answer = {"tokens_predicted": 4, "tokens_evaluated": 9, "prompt": "x" * 2 * TAIL, "timings": timings}
    assert of_answer(json.dumps(answer).encode()[-4096:], "native") == (9, 4)
    assert of_answer(json.dumps(answer | {"prompt": "x"}).encode(), "native") == (9, 4)


# streams


def fed(stream: Stream, *pieces: bytes) -> bytes:
    return b"".join(stream.feed(piece) for piece in pieces) + stream.rest()


STREAMS: list[tuple[str, Usage, list[bytes], tuple[int, int] | None]] = [
    ("OpenAI", "openai", [data(said("a")), data(said("b", usage=None)), ONLY_USAGE, DONE], (9, 4)),
    ("no usage asked for", "openai", [data(said("a")), DONE], None),
    (
        "without a space, with CR",
        "openai",
        [data(said("a"), "\r\n", ""), ONLY_USAGE.replace(b"\n", b"\r\n"), b"data:[DONE]\r\n\r\n"],
        (9, 4),
    ),
    (
        "usage with each event",
        "openai",
        [
            data(said("a", usage={"prompt_tokens": 9, "completion_tokens": 1})),
            data(said("b", usage={"prompt_tokens": 9, "completion_tokens": 2})),
            DONE,
        ],
        (9, 2),
    ),
    ("comments between", "openai", [b": wait\n\n", data(said("a")), b":\n\n", ONLY_USAGE, b": x\n\n", DONE], (9, 4)),
    (
        "words of the protocol as text",
        "openai",
        [data(said('data: [DONE]\n\n"usage":{"prompt_tokens":7}')), data(said("é" * 30_000)), ONLY_USAGE, DONE],
        (9, 4),
    ),
    (
        "Anthropic's",
        "anthropic",
        [
            b"event: message_start\n"
            + data({"type": "message_start", "message": {"usage": {"input_tokens": 9, "output_tokens": 1}}}),
            b"event: ping\n" + data({"type": "ping"}),
            b"event: content_block_delta\n"
            + data({"type": "content_block_delta", "delta": {"text": "event: message_stop\n"}}),
            b"event: message_delta\n" + data({"type": "message_delta", "delta": {}, "usage": {"output_tokens": 4}}),
            b"event: message_stop\n" + data({"type": "message_stop"}),
        ],
        (9, 4),
    ),
    (
        "Responses",
        "responses",
        [
            b"event: response.created\n"
            + data({"response": {"usage": None, "metadata": {"usage": {"input_tokens": 99}}}}),
            b"event: response.output_text.delta\n" + data({"delta": "x" * 500}),
            b"event: response.completed\n"
            + data(
                {
                    "type": "response.completed",
                    "response": {
                        "output": ["y" * 900],
                        "usage": {"input_tokens": 9, "output_tokens": 4},
                        "metadata": {"usage": {"input_tokens": 1}},
                    },
                }
            ),
        ],
        (9, 4),
    ),
]


@pytest.mark.parametrize("strip", [False, True])
@pytest.mark.parametrize(
    ("kind", "events", "tokens"), [case[1:] for case in STREAMS], ids=[case[0] for case in STREAMS]
)
def test_tokens_of_a_stream(kind: Usage, events: list[bytes], tokens: tuple[int, int] | None, strip: bool):
    """Event by event: each is passed on as the object it is, but the one that says the tokens and nothing else."""
    stream = Stream(kind, strip=strip)
    for event in events:
        assert not stream.finished
        sent = stream.feed(event)
        assert (
            sent == b"" if strip and b'"choices":[]' in event else sent is event or (b"\r" in event and sent == event)
        )
    assert stream.finished
    assert stream.tokens == tokens
    assert stream.rest() == b""


@settings(max_examples=300)
@given(st.sampled_from(STREAMS), st.booleans(), st.randoms(use_true_random=False), st.integers(1, 12))
def test_however_its_bytes_come_a_stream_is_passed_on_at_once_and_counted(
    case: Any, strip: bool, random: Any, cuts: int
):
    """Each event that stays is out by the call that brought its last byte, and what is taken out is taken out whole."""
    _, kind, events, tokens = case
    whole = b"".join(events)
    stays = [not (strip and b'"choices":[]' in event) for event in events]
    at = sorted({0, len(whole), *(random.randrange(len(whole)) for _ in range(cuts))})
    if random.random() < 0.2:
        near = whole.find(b'"choices":[]') + random.randrange(-9, 90)
        at = sorted({*at, *range(max(near, 0), min(near + 30, len(whole)))})
    stream, sent, given = Stream(kind, strip=strip), b"", 0
    for begin, end in itertools.pairwise(at):
        sent += stream.feed(whole[begin:end])
        given = end
        if not strip:
            assert len(sent) == given
            continue
        due, seen = b"", 0
        for event, stay in zip(events, stays, strict=True):
            seen += len(event)
            if seen <= given and stay:
                due += event
        assert sent[: len(due)] == due
    assert sent + stream.rest() == b"".join(event for event, stay in zip(events, stays, strict=True) if stay)
    assert stream.finished
    assert stream.tokens == tokens


@given(
    st.lists(
        st.sampled_from(
            [b"\n", b"\r\n", b"data: ", b'"usage":{', b'"choices":[]', b"{", b"}", b"[DONE]", b",", b"x" * 9000]
        ),
        max_size=12,
    )
)
def test_rubbish_is_passed_on_as_it_is(pieces: list[bytes]):
    for strip in (False, True):
        assert fed(Stream("openai", strip=strip), *pieces) == b"".join(pieces)


def test_an_event_that_cannot_be_the_one_is_not_held():
    stream = Stream("openai", strip=True)
    begun = data(said("a"))[:-30]
    assert stream.feed(begun) == begun
    assert stream.feed(b"x") == b"x"
    stream = Stream("openai", strip=True)
    assert stream.feed(b"data: " + b"x" * 9000) == b"data: " + b"x" * 9000


def test_what_is_held_of_a_stream_that_is_cut_is_there_at_its_end():
    stream = Stream("openai", strip=True)
    assert stream.feed(data(said("a")) + ONLY_USAGE[:50]) == data(said("a"))
    assert stream.rest() == ONLY_USAGE[:50]
    assert stream.rest() == b""
    assert not stream.finished


def test_an_event_of_many_megabytes_is_counted_in_constant_memory():
    usage = {"usage": {"input_tokens": 9, "output_tokens": 4}}
    event = b"event: response.completed\n" + data(
        {"response": {"output": "y" * 2_000_000, "more": [1] * 2_000_000, **usage}}
    )
    stream = Stream("responses", strip=False)
    for at in range(0, len(event), 10_000):
        piece = event[at : at + 10_000]
        assert stream.feed(piece) is piece
        assert sum(map(len, stream._open)) <= 5 * TAIL
    assert stream.finished
    assert stream.tokens == (9, 4)


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize(
    "content",
    [
        data({"content": "a", "tokens_evaluated": 9, "tokens_predicted": 1})
        + data({"stop": True, "tokens_predicted": 4, "tokens_evaluated": 9}),
        b'{"done":false}\n{"done":true,"prompt_eval_count":9,"eval_count":4}\n',
        data({"x": "y" * 500_000})
        + data({"text": "x", "meta_info": {"prompt_tokens": 9, "completion_tokens": 4}})
        + DONE,
    ],
)
def test_an_engines_own_streams_are_counted_at_their_end(content: bytes, size: int):
    stream = Stream("native", strip=True)
    for at in range(0, len(content), size):
        piece = content[at : at + size]
        assert stream.feed(piece) is piece
    assert stream.rest() == b""
    assert stream.tokens == (9, 4)
    assert stream.finished
