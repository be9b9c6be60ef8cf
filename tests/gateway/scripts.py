"""What the scriptable engine does with a request: `answer`, or a way to go wrong. As text: `sse events=3 pause=0.1`."""

import asyncio
import inspect
import json

from tests.gateway.exchange import Exchange, Script

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def say(body: bytes, status: str = "200 OK", kind: str = "application/json", more: str = "") -> bytes:
    """An answer with a length, whole. `more` are header lines, each with its line end."""
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{more}\r\n"
    return head.encode("latin-1") + body


def chunk(data: bytes) -> bytes:
    """One chunk; of nothing, the last."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def content(path: str, model: str) -> bytes:
    """What an engine answers to one path, as JSON."""
    if path.endswith("/messages"):
        usage = {"input_tokens": 7, "output_tokens": 3}
        text = [{"type": "text", "text": "one two three"}]
        told = {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": text,
                "stop_reason": "end_turn", "stop_sequence": None, "usage": usage}  # fmt: skip
    elif path.endswith("/count_tokens"):
        told = {"input_tokens": 7}
    elif path.endswith("/embeddings"):
        data = [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2, 0.3]}]
        told = {"object": "list", "model": model, "data": data, "usage": {"prompt_tokens": 7, "total_tokens": 7}}
    elif path.endswith("/chat/completions"):
        message = {"role": "assistant", "content": "one two three"}
        told = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model, "usage": USAGE,
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}  # fmt: skip
    else:
        told = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": model, "usage": USAGE,
                "choices": [{"index": 0, "text": "one two three", "finish_reason": "stop"}]}  # fmt: skip
    return json.dumps(told).encode()


def events(path: str, asked: dict[str, object], count: int, usage: bool | None = None) -> list[bytes]:
    """The events of a stream, with `count` that carry a token; the usage where it was asked for, or as `usage` says."""
    model = str(asked.get("model", ""))
    if path.endswith("/messages"):
        return _anthropic(model, count)
    options = asked.get("stream_options")
    usage = bool(isinstance(options, dict) and options.get("include_usage")) if usage is None else usage
    found: list[dict[str, object]] = []
    for number in range(count):
        delta: dict[str, object] = {"index": 0, "delta": {"content": f"t{number} "}, "finish_reason": None}
        found.append({"choices": [delta]})
    found.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    if usage:
        figures = {"prompt_tokens": 7, "completion_tokens": count, "total_tokens": 7 + count}
        found.append({"choices": [], "usage": figures})
    shared = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model}
    texts = [json.dumps({**shared, **one}) for one in found]
    return [f"data: {text}\n\n".encode() for text in [*texts, "[DONE]"]]


def _anthropic(model: str, count: int) -> list[bytes]:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": [],
               "stop_reason": None, "usage": {"input_tokens": 7, "output_tokens": 1}}  # fmt: skip
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    deltas = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": f"t{number} "}}
        for number in range(count)
    ]
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": count}}
    told = [{"type": "message_start", "message": message}, block, *deltas, {"type": "content_block_stop", "index": 0},
            end, {"type": "message_stop"}]  # fmt: skip
    return [f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in told]


SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"


async def asked(exchange: Exchange) -> dict[str, object]:
    """The request's body as JSON; nothing where it is none."""
    try:
        found = json.loads(await exchange.body())
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


async def look(exchange: Exchange) -> None:
    """What is asked with GET."""
    await exchange.body()
    path = exchange.seen.path.partition("?")[0]
    if path == "/v1/models":
        return await exchange.send(say(b'{"object":"list","data":[{"id":"chat","object":"model"}]}'))
    if path == "/metrics":
        engine = exchange.engine
        told = f"vllm:num_requests_running {engine.working - 1}\nvllm:num_requests_waiting {engine.queue}\n"
        return await exchange.send(say(told.encode(), kind="text/plain"))
    return await exchange.send(say(b"{}"))


# -- by the rules


