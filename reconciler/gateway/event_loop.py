"""The event loop of the gateway's processes: uvloop's, where it can be had."""

import asyncio
from collections.abc import Callable


def new_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes one."""
    try:
        import uvloop  # noqa: PLC0415  not everywhere
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop
