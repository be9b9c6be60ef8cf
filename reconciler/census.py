"""Which files of a cache belong to which source, and which of them are ours to delete. It deletes nothing."""

import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from posixpath import basename, dirname, join, normpath

from reconciler import shelf
from reconciler.engines import registry
from reconciler.model.stored import Blob

_DIGEST = re.compile(rb"sha256:([0-9a-f]{64})")
_BESIDE = (shelf.PARTIAL, f"{shelf.PARTIAL}.etag")
"""What a file that is not whole yet is called, and what is noted of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One source of which something is here."""

    source: str
    """Empty in the moment before its fetch has said for what it is."""
    directory: str
    whole: shelf.Whole | None
    progress: shelf.Progress | None
    claimed: frozenset[str]
    paths: frozenset[str]
    """Every file and link that it uses or will use."""

    @property
    def files(self) -> frozenset[str]:
        """Those that are files, and hold bytes now."""
        return frozenset(path for path in self.paths if os.path.isfile(path) and not os.path.islink(path))


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """All of a cache."""

    entries: tuple[Entry, ...]
    claimed: frozenset[str]
    """What was not there before us."""
    foreign: frozenset[str]
    """Files that links lead to which are not ours."""

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """Every file of our sources, once."""
        users: dict[str, list[str]] = {}
        for entry in self.entries:
            for path in entry.files:
                users.setdefault(path, []).append(entry.source)
        return tuple(
            Blob(
                path=path,
                size=(found := os.lstat(path)).st_size,
                sources=tuple(sorted(sources)),
                stays=found.st_nlink > 1 or not self._ours(path),
            )
            for path, sources in sorted(users.items())
        )

    def deletable(self, going: Collection[str]) -> list[str]:
        """What is to be deleted with the entries of these directories: links first."""
        stay = frozenset[str]().union(*(entry.paths for entry in self.entries if entry.directory not in going))
        leave = frozenset[str]().union(*(entry.paths for entry in self.entries if entry.directory in going))
        found = [path for path in leave - stay if self._ours(path)]
        return sorted(found, key=lambda path: (not os.path.islink(path), path))

    def _ours(self, path: str) -> bool:
        return path in self.claimed and path not in self.foreign


def survey(place: shelf.Place) -> Census:
    """Look through a cache. Raises OSError."""
    found = (_entry(directory) for directory in (*shelf.sources(place), *shelf.gone(place)))
    entries = tuple(entry for entry in found if entry is not None)
    claimed = frozenset(f"{path}{end}" for entry in entries for path in entry.claimed for end in ("", *_BESIDE))
    within = tuple(f"{part}/" for part in place.parts)
    claimed = frozenset(path for path in claimed if path.startswith(within) and ".." not in path.split("/"))
    used = frozenset[str]().union(*(entry.paths for entry in entries))
    foreign = frozenset(
        target
        for repository in {dirname(dirname(path)) for path in used if basename(dirname(path)) == "blobs"}
        for link, target in (*_links(join(repository, "snapshots")), *_listed(repository))
        if link not in claimed
    )
    return Census(entries=entries, claimed=claimed, foreign=foreign)


def _entry(directory: str) -> Entry | None:
    whole, progress, claimed = shelf.whole(directory), shelf.progress(directory), shelf.claimed(directory)
    if whole is None and progress is None and not claimed:
        return None
    shown = [file.at for file in whole.files] if whole is not None else []
    paths = {*claimed, *shown, *filter(None, map(_target, shown))}
    return Entry(
        source=whole.source if whole is not None else progress.source if progress is not None else "",
        directory=directory,
        whole=whole,
        progress=progress,
        claimed=claimed,
        paths=frozenset({*paths, *(f"{path}{end}" for path in claimed for end in _BESIDE)}),
    )


def _links(snapshots: str) -> Iterator[tuple[str, str]]:
    """Every link of a repository, and the file that it leads to."""
    for folder, _, names in os.walk(snapshots):
        for name in names:
            link = join(folder, name)
            target = _target(link)
            if target is not None:
                yield link, target


def _listed(store: str) -> Iterator[tuple[str, str]]:
    """Every manifest of a store in Ollama's layout, and each file that it names."""
    for manifests in ("manifests", "manifests-v2"):
        for folder, _, names in os.walk(join(store, manifests)):
            for name in names:
                with open(join(folder, name), "rb") as file:
                    for digest in _DIGEST.findall(file.read(registry.MANIFEST)):
                        yield join(folder, name), join(store, "blobs", f"sha256-{digest.decode()}")


def _target(link: str) -> str | None:
    """Where a link leads, by the names that lead there; None for what is no link."""
    try:
        return normpath(join(dirname(link), os.readlink(link)))
    except OSError:
        return None
