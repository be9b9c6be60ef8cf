"""`holdfast bench`: how fast a model answers through the gateway, at several numbers of requests at once."""

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from reconciler.cli.reach import reach
from reconciler.cli.screen import Screen
from reconciler.client.gateway import SILENCE, Gateway, message, refusal
from reconciler.model.bench import Answer, Bench, Level, level
from reconciler.model.errors import HoldfastError
from tui.view.bench import bench_text

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

REQUESTS = 32
WARMUP = 2
_Ask = Callable[[int], Awaitable[Answer]]
"""One request, with a prompt of so many words."""


class _Much(NamedTuple):
    """How long a level goes on: so many seconds, or else so many requests."""

    requests: int
    seconds: float | None


def bench(chosen: argparse.Namespace) -> int:
    """Measure, and print it. 1 where a request failed."""
    gate, screen, aside = reach(chosen), Screen(), Screen(sys.stderr)
    try:
        done = asyncio.run(_measured(chosen, gate, aside.note))
    finally:
        aside.clear()
    if chosen.json:
        screen.say(json.dumps(asdict(done), ensure_ascii=False))
    else:
        screen.say(bench_text(done, width=screen.width, colour=screen.colour))
    return 1 if any(level.failed for level in done.levels) else 0


async def _measured(chosen: argparse.Namespace, gate: Gateway, tell: Callable[[str], None]) -> Bench:
    from aiohttp import ClientSession, ClientTimeout, TCPConnector

    timeout = ClientTimeout(total=None, sock_connect=10.0, sock_read=SILENCE)
    async with ClientSession(connector=TCPConnector(limit=0), timeout=timeout, headers=gate.headers) as session:
        chance = random.Random()

        async def ask(words: int) -> Answer:
            return await asked(session, gate, _body(chosen, _prompt(words, chance)))

        tell(f"{chosen.name}: waiting for its first answer")
        words = await _calibrated(chosen.name, ask, chosen.prompt_tokens)
        levels: list[Level] = []
        for concurrency in chosen.concurrency:
            tell(f"{chosen.name}: {concurrency} at once")
            levels.append(await _level(ask, words, concurrency, _Much(chosen.requests or REQUESTS, chosen.duration)))
    return Bench(
        model=chosen.name,
        url=gate.url,
        prompt_tokens=chosen.prompt_tokens,
        max_tokens=chosen.max_tokens,
        warmup=WARMUP,
        levels=tuple(levels),
    )


async def _calibrated(name: str, ask: _Ask, wanted: int) -> int:
    """Warm up, and learn how many words make so many tokens: the template adds some, and a word may be several.

    Raises HoldfastError where the model does not answer.
    """
    tried: list[tuple[int, int]] = []
    words = max(1, wanted // 8)  # a tokenizer of letters must not make more of them than the model takes
    for _ in range(WARMUP):
        answer = await ask(words)
        if answer.error:
            raise HoldfastError(f"cannot bench {name}: {answer.error}")
        if answer.read:
            tried.append((words, answer.read))
            words = max(1, round(words * wanted / answer.read))
    if not tried:
        return wanted
    (few, fewer), (many, more) = min(tried), max(tried)
    if many == few or more <= fewer:
        return words
    return max(1, round(many + (wanted - more) * (many - few) / (more - fewer)))


async def _level(ask: _Ask, words: int, concurrency: int, much: _Much) -> Level:
    """So many requests at once, until enough are done."""
    numbers: Iterator[int] = iter(range(max(much.requests, concurrency))) if much.seconds is None else count()
    answers: list[Answer] = []
    began = time.perf_counter()

    async def client() -> None:
        for _ in numbers:
            if much.seconds is not None and time.perf_counter() - began >= much.seconds:
                return
            answers.append(await ask(words))

    await asyncio.gather(*(client() for _ in range(concurrency)))
    return level(concurrency, answers, time.perf_counter() - began)


def _prompt(words: int, chance: random.Random) -> str:
    """Numbers, of about a token each. No two prompts begin alike: what an engine keeps of one helps no other."""
    return " ".join(str(chance.randrange(1000)) for _ in range(words))


def _body(chosen: argparse.Namespace, prompt: str) -> bytes:
    said = [{"role": "user", "content": prompt}]
    asked = {"model": chosen.name, "messages": said, "max_tokens": chosen.max_tokens}
    return json.dumps({**asked, "stream": True, "stream_options": {"include_usage": True}}).encode()


async def asked(session: "ClientSession", gate: Gateway, body: bytes) -> Answer:
    """One request, and when its pieces came."""
    from aiohttp import ClientError

    began = time.perf_counter()
    try:
        headers = {"Content-Type": "application/json"}
        async with session.post(f"{gate.url}/v1/chat/completions", data=body, headers=headers) as response:
            if response.status != 200:
                return _failed(began, refusal(response.status, await response.content.read(65536)))
            return await _streamed(response, began)
    except (ClientError, OSError) as error:
        return _failed(began, str(gate.lost(error)))
    except ValueError:
        return _failed(began, "it sent an event that is no JSON")


async def _streamed(response: "ClientResponse", began: float) -> Answer:
    first = last = None
    usage: dict[str, Any] = {}
    done = False
    async for raw in response.content:
        if not raw.startswith(b"data:"):
            continue
        data = raw[5:].strip()
        if data == b"[DONE]":
            done = True
            break
        event: dict[str, Any] = json.loads(data)
        if "error" in event:
            return _failed(began, message(event["error"]))
        usage = event.get("usage") or usage
        if _has_text(event.get("choices") or ()):
            last = time.perf_counter() - began
            first = last if first is None else first
    took = time.perf_counter() - began
    if not done:
        return _failed(began, "its answer broke off")
    return Answer(
        first=first, last=last, took=took, read=usage.get("prompt_tokens"), written=usage.get("completion_tokens")
    )


def _has_text(choices: Sequence[Any]) -> bool:
    """Whether an event brings anything that was written: what it thinks and what it calls are tokens too."""
    for choice in choices:
        delta = cast("dict[str, Any]", choice.get("delta") or {})
        if any(delta.get(part) for part in ("content", "reasoning_content", "reasoning", "tool_calls")):
            return True
    return False


def _failed(began: float, error: str) -> Answer:
    return Answer(took=time.perf_counter() - began, error=error)
