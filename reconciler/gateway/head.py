"""The head of a request: which of its headers are read, which are passed on, and what makes it unsound."""

from reconciler.gateway.refusal import Refusal

HEAD = 32 * 1024
"""Bytes of a request's head, its line included."""
TARGET = 8 * 1024
(
    HOST, LENGTH, ENCODED, CODED, AUTHORIZATION, KEY, EXPECT, MEDIA, REQUEST_ID, TRACE, ORIGIN, FORWARDED,
) = range(12)  # fmt: skip
_WANTED = {
    b"host": HOST,
    b"content-length": LENGTH,
    b"transfer-encoding": ENCODED,
    b"content-encoding": CODED,
    b"authorization": AUTHORIZATION,
    b"x-api-key": KEY,
    b"expect": EXPECT,
    b"content-type": MEDIA,
    b"x-request-id": REQUEST_ID,
    b"traceparent": TRACE,
    b"origin": ORIGIN,
    b"accept": FORWARDED,
    b"user-agent": FORWARDED,
    b"anthropic-version": FORWARDED,
    b"anthropic-beta": FORWARDED,
    b"openai-beta": FORWARDED,
    b"tracestate": FORWARDED,
    b"baggage": FORWARDED,
}
"""Headers that are read, or passed on as they are. All others end here: none of them may steer an engine."""
READ = _WANTED | {b"-".join(word.capitalize() for word in name.split(b"-")): kind for name, kind in _WANTED.items()}
NONE: list[bytes | None] = [None] * FORWARDED

TOO_LONG = Refusal(
    status=431, code="head_too_long", message=f"the head is too long; {HEAD} bytes are taken", closes=True
)


def unsound(
    fields: list[bytes | None], target: bytes, version: str, *, size: int, twice: bool, most: int
) -> Refusal | None:
    """Why a request is refused whoever it is from; None for one that is sound.

    `size`: bytes of its headers. `twice`: whether one of `fields` was given again. `most`: bytes of a body.
    """
    if size + len(target) > HEAD:
        return TOO_LONG
    if len(target) > TARGET:
        return wrong(414, "uri_too_long", f"the path is too long; {TARGET} bytes are taken")
    if version not in ("1.1", "1.0"):
        return wrong(505, "bad_request", "only HTTP/1.1 and HTTP/1.0 are spoken here")
    if twice:
        return wrong(400, "bad_request", "a header that may be given once is given twice")
    if fields[HOST] is None and version == "1.1":
        return wrong(400, "bad_request", "the Host header is missing")
    encoded = fields[ENCODED]
    if encoded is not None and (version == "1.0" or encoded.lower() != b"chunked"):
        return wrong(400, "bad_request", "the only Transfer-Encoding taken is chunked, in HTTP/1.1")
    coded = fields[CODED]
    if coded is not None and coded.lower() != b"identity":
        return wrong(415, "unsupported_encoding", "compressed requests are not taken; leave out Content-Encoding")
    expect = fields[EXPECT]
    if expect is not None and expect.lower() != b"100-continue":
        return wrong(417, "bad_request", "the only Expect taken is 100-continue")
    length = fields[LENGTH]
    if length is not None and int(length) > most:
        return too_large(most)
    return None


def too_large(most: int) -> Refusal:
    """Its body is."""
    return wrong(413, "too_large", f"the body is too large; {most} bytes are taken")


def wrong(status: int, code: str, message: str) -> Refusal:
    """A refusal after which nothing more is read."""
    return Refusal(status=status, code=code, message=f"cannot take the request: {message}", closes=True)


def malformed(error: BaseException) -> Refusal:
    """What the parser stumbled over."""
    said = str(error).strip().rstrip(".")
    return wrong(400, "bad_request", f"it is not sound HTTP/1.1{': ' + said[0].lower() + said[1:] if said else ''}")
