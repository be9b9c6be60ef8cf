"""A directory for sockets: nobody else looks into it, and it goes with us; where we were killed, with the next."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator

from reconciler import held

_PREFIX = "holdfast-ssh-"
_ROOM = 107 - len(f"/{_PREFIX}12345678/ssh.1234567890123456")
"""Bytes that the path of its parent may have: a socket's has 107, and ssh adds 17 while making one."""

_TRIES = 8


class Directory:
    """Held by a lock for as long as we live."""

    def __init__(self, runtime: str) -> None:
        """`runtime`: where it goes if there is room (XDG_RUNTIME_DIR). What nobody holds any more is removed there."""
        parent = _parent(runtime)
        for left in _abandoned(parent):
            shutil.rmtree(left, ignore_errors=True)
        self._lock: int | None = None
        for _ in range(_TRIES):
            # another that begins may have taken it for abandoned; where there are no locks, nobody can
            self.path = tempfile.mkdtemp(prefix=_PREFIX, dir=parent)
            self._lock = _taken(self.path)
            if self._lock is not None:
                break

    def close(self) -> None:
        """Remove it, and all that is in it. Once is enough."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _parent(runtime: str) -> str:
    """Where it goes: where nobody else writes, if it can be written and leaves room for the names of sockets."""
    for each in (runtime, tempfile.gettempdir()):
        if os.access(each, os.W_OK) and len(os.fsencode(each)) <= _ROOM:
            return each
    return "/tmp"  # noqa: S108  # short enough on every system; what is made in it is our own


def _taken(path: str) -> int | None:
    """A descriptor that holds it; None where it is another user's, is held, or where that cannot be seen."""
    with contextlib.suppress(OSError):
        if os.lstat(path).st_uid == os.getuid():
            return held.take(path, folder=True)
    return None


def _abandoned(parent: str) -> Iterator[str]:
    """Each of ours that nobody holds; held by us meanwhile."""
    for name in os.listdir(parent):
        if name.startswith(_PREFIX) and (lock := _taken(path := f"{parent}/{name}")) is not None:
            yield path
            os.close(lock)
