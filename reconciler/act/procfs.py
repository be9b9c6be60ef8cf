"""What /proc tells of processes: identity, descent, what they carry. Standard library only."""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False  # the module of that name costs a keeper memory that it has no use for
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator


class Stat:
    """The fields of /proc/PID/stat that tell one process from another."""

    __slots__ = ("group", "parent", "pid", "session", "start", "state")

    def __init__(self, pid: int, fields: list[bytes]) -> None:
        self.pid = pid
        self.state = fields[0].decode()
        self.parent, self.group, self.session = int(fields[1]), int(fields[2]), int(fields[3])
        self.start = int(fields[19])

    @property
    def ended(self) -> bool:
        """Whether it only waits to be reaped."""
        return self.state in "ZX"


def read(path: str) -> bytes | None:
    """A small file of /proc; None where it, or its process, is gone or not ours to read."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        parts: list[bytes] = []
        while part := os.read(descriptor, 65536):
            parts.append(part)
        return b"".join(parts)
    except OSError:
        return None
    finally:
        os.close(descriptor)


BOOT = (read("/proc/sys/kernel/random/boot_id") or b"").decode().strip()
"""Identity of this boot of the machine."""


def stat(pid: int) -> Stat | None:
    """Identity and descent of a process; None where there is none."""
    text = read(f"/proc/{pid}/stat")
    if not text:
        return None
    return Stat(pid, text[text.rindex(b")") + 2 :].split())  # a name may hold anything, parentheses too


def pids() -> Iterator[int]:
    """Every process there is."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            yield int(name)


def table() -> dict[int, Stat]:
    """Every process there is, by pid."""
    return {pid: found for pid in pids() if (found := stat(pid)) is not None}


def descendants(processes: dict[int, Stat], roots: Collection[int]) -> list[Stat]:
    """Everything that descends from `roots`, themselves not included."""
    below: dict[int, list[Stat]] = {}
    for found in processes.values():
        below.setdefault(found.parent, []).append(found)
    left, seen = list(roots), set(roots)
    result: list[Stat] = []
    while left:
        for child in below.get(left.pop(), ()):
            if child.pid not in seen:
                seen.add(child.pid)
                result.append(child)
                left.append(child.pid)
    return result


def token_of(pid: int) -> str | None:
    """The token in a process's environment; None where there is none, or it has written over its environment."""
    for entry in (read(f"/proc/{pid}/environ") or b"").split(b"\0"):
        if entry.startswith(b"HOLDFAST_TOKEN="):
            return entry[15:].decode(errors="replace")
    return None


def writes_to(pid: int, pipe: tuple[int, int]) -> bool:
    """Whether the standard output or error of a process is this FIFO, given as (device, inode)."""
    for descriptor in (1, 2):
        try:
            found = os.stat(f"/proc/{pid}/fd/{descriptor}")
        except OSError:
            continue
        if (found.st_dev, found.st_ino) == pipe:
            return True
    return False


def carries(pid: int, token: str, pipe: tuple[int, int]) -> bool:
    """Whether a process carries our token; one that overwrote its environment is known by the FIFO it writes to."""
    found = token_of(pid)
    return bool(token) and (found == token if found is not None else writes_to(pid, pipe))


def pin(pid: int, start: int) -> int | None:
    """A pidfd of exactly that process; None where it is gone. The caller closes it."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return None
    found = stat(pid)  # read after the pidfd is held: were it another process by now, the start would differ
    if found is None or found.start != start:
        os.close(descriptor)
        return None
    return descriptor


def kill(process: Stat, number: int) -> None:
    """Signal exactly that process, or nobody."""
    descriptor = pin(process.pid, process.start)
    if descriptor is None:
        return
    try:
        signal.pidfd_send_signal(descriptor, number)
    except OSError:
        return  # it ended meanwhile
    finally:
        os.close(descriptor)


def peak(pid: int) -> int | None:
    """Most memory a process has held, bytes."""
    for line in (read(f"/proc/{pid}/status") or b"").splitlines():
        if line.startswith(b"VmHWM:"):
            return int(line.split()[1]) * 1024
    return None
