"""Which processes have files open, or mapped, from /proc; of strangers' processes no more than one may see."""

import contextlib
import os
from collections.abc import Collection
from posixpath import basename

from reconciler.observe import processes


def opened(paths: Collection[str]) -> dict[str, tuple[str, ...]]:
    """By path, who has it open: `llama-server (pid 4242)`."""
    files: dict[tuple[int, str], str] = {}
    for path in paths:
        with contextlib.suppress(OSError):
            files[os.stat(path).st_ino, basename(path)] = path
    found: dict[str, list[str]] = {}
    for pid in processes.every() if files else ():
        if pid == os.getpid():
            continue
        for path in {files[seen] for seen in _open(pid) | _mapped(pid) if seen in files}:
            found.setdefault(path, []).append(f"{processes.name(pid)} (pid {pid})")
    return {path: tuple(who) for path, who in found.items()}


def _open(pid: int) -> set[tuple[int, str]]:
    """Inodes and names: together they tell a file even from within a container, where its path is another."""
    seen: set[tuple[int, str]] = set()
    with contextlib.suppress(OSError):
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            path = f"/proc/{pid}/fd/{descriptor}"
            with contextlib.suppress(OSError):
                name = os.readlink(path)
                if name.startswith("/"):
                    seen.add((os.stat(path).st_ino, basename(name)))
    return seen


def _mapped(pid: int) -> set[tuple[int, str]]:
    seen: set[tuple[int, str]] = set()
    with contextlib.suppress(OSError), open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
        for line in file:
            words = line.rstrip("\n").split(None, 5)
            if len(words) == 6 and words[5].startswith("/"):
                seen.add((int(words[4]), basename(words[5])))
    return seen
