"""Weights and images that are not here yet: fetched first, few at a time, by priority, cancelled once unneeded."""

from collections.abc import Iterable, Iterator

from reconciler import engines
from reconciler.engines.dialect import scheme
from reconciler.model.fields import SecretRef
from reconciler.model.fleet import Fleet, Workload
from reconciler.model.kinds import Cache, Model
from reconciler.model.observation import Unknown
from reconciler.model.plan import Blocked, Cancel, Fetch
from reconciler.model.secret import Secret
from reconciler.model.status import Reason
from reconciler.model.stored import Absent, Fetching, Looking
from reconciler.model.weights import Weights
from reconciler.plan import backoff, weights
from reconciler.plan.facts import Facts
from reconciler.plan.words import several

AT_ONCE = 2
"""Sources that are fetched at once: one alone rarely fills the line, and many would all be late."""
_TOKENS = {"hf": "HF_TOKEN", "modelscope": "MODELSCOPE_API_TOKEN"}
"""Hubs that are shown a token, and the variable that holds it."""


def lacking(slot: str, workload: Workload, facts: Facts) -> Fetch | Blocked:
    """What is done about what is not here, or why nothing can be done now."""
    waits: list[Blocked] = []
    for source in weights.lacks(workload, facts.observation):
        found = fetch(slot, workload, source, facts)
        if isinstance(found, Fetch):
            return found
        waits.append(found)
    return waits[0] if waits else Blocked(subject=slot, reason=Reason.NotFetched, detail="what it needs is not here")


def fetch(slot: str, workload: Workload, source: str, facts: Facts) -> Fetch | Blocked:
    """What is done about one source that is not here."""
    match facts.observation.sources.get(source):
        case Fetching() as fetching:
            detail = f"fetching {source}{weights.how_far(fetching)}"
            return Blocked(subject=slot, reason=Reason.Fetching, detail=detail)
        case Unknown(reason=why):
            return Blocked(subject=slot, reason=Reason.Unknown, detail=f"{why}; {source} is not fetched until it can")
        case Looking():
            return Blocked(subject=slot, reason=Reason.Waiting, detail=f"{source} is looked for")
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
        token=_token(workload, source, cache),
        reason=Reason.NotFetched,
        detail=detail,
    )


def needs(fleet: Fleet) -> dict[str, tuple[str, ...]]:
    """By source that has to be here, the workloads that are declared with it."""
    found: dict[str, list[str]] = {}
    for name, workload in sorted(fleet.workloads.items()):
        for source in engines.fetched(workload):
            found.setdefault(source, []).append(name)
    return {source: tuple(names) for source, names in found.items()}


def unneeded(fleet: Fleet, facts: Facts) -> Iterator[Cancel]:
    """Fetches of which nothing declared says any more that it needs them."""
    underway = {source: stored for source, stored in facts.observation.sources.items() if isinstance(stored, Fetching)}
    if not underway or fleet.missing is not None or fleet.problems:
        return  # what cannot be read may need it
    needed = {
        source
        for workload in fleet.workloads.values()
        for source in (*engines.required(workload), *engines.fetched(workload))
    }
    cache = facts.nodes[""].cache
    for source, fetching in sorted(underway.items()):
        if source not in needed and fetching.slot not in facts.memory.in_flight:
            yield Cancel(
                slot=fetching.slot,
                source=source,
                cache=cache.path if cache is not None else None,
                reason=Reason.NotInFleet,
                detail="nothing declared needs it any more",
            )


def _underway(facts: Facts) -> set[str]:
    """What is being fetched, or is about to be."""
    found = {source for source, stored in facts.observation.sources.items() if isinstance(stored, Fetching)}
    actions: Iterable[object] = facts.memory.in_flight.values()
    return found | facts.fetches | {action.source for action in actions if isinstance(action, Fetch)}


def _token(workload: Workload, source: str, cache: Cache | None) -> str | Secret | None:
    """What it is given to show the hub: by its own file, else by the Node's. No other place is shown any."""
    spec, name = workload.spec, _TOKENS.get(scheme(source))
    if not isinstance(spec, Model) or name is None:
        return None
    token = spec.env.get(name) or (cache.token if cache is not None else None)
    return token.named if isinstance(token, SecretRef) else token
