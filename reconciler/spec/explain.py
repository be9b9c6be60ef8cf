"""What a validator found wrong → what a person is told: one problem for each mistake, no value that may be secret."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from annotated_types import Ge, Le
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from reconciler.model.fields import NAME, Spec
from reconciler.model.gateway import HOST, PREFIX, SHA256
from reconciler.model.quantity import print_duration
from reconciler.model.quick import CAREFUL, QUICK
from reconciler.model.runtime import IMAGE, VOLUME
from reconciler.spec.document import Keys, Plain

_SECRETIVE = frozenset(("env", "args", "command", "params"))
_LONGEST_SHOWN = 40
_ELSEWHERE = re.compile(r"(\w+) (cannot .*)", re.DOTALL)
_PATTERNS = {
    NAME: "use a–z, 0–9 and '-', at most 63, with a letter or digit at both ends",
    IMAGE: "write an image such as vllm/vllm-openai:v0.11.0",
    VOLUME: "write /path:/path, /path:/path:ro or volume-name:/path",
    SHA256: "write the hash that `holdfast key new` prints: 64 digits, 0–9 and a–f",
    HOST: "write a domain name in lower case, such as llm.example.org or *.example.org",
    PREFIX: "begin it with /, end it without one, and use letters, digits, '-', '_', '.' and '~'",
    r"^/\S*$": "begin it with / and use no spaces",
    r"^/": "write an absolute path",
    r"^[a-zA-Z_:][a-zA-Z0-9_:]{0,199}$": "write the name of a metric, without labels",
    r"^\d{1,5}-\d{1,5}$": "write first-last, such as 9000-9999",
    r"^[A-Za-z0-9_]+$": "use letters, digits and '_'",
    r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$": "name a secret with letters, digits, '.', '_' and '-'",
}
_WORDS = {
    "int_type": "a number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake."""

    keys: Keys
    message: str
    at_key: bool = False
    """Whether the key itself is wrong, and not its value."""
    meant: Keys = ()
    """What the key was probably meant to be."""


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where an error is: the way there, and the branch of a union that reported it."""

    keys: Keys
    owner: type[Spec]
    field: FieldInfo | None
    value: Plain
    union: Keys | None = None
    options: tuple[object, ...] = ()
    by_model: bool = False


def explain(error: ValidationError, data: Plain, kind: type[Spec]) -> list[Finding]:
    """Every mistake of a document, once each, in the order of its keys as declared.

    What is lacking because its key is misspelt is no second mistake.
    """
    details = [detail for detail in error.errors(include_url=False) if QUICK not in detail["loc"]]
    found = [(_find(detail["loc"], data, kind), detail) for detail in details]
    findings: list[Finding] = []
    told: set[Keys] = set()
    absent: set[Keys] = set()
    for spot, detail in found:
        if spot.union is not None and not _fits(spot, _at(data, spot.union)):
            continue
        if spot.keys in told or (detail["type"] == "too_short" and any(_within(spot.keys, w.keys) for w, _ in found)):
            continue  # a list is short of those in it that are wrong
        told.add(spot.keys)
        if detail["type"] == "missing":
            absent.add(spot.keys)
        others = [other for where, other in found if where.keys == spot.keys and other is not detail]
        findings.append(_tell(spot, detail, others))
    misspelt = absent & {finding.meant for finding in findings}
    return [finding for finding in findings if finding.keys not in misspelt]


def unknown_key(key: str, keys: Keys, known: Mapping[str, object]) -> Finding:
    """A key that nothing at its level is called."""
    if key == "image":
        return Finding(keys, "cannot stand here; write runtime: {docker: {image: …}}", at_key=True)
    near = get_close_matches(key.lower(), known, n=1, cutoff=0.6)
    advice = f"did you mean {near[0]}?" if near else "remove it"
    meant = (*keys[:-1], near[0]) if near else ()
    return Finding(keys, f"cannot be understood; {advice}", at_key=True, meant=meant)


def show(value: Plain, keys: Keys = ()) -> str:
    """A value for a message: short scalars as they are, everything else and what may be secret by its type only."""
    hidden = any(part in _SECRETIVE for part in keys)
    match value:
        case None:
            return "empty"
        case bool():
            return "a truth value" if hidden else str(value).lower()
        case int() | float():
            return "a number" if hidden else str(value)[:_LONGEST_SHOWN]
        case str():
            if hidden or len(value) > _LONGEST_SHOWN or not value.isprintable() or "@" in value or "?" in value:
                return "this text"
            return f"'{value}'"
        case dict():
            return "a mapping"
        case _:
            return "a list"


def _fits(spot: _Spot, value: Plain) -> bool:
    """Whether this branch of a union is the one that the person meant."""
    has_model = any(_model(option) is not None for option in spot.options)
    return spot.by_model == (has_model and isinstance(value, dict))


def _within(keys: Keys, other: Keys) -> bool:
    """Whether the other is of a part of this."""
    return len(other) > len(keys) and other[: len(keys)] == keys


def _tell(spot: _Spot, detail: ErrorDetails, others: list[ErrorDetails]) -> Finding:
    kind = detail["type"]
    keys = spot.keys
    if kind == "extra_forbidden":
        known = {field.alias or name: field for name, field in spot.owner.model_fields.items()}
        return unknown_key(str(keys[-1]), keys, known)
    if kind == "missing":
        return Finding(keys, f"cannot be left out; {_advice(spot.field)}")
    if others and kind == "literal_error" and others[0]["type"] != "model_type":
        kind, detail, others = others[0]["type"], others[0], [detail]
    expected = [str(other.get("ctx", {}).get("expected")) for other in others if other["type"] == "literal_error"]
    also = " or ".join(expected).replace("'", "")
    finding = _wrong(spot, kind, detail)
    return Finding(finding.keys, f"{finding.message}; or {also}") if also else finding


def _wrong(spot: _Spot, kind: str, detail: ErrorDetails) -> Finding:
    keys, value = spot.keys, spot.value
    context: dict[str, Any] = detail.get("ctx", {})
    shown = show(value, keys)
    match kind:
        case "value_error":
            text = str(context["error"])
            if text.startswith("cannot"):
                return Finding(keys, text)
            if elsewhere := _ELSEWHERE.fullmatch(text):
                return Finding((*keys, elsewhere[1]), elsewhere[2])
            return Finding(keys, f"cannot be {shown}; {text}")
        case "greater_than_equal" | "less_than_equal":
            return Finding(keys, f"cannot be {shown}; choose {_bounds(spot.field, context)}")
        case "literal_error":
            return Finding(keys, f"cannot be {shown}; write {str(context['expected']).replace(chr(39), '')}")
        case "string_pattern_mismatch":
            hint = _PATTERNS.get(str(context["pattern"]), "write it as the manual shows")
            return Finding(keys, f"cannot be {shown}; {hint}")
        case "string_too_long" | "too_long":
            return Finding(keys, f"cannot be so long; at most {context['max_length']} are allowed")
        case "string_too_short" | "too_short":
            return Finding(keys, "cannot be empty; " + _advice(spot.field))
        case _:
            return Finding(keys, f"cannot be {shown}{_typed(value, shown)}; write {_wanted(spot, kind)}")


def _typed(value: Plain, shown: str) -> str:
    return " (text)" if isinstance(value, str) and shown.startswith("'") else ""


def _wanted(spot: _Spot, kind: str) -> str:
    """`a number, or a mapping of count, memory …`."""
    wanted = _WORDS.get(kind, "something else, as the manual shows")
    if spot.union != spot.keys:
        return wanted if spot.value is not None else f"{wanted}, or remove the line"
    models = [model for option in spot.options if (model := _model(option)) is not None]
    return wanted + "".join(f", or a mapping of {', '.join(model.model_fields)}" for model in models)


def _bounds(field: FieldInfo | None, context: dict[str, Any]) -> str:
    limits: dict[str, object] = {}
    for mark in field.metadata if field is not None else ():
        if isinstance(mark, Ge):
            limits["ge"] = mark.ge
        elif isinstance(mark, Le):
            limits["le"] = mark.le
    texts = {
        name: print_duration(limit) if isinstance(limit, timedelta) else str(limit)
        for name, limit in {**context, **limits}.items()
    }
    match texts:
        case {"ge": low, "le": high}:
            return f"{low}–{high}"
        case {"ge": low}:
            return f"{low} or more"
        case _:
            return f"{texts.get('le', 'less')} or less"


def _advice(field: FieldInfo | None) -> str:
    if field is None or not field.description:
        return "add it"
    return f"add it: {' '.join(field.description.split())}".rstrip(".")


def _find(loc: tuple[str | int, ...], data: Plain, kind: type[Spec]) -> _Spot:
    """Follow a validator's location, which names branches of unions as well as keys."""
    annotation: object = kind
    owner, field, value = kind, None, data
    keys: Keys = ()
    union: Keys | None = None
    options: tuple[object, ...] = ()
    by_model = False
    for part in loc:
        if part == CAREFUL:
            continue
        annotation, choices = _bare(annotation)
        if choices:
            union, options = keys, choices
            chosen = next(
                (model for option in choices if (model := _model(option)) and model.__name__ in str(part)), None
            )
            annotation, by_model = chosen, chosen is not None
            continue
        if part == "[key]":
            continue
        keys = (*keys, part)
        value = _step(value, part)
        model = _model(annotation)
        if model is not None:
            owner = model
            field = next((f for name, f in model.model_fields.items() if part in (f.alias, name)), None)
            annotation = field.annotation if field is not None else None
        else:
            field = None
            arguments = get_args(annotation)
            annotation = arguments[1] if get_origin(annotation) is dict else arguments[0] if arguments else None
    return _Spot(keys, owner, field, value, union, options, by_model)


