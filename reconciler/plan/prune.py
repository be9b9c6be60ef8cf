"""What may not be removed though no file declares it: broken files, a missing directory, too much at once."""

from collections.abc import Mapping
from dataclasses import replace

from reconciler.model.fleet import Fleet
from reconciler.model.memory import Memory
from reconciler.model.observation import Instance
from reconciler.model.plan import Blocked
from reconciler.model.slots import split_slot
from reconciler.model.status import Reason

SMALL = 4
"""Below so many workloads any number may go at once."""
SHARE = 0.3
"""More than this part of the fleet at once needs consent."""


def held(
    fleet: Fleet, leftovers: Mapping[str, list[str]], instances: Mapping[str, Instance], memory: Memory
) -> dict[str, Blocked]:
    """Of the workloads that are no longer declared, those that go on as they are, and why.

    Where the directory cannot be believed these are all: what it declared last, and what runs besides.
    """
    gone = sorted(name for name in leftovers if name not in fleet.workloads)
    broken = {problem.path: problem for problem in fleet.problems}
    blocked: dict[str, Blocked] = {}
    for name in gone:
        source = instances[min(leftovers[name])].launch.source
        problem = broken.get(source) or next((p for p in fleet.problems if name in p.names), None)
        if problem is not None:
            detail = f"cannot tell whether it is still declared: {problem}; it goes on as it was"
            blocked[name] = Blocked(subject=name, reason=Reason.SpecInvalid, detail=detail)
    doomed = [name for name in gone if name not in blocked and name not in memory.consents]
    everything = len(fleet.workloads) + len(gone)
    if fleet.missing is not None:
        why = f"{fleet.missing}; what ran goes on as it was"
    elif everything >= SMALL and len(doomed) > SHARE * everything:
        why = f"{len(doomed)} of {everything} workloads are gone from the files at once; they go on as they were"
    else:
        return blocked
    detail = f"{why} until `holdfast apply --prune`"
    waiting = doomed if fleet.missing is None else [*doomed, *fleet.workloads]
    return blocked | {name: Blocked(subject=name, reason=Reason.PruneNeedsConsent, detail=detail) for name in waiting}


def believed(fleet: Fleet, memory: Memory) -> Fleet:
    """The fleet, without what may go although its directory cannot be believed."""
    if fleet.missing is None or not memory.consents:
        return fleet
    workloads = {name: workload for name, workload in fleet.workloads.items() if name not in memory.consents}
    slots = {text: digest for text, digest in fleet.slots.items() if split_slot(text)[0] in workloads}
    return replace(fleet, workloads=workloads, slots=slots)
