"""Models in one plain tar, to be carried to a machine without internet: a list first, then each file once.

`holdfast-bundle.json`  what is in it, and the digest of every file
`blobs/<sha256>`        a file of a model
`fleet/<name>`          a file that declares one of them
"""

import hashlib
import os
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO, Literal

from pydantic import TypeAdapter

from reconciler import shelf
from reconciler.model.errors import HoldfastError

LIST = "holdfast-bundle.json"
VERSION = 1
CHUNK = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """One file."""

    path: str
    """Within its source, or its name in the fleet's directory."""
    size: int
    sha256: str
    digest: str = ""
    """As the cache has it: `sha256:…`, `git:…`."""

    @property
    def member(self) -> str:
        """Where a file of a model is in the tar."""
        return f"blobs/{self.sha256}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedModel:
    """One source."""

    source: str
    """By the name that it has in the cache."""
    revision: str
    files: tuple[Packed, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What is in it."""

    version: Literal[1] = VERSION
    models: tuple[PackedModel, ...]
    fleet: tuple[Packed, ...] = ()


SHAPE = TypeAdapter(Bundle)


def pack(out: BinaryIO, models: Sequence[shelf.Whole], fleet: Mapping[str, bytes]) -> int:
    """Write a bundle, as a stream; bytes of its files. Raises HoldfastError, and OSError."""
    packed = {model.source: tuple(map(_packed, model.files)) for model in models}
    declared = tuple(
        Packed(path=name, size=len(data), sha256=hashlib.sha256(data).hexdigest()) for name, data in fleet.items()
    )
    listed = Bundle(
        models=tuple(
            PackedModel(source=each.source, revision=each.revision, files=packed[each.source]) for each in models
        ),
        fleet=declared,
    )
    text = SHAPE.dump_json(listed, indent=1)
    written: set[str] = set()
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(_member(LIST, len(text)), BytesIO(text))
        for name, data in fleet.items():
            tar.addfile(_member(f"fleet/{name}", len(data)), BytesIO(data))
        for model in models:
            for file, what in zip(model.files, packed[model.source], strict=True):
                if what.member not in written:
                    written.add(what.member)
                    _add(tar, file, what, model.source)
    return sum(what.size for what in {what.member: what for each in packed.values() for what in each}.values())


def _packed(file: shelf.File) -> Packed:
    kind, _, value = file.digest.partition(":")
    if kind != "sha256":
        with open(file.at, "rb") as data:
            value = hashlib.file_digest(data, "sha256").hexdigest()
    return Packed(path=file.path, size=file.size, sha256=value, digest=file.digest)


class _Checked:
    """A file that is read once, and is what it should be."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._hash = file, hashlib.sha256()

    def read(self, size: int) -> bytes:
        """The next bytes."""
        data = self._file.read(size)
        self._hash.update(data)
        return data

    @property
    def sha256(self) -> str:
        """Of what was read."""
        return self._hash.hexdigest()


def _add(tar: tarfile.TarFile, file: shelf.File, what: Packed, source: str) -> None:
    with open(file.at, "rb") as opened:
        checked = _Checked(opened)
        if os.fstat(opened.fileno()).st_size == what.size:
            tar.addfile(_member(what.member, what.size), checked)  # type: ignore[arg-type] - it only reads
        if checked.sha256 != what.sha256:
            raise HoldfastError(
                f"cannot bundle {source}: {file.path} is not what was fetched, its disk has changed it; delete "
                f"{file.at}, and it is fetched again"
            )


def _member(name: str, size: int) -> tarfile.TarInfo:
    """A plain file; nothing of who made it, or when."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member


class Members:
    """Reads a tar forwards, and takes plain files only: no link, device or header of another kind can be in it."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self.name = ""
        """Of the member that is being read."""
        self._left = 0
        self._pad = 0

    def next(self) -> int | None:
        """Go to the next member; its size, or None at the end. Raises HoldfastError."""
        while self.data(CHUNK):
            pass
        self._exactly(self._pad)
        block = self._exactly(tarfile.BLOCKSIZE)
        if not block.strip(b"\0"):
            return None
        try:
            member = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.TarError:
            raise HoldfastError(f"it is damaged after {self.name or 'its beginning'}; copy it again") from None
        self.name = member.name.encode(errors="replace").decode()
        if member.type != tarfile.REGTYPE:
            raise HoldfastError(f"it holds {self.name!r}, which is no plain file; it was not made by holdfast bundle")
        self._left, self._pad = member.size, -member.size % tarfile.BLOCKSIZE
        return member.size

    def data(self, most: int) -> bytes:
        """The next bytes of the member; empty at its end. Raises HoldfastError where the tar ends before."""
        data = self._exactly(min(most, self._left))
        self._left -= len(data)
        return data

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self._read(count - len(data))
            if not more:
                raise HoldfastError(f"it ends within {self.name or 'its beginning'}: it was cut; copy it again")
            data = data + more if data else more
        return data
