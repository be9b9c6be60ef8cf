"""How a key is written: `hfk_`, 256 random bits, and a checksum, by which scanners find it and people see a typo."""

import hashlib
import secrets
import string
import zlib
from typing import Literal

PREFIX = "hfk_"
_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM, _CHECK = 43, 6  # digits in base 62 of 256 and of 32 bits
LENGTH = len(PREFIX) + _RANDOM + _CHECK
Shape = Literal["good", "mistyped", "foreign"]


def new_key() -> str:
    """A key that nobody has had before."""
    body = PREFIX + _base62(secrets.randbits(256), _RANDOM)
    return body + _checksum(body)


def shape(key: str) -> Shape:
    """Whether it is written as ours are: `mistyped` has a wrong character or length, `foreign` is none of ours.

    For messages to whoever typed it, never for a client: whether it is known is another question.
    """
    if not key.startswith(PREFIX):
        return "foreign"
    body, check = key[:-_CHECK], key[-_CHECK:]
    return "good" if len(key) == LENGTH and check == _checksum(body) else "mistyped"


def digest(key: bytes) -> bytes:
    """SHA-256: all that is kept of a key. No salt: 256 random bits are in no table."""
    return hashlib.sha256(key).digest()


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECK)


def _base62(number: int, length: int) -> str:
    found = ""
    for _ in range(length):
        number, digit = divmod(number, 62)
        found = _DIGITS[digit] + found
    return found
