"""Limits and keys, counted by all workers of a real gateway, whatever becomes of them. Ports 32700-32719."""

import asyncio
import json
import os
import signal

import pytest

from reconciler.gateway.key import digest, new_key
from reconciler.model.routing import AccessKey, Grant, Limits
from tests.eventually import eventually
from tests.gateway.client import Answer, chat, once
from tests.system.box import LATEST
from tests.system.gate import Gate, gate

pytestmark = pytest.mark.system
KEY = new_key()


@pytest.fixture
def gateway(tmp_path, request):
    names = [name for name in vars(request.module) if name.startswith("test_")]
    with gate(tmp_path, 32700 + names.index(request.node.name)) as made:
        yield made


def limited(gateway: Gate, **limits: int) -> None:
    """From now on whoever asks needs the key, and meets these limits."""
    gateway.tell(
        grants=(Grant(name="ci", keys=(AccessKey(sha256=digest(KEY.encode()).hex()),), limits=Limits(**limits)),)
    )
    eventually(lambda: ask(gateway, "hfk_wrong").status == 401, within=LATEST, what="keys are asked for")


def ask(gateway: Gate, key: str = KEY) -> Answer:
    """One request on a connection of its own: any worker may get it."""
    return asyncio.run(once(gateway.port, chat(key=key)))


def number(answer: Answer, header: str) -> int:
    return int(answer.header(header) or "")


def statuses(gateway: Gate, times: int) -> list[int]:
    return [ask(gateway).status for _ in range(times)]


def test_workers_count_a_limit_together_and_a_worker_that_is_killed_takes_nothing_with_it(gateway):
    gateway.start()
    limited(gateway, requests_per_day=40)
    assert statuses(gateway, 20) == [200] * 20, "two workers, on connections that the kernel spreads"
    killed = gateway.workers()[0]
    os.kill(killed, signal.SIGKILL)
    gateway.replaced({killed})
    assert sorted(statuses(gateway, 30)) == [200] * 20 + [429] * 10
    told = ask(gateway)
    assert told.json()["error"]["code"] == "rate_limit_exceeded"
    assert told.json()["error"]["message"].startswith(
        "cannot answer now: the limit of Access ci is 40 requests a day; try again in "
    )
    assert 0 < number(told, "retry-after") <= 86400


def test_a_limit_of_a_day_holds_over_reloads_and_ends_of_the_gateway(gateway):
    gateway.start()
    limited(gateway, requests_per_day=12)
    assert statuses(gateway, 4) == [200] * 4
    gateway.reload()
    assert statuses(gateway, 4) == [200] * 4
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.process.wait(LATEST) == 0
    assert json.loads((gateway.state / "gateway" / "usage.json").read_text())["counts"] == {
        "key:ci:requests_per_day": 8
    }
    gateway.start(answers=False)
    eventually(gateway.connects, within=LATEST, what="it listens again")
    assert sorted(statuses(gateway, 10)) == [200] * 4 + [429] * 6


def test_what_an_answer_says_of_limits_counts_down(gateway):
    gateway.start()
    limited(gateway, requests_per_minute=1000, tokens_per_day=10**6)
    seen = [ask(gateway) for _ in range(3)]
    left = [number(one, "x-ratelimit-remaining-requests") for one in seen]
    assert left == [999, 998, 997]
    tokens = [number(one, "x-ratelimit-remaining-tokens") for one in seen]
    assert tokens == sorted(tokens, reverse=True)
    assert tokens[2] < 10**6, "what the first ones took, as the engine told"


def test_guessing_keys_becomes_slow_and_the_good_key_does_not(gateway):
    gateway.tell(workers=1)
    gateway.start()
    limited(gateway, requests_per_day=10**6)

    async def guess() -> tuple[list[int], list[int]]:
        loop = asyncio.get_running_loop()
        guesses = [asyncio.create_task(once(gateway.port, chat(key=new_key()))) for _ in range(40)]
        began = loop.time()
        good = [(await once(gateway.port, chat(key=KEY))).status for _ in range(5)]
        waiting = sum(not one.done() for one in guesses)
        assert waiting, f"none waits after {loop.time() - began} s"
        told = await asyncio.gather(*guesses, return_exceptions=True)
        return good, [one.status if isinstance(one, Answer) else 0 for one in told]

    good, told = asyncio.run(guess())
    assert good == [200] * 5
    assert set(told) == {401, 0}
    assert told.count(0) >= 40 - 10 - 8
