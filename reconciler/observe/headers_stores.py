"""Where files lie that other tools have fetched: the Hugging Face cache, and Ollama's store. What they name is checked.

Every name and digest becomes a part of a path, so none may lead out of the store.
"""

import json
import os
import re
from posixpath import join
from typing import Any

from reconciler.model.observation import Unknown

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_MODEL = "application/vnd.ollama.image.model"
_MANIFEST = 2**20


def ollama_models() -> str:
    """Where Ollama keeps what it pulled."""
    return os.path.expanduser(os.environ.get("OLLAMA_MODELS") or "~/.ollama/models")


def pulled(source: str, models: str) -> str | Unknown:
    """The GGUF of an `ollama:` source in Ollama's store."""
    name, _, tag = source.partition(":")[2].partition(":")
    parts = name.split("/")
    parts = [*("registry.ollama.ai", "library")[: max(0, 3 - len(parts))], *parts, tag or "latest"]
    if len(parts) != 4 or not all(map(_PART.fullmatch, parts)):
        return Unknown(reason=f"cannot read {source}: it is no name of a model; write ollama:name:tag")
    path = join(models, "manifests", *parts)
    try:
        with open(path, "rb") as file:
            manifest: Any = json.loads(file.read(_MANIFEST))
        digests = [layer["digest"] for layer in manifest["layers"] if layer["mediaType"] == _MODEL]
        (digest,) = [_DIGEST.fullmatch(digest) for digest in digests]
    except FileNotFoundError:
        return Unknown(reason=f"cannot read {source}: it is not in {models}; pull it with ollama, or write memory")
    except OSError as error:
        return Unknown(reason=f"cannot read {path}: {error.strerror}; let the daemon read it, or write memory")
    except (ValueError, KeyError, TypeError, RecursionError):
        digest = None
    if digest is None:
        return Unknown(reason=f"cannot read {path}: it is no manifest of one GGUF; write memory")
    return join(models, "blobs", f"sha256-{digest[1]}")
