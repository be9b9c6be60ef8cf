"""Requests that two servers could read in two ways, each with another request hidden in what only one takes for a body.

`PASSED` are those that are sound after all: an engine gets one request of each. All others reach no engine.
"""

from tests.gateway.scripts import chunk

BODY = b'{"model":"chat"}'
LINE = b"POST /v1/chat/completions HTTP/1.1"
KIND = b"content-type: application/json"
HOST = b"host: gateway"
HIDDEN = (
    b"POST /v1/completions HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\ncontent-length: 16\r\n\r\n"
)
INNER = HIDDEN + BODY
CHUNKED = b"transfer-encoding: chunked"
CHUNKS = chunk(BODY) + b"0\r\n\r\n"
EMPTY = b"0\r\n\r\n"


def made(*lines: bytes, body: bytes = b"", line: bytes = LINE, host: bytes = HOST, end: bytes = b"\r\n") -> bytes:
    """A request of these lines."""
    return end.join((line, *((host,) if host else ()), KIND, *lines, b"", b"")) + body


def long(body: bytes, name: bytes = b"content-length") -> bytes:
    return b"%b: %d" % (name, len(body))


def both(*coding: bytes) -> bytes:
    """A length that covers the hidden request, and a coding that ends before it."""
    return made(long(EMPTY + INNER), *coding, body=EMPTY + INNER)


def coded(*coding: bytes) -> bytes:
    """A coding alone: who does not know it takes the chunks for the next request."""
    return made(*coding, body=CHUNKS + INNER)


def sized(*length: bytes) -> bytes:
    """A length: who reads another takes the rest for the next request."""
    return made(*length, body=BODY + INNER)


def chunks(body: bytes) -> bytes:
    return made(CHUNKED, body=body)


