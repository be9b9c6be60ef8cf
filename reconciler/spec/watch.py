"""Notices edits of the fleet directory and of git beside it, by inotify (D3). Carries names, no content.

It may tell too much, and after an overflow it tells "anything". What it misses, the daemon's periodic look finds.
"""

import asyncio
import errno
import os
import stat
from collections.abc import Callable
from typing import NamedTuple, cast

from inotify_simple import INotify, flags

from reconciler.spec import git
from reconciler.spec.files import MAX_DEPTH, is_source

_INSIDE = (
    flags.CLOSE_WRITE
    | flags.MOVED_FROM
    | flags.MOVED_TO
    | flags.CREATE
    | flags.DELETE
    | flags.ATTRIB
    | flags.DELETE_SELF
    | flags.MOVE_SELF
    | flags.ONLYDIR
    | flags.EXCL_UNLINK
)
_GIT = flags.MOVED_TO | flags.DELETE | flags.ONLYDIR
_PARENT = flags.MOVED_TO | flags.CREATE | flags.ONLYDIR
_GONE = flags.DELETE_SELF | flags.MOVE_SELF | flags.UNMOUNT
_NEW = flags.CREATE | flags.MOVED_TO
_MANY = 1000
"""So many names at once are told as "anything"."""
_DEAR = 0.002
_MOST_DIRECTORIES = 20_000


class _Event(NamedTuple):
    wd: int
    mask: int
    cookie: int
    name: str


