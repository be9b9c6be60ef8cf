"""What may be asked, as one table: which paths lead to an engine, and what is known of each.

What is not in it reaches no engine, and the path that does is the table's own, never the client's bytes.
"""

import difflib
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import quote, unquote_to_bytes

from reconciler.gateway.refusal import Dialect, Refusal
from reconciler.model.routing import Role

Kind = Literal["inference", "models", "model", "health", "metrics"]
ModelIn = Literal["body", "form", "path", "nowhere"]
Usage = Literal["openai", "responses", "anthropic", "native", "none"]

LONGEST_NAME = 256
"""Characters of a model's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One thing that can be asked."""

    name: str
    """For metrics and logs: `chat.completions`."""
    path: bytes
    """As engines know it; where the name is in the path, `{}` stands for it."""
    kind: Kind = "inference"
    """`inference`: an engine answers. The others are answered here."""
    dialect: Dialect = "openai"
    model_in: ModelIn = "body"
    """`body`: JSON. `form`: multipart. Where there is a body, `?model=` says it too."""
    streams: bool = False
    """Whether the answer can be a stream."""
    unsaid: bool = False
    """Whether it is one when `stream` is not given."""
    usage: Usage = "none"
    """How the answer tells its tokens: see `usage.py`."""
    role: Role | None = "inference"
    """None: for everybody."""
    named: str = ""
    """The model's name in the path that was asked for."""

    def sent(self, model: str) -> bytes:
        """The path for an engine that knows the model as `model`."""
        return self.path.replace(b"{}", quote(model, safe="").encode()) if self.model_in == "path" else self.path


def _chat(name: str, path: bytes, usage: Usage = "openai", dialect: Dialect = "openai") -> Operation:
    return Operation(name=name, path=path, streams=True, usage=usage, dialect=dialect)


def _once(name: str, path: bytes, usage: Usage = "openai", dialect: Dialect = "openai") -> Operation:
    return Operation(name=name, path=path, usage=usage, dialect=dialect)


def _form(name: str, path: bytes) -> Operation:
    return Operation(name=name, path=path, model_in="form", streams=True, usage="openai")


def _native(name: str, path: bytes, *, unsaid: bool = False) -> Operation:
    return Operation(name=name, path=path, streams=True, unsaid=unsaid, usage="native")


def _path(name: str, path: bytes, *, unsaid: bool = False) -> Operation:
    return Operation(name=name, path=path, model_in="path", streams=unsaid, unsaid=unsaid)


INFERENCE = (
    # OpenAI's: all engines
    _chat("chat.completions", b"/v1/chat/completions"),
    _chat("completions", b"/v1/completions"),
    _chat("responses", b"/v1/responses", "responses"),
    _once("responses.input_tokens", b"/v1/responses/input_tokens", "none"),
    _once("embeddings", b"/v1/embeddings"),
    _once("moderations", b"/v1/moderations"),
    _once("audio.speech", b"/v1/audio/speech", "none"),
    _form("audio.transcriptions", b"/v1/audio/transcriptions"),
    _form("audio.translations", b"/v1/audio/translations"),
    _once("images.generations", b"/v1/images/generations"),
    _form("images.edits", b"/v1/images/edits"),
    _form("images.variations", b"/v1/images/variations"),
    # Anthropic's: vLLM, llama.cpp, SGLang, Ollama
    _chat("messages", b"/v1/messages", "anthropic", "anthropic"),
    _once("messages.count_tokens", b"/v1/messages/count_tokens", "none", "anthropic"),
    # Jina's and Cohere's: vLLM, llama.cpp, SGLang
    _once("rerank", b"/v1/rerank"),
    _once("rerank", b"/rerank"),
    _once("rerank", b"/v2/rerank"),
    _once("rerank", b"/v1/reranking"),
    _once("embed", b"/v2/embed"),
    # vLLM, SGLang
    _once("score", b"/v1/score"),
    _once("score", b"/score"),
    _once("classify", b"/v1/classify"),
    _once("classify", b"/classify"),
    _once("pooling", b"/pooling"),
    _native("generate", b"/generate"),  # TGI's as well
    _once("encode", b"/encode", "native"),
    _once("tokenize", b"/tokenize", "none"),  # llama.cpp's and TGI's as well
    _once("detokenize", b"/detokenize", "none"),
    _once("tokenize", b"/v1/tokenize", "none"),
    _once("detokenize", b"/v1/detokenize", "none"),
    # TGI
    _native("generate_stream", b"/generate_stream", unsaid=True),
    _once("chat_tokenize", b"/chat_tokenize", "none"),
    # llama.cpp
    _native("completion", b"/completion"),
    _native("infill", b"/infill"),
    _once("embedding", b"/embedding", "none"),
    _once("embedding", b"/embeddings", "none"),
    _once("apply-template", b"/apply-template", "none"),
    # Ollama: streams, of lines, unless told otherwise
    _native("api.chat", b"/api/chat", unsaid=True),
    _native("api.generate", b"/api/generate", unsaid=True),
    _once("api.embed", b"/api/embed", "native"),
    _once("api.embeddings", b"/api/embeddings", "none"),
    # Triton
    _path("infer", b"/v2/models/{}/infer"),
    _path("infer.generate", b"/v2/models/{}/generate"),
    _path("infer.generate_stream", b"/v2/models/{}/generate_stream", unsaid=True),
)
"""Asked with POST. Never here: what loads, unloads, sleeps, wakes, pulls, deletes, or shows what others ask."""