PASSED = {
    "plain length": made(long(BODY), body=BODY),
    "plain chunks": made(CHUNKED, body=CHUNKS),
    "length with zeros": made(b"content-length: 0016", body=BODY),
    "length after a tab": made(b"content-length:\t16\t", body=BODY),
    "coding in capitals": made(b"TRANSFER-ENCODING: CHUNKED", body=CHUNKS),
    "length spelled with _ beside the real one": made(long(BODY), b"content_length: 0", body=BODY),
    "coding spelled with _ beside a length": made(long(BODY), b"transfer_encoding: chunked", body=BODY),
    "hop by hop names the length": made(long(BODY), b"connection: content-length, host", body=BODY),
    "chunk with an extension": chunks(b"10;a=b\r\n" + BODY + b"\r\n0;c\r\n\r\n"),
    "chunk with a quoted extension": chunks(b'10;a="0;b"\r\n' + BODY + b"\r\n" + EMPTY),
    "chunk size with zeros": chunks(b"0010\r\n" + BODY + b"\r\n000\r\n\r\n"),
    "trailer": chunks(chunk(BODY) + b"0\r\nx: y\r\n\r\n"),
    "trailer names a host": chunks(chunk(BODY) + b"0\r\nhost: evil\r\n\r\n"),
    "h2c with a length": made(b"connection: upgrade", b"upgrade: h2c", long(BODY), body=BODY),
    "h2c with chunks": made(b"connection: upgrade", b"upgrade: h2c", CHUNKED, body=CHUNKS),
    "expects to go on, and does": made(b"expect: 100-continue", long(BODY), body=BODY),
    "says it closes, and goes on": made(b"connection: close", long(BODY), body=BODY + INNER),
    "blank lines before it": b"\r\n\r\n" + made(long(BODY), body=BODY),
    "two spaces in its line": made(long(BODY), body=BODY, line=LINE.replace(b" ", b"  ")),
    "of version 1.0, and goes on": made(long(BODY), body=BODY + INNER, line=LINE.replace(b"1.1", b"1.0")),
    "of version 1.0 without a host": made(long(BODY), body=BODY, line=LINE.replace(b"1.1", b"1.0"), host=b""),
    "host with a port of nobody": made(long(BODY), body=BODY, host=b"host: gateway:1"),
    "coding offered": made(b"te: chunked", long(BODY), body=BODY),
    "another protocol that is read as version 1.0": made(
        long(BODY), body=BODY, line=LINE.replace(b"HTTP/1.1", b"RTSP/1.0")
    ),
    "length of another name": made(long(BODY), b"x-content-length: 0", body=BODY),
}
REFUSED = {
    # a length and a coding
    "length and chunks": both(CHUNKED),
    "chunks and length": made(CHUNKED, long(EMPTY + INNER), body=EMPTY + INNER),
    "length 0 and chunks": made(b"content-length: 0", CHUNKED, body=chunk(INNER) + EMPTY),
    "length, space before the colon of a coding": both(b"transfer-encoding : chunked"),
    "length, tab before the colon of a coding": both(b"transfer-encoding\t: chunked"),
    "length, coding after a space": both(b" transfer-encoding: chunked"),
    "length, coding folded into a header": both(b"x: y\r\n transfer-encoding: chunked"),
    "length, coding whose value is folded": both(b"transfer-encoding:\r\n chunked"),
    "length, coding after a bare CR": both(b"x: y\rtransfer-encoding: chunked"),
    "length, coding after a bare LF": both(b"x: y\ntransfer-encoding: chunked"),
    "length, coding after a vertical tab": both(b"transfer-encoding:\x0bchunked"),
    "length, coding with a NUL": both(b"transfer-encoding: chunked\0"),
    "length, coding with a NUL in its name": both(b"transfer-encoding\0: chunked"),
    "length, coding unknown": both(b"transfer-encoding: x"),
    "length, coding identity": both(b"transfer-encoding: identity"),
    "length, coding empty": both(b"transfer-encoding:"),
    "length, coding in quotes": both(b'transfer-encoding: "chunked"'),
    "length, coding twice": both(CHUNKED, b"transfer-encoding: identity"),
    # a coding that is no chunks
    "coding xchunked": coded(b"transfer-encoding: xchunked"),
    "coding chunked, identity": coded(b"transfer-encoding: chunked, identity"),
    "coding identity, chunked": coded(b"transfer-encoding: identity, chunked"),
    "coding gzip, chunked": coded(b"transfer-encoding: gzip, chunked"),
    "coding chunked, chunked": coded(b"transfer-encoding: chunked, chunked"),
    "coding chunked;x": coded(b"transfer-encoding: chunked;x"),
    "coding chunked with an a that is none": coded("transfer-encoding: chunKed".replace("K", "\u212a").encode()),
    "coding in two lines": coded(CHUNKED, b"transfer-encoding: x"),
    "coding in two lines that agree": coded(CHUNKED, CHUNKED),
    "coding in version 1.0": made(CHUNKED, body=CHUNKS + INNER, line=LINE.replace(b"1.1", b"1.0")),
    # a length that is none, or two
    "two lengths": sized(b"content-length: 16", long(BODY + INNER)),
    "two lengths that agree": sized(b"content-length: 16", b"content-length: 16"),
    "a list of lengths": sized(b"content-length: 16, 16"),
    "a list of two lengths": sized(b"content-length: 16, %d" % len(BODY + INNER)),
    "length +16": sized(b"content-length: +16"),
    "length -1": sized(b"content-length: -1"),
    "length 0x10": sized(b"content-length: 0x10"),
    "length 1 6": sized(b"content-length: 1 6"),
    "length 1_6": sized(b"content-length: 1_6"),
    "length 16.0": sized(b"content-length: 16.0"),
    "length 16;x": sized(b"content-length: 16;x"),
    "length with a NUL": sized(b"content-length: 16\0"),
    "length with a vertical tab": sized(b"content-length: 16\x0b"),
    "length of 2^64 and 16": sized(b"content-length: 18446744073709551632"),
    "length of 2^63": sized(b"content-length: 9223372036854775808"),
    "length without a value": sized(b"content-length:"),
    "length with a space before its colon": sized(b"content-length : 16"),
    "length folded": sized(b"content-length:\r\n 16"),
    "length after a header that is folded": sized(b"x: y\r\n z", b"content-length: 16"),
    # lines
    "bare LF all along": made(long(BODY), body=BODY + INNER, end=b"\n"),
    "bare LF after the first line": made(long(BODY), body=BODY).replace(b"1.1\r\n", b"1.1\n", 1),
    "bare LF after a header": made(long(BODY), body=BODY).replace(b"gateway\r\n", b"gateway\n", 1),
    "bare LF before the body": made(long(BODY), body=BODY).replace(b"\r\n\r\n", b"\r\n\n", 1),
    "bare CR before the body": made(long(BODY), body=BODY).replace(b"\r\n\r\n", b"\r\n\r", 1),
    "bare CR in a header": made(b"x: a\rb: c", long(BODY), body=BODY),
    "NUL in a header": made(b"x: a\0b", long(BODY), body=BODY),
    "header without a colon": made(b"x", long(BODY), body=BODY),
    "header without a name": made(b": x", long(BODY), body=BODY),
    "header with a space in its name": made(b"x y: z", long(BODY), body=BODY),
    "header of bytes beyond ASCII": made(b"x\xe9: y", long(BODY), body=BODY),
    "space before the first header": LINE
    + b"\r\n host: gateway\r\n"
    + KIND
    + b"\r\n"
    + long(BODY)
    + b"\r\n\r\n"
    + BODY,
    # chunks
    "chunk size 0x10": chunks(b"0x10\r\n" + BODY + b"\r\n" + EMPTY + INNER),
    "chunk size -10": chunks(b"-10\r\n" + BODY + b"\r\n" + EMPTY + INNER),
    "chunk size +10": chunks(b"+10\r\n" + BODY + b"\r\n" + EMPTY + INNER),
    "chunk size 1_0": chunks(b"1_0\r\n" + BODY + b"\r\n" + EMPTY + INNER),
    "chunk size missing": chunks(b"\r\n" + BODY + b"\r\n" + EMPTY + INNER),
    "chunk size with a space before it": chunks(b" 10\r\n" + BODY + b"\r\n" + EMPTY + INNER),
    "chunk size beyond 2^64": chunks(b"10000000000000010\r\n" + BODY + b"\r\n" + EMPTY + INNER),
    "chunk size with a NUL": chunks(b"10\0\r\n" + BODY + b"\r\n" + EMPTY + INNER),
    "chunk size ended by a bare LF": chunks(b"10\n" + BODY + b"\r\n" + EMPTY + INNER),
    "chunk size ended by a bare CR": chunks(b"10\r" + BODY + b"\r\n" + EMPTY + INNER),
    "chunk extension with a bare LF": chunks(b"10;a\nb\r\n" + BODY + b"\r\n" + EMPTY + INNER),
    "chunk extension with a bare CR": chunks(b"10;a\rb\r\n" + BODY + b"\r\n" + EMPTY + INNER),
    "chunk that is longer than its size": chunks(b"10\r\n" + BODY + b"X\r\n" + EMPTY + INNER),
    "chunk without its line end": chunks(b"10\r\n" + BODY + EMPTY + INNER),
    "chunk ended by a bare LF": chunks(b"10\r\n" + BODY + b"\n" + EMPTY + INNER),
    "last chunk ended by a bare LF": chunks(chunk(BODY) + b"0\r\n\n" + INNER),
    "trailer with a length": chunks(chunk(BODY) + b"0\r\ncontent-length: 5\r\n\r\n"),
    "trailer with a coding": chunks(chunk(BODY) + b"0\r\ntransfer-encoding: chunked\r\n\r\n"),
    "trailer without a colon": chunks(chunk(BODY) + b"0\r\nx\r\n\r\n"),
    "trailer that is folded": chunks(chunk(BODY) + b"0\r\nx: y\r\n z\r\n\r\n"),
    # the first line
    "no version": b"POST /v1/chat/completions\r\n\r\n" + INNER,
    "version 2.0": made(long(BODY), body=BODY, line=LINE.replace(b"1.1", b"2.0")),
    "version 1.2": made(long(BODY), body=BODY, line=LINE.replace(b"1.1", b"1.2")),
    "version 1.10": made(long(BODY), body=BODY, line=LINE.replace(b"1.1", b"1.10")),
    "version in small letters": made(long(BODY), body=BODY, line=LINE.replace(b"HTTP", b"http")),
    "words after the version": made(long(BODY), body=BODY, line=LINE + b" x"),
    "preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + INNER,
    "method in small letters": made(long(BODY), body=BODY, line=LINE.lower()),
    "method with a NUL": made(long(BODY), body=BODY, line=b"PO\0ST" + LINE[4:]),
    "tabs for spaces": made(long(BODY), body=BODY, line=LINE.replace(b" ", b"\t")),
    "space in the path": made(long(BODY), body=BODY, line=b"POST /v1/chat/completions x HTTP/1.1"),
    "NUL in the path": made(long(BODY), body=BODY, line=b"POST /v1/chat/completions\0 HTTP/1.1"),
    "CR in the path": made(long(BODY), body=BODY, line=b"POST /v1/chat/completions\rx HTTP/1.1"),
    "no host": made(long(BODY), body=BODY, host=b""),
    "two hosts": made(b"host: other", long(BODY), body=BODY),
    "expects what nobody knows": made(b"expect: 200-ok", long(BODY), body=BODY),
    # bodies of those that have none
    "GET with a hidden request in its body": made(long(INNER), body=INNER, line=b"GET /v1/models HTTP/1.1"),
    "HEAD with a hidden request in its body": made(long(INNER), body=INNER, line=b"HEAD /v1/models HTTP/1.1"),
    "a path of nobody with a hidden request": made(long(INNER), body=INNER, line=b"POST /nobody HTTP/1.1"),
    "a tunnel with a hidden request": made(long(INNER), body=INNER, line=b"CONNECT gateway:80 HTTP/1.1"),
    "h2c with a hidden request in its body": made(
        b"connection: upgrade", b"upgrade: h2c", long(INNER), body=INNER, line=b"POST /nobody HTTP/1.1"
    ),
    "a compressed body with a hidden request": made(long(INNER), b"content-encoding: gzip", body=INNER),
}
