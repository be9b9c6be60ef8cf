"""Ollama's registry: what `ollama:` sources are called there and in a store, and what a manifest lists. Pure.

Every name and digest becomes a part of a path and of an address, so none may lead anywhere else.
"""

import json
import re
from dataclasses import dataclass
from posixpath import join
from typing import Any

from reconciler.engines.dialect import pinned

HOST = "registry.ollama.ai"
ACCEPT = "application/vnd.docker.distribution.manifest.v2+json"
"""The kind of manifest that is asked for: of one model."""
MANIFEST = 2**20
"""Bytes of a manifest that are read."""
_MODEL = "application/vnd.ollama.image.model"
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """A model of a registry, in full."""

    host: str
    namespace: str
    model: str
    tag: str
    pin: str | None = None
    """The digest that its manifest must have: `sha256:…`."""

    @property
    def manifests(self) -> tuple[str, str]:
        """Where a store may have its manifest: as Ollama does it since 2026, and as all versions read it.

        What is pinned stands beside what its tag means now.
        """
        path = join(self.host, self.namespace, self.model, self.pin.replace(":", "-") if self.pin else self.tag)
        return join("manifests-v2", path), join("manifests", path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One file of a model."""

    kind: str
    """Its media type."""
    digest: str
    """`sha256:…`."""
    size: int | None

    @property
    def blob(self) -> str:
        """Where a store has it."""
        return join("blobs", self.digest.replace(":", "-"))


def name_of(source: str) -> Name | None:
    """`ollama:qwen3:4b` → `registry.ollama.ai`, `library`, `qwen3`, `4b`; None where it is no name of a model."""
    plain, pin = pinned(source)
    name, _, tag = plain.partition(":")[2].partition(":")
    parts = name.split("/")
    parts = [*(HOST, "library")[: max(0, 3 - len(parts))], *parts, tag or "latest"]
    if len(parts) != 4 or not all(map(_PART.fullmatch, parts)):
        return None
    return Name(host=parts[0], namespace=parts[1], model=parts[2], tag=parts[3], pin=pin)


def layers(manifest: bytes) -> tuple[Layer, ...] | None:
    """What a manifest lists, each once, its model first; None where it is none of one GGUF."""
    try:
        said: Any = json.loads(manifest)
        found = [_layer(each) for each in (*said["layers"], *([said["config"]] if said.get("config") else []))]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    models = [layer for layer in found if layer.kind == _MODEL]
    by_digest = {layer.digest: layer for layer in (*models, *reversed(found))}
    return tuple(by_digest.values()) if len(models) == 1 else None


def _layer(said: Any) -> Layer:
    """Raises ValueError, KeyError or TypeError where it is none."""
    digest, size = said["digest"], said.get("size")
    if _DIGEST.fullmatch(digest) is None or not (size is None or (type(size) is int and 0 <= size < 2**60)):
        raise ValueError(digest)
    return Layer(kind=str(said["mediaType"]), digest=digest, size=size)
