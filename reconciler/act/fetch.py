"""Fetches one source into the cache, as a process of its own: it outlives the daemon, and hangs alone.

`python -m reconciler.act.fetch` reads an order (JSON) from standard input, and tells how far it is in the source's
directory of the cache, see `shelf`. The token is in the order only: in no argument, no variable, no file.
"""

import contextlib
import fcntl
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from posixpath import join, relpath
from types import FrameType
from typing import NoReturn

from reconciler import shelf
from reconciler.act import fetch_file, ollama_store
from reconciler.act.fetch_ask import Asker, FetchError
from reconciler.act.fetch_list import Listing, Remote, as_pinned, listing, snapshot
from reconciler.act.shelving import Shelving
from reconciler.engines import safetensors
from reconciler.engines.dialect import hub_parts, scheme
from reconciler.model.quantity import print_size
from reconciler.model.status import Reason

_AT_ONCE = 4
"""Files of one source that come at once."""
_TELLS = 0.25
"""Seconds between two notes of how far it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to fetch, and where to."""

    source: str
    slot: str
    """For whom."""
    root: str | None
    """`Node.cache.path`."""
    limit: int | None
    """Bytes that the cache should stay under."""
    token: str | None
    patience: float = 30.0
    """Seconds in which something must come."""


class _Fetch:
    """One fetch, from its lock to its last note."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.place = shelf.place(order.root)
        self.path = shelf.directory(self.place, order.source)
        self.ask = Asker(order.source, order.token, order.patience)
        self.done = 0
        self.total: int | None = None
        self.begun = 0
        self._counting = threading.Lock()

    def live(self) -> None:
        """Until it is there, or failed. Does nothing where another process is at it."""
        # who sees the lock may cancel: not before that can be told
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        os.makedirs(self.path, exist_ok=True)
        lock = os.open(join(self.path, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        earlier = shelf.progress(self.path)
        here = shelf.boot()
        count = earlier.count + (earlier.state == "fetching") if earlier is not None and earlier.boot == here else 0
        told = shelf.Progress(source=self.order.source, slot=self.order.slot, boot=here, count=count)
        note = os.open(join(self.path, "progress"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

        def tell(**more: object) -> None:
            fewer = {} if self.done <= self.begun else {"count": 0}
            now = replace(told, done=self.done, total=self.total, at=shelf.monotonic(), **{**fewer, **more})
            shelf.write_progress(note, now)

        def cancel(_number: int, _frame: FrameType | None) -> NoReturn:
            tell(state="cancelled")
            os._exit(0)

        signal.signal(signal.SIGTERM, cancel)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        failure: list[FetchError] = []
        ended = threading.Event()
        threading.Thread(target=self._work, args=(failure, ended), daemon=True).start()
        while not ended.wait(_TELLS):
            tell()
        if not failure:
            tell(state="whole")
            return
        (error,) = failure
        grown = self.done > self.begun
        tell(
            state="failed",
            reason=error.reason.value,
            detail=str(error),
            after=error.after,
            short=error.short,
            count=1 if grown else told.count + 1,
        )

    def _work(self, failure: list[FetchError], ended: threading.Event) -> None:
        try:
            self._fetch()
        except FetchError as error:
            failure.append(error)
        except OSError as error:
            failure.append(fetch_file.disk(self.order.source, error))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told, and tried again later
            failure.append(FetchError(Reason.FetchFailed, f"cannot fetch {self.order.source}: {error!r}", after=60))
        finally:
            ended.set()

    def _fetch(self) -> None:
        source = self.order.source
        try:
            listed = listing(source, self.ask)
        except FetchError as error:
            listed = self._as_it_lies() if error.reason is Reason.FetchFailed else None
            if listed is None:
                raise
        shelving = Shelving(place=self.place, source=source, revision=listed.revision)
        targets = {remote.path: shelving.target(remote.path, remote.digest) for remote in listed.files}
        manifest = {shelf.MANIFEST: shelving.target(shelf.MANIFEST, "")} if listed.manifest else {}
        wanted = {targets[remote.path]: remote for remote in listed.files}  # those that are alike are one
        sizes = [remote.size for remote in wanted.values()]
        self.total = sum(size for size in sizes if size is not None) if None not in sizes else None
        shelving.claim({**targets, **manifest})
        if manifest:
            ollama_store.link(listed, self.place.ollama)
        self._check_room(wanted)
        fetched = self._files(wanted)
        digests = {path: fetched[target] for path, target in targets.items()}
        for name, path in manifest.items():
            digests[name] = ollama_store.publish(listed.manifest, path)
        shelving.publish({**targets, **manifest}, digests)

    def _files(self, wanted: Mapping[str, Remote]) -> dict[str, str]:
        """Have all of them, by where they are to be; their digests."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            jobs = {target: pool.submit(self._file, remote, target) for target, remote in wanted.items()}
            finished, _ = wait(jobs.values(), return_when=FIRST_EXCEPTION)
            failed = [error for job in finished if (error := job.exception()) is not None]
            if failed:
                self.ask.stopped.set()
                for job in jobs.values():
                    job.cancel()
                raise failed[0]
            return {target: job.result() for target, job in jobs.items()}

    def _file(self, remote: Remote, target: str) -> str:
        kept = ollama_store.kept(remote) if scheme(self.order.source) == "ollama" else ()
        return fetch_file.fetch(remote, target, self.ask, self._count, kept)

    def _count(self, more: int) -> None:
        with self._counting:
            self.done += more

    def _as_it_lies(self) -> Listing | None:
        """What other tools have fetched, where the hub cannot be asked: blobs have their digests for names."""
        source = self.order.source
        if scheme(source) == "ollama":
            return ollama_store.pulled(source, self.place.ollama)
        found = shelf.snapshot_of(source, self.place.hub) if scheme(source) == "hf" else None
        if found is None:
            return None
        root = found if hub_parts(source)[2] is None else found.removesuffix("/" + str(hub_parts(source)[2]))
        names = [relpath(join(folder, name), root) for folder, _, each in os.walk(root) for name in each]
        chosen = snapshot(names) if root == found else [relpath(found, root)]
        if not _shards(root).issubset(names):
            return None
        files: list[Remote] = []
        for name in chosen:
            digest = os.path.basename(os.path.realpath(join(root, name)))
            kind = {64: "sha256", 40: "git"}.get(len(digest))
            if kind is None or os.path.islink(join(root, name)) is False:
                return None
            files.append(Remote(path=name, url="", size=os.stat(join(root, name)).st_size, digest=f"{kind}:{digest}"))
        with contextlib.suppress(FetchError):
            return as_pinned(source, Listing(revision=os.path.basename(root), files=tuple(files)))
        return None

    # -- room for it

    def _check_room(self, targets: Collection[str]) -> None:
        """Whether the disk, and the cache's size, have room for what is missing and for what others still fetch."""
        there = sum(_size(target) + _size(f"{target}{shelf.PARTIAL}") for target in targets)
        self.begun = there
        if self.total is None:
            return  # what the first answer tells is checked by the disk itself
        needed = max(0, self.total - there)
        others = shelf.running(self.place, beside=self.order.source)
        promised = sum(max(0, each.total - each.done) for each in others if each.total is not None)
        folder = os.path.dirname(next(iter(targets)))
        os.makedirs(folder, exist_ok=True)
        found = os.statvfs(folder)
        free = max(0, found.f_bavail * found.f_frsize - promised)
        if needed > free:
            why = f"it needs {print_size(needed)} more, and the disk of {folder} has {print_size(free)} free"
            raise fetch_file.full(self.order.source, why, short=needed - free)
        limit = self.order.limit
        used = shelf.size(*self.place.parts) if limit is not None and needed else 0
        if limit is not None and needed and used + promised + needed > limit:
            raise fetch_file.full(
                self.order.source,
                f"it needs {print_size(needed)} more, and the cache holds {print_size(used + promised)} of its "
                f"{print_size(limit)} (size of the Node's cache)",
                short=used + promised + needed - limit,
            )


def _shards(root: str) -> set[str]:
    """The files that a snapshot's index names; nothing where it has none."""
    path = join(root, "model.safetensors.index.json")
    if not os.path.isfile(path):
        return set()
    with open(path, "rb") as file:
        listed = safetensors.index(file.read(safetensors.INDEX))
    return set(listed.files) if isinstance(listed, safetensors.Index) else {path}


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def main(read: Callable[[], bytes] = sys.stdin.buffer.read) -> NoReturn:
    """Fetch what the order says. Where not even that can be written down, standard error has it, and the status."""
    os.umask(0o022)  # engines read it under users of their own; who may come so far, a directory above decides
    order = Order(**json.loads(read()))
    try:
        _Fetch(order).live()
    except OSError as error:
        sys.stderr.write(f"{fetch_file.disk(order.source, error)}\n")
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)  # threads may still wait for a server: nothing is left to them


if __name__ == "__main__":
    main()
