"""Headers of model files on this machine: a GGUF, one of several files of it, a safetensors file or a directory."""

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from posixpath import join, normpath
from typing import Self

from reconciler.engines import gguf, safetensors
from reconciler.model.observation import Unknown
from reconciler.model.weights import Unreadable, Weights

Stamp = tuple[tuple[str, int, int], ...]
"""Path, size and time of change in ns of every file that was read."""
_FILES = 4096


class _Open:
    """A regular file, open for reading. Raises OSError."""

    def __init__(self, path: str) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        found = os.fstat(self.descriptor)
        if not stat.S_ISREG(found.st_mode):
            os.close(self.descriptor)
            raise OSError(0, "it is no regular file")
        self.size = found.st_size

    def read(self, offset: int, length: int) -> bytes:
        """As many of these bytes as there are."""
        return os.pread(self.descriptor, length, offset)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            os.close(self.descriptor)


def read(source: str, directory: str, before: object) -> tuple[Stamp, Weights | Unreadable | Unknown | None]:
    """What a `file:` source weighs, and what it was read from; None where that is the same as `before`."""
    path = normpath(join(directory, source.removeprefix("file:")))
    try:
        files = _files(path)
        stamp = tuple(_stamp(each) for each in files)
        if stamp == before:
            return stamp, None
        if not files:
            return (), Unreadable(reason=f"cannot weigh {path}: there is no GGUF and no safetensors file in it")
        found = _safetensors(path, files) if _is_safetensors(files[-1]) else _gguf(files)
    except OSError as error:
        return (), Unknown(reason=f"cannot read {error.filename or path}: {error.strerror or error}")
    return stamp, Unreadable(reason=f"{path}: {found.reason}") if isinstance(found, Unreadable) else found


def _stamp(path: str) -> tuple[str, int, int]:
    found = os.stat(path)
    return path, found.st_size, found.st_mtime_ns


def _files(path: str) -> list[str]:
    """All files to read, config.json first."""
    if not stat.S_ISDIR(os.stat(path).st_mode):
        beside = join(os.path.dirname(path), "config.json")
        config = [beside] if _is_safetensors(path) and os.path.isfile(beside) else []
        return [*config, *gguf.shards(path)]
    names = sorted(os.listdir(path))
    found = [name for name in names if name.endswith(".safetensors")]
    # beside the shards some repositories hold the whole again: what the index names is what counts
    if "model.safetensors.index.json" in names:
        listed = safetensors.index(_all(join(path, "model.safetensors.index.json"), safetensors.INDEX))
        found = list(listed.files) if isinstance(listed, safetensors.Index) else found
    elif "model.safetensors" in names:
        found = ["model.safetensors"]
    if found:
        config = ["config.json"] if "config.json" in names else []
        return [join(path, name) for name in [*config, *found[:_FILES]]]
    whole = [name for name in names if name.endswith(".gguf") and not name.startswith("mmproj")]
    sets = {gguf.shards(name) for name in whole}
    return [join(path, name) for name in next(iter(sets))] if len(sets) == 1 else []


def _is_safetensors(path: str) -> bool:
    return path.endswith(".safetensors")


def _all(path: str, cap: int) -> bytes:
    with _Open(path) as file:
        return file.read(0, cap)


def _gguf(files: Sequence[str]) -> Weights | Unreadable:
    parts: list[gguf.Part] = []
    for path in files:
        with _Open(path) as file:
            part = gguf.read(file.read, size=file.size)
        if isinstance(part, Unreadable):
            return part
        parts.append(part)
    return gguf.weigh(parts)


def _safetensors(path: str, files: Sequence[str]) -> Weights | Unreadable:
    config, parts = b"{}", list[safetensors.Part]()
    for each in files:
        if not _is_safetensors(each):
            config = _all(each, safetensors.CONFIG)
            continue
        with _Open(each) as file:
            part = safetensors.read(file.read, size=file.size)
        if isinstance(part, Unreadable):
            return part if each == path else Unreadable(reason=f"{os.path.basename(each)} {part.reason}")
        parts.append(part)
    return safetensors.weigh(config, parts)
