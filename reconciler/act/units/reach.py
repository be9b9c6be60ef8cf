"""Whether an engine that runs as nobody may read a file."""

import os
import stat


def unreadable(path: str, weights: str) -> str | None:
    """What stands in the way of others, and what to do; None where nothing does. What is below `weights` is let in."""
    if os.path.commonpath((os.path.abspath(path), weights)) == weights:
        return None
    real = os.path.realpath(path)
    parts = real.split("/")
    for count in range(2, len(parts)):
        above = "/".join(parts[:count])
        if not os.stat(above).st_mode & 0o001:
            return f"{above} is closed to others; chmod o+x {above}"
    mode = os.stat(real).st_mode
    if not mode & 0o004 or (stat.S_ISDIR(mode) and not mode & 0o001):
        return f"others may not read it; chmod -R o+rX {real}"
    return None