_MODELS = b"/v1/models/"
_MODEL = Operation(name="model", path=b"/v1/models/{}", kind="model", model_in="path")
OWN = (
    Operation(name="models", path=b"/v1/models", kind="models", model_in="nowhere"),
    _MODEL,
    Operation(name="health", path=b"/health", kind="health", model_in="nowhere", role=None),
    Operation(name="metrics", path=b"/metrics", kind="metrics", model_in="nowhere", role="metrics"),
)
"""Asked with GET or HEAD, answered by the gateway."""

_TRITON = b"/v2/models/"
_TRITONS = {one.path.rpartition(b"/")[2]: one for one in INFERENCE if one.path.startswith(_TRITON)}
_KNOWN = {(b"POST", one.path): one for one in INFERENCE if one.model_in != "path"} | {
    (method, one.path): one for one in OWN if one.model_in != "path" for method in (b"GET", b"HEAD")
}
_ALLOW = {path: "POST" if method == b"POST" else "GET, HEAD" for method, path in _KNOWN}
_NEAR = 0.7
"""How much a path must have of one that is there to be a slip: anybody may ask, and less takes ten times as long."""
_PATHS = [one.path.decode() for one in (*INFERENCE, *OWN)]


def find(method: bytes, path: bytes) -> Operation | Refusal:
    """What `method` of `path`, without its query and as the client wrote it, asks for.

    404 for what is not in the table, 405 for another method: then `param` is the value of the header `Allow`.
    """
    known = _KNOWN.get((method, path))
    return known if known is not None else _seek(method, path)


def _seek(method: bytes, path: bytes) -> Operation | Refusal:
    """The same for all that is no constant."""
    if (allow := _ALLOW.get(path)) is not None:
        return _other_method(path, allow)
    if path.startswith(_MODELS) and (name := _name(path[len(_MODELS) :])):
        return replace(_MODEL, named=name) if method in {b"GET", b"HEAD"} else _other_method(_MODEL.path, "GET, HEAD")
    if path.startswith(_TRITON):
        before, _, verb = path[len(_TRITON) :].rpartition(b"/")
        if verb in _TRITONS and (name := _name(before)):
            one = _TRITONS[verb]
            return replace(one, named=name) if method == b"POST" else _other_method(one.path, "POST")
    return _unknown(path)


def _name(written: bytes) -> str | None:
    """A model's name out of a path; None where it cannot be one."""
    try:
        name = unquote_to_bytes(written).decode()
    except UnicodeDecodeError:
        return None
    return name if proper(name) else None


def proper(name: str) -> bool:
    """Whether a model could have that name: 1 to 256 printable characters."""
    return 0 < len(name) <= LONGEST_NAME and name.isprintable()


def elsewhere(host: str) -> Refusal:
    """Routes are declared, and none of them is for this host and path."""
    shown = host if host.isascii() and host.isprintable() else ""
    message = (
        f"no Route is for host {shown[:LONGEST_NAME] or '(none)'} and this path: ask at a host that one names, or let "
        "one name this host in `hosts`"
    )
    return Refusal(status=404, code="host_not_found", message=message)


def _other_method(path: bytes, allow: str) -> Refusal:
    message = f"cannot ask {path.decode()} with this method: use {allow}"
    return Refusal(status=405, code="method_not_allowed", message=message, param=allow)


def _unknown(path: bytes) -> Refusal:
    if path.rstrip(b"/") == b"/v1":
        return Refusal(
            status=404, code="path_not_found", message="/v1 is where the API begins: GET /v1/models lists models"
        )
    near = difflib.get_close_matches(path[:LONGEST_NAME].decode("ascii", "replace"), _PATHS, n=1, cutoff=_NEAR)
    hint = f": {near[0]} is the nearest that is" if near else ": /v1/chat/completions is one that is"
    return Refusal(status=404, code="path_not_found", message=f"this path is not served here{hint}")
