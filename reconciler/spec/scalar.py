"""A plain scalar → what YAML 1.2 core means by it. `no`, `on`, `010` and `12:30:45` are text, as they look."""

import re


class NoNumber:
    """Stands for a number that cannot be had."""


NO_NUMBER = NoNumber()
"""Beyond 64 bits, `.nan`, `.inf`."""
Scalar = bool | int | float | str | NoNumber | None

_WORDS: dict[str, bool | None] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?")
_ENDLESS = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_DIGITS_OF_64_BITS = 20


def plain_scalar(text: str) -> Scalar:
    """None, bool, int, float or str; NO_NUMBER where it is a number that cannot be had."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    if _INT.fullmatch(text):
        return _within(int(text)) if len(text) <= _DIGITS_OF_64_BITS + 1 else NO_NUMBER
    if _BASED.fullmatch(text):
        return _within(int(text, 0)) if len(text) <= 64 else NO_NUMBER
    if _FLOAT.fullmatch(text):
        number = float(text)
        # what no float can hold stays text, as 010 does
        return number if abs(number) != float("inf") else text
    return NO_NUMBER if _ENDLESS.fullmatch(text) else text


def _within(number: int) -> Scalar:
    return number if -(2**63) <= number < 2**64 else NO_NUMBER
