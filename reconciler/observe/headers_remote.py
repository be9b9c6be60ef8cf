"""Headers of model files that are far away: one request for each file, read as far as its header goes and no further.

A server that honours ranges is asked for the part; one that does not is left as soon as the header is there.
"""

import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from typing import Any, Self
from urllib.parse import quote, urljoin, urlsplit

from reconciler import shelf, web
from reconciler.engines import gguf, registry, safetensors
from reconciler.engines.dialect import hub_parts, pinned, scheme
from reconciler.model.observation import Unknown
from reconciler.model.weights import Unreadable, Weights

_CAP = gguf.HEADER + 2**20
_GAP = 2**20
"""Bytes that are rather read over than asked for anew."""
_STEP = 64 * 2**10
_EACH = 32
"""Files of a model whose headers are all read; of one with more files the index says the sum."""
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """Where `hf:`, `modelscope:` and `ollama:` sources are."""

    endpoint: str = field(default_factory=web.hub_endpoint)
    token: str | None = field(default=None, repr=False)
    """For the endpoint itself, and sent to nobody else."""
    modelscope: str = field(default_factory=web.modelscope_endpoint)
    cache: shelf.Place = field(default_factory=lambda: shelf.place(None))
    """Where that is kept which was fetched."""
    ollama: tuple[str, ...] = field(default_factory=shelf.ollama_stores)
    """Stores with what Ollama pulled."""


class _RemoteError(Exception):
    """Why a file cannot be had, in words."""

    def __init__(self, reason: str, *, missing: bool = False) -> None:
        super().__init__(reason)
        self.missing = missing


class _Remote:
    """One model's files: opens, reads and closes them until the deadline."""

    def __init__(self, deadline: float, hub: Hub, clock: Callable[[], float]) -> None:
        self._until = clock() + deadline
        self._clock = clock
        self._hub = hub
        self._opener = web.opener()

    def open(self, url: str, offset: int, cap: int) -> HTTPResponse:
        """An answer that begins at the offset, or at 0 with status 200. Raises _RemoteError."""
        request = urllib.request.Request(  # noqa: S310 - the schemes are checked by those who call
            url, headers={"Range": f"bytes={offset}-{offset + cap - 1}", "Accept-Encoding": "identity"}
        )
        request.add_header("User-Agent", "holdfast")
        try:
            web.show(request, self._hub.token, self._hub.endpoint)
            answer: Any = self._opener.open(request, timeout=self.left())
        except urllib.error.HTTPError as error:
            error.close()
            raise _RemoteError(_status(error.code), missing=error.code in (404, 416)) from None
        except web.RefusedError as error:
            raise _RemoteError(str(error)) from None
        except (OSError, HTTPException, ValueError) as error:
            raise _RemoteError(str(getattr(error, "reason", None) or error) or type(error).__name__) from None
        return answer

    def left(self) -> float:
        """Seconds until the deadline. Raises _RemoteError when it is over."""
        left = self._until - self._clock()
        if left <= 0:
            raise _RemoteError("nothing came in time")
        return left

    def all(self, url: str, cap: int) -> bytes:
        """A small file whole. Raises _RemoteError."""
        with _Stream(self, url, cap) as stream:
            return stream.read(0, cap)


