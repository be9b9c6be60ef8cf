"""Weights in a cache, as a fetch leaves them there, without one."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from reconciler import shelf
from reconciler.act.shelving import Shelving

COMMIT = "c" * 40


def shelved(
    place: shelf.Place, source: str, files: Mapping[str, bytes], *, revision: str = COMMIT, ends: bool = True
) -> Shelving:
    """Bring these files of a source; `ends`: else they come, and it ends before they are shown."""
    revision = "" if source.startswith("https:") else revision
    made = Shelving(place=place, source=source, revision=revision)
    digests = {name: f"sha256:{hashlib.sha256(data).hexdigest()}" for name, data in files.items()}
    targets = {name: made.target(name, digests[name]) for name in files}
    os.makedirs(made.directory, exist_ok=True)
    made.claim(targets)
    for name, data in files.items():
        path = Path(targets[name] if ends else f"{targets[name]}{shelf.PARTIAL}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    if ends:
        made.publish(targets, digests)
    else:
        told = shelf.Progress(source=source, state="failed", done=sum(map(len, files.values())), total=10**6)
        descriptor = os.open(f"{made.directory}/progress", os.O_RDWR | os.O_CREAT)
        shelf.write_progress(descriptor, told)
        os.close(descriptor)
    return made


def every(root: Path) -> set[str]:
    """Files and links beneath, but the records of sources."""
    found = (path.relative_to(root) for path in root.rglob("*") if path.is_symlink() or not path.is_dir())
    records = {"lock", "progress", "whole", "claimed", "need", "used"}
    return {str(path) for path in found if path.parts[0] != "holdfast" or path.name not in records}