async def answer(exchange: Exchange, *, after: float = 0.0, size: int = 0) -> None:
    """Whatever was asked: JSON, or a stream of 3 tokens where `stream` is true. `size`: with so many bytes more."""
    told = await asked(exchange)
    if told.get("stream") is True:
        return await sse(exchange)
    if after:
        await exchange.pause(after)
    body = content(exchange.seen.path.partition("?")[0], exchange.seen.model)
    return await exchange.send(say(body + b" " * size))


async def chunked(exchange: Exchange, *, pieces: int = 4, pause: float = 0.0) -> None:
    """The same JSON, in chunks."""
    await exchange.body()
    body = content(exchange.seen.path, exchange.seen.model)
    await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
    step = -(-len(body) // pieces)
    for begin in range(0, len(body), step):
        await exchange.send(chunk(body[begin : begin + step]))
        await exchange.pause(pause)
    await exchange.send(chunk(b""))


async def until_close(exchange: Exchange) -> None:
    """The same JSON, with no length: it ends with the connection."""
    await exchange.body()
    body = content(exchange.seen.path, exchange.seen.model)
    await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n" + body)
    exchange.end()


async def sse(
    exchange: Exchange,
    *,
    events: int = 3,
    pause: float = 0.0,
    first: float = 0.0,
    framing: str = "chunked",
    usage: int = -1,
    size: int = 0,
) -> None:
    """A stream: `events` tokens, `pause` s apart, after `first` s; `framing` chunked, close, length. `usage` 1 or 0:
    tell it, or do not, whatever was asked. `size`: with a comment of so many bytes before each event.
    """
    found = await _stream(exchange, events, None if usage < 0 else bool(usage))
    if size:
        found = [b": " + b"x" * size + b"\n\n" + one for one in found]
    await exchange.pause(first)
    length = b"content-length: %d\r\n" % sum(map(len, found))
    framed = {"chunked": b"transfer-encoding: chunked\r\n", "length": length, "close": b""}
    await exchange.send(SSE + framed[framing] + b"\r\n")
    for number, one in enumerate(found):
        if pause and number:
            await exchange.pause(pause)
        await exchange.send(chunk(one) if framing == "chunked" else one)
    if framing == "chunked":
        await exchange.send(chunk(b""))
    elif framing == "close":
        exchange.end()


async def _stream(exchange: Exchange, count: int, usage: bool | None = None) -> list[bytes]:
    told = await asked(exchange)
    return events(exchange.seen.path.partition("?")[0], told, count, usage)


async def status(exchange: Exchange, *, code: int = 503, retry_after: int = 0) -> None:
    """An engine's own error."""
    await exchange.body()
    more = f"retry-after: {retry_after}\r\n" if retry_after else ""
    await exchange.send(say(b'{"error":{"message":"as told","type":"server_error"}}', f"{code} As Told", more=more))


async def closes(exchange: Exchange) -> None:
    """A whole answer that says `Connection: close`, and then keeps to it."""
    await exchange.body()
    body = content(exchange.seen.path, exchange.seen.model)
    await exchange.send(say(body, more="connection: close\r\n"))
    exchange.end()


async def interim(exchange: Exchange) -> None:
    """A 103 before the answer."""
    await exchange.body()
    await exchange.send(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n")
    await answer(exchange)


# -- too late, or never


async def never(exchange: Exchange) -> None:
    """No answer, and the connection stays."""
    await exchange.body()
    await exchange.forever()


async def deaf(exchange: Exchange, *, rate: int = 0) -> None:
    """It reads the body at so many bytes a second (0: nothing of it), and then answers."""
    exchange.read_at(rate)
    await answer(exchange)


async def early(exchange: Exchange) -> None:
    """It answers 413 without waiting for the body, and closes."""
    await exchange.send(say(b'{"error":{"message":"too large"}}', "413 Too Large", more="connection: close\r\n"))
    exchange.end()


async def hangs(exchange: Exchange, *, events: int = 2) -> None:
    """A stream that is silent for ever after so many events; after 0, with nothing but its head sent."""
    await _first(exchange, events)
    await exchange.forever()


# -- it dies


async def reset(exchange: Exchange) -> None:
    """The connection is reset once the request is there."""
    await exchange.body()
    exchange.reset()
    await exchange.forever()


async def gone(exchange: Exchange) -> None:
    """The connection is closed in order, without an answer."""
    await exchange.body()
    exchange.end()


async def stale(exchange: Exchange) -> None:
    """A second request on a connection finds it just closed; a first one is answered."""
    if exchange.seen.number:
        return exchange.reset()
    return await answer(exchange)


async def cut(exchange: Exchange, *, events: int = 2, how: str = "reset") -> None:
    """A stream that dies after so many events: `how` reset, or close."""
    await _first(exchange, events)
    if how == "reset":
        await exchange.pause(0.05)  # what was sent arrives before the reset discards it
        exchange.reset()
    else:
        exchange.end()


async def half_head(exchange: Exchange) -> None:
    """It dies in the midst of its head."""
    await exchange.body()
    await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-ty")
    exchange.end()


async def short(exchange: Exchange) -> None:
    """It closes 10 bytes before the length that it gave."""
    await exchange.body()
    await exchange.send(say(content(exchange.seen.path, exchange.seen.model))[:-10])
    exchange.end()


async def _first(exchange: Exchange, count: int) -> None:
    """A stream's head and its first events."""
    found = await _stream(exchange, count)
    await exchange.send(SSE + b"transfer-encoding: chunked\r\n\r\n")
    for one in found[:count]:
        await exchange.send(chunk(one))


# -- what is no HTTP


async def bad_chunk(exchange: Exchange, *, events: int = 2, size: str = "zz") -> None:
    """A stream whose next chunk's size is `size`."""
    await _first(exchange, events)
    await exchange.send(f"{size}\r\nabc\r\n".encode())
    await exchange.forever()


async def garbage(exchange: Exchange) -> None:
    """Something that was never HTTP."""
    await exchange.body()
    await exchange.send(b"\x16\x03\x01\x02 not http at all\r\n\r\n")
    await exchange.forever()


async def twice(exchange: Exchange) -> None:
    """Two answers to one request, the second another client's as far as anybody knows."""
    await exchange.body()
    body = content(exchange.seen.path, exchange.seen.model)
    await exchange.send(say(body) + say(b'{"stolen":true}'))


async def extra(exchange: Exchange) -> None:
    """Bytes after the body."""
    await exchange.body()
    await exchange.send(say(content(exchange.seen.path, exchange.seen.model)) + b"extra")


async def both(exchange: Exchange) -> None:
    """A length and chunks at once."""
    await exchange.body()
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    await exchange.send(head + chunk(b'{"a":1}') + chunk(b""))


async def huge_head(exchange: Exchange, *, size: int = 2**20) -> None:
    """A head of so many bytes."""
    await exchange.body()
    await exchange.send(say(b"{}", more="".join(f"x-{n}: {'y' * 1000}\r\n" for n in range(size // 1000))))


async def endless_head(exchange: Exchange) -> None:
    """A head that never ends, as fast as it is read."""
    await exchange.body()
    await exchange.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await exchange.send(b"x-more: " + b"y" * 4000 + b"\r\n")
        await asyncio.sleep(0)


async def upgrade(exchange: Exchange) -> None:
    """It changes the protocol, which nobody asked for."""
    await exchange.body()
    await exchange.send(
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n\x81\x00"
    )
    await exchange.forever()


SCRIPTS = {
    one.__name__: one
    for one in (
        answer, chunked, until_close, sse, status, closes, interim, never, deaf, early, hangs, reset, gone, stale, cut,
        half_head, short, bad_chunk, garbage, twice, extra, both, huge_head, endless_head, upgrade,
    )
}  # fmt: skip


def script(text: str) -> Script:
    """Of `cut events=3 how=close`: what does that. ValueError where it is unknown."""
    name, *words = text.split()
    if name not in SCRIPTS:
        raise ValueError(f"no script {name}; there are {', '.join(SCRIPTS)}")
    chosen = SCRIPTS[name]
    defaults = {key: one.default for key, one in inspect.signature(chosen).parameters.items() if key != "exchange"}
    given = {key: type(defaults[key])(value) for key, _, value in (word.partition("=") for word in words)}
    return lambda exchange: chosen(exchange, **given)
