"""Where files lie that other tools have fetched: the Hugging Face cache, and Ollama's store. What they name is checked.

Every name and digest becomes a part of a path, so none may lead out of the store.
"""

import json
import os
import re
from posixpath import join
from typing import Any

from reconciler.engines.dialect import hub_parts
from reconciler.model.observation import Unknown

_COMMIT = re.compile(r"[0-9a-f]{40}")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_MODEL = "application/vnd.ollama.image.model"
_MANIFEST = 2**20


def hub_cache() -> str:
    """Where Hugging Face's tools keep what they fetched, by the same variables."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    home = os.environ.get("HF_HOME") or join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return os.path.expanduser(named or join(home, "hub"))


def ollama_models() -> str:
    """Where Ollama keeps what it pulled."""
    return os.path.expanduser(os.environ.get("OLLAMA_MODELS") or "~/.ollama/models")


def cached(source: str, cache: str) -> str | None:
    """The file or directory of an `hf:` source in the cache; None where it is not there, or may not be all of it."""
    repo, revision, path = hub_parts(source)
    folder = join(cache, "models--" + repo.replace("/", "--"))
    commit = revision or "main"
    if not _COMMIT.fullmatch(commit):
        try:
            with open(join(folder, "refs", commit), encoding="ascii") as file:
                commit = file.read(64).strip()
        except (OSError, ValueError):
            return None
    if not _COMMIT.fullmatch(commit):
        return None
    snapshot = join(folder, "snapshots", commit)
    if path is not None:
        found = join(snapshot, path)
        return found if ".." not in path.split("/") and os.path.isfile(found) else None
    # shards come one by one: only with the index is it known whether all of them are there
    whole = any(os.path.isfile(join(snapshot, f"model.safetensors{end}")) for end in ("", ".index.json"))
    return snapshot if whole and os.path.isfile(join(snapshot, "config.json")) else None


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
