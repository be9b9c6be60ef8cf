"""Writes GGUF files with nothing in their tensors: real headers, and holes where the weights would be."""

import struct
from collections.abc import Mapping
from pathlib import Path

from reconciler.engines.gguf import TYPES

Tensor = tuple[str, tuple[int, ...]]
"""Type by name, and dimensions, the fastest first."""
Value = bool | int | float | str | list[int] | list[float] | list[str] | list[bool]
ALIGNMENT = 32
_IDS = {name: number for number, (name, _, _) in TYPES.items()}


def text(value: str) -> bytes:
    """A string as GGUF has it."""
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def scalar(value: bool | float | str) -> tuple[int, bytes]:
    """The number of a value's type, and its bytes."""
    match value:
        case bool():
            return 7, struct.pack("<?", value)
        case int():
            return (5, struct.pack("<i", value)) if value < 0 else (4, struct.pack("<I", value))
        case float():
            return 6, struct.pack("<f", value)
        case str():
            return 8, text(value)


def entry(value: Value) -> bytes:
    """A value of the metadata with its type before it; whole numbers in a list are signed."""
    if not isinstance(value, list):
        kind, data = scalar(value)
        return struct.pack("<I", kind) + data
    if all(type(item) is int for item in value):
        return struct.pack(f"<IIQ{len(value)}i", 9, 5, len(value), *value)
    kind = scalar(value[0])[0]
    return struct.pack("<IIQ", 9, kind, len(value)) + b"".join(scalar(item)[1] for item in value)


def nbytes(tensor: Tensor) -> int:
    """What a tensor takes."""
    kind, shape = tensor
    _, block, size = TYPES[_IDS[kind]]
    count = 1
    for length in shape:
        count *= length
    return count // block * size


def header(values: Mapping[str, Value], tensors: Mapping[str, Tensor]) -> bytes:
    """Everything before the weights, padded."""
    head = [struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(values))]
    head += [text(key) + entry(value) for key, value in values.items()]
    offset = 0
    for name, tensor in tensors.items():
        kind, shape = tensor
        head.append(text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, _IDS[kind], offset))
        offset += -(-nbytes(tensor) // ALIGNMENT) * ALIGNMENT
    data = b"".join(head)
    return data + bytes(-len(data) % ALIGNMENT)


def write(path: Path, values: Mapping[str, Value], tensors: Mapping[str, Tensor]) -> Path:
    """A file of the true length that takes no more of the disk than its header."""
    data = header(values, tensors)
    with path.open("wb") as file:
        file.write(data)
        file.truncate(len(data) + sum(-(-nbytes(tensor) // ALIGNMENT) * ALIGNMENT for tensor in tensors.values()))
    return path
