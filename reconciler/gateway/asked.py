"""What a request asks for: the model, whether as a stream. Reads no more of a body than that, and changes no more.

What an engine could read in another way than we do is refused: the model's name is all that a request may steer by.
"""

import codecs
import itertools
import re
import zlib
from collections.abc import Callable, Iterable
from typing import cast
from urllib.parse import parse_qsl

import msgspec

from reconciler.gateway import multipart
from reconciler.gateway.body import Body, Content, Edit, Edited
from reconciler.gateway.members import members
from reconciler.gateway.paths import LONGEST_NAME, Operation, proper
from reconciler.gateway.refusal import Refusal

PREFIX = 1024
"""Bytes of a prompt that say which requests begin alike."""
_WITHIN = 65536
"""Bytes of a body in which its prompt is looked for."""
_WINDOW = 2**20
"""Bytes of a large body that are looked at in one go."""
_PROMPTS = (b'"messages"', b'"prompt"', b'"input"', b'"inputs"', b'"text"')

_TOKEN = b'"model"'
_ESCAPE, _ESCAPED = ord("\\"), b"\\u006"
"""What `model` has in it where a letter of it is written as an escape: they are 64–6f."""
_JSON = re.compile(rb'application/json[ \t]*(?:;[ \t]*charset="?utf-8"?[ \t]*)?', re.IGNORECASE)
_EMPTY = re.compile(rb"[ \t\n\r]*\{[ \t\n\r]*\}")


class OtherCase:
    """Nothing is one: the type of a field that may not be given."""


class _Options(msgspec.Struct, gc=False):
    include_usage: bool | None = None


class _Fields(msgspec.Struct, gc=False):
    model: str | None = None
    stream: bool | None = None
    stream_options: _Options | msgspec.UnsetType | None = msgspec.UNSET


_OTHERS = ["".join(letters) for letters in itertools.product(*((c, c.upper()) for c in "model"))][1:]
"""`Model`, `MODEL` …: a reader in Go takes each for `model`."""
_REFUSING = msgspec.defstruct(
    "_Refusing",
    [(f"other_{n}", OtherCase | msgspec.UnsetType, msgspec.UNSET) for n in range(len(_OTHERS))],
    bases=(_Fields,),
    gc=False,
    rename={f"other_{n}": other for n, other in enumerate(_OTHERS)},
)
_decode = cast("Callable[[Content], _Fields]", msgspec.json.Decoder(_REFUSING).decode)


class Asked(msgspec.Struct, gc=False):
    """What a request asks for."""

    model: str
    stream: bool = False
    wants_usage: bool = False
    """Whether the client itself asked for the usage event of a stream; of a form True, for nobody asks in its place."""
    in_body: bool = True
    """Whether the body gives the model's name."""
    has_options: bool = False
    """Whether the body has `stream_options`."""
    boundary: bytes = b""
    """What separates the parts of a form."""


def asked(body: Body, content_type: bytes, operation: Operation, query: bytes = b"") -> Asked | Refusal:
    """What `body` asks for; `content_type` as sent, empty where it was not; `query` without its `?`.

    Takes about 1 ms for each MiB.
    """
    if operation.model_in == "path":
        return Asked(operation.named, operation.unsaid, in_body=False)
    in_query = _in_query(query) if query else None
    if isinstance(in_query, Refusal):
        return in_query
    if operation.model_in == "form":
        return _of_form(body, content_type, operation, in_query)
    if content_type != b"application/json" and not _JSON.fullmatch(content_type):
        message = "cannot read a body that is not declared as JSON in UTF-8: send `Content-Type: application/json`"
        return Refusal(status=415, code="unsupported_media_type", message=message)
    return _of_json(body.content, operation, in_query)


def _of_json(content: Content, operation: Operation, in_query: str | None) -> Asked | Refusal:
    try:
        fields = _decode(content)
        if not (type(content) is bytes and content.isascii() and _is_once(content)):
            _check_text(content)
            _check_once(content)
    except RecursionError:
        return _unreadable("it is nested too deeply")
    except UnicodeDecodeError as error:
        return _unreadable(f"it is not UTF-8 (byte {error.start})")
    except ValueError as error:
        if content[:3] == codecs.BOM_UTF8:
            return _unreadable("it begins with a byte order mark (byte 0)")
        text = str(error).replace("Expected `OtherCase`", "Expected `model` in lower case")
        return _unreadable(text, "stream" if "$.stream" in text else "model" if "$.model" in text.lower() else None)
    model = fields.model
    if model is None or in_query is not None or not proper(model):
        model = _agreed(model, in_query)
        if isinstance(model, Refusal):
            return model
    options = fields.stream_options
    given = options is not msgspec.UNSET
    wants = bool(given and options and options.include_usage)
    stream = operation.streams and (operation.unsaid if fields.stream is None else fields.stream)
    return Asked(model, stream, wants, fields.model is not None, given)


def _of_form(body: Body, content_type: bytes, operation: Operation, in_query: str | None) -> Asked | Refusal:
    try:
        boundary = multipart.boundary(content_type)
    except ValueError as error:
        return Refusal(status=415, code="unsupported_media_type", message=f"cannot read this body: {error}")
    given: dict[bytes, str] = {}
    try:
        for field in multipart.fields(body.content, body.size, boundary):
            if field.name in {b"model", b"stream"}:
                if field.name in given or field.is_file or field.end - field.start > 4 * LONGEST_NAME:
                    return _unreadable(f"`{field.name.decode()}` must be one short field", field.name.decode())
                given[field.name] = body.content[field.start : field.end].decode()
    except UnicodeDecodeError:
        return _unreadable("a field is not UTF-8")
    except ValueError as error:
        return _unreadable(str(error))
    model = _agreed(given.get(b"model"), in_query)
    if isinstance(model, Refusal):
        return model
    stream = given.get(b"stream", str(operation.unsaid)).lower()
    if stream not in {"true", "false"}:
        return _unreadable("`stream` must be true or false", "stream")
    return Asked(model, operation.streams and stream == "true", True, b"model" in given, boundary=boundary)


