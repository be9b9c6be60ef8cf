"""Values of any type of ours, with the worst in every place: what a hostile daemon could send."""

import random
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
NASTY = (
    "",
    " ",
    "chat",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07after",
    "\x1b]52;c;aGVsbG8=\x1b\\",
    "\x9b2J\x9b1;1H",
    "\x1bP+q\x1b\\\x1b_x\x1b\\",
    "cut off \x1b[",
    "a\nb\tc\rd\x00e\x7f\x08",
    "\u202egnirts\u202c \u2066x\u2069 \u200f",
    "\u2028\u2029\u0085",
    "x" * 10_000,
    "日本語のモデル" * 400,
    "e" + "\u0301" * 300,
    "\u0301\u0302 begins with marks",
    "👩‍👩‍👧‍👦 👍🏽 🇩🇪 ❤️",
    "\u200b\u200d\ufeff\u2060",
    "ﷺ﷽ 𒐫",
    "\udc80\udcff\ud800",
    "[bold red]markup[/] [@click=app.quit]x[/] [link=file:///]",
    "/",
    "a/b/c",
    "../../etc/passwd",
    "{0} %s %(x)s ${HOME} `id`",
    "−" * 50,
    "\U000e0041\U000e0042 tags",
    "½ Ⅷ ٣ १",
)
"""Texts that break terminals, tables and those who format them."""
GARBAGE = (
    b"", b"{", b"null", b"[]", b"{}", b'"text"', b"\xff\xfe", b"<html>", b"[" * 100_000, b"9" * 5000,
    b'{"now": 1' + b"0" * 400 + b"}", b'{"host": {}}', b'{"now": NaN, "meters": {"a": 7}, "traffic": {}}',
)  # fmt: skip
"""Lines that are no status, and no reading of meters."""
INTS = (0, 1, -1, 7, 2**31, 2**63, -(2**63), 10**30, 10**200, 3)
FLOATS = (0.0, -0.0, 1.5, -1.0, 1e-300, 1e300, -1e300, float("nan"), float("inf"), float("-inf"), 12.0)


def spoiled(kind: type[T], dice: random.Random) -> T:
    """One of those values that the type allows."""
    return _spoiled(kind, dice)


def _spoiled(kind: Any, dice: random.Random) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if kind is str:
        return dice.choice(NASTY)
    if kind is bool:
        return dice.random() < 0.5
    if kind is int:
        return dice.choice(INTS)
    if kind is float:
        return dice.choice(FLOATS)
    if kind in (None, NoneType):
        return None
    if origin is Literal:
        return dice.choice(inner)
    if origin in (Union, UnionType):
        return _spoiled(dice.choice(inner), dice)
    if origin in (tuple, frozenset):
        if origin is tuple and inner[-1] is not Ellipsis:
            return tuple(_spoiled(one, dice) for one in inner)
        return origin(_spoiled(inner[0], dice) for _ in range(dice.choice((0, 1, 3, 9))))
    if origin in (Mapping, dict):
        return {_spoiled(inner[0], dice): _spoiled(inner[1], dice) for _ in range(dice.choice((0, 1, 5, 30)))}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return dice.choice(list(kind))
    if is_dataclass(kind):
        given = {name: _spoiled(hint, dice) for name, hint in _fields(kind)}
        make: Any = kind
        return make(**_named(given, dice))
    raise TypeError(f"no value of {kind!r} is known")


def _named(given: dict[str, Any], dice: random.Random) -> dict[str, Any]:
    """Mostly with workloads under their own names, as decoders and screens take for granted."""
    rows = given.get("workloads")
    if isinstance(rows, dict) and dice.random() < 0.8:
        given["workloads"] = {row.name: row for row in rows.values()}
    return given


@cache
def _fields(kind: Any) -> tuple[tuple[str, Any], ...]:
    hints = get_type_hints(kind)
    return tuple((field.name, hints[field.name]) for field in fields(kind) if field.init)
