"""The gateway, for the verbs: it in this process, begun beside a daemon, where it listens, and its end."""

import argparse
import json
import os
import signal
import time
from typing import NamedTuple

from reconciler import booted
from reconciler.cli.child import Child
from reconciler.cli.places import Places, places
from reconciler.gateway import kept
from reconciler.model.errors import HoldfastError
from reconciler.ready import readable

_STARTING = 10.0
"""Seconds in which it listens, or says what stands in the way."""
_FINISHING, _ENDING = 1.0, 10.0
"""Seconds that it may finish requests in when everything is ended, and to end after that."""


class Gate(NamedTuple):
    """A gateway that runs."""

    pid: int
    open: tuple[str, ...]
    """Addresses that it listens at."""
    problems: tuple[str, ...]
    """What stands in the way of others, for a person."""


def gateway(chosen: argparse.Namespace) -> int:
    """The gateway in the foreground, for `up` and for systemd."""
    from reconciler.gateway.master import Settings, run

    where = places(chosen, here=True)
    level: str = getattr(chosen, "log_level", "info")
    return run(Settings(state=where.state, socket=booted.for_gateways(where.socket), log_level=level))


def begin(where: Places, level: str) -> Child | None:
    """Start one in the background, where none is at work for that state."""
    if kept.running(where.state) is not None:
        return None
    verb = ("gateway", "--state", where.state, "--socket", where.socket, "--log-level", level)
    return Child("the gateway", verb, os.path.join(where.state, "gateway.log"))


def look(state: str, *, patience: float = 0.0) -> Gate | None:
    """The gateway of a state directory; None where none is at work. What it has just begun is waited for."""
    end = time.monotonic() + patience
    while True:
        pid = kept.running(state)
        found = Gate(pid, (), ()) if pid is not None else None
        try:
            told = json.loads(kept.read(os.path.join(kept.place(state), "listening.json")))
            if found is not None and told["pid"] == pid:
                found = Gate(found.pid, tuple(told["open"]), tuple(told["problems"]))
        except (ValueError, KeyError, TypeError):
            pass
        if (found is not None and (found.open or found.problems)) or time.monotonic() > end:
            return found
        time.sleep(0.02)


def begun(child: Child | None, state: str) -> Gate | None:
    """The same, right after `begin`. Raises HoldfastError with its last words where it has ended."""
    end = time.monotonic() + _STARTING
    while time.monotonic() < end:
        found = look(state, patience=0.1)
        if found is not None and (found.open or found.problems):
            return found
        if child is not None and child.ended() is not None:
            raise HoldfastError(child.epitaph())
    return look(state)


def end(state: str) -> int | None:
    """End the gateway of a state directory, and what goes on in it; its pid. None where none was at work.

    Raises HoldfastError.
    """
    pid = kept.running(state)
    if pid is None:
        return None
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return pid
    try:
        if kept.running(state) != pid:  # the descriptor is of the process that has the lock
            raise HoldfastError("cannot tell which process the gateway is; it was just replaced, try again")
        for patience in (_FINISHING, _ENDING):  # the second signal cuts
            signal.pidfd_send_signal(process, signal.SIGTERM)
            if readable(process, patience):
                return pid
        raise HoldfastError(f"cannot end the gateway (pid {pid}) within {_ENDING:g} s; look at its log")
    except ProcessLookupError:
        return pid
    except PermissionError:
        raise HoldfastError(f"cannot end the gateway (pid {pid}): it belongs to another user; be that user") from None
    finally:
        os.close(process)
