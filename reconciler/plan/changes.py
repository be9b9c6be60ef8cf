"""What differs between two versions of a workload's settings, as a person would say it."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

_SECRETIVE = ("env", "args", "command", "params")
"""Fields whose values may hold what must not be shown: only their names are."""


def changes(before: str, after: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """From two `Workload.settings`: (what needs a restart, what is live), as `context 8192 → 16384`."""
    try:
        (restart_a, live_a, engine_a), (restart_b, live_b, engine_b) = json.loads(before), json.loads(after)
    except (ValueError, TypeError):
        return ("recorded by another version",), ()
    restart = [*_fields(restart_a, restart_b), *(f"engine's {text}" for text in _fields(engine_a, engine_b))]
    return tuple(restart), tuple(_fields(live_a, live_b))


def _fields(before: Mapping[str, Any], after: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for key in sorted(before.keys() | after.keys()):
        a, b, name = before.get(key), after.get(key), f"{path}{key}"
        if a == b:
            continue
        if key in _SECRETIVE:
            yield f"{name}{_keys(a, b)}"
        elif isinstance(a, dict) and isinstance(b, dict):
            yield from _fields(cast("dict[str, Any]", a), cast("dict[str, Any]", b), f"{name}.")
        else:
            yield f"{name} {_show(cast('object', a))} → {_show(cast('object', b))}"


def _keys(before: object, after: object) -> str:
    """The keys that differ, where both are mappings."""
    if not isinstance(before or {}, dict) or not isinstance(after or {}, dict):
        return ""
    a, b = cast("dict[str, Any]", before or {}), cast("dict[str, Any]", after or {})
    return f" ({', '.join(sorted(key for key in a.keys() | b.keys() if a.get(key) != b.get(key)))})"


def _show(value: object) -> str:
    if value is None:
        return "default"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(map(_show, cast("list[object]", value))) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_show(item)}" for key, item in cast("dict[str, Any]", value).items())
    return str(value)
