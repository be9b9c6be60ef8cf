"""The whole road ahead: the planner run against `simulate` until nothing is left to do. What `holdfast plan` shows."""

from dataclasses import replace

from reconciler.model.fleet import Fleet
from reconciler.model.memory import Memory
from reconciler.model.observation import Demand, Observation
from reconciler.model.plan import Plan
from reconciler.model.stored import Fetching
from reconciler.plan.planner import plan
from reconciler.plan.simulate import simulate
from reconciler.plan.weights import arrived

PASSES = 64
"""More than any fleet needs: replacing takes three."""


def road(fleet: Fleet, observation: Observation, demand: Demand, memory: Memory, now: float) -> tuple[Plan, ...]:
    """What would be done, pass by pass, until nothing is left to do. The last plan has no actions.

    Times of waiting are taken as passed, actions in flight as done, fetches as successful, a paused fleet as resumed.
    """
    plans: list[Plan] = []
    observation, memory = simulate(Plan(actions=tuple(memory.in_flight.values())), observation, memory, now)
    memory = replace(memory, in_flight={}, paused=False)
    for _ in range(PASSES):
        decided = plan(fleet, observation, demand, memory, now)
        plans.append(decided)
        waits = [blocked.until for blocked in decided.blocked if blocked.until is not None]
        if decided.actions:
            observation, memory = simulate(decided, observation, memory, now)
        elif waits:
            now = min(waits)
        elif memory.draining and decided.wake_at is not None:
            now = max(now, decided.wake_at)
        elif any(isinstance(stored, Fetching) for stored in observation.sources.values()):
            observation = replace(observation, sources=arrived(observation))
        else:
            break
    return tuple(plans)


def converge(fleet: Fleet, observation: Observation, now: float) -> Observation:
    """The machine as it would be with this fleet running on it."""
    memory = Memory()
    for decided in road(fleet, observation, {}, memory, now):
        observation, memory = simulate(decided, observation, memory, now)
    return observation
