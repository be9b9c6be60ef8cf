"""Deletes weights from a cache: a source is first renamed, so that nobody takes it for whole, then its files go.

Whoever is killed in between leaves what the next call ends: `sweep`.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Collection
from dataclasses import replace
from posixpath import basename, dirname, join

from reconciler import census, shelf
from reconciler.model.status import Reason

Unlink = Callable[[str], None]


def discard(place: shelf.Place, sources: Collection[str], *, unlink: Unlink = os.unlink) -> None:
    """Delete these and nothing that another source uses, or that is not ours. Raises OSError."""
    for source in sources:
        path = shelf.directory(place, source)
        fresh = join(place.ours, f"{shelf.GONE}{basename(path)}")
        if os.path.isdir(fresh):
            sweep(place)
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, fresh)
    sweep(place, unlink=unlink)
    for path in shelf.sources(place):
        _try_again(path)


def sweep(place: shelf.Place, *, unlink: Unlink = os.unlink) -> None:
    """Delete the files of what has gone. Raises OSError."""
    going = shelf.gone(place)
    if not going:
        return
    for path in census.survey(place).deletable(going):
        with contextlib.suppress(FileNotFoundError):
            unlink(path)
        _tidy(dirname(path), place)
    for path in going:
        shutil.rmtree(path)


def _try_again(path: str) -> None:
    """A fetch that found no room need not wait any longer: its failure is no longer told."""
    told = shelf.progress(path)
    if told is not None and (told.state, told.reason) == ("failed", Reason.DiskFull) and shelf.holder(path) is None:
        descriptor = os.open(join(path, "progress"), os.O_WRONLY | os.O_CLOEXEC)
        try:
            shelf.write_progress(descriptor, replace(told, state="cancelled"))
        finally:
            os.close(descriptor)


def _tidy(folder: str, place: shelf.Place) -> None:
    """Remove directories that have become empty, and the names of commits of which nothing is here any more."""
    while folder.startswith(tuple(f"{part}/" for part in place.parts)):
        try:
            os.rmdir(folder)
        except OSError:
            return
        if basename(dirname(folder)) == "snapshots":
            _forget(join(dirname(dirname(folder)), "refs"), basename(folder))
        folder = dirname(folder)


def _forget(refs: str, commit: str) -> None:
    for folder, _, names in os.walk(refs, topdown=False):
        for name in names:
            path = join(folder, name)
            with open(path, encoding="utf-8", errors="replace") as file:
                stale = file.read(64).strip() == commit
            if stale:
                os.unlink(path)
        with contextlib.suppress(OSError):
            os.rmdir(folder)
