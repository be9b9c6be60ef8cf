"""What a token costs to remember: bytes of keys and values by type. The same rows for every engine."""

from reconciler.engines.gguf import TYPES

_TYPES = {name.lower(): (block, size) for name, block, size in TYPES.values()}
_ALIASES = {
    "auto": "f16",
    "float16": "f16",
    "half": "f16",
    "bfloat16": "bf16",
    "float": "f32",
    "float32": "f32",
}
_BYTE = frozenset({"fp8", "fp8_e4m3", "fp8_e4m3fn", "fp8_e5m2", "fp8_inc", "fp8_ds_mla", "int8"})


def row(kind: str, elements: int) -> int:
    """Bytes of so many elements, with the scales of their blocks; of an unknown type as many as f16 has."""
    kind = _ALIASES.get(kind.lower(), kind.lower())
    if kind in _BYTE:
        return elements
    block, size = _TYPES.get(kind, (1, 2))
    return -(-elements // block) * size


def quantised(kind: str) -> bool:
    """Whether elements share a scale, so that they are unpacked before they are used."""
    return _TYPES.get(_ALIASES.get(kind.lower(), kind.lower()), (1, 2))[0] > 1


def padded(count: int, step: int) -> int:
    """Up to the next multiple."""
    return -(-count // step) * step