def _check_text(content: Content) -> None:
    """Raise UnicodeDecodeError for what is not UTF-8: the decoder reads no more than it must."""
    if isinstance(content, bytes):
        if not content.isascii():
            content.decode()
        return
    decoder = codecs.getincrementaldecoder("utf-8")()
    for at in range(0, len(content), _WINDOW):  # the last byte is a bracket or a space: nothing is begun there
        piece, begun = content[at : at + _WINDOW], len(decoder.getstate()[0])
        if piece.isascii() and not begun:
            continue
        try:
            decoder.decode(piece)
        except UnicodeDecodeError as error:
            error.start += at - begun
            raise


def _is_once(content: bytes) -> bool:
    """Whether `model` can stand in it once only."""
    return content.find(_TOKEN) == content.rfind(_TOKEN) and not (_ESCAPE in content and _ESCAPED in content)


def _check_once(content: Content) -> None:
    """Raise ValueError where `model` is given twice: of two readers each could take another."""
    if isinstance(content, bytes) and _is_once(content):
        return
    if sum(member.key == "model" for member in members(content)) > 1:
        raise ValueError("`model` is given twice")


def _in_query(query: bytes) -> str | Refusal | None:
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=64)
    except ValueError:
        return _unreadable("the query of its address cannot be read")
    named = [value for name, value in pairs if name == "model"]
    return _unreadable("`model` is given twice in the query", "model") if len(named) > 1 else next(iter(named), None)


def _agreed(in_body: str | None, in_query: str | None) -> str | Refusal:
    """The one name, wherever it stands."""
    model = in_query if in_body is None else in_body
    if model is None:
        return _unreadable("it has no `model`: name one of those that GET /v1/models lists", "model")
    if in_query is not None and in_query != model:
        return _unreadable("`model` in the query is another than in the body: give one", "model")
    if not proper(model):
        return _unreadable(f"`model` must be 1 to {LONGEST_NAME} printable characters", "model")
    return model


def _unreadable(why: str, param: str | None = None) -> Refusal:
    return Refusal(status=400, code="invalid_request", message=f"cannot read this request: {why}", param=param)


def prefix_key(body: Body) -> int:
    """A number that requests have in common that begin alike; in each process the same."""
    head = body.content[:_WITHIN]
    starts = (at for at in (head.find(name) for name in _PROMPTS) if at >= 0)
    start = next(starts, 0)
    return zlib.crc32(head[start : start + PREFIX])


def renamed(body: Body, said: Asked, model: str | None, include_usage: bool = False) -> Body | Edited | Refusal:
    """The same body with `model` as the model's name, and asking for the usage event of a stream; else untouched.

    `said` is what `asked` made of it. The answer is good while `body` is open.
    """
    if said.boundary:
        return body if model is None else Edited(body, _form_edits(body, said.boundary, model))
    if model is None and not include_usage:
        return body
    try:
        return Edited(body, _json_edits(body.content, said, model, include_usage))
    except RecursionError:  # at the edge: there was room for it when `asked` read it
        return _unreadable("it is nested too deeply")
    except ValueError as error:  # `asked` had no need to look at each field
        return _unreadable(str(error))


def _form_edits(body: Body, boundary: bytes, model: str) -> list[Edit]:
    for field in multipart.fields(body.content, body.size, boundary):
        if field.name == b"model":
            return [(field.start, field.end, model.encode())]
    return [(0, 0, multipart.part(boundary, b"model", model.encode()))]


def _json_edits(content: Content, said: Asked, model: str | None, include_usage: bool) -> list[Edit]:
    """In order. A field that is there gets another value; one that is not is put before all others."""
    wanted: list[tuple[str, bytes]] = []
    if model is not None:
        wanted.append(("model", msgspec.json.encode(model)))
    if include_usage:
        wanted.append(("stream_options", b'{"include_usage":true}'))
    if (model is None or not said.in_body) and not said.has_options:
        return [_first(content, 0, wanted)]  # the usual one: nothing to look for
    last = {member.key: member for member in members(content)}  # of two that are the same, readers take the last
    edits: list[Edit] = []
    for name, value in wanted:
        if (member := last.get(name)) is None:
            continue
        if name == "stream_options" and content[member.start : member.start + 1] == b"{":
            edits.append(_option(content[member.start : member.end], member.start))
        else:
            edits.append((member.start, member.end, value))
    if missing := [(name, value) for name, value in wanted if name not in last]:
        edits.append(_first(content, 0, missing))
    return sorted(edits)


def _option(options: bytes, base: int) -> Edit:
    """`include_usage` set in the object of `stream_options`, which begins at `base`."""
    for member in reversed(members(options)):
        if member.key == "include_usage":
            return base + member.start, base + member.end, b"true"
    return _first(options, base, [("include_usage", b"true")])


def _first(content: Content, base: int, new: Iterable[tuple[str, bytes]]) -> Edit:
    """These members before all others."""
    text = b",".join(b'"%b":%b' % (name.encode(), value) for name, value in new)
    at = base + content.find(b"{") + 1
    return at, at, text if _EMPTY.match(content) else text + b","
