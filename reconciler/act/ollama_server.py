"""Becomes `ollama serve`, with a store of its own in which the one model of its instance has the instance's name.

`python -m reconciler.act.ollama_server MANIFEST NAME PROGRAM serve`: makes the store in the working directory, of links
to the blobs beside the manifest, so that whatever Ollama or who speaks to it does there changes nothing but links.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from posixpath import dirname, join
from typing import NoReturn

from reconciler.engines import registry

_NAMED = "library"
_DEPTH = 5
"""Folders between a store and what a manifest of it is called."""


def lay_out(manifest: str, name: str, store: str) -> None:
    """Have the store hold this model and no other. Raises OSError, or ValueError where it is no manifest of one."""
    with open(manifest, "rb") as file:
        data = file.read(registry.MANIFEST)
    layers = registry.layers(data)
    if layers is None:
        raise ValueError(f"{manifest} is no manifest of one GGUF")
    origin = manifest
    for _ in range(_DEPTH):
        origin = dirname(origin)
    shutil.rmtree(store, ignore_errors=True)
    blobs, named = join(store, "blobs"), join(store, "manifests", registry.HOST, _NAMED, name)
    os.makedirs(blobs)
    os.makedirs(named)
    for layer in layers:
        os.symlink(join(origin, layer.blob), join(store, layer.blob))
    with open(join(named, "latest"), "wb") as file:
        file.write(data)


def main(argv: Sequence[str]) -> NoReturn:
    """Lay out, and become Ollama. Its key and all it writes stay in the working directory."""
    manifest, name, *command = argv
    home = os.getcwd()
    try:
        lay_out(manifest, name, join(home, "models"))
        os.execve(  # noqa: S606 - as it was launched
            command[0], command, {**os.environ, "HOME": home, "OLLAMA_MODELS": join(home, "models")}
        )
    except (OSError, ValueError) as error:
        sys.exit(f"cannot serve {name}: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
