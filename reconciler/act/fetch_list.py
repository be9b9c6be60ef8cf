"""Which files a source consists of, and what each of them must be: asked of the hub before a byte is fetched.

What a hub names becomes a path on this machine, so no name may lead out of its directory.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from posixpath import basename
from typing import Any, cast
from urllib.parse import quote, unquote, urlsplit

from reconciler import web
from reconciler.act.fetch_ask import Asker, FetchError
from reconciler.engines import gguf, registry
from reconciler.engines.dialect import hub_parts, pinned, scheme
from reconciler.model.status import Reason

_LISTING = 32 * 2**20
"""Bytes in which a hub has said all of as many files as are taken: some of them give a commit's message with each."""
_FILES = 20000
_COMMIT = re.compile(r"[0-9a-f]{40}")
_DIGESTS = {"sha256": re.compile(r"[0-9a-f]{64}"), "git": _COMMIT}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_LONGEST = 240
"""Bytes of one part of a name: file systems take 255, and there are our endings."""
_SETTINGS = (".json", ".txt", ".model", ".py", ".jinja", ".tiktoken", ".vocab", ".bpe")
_ELSEWHERE = ("original/", "onnx/", "openvino/", "metal/")
"""Folders in which repositories hold the same weights once more, for others."""
_FAVOURITES = ("Q4_K_M", "Q8_0")
"""Of several GGUF files llama-server takes the first of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """One file that is to be here."""

    path: str
    """Within the source."""
    url: str
    size: int | None
    digest: str
    """`sha256:…`, `git:…`, or empty where nobody says it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """All of them."""

    revision: str
    """The commit that was asked for, or that its name stands for now; empty for what is of no hub."""
    files: tuple[Remote, ...]
    manifest: bytes = b""
    """Of an `ollama:` source: what lists its files, the GGUF first."""


def listing(source: str, ask: Asker) -> Listing:
    """What a source consists of. Raises FetchError."""
    kind = scheme(source)
    if kind == "https":
        return as_pinned(source, _address(source))
    if kind == "ollama":
        name = _name_of(source)
        said = ask.all(
            f"{web.model_address(name)}/manifests/{name.tag}", registry.MANIFEST, {"Accept": registry.ACCEPT}
        )
        return by_manifest(source, said)
    if kind == "hf":
        found = _hugging_face(source, ask)
    elif kind == "modelscope":
        found = _modelscope(source, ask)
    else:
        raise FetchError(Reason.NotSupported, f"cannot fetch {source}: {kind}: sources are fetched by their engine")
    by_path = {file.path: file for file in found.files}
    if len(by_path) > _FILES:
        detail = f"cannot fetch {source}: it is of {len(by_path)} files, which is more than the {_FILES} that are taken"
        raise FetchError(Reason.NotSupported, detail, after=300)
    if not all(map(_is_safe, by_path)):
        raise FetchError(Reason.FetchFailed, f"cannot fetch {source}: the hub names files that cannot be trusted")
    chosen = [by_path[name] for name in _chosen(source, by_path)]
    return as_pinned(source, Listing(revision=found.revision, files=tuple(chosen)))


def as_pinned(source: str, listed: Listing) -> Listing:
    """The same, if it is what the source names by a commit or a digest. Raises FetchError."""
    digest, revision = pinned(source)[1], hub_parts(source)[1] or ""
    first, *others = listed.files
    if scheme(source) == "hf" and _COMMIT.fullmatch(revision) and revision != listed.revision:
        detail = f"cannot use {source}: it came as commit {listed.revision}"
    elif digest is not None and first.digest.startswith("sha256:") and first.digest != digest:
        detail = f"cannot use {source}: {first.path} is {first.digest} there"
    else:
        return replace(listed, files=(replace(first, digest=digest or first.digest), *others))
    raise FetchError(Reason.DigestWrong, detail, after=300)


def by_manifest(source: str, manifest: bytes) -> Listing:
    """The files that the manifest of an `ollama:` source lists. Raises FetchError."""
    name, layers = _name_of(source), registry.layers(manifest)
    if layers is None:
        detail = f"cannot fetch {source}: its manifest is none of one GGUF; name another tag, or an hf: source"
        raise FetchError(Reason.NotSupported, detail, after=300)
    digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    if name.pin not in (None, digest):
        detail = f"cannot use {source}: its tag stands for {digest} now; pin that, or import the one you mean"
        raise FetchError(Reason.DigestWrong, detail, after=300)
    base = f"{web.model_address(name)}/blobs/"
    files = tuple(
        Remote(path=layer.blob, url=base + layer.digest, size=layer.size, digest=layer.digest) for layer in layers
    )
    return Listing(revision=digest, files=files, manifest=manifest)


def _name_of(source: str) -> registry.Name:
    name = registry.name_of(source)
    if name is None:
        detail = f"cannot fetch {source}: it is no name of a model; write ollama:name:tag"
        raise FetchError(Reason.SourceMissing, detail, after=300)
    return name


