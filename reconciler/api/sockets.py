"""A unix socket for its owner or a group, in place of one that a dead daemon left behind, never of a live one's."""

import contextlib
import fcntl
import os
import socket
import stat
import struct
import tempfile
from collections.abc import Generator
from dataclasses import dataclass

from reconciler.model.errors import ApiError

_PEERGROUPS = 59  # socket.h; the standard library has no name for it
_GROUPS = 256  # as many as the standard library takes; who is in more counts as in his first alone
LONGEST = 107
"""Bytes of a path that fit into an address; a longer one goes by its directory's descriptor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A listening socket."""

    socket: socket.socket
    path: str
    inode: tuple[int, int]


def bind(path: str, *, backlog: int = 128, group: int | None = None) -> Bound:
    """Listen at `path`, mode 0600, or 0660 for a group; its directory is made 0700 where it is missing.

    Raises ApiError where another daemon listens there or something else stands there, OSError where it cannot be made.
    """
    path = os.path.abspath(path)
    directory, name = os.path.split(path)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # two daemons that start at once: one sees the other's socket
        _refuse_if_taken(path)
        # bound where nobody else can reach it, and moved into place when its mode is right
        with tempfile.TemporaryDirectory(prefix=".socket-", dir=directory) as private:
            listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                made = os.path.join(private, name)
                with address(made) as where:
                    listening.bind(where)
                if group not in (None, os.stat(made).st_gid):
                    os.chown(made, -1, group)
                os.chmod(made, 0o600 if group is None else 0o660)
                listening.listen(backlog)
                listening.setblocking(False)
                os.rename(made, path)
                status = os.stat(path)
            except BaseException:
                listening.close()
                raise
    finally:
        os.close(descriptor)
    return Bound(socket=listening, path=path, inode=(status.st_dev, status.st_ino))


def release(bound: Bound) -> None:
    """Remove the socket from the directory, if it still is this one."""
    with contextlib.suppress(OSError):
        status = os.stat(bound.path)
        if (status.st_dev, status.st_ino) == bound.inode:
            os.unlink(bound.path)


def peer(connection: socket.socket) -> tuple[int, int]:
    """Process and user at the other end of a unix socket, as the kernel knows them: (pid, uid)."""
    pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid


def groups(connection: socket.socket) -> frozenset[int]:
    """Groups that the process at the other end belonged to when it connected, as the kernel knows them."""
    _, _, own = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    try:
        more = connection.getsockopt(socket.SOL_SOCKET, _PEERGROUPS, 4 * _GROUPS)
    except OSError:
        more = b""
    return frozenset((own, *struct.unpack(f"{len(more) // 4}I", more)))


@contextlib.contextmanager
def address(path: str) -> Generator[str, None, None]:
    """What bind and connect take for `path`, however long that is."""
    if len(os.fsencode(path)) <= LONGEST:
        yield path
        return
    directory, name = os.path.split(path)
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)


def _refuse_if_taken(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, contextlib.ExitStack() as stack:
        probe.settimeout(2.0)
        try:
            probe.connect(stack.enter_context(address(path)))
        except (FileNotFoundError, ConnectionRefusedError):
            pass
        except OSError as error:
            raise ApiError(
                f"cannot listen at {path}: {error.strerror or error}; remove it or choose another --socket"
            ) from error
        else:
            pid, _ = peer(probe)
            raise ApiError(
                f"cannot listen at {path}: another daemon (pid {pid}) does; stop it with `holdfast down`, or choose "
                "another --socket"
            )
    with contextlib.suppress(FileNotFoundError):
        if not _is_socket(path):
            raise ApiError(f"cannot listen at {path}: a file stands there; remove it or choose another --socket")


def _is_socket(path: str) -> bool:
    return stat.S_ISSOCK(os.lstat(path).st_mode)
