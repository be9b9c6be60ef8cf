"""What the planner was told in the last pass, for a plan that is made elsewhere: `holdfast plan`."""

from dataclasses import dataclass, field

from reconciler.model.memory import Memory
from reconciler.model.observation import Demand, Observation, Wish
from reconciler.model.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything a plan is made from, but the fleet."""

    observation: Observation
    memory: Memory
    now: float
    """When, seconds of CLOCK_MONOTONIC of that machine."""
    demand: Demand = field(default_factory=dict[str, Wish])


@dataclass(frozen=True, slots=True, kw_only=True)
class Road:
    """What would be done now and after, pass by pass. The last plan has no actions."""

    passes: tuple[Plan, ...]
