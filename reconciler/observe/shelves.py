"""What lies in the cache of this machine: every source, who needs it, who uses it, and what it shares. Blocks."""

import os
from collections.abc import Mapping

from reconciler import census, shelf
from reconciler.model.stored import Blob, Kept, Shelf
from reconciler.observe.opened import opened

Names = Mapping[str, tuple[str, ...]]
_NONE: Names = {}


def look(place: shelf.Place, needs: Names, *, held: Names = _NONE, limit: int | None = None, frozen: str = "") -> Shelf:
    """All of it. `needs`: workloads by source; `held`: instances by path. Raises OSError."""
    seen = census.survey(place)
    blobs = tuple(blob for blob in seen.blobs if blob.sources != ("",))
    users = opened([blob.path for blob in blobs])
    here = [entry for entry in seen.entries if entry.source and shelf.GONE not in entry.directory]
    folder = place.ours
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    disk = os.statvfs(folder)
    return Shelf(
        path=place.ours,
        hub=place.hub,
        ollama=place.ollama,
        size=shelf.size(*place.parts),
        free=disk.f_bavail * disk.f_frsize,
        limit=limit,
        kept=tuple(sorted((_kept(entry, blobs, needs, held, users) for entry in here), key=lambda kept: kept.source)),
        blobs=blobs,
        frozen=frozen,
    )


def _kept(entry: census.Entry, blobs: tuple[Blob, ...], needs: Names, held: Names, users: Names) -> Kept:
    whole, told = entry.whole, entry.progress
    mine = [blob for blob in blobs if entry.source in blob.sources]
    sizes = {blob.path: blob.size for blob in mine}
    there = whole is not None and all(shelf.is_there(file) for file in whole.files)
    busy = shelf.holder(entry.directory) is not None
    total = whole.size if whole is not None else told.total if told is not None else None
    noted, who = shelf.need(entry.directory), needs.get(entry.source, ())
    slots = held.get(whole.path, ()) if whole is not None else ()
    strangers = sorted({name for path in sizes for name in users.get(path, ())})
    return Kept(
        source=entry.source,
        state="whole" if there else "fetching" if busy else "partial",
        revision=whole.revision if whole is not None else "",
        path=whole.path if whole is not None and there else "",
        size=sum(sizes.values()),
        total=total,
        needed_by=who,
        held_by=tuple(slots or strangers),
        unneeded_since=None if who else noted[1] if noted is not None else _since(entry.directory),
        used=shelf.used(entry.directory),
    )


def _since(directory: str) -> float:
    """When something of it was last written down."""
    return max(entry.stat().st_mtime for entry in os.scandir(directory))
