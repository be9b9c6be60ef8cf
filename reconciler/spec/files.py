"""The fleet directory, read safely: regular files beneath the root only, by descriptors, within caps.

No symlink inside the tree is followed; nothing but a regular file is opened; nothing is ever written.
"""

import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from reconciler.model.source import Problem

MAX_FILE = 256 * 2**10
MAX_FLEET = 64 * 2**20
MAX_FILES = 20_000
MAX_ENTRIES = 200_000
MAX_DEPTH = 16

Stamp = tuple[int, int, int, int, int]
"""Device, inode, size, mtime and ctime in ns: equal where the content is."""
FRESH = -1
"""For the ctime of a file that was changed in this very moment: another change may have the same time."""
_TICK = 20_000_000
"""Nanoseconds after which another change has another time: the clocks of file systems tick, every 10 ms at the most."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NONBLOCK
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


@dataclass(slots=True)
class Listing:
    """What the directory holds."""

    stamps: dict[str, Stamp] = field(default_factory=dict[str, Stamp])
    """Regular YAML files, by path relative to the root."""
    refused: dict[str, Problem] = field(default_factory=dict[str, Problem])
    """What may not be read: files, and directories with all beneath them."""
    excess: str | None = None
    """Why it is too much to be read at all."""
    room: int = MAX_ENTRIES
    """So many entries more are looked at."""


class Tree:
    """An open fleet directory. Opening it raises OSError."""

    def __init__(self, root: str, *, today: Callable[[], int] = time.time_ns) -> None:
        """`today`: nanoseconds since the epoch, as files are dated."""
        self.name = display_name(root)
        self._today = today
        self._fd = os.open(root, _DIRECTORY)
        self._parent: tuple[str, int] | None = None
        found = os.fstat(self._fd)
        self.identity = (found.st_dev, found.st_ino)
        """Of the directory itself: another one may have taken its place."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._parent is not None:
            os.close(self._parent[1])
        os.close(self._fd)

    def look(self) -> Listing:
        """Every YAML file and what stands in the way of reading others. Stops at the caps."""
        listing = Listing()
        self._list(self._fd, "", 0, listing)
        if listing.excess is None:
            listing.excess = too_large(sum(stamp[2] for stamp in listing.stamps.values()))
        return listing

    def stamp(self, path: str) -> Stamp | Problem | None:
        """Of one file; None where there is none."""
        try:
            parent, name = self._reach(path)
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return self._obstacle(path)
        except OSError as error:
            return self._obstacle(path) or self._unreadable(path, error)
        return self._judge(path, found)

    def read(self, path: str) -> tuple[Stamp, bytes] | Problem | None:
        """A file's content, and its stamp from before it was read, which may be FRESH; None where there is none."""
        seen = self.stamp(path)
        if not isinstance(seen, tuple):
            return seen
        return self.read_again(path)

    def read_again(self, path: str) -> tuple[Stamp, bytes] | Problem | None:
        """The same, of a path that was just seen to be a regular file: nothing else is ever opened."""
        try:
            parent, name = self._reach(path)
            fd = os.open(name, _FILE, dir_fd=parent)
        except (FileNotFoundError, NotADirectoryError):
            return self._obstacle(path)
        except OSError as error:
            return self._obstacle(path) or self._unreadable(path, error)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_FILE:
                refused = self._judge(path, found)
                return None if isinstance(refused, tuple) else refused
            changed = FRESH if abs(self._today() - found.st_ctime_ns) < _TICK else found.st_ctime_ns
            stamp = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, changed
            data = os.read(fd, found.st_size + 1)  # not as much as may be: room for it is not had for nothing
            if len(data) != found.st_size:
                while len(data) <= MAX_FILE and (more := os.read(fd, MAX_FILE + 1 - len(data))):
                    data += more
        except OSError as error:
            return self._unreadable(path, error)
        finally:
            os.close(fd)
        return (stamp, data) if len(data) <= MAX_FILE else self._refuse(path, _TOO_LONG)

    def _list(self, fd: int, prefix: str, depth: int, listing: Listing) -> None:
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    listing.room -= 1
                    if len(listing.stamps) >= MAX_FILES or listing.room < 0:
                        most = f"{MAX_FILES:,} YAML files" if listing.room >= 0 else f"{MAX_ENTRIES:,} entries"
                        listing.excess = f"it holds more than {most}; split the fleet, or point to a smaller directory"
                    elif entry.name[0] != ".":
                        self._list_entry(fd, entry, prefix + entry.name, depth, listing)
                    if listing.excess is not None:
                        return
        except OSError as error:
            path = prefix.rstrip("/")
            listing.refused[path] = self._unreadable(path, error)

    def _list_entry(self, fd: int, entry: os.DirEntry[str], path: str, depth: int, listing: Listing) -> None:
        folder = entry.is_dir(follow_symlinks=False)
        if not folder and is_yaml(entry.name):
            self._list_file(entry, path, listing)
        elif not entry.name.isprintable():
            return
        elif folder:
            self._list_directory(fd, entry.name, path, depth + 1, listing)
        elif entry.is_symlink() and entry.is_dir():
            listing.refused[path] = self._refuse(path, _SYMLINK)

    def _list_file(self, entry: os.DirEntry[str], path: str, listing: Listing) -> None:
        try:
            seen = self._judge(path, entry.stat(follow_symlinks=False))
        except FileNotFoundError:
            return
        except OSError as error:
            seen = self._unreadable(path, error)
        if isinstance(seen, tuple):
            listing.stamps[path] = seen
        elif seen is not None:
            listing.refused[path] = seen

    def _list_directory(self, parent: int, name: str, path: str, depth: int, listing: Listing) -> None:
        if depth > MAX_DEPTH:
            listing.refused[path] = self._refuse(path, f"more than {MAX_DEPTH} directories deep; move it up")
            return
        try:
            fd = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        except FileNotFoundError:
            return
        except OSError as error:
            listing.refused[path] = self._unreadable(path, error)
            return
        try:
            self._list(fd, path + "/", depth, listing)
        finally:
            os.close(fd)

    def _reach(self, path: str) -> tuple[int, str]:
        """Descriptor of the directory that holds a path, opened component by component, and the last name."""
        above, _, name = path.rpartition("/")
        if not above:
            return self._fd, name
        if self._parent is None or self._parent[0] != above:
            fd = self._fd
            for part in above.split("/"):
                try:
                    deeper = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
                finally:
                    if fd != self._fd:
                        os.close(fd)
                fd = deeper
            if self._parent is not None:
                os.close(self._parent[1])
            self._parent = (above, fd)
        return self._parent[1], name

    def _obstacle(self, path: str) -> Problem | None:
        """The symlink that stands on the way to a path, if one does."""
        try:
            fd = os.dup(self._fd)
        except OSError as error:
            return self._unreadable(path, error)  # nobody knows: it is not taken for absent
        try:
            parts = path.split("/")
            for index, part in enumerate(parts):
                found = os.stat(part, dir_fd=fd, follow_symlinks=False)
                if stat.S_ISLNK(found.st_mode):
                    return self._refuse("/".join(parts[: index + 1]), _SYMLINK)
                if index < len(parts) - 1:
                    deeper = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
                    os.close(fd)
                    fd = deeper
        except OSError:
            return None
        finally:
            os.close(fd)
        return None

    def _judge(self, path: str, found: os.stat_result) -> Stamp | Problem | None:
        mode = found.st_mode
        if not path.isprintable():
            return self._refuse(path, "its name is not plain text; rename it")
        if stat.S_ISREG(mode):
            if found.st_size > MAX_FILE:
                return self._refuse(path, _TOO_LONG)
            return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
        if stat.S_ISDIR(mode):
            return None
        what = (
            _SYMLINK if stat.S_ISLNK(mode) else f"{_KINDS.get(stat.S_IFMT(mode), 'not a file')}; write a regular file"
        )
        return self._refuse(path, what)

    def _refuse(self, path: str, why: str) -> Problem:
        shown = "".join(c if c.isprintable() else "?" for c in path)
        return Problem(path=f"{self.name}/{shown}".rstrip("/"), message=f"cannot be read: {why}")

    def _unreadable(self, path: str, error: OSError) -> Problem:
        why = (error.strerror or str(error)).lower()
        return self._refuse(path, f"{why}; let the user that runs holdfast read it")


_TOO_LONG = f"longer than {MAX_FILE // 1024} KiB; split it"
_SYMLINK = "a symlink, and none is followed; put the file itself here"
_KINDS = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFBLK: "a device", stat.S_IFCHR: "a device"}


def display_name(root: str) -> str:
    """How a person calls the directory: its last name."""
    return os.path.basename(os.path.abspath(root)) or "/"


def is_yaml(name: str) -> bool:
    """Whether a file of this name declares something: not hidden, `.yaml` or `.yml`."""
    return (name.endswith((".yaml", ".yml"))) and name[0] != "."


def is_source(path: str) -> bool:
    """The same of a path relative to the root; nothing in a hidden directory counts."""
    return path.endswith((".yaml", ".yml")) and "/." not in path and path[0] != "."


def too_large(size: int) -> str | None:
    """Why so many bytes in all are not read."""
    if size <= MAX_FLEET:
        return None
    return f"its files are over {MAX_FLEET // 2**20} MiB together; split the fleet, or point to a smaller directory"
