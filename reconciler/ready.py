"""Whether something can be read from a descriptor, whatever its number.

`select.select` refuses numbers from 1024 on, which a busy process may well have.
"""

import errno
import os
import select


def readable(descriptor: int, within: float) -> bool:
    """Whether it can be read (or has ended: a process behind a pidfd too) within so many seconds; negative is none.

    OSError where it is not open.
    """
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    found = waiting.poll(max(0.0, within) * 1000)
    if found and found[0][1] & select.POLLNVAL:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return bool(found)
