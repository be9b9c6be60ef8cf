"""Stops every engine of a state directory when no daemon does: what `down --engines` is for."""

import asyncio
import contextlib
import fcntl
import json
import os
import pwd
import subprocess
import sys
from collections.abc import Generator, Mapping

from reconciler.act.runtimes import Runtimes
from reconciler.model.errors import ActionError, HoldfastError
from reconciler.model.observation import Exited, Instance, Recorded, Unknown
from reconciler.model.quantity import parse_duration
from reconciler.model.status import Reason

_GRACE = 10.0
_LOOKS, _PAUSE = 20, 0.5
"""How often it is looked for what cannot be seen, and seconds between two looks."""


def stop_all(state: str, *, forget: bool = False) -> list[str]:
    """Stop them all, at once and gently; the slots that ran. `forget`: their keepers and records go too.

    Raises HoldfastError.
    """
    if not os.path.isdir(state):
        return []
    owner = os.stat(state).st_uid
    if owner != os.geteuid():
        return _as_its_owner(state, owner, forget=forget)
    with _alone(state):
        return asyncio.run(_stop_all(state, forget=forget))


def _as_its_owner(state: str, owner: int, *, forget: bool) -> list[str]:
    """The same by the user whose state it is: where others may write, root would follow their links."""
    try:
        user = pwd.getpwuid(owner)
    except KeyError:
        raise HoldfastError(
            f"cannot stop engines: {state} belongs to nobody (user {owner}); give it to somebody"
        ) from None
    if os.geteuid() != 0:
        raise HoldfastError(f"cannot stop engines: {state} is {user.pw_name}'s; give the command as root, or as they")
    work = "import sys; from reconciler.cli import engines; engines.answer(sys.argv[1], forget=bool(sys.argv[2]))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", work, state, "forget" if forget else ""],
        user=owner,
        group=user.pw_gid,
        extra_groups=os.getgrouplist(user.pw_name, user.pw_gid),
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise HoldfastError(done.stderr.strip().rpartition("\n")[2] or f"cannot stop the engines of {state}")
    return json.loads(done.stdout)


def answer(state: str, *, forget: bool) -> None:
    """`stop_all`, told to another process."""
    try:
        print(json.dumps(stop_all(state, forget=forget)))
    except HoldfastError as error:
        sys.exit(str(error))


async def _stop_all(state: str, *, forget: bool) -> list[str]:
    runtime = Runtimes(state, on_change=lambda _: None)
    await runtime.open()
    try:
        await runtime.look()  # to open takes up what answers at once
        table, unseen = await _seen(runtime)
        running = {slot: one for slot, one in table.items() if not isinstance(one.phase, Exited | Recorded | Unknown)}
        stops = (
            runtime.stop(slot, one.launch.run, _grace(one), Reason.StopAsked) for slot, one in sorted(running.items())
        )
        results = await asyncio.gather(*stops, return_exceptions=True)
        if forget and not unseen and not any(results):
            await asyncio.gather(*(runtime.forget(slot, one.launch.run) for slot, one in table.items()))
    finally:
        await runtime.close()
    failed: list[str] = [f"{slot}: {why}" for slot, why in sorted(unseen.items())]
    for slot, result in zip(sorted(running), results, strict=True):
        if isinstance(result, ActionError | OSError):
            failed.append(f"{slot}: {result}")
        elif isinstance(result, BaseException):
            raise result
    if failed:
        raise HoldfastError(f"cannot stop {'; '.join(failed)}")
    return sorted(running)


async def _seen(runtime: Runtimes) -> tuple[Mapping[str, Instance], Mapping[str, str]]:
    """The instances; by slot why one cannot be seen, however patiently one looks. HoldfastError."""
    for left in reversed(range(_LOOKS)):
        table = runtime.table
        if isinstance(table, Unknown):
            raise HoldfastError(f"cannot see what runs: {table.reason}; nothing was stopped")
        unseen = {slot: one.phase.reason for slot, one in table.items() if isinstance(one.phase, Unknown)}
        if not unseen or not left:
            return table, unseen
        await asyncio.sleep(_PAUSE)
        await runtime.look()
    return {}, {}


def _grace(instance: Instance) -> float:
    """Seconds between SIGTERM and SIGKILL, as its file says."""
    with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
        _, live, _ = json.loads(instance.launch.settings)
        return parse_duration(live["update"]["grace"]).total_seconds()
    return _GRACE


@contextlib.contextmanager
def _alone(state: str) -> Generator[None, None, None]:
    """The lock that a daemon holds. Raises HoldfastError where one does."""
    path = os.path.join(state, "lock")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise HoldfastError(f"cannot stop engines: {path}: {(error.strerror or 'error').lower()}") from None
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise HoldfastError(f"cannot stop engines: a daemon is at work in {state}; stop it first") from None
        yield
    finally:
        os.close(descriptor)
