"""Carries out one action of a plan, as it stands. It decides nothing, and tries nothing twice."""

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import Protocol, assert_never

from reconciler.act import fetching
from reconciler.act.engine import asleep, post
from reconciler.model.errors import TerminalError
from reconciler.model.plan import (
    Action,
    Attach,
    Cancel,
    Detach,
    Drain,
    Fetch,
    Forget,
    Launch,
    Sleep,
    Start,
    Stop,
    Update,
    Wake,
)
from reconciler.model.secret import Secret
from reconciler.model.status import Reason


class Runtime(Protocol):
    """What instances run under. Every method may raise TransientError or TerminalError."""

    async def start(self, launch: Launch, secrets: Mapping[str, str]) -> None:
        """Record the run and start it; returns when it was exec'd."""
        ...

    async def stop(self, slot: str, run: int, grace: float, reason: Reason) -> None:
        """End a run; returns when nothing of it is left."""
        ...

    async def update(self, launch: Launch) -> None:
        """Record new live settings with the run that is there."""
        ...

    async def forget(self, slot: str, run: int) -> None:
        """Remove the record of a run that ended."""
        ...


class Machine(Runtime, Protocol):
    """All runtimes of a machine."""

    async def fetch(self, action: Fetch | Cancel) -> None:
        """Have an image brought here, or no longer; returns when that has begun."""
        ...


async def perform(action: Action, runtime: Machine, secret: Callable[[str], str]) -> None:
    """Do it, and return when it is done. Raises TransientError or TerminalError; it may be done again then."""
    match action:
        case Start(launch=launch):
            _check_files(launch)
            names = sorted({value.secret for value in launch.env.values() if isinstance(value, Secret)})
            await runtime.start(launch, {name: secret(name) for name in names})
        case Stop(slot=slot, run=run, grace=grace, reason=reason):
            await runtime.stop(slot, run, grace, reason)
        case Drain():
            pass  # the loop remembers since when; nothing new is routed to it, and what it does it finishes
        case Update(launch=launch):
            await runtime.update(launch)
        case Attach(launch=launch) | Detach(launch=launch):
            for request in action.requests:
                await post(launch, request, Reason.AdapterFailed)
            await runtime.update(launch)
        case Forget(slot=slot, run=run):
            await runtime.forget(slot, run)
        case Sleep(launch=launch):
            for request in action.requests:
                await post(launch, request, Reason.SleepFailed)
            if launch.sleeper is not None:
                await asleep(launch, launch.sleeper, action.requests[-1].within)
        case Wake(launch=launch):
            for request in action.requests:
                await post(launch, request, Reason.WakeFailed)
        case Fetch(source=source) | Cancel(source=source) if source.startswith("image:"):
            await runtime.fetch(action)
        case Fetch(token=token):
            value = secret(token.secret) if isinstance(token, Secret) else token
            await asyncio.to_thread(fetching.fetch, action, value)
        case Cancel():
            await asyncio.to_thread(fetching.cancel, action)
        case _:
            assert_never(action)


def _check_files(launch: Launch) -> None:
    for path in launch.files:
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        except OSError as error:
            what = "no such file" if isinstance(error, FileNotFoundError) else (error.strerror or "error").lower()
            message = f"cannot read {path}: {what}; put it there, or mend {launch.source}"
            raise TerminalError(Reason.SourceMissing, message) from None
