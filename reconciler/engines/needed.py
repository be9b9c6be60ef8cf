"""What of a workload has to be on the machine: weights and adapters in the cache, and its image. Pure."""

from reconciler.engines import template
from reconciler.engines.dialect import cached_as
from reconciler.model.fleet import Workload


def fetched(what: Workload) -> tuple[str, ...]:
    """What is to be in the cache for it, by the names it has there: its weights first, then its adapters."""
    first = _awaited(what)
    if not what.adapters:
        return first
    coming = (source for source in what.adapters.values() if cached_as(source, what.engine))
    return tuple(dict.fromkeys((*first, *coming)))


def required(what: Workload) -> tuple[str, ...]:
    """All that has to be here before it starts: what has to be in the cache, and its image as `image:name`."""
    there = image(what)
    return _awaited(what) if there is None else (*_awaited(what), there)


def _awaited(what: Workload) -> tuple[str, ...]:
    """What of the cache has to be there before it starts: adapters that come while it runs need not."""
    spec = what.spec
    if spec.kind == "Service" or (what.template is not None and not template.fetches(what.template)):
        return ()
    own = cached_as(spec.source, what.engine)
    sources = [own] if own is not None else []
    if spec.adapters and (not what.adapters or what.docker is not None):
        # a container sees only what was there when it was made
        found = (cached_as(adapter.source, what.engine) for adapter in spec.adapters)
        sources += [source for source in found if source is not None and source != own]
    return tuple(sources)


def image(what: Workload) -> str | None:
    """The image of its containers; None where it runs as processes."""
    return f"image:{what.docker.image}" if what.docker is not None else None
