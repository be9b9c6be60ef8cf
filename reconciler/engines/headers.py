"""Which headers tell what a model weighs, and what they told. Pure: reading them is `observe/headers.py`."""

from collections.abc import Mapping

from reconciler.engines import flags
from reconciler.engines.dialect import absolute
from reconciler.engines.memory import Beside, Known
from reconciler.model.fleet import Workload
from reconciler.model.kinds import Model


def wanted(what: Workload) -> tuple[str, ...]:
    """The sources to be read, `file:` ones by their absolute path: the model's own, and all that is loaded with it."""
    spec = what.spec
    if not isinstance(spec, Model) or spec.memory != "auto":
        return ()
    sources = (spec.source, *(adapter.source for adapter in spec.adapters), *flags.beside(spec))
    return tuple(absolute(source, what.directory) for source in sources if source is not None)


def found(what: Workload, known: Mapping[str, Known]) -> tuple[Known, Beside]:
    """What is known of the model's own weights, and of what is loaded with it."""
    spec = what.spec
    if not isinstance(spec, Model):
        return None, Beside()

    def look(source: str | None) -> Known:
        return None if source is None else known.get(absolute(source, what.directory))

    projector, draft = flags.beside(spec)
    adapters = tuple(look(adapter.source) for adapter in spec.adapters)
    return look(spec.source), Beside(adapters=adapters, projector=look(projector), draft=look(draft))
