"""Where the members of a JSON object are, to the byte: for what a decoder does not say, and to change one alone."""

import re
from dataclasses import dataclass

import msgspec

from reconciler.gateway.body import Content

MOST = 4096
"""Members of one object, and characters of the name of one. A request has a dozen."""

_OPENING = re.compile(rb"[ \t\n\r]*\{")
_KEY = re.compile(rb'[ \t\n\r]*,?[ \t\n\r]*"(?:[^"\\]++|\\.)*+"[ \t\n\r]*:[ \t\n\r]*', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Member:
    """One member of an object, and from where to where its value is written."""

    key: str
    start: int
    end: int


class _Key:
    """A key that equals no other: so a decoder keeps the second of two that are the same."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def members(content: Content) -> list[Member]:
    """The members of the object in order, the same key twice included.

    `ValueError` (msgspec's are, too) for what is no JSON object or has more than MOST members. All but a step for each
    member is the decoder's work: an object may be large, and as deep as it allows.
    """
    count = 0

    def keyed(_: type, text: str) -> _Key:
        nonlocal count
        count += 1
        if count > MOST or len(text) > MOST:
            raise ValueError(f"more than {MOST} fields, or characters in the name of one")
        return _Key(text)

    raw = msgspec.json.decode(content, type=dict[_Key, msgspec.Raw], dec_hook=keyed)
    opening = _OPENING.match(content)
    if opening is None:
        raise ValueError("expected an object")
    found: list[Member] = []
    at = opening.end()
    for key, value in raw.items():
        written = _KEY.match(content, at)
        if written is None:
            raise ValueError(f"cannot find the field after byte {at}")
        at = written.end() + memoryview(value).nbytes
        found.append(Member(key.text, written.end(), at))
    return found
