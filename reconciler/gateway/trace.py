"""Which request is which: ids of our own or the client's, and the trace that it is a part of (W3C Trace Context)."""

import itertools
import os
import re

_GIVEN = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_PARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_prefix = os.urandom(6).hex()
_numbers = itertools.count(1)


def request_id(given: bytes | None) -> str:
    """The client's own, where it is one that can be written anywhere; else one that no other request has."""
    if given is not None and _GIVEN.fullmatch(given):
        return given.decode()
    return f"{_prefix}-{next(_numbers):x}"


def passed_on(parent: bytes) -> tuple[str, bytes]:
    """The trace id of a `traceparent`, and the one that an engine gets: a span of ours. Empty where it is malformed."""
    found = _PARENT.fullmatch(parent)
    if found is None:
        return "", b""
    version, trace, span, flags, more = found.groups()
    if version == b"ff" or (version == b"00" and more) or not trace.strip(b"0") or not span.strip(b"0"):
        return "", b""
    if version != b"00":  # of a newer version no more is known than this bit
        flags = b"%02x" % (int(flags, 16) & 1)
    return trace.decode(), b"00-%b-%b-%b" % (trace, os.urandom(8).hex().encode(), flags)
