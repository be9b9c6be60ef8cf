"""Turns plain JSON back into our dataclasses, by their annotations.

pydantic would do it too, and costs a command line a quarter of a second to import and to prepare.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Generic, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
Decoder = Callable[[Any], Any]
_NOTHING = object()


def decode(kind: type[T], value: object) -> T:
    """A value of type `kind`, from JSON as `json.loads` gives it.

    Unknown keys are left out: a newer version may send them. Raises ValueError, TypeError or KeyError.
    """
    return cast("T", _decoder(kind)(value))


class Again(Generic[T]):
    """Decodes one value after another of a dataclass: what is said again is the same object again.

    Most of what a stream tells is what it told before.
    """

    def __init__(self, kind: type[T]) -> None:
        self._kind = kind
        self._said: dict[str, Any] | None = None
        self._made: T | None = None

    def decode(self, value: object) -> T:
        """As `decode` does; of the value before everything is taken over that is equal to the JSON, for ever.

        Of a field that is a mapping that holds for each of its values.
        """
        given, before, made = _exactly(dict)(value), self._said, self._made
        if before is None or made is None:
            made = decode(self._kind, given)
        elif given != before:
            told = {
                name: _again(decoder, each, given[name], before.get(name, _NOTHING), getattr(made, name))
                for name, (decoder, each) in _parts(self._kind).items()
                if name in given
            }
            made = self._kind(**told)
        self._said, self._made = given, made
        return made


def _again(decoder: Decoder, each: Decoder | None, value: Any, before: Any, made: Any) -> Any:
    if value == before:
        return made
    if each is None or not isinstance(value, dict) or not isinstance(before, dict):
        return decoder(value)
    some, old = cast("dict[str, Any]", value), cast("dict[str, Any]", before)
    return {key: made[key] if key in old and old[key] == one else each(one) for key, one in some.items()}


@cache
def _parts(kind: Any) -> dict[str, tuple[Decoder, Decoder | None]]:
    """Of each field of a dataclass: how it is decoded, and how each value of it where it is a mapping."""
    hints = get_type_hints(kind)
    found: dict[str, tuple[Decoder, Decoder | None]] = {}
    for field in fields(kind):
        if field.init:
            hint = hints[field.name]
            many = get_origin(hint) in (Mapping, dict)
            found[field.name] = _decoder(hint), _decoder(get_args(hint)[1]) if many else None
    return found


@cache
def _decoder(kind: Any) -> Decoder:
    origin, inner = get_origin(kind), get_args(kind)
    if kind in (int, str, bytes, bool, NoneType):
        return _exactly(kind)
    if kind is float:
        return _float
    if origin is Literal:
        return _one_of(inner)
    if origin in (Union, UnionType):
        return _union(inner)
    if origin is tuple:
        return _tuple(inner)
    if origin is frozenset:
        each = _decoder(inner[0])
        return lambda value: frozenset(map(each, _listed(value)))
    if origin in (Mapping, dict):
        return _mapping(_decoder(inner[1]))
    if issubclass(kind, Enum):
        return kind
    return _dataclass(kind)


def _exactly(kind: type) -> Decoder:
    def exact(value: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"{type(value).__name__} where {kind.__name__} was expected")
        return value

    return exact


def _float(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise TypeError(f"{type(value).__name__} where a number was expected")


def _one_of(choices: tuple[Any, ...]) -> Decoder:
    def one(value: Any) -> Any:
        if value not in choices:
            raise ValueError(f"{value!r} is none of {', '.join(map(str, choices))}")
        return value

    return one


def _listed(value: Any) -> list[Any]:
    return _exactly(list)(value)


def _mapping(each: Decoder) -> Decoder:
    def mapping(value: Any) -> dict[str, Any]:
        return {key: each(one) for key, one in _exactly(dict)(value).items()}

    return mapping


def _tuple(inner: tuple[Any, ...]) -> Decoder:
    if len(inner) == 2 and inner[1] is Ellipsis:
        each = _decoder(inner[0])
        return lambda value: tuple(map(each, _listed(value)))
    decoders = tuple(map(_decoder, inner))
    return lambda value: tuple(decoder(one) for decoder, one in zip(decoders, _listed(value), strict=True))


def _union(inner: tuple[Any, ...]) -> Decoder:
    """The alternative whose `kind` it is, else the first that takes it."""
    kinds = {_kind(one): _decoder(one) for one in inner if _kind(one) is not None}
    decoders = tuple(map(_decoder, inner))

    def union(value: Any) -> Any:
        if decoder := kinds.get(_tag(value)):
            return decoder(value)
        for decoder in decoders:
            try:
                return decoder(value)
            except (ValueError, TypeError, KeyError):
                continue
        raise ValueError(f"{type(value).__name__} where one of {len(decoders)} other types was expected")

    return union


def _tag(value: Any) -> str:
    return str(cast("dict[str, Any]", value).get("kind")) if isinstance(value, dict) else ""


def _kind(kind: Any) -> str | None:
    if not is_dataclass(kind):
        return None
    return next((cast("str", field.default) for field in fields(kind) if field.name == "kind"), None)


def _dataclass(kind: Any) -> Decoder:
    decoders = {name: decoder for name, (decoder, _) in _parts(kind).items()}

    def build(value: Any) -> Any:
        given = _exactly(dict)(value)
        return kind(**{name: decoder(given[name]) for name, decoder in decoders.items() if name in given})

    return build
