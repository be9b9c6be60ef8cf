"""Adapters of what runs: which it takes up or lets go while it runs, and when it has to be replaced for them. Pure."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from reconciler import engines
from reconciler.model.fleet import Workload
from reconciler.model.memory import Failure
from reconciler.model.plan import Attach, Blocked, Detach, Fetch, Launch
from reconciler.model.status import Reason
from reconciler.plan import backoff


def suits(launch: Launch, workload: Workload) -> bool:
    """Whether what was launched so can become what its workload says while it runs."""
    return launch.fingerprint == workload.fingerprint and not needs_restart(launch, workload)


def needs_restart(launch: Launch, workload: Workload) -> str:
    """Why its adapters cannot be changed while it runs; empty where they can, or are as declared."""
    attaching = engines.attaching(launch.engine)
    if launch.adapters == workload.adapters or (attaching is not None and attaching.able(launch)):
        return ""
    return f"{'; '.join(differing(launch, workload))}; it was not started for adapters"


def differing(launch: Launch, workload: Workload) -> Iterator[str]:
    """Each adapter that is not as declared, as `adapter law none → hf:org/law`."""
    was, is_now = launch.adapters, workload.adapters
    for name in sorted(was.keys() | is_now.keys()):
        if was.get(name) != is_now.get(name):
            yield f"adapter {name} {was.get(name, 'none')} → {is_now.get(name, 'none')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelves:
    """Where adapters lie, and what is done about those that are not here."""

    paths: Mapping[str, str]
    """By source."""
    lacking: Callable[[str], Fetch | Blocked | None]
    """Of a source; None where it is here."""


def step(
    launch: Launch, workload: Workload, refusals: Mapping[str, Failure], now: float, shelves: Shelves
) -> Attach | Detach | Fetch | Blocked | None:
    """The next adapter that one that answers takes up or lets go; what goes first makes room for what comes."""
    waits: list[tuple[float, str]] = []
    comes: Blocked | None = None
    for name, source in _next(launch.adapters, workload.adapters):
        refusal = refusals.get(name)
        if refusal is not None and refusal.digest == (source or ""):
            until = refusal.at + backoff.delay(refusal.count, f"{launch.slot} {name}")
            if now < until:
                verb, serves = ("detach", "with") if source is None else ("attach", "without")
                waits.append((until, f"cannot {verb} {name}: {refusal.detail}; {launch.slot} serves {serves} it"))
                continue
        lacks = shelves.lacking(source) if source is not None else None
        if isinstance(lacks, Blocked):
            comes = comes or replace(lacks, detail=f"{lacks.detail}; {launch.slot} serves without {name}")
            continue
        return lacks or _change(launch, name, source, shelves.paths)
    if not waits:
        return comes
    detail = "; ".join(words for _, words in waits)
    return Blocked(subject=launch.slot, reason=Reason.AdapterFailed, detail=detail, until=min(waits)[0])


def _next(has: Mapping[str, str], wants: Mapping[str, str]) -> Iterator[tuple[str, str | None]]:
    """Name and source of each that differs; no source for what is to go."""
    yield from ((name, None) for name in sorted(has) if wants.get(name) != has[name])
    yield from ((name, wants[name]) for name in sorted(wants) if name not in has)


def _change(launch: Launch, name: str, source: str | None, paths: Mapping[str, str]) -> Attach | Detach | None:
    attaching = engines.attaching(launch.engine)
    if attaching is None:
        return None
    adapters = {other: its for other, its in launch.adapters.items() if other != name}
    if source is None:
        after = engines.with_adapters(launch, adapters, paths)
        requests = attaching.detach(name)
        return Detach(slot=launch.slot, adapter=name, requests=requests, launch=after, reason=Reason.SpecChanged)
    after = engines.with_adapters(launch, {**adapters, name: source}, paths)
    return Attach(
        slot=launch.slot,
        adapter=name,
        requests=attaching.attach(name, engines.local(source, launch.engine, paths)),
        launch=after,
        reason=Reason.SpecChanged,
        detail="; ".join(filter(None, (source, attaching.crowded(launch, len(after.adapters))))),
    )
