"""Runs a test that is a coroutine on the event loop that the gateway has."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import ParamSpec

from reconciler.gateway.event_loop import new_loop

P = ParamSpec("P")


def on_loop(test: Callable[P, Coroutine[object, object, None]]) -> Callable[P, None]:
    """As a decorator; fixtures stay as they are."""

    @functools.wraps(test)
    def run(*given: P.args, **named: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=new_loop()) as runner:
            runner.run(test(*given, **named))

    return run