class _Stream:
    """A file read from the front, with gaps. Raises _RemoteError."""

    def __init__(self, remote: _Remote, url: str, cap: int = _CAP) -> None:
        self._remote, self._url, self._cap = remote, url, cap
        self._ranged = False
        self._answer: HTTPResponse | None = None
        self._at = 0
        self.size: int | None = None
        """Bytes of the whole file as the server says."""
        self._open(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._answer is not None:
            self._answer.close()

    def read(self, offset: int, length: int) -> bytes:
        """As many of these bytes as there are; never before what was read last."""
        if self._ranged and offset - self._at > _GAP:
            self._open(offset)
        while self._at < offset:
            if not self._next(offset - self._at):
                return b""
        pieces = bytearray()
        while len(pieces) < length:
            piece = self._next(length - len(pieces))
            if not piece:
                break
            pieces += piece
        return bytes(pieces)

    def _open(self, offset: int) -> None:
        if self._answer is not None:
            self._answer.close()
        answer = self._answer = self._remote.open(self._url, offset, self._cap)
        if answer.headers.get("Content-Encoding", "identity").lower() not in ("identity", ""):
            raise _RemoteError("it is sent compressed")
        self._at, self._ranged = 0, answer.status == 206
        if self._ranged:
            span = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
            if span is None or int(span[1]) != offset:
                raise _RemoteError(f"another part was sent than the one from byte {offset}")
            self._at = offset
            self.size = int(span[3]) if span[3] != "*" else None
        elif answer.status == 200:
            length = answer.headers.get("Content-Length", "")
            self.size = int(length) if length.isdecimal() and len(length) < 19 else None
        else:
            raise _RemoteError(_status(answer.status))

    def _next(self, most: int) -> bytes:
        """What comes next."""
        answer = self._answer
        if answer is None:
            return b""
        self._remote.left()
        try:
            piece = answer.read1(min(most, _STEP))
        except (OSError, HTTPException, ValueError) as error:
            raise _RemoteError(str(error) or type(error).__name__) from None
        self._at += len(piece)
        return piece


def read(
    source: str, *, deadline: float, hub: Hub, clock: Callable[[], float] = time.monotonic
) -> Weights | Unreadable | Unknown:
    """What a `hf:`, `modelscope:` or `https:` source weighs; `deadline` in seconds."""
    remote = _Remote(deadline, hub, clock)
    kind = scheme(source)
    try:
        if kind == "https":
            found = _single(remote, pinned(source)[0])
        elif kind == "hf":
            found = _hub(remote, source, hub.endpoint, "main")
        elif kind == "modelscope":
            found = _hub(remote, source, f"{hub.modelscope}/models", "master")
        elif kind == "ollama":
            found = _ollama(remote, source)
        else:
            return Unknown(reason=f"cannot read headers of {kind}: sources; write memory")
    except _RemoteError as error:
        return Unknown(reason=f"cannot read {source}: {error}")
    return Unreadable(reason=f"{source}: {found.reason}") if isinstance(found, Unreadable) else found


def _hub(remote: _Remote, source: str, endpoint: str, newest: str) -> Weights | Unreadable:
    repo, revision, path = hub_parts(source)
    base = f"{endpoint.rstrip('/')}/{quote(repo)}/resolve/{quote(revision or newest, safe='')}/"
    if urlsplit(base).scheme not in web.SCHEMES:
        raise _RemoteError(f"the endpoint {endpoint} is no http address")
    file = f"name the file, as {scheme(source)}:org/repo/file.gguf"
    if path is not None:
        return _single(remote, base + quote(path))
    try:
        config = remote.all(base + "config.json", safetensors.CONFIG)
    except _RemoteError as error:
        if error.missing:
            raise _RemoteError(f"there is no config.json in it; {file}") from None
        raise
    try:
        return _parts(remote, config, [base + "model.safetensors"])
    except _RemoteError as error:
        if not error.missing:
            raise
    try:
        listed = safetensors.index(remote.all(base + "model.safetensors.index.json", safetensors.INDEX))
    except _RemoteError as error:
        if error.missing:
            raise _RemoteError(f"there are no safetensors in it; {file}") from None
        raise
    if isinstance(listed, Unreadable):
        return listed
    if listed.total is not None and len(listed.files) > _EACH:
        return safetensors.weigh(config, (), total=listed.total)
    return _parts(remote, config, [urljoin(base, quote(name)) for name in listed.files])


def _ollama(remote: _Remote, source: str) -> Weights | Unreadable:
    name = registry.name_of(source)
    if name is None:
        raise _RemoteError("it is no name of a model; write ollama:name:tag")
    base = web.model_address(name)
    if urlsplit(base).scheme not in web.SCHEMES:
        raise _RemoteError(f"the registry {base} is no http address")
    layers = registry.layers(remote.all(f"{base}/manifests/{name.tag}", registry.MANIFEST))
    if layers is None:
        return Unreadable(reason="its manifest is none of one GGUF")
    return _single(remote, f"{base}/blobs/{layers[0].digest}")


def _single(remote: _Remote, url: str) -> Weights | Unreadable:
    """One file by its content, and those that belong to it by their names."""
    path, mark, rest = url.partition("?")
    if path.endswith(".safetensors"):
        return _parts(remote, b"{}", [url])
    parts: list[gguf.Part] = []
    for name in gguf.shards(path):
        with _Stream(remote, name + mark + rest) as stream:
            part = gguf.read(stream.read, size=stream.size)
        if isinstance(part, Unreadable):
            return part
        parts.append(part)
    return gguf.weigh(parts)


def _parts(remote: _Remote, config: bytes, urls: list[str]) -> Weights | Unreadable:
    parts: list[safetensors.Part] = []
    for url in urls:
        with _Stream(remote, url) as stream:
            part = safetensors.read(stream.read, size=stream.size)
        if isinstance(part, Unreadable):
            return part
        parts.append(part)
    return safetensors.weigh(config, parts)


def _status(code: int) -> str:
    hints = {
        401: "HTTP 401; it needs a token",
        403: "HTTP 403; it needs a token that may read it",
        404: "HTTP 404; check the name and the revision",
    }
    return hints.get(code, f"HTTP {code}")
