"""Weights that could go: which nobody needs, in which order, and how many bytes that gives back. Pure."""

import shlex
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from reconciler.model.fleet import Fleet
from reconciler.model.observation import Exited, Instance, Unknown
from reconciler.model.plan import Action, Launch, Start
from reconciler.model.quantity import print_size
from reconciler.model.stored import Kept, Shelf
from reconciler.plan.words import several


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What to delete so that something else has room."""

    sources: tuple[str, ...]
    frees: int
    """Bytes."""


def held(instances: Mapping[str, Instance] | Unknown, in_flight: Iterable[Action]) -> Mapping[str, tuple[str, ...]]:
    """By path, what instances were started with that run, or are about to."""
    seen = () if isinstance(instances, Unknown) else instances.values()
    launches = [one.launch for one in seen if not isinstance(one.phase, Exited)]
    launches += [action.launch for action in in_flight if isinstance(action, Start)]
    found: dict[str, list[str]] = {}
    for launch in launches:
        for path in _files(launch):
            found.setdefault(path, []).append(launch.slot)
    return {path: tuple(sorted(set(slots))) for path, slots in found.items()}


def frozen(fleet: Fleet, instances: Mapping[str, Instance] | Unknown) -> str:
    """Why it cannot be told what is needed; empty where it can."""
    if fleet.missing is not None:
        return f"it cannot be told what is needed: {fleet.missing}"
    if fleet.problems:
        return f"it cannot be told what is needed: mend {several(sorted({each.path for each in fleet.problems}))} first"
    return f"it cannot be seen what runs: {instances.reason}" if isinstance(instances, Unknown) else ""


def freed(shelf: Shelf, sources: Collection[str]) -> int:
    """Bytes that are given back when all of these go: of what others use too, none."""
    return sum(blob.size for blob in shelf.blobs if not blob.stays and set(blob.sources) <= set(sources))


def refusal(shelf: Shelf, kept: Kept) -> str:
    """Why it may not go; empty where it may."""
    if shelf.frozen:
        return shelf.frozen
    if kept.needed_by:
        return f"{several(kept.needed_by)} {'needs' if len(kept.needed_by) == 1 else 'need'} it"
    if kept.held_by:
        return f"it is in use by {several(kept.held_by)}"
    return "it is being fetched" if kept.state == "fetching" else ""


def refused(shelf: Shelf, sources: Collection[str]) -> str:
    """Which of these may not go, and why; empty where all may."""
    kept = {each.source: each for each in shelf.kept}
    why = {source: refusal(shelf, kept[source]) if source in kept else "it is not here" for source in sources}
    return "; ".join(f"{source}: {words}" for source, words in why.items() if words)


def spare(shelf: Shelf, *, before: float | None = None) -> list[Kept]:
    """All that may go, what was longest unneeded and unused first; `before`: only what has been so since then."""
    found = [kept for kept in shelf.kept if not refusal(shelf, kept)]
    found = [kept for kept in found if before is None or _idle_since(kept) <= before]
    return sorted(found, key=lambda kept: (_idle_since(kept), kept.source))


def advice(shelf: Shelf, short: int) -> Advice:
    """The least recently used of what may go, enough to give back so many bytes; all of it where that is too few."""
    chosen: list[str] = []
    for kept in spare(shelf):
        if freed(shelf, chosen) >= short:
            break
        chosen.append(kept.source)
    for source in tuple(chosen):  # what was chosen first may not be needed once a larger one was
        fewer = [other for other in chosen if other != source]
        if freed(shelf, fewer) >= short or freed(shelf, fewer) == freed(shelf, chosen):
            chosen = fewer
    return Advice(sources=tuple(chosen), frees=freed(shelf, chosen))


def advised(shelf: Shelf, short: int) -> str:
    """The same in words: what to type."""
    found = advice(shelf, short)
    if not found.frees:
        return "nothing in it is unneeded: make room there, or name another cache in the Node's file"
    named = shlex.join(found.sources)
    if found.frees >= short:
        return f"`holdfast models prune {named}` gives back {print_size(found.frees)}"
    return (
        f"`holdfast models prune {named}` gives back {print_size(found.frees)} of the {print_size(short)} that it lacks"
    )


def _files(launch: Launch) -> Iterable[str]:
    return launch.files if not launch.node else ()


def _idle_since(kept: Kept) -> float:
    return max(kept.unneeded_since or 0.0, kept.used or 0.0)
