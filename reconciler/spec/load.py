"""The fleet directory → Fleet, again and again: only what changed is read, and never half of a change.

A look reads (`_look`), checks that git did not move meanwhile, and only then believes what it read. It never raises for
what is in the files, and never writes.
"""

import gc
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from reconciler.model.fleet import Fleet
from reconciler.model.source import Problem, Revision
from reconciler.spec import git
from reconciler.spec.check import Declared, File, Key, Reading, locate, read, refused
from reconciler.spec.document import Keys
from reconciler.spec.files import Listing, Stamp, Tree, display_name, is_source, too_large
from reconciler.spec.held import Patience, beneath, with_names
from reconciler.spec.resolve import Resolver, declares

REST = 1.0
_GIT_PAUSE = 0.01
_GIT_STALE = 30.0
_DEAR = 0.02
"""A full look that took longer is not begun again before nine times as long has passed: a tenth of a core at most."""
_OFFLINE_PATIENCE = 5.0
_BATCH = 128
_MANY = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """One look."""

    fleet: Fleet
    """The same object as before where nothing changed."""
    look_again_at: float | None = None
    """When to look though nothing is heard of, seconds of CLOCK_MONOTONIC."""


class _News(NamedTuple):
    """What a file says now that it did not say before."""

    path: str
    stamp: Stamp | None
    reading: Reading | None


@dataclass(slots=True)
class _Look:
    """What a look found; nothing of it counts until git is seen to have stood still."""

    news: list[_News]
    missing: str | None = None
    size: int = 0
    identity: tuple[int, int] | None = None


