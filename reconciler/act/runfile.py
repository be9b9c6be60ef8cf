"""How a run stands, as its keeper writes it down: one block of 4096 bytes, rewritten in place.

In place, because a full disk cannot stop that; with a checksum, because a reader may come in the middle of it.
Standard library only.
"""

from __future__ import annotations

import json
import os
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BLOCK = 4096
EMPTY, STARTING, RUNNING, STOPPING, EXITED = "empty", "starting", "running", "stopping", "exited"
_LONG = 400


class Run:
    """One run. Times are seconds of CLOCK_MONOTONIC, sizes bytes."""

    __slots__ = (
        "asked",
        "began",
        "boot",
        "code",
        "container",
        "detail",
        "dropped",
        "ended",
        "kill_at",
        "oom",
        "peak",
        "phase",
        "pid",
        "ready_before",
        "ready_since",
        "run",
        "signal",
        "start",
        "stopped",
        "token",
    )

    def __init__(self) -> None:
        self.run = 0
        self.phase = EMPTY
        self.token = ""
        self.boot = ""
        self.pid: int | None = None
        self.start: int | None = None
        """Start time of the process in clock ticks after boot: with the pid, its identity."""
        self.began = 0.0
        self.asked: str | None = None
        """Why we ended it."""
        self.stopped: float | None = None
        self.kill_at: float | None = None
        self.ended: float | None = None
        self.code: int | None = None
        self.signal: int | None = None
        self.oom = False
        self.peak: int | None = None
        self.detail = ""
        self.dropped = 0
        """Lines of its log that could not be kept."""
        self.ready_since: float | None = None
        self.ready_before: float | None = None
        """How long it had been ready in earlier spells of this run; None: never."""
        self.container = ""
        """Id of the container that it is, where it is one."""

    @property
    def active(self) -> bool:
        """Whether anything of it may run."""
        return self.phase in (STARTING, RUNNING, STOPPING)

    def ready_for(self, now: float) -> float | None:
        """Seconds it has been ready in this run; None where it never was."""
        if self.ready_since is None:
            return self.ready_before
        return (self.ready_before or 0.0) + max(0.0, now - self.ready_since)

    def dump(self) -> dict[str, Any]:
        """Itself as JSON holds it."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def load(cls, values: dict[str, Any]) -> Run:
        """From JSON; what is not known here is left, what is missing has its default."""
        run = cls()
        for name in cls.__slots__:
            if name in values:
                setattr(run, name, values[name])
        return run


def encode(run: Run) -> bytes:
    """The block that says it."""
    values = run.dump()
    values["detail"] = run.detail[:_LONG]
    text = json.dumps(values).encode()
    return (text + b"\n%08x\n" % zlib.crc32(text)).ljust(BLOCK)


def decode(block: bytes) -> Run | None:
    """What a block says; None where it is torn, or was never written."""
    text, _, rest = block.partition(b"\n")
    if rest[:8] != b"%08x" % zlib.crc32(text):
        return None
    return Run.load(json.loads(text))


def read(path: str) -> Run | None:
    """What is written there; None where nothing whole is. OSError where it cannot be read."""
    for _ in range(10):
        with open(path, "rb") as file:
            run = decode(file.read(BLOCK))
        if run is not None:
            return run
    return None


def write(descriptor: int, run: Run) -> None:
    """Write it over what is there. OSError where the disk does not take it."""
    os.pwrite(descriptor, encode(run), 0)
