"""A store in Ollama's layout: what a fetch writes there, and what it takes from stores that Ollama itself has filled.

Of those nothing is changed: files are linked where the file system allows it, else copied, and checked like any other.
"""

import contextlib
import hashlib
import os
from itertools import product
from posixpath import dirname, join

from reconciler import shelf
from reconciler.act.fetch_list import Listing, Remote, by_manifest
from reconciler.engines import registry


def pulled(source: str, store: str) -> Listing | None:
    """What a source consists of by a manifest on this machine; None where there is none. Raises FetchError."""
    name = registry.name_of(source)
    for place, manifest in product((store, *shelf.ollama_stores()), name.manifests if name is not None else ()):
        with contextlib.suppress(OSError), open(join(place, manifest), "rb") as file:
            return by_manifest(source, file.read(registry.MANIFEST))
    return None


def link(listed: Listing, store: str) -> None:
    """Have all that can be had without a byte more on the disk."""
    os.makedirs(join(store, "blobs"), exist_ok=True)
    for remote, other in product(listed.files, shelf.ollama_stores()):
        with contextlib.suppress(OSError):  # there already, not there, or of another file system or user
            if os.path.isfile(join(other, remote.path)):
                os.link(join(other, remote.path), join(store, remote.path))


def kept(remote: Remote) -> tuple[str, ...]:
    """Where Ollama itself may keep a file that could not be linked."""
    return tuple(join(other, remote.path) for other in shelf.ollama_stores())


def publish(manifest: bytes, path: str) -> str:
    """Write a manifest, once all that it lists is there; its digest."""
    os.makedirs(dirname(path), exist_ok=True)
    with open(f"{path}.new", "wb") as file:
        file.write(manifest)
        file.flush()
        os.fsync(file.fileno())
    os.replace(f"{path}.new", path)
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"