class Loader:
    """Holds the last good version of every resource, and what is known of every file."""

    def __init__(self, root: str, *, clock: Callable[[], float], rest: float = REST, patient: bool = True) -> None:
        self._root = os.path.abspath(root)
        self._shown = root
        self._name = display_name(root)
        self._clock = clock
        self._patient = patient
        self._patience = Patience(rest)
        self._resolver = Resolver(self._root, self._name, self._place)
        self.holders = self._resolver.holders
        self._everything = True
        self._touched: set[str] = set()
        self._news = True
        self._first = True
        self._full_after = 0.0
        self._identity: tuple[int, int] | None = None
        self._size = 0
        self._missing: str | None = None
        self._repository = git.find(self._root)
        self._index: git.Mark | None = None
        self._lock: tuple[git.Mark, float] | None = None
        self._lock_problem: Problem | None = None
        self._commit: str | None = None
        self._generation = 0
        self._dirty: tuple[int, bool | None] | None = None
        self._loaded = Loaded(fleet=Fleet(root=root, missing="it was not looked at yet"))

    def touch(self, paths: frozenset[str] | None) -> None:
        """These files may have changed, by path relative to the root; None: any. Nothing in it: git may have moved."""
        self._news = True
        if paths is None or not all(path.isprintable() for path in paths):
            self._everything = True
        else:
            self._touched |= paths

    def load(self) -> Loaded:
        """The fleet as it is to be believed now. Cheap where nothing was touched and nothing is due."""
        now = self._clock()
        due = self._loaded.look_again_at
        if not self._news and (due is None or now < due):
            return self._loaded
        collecting = self._first and gc.isenabled()
        if collecting:
            gc.disable()  # ten thousand files are a million objects that stay: looking through them again takes 0.2 s
        try:
            return self._load(now)
        finally:
            if collecting:
                if len(self._patience.files) >= _MANY:
                    gc.freeze()  # nor is anything looked through later; what a change replaces is freed all the same
                gc.enable()

    def _load(self, now: float) -> Loaded:
        if self._git_moves(now):
            return self._wait(now + _GIT_PAUSE)
        index = self._repository.index() if self._repository is not None else None
        if index != self._index:
            self._everything = True
        full = self._everything and (now >= self._full_after or self._first or not self._patient)
        if index != self._index and not full:
            return self._wait(self._full_after)  # what was hinted at alone would be a mix
        look = self._look(full=full)
        if self._repository is not None and (self._moving() or self._repository.index() != index):
            # what was read may be a mix. In this order: git renames its lock to the index
            return self._wait(now + _GIT_PAUSE)
        self._index = index
        self._believe(look, now)
        self._touched.clear()
        if full:
            self._everything = False
            self._repository = self._repository or git.find(self._root)
            took = self._clock() - now
            self._full_after = now + 10 * took if took > _DEAR else now
        self._news = False
        return self._publish()

    async def refresh_dirty(self) -> None:
        """Ask git whether the files differ from the commit; the next load carries the answer."""
        generation = self._generation
        if self._repository is None or (self._dirty is not None and self._dirty[0] == generation):
            return
        answer = await git.dirty(self._root)
        if generation == self._generation:
            self._dirty, self._news = (generation, answer), True

    def refresh_dirty_now(self) -> None:
        """The same, waiting for it."""
        if self._repository is not None:
            self._dirty, self._news = (self._generation, git.dirty_now(self._root)), True

    def _moving(self) -> bool:
        """Whether git holds its lock, and not for so long that it was left behind."""
        return self._repository is not None and self._lock_problem is None and self._repository.lock() is not None

    def _git_moves(self, now: float) -> bool:
        lock = self._repository.lock() if self._repository is not None else None
        if lock is None:
            self._lock, self._lock_problem = None, None
            return False
        if self._lock is None or self._lock[0] != lock:
            self._lock, self._lock_problem = (lock, now), None
        if now - self._lock[1] < _GIT_STALE:
            return True
        self._lock_problem = Problem(
            path=f"{self._name}/.git/index.lock" if self._repository else self._name,
            message=f"cannot wait for git any longer: its lock is {_GIT_STALE:.0f} s old; "
            f"if no git command runs, remove {self._repository.directory if self._repository else ''}/index.lock",
        )
        return False

    def _wait(self, until: float) -> Loaded:
        """The previous fleet; look again in a moment."""
        self._news = True
        fleet = self._loaded.fleet
        if self._first:
            fleet = replace(fleet, missing="git is rewriting it; it is read as soon as git has finished")
        self._loaded = Loaded(fleet=fleet, look_again_at=until)
        return self._loaded

    def _look(self, *, full: bool) -> _Look:
        """What changed, and why the directory cannot be believed if so. Changes nothing here."""
        try:
            tree = Tree(self._root)
        except FileNotFoundError:
            return _Look([], "it does not exist; create it, or name another directory")
        except NotADirectoryError:
            return _Look([], "it is not a directory; name the directory that holds the YAML files")
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            return _Look([], f"it cannot be opened: {why}; let the user that runs holdfast read it")
        with tree:
            news = [] if full else self._hinted(tree)
            if full or tree.identity != self._identity or self._missing is not None or self._emptied(news):
                listing = tree.look()
                why = self._doubt(listing)
                if why is not None:
                    return _Look([], why)
                news = self._changed(tree, listing)
            known = {item.path for item in news}
            for path in self._rivals(news) - known:
                news.extend(self._one(tree, path))
        size = self._size + sum(_grown(item, self._patience) for item in news)
        return _Look(news, too_large(size), size, tree.identity)

    def _doubt(self, listing: Listing) -> str | None:
        """Why a listing is not to be believed as a whole."""
        if "" in listing.refused:
            return f"it {listing.refused[''].message}"
        if listing.excess is not None:
            return listing.excess
        if not listing.stamps and not listing.refused:
            return "it holds no *.yaml file; put some there, or name another directory"
        return None

    def _changed(self, tree: Tree, listing: Listing) -> list[_News]:
        """Compare a whole listing with what is known."""
        files = self._patience.files
        news = self._read(tree, [path for path, stamp in listing.stamps.items() if self._differs(path, stamp)])
        for path, problem in listing.refused.items():
            for inner in {path, *beneath(path, files)} - listing.stamps.keys():
                news.extend(self._refuse(inner, problem))
        covered = {inner for path in listing.refused for inner in (path, *beneath(path, files))}
        if len(files) + len(news) > len(listing.stamps):
            news.extend(
                _News(path, None, None)
                for path, held in files.items()
                if path not in listing.stamps and path not in covered and held.reading is not None
            )
        return news

    def _hinted(self, tree: Tree) -> list[_News]:
        """Only what was touched."""
        news: list[_News] = []
        for path in sorted(self._touched):
            if is_source(path):
                news.extend(self._one(tree, path))
        return news

    def _emptied(self, news: list[_News]) -> bool:
        """Whether no file is left: then the directory as a whole is in question."""
        gone = {item.path for item in news if item.reading is None}
        files = self._patience.files.items()
        return bool(gone) and all(held.reading is None or path in gone for path, held in files)

    def _one(self, tree: Tree, path: str) -> list[_News]:
        held = self._patience.files.get(path)
        seen = tree.stamp(path)
        if isinstance(seen, Problem):
            return self._refuse(path, seen)
        if seen is None:
            return [_News(path, None, None)] if held is not None and held.reading is not None else []
        return self._read(tree, [path]) if self._differs(path, seen) else []

    def _differs(self, path: str, stamp: Stamp) -> bool:
        held = self._patience.files.get(path)
        return held is None or held.stamp != stamp

    def _read(self, tree: Tree, paths: list[str]) -> list[_News]:
        """What these files say now. So many at a time that what is held meanwhile stays small."""
        news: list[_News] = []
        for begin in range(0, len(paths), _BATCH):
            found = [(path, tree.read_again(path)) for path in paths[begin : begin + _BATCH]]
            files = [self._file(path, seen[1]) for path, seen in found if isinstance(seen, tuple)]
            readings = iter(read(files))
            for path, seen in found:
                if isinstance(seen, tuple):
                    news.append(_News(path, seen[0], next(readings)))
                else:
                    news.append(_News(path, None, None if seen is None else refused(seen)))
        return news

    def _file(self, path: str, data: bytes) -> File:
        above = path.rpartition("/")[0]
        return File(data, f"{self._name}/{path}", f"{self._root}/{above}" if above else self._root)

    def _refuse(self, path: str, problem: Problem) -> list[_News]:
        """It may not be read: said once."""
        held = self._patience.files.get(path)
        reading = refused(problem)
        return [] if held is not None and held.reading == reading else [_News(path, None, reading)]

    def _rivals(self, news: list[_News]) -> set[str]:
        """Other files that claim what was just read: they are looked at too, for it may only have moved."""
        paths: set[str] = set()
        if self._first:
            return paths
        for item in news:
            for key in declares(item.reading) if item.reading is not None else ():
                paths.update(path for path in self._resolver.holders(key) if path != item.path)
        return paths

    def _believe(self, look: _Look, now: float) -> None:
        self._missing = look.missing
        patience, resolver = self._patience, self._resolver
        if look.missing is not None:
            return
        self._size, self._identity = look.size, look.identity
        news = [item for item in look.news if patience.see(item.path, item.stamp, item.reading, now)]
        touched: set[Key] = set()
        at_once = self._first or not self._patient
        ripe = patience.ripe(now, at_once=at_once)
        while ripe:
            for path in ripe:
                touched |= resolver.replace(path, *patience.believe(path))
            touched |= self._yield(touched)
            ripe = patience.ripe(now, at_once=at_once)
        self._first = False
        if news or touched:
            resolver.resolve(touched)
            self._generation += 1

    def _yield(self, touched: set[Key]) -> set[Key]:
        """What moved to another file is given up by the file that no longer stands for it."""
        given: set[Key] = set()
        for key in self._resolver.shared(touched):
            holders = self._resolver.holders(key)
            weak = [path for path in dict.fromkeys(holders) if not self._patience.files[path].keeps(key)]
            for path in weak[: len(set(holders)) - 1]:
                given |= self._resolver.replace(path, *self._patience.yield_to(key, path))
        return given

    def _publish(self) -> Loaded:
        commit = self._repository.commit() if self._repository is not None else None
        if commit != self._commit:
            self._commit = commit
            self._generation += 1
        dirty = self._dirty[1] if self._dirty is not None and self._dirty[0] == self._generation else None
        holdings = self._resolver.holdings
        fleet = Fleet(
            root=self._shown,
            revision=Revision(commit=commit, dirty=dirty) if commit is not None else None,
            workloads=holdings.workloads,
            engines=holdings.engines,
            nodes=holdings.nodes,
            access=holdings.access,
            routes=holdings.routes,
            slots=holdings.slots,
            problems=self._problems(),
            missing=f"{self._shown} cannot be believed: {self._missing}" if self._missing is not None else None,
        )
        before = self._loaded.fleet
        dues = [self._patience.due() if self._missing is None else None]
        dues.append(self._full_after if self._everything else None)
        due = min((time for time in dues if time is not None), default=None)
        self._loaded = Loaded(fleet=before if _same(before, fleet) else fleet, look_again_at=due)
        return self._loaded

    def _problems(self) -> tuple[Problem, ...]:
        """Sorted by place."""
        sources = (*self._patience.problems.values(), *self._resolver.problems.values())
        found = [problem for problems in sources for problem in problems]
        if self._lock_problem is not None:
            found.append(self._lock_problem)
        told: dict[tuple[str, int, int, str, str], Problem] = {}
        for problem in found:
            place = (problem.path, problem.line, problem.column, problem.key, problem.message)
            other = told.get(place)
            told[place] = problem if other is None else with_names(other, problem.names)
        return tuple(told[place] for place in sorted(told))

    def _place(self, path: str, claim: Declared, keys: Keys) -> tuple[int, int]:
        """Where a key stands, read again from the file: nobody keeps the places of what is good."""
        try:
            with Tree(self._root) as tree:
                found = tree.read(path)
        except OSError:
            found = None
        place = locate(found[1], path, claim.number, keys) if isinstance(found, tuple) else None
        return place or (claim.line, 1)


def _grown(item: _News, patience: Patience) -> int:
    held = patience.files.get(item.path)
    before = held.stamp[2] if held is not None and held.stamp is not None else 0
    return (item.stamp[2] if item.stamp is not None else 0) - before


def _same(one: Fleet, other: Fleet) -> bool:
    kept = ("workloads", "engines", "nodes", "access", "routes")
    told = ("problems", "missing", "revision")
    return all(getattr(one, name) is getattr(other, name) for name in kept) and all(
        getattr(one, name) == getattr(other, name) for name in told
    )


def load_once(root: str) -> Fleet:
    """The directory as it is now, with every problem in it. Waits a moment for git, for nothing else."""
    loader = Loader(root, clock=time.monotonic, patient=False)
    end = time.monotonic() + _OFFLINE_PATIENCE
    loaded = loader.load()
    while loaded.look_again_at is not None and time.monotonic() < end:
        time.sleep(_GIT_PAUSE)
        loaded = loader.load()
    loader.refresh_dirty_now()
    return loader.load().fleet
