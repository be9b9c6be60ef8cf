"""Where the fields of a multipart form are, to the byte. Strict: what two readers could read in two ways is refused."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from reconciler.gateway.body import Content

MOST = 128
"""Parts of one form."""
HEAD = 8192
"""Bytes of the head of one part."""
WINDOW = 2**20

_UTF8 = rb'(?:[ \t]*;[ \t]*charset="?utf-8"?)?'
_BOUNDARY = re.compile(
    rb"multipart/form-data" + _UTF8 + rb"[ \t]*;[ \t]*boundary="
    rb"(?:([0-9A-Za-z'+_.-]{1,70})|\"([0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-])\")" + _UTF8 + rb"[ \t]*",
    re.IGNORECASE,
)
_HEADER = re.compile(rb"([!-9;-~]+):[ \t]*([\t -\x7e\x80-\xff]*)")
_PARAMETER = re.compile(rb""";[ \t]*([A-Za-z]+\*?)=(?:"((?:[^"\\\r\n]|\\.)*+)"|([^"\s;]+))[ \t]*""")


@dataclass(frozen=True, slots=True)
class Field:
    """One part of a form, and from where to where its value is."""

    name: bytes
    start: int
    end: int
    is_file: bool


def boundary(content_type: bytes) -> bytes:
    """What separates the parts. `ValueError` where `content_type` is no form's."""
    found = _BOUNDARY.fullmatch(content_type)
    if found is None:
        raise ValueError(
            "its Content-Type must be `multipart/form-data; boundary=…`, the boundary of 1 to 70 characters"
        )
    return found[1] or found[2]


def fields(content: Content, size: int, between: bytes) -> Iterator[Field]:
    """The parts in order. `ValueError` with the byte at which the form is none."""
    delimiter = b"--" + between
    if content[: len(delimiter)] != delimiter:
        raise ValueError("it must begin with its boundary (byte 0)")
    at = len(delimiter)
    for _ in range(MOST):
        mark = content[at : at + 2]
        if mark == b"--":
            if content[at + 2 : at + 5] not in {b"", b"\r\n"}:
                raise ValueError(f"nothing may follow its last boundary (byte {at + 2})")
            return
        if mark != b"\r\n":
            raise ValueError(f"its boundary must stand alone in its line (byte {at})")
        head = content[at + 2 : at + 2 + HEAD]
        length = head.find(b"\r\n\r\n")
        start = at + 2 + length + 4
        following = _search(content, size, delimiter, start) if length >= 0 else -1
        if following < 0:
            raise ValueError(f"a part has no end (byte {at})")
        end = following - 2
        if end < start or content[end:following] != b"\r\n":
            raise ValueError(f"its boundary must stand alone in its line (byte {following})")
        yield _field(head[:length], start, end)
        at = following + len(delimiter)
    raise ValueError(f"it has more than {MOST} parts")


def part(between: bytes, name: bytes, value: bytes) -> bytes:
    """One more part, to stand before the first."""
    return b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (between, name, value)


def _field(head: bytes, start: int, end: int) -> Field:
    disposition = None
    for line in head.split(b"\r\n"):
        header = _HEADER.fullmatch(line)
        if header is None:
            raise ValueError(f"the head of a part has a line that is no header (before byte {start})")
        name = header[1].lower()
        if name == b"content-transfer-encoding" or (name == b"content-disposition" and disposition is not None):
            raise ValueError(f"a part may not have {name.decode('ascii')} here (before byte {start})")
        if name == b"content-disposition":
            disposition = header[2]
    if disposition is None or not disposition.lower().startswith(b"form-data"):
        raise ValueError(f"a part has no `Content-Disposition: form-data` (before byte {start})")
    given: dict[bytes, bytes] = {}
    at = len(b"form-data")
    while at < len(disposition):
        one = _PARAMETER.match(disposition, at)
        if one is None or one[1].lower() in given:
            raise ValueError(f"the Content-Disposition of a part cannot be read (before byte {start})")
        given[one[1].lower()] = one[2] if one[2] is not None else one[3]
        at = one.end()
    called = given.get(b"name")
    if called is None or b"name*" in given or b"\\" in called:
        raise ValueError(f"a part has no name that all readers read alike (before byte {start})")
    return Field(called, start, end, b"filename" in given or b"filename*" in given)


def _search(content: Content, size: int, what: bytes, start: int) -> int:
    """As `find`, which a map of a file has in a slow form."""
    if isinstance(content, bytes):
        return content.find(what, start)
    for at in range(start, size, WINDOW):
        found = content[at : at + WINDOW + len(what) - 1].find(what)
        if found >= 0:
            return at + found
    return -1
