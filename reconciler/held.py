"""Locks that live as long as who took them: whether somebody who is alive holds a file or a folder.

The kernel lets go of what the dead held, so nothing that was killed is taken for alive. What cannot be seen raises:
that is not the same as nobody.
"""

import fcntl
import os


def take(path: str, *, folder: bool = False) -> int | None:
    """A descriptor that holds it alone until it is closed; None where somebody else holds it.

    Raises OSError, FileNotFoundError among them. A link is not followed.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY if folder else os.O_RDWR
    while True:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # another took its name meanwhile, and may be held


def by_somebody(path: str) -> bool:
    """Whether somebody holds this file, alone or with others; nobody does where there is none. Raises OSError."""
    try:
        descriptor = take(path)
    except FileNotFoundError:
        return False
    if descriptor is None:
        return True
    os.close(descriptor)
    return False
