"""What was written of a resource → canonical JSON, and its hashes.

What equals its default is left out, so a new field of ours changes no fingerprint; order in a file means nothing. It
says what pydantic says with `exclude_defaults`, as a test shows, and costs less: there are thousands.
"""

import hashlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import lru_cache
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import PlainSerializer
from pydantic_core import PydanticUndefined, to_json

from reconciler.model.fields import Change, Spec, change_class
from reconciler.model.kinds import Engine, Workable
from reconciler.model.quantity import write_duration, write_size

_SCALARS = frozenset((str, int, bool, float, type(None)))
_EASY = _SCALARS | {tuple}
"""What fields are made of that are JSON already."""


class _Field(NamedTuple):
    name: str
    default: object
    plain: Callable[[Any], Any] | None
    """Makes a value of it what JSON has; None: it is already."""
    change: Change


def settings(spec: Workable, used: Engine | None, directory: str, *, attaches: bool = False) -> tuple[str, str, str]:
    """Settings as canonical JSON (`Workload.settings`), their fingerprint, and the hash of the live ones.

    Where its engine `attaches` what is of class engine, that is in none of them: it is compared by itself.
    """
    restart, live = _written(spec, attaches=attaches)
    engine = _json(_written(used)[0]) if used is not None else b"{}"
    restarts, lives = _json(restart), _json(live)
    fingerprint = restarts + engine
    if spec.kind == "Model" and spec.source.startswith("file:"):
        fingerprint += directory.encode()
    text = f"[{restarts.decode()},{lives.decode()},{engine.decode()}]"
    return text, _hash(fingerprint), _hash(lives)


def _json(value: dict[str, Any]) -> bytes:
    return to_json(value) if value else b"{}"


def _hash(text: bytes) -> str:
    return hashlib.blake2b(text, digest_size=8).hexdigest()


def _written(spec: Spec, *, attaches: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of class restart and of class live, in the order of the fields."""
    restart: dict[str, Any] = {}
    live: dict[str, Any] = {}
    values = spec.__dict__
    for name, default, plain, change in _chosen(type(spec), frozenset(spec.__pydantic_fields_set__)):
        value = values[name]
        if plain is not None:
            value = plain(value)
        if value != default:
            if change == "live":
                live[name] = value
            elif change == "restart" or not attaches:
                restart[name] = value
    return restart, live


def _whole(spec: Spec) -> dict[str, Any]:
    restart, live = _written(spec)
    return {**restart, **live} if live else restart


def _plain(value: object) -> Any:
    """Any value as JSON has it; a Spec without its defaults."""
    make = _MAKERS.get(type(value), _whole)  # by type(), as isinstance() of a pydantic class runs Python
    return value if make is None else make(value)


def _sized(value: Any) -> Any:
    return write_size(value) if type(value) is int else value


def _mapping(value: dict[str, Any]) -> dict[str, Any]:
    return {key: value[key] if type(value[key]) is str else _plain(value[key]) for key in sorted(value)}


def _sequence(value: tuple[Any, ...]) -> list[Any]:
    return [_plain(each) for each in value]


_MAKERS: dict[type, Callable[[Any], Any] | None] = {
    **dict.fromkeys((*_SCALARS, list)),
    dict: _mapping,
    tuple: _sequence,
    timedelta: lru_cache(maxsize=256)(write_duration),
}
"""By type; of any other, a Spec."""


@lru_cache(maxsize=4096)
def _chosen(kind: type[Spec], names: frozenset[str]) -> tuple[_Field, ...]:
    """The fields of these names, in the order of the kind."""
    return tuple(field for field in _fields(kind) if field.name in names)


@lru_cache(maxsize=64)
def _fields(kind: type[Spec]) -> tuple[_Field, ...]:
    made: list[_Field] = []
    for name, field in kind.model_fields.items():
        marks = {*_marks(field.metadata, field.annotation)}
        plain = _sized if write_size in marks else None if marks <= _EASY else _maker(field.annotation)
        default = field.get_default(call_default_factory=True)
        if plain is not None and default is not PydanticUndefined:
            default = plain(default)
        made.append(_Field(name, default, plain, change_class(kind, name)))
    return tuple(made)


def _maker(annotation: Any) -> Callable[[Any], Any]:
    """What makes JSON of a value of this type."""
    if get_origin(annotation) is dict:
        return _mapping
    return _whole if isinstance(annotation, type) and issubclass(annotation, Spec) else _plain


def _marks(metadata: list[Any], annotation: Any) -> Iterator[object]:
    """The classes that a type is made of, and the functions that write them."""
    for mark in metadata:
        if isinstance(mark, PlainSerializer):
            yield mark.func
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _marks(list(annotation.__metadata__), annotation.__origin__)
    elif origin is Literal:
        yield str
    elif origin is not None:
        yield from () if origin in (Union, UnionType) else (origin,)
        for part in get_args(annotation):
            yield from () if part is ... else _marks([], part)
    else:
        yield annotation
