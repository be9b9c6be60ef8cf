"""The next adapter of what runs, with all that is known: one that is not here yet is fetched first."""

from functools import partial

from reconciler.model.fleet import Workload
from reconciler.model.plan import Attach, Blocked, Detach, Fetch, Launch
from reconciler.plan import weights
from reconciler.plan.attaching import Shelves, step
from reconciler.plan.facts import Facts
from reconciler.plan.fetches import fetch


def adapt(launch: Launch, workload: Workload, facts: Facts) -> Attach | Detach | Fetch | Blocked | None:
    """What one that answers owes of its adapters."""
    if launch.adapters == workload.adapters:
        return None
    refusals = facts.memory.refusals.get(launch.slot, {})
    shelves = Shelves(paths=weights.paths(facts.observation), lacking=partial(_lacking, launch.slot, workload, facts))
    return step(launch, workload, refusals, facts.now, shelves)


def _lacking(slot: str, workload: Workload, facts: Facts, source: str) -> Fetch | Blocked | None:
    """What is done about an adapter that is not here; None where it is."""
    return None if weights.is_here(source, facts.observation) else fetch(slot, workload, source, facts)
