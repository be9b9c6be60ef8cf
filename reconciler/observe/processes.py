"""Whose child a process is, and what it is called, from /proc. A process that is gone is nobody's."""

import os
from collections.abc import Collection, Iterator

_DYNAMIC = range(61184, 65520)
"""Users that systemd gives to one unit each."""
_DEPTH = 64
"""How far up a family tree is followed: a bound, not an expectation."""


def name(pid: int, proc: str = "/proc") -> str:
    """The command's name, or `?` where it is gone. Only printable characters: a process chooses its own name."""
    try:
        fd = os.open(f"{proc}/{pid}/comm", os.O_RDONLY | os.O_CLOEXEC)
        try:
            text = os.read(fd, 64).decode(errors="replace").strip()
        finally:
            os.close(fd)
    except OSError:
        return "?"
    return "".join(char if char.isprintable() else "?" for char in text) or "?"


def lineage(pid: int) -> tuple[int, int, int] | None:
    """Parent, process group and session of a process; None where it is gone."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            text = os.read(fd, 1024)
        finally:
            os.close(fd)
        # the name before the last ')' may hold anything, spaces and brackets included
        _, parent, group, session, _ = text[text.rindex(b")") + 2 :].split(None, 4)
        return int(parent), int(group), int(session)
    except (OSError, ValueError):
        return None


def dynamic_user(pid: int, proc: str = "/proc") -> int | None:
    """The user that systemd made up for the unit of a process; None where it has another's."""
    try:
        with open(f"{proc}/{pid}/status", "rb") as file:
            uid = next((int(line.split()[1]) for line in file if line.startswith(b"Uid:")), 0)
    except OSError:
        return None
    return uid if uid in _DYNAMIC else None


def leader(pid: int, leaders: Collection[int]) -> int | None:
    """Which of `leaders` a process belongs to: itself, by session, by process group, or by descent; else None."""
    for _ in range(_DEPTH):
        if pid in leaders:
            return pid
        family = lineage(pid)
        if family is None:
            return None
        parent, group, session = family
        if session in leaders:
            return session
        if group in leaders:
            return group
        if parent <= 1:
            return None
        pid = parent
    return None


def children(pid: int) -> Iterator[int]:
    """A process and all that descend from it without a break; nothing where the kernel does not list children."""
    waiting = [pid]
    while waiting:
        pid = waiting.pop()
        yield pid
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                    waiting.extend(map(int, file.read().split()))
        except OSError:
            continue


def every(proc: str = "/proc") -> list[int]:
    """All processes there are."""
    return [int(entry) for entry in os.listdir(proc) if entry.isdecimal()]


def sockets(pid: int) -> set[int]:
    """Inodes of the sockets a process holds, none where it is gone. Raises PermissionError where one may not ask."""
    found = set[int]()
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                target = os.readlink(f"/proc/{pid}/fd/{fd}")
            except FileNotFoundError:
                continue
            if target.startswith("socket:["):
                found.add(int(target[8:-1]))
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found
