"""Tells a want of descriptors from what it looks like: somebody who does not answer."""

import errno

_WHO = {errno.EMFILE: "this program", errno.ENFILE: "this machine"}


def crowded(error: Exception) -> str:
    """Why no connection could be made, and what to do; empty where it is for another reason."""
    who = _WHO.get(error.errno or 0) if isinstance(error, OSError) else None
    return f"{who} has as many files open as it may; raise `ulimit -n`, or close some" if who else ""
