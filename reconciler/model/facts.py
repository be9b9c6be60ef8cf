"""What the planner was told in the last pass, and what it would do, for people: `holdfast plan`, the dashboard."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reconciler.model.memory import Memory
from reconciler.model.observation import Demand, Observation, Wish
from reconciler.model.plan import Plan
from reconciler.model.source import Problem, Revision

if TYPE_CHECKING:
    from reconciler.model.fleet import Fleet


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything a plan is made from, but the fleet."""

    observation: Observation
    memory: Memory
    now: float
    """When, seconds of CLOCK_MONOTONIC of that machine."""
    demand: Demand = field(default_factory=dict[str, Wish])


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What people are told of a fleet beside its plan."""

    root: str
    """The directory, as the person named it."""
    revision: Revision | None = None
    """Its commit; None outside of git."""
    models: int = 0
    services: int = 0
    drains: Mapping[str, float] = field(default_factory=dict[str, float])
    """By workload: seconds that requests in flight may take before it ends."""
    problems: tuple[Problem, ...] = ()
    missing: str | None = None
    """Why the directory as a whole cannot be believed."""


def declared(fleet: "Fleet") -> Declared:
    """What people are told of it."""
    models = sum(workload.spec.kind == "Model" for workload in fleet.workloads.values())
    return Declared(
        root=fleet.root,
        revision=fleet.revision,
        models=models,
        services=len(fleet.workloads) - models,
        drains={name: workload.update.drain.total_seconds() for name, workload in fleet.workloads.items()},
        problems=fleet.problems,
        missing=fleet.missing,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Road:
    """What would be done now and after, and what that was made from."""

    passes: tuple[Plan, ...]
    """Pass by pass. The last plan has no actions."""
    declared: Declared
    facts: Facts
