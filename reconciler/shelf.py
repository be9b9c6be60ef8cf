"""Where fetched weights lie, and what is written down of each fetch. `act/fetch` writes it; all others read.

<cache>/hub/models--org--name/   as Hugging Face's own tools lay it out: blobs, snapshots, refs
<cache>/ollama/                  as Ollama lays it out: manifests, blobs
<cache>/holdfast/<key>/          of each source:
    lock       held by the process that fetches it
    progress   how far it is, overwritten in place: a full disk cannot stop that
    whole      written last: where it lies, and every file's digest
    tree/      its files, where they are not of a hub
    claimed    paths that were not there before us: what is pruned is among these
    need       whether a workload is declared with it, and since when
    used       its time is when an instance was last started or stopped with it
<cache>/holdfast/.gone-<key>/    what was pruned, until its files are deleted
"""

import fcntl
import hashlib
import json
import os
import re
import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from posixpath import basename, dirname, join
from typing import Any

from reconciler.engines.dialect import hub_parts
from reconciler.model.decode import decode
from reconciler.model.observation import Unknown
from reconciler.model.status import Reason
from reconciler.model.stored import Absent, FetchFailure, Fetching, Here, Shelf, Stored

PROGRESS = 4096
"""Bytes of a progress file: one page, written at once."""
MANIFEST = "manifest"
"""Of an `ollama:` source, the name of the file that lists the others."""
PARTIAL = ".partial"
"""What a file's name ends in until it is whole. No other tool writes to such names."""
GONE = ".gone-"
"""What the names of directories begin with whose source was pruned."""
_ILLEGIBLE = (FileNotFoundError, ValueError, TypeError, KeyError, RecursionError)
_LOCK = struct.Struct("hhqqi")
_WHOLE = 16 * 2**20
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A cache on this machine."""

    hub: str
    """In the layout of Hugging Face's tools."""
    ours: str
    ollama: str
    """In the layout of Ollama's store."""

    @property
    def parts(self) -> tuple[str, ...]:
        """Every directory that weights lie in."""
        return self.hub, self.ours, self.ollama


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a fetch is, or how it ended."""

    source: str
    slot: str = ""
    state: str = "fetching"
    """`fetching`, `whole`, `failed` or `cancelled`."""
    done: int = 0
    total: int | None = None
    reason: str = Reason.FetchFailed.value
    detail: str = ""
    after: float = 0.0
    short: int = 0
    count: int = 0
    at: float = 0.0
    """Seconds of CLOCK_MONOTONIC in that boot of the machine."""
    boot: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file of a source that is here."""

    path: str
    """Within the source."""
    size: int
    digest: str
    """`sha256:…` or, of small files of a hub, `git:…`."""
    at: str
    """Where its bytes lie, absolute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """What was fetched and checked."""

    source: str
    path: str
    """What an engine is told to load."""
    revision: str
    """The commit that it was then; empty where there is no such thing."""
    files: tuple[File, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(file.size for file in self.files)


def hub_cache() -> str:
    """Where Hugging Face's tools keep what they fetched, by the same variables."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    home = os.environ.get("HF_HOME") or join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return os.path.expanduser(named or join(home, "hub"))


def place(root: str | None) -> Place:
    """The cache of a Node; without one, that of Hugging Face's tools, as their variables name it."""
    hub = hub_cache() if root is None else join(root, "hub")
    return Place(hub=hub, ours=join(dirname(hub), "holdfast"), ollama=join(dirname(hub), "ollama"))


def ollama_stores() -> tuple[str, ...]:
    """Where Ollama itself may have pulled to: as this user, and as the service that its installer makes."""
    mine = os.path.expanduser(os.environ.get("OLLAMA_MODELS") or "~/.ollama/models")
    return mine, "/usr/share/ollama/.ollama/models"


def place_of(found: Shelf) -> Place:
    """The cache that was looked through."""
    return Place(hub=found.hub, ours=found.path, ollama=found.ollama)


