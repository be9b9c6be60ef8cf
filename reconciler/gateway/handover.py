"""What a gateway holds over an exec of itself: lock, sockets, board and workers, for the program that comes next."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

import msgspec

from reconciler.model.routing import Wanted

_VARIABLE = "HOLDFAST_GATEWAY_HANDOVER"
_MODULES = "import reconciler.gateway.master, reconciler.gateway.worker, reconciler.cli.gateway"


@dataclass(frozen=True, slots=True, kw_only=True)
class OldWorker:
    """A worker of the program before the exec."""

    pid: int
    slot: int
    column: int
    channel: int
    """Descriptor."""
    seen: tuple[str, int]
    wants: Mapping[str, Wanted]
    drains: bool = False
    """Whether it was told to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """All that the program after an exec takes over from the one before. Numbers are descriptors where not said."""

    lock: int
    board: int
    sockets: Mapping[str, tuple[int, ...]]
    """By address."""
    workers: tuple[OldWorker, ...]
    rows: Mapping[str, int]
    table: str
    """As JSON; empty: none yet."""
    counted: str
    """A snapshot, as JSON: what workers have counted that are gone."""
    started: float
    """Seconds since the epoch."""


def hand_over(what: Handover, environment: Mapping[str, str]) -> dict[str, str]:
    """Lay it where the program after an exec finds it, its descriptors with it; the environment to exec with."""
    descriptor = os.memfd_create("handover", 0)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(msgspec.json.encode(what))
    held = [each for some in what.sockets.values() for each in some]
    for each in (what.lock, what.board, *held, *(worker.channel for worker in what.workers)):
        os.set_inheritable(each, True)
    return {**environment, _VARIABLE: str(descriptor)}


def taken_over(environment: dict[str, str]) -> Handover | None:
    """What was laid there, once; its descriptors are ours alone again. None where this is no exec of a gateway."""
    number = environment.pop(_VARIABLE, "")
    os.environ.pop(_VARIABLE, None)
    if not number:
        return None
    with open(int(number), "rb") as file:
        file.seek(0)
        found = msgspec.json.decode(file.read(), type=Handover)
    held = [each for some in found.sockets.values() for each in some]
    for each in (found.lock, found.board, *held, *(worker.channel for worker in found.workers)):
        os.set_inheritable(each, False)
    return found


def trouble(environment: Mapping[str, str]) -> str:
    """Why the program that is installed now would not start; empty where it does. Takes as long as starting it."""
    argv = (sys.executable, "-P", "-c", _MODULES)
    tried = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    if not tried.returncode:
        return ""
    return (tried.stderr.strip().splitlines() or [f"it ended with status {tried.returncode}"])[-1]


def become(what: Handover, environment: Mapping[str, str]) -> NoReturn:
    """Be the program that is installed now, in this process, with the same arguments. Raises OSError."""
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], hand_over(what, environment))  # noqa: S606  ourselves
