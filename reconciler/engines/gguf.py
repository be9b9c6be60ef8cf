"""GGUF headers: bytes → a Part for each file, Parts → Weights. Never more memory or time than its caps allow.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. What the keys mean is in `gguf_layers`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct

from reconciler.engines import gguf_layers
from reconciler.engines.gguf_layers import Table, Tensor, Value
from reconciler.engines.source import Cursor, HeaderError, Source
from reconciler.model.weights import Unreadable, Weights

HEADER = 64 * 2**20
"""Bytes that a header may have: the largest vocabularies take some 12 MiB."""
_KEYS, _TENSORS, _STRINGS, _KEPT, _NAME, _FILES = 16384, 65536, 2**21, 8192, 4096, 1024

TYPES: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
}
"""Number → name, elements of a block, bytes of a block."""

_MAGIC, _COUNTS, _U32, _U64, _ARRAY = Struct("<4sI"), Struct("<QQ"), Struct("<I"), Struct("<Q"), Struct("<IQ")
_TENSOR = Struct("<IQ")
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_LAYOUTS = {kind: Struct("<" + code) for kind, code in _SCALARS.items()}
_STRING, _LIST = 8, 9
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file."""

    table: Table
    tensors: tuple[Tensor, ...]
    number: int = 0
    """Which of the model's files this is, from 0."""
    files: int = 1


def shards(name: str) -> tuple[str, ...]:
    """All files of a model by the name of one: `a-00001-of-00002.gguf` → both; any other name → itself."""
    match = _SHARD.search(name)
    if match is None or not 1 <= int(match[2]) <= _FILES:
        return (name,)
    stem, count = name[: match.start()], int(match[2])
    return tuple(f"{stem}-{number:05}-of-{count:05}.gguf" for number in range(1, count + 1))


def parse(source: Source, *, size: int | None = None) -> Weights | Unreadable:
    """A model of one file; `size` of the file in bytes, where it is known, tells one that was cut off."""
    part = read(source, size=size)
    return part if isinstance(part, Unreadable) else weigh((part,))


def read(source: Source, *, size: int | None = None) -> Part | Unreadable:
    """The header of one file."""
    try:
        return _part(Cursor(source, HEADER), size)
    except HeaderError as error:
        return Unreadable(reason=str(error))


def weigh(parts: Sequence[Part]) -> Weights | Unreadable:
    """A model of all its files, in any order."""
    ordered = sorted(parts, key=lambda part: part.number)
    if not ordered or [part.number for part in ordered] != list(range(ordered[0].files)):
        there = ", ".join(str(part.number + 1) for part in ordered) or "none"
        return Unreadable(reason=f"cannot be weighed: of its files only {there} are there; fetch the others")
    tensors = tuple(tensor for part in ordered for tensor in part.tensors)
    try:
        return gguf_layers.weights(ordered[0].table, tensors, files=len(ordered))
    except HeaderError as error:
        return Unreadable(reason=str(error))


def _part(cursor: Cursor, size: int | None) -> Part:
    magic, version = cursor.numbers(_MAGIC)
    if magic != b"GGUF":
        raise HeaderError("cannot be read: it is no GGUF file")
    if version & 0xFFFF == 0:
        raise HeaderError("cannot be read: it is a big-endian GGUF, and this machine is not; convert it again")
    if version not in (2, 3):
        raise HeaderError(f"cannot be read: GGUF version {version} is not known here; versions 2 and 3 are")
    tensor_count, key_count = cursor.numbers(_COUNTS)
    _bounded(tensor_count, _TENSORS, "tensors")
    _bounded(key_count, _KEYS, "keys")
    values: dict[str, Value] = {}
    lengths: dict[str, int] = {}
    for _ in range(key_count):
        key = _name(cursor, "key")
        if key in values or key in lengths:
            raise HeaderError(f"cannot be read: key {key!r} is in it twice")
        (kind,) = cursor.numbers(_U32)
        if kind == _LIST:
            _list(cursor, key, values, lengths)
        else:
            values[key] = _value(cursor, kind, key)
    table = Table(values=values, lengths=lengths)
    tensors = _tensors(cursor, tensor_count, table.number("general.alignment", 32, most=2**20), size)
    number, files = table.number("split.no", 0, most=_FILES), table.number("split.count", 0, most=_FILES)
    return Part(table=table, tensors=tensors, number=number, files=files or 1)


def _bounded(count: int, most: int, what: str) -> None:
    if count > most:
        raise HeaderError(f"cannot be read: it says it has {count} {what}, more than {most}")


def _name(cursor: Cursor, what: str) -> str:
    (length,) = cursor.numbers(_U64)
    _bounded(length, _NAME, f"bytes in the name of a {what}")
    return cursor.take(length).decode("utf-8", "replace")


def _value(cursor: Cursor, kind: int, key: str) -> Value:
    if kind == _STRING:
        (length,) = cursor.numbers(_U64)
        if length > _NAME:
            cursor.skip(length)
            return ""
        return cursor.take(length).decode("utf-8", "replace")
    layout = _LAYOUTS.get(kind)
    if layout is None:
        raise HeaderError(f"cannot be read: key {key!r} is of type {kind}, which is not known here")
    return cursor.numbers(layout)[0]


def _list(cursor: Cursor, key: str, values: dict[str, Value], lengths: dict[str, int]) -> None:
    """Short lists of numbers are kept; of others the length is enough."""
    kind, count = cursor.numbers(_ARRAY)
    lengths[key] = count
    if kind == _STRING:
        _bounded(count, _STRINGS, f"strings in {key!r}")
        cursor.strings(count)
        return
    code = _SCALARS.get(kind)
    if code is None:
        raise HeaderError(f"cannot be read: {key!r} is a list of type {kind}, which is not known here")
    if count > _KEPT:
        cursor.skip(_LAYOUTS[kind].size * count)
    else:
        values[key] = cursor.numbers(Struct(f"<{count}{code}"))


def _tensors(cursor: Cursor, count: int, alignment: int, size: int | None) -> tuple[Tensor, ...]:
    found: list[Tensor] = []
    end = 0
    for _ in range(count):
        name = _name(cursor, "tensor")
        (dimensions,) = cursor.numbers(_U32)
        _bounded(dimensions, 4, f"dimensions in tensor {name!r}")
        shape = cursor.numbers(Struct(f"<{dimensions}Q"))
        kind, offset = cursor.numbers(_TENSOR)
        known = TYPES.get(kind)
        if known is None:
            raise HeaderError(f"cannot be read: tensor {name!r} is of type {kind}, which is not known here")
        kind_name, block, bytes_of_block = known
        elements = 1
        for length in shape:
            elements *= length
        if not 0 <= elements < 2**50 or (shape and shape[0] % block):
            raise HeaderError(f"cannot be read: tensor {name!r} cannot have {'×'.join(map(str, shape))} elements")
        taken = elements // block * bytes_of_block
        end = max(end, offset + taken)
        found.append(Tensor(name=name, kind=kind_name, shape=shape, size=taken))
    begin = -(-cursor.at // max(1, alignment)) * max(1, alignment)
    if size is not None and begin + end > size:
        raise HeaderError(f"cannot be used: {size} of its {begin + end} bytes are there; fetch it again")
    return tuple(found)
