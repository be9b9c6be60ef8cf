"""Where files lie that Ollama has pulled: in its own store, or in the one of its service."""

from itertools import product
from posixpath import join

from reconciler.engines import registry
from reconciler.model.observation import Unknown


def pulled(source: str, stores: tuple[str, ...]) -> str | Unknown | None:
    """The GGUF of an `ollama:` source; None where none of these stores has it."""
    name = registry.name_of(source)
    if name is None:
        return Unknown(reason=f"cannot read {source}: it is no name of a model; write ollama:name:tag")
    for store, manifest in product(stores, name.manifests):
        path = join(store, manifest)
        try:
            with open(path, "rb") as file:
                layers = registry.layers(file.read(registry.MANIFEST))
        except FileNotFoundError:
            continue
        except OSError as error:
            return Unknown(reason=f"cannot read {path}: {error.strerror}; let the daemon read it, or write memory")
        if layers is None:
            return Unknown(reason=f"cannot read {path}: it is no manifest of one GGUF; write memory")
        return join(store, layers[0].blob)
    return None
