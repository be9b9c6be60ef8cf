"""Sizes and durations as people write them, and back: `18GiB` ↔ bytes, `90s` ↔ timedelta. Cheap to import."""

import re
from datetime import timedelta
from functools import lru_cache

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]i?B|B)?")
_SIZES = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST = 366 * 86400.0
_LONGEST_WRITTEN = 64


def parse_size(value: object) -> int:
    """`18GiB`, `512MiB`, `80GB` or a plain number of bytes → bytes. Raises ValueError with what to write."""
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        number = float(match[1]) if "." in match[1] else int(match[1])
        size = number * _SIZES[match[2] or "B"]
    else:
        raise ValueError("write a size such as 18GiB, or a number of bytes")
    if not 0 <= size < 2**60:
        raise ValueError("write a size between 0 and 1 EiB")
    return int(size)


def print_size(size: int) -> str:
    """Bytes as a person reads them, one decimal: `46.1 GiB`."""
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} B"


def write_size(size: int) -> str:
    """Bytes as they are written in YAML, exactly: the largest unit that divides them."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % _SIZES[unit] == 0:
            return f"{size // _SIZES[unit]}{unit}"
    return str(size)


def parse_duration(value: object) -> timedelta:
    """`90s`, `10m`, `1h30m` or a plain number of seconds → timedelta. Raises ValueError with what to write."""
    if isinstance(value, str) and len(value) <= _LONGEST_WRITTEN:
        return _written(value)
    if isinstance(value, timedelta):
        return value
    return _duration(float(value) if isinstance(value, int | float) and not isinstance(value, bool) else -1.0)


@lru_cache(maxsize=256)
def _written(value: str) -> timedelta:
    """Of `1h30m`. People write a few of them again and again."""
    text = value.strip()
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return _duration(-1.0)
    return _duration(sum(float(number) * _SECONDS[unit] for number, unit in parts))


def _duration(seconds: float) -> timedelta:
    if not 0 <= seconds <= _LONGEST:
        raise ValueError("write a duration such as 90s or 10m, or a number of seconds, up to a year")
    return timedelta(seconds=seconds)


def print_duration(value: timedelta | float) -> str:
    """A duration at the precision a person needs: `850ms`, `4.2s`, `12m`, `3h05m`, `2d4h`."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.1f}".rstrip("0").rstrip(".") + "s"
    if seconds < 3600:
        return f"{seconds // 60:.0f}m" + (f"{seconds % 60:02.0f}s" if seconds % 60 >= 1 else "")
    if seconds < 86400:
        return f"{seconds // 3600:.0f}h{seconds % 3600 // 60:02.0f}m"
    return f"{seconds // 86400:.0f}d{seconds % 86400 // 3600:.0f}h"


def write_duration(value: timedelta) -> str:
    """A duration as it is written in YAML, exactly: the largest unit that divides it."""
    milliseconds = round(value.total_seconds() * 1000)
    for unit in ("d", "h", "m", "s"):
        scale = round(_SECONDS[unit] * 1000)
        if milliseconds and milliseconds % scale == 0:
            return f"{milliseconds // scale}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"
