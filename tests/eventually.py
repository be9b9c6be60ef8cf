"""The one way a test waits: ask until it is so, or fail with the last answer."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PATIENCE = 60.0


def eventually(ask: Callable[[], T], *, within: float = PATIENCE, what: str = "") -> T:
    """The first truthy answer of `ask`; AssertionError with the last one after `within` seconds."""
    end = time.monotonic() + within
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {within} s: {what or ask}: last answer {answer!r}")
        time.sleep(0.01)


async def eventually_async(ask: Callable[[], T], *, within: float = PATIENCE, what: str = "") -> T:
    """The same, letting the event loop run in between."""
    end = time.monotonic() + within
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {within} s: {what or ask}: last answer {answer!r}")
        await asyncio.sleep(0.01)
