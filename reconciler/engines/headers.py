"""Which headers tell what a model weighs, and what they told. Pure: reading them is `observe/headers.py`."""

from collections.abc import Mapping

from reconciler.engines.dialect import local_path, scheme
from reconciler.engines.memory import Beside, Known
from reconciler.model.fleet import Workload
from reconciler.model.kinds import Model


def wanted(what: Workload) -> tuple[str, ...]:
    """The sources to be read, `file:` ones by their absolute path: the model's own first, then its adapters'."""
    spec = what.spec
    if not isinstance(spec, Model) or spec.gpus == 0 or spec.memory != "auto":
        return ()
    sources = (spec.source, *(adapter.source for adapter in spec.adapters))
    return tuple(_absolute(source, what.directory) for source in sources)


def found(what: Workload, known: Mapping[str, Known]) -> tuple[Known, Beside]:
    """What is known of the model's own weights, and of what is loaded with it."""
    sources = wanted(what)
    if not sources:
        return None, Beside()
    return known.get(sources[0]), Beside(adapters=tuple(known.get(source) for source in sources[1:]))


def _absolute(source: str, directory: str) -> str:
    return f"file:{local_path(source, directory)}" if scheme(source) == "file" else source
