"""Clients of all kinds, good and bad, and the fate of each request that they made."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tests.eventually import eventually_async
from tests.gateway.client import Answer, Raw, chat, request

LOST = (OSError, EOFError, TimeoutError)
BIG = 4 * 2**20
"""Bytes of a big body that is taken."""
TOO_BIG = 9 * 2**20
"""Bytes of one that is not."""
EVENTS = 40
"""Tokens of a long stream."""


Kind = tuple[str, "Callable[[Client], Awaitable[str]]", int, float]
"""Of requests: what it is called, what makes one and tells its fate, how many clients do, their mean pause in s."""


class Wrong(Exception):
    """A client got what it may never get."""


@dataclass
class Tally:
    """What became of requests."""

    fates: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    """By kind and fate."""
    failures: list[str] = field(default_factory=list[str])
    seconds: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    """By kind: from the request to the last byte of its answer, of those that were answered."""

    @property
    def total(self) -> int:
        return sum(self.fates.values())

    def table(self) -> str:
        """A line for each kind."""
        lines: list[str] = []
        for kind in sorted({kind for kind, _ in self.fates}):
            fates = ", ".join(f"{fate} {count}" for (of, fate), count in sorted(self.fates.items()) if of == kind)
            took = sorted(self.seconds.get(kind, []))
            shown = (
                f"; half within {took[len(took) // 2] * 1000:.0f} ms, 99 % {took[len(took) * 99 // 100] * 1000:.0f} ms"
                if took
                else ""
            )
            lines.append(f"  {kind}: {fates}{shown}")
        return "\n".join(lines)


class Client:
    """One that asks again and again, on one connection while that is kept."""

    def __init__(self, crowd: "Crowd") -> None:
        self.crowd = crowd
        self.random = crowd.random
        self.raw: Raw | None = None

    async def live(self, kind: str, one: "Callable[[Client], Awaitable[str]]", pause: float) -> None:
        """Ask until the crowd ends, up to twice `pause` seconds after each answer."""
        tally = self.crowd.tally
        while not self.crowd.over:
            began = time.monotonic()
            try:
                fate = await one(self)
                if fate == "whole":
                    tally.seconds.setdefault(kind, []).append(time.monotonic() - began)
            except Wrong as wrong:
                fate = "FAILED"
                tally.failures.append(f"{time.strftime('%H:%M:%S')} {kind}: {wrong}")
                await self.leave()
            tally.fates[kind, fate] += 1
            await asyncio.sleep(self.random.uniform(0, 2 * pause))
        await self.leave()

    async def leave(self) -> None:
        raw, self.raw = self.raw, None
        if raw is not None:
            raw.writer.transport.abort()

    async def send(self, data: bytes) -> Raw:
        """On the connection that there is, or another."""
        try:
            if self.raw is None:
                self.raw = await Raw.open(self.crowd.port)
            await self.raw.send(data)
        except LOST as error:
            raise Wrong(f"cannot send: {error!r}") from error
        return self.raw

    async def read(self, raw: Raw, slowly: float = 0.0) -> Answer:
        """The answer, whole or not; Wrong where there is none."""
        try:
            answer = await raw.head()
        except (*LOST, ValueError) as error:
            raise Wrong(f"no answer: {error!r}") from error
        try:
            async for piece in raw.pieces(answer):
                answer.body += piece
                if slowly:
                    await asyncio.sleep(slowly)
        except LOST as error:
            answer.whole = False
            if not answer.body:
                raise Wrong(f"{answer.status}, and nothing behind its head: {error!r}") from error
        if not answer.whole or answer.header("connection") == "close":
            await self.leave()
        return answer

    async def ask(self, data: bytes, slowly: float = 0.0) -> Answer:
        return await self.read(await self.send(data), slowly)


@dataclass
class Crowd:
    """All of them, at one gateway."""

    port: int
    random: random.Random
    excused: Callable[[str], bool]
    """Whether an instance of this model was killed of late, so that a stream of it may have been cut."""
    tally: Tally = field(default_factory=Tally)
    over: bool = False

    async def live(self, kinds: tuple[Kind, ...]) -> None:
        """Until `over`: of each kind so many, with so long a pause."""
        await asyncio.gather(
            *(Client(self).live(kind, one, pause) for kind, one, count, pause in kinds for _ in range(count))
        )


def under_load(port: int, what: Callable[[], object], *kinds: Kind, excused: str = "") -> Tally:
    """Do something while clients of these kinds ask all the time; streams of the model `excused` may be cut."""
    crowd = Crowd(port, random.Random(1), lambda model: model == excused)

    async def run() -> None:
        clients = asyncio.create_task(crowd.live(kinds))
        try:
            await eventually_async(lambda: crowd.tally.total > 20, what="the load is there")
            await asyncio.to_thread(what)
            enough = crowd.tally.total + 50
            await eventually_async(lambda: crowd.tally.total > enough, what="the load goes on")
        finally:
            crowd.over = True
            await clients

    asyncio.run(run())
    return crowd.tally


def asks(model: str, count: int, clients: int, *, says: bytes = b"one two three") -> tuple[Kind, Kind]:
    """So many clients of one model that want an answer, and as many that want a stream, of `count` tokens."""
    pause = 0.02

    async def plain(client: Client) -> str:
        expect(await client.ask(chat(model)), 200, says)
        return "whole"

    async def streamed(client: Client) -> str:
        return judge(client, await client.ask(chat(model, stream=True)), model, count)

    return (f"{model} answer", plain, clients, pause), (f"{model} stream", streamed, clients, pause)


def expect(answer: Answer, status: int, words: bytes = b"") -> None:
    """Wrong where it is another answer."""
    if answer.status != status or not answer.whole or words not in answer.body:
        raise Wrong(f"{answer.status}, not {status} {words.decode()}: whole {answer.whole}: {answer.body[:300]!r}")


def judge(client: Client, answer: Answer, model: str, count: int) -> str:
    """Of a stream: `whole`, or `cut` where that is explained, and said to the client."""
    expect(answer, 200)
    events = [event for event in answer.events if not event.startswith(b":")]
    if any(b'"usage"' in event for event in events):
        raise Wrong(f"usage that was not asked for: {answer.body[-300:]!r}")
    tokens = sum(b'"content"' in event for event in events)
    if events and events[-1] == b"data: [DONE]":
        if tokens != count:
            raise Wrong(f"a stream of {tokens} tokens, not {count}, that says it is whole")
        return "whole"
    if not events or b'"error"' not in events[-1]:
        raise Wrong(f"a stream that ended without a word: {answer.body[-300:]!r}")
    if not tokens:
        raise Wrong(f"a stream that failed before its first token: {events[-1]!r}")
    if not client.crowd.excused(model):
        raise Wrong(f"a stream was cut, and nobody was killed: {events[-1]!r}")
    return "cut"


# -- each makes one request, and tells its fate


async def short(client: Client) -> str:
    expect(await client.ask(chat("quick", key="crowd")), 200, b"one two three")
    return "whole"


async def late(client: Client) -> str:
    expect(await client.ask(chat("late", key="crowd")), 200, b"one two three")
    return "whole"


async def alias(client: Client) -> str:
    expect(await client.ask(chat("fast", key="crowd")), 200, b'"model": "quick"')
    return "whole"


async def stream(client: Client) -> str:
    return judge(client, await client.ask(chat("slow", key="crowd", stream=True)), "slow", EVENTS)


async def wide(client: Client) -> str:
    """A long stream that is read slowly."""
    return judge(client, await client.ask(chat("wide", key="crowd", stream=True), slowly=0.002), "wide", EVENTS)


async def leaves(client: Client) -> str:
    """It goes in the midst of a stream."""
    raw = await client.send(chat(client.random.choice(("slow", "late", "wide")), key="crowd", stream=True))
    await asyncio.sleep(client.random.uniform(0, 1))
    raw.reset()
    client.raw = None
    return "left"


async def big(client: Client) -> str:
    content = "x" * client.random.randrange(BIG // 8, BIG)
    body = {"model": "quick", "messages": [{"role": "user", "content": content}]}
    expect(await client.ask(request(body=body, authorization="Bearer crowd")), 200, b"one two three")
    return "whole"


async def too_big(client: Client) -> str:
    body = b'{"model":"quick","prompt":"'
    head = request(body=body, authorization="Bearer crowd", content_length=str(TOO_BIG))
    answer = await client.ask(head)
    expect(answer, 413)
    if answer.header("connection") != "close":
        raise Wrong("a connection is kept whose body was not read")
    return "refused"


_BAD = (
    (request(body=b"{nonsense", authorization="Bearer crowd"), 400),
    (request(body={"messages": []}, authorization="Bearer crowd"), 400),
    (chat("nosuch", key="crowd"), 404),
    (request("POST", "/v1/load_lora_adapter", {"model": "quick"}, authorization="Bearer crowd"), 404),
    (request("GET", "/v1/chat/completions", authorization="Bearer crowd"), 405),
    (request("GET", "/v1/models/nosuch", authorization="Bearer crowd"), 404),
    (chat("quick", key="tight-and-for-late-only"), 404),
    (b"POST /v1/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n", 400),
)


async def bad(client: Client) -> str:
    data, status = client.random.choice(_BAD)
    expect(await client.ask(data), status, b'"error"')
    return "refused"


async def keyless(client: Client) -> str:
    key = client.random.choice(("wrong", None))
    expect(await client.ask(chat("quick", key=key)), 401, b'"error"')
    return "refused"


async def limited(client: Client) -> str:
    """It has a key that is good for few requests a minute."""
    answer = await client.ask(chat("late", key="tight-and-for-late-only"))
    if answer.status == 429:
        if answer.header("retry-after") is None:
            raise Wrong("a limit without a time to come back")
        return "limited"
    expect(answer, 200, b"one two three")
    return "whole"


async def rare(client: Client) -> str:
    """For a model that runs only when it is asked for."""
    if client.random.random() < 0.5:
        return judge(client, await client.ask(chat("rare", key="crowd", stream=True)), "rare", 3)
    expect(await client.ask(chat("rare", key="crowd")), 200, b"one two three")
    return "whole"


KINDS: tuple[Kind, ...] = (
    ("short", short, 6, 0.1),
    ("alias", alias, 1, 0.2),
    ("late", late, 6, 0.1),
    ("stream", stream, 12, 0.1),
    ("slow reader", wide, 2, 0.5),
    ("leaver", leaves, 3, 0.3),
    ("big body", big, 1, 1.0),
    ("too big", too_big, 1, 3.0),
    ("bad", bad, 2, 0.3),
    ("without a key", keyless, 1, 5.0),
    ("limited", limited, 2, 0.5),
    ("on demand", rare, 1, 4.0),
)
