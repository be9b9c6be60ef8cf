"""Asks an engine for something by its own API, on its port of this machine, and says what it answered instead."""

import asyncio
import time

from reconciler import asking
from reconciler.model.errors import TransientError
from reconciler.model.plan import Launch, Request, Sleeper
from reconciler.model.status import Reason

_ANSWERS, _AGAIN = 5.0, 0.05
"""Seconds that an answer may take, and until it is asked again."""


async def post(launch: Launch, request: Request, reason: Reason) -> None:
    """Have it done within the time of the request. Raises TransientError, with this reason and the engine's words."""
    if launch.port is None:
        raise TransientError(reason, "it has no port")
    question = asking.post(request.path, launch.port, dict(request.body))
    answer = await asking.ask(launch.port, question, request.within)
    if not answer.good and answer.status not in request.also:
        said = f"{launch.engine} said {answer.detail.rstrip('.')}" if answer.status else answer.detail
        raise TransientError(reason, said)


async def asleep(launch: Launch, sleeper: Sleeper, within: float) -> None:
    """Wait until it says that it sleeps: it may have answered before. Raises TransientError after so many seconds."""
    port, until = launch.port or 0, time.monotonic() + within
    while True:
        answer = await asking.ask(port, asking.get(sleeper.asleep, port), min(within, _ANSWERS))
        if sleeper.told(asking.first_object(answer.body) or {}):
            return
        if time.monotonic() >= until:
            raise TransientError(Reason.SleepFailed, answer.detail or "it said that it would sleep, and does not")
        await asyncio.sleep(_AGAIN)
