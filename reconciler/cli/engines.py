"""Stops every engine of a state directory when no daemon does: what `down --engines` is for."""

import asyncio
import contextlib
import fcntl
import json
import os
from collections.abc import Generator

from reconciler.act.process import ProcessRuntime
from reconciler.model.errors import ActionError, HoldfastError
from reconciler.model.observation import Exited, Instance, Recorded, Unknown
from reconciler.model.quantity import parse_duration
from reconciler.model.status import Reason

_GRACE = 10.0


def stop_all(state: str, *, forget: bool = False) -> list[str]:
    """Stop them all, at once and gently; the slots that ran. `forget`: their keepers and records go too.

    Raises HoldfastError.
    """
    if not os.path.isdir(os.path.join(state, "slots")):
        return []
    with _alone(state):
        return asyncio.run(_stop_all(state, forget=forget))


async def _stop_all(state: str, *, forget: bool) -> list[str]:
    runtime = ProcessRuntime(state, on_change=lambda _: None)
    await runtime.open()
    try:
        table = runtime.table
        if isinstance(table, Unknown):
            raise HoldfastError(f"cannot see what runs: {table.reason}; nothing was stopped")
        unseen = [slot for slot, instance in table.items() if isinstance(instance.phase, Unknown)]
        running = {slot: one for slot, one in table.items() if not isinstance(one.phase, Exited | Recorded | Unknown)}
        stops = (
            runtime.stop(slot, one.launch.run, _grace(one), Reason.StopAsked) for slot, one in sorted(running.items())
        )
        results = await asyncio.gather(*stops, return_exceptions=True)
        if forget and not unseen and not any(results):
            await asyncio.gather(*(runtime.forget(slot, one.launch.run) for slot, one in table.items()))
    finally:
        await runtime.close()
    failed: list[str] = [f"{slot}: it cannot be seen" for slot in unseen]
    for slot, result in zip(sorted(running), results, strict=True):
        if isinstance(result, ActionError | OSError):
            failed.append(f"{slot}: {result}")
        elif isinstance(result, BaseException):
            raise result
    if failed:
        raise HoldfastError(f"cannot stop {'; '.join(failed)}")
    return sorted(running)


def _grace(instance: Instance) -> float:
    """Seconds between SIGTERM and SIGKILL, as its file says."""
    with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
        _, live, _ = json.loads(instance.launch.settings)
        return parse_duration(live["update"]["grace"]).total_seconds()
    return _GRACE


@contextlib.contextmanager
def _alone(state: str) -> Generator[None, None, None]:
    """The lock that a daemon holds. Raises HoldfastError where one does."""
    descriptor = os.open(os.path.join(state, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise HoldfastError(f"cannot stop engines: a daemon is at work in {state}; stop it first") from None
        yield
    finally:
        os.close(descriptor)
