"""Weights that are not here yet: fetched first, a few at a time and by priority, and cancelled once unneeded."""

from collections.abc import Iterable, Iterator

from reconciler import engines
from reconciler.model.fleet import Fleet, Workload
from reconciler.model.kinds import Model, SecretRef
from reconciler.model.observation import Unknown
from reconciler.model.plan import Blocked, Cancel, Fetch
from reconciler.model.status import Reason
from reconciler.model.stored import Absent, Fetching, Looking
from reconciler.model.weights import Weights
from reconciler.plan import backoff
from reconciler.plan.facts import Facts
from reconciler.plan.weights import how_far
from reconciler.plan.words import several

AT_ONCE = 2
"""Sources that are fetched at once: one alone rarely fills the line, and many would all be late."""


def lacking(slot: str, workload: Workload, facts: Facts) -> Fetch | Blocked:
    """What is done about weights that are not here, or why nothing can be done now."""
    source = engines.fetched(workload) or ""
    match facts.observation.sources.get(source):
        case Fetching() as fetching:
            detail = f"fetching {source}{how_far(fetching)}"
            return Blocked(subject=slot, reason=Reason.Fetching, detail=detail)
        case Unknown(reason=why):
            return Blocked(subject=slot, reason=Reason.Unknown, detail=f"{why}; {source} is not fetched until it can")
        case Looking():
            return Blocked(subject=slot, reason=Reason.Waiting, detail=f"{source} is looked for in the cache")
        case Absent(failure=failure):
            pass
        case _:
            failure = None
    detail = ""
    if failure is not None:
        until = failure.at + max(failure.after, backoff.delay(failure.count, source))
        if facts.now < until:
            return Blocked(subject=slot, reason=failure.reason, detail=failure.detail, until=until)
        detail = failure.detail
    underway = sorted(_underway(facts))
    if source in underway:
        return Blocked(subject=slot, reason=Reason.Fetching, detail=f"fetching {source}")
    if len(underway) >= AT_ONCE:
        detail = f"waits to fetch {source} after {several(underway)}"
        return Blocked(subject=slot, reason=Reason.Waiting, detail=detail)
    facts.fetches.add(source)
    cache, weighed = facts.nodes[""].cache, facts.observation.weights.get(source.removesuffix("/*.gguf"))
    return Fetch(
        slot=slot,
        source=source,
        cache=cache.path if cache is not None else None,
        limit=cache.size if cache is not None else None,
        size=weighed.total if isinstance(weighed, Weights) else None,
        token=_token(workload, source) or (cache.token if cache is not None else None),
        reason=Reason.NotFetched,
        detail=detail,
    )


def unneeded(fleet: Fleet, facts: Facts) -> Iterator[Cancel]:
    """Fetches of which no model says any more that it needs them."""
    underway = {source: stored for source, stored in facts.observation.sources.items() if isinstance(stored, Fetching)}
    if not underway or fleet.missing is not None or fleet.problems:
        return  # what cannot be read may need it
    needed = {engines.fetched(workload) for workload in fleet.workloads.values()}
    cache = facts.nodes[""].cache
    for source, fetching in sorted(underway.items()):
        if source not in needed and fetching.slot not in facts.memory.in_flight:
            yield Cancel(
                slot=fetching.slot,
                source=source,
                cache=cache.path if cache is not None else None,
                reason=Reason.NotInFleet,
                detail="no model needs it any more",
            )


def _underway(facts: Facts) -> set[str]:
    """What is being fetched, or is about to be."""
    found = {source for source, stored in facts.observation.sources.items() if isinstance(stored, Fetching)}
    actions: Iterable[object] = facts.memory.in_flight.values()
    return found | facts.fetches | {action.source for action in actions if isinstance(action, Fetch)}


def _token(workload: Workload, source: str) -> str | SecretRef | None:
    """What its own file gives it to show the hub."""
    spec = workload.spec
    if not isinstance(spec, Model) or source.startswith("https:"):
        return None
    return spec.env.get("HF_TOKEN" if source.startswith("hf:") else "MODELSCOPE_API_TOKEN")
