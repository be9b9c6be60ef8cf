"""What a gateway keeps in its state directory: its lock, and small files that are whole."""

import contextlib
import fcntl
import os
import struct

from reconciler.model.errors import HoldfastError

_FLOCK = "hhqqi"
"""`struct flock` of 64-bit Linux."""


def place(state: str) -> str:
    """Where a gateway keeps its own, beneath the state directory."""
    return os.path.join(state, "gateway")


def lock(state: str) -> int:
    """Be the only gateway of this state directory for as long as the descriptor is open. Raises HoldfastError."""
    os.makedirs(place(state), mode=0o700, exist_ok=True)
    descriptor = os.open(os.path.join(place(state), "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        who = _holder(descriptor)
        os.close(descriptor)
        raise HoldfastError(
            f"cannot start: a gateway (pid {who}) is at work in {state}; stop it with `holdfast down --engines`, or "
            "give another --state"
        ) from None
    return descriptor


def running(state: str) -> int | None:
    """The pid of the gateway of a state directory, as the kernel knows it; None where none is at work."""
    try:
        descriptor = os.open(os.path.join(place(state), "lock"), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return _holder(descriptor)
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> int | None:
    asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    told = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    return told[4] if told[0] != fcntl.F_UNLCK else None


def orphans(at: str) -> str:
    """What workers of a master that is gone hold, until they have finished what they have begun. `at`: see `place`."""
    return os.path.join(at, "orphans")


def outlive(at: str) -> int:
    """As a worker whose master is gone, say so until the descriptor is closed. Raises OSError."""
    descriptor = os.open(orphans(at), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


# -- files


def read(path: str) -> bytes:
    """A small file; empty where it is not there or cannot be read."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return file.read()
    return b""


def write(path: str, content: bytes) -> None:
    """Whole or not at all, for us alone, and on the disk when this returns. Raises OSError."""
    fresh = f"{path}.new"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    os.replace(fresh, path)
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
