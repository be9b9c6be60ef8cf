"""Decided: what a launch in a container, or as a unit of the system manager, has beside a command."""

from typing import Literal

from reconciler.model.noun import noun

RuntimeName = Literal["process", "systemd", "docker"]
"""What instances run under."""


@noun
class Mount:
    """A part of the machine that a container sees."""

    source: str
    """Absolute path, or the name of a volume of the container engine."""
    target: str
    writable: bool = False


@noun
class Container:
    """What a launch in a container has beside a command."""

    image: str
    mounts: tuple[Mount, ...] = ()
    """Sorted by target; later ones of the same target are left out."""
    shm: int
    """Bytes of shared memory at most."""
    memory: int | None = None
    """Bytes of host memory at most; None: without a limit."""


@noun
class Unit:
    """What a launch as a unit of the system manager has beside a command."""

    memory: int | None = None
    """Bytes of host memory at most; None: without a limit."""
    grace: float
    """Seconds between SIGTERM and SIGKILL where somebody else stops it."""