def _address(source: str) -> Listing:
    url, digest = pinned(source)
    names = gguf.shards(urlsplit(url).path)
    if digest is not None and len(names) > 1:
        raise FetchError(Reason.NotSupported, f"cannot fetch {source}: one digest cannot pin {len(names)} files")
    parts = urlsplit(url)
    files = tuple(
        Remote(path=_name(name), url=parts._replace(path=name).geturl(), size=None, digest="") for name in names
    )
    return Listing(revision="", files=files)


def _name(path: str) -> str:
    name = basename(unquote(path))
    return name if _is_safe(name) else "weights"


def _hugging_face(source: str, ask: Asker) -> Listing:
    repo, revision, _ = hub_parts(source)
    end = web.hub_endpoint()
    said: Any = _json(
        source, ask, f"{end}/api/models/{quote(repo)}/revision/{quote(revision or 'main', safe='')}?blobs=true"
    )
    commit = str(said.get("sha", ""))
    if not _COMMIT.fullmatch(commit):
        raise FetchError(Reason.FetchFailed, f"cannot fetch {source}: {end} names no commit of it")
    base = f"{end}/{quote(repo)}/resolve/{commit}/"
    files: list[Remote] = []
    entries: list[dict[str, Any]] = said.get("siblings") or []
    for each in entries:
        large: dict[str, Any] = each.get("lfs") or {}
        name = str(each["rfilename"])
        digest = _digest("sha256", large.get("sha256")) or _digest("git", each.get("blobId"))
        files.append(Remote(path=name, url=base + quote(name), size=large.get("size", each.get("size")), digest=digest))
    return Listing(revision=commit, files=tuple(files))


def _modelscope(source: str, ask: Asker) -> Listing:
    repo, revision, _ = hub_parts(source)
    end, revision = web.modelscope_endpoint(), quote(revision or "master", safe="")
    said: Any = _json(source, ask, f"{end}/api/v1/models/{quote(repo)}/repo/files?Revision={revision}&Recursive=true")
    base = f"{end}/models/{quote(repo)}/resolve/{revision}/"
    data: dict[str, Any] = said.get("Data") or {}
    entries: list[dict[str, Any]] = data.get("Files") or []
    files = tuple(
        Remote(
            path=(path := str(each["Path"])),
            url=base + quote(path),
            size=each.get("Size"),
            digest=_digest("sha256", each.get("Sha256")),
        )
        for each in entries
        if each.get("Type") != "tree"
    )
    return Listing(revision=revision, files=files)


def _json(source: str, ask: Asker, url: str) -> Any:
    """The object that a hub answers with."""
    try:
        said: Any = json.loads(ask.all(url, _LISTING))
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        host = urlsplit(url).netloc
        raise FetchError(Reason.FetchFailed, f"cannot fetch {source}: {host} does not answer as a hub does", after=60)
    return cast("Any", said)


def _chosen(source: str, there: Mapping[str, Remote]) -> list[str]:
    """The names of the files that an engine needs."""
    repo, revision, path = hub_parts(source)
    named = f"{scheme(source)}:{repo}" + (f"@{revision}" if revision else "")
    if path == "*.gguf":
        found = favourite(there)
        if found is None:
            raise FetchError(Reason.SourceMissing, f"cannot fetch {named}: there is no GGUF file in it", after=300)
        path = found
    if path is not None:
        wanted = gguf.shards(path)
        missing = [name for name in wanted if name not in there]
        if missing:
            raise FetchError(Reason.SourceMissing, f"cannot fetch {named}: there is no {missing[0]} in it", after=300)
        return list(wanted)
    names = snapshot(there)
    if not any(name.endswith((".safetensors", ".bin", ".pt")) for name in names):
        detail = f"cannot fetch {named}: there are no safetensors in it; name the file, as {named}/file.gguf"
        raise FetchError(Reason.SourceMissing, detail, after=300)
    return names


def favourite(names: Iterable[str]) -> str | None:
    """The GGUF file that is meant where none is named."""
    found = [name for name in sorted(names) if name.endswith(".gguf") and not basename(name).startswith("mmproj")]
    for word in _FAVOURITES:
        for name in found:
            if word in name.upper():
                return name
    return found[0] if found else None


def snapshot(names: Iterable[str]) -> list[str]:
    """Of a repository what an engine that takes all of it needs: settings, and its weights once."""
    mine = [name for name in sorted(names) if not name.startswith(_ELSEWHERE)]
    weights = [name for name in mine if name.endswith(".safetensors")]
    once = [name for name in weights if not basename(name).startswith("consolidated")]
    weights = once or weights or [name for name in mine if name.endswith((".bin", ".pt"))]
    return [name for name in mine if name.endswith(_SETTINGS)] + weights


def _digest(kind: str, value: object) -> str:
    """What a hub says, if it is one: files are named by it."""
    return f"{kind}:{value}" if _DIGESTS[kind].fullmatch(str(value)) else ""


def _is_safe(name: str) -> bool:
    parts = name.split("/")
    if len(name) > 1024 or _CONTROL.search(name):
        return False
    return not any(part in ("", ".", "..") or len(part.encode(errors="replace")) > _LONGEST for part in parts)