def _bare(annotation: object) -> tuple[object, tuple[object, ...]]:
    """Without Annotated and None; and the branches where more than one is left."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) not in (Union, UnionType):
        return annotation, ()
    options = tuple(option for option in get_args(annotation) if option is not NoneType)
    return (options[0], ()) if len(options) == 1 else (annotation, options)


def _model(annotation: object) -> type[Spec] | None:
    annotation = _bare(annotation)[0]
    return annotation if isinstance(annotation, type) and issubclass(annotation, Spec) else None


def _at(data: Plain, keys: Keys) -> Plain:
    for key in keys:
        data = _step(data, key)
    return data


def _step(value: Plain, part: str | int) -> Plain:
    if isinstance(value, dict):
        return value.get(str(part))
    if isinstance(value, list) and isinstance(part, int):
        return value[part] if part < len(value) else None
    return None


def dotted(keys: Keys) -> str:
    """A key path for a person; what a terminal might obey is left out."""
    return ".".join("".join(c if c.isprintable() else "·" for c in str(key)[:64]) for key in keys)


def every(findings: Iterator[Finding] | list[Finding], most: int) -> list[Finding]:
    """As many as a person can read, and how many more there are."""
    found = list(findings)
    if len(found) <= most:
        return found
    return [
        *found[:most],
        Finding((), f"cannot list {len(found) - most} more problems of this document; mend these first"),
    ]
