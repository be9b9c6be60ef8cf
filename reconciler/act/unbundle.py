"""Takes a bundle into the cache: every file is checked before it has its name, and nothing outside is touched.

Nothing that it says is believed: names, lengths and digests are checked, and what is not listed is refused.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import re
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from posixpath import dirname, join

from pydantic import TypeAdapter, ValidationError

from reconciler import shelf
from reconciler.act import fetch_file
from reconciler.act.bundle import CHUNK, LIST, SHAPE, VERSION, Bundle, Members, Packed, PackedModel
from reconciler.act.shelving import Shelving
from reconciler.engines.dialect import FETCHED, pinned, scheme
from reconciler.engines.registry import name_of
from reconciler.model.errors import HoldfastError
from reconciler.model.kinds import Fetchable

_LISTED = 64 * 2**20
_FILE = 256 * 2**10
"""Bytes of a file of the fleet."""
_SOURCE: TypeAdapter[str] = TypeAdapter(Fetchable)
_SHA = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(r"(sha256:[0-9a-f]{64}|git:[0-9a-f]{40})?")
_NAME = re.compile(r"[\w.-]+\.ya?ml")
_REVISION = re.compile(r"[\w%-][\w%.:-]{0,255}")

Room = Callable[[int], None]
"""Told how many bytes more the cache will hold; raises HoldfastError where there is no room for them."""


@dataclass(slots=True, kw_only=True)
class Taken:
    """What came of it, until it ended."""

    whole: list[str] = field(default_factory=list[str])
    """Sources that are here now."""
    fleet: dict[str, bytes] = field(default_factory=dict[str, bytes])
    """Files of the fleet that it carries."""


def unpack(read: Callable[[int], bytes], place: shelf.Place, room: Room, taken: Taken) -> None:
    """Read a bundle to its end, and fill `taken`. Raises HoldfastError, to be told after `cannot import …: `."""
    members = Members(read)
    listed = _listed(members)
    models = [_Model(place, each) for each in listed.models]
    with contextlib.ExitStack() as locks:
        for model in models:
            locks.enter_context(model.alone())
        targets = {target: file for model in models for target, file in model.missing.items()}
        room(sum(file.size for file in targets.values()))
        for model in models:
            model.begin()
        try:
            _take(members, models, {f"fleet/{file.path}": file for file in listed.fleet}, taken)
        except OSError as error:
            where = error.filename or place.ours
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            why = "its disk is full" if full else (error.strerror or "error").lower()
            raise HoldfastError(f"cannot write {where}: {why}") from None


def _take(members: Members, models: list["_Model"], fleet: dict[str, Packed], taken: Taken) -> None:
    blobs: dict[str, list[tuple[_Model, Packed]]] = {}
    for model in models:
        for file in model.packed.files:
            blobs.setdefault(file.member, []).append((model, file))
    while (size := members.next()) is not None:
        name = members.name
        if name in fleet:
            taken.fleet[name.removeprefix("fleet/")] = _small(members, fleet.pop(name), size)
            continue
        users = blobs.pop(name, None)
        if users is None:
            raise HoldfastError(f"it holds {name!r}, which its list does not name, or names once")
        _blob(members, users, size)
        for model, _ in users:
            if model.publish():
                taken.whole.append(model.packed.source)
    lacks = [f"{users[0][1].path} of {users[0][0].packed.source}" for users in blobs.values()] + list(fleet)
    if lacks:
        raise HoldfastError(f"it lacks {lacks[0]}: whoever made it left that out")


def _listed(members: Members) -> Bundle:
    """What it says is in it."""
    size = members.next()
    if size is None or members.name != LIST or size > _LISTED:
        raise HoldfastError("it is no bundle; make one with `holdfast bundle`")
    text = b"".join(iter(lambda: members.data(CHUNK), b""))
    try:
        found = SHAPE.validate_json(text)
    except ValidationError as error:
        if f'"version": {VERSION}'.encode() not in text[:200]:
            raise HoldfastError("it was made by another version of holdfast; import it with that") from None
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise HoldfastError(f"its list is wrong at {where}: {error.errors()[0]['msg'].lower()}") from None
    for model in found.models:
        _check(model)
    for file in found.fleet:
        if not _NAME.fullmatch(file.path) or file.size > _FILE:
            raise HoldfastError(f"it names {file.path!r}, which is no file of a fleet")
    return found


def _check(model: PackedModel) -> None:
    """Whether a source, and every name in it, is one that may become a path."""
    source = model.source.removesuffix("/*.gguf")
    try:
        _SOURCE.validate_python(source)
        known = not {".", ".."} & set(re.split("[/@:]", source))
    except ValidationError:
        known = False
    if not known:
        raise HoldfastError(f"it names {source!r}, which is no source of a model")
    fetched = scheme(source) in FETCHED and (scheme(source) != "ollama" or name_of(source) is not None)
    good = bool(_REVISION.fullmatch(model.revision)) is (scheme(source) != "https")
    paths = [file.path for file in model.files]
    good = good and bool(paths) and len(set(paths)) == len(paths) and ".." not in model.revision
    for file in model.files:
        parts = file.path.split("/")
        safe = len(file.path) <= 1024 and "\0" not in file.path and not {"", ".", ".."} & set(parts)
        good = good and safe and bool(_SHA.fullmatch(file.sha256)) and bool(_DIGEST.fullmatch(file.digest))
        good = good and file.size >= 0
        good = good and (not file.digest.startswith("sha256:") or file.digest == f"sha256:{file.sha256}")
    if not (fetched and good):
        raise HoldfastError(f"what it says of {source} cannot be: it was not made by holdfast bundle")
    pin = pinned(source)[1]
    if pin is not None and pin not in (model.revision, *(file.digest for file in model.files)):
        raise HoldfastError(f"it has other files than {source} pins")


class _Model:
    """One source on its way into the cache."""

    def __init__(self, place: shelf.Place, packed: PackedModel) -> None:
        self.packed = packed
        self.shelving = Shelving(place=place, source=packed.source, revision=packed.revision)
        self.targets = {file.path: self.shelving.target(file.path, file.digest) for file in packed.files}
        self.left = {file.path for file in packed.files}

    @property
    def missing(self) -> dict[str, Packed]:
        """Files that are not here, by where they will be."""
        found = ((self.targets[file.path], file) for file in self.packed.files)
        return {target: file for target, file in found if not os.path.exists(target)}

    @contextlib.contextmanager
    def alone(self) -> Generator[None]:
        """Hold the lock of who fetches it."""
        os.makedirs(self.shelving.directory, exist_ok=True)
        lock = os.open(join(self.shelving.directory, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise HoldfastError(f"{self.packed.source} is being fetched now; let that end, or stop it") from None
        finally:
            os.close(lock)

    def begin(self) -> None:
        """Write down that it comes, so that what is here of it can be named should we be killed."""
        directory = self.shelving.directory
        if shelf.progress(directory) is None and shelf.whole(directory) is None:
            total = sum(file.size for file in self.packed.files)
            note = os.open(join(directory, "progress"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                told = shelf.Progress(source=self.packed.source, state="cancelled", total=total, boot=shelf.boot())
                shelf.write_progress(note, told)
            finally:
                os.close(note)
        self.shelving.claim(self.targets)

    def publish(self) -> bool:
        """Show it to engines once all of it is here; whether it is."""
        if self.left:
            return False
        digests = {file.path: file.digest or f"sha256:{file.sha256}" for file in self.packed.files}
        self.shelving.publish(self.targets, digests)
        return True


def _small(members: Members, file: Packed, size: int) -> bytes:
    """A file of the fleet."""
    data = b"".join(iter(lambda: members.data(CHUNK), b"")) if size == file.size else b""
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise HoldfastError(f"{file.path} is not what its list says")
    return data


def _blob(members: Members, users: list[tuple[_Model, Packed]], size: int) -> None:
    """One file, checked, to wherever it is missing."""
    model, file = users[0]
    what = f"{file.path} of {model.packed.source}"
    if size != file.size:
        raise HoldfastError(f"{what} is {size} bytes in it, and {file.size} in its list")
    first, *others = dict.fromkeys(each.targets[one.path] for each, one in users)
    os.makedirs(dirname(first), exist_ok=True)
    partial = f"{first}{shelf.PARTIAL}"
    with fetch_file.alone(partial) as descriptor:
        try:
            os.ftruncate(descriptor, 0)
            here = _is_here(first, file)
            digests = _copied(members, None if here else descriptor, size)
            if not {f"sha256:{file.sha256}", *(one.digest for _, one in users if one.digest)} <= digests:
                raise HoldfastError(f"{what} is not what its list says; it was discarded")
            os.fsync(descriptor)
            if not here:
                os.replace(partial, first)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(partial)
    for target in others:
        os.makedirs(dirname(target), exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.link(first, target)
    for each, one in users:
        each.left.discard(one.path)


def _is_here(path: str, file: Packed) -> bool:
    """Whether it was there before, and is what it should be."""
    try:
        with open(path, "rb") as there:
            return hashlib.file_digest(there, "sha256").hexdigest() == file.sha256
    except FileNotFoundError:
        return False


def _copied(members: Members, descriptor: int | None, size: int) -> set[str]:
    """Read a member, and write it where it is to be written; its digests, of both kinds."""
    sha256, git = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    while data := members.data(CHUNK):
        sha256.update(data)
        git.update(data)
        while descriptor is not None and data:
            data = data[os.write(descriptor, data) :]
    return {f"sha256:{sha256.hexdigest()}", f"git:{git.hexdigest()}"}