class Watcher:
    """Calls back with the paths that changed, relative to the root; None: any; an empty set: git moved."""

    def __init__(self, root: str, on_change: Callable[[frozenset[str] | None], None]) -> None:
        self._root = os.path.abspath(root)
        self._on_change = on_change
        self._inotify: INotify | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._inside: dict[int, str] = {}
        self._beside: dict[int, str] = {}
        self._above: int | None = None
        self._identity: tuple[int, int] | None = None
        self._doubtful = False
        self.degraded: str | None = None
        """Why edits are noticed late, in words; None where they are noticed at once."""

    def start(self) -> None:
        """Watch, on the running event loop."""
        self._loop = asyncio.get_running_loop()
        try:
            self._inotify = INotify(nonblocking=True)
        except OSError as error:
            self._degrade(error)
            return
        self._loop.add_reader(self._inotify.fileno(), self._take)
        self._arm()

    def stop(self) -> None:
        """Stop watching."""
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self._inotify is not None and self._loop is not None:
            self._loop.remove_reader(self._inotify.fileno())
            self._inotify.close()
            self._inotify = None

    def rearm(self) -> None:
        """Watch again what may have got lost: another root in its place, a directory out of reach. Cheap otherwise."""
        if self._inotify is None:
            if self._loop is not None:
                self.start()
            return
        if self._doubtful or self._identity is None or self._identity != self._found():
            self._arm()

    @property
    def _watching(self) -> bool:
        return self._inotify is not None

    def _found(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._root)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _arm(self) -> None:
        """Put every watch in place, and take away those of what is no longer there."""
        self.degraded, self._doubtful = None, False
        before = {**self._inside, **self._beside}
        self._inside, self._beside = {}, {}
        self._identity = self._found()
        if self._identity is not None:
            self._watch_inside("", set())
        self._watch_beside()
        for wd in before.keys() - self._inside.keys() - self._beside.keys():
            self._unwatch(wd)

    def _watch_beside(self) -> None:
        """Git's own directories, and the one above: where a missing root will appear, or a symlink be turned."""
        repository = git.find(self._root)
        for directory in repository.watched() if repository is not None else ():
            wd = self._watch(directory, _GIT)
            if wd is not None and wd not in self._inside:
                self._beside[wd] = directory
        if self._above is not None:
            self._unwatch(self._above)
            self._above = None
        if self._identity is None or os.path.islink(self._root):
            self._above = self._watch(os.path.dirname(self._root), _PARENT)

    def _watch_inside(self, path: str, found: set[str]) -> None:
        """A directory and those in it, watched first and listed then, so that nothing falls in between."""
        waiting = [path]
        while waiting:
            path = waiting.pop()
            full = os.path.join(self._root, path) if path else self._root
            mask = _INSIDE | flags.DONT_FOLLOW if path else _INSIDE
            wd = self._watch(full, mask)
            if wd is None:
                continue
            self._inside[wd] = path
            if path.count("/") + 1 > MAX_DEPTH or len(self._inside) > _MOST_DIRECTORIES:
                continue
            try:
                with os.scandir(full) as entries:
                    for entry in entries:
                        inner = f"{path}/{entry.name}" if path else entry.name
                        if entry.name.startswith("."):
                            continue
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(inner)
                        elif is_source(inner):
                            found.add(inner)
            except OSError:
                self._doubtful = True

    def _watch(self, path: str, mask: int) -> int | None:
        if self._inotify is None:
            return None
        try:
            return int(self._inotify.add_watch(path, mask))  # pyright: ignore[reportUnknownMemberType]
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EMFILE, errno.ENOMEM):
                self._degrade(error)
            return None

    def _unwatch(self, wd: int) -> None:
        try:
            if self._inotify is not None:
                self._inotify.rm_watch(wd)  # pyright: ignore[reportUnknownMemberType]
        except OSError:
            pass  # it went with its directory

    def _degrade(self, error: OSError) -> None:
        self._doubtful = True
        limit = "max_user_instances" if error.errno == errno.EMFILE else "max_user_watches"
        self.degraded = (
            f"cannot watch all of {self._root} ({(error.strerror or '').lower()}): edits are noticed late; "
            f"raise fs.inotify.{limit}"
        )

    def _take(self) -> None:
        """Everything the kernel has to tell, as one call."""
        if self._inotify is None or self._loop is None:
            return
        begun = self._loop.time()
        paths: set[str] = set()
        anything = moved = False
        for event in cast("list[_Event]", self._inotify.read(timeout=0)):  # pyright: ignore[reportUnknownMemberType]
            if event.mask & flags.Q_OVERFLOW or event.wd == self._above:
                if event.mask & flags.Q_OVERFLOW or event.name == os.path.basename(self._root):
                    self._doubtful = anything = True
            elif event.wd in self._beside:
                moved = self._git_moved(event) or moved
            elif event.wd in self._inside:
                anything = self._moved(event, self._inside[event.wd], paths) or anything
        if self._doubtful and anything:
            self._arm()
        if anything or len(paths) > _MANY:
            self._on_change(None)
        elif paths or moved:
            self._on_change(frozenset(paths))
        spent = self._loop.time() - begun
        if spent > _DEAR and self._watching:
            # in a storm the kernel collects meanwhile, and overflows if need be: a tenth of a core at most
            self._loop.remove_reader(self._inotify.fileno())
            self._pause = self._loop.call_later(9 * spent, self._resume)

    def _resume(self) -> None:
        self._pause = None
        if self._inotify is not None and self._loop is not None:
            self._loop.add_reader(self._inotify.fileno(), self._take)

    def _git_moved(self, event: _Event) -> bool:
        if event.mask & flags.IGNORED:
            self._beside.pop(event.wd, None)
            return False
        name = event.name
        if event.mask & flags.DELETE:
            return name == "index.lock"
        if name == "HEAD":
            self._watch_beside()
        return not name.endswith(".lock")

    def _moved(self, event: _Event, directory: str, paths: set[str]) -> bool:
        """Note what changed; whether only a full look can tell."""
        if event.mask & (_GONE | flags.IGNORED):
            self._inside.pop(event.wd, None)
            if not directory:
                self._identity, self._doubtful = None, True
            return not directory
        name = event.name
        if not name or name.startswith("."):
            return False
        path = f"{directory}/{name}" if directory else name
        if event.mask & flags.ISDIR:
            return self._directory_moved(event.mask, path, paths)
        if not is_source(path):
            return bool(event.mask & _NEW) and self._is_link(path)
        if not (event.mask & flags.CREATE and self._is_begun(path)):
            paths.add(path)
        return False

    def _directory_moved(self, mask: int, path: str, paths: set[str]) -> bool:
        if mask & _NEW:
            self._watch_inside(path, paths)
            return False
        if mask & flags.MOVED_FROM:
            prefix = f"{path}/"
            for wd, inner in list(self._inside.items()):
                if inner == path or inner.startswith(prefix):
                    del self._inside[wd]
                    self._unwatch(wd)
            return True
        return bool(mask & (flags.ATTRIB | flags.DELETE))

    def _is_link(self, path: str) -> bool:
        try:
            return stat.S_ISLNK(os.lstat(os.path.join(self._root, path)).st_mode)
        except OSError:
            return False

    def _is_begun(self, path: str) -> bool:
        """Whether somebody made it and is writing it: nothing to read before it is closed. A link has no writer."""
        try:
            found = os.lstat(os.path.join(self._root, path))
        except OSError:
            return False
        return stat.S_ISREG(found.st_mode) and found.st_nlink == 1
