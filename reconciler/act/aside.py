"""A call that may take its time, in a thread that nobody has to wait for when the daemon ends."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def aside(function: Callable[[], T], name: str) -> T:
    """What it returns or raises. `name`: of the thread."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def deliver(result: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # nobody is left to hear it
            loop.call_soon_threadsafe(lambda: None if answer.done() else result())

    def work() -> None:
        try:
            found = function()
        except Exception as error:  # noqa: BLE001  it is raised again where it was asked
            told = error
            deliver(lambda: answer.set_exception(told))
        else:
            deliver(lambda: answer.set_result(found))

    threading.Thread(target=work, name=name, daemon=True).start()
    return await answer