def key(source: str) -> str:
    """The name of a source's directory: readable, and different for every source."""
    plain = re.sub(r"[^A-Za-z0-9.-]+", "-", source)[:80].strip("-.")
    return f"{plain}-{hashlib.sha256(source.encode()).hexdigest()[:12]}"


def directory(place: Place, source: str) -> str:
    """What is written down of a source."""
    return join(place.ours, key(source))


def boot() -> str:
    """Which boot of the machine this is: what `at` is measured in."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def holder(path: str) -> int | None:
    """The process that holds this source's lock; None where nobody fetches it."""
    try:
        descriptor = os.open(join(path, "lock"), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        asked = fcntl.fcntl(descriptor, fcntl.F_GETLK, _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    finally:
        os.close(descriptor)
    kind, *_, pid = _LOCK.unpack(asked)
    return None if kind == fcntl.F_UNLCK else pid


def progress(path: str) -> Progress | None:
    """How far it is; None where nothing legible is written."""
    try:
        with open(join(path, "progress"), "rb") as file:
            return decode(Progress, json.loads(file.read(PROGRESS).rstrip(b"\0 ")))
    except _ILLEGIBLE:
        return None


def write_progress(descriptor: int, told: Progress) -> None:
    """Overwrite it, in one page."""
    said = asdict(told)
    while len(text := json.dumps(said).encode()) > PROGRESS:
        said["detail"] = said["detail"][: len(said["detail"]) // 2]
    os.pwrite(descriptor, text.ljust(PROGRESS), 0)


def whole(path: str) -> Whole | None:
    """What is here; None where it is not all here."""
    try:
        with open(join(path, "whole"), "rb") as file:
            return decode(Whole, json.loads(file.read(_WHOLE)))
    except _ILLEGIBLE:
        return None


def write_whole(path: str, told: Whole) -> None:
    """Say durably that all of it is here."""
    _write(path, "whole", json.dumps(asdict(told), indent=1))


def look(place: Place, source: str, now: float) -> Stored | Unknown:
    """Where the weights of a source are. `now`: seconds of CLOCK_MONOTONIC."""
    path = directory(place, source)
    try:
        found = whole(path)
        if found is not None and all(is_there(file) for file in found.files):
            return Here(path=found.path, size=found.size)
        busy = holder(path) is not None
        told = progress(path)
    except OSError as error:
        return Unknown(reason=f"cannot look into {error.filename or path}: {error.strerror}")
    if busy:
        return Fetching(slot=told.slot, done=told.done, total=told.total) if told else Fetching(slot="")
    if told is None or told.state in ("cancelled", "whole") or told.boot != boot():
        return Absent()
    if told.state == "fetching":  # its process was killed, or the machine ran out of memory
        failure = FetchFailure(
            at=min(told.at, now),
            count=told.count + 1,
            reason=Reason.FetchFailed,
            detail=f"cannot fetch {source}: the process that fetched it was killed; it goes on where it was",
        )
        return Absent(failure=failure)
    return Absent(
        failure=FetchFailure(
            at=min(told.at, now),
            count=told.count,
            reason=_reason(told.reason),
            detail=told.detail,
            after=told.after,
            short=told.short,
        )
    )


def running(place: Place, beside: str) -> Iterator[Progress]:
    """Every fetch that is going on, but the one of that source."""
    own = directory(place, beside)
    for path in sources(place):
        # never open one's own lock: to close it is to let it go
        if path != own and holder(path) is not None and (told := progress(path)) is not None:
            yield told


def wholes(place: Place) -> Mapping[str, Whole]:
    """All that is here, by source."""
    found = map(whole, sources(place))
    return {each.source: each for each in found if each is not None}


def sources(place: Place) -> list[str]:
    """The directory of every source of which something is here, and of what else lies beside them."""
    return [path for path in _folders(place) if not basename(path).startswith(".")]


def gone(place: Place) -> list[str]:
    """Directories of what was pruned and is not deleted yet."""
    return [path for path in _folders(place) if basename(path).startswith(GONE)]


def _folders(place: Place) -> list[str]:
    try:
        return sorted(entry.path for entry in os.scandir(place.ours) if entry.is_dir())
    except FileNotFoundError:
        return []


def claimed(path: str) -> frozenset[str]:
    """Files and links that were not there before this source was fetched, or that another source of ours brought."""
    try:
        with open(join(path, "claimed"), encoding="utf-8") as file:
            return decode(frozenset[str], json.loads(file.read(_WHOLE)))
    except _ILLEGIBLE:
        return frozenset()


def claim(place: Place, path: str, wanted: Iterable[str]) -> None:
    """Write down durably which of these are not there yet, or are ours already, before the first of them is made."""
    mine = claimed(path)
    others = frozenset[str]().union(*map(claimed, (*sources(place), *gone(place))))
    added = {each for each in wanted if each in others or not os.path.lexists(each)}
    if not added <= mine:
        _write(path, "claimed", json.dumps(sorted(mine | added), indent=1))


def need(path: str) -> tuple[bool, float] | None:
    """Whether it is needed, and since when that is so, in seconds since the epoch; None where nobody wrote it down."""
    try:
        with open(join(path, "need"), encoding="ascii") as file:
            said: Any = json.loads(file.read(256))
        return bool(said["needed"]), float(said["since"])
    except _ILLEGIBLE:
        return None


def write_need(path: str, needed: bool, now: float) -> None:
    """Note it, if that is news. `now`: seconds since the epoch."""
    before = need(path)
    if before is None or before[0] != needed:
        _write(path, "need", json.dumps({"needed": needed, "since": now}))


def used(path: str) -> float | None:
    """When an instance was last started or stopped with it, in seconds since the epoch."""
    try:
        return os.stat(join(path, "used")).st_mtime
    except FileNotFoundError:
        return None


def write_used(path: str, now: float) -> None:
    """Note that it was used. `now`: seconds since the epoch."""
    descriptor = os.open(join(path, "used"), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.utime(descriptor, (now, now))
    finally:
        os.close(descriptor)


def size(*paths: str) -> int:
    """Bytes that these directories take on the disk; what is linked twice counts once."""
    seen: dict[tuple[int, int], int] = {}
    for path in paths:
        for folder, _, names in os.walk(path):
            for name in names:
                try:
                    found = os.lstat(join(folder, name))
                except FileNotFoundError:
                    continue
                seen[found.st_dev, found.st_ino] = found.st_blocks * 512
    return sum(seen.values())


def snapshot_of(source: str, hub: str) -> str | None:
    """The file or directory of an `hf:` source in the cache; None where it is not there, or may not be all of it."""
    repo, revision, path = hub_parts(source)
    folder = join(hub, "models--" + repo.replace("/", "--"))
    commit = revision or "main"
    if not _COMMIT.fullmatch(commit):
        try:
            with open(join(folder, "refs", commit), encoding="ascii") as file:
                commit = file.read(64).strip()
        except (OSError, ValueError):
            return None
    if not _COMMIT.fullmatch(commit):
        return None
    snapshot = join(folder, "snapshots", commit)
    if path is not None:
        found = join(snapshot, path)
        return found if ".." not in path.split("/") and os.path.isfile(found) else None
    # shards come one by one: only with the index is it known whether all of them are there
    whole = any(os.path.isfile(join(snapshot, f"model.safetensors{end}")) for end in ("", ".index.json"))
    return snapshot if whole and os.path.isfile(join(snapshot, "config.json")) else None


def monotonic() -> float:
    """The clock of `Progress.at`."""
    return time.monotonic()


def _write(path: str, name: str, text: str) -> None:
    """A small file, durably, all of it or none."""
    fresh = join(path, f"{name}.new")
    with open(fresh, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, join(path, name))


def is_there(file: File) -> bool:
    """Whether it lies where it was put, as long as it was."""
    try:
        return os.stat(file.at).st_size == file.size
    except (FileNotFoundError, ValueError):
        return False


def _reason(text: str) -> Reason:
    try:
        return Reason(text)
    except ValueError:
        return Reason.FetchFailed
