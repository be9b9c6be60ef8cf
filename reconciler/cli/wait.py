"""Waiting for a fleet: looking at it again and again, and saying what is still missing."""

import time
from collections.abc import Iterator

from reconciler.client import Client
from reconciler.model.errors import ApiError
from reconciler.model.status import Reason, Status, WorkloadStatus

EVERY = 0.2


def polled(client: Client, *, within: float | None = None, every: float = EVERY) -> Iterator[Status]:
    """The status, again and again, for so many seconds or for ever. A daemon that has not looked yet is waited for.

    Raises ApiError.
    """
    end = None if within is None else time.monotonic() + within
    while True:
        try:
            yield client.status()
        except ApiError as error:
            if error.status != 409:
                raise
        if end is not None and time.monotonic() + every > end:
            return
        time.sleep(every)


def settled(row: WorkloadStatus) -> bool:
    """Whether nothing is to be waited for: it is ready, or nobody may touch it."""
    return row.ready or row.paused


def hopeless(status: Status) -> bool:
    """Whether all that is missing waits for a person: to edit a file, or to resume the fleet."""
    left = [row for row in status.workloads.values() if not settled(row)]
    return bool(left) and all(row.conditions[2].reason in (Reason.SpecInvalid, Reason.Paused) for row in left)


def held(status: Status) -> bool:
    """Whether something is held back because the whole fleet is paused."""
    rows = status.workloads.values()
    return bool(status.paused) and any(row.conditions[2].reason is Reason.Paused for row in rows)


def missing(status: Status) -> list[str]:
    """What is not as it should be, each in words."""
    from tui.view.clean import line
    from tui.view.status import state, why

    rows = [row for row in status.workloads.values() if not settled(row)]
    texts = [f"{row.name} is {state(row).word}" + (f" ({why(row)})" if why(row) else "") for row in rows]
    named = {name for problem in status.problems for name in problem.names} & {row.name for row in rows}
    texts += [str(problem) for problem in status.problems if not named.intersection(problem.names)]
    texts += [*([status.paused] if status.paused else []), *status.degraded]
    return [line(text) for text in texts] or ["actions are still under way"]
