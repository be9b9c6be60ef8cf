"""Wake → load → observe → plan → dispatch → publish. One pass looks once, decides once, and starts what can be started.

It does no I/O of its own: the daemon hands it callables. What operators ask for becomes memory and a wake; the planner
decides.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from reconciler.model.errors import ActionError
from reconciler.model.fleet import Fleet
from reconciler.model.memory import Memory
from reconciler.model.observation import Demand, Observation
from reconciler.model.plan import Action, Drain, Forget, Plan, Sleep, Start, Stop, Update
from reconciler.model.status import Reason
from reconciler.plan.failures import with_failure, without, without_failure
from reconciler.plan.happenings import Happening, arrivals, failed, happenings
from reconciler.plan.planner import plan
from reconciler.plan.prune import believed
from reconciler.plan.settle import lasting, settled
from reconciler.plan.summary import Pass, Summary, summarise

log = logging.getLogger(__name__)
_QUIET = 0.003
"""Seconds that people wait for news of a pass that only started something: it needs the processors first. Of what ends
they hear at once, so that nobody is sent there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What the loop may call of the world. None of these may block, but for the first `load`."""

    load: Callable[[], tuple[Fleet, float | None]]
    """The fleet, and when to look again though nothing happens."""
    observe: Callable[[], Observation]
    demand: Callable[[], Demand]
    perform: Callable[[Action], Awaitable[None]]
    """Raises ActionError."""
    publish: Callable[[Summary, Sequence[Happening]], None]
    keep: Callable[[Memory], None]
    """Keeps what is `lasting` of it beyond the daemon's life."""
    clock: Callable[[], float]
    degraded: Callable[[], tuple[str, ...]]
    gateways: Callable[[], frozenset[str]] = frozenset
    """Those that the next daemon is to wait for."""


@dataclass(slots=True)
class Loop:
    """The one loop of the daemon."""

    outside: Outside
    memory: Memory = field(default_factory=Memory)
    every: float = 10.0
    """Seconds after which it looks though nothing happened."""
    fleet: Fleet | None = None
    observation: Observation | None = None
    summary: Summary | None = None
    plan: Plan = field(default_factory=Plan)
    passes: int = 0
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _untold: list[tuple[Pass, Memory]] = field(default_factory=list[tuple[Pass, Memory]])
    """Passes that were not published yet, and memory as each left it."""
    _tasks: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])

    def wake(self) -> None:
        """Something may have changed: look again."""
        self._woken.set()

    def remember(self, memory: Memory) -> None:
        """Take over what an operator asked for, keep it, and look again. Raises OSError if it cannot be kept."""
        self.outside.keep(memory)
        self.memory = memory
        self.wake()

    async def run(self) -> None:
        """Pass after pass until cancelled. Actions in flight are left to their fate: the next life finds them."""
        running = asyncio.get_running_loop()
        try:
            while True:
                self._woken.clear()
                wake_at = self.look()
                # a timer beside the event, as wait_for takes two more turns of the event loop
                timer = running.call_later(min(wake_at - self.outside.clock(), self.every), self._woken.set)
                await self._woken.wait()
                timer.cancel()
        finally:
            for task in self._tasks:
                task.cancel()
            self._publish()

    def look(self) -> float:
        """One pass. Returns when to look again at the latest, seconds of CLOCK_MONOTONIC."""
        now = self.outside.clock()
        fleet, again = self.outside.load()
        observation, demand = self.outside.observe(), self.outside.demand()
        self._settle(fleet, observation, demand)
        fleet = believed(fleet, self.memory)
        decided = plan(fleet, observation, demand, self.memory, now)
        self.memory = replace(self.memory, lulls=decided.lulls)
        self.passes += 1
        self.fleet, self.observation, self.plan = fleet, observation, decided
        self._dispatch(decided.actions)
        looked = Pass(
            fleet=fleet,
            observation=observation,
            demand=demand,
            plan=decided,
            now=now,
            settling=again is not None,
        )
        self._untold.append((looked, self.memory))
        ends = not all(isinstance(action, Start) for action in decided.actions)
        if ends or len(self._untold) == 1:
            asyncio.get_running_loop().call_later(_QUIET if decided.actions and not ends else 0.0, self._publish)
        return min(time for time in (again, decided.wake_at, now + self.every) if time is not None)

    def _dispatch(self, actions: Sequence[Action]) -> None:
        if actions:
            promised = {action.slot: action for action in actions}
            self.memory = replace(self.memory, in_flight={**self.memory.in_flight, **promised})
        for action in actions:
            task = asyncio.get_running_loop().create_task(self._carry_out(action))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry_out(self, action: Action) -> None:
        slot = action.slot
        try:
            await self.outside.perform(action)
        except ActionError as error:
            if self.memory.in_flight.get(slot) is action:  # else it is what its end did to a waking
                self._failed(action, error.reason, str(error))
        except Exception:
            log.exception("cannot %s %s", action.kind, slot)
            self._failed(action, Reason.StartFailed, "an error of Holdfast itself, see its log")
        else:
            self._done(action)
        finally:
            if self.memory.in_flight.get(slot) is action:
                self.memory = replace(self.memory, in_flight=without(self.memory.in_flight, slot))
            self.wake()

    def _done(self, action: Action) -> None:
        memory = self.memory
        if isinstance(action, Drain):
            memory = replace(memory, draining={**memory.draining, action.slot: self.outside.clock()})
        elif isinstance(action, Stop | Update | Forget | Sleep):
            memory = replace(memory, draining=without(memory.draining, action.slot))
        self.memory = without_failure(memory, action)

    def _failed(self, action: Action, reason: Reason, message: str) -> None:
        """Remember it for the planner's backoff, and tell people."""
        now = self.outside.clock()
        self.memory, again = with_failure(self.memory, action, at=now, reason=reason, detail=message)
        if self.summary is not None and not again:
            self.outside.publish(self.summary, (failed(action, reason, message),))

    def _settle(self, fleet: Fleet, observation: Observation, demand: Demand) -> None:
        """Take into memory what this look shows, and keep what is to outlive us."""
        before = self.memory
        told = replace(before, routed=bool(demand), gateways=self.outside.gateways())
        self.memory = settled(told, fleet, observation, self.observation)
        if lasting(self.memory) != lasting(before):
            try:
                self.outside.keep(self.memory)
            except OSError as error:
                log.warning("cannot keep what is to be remembered: %s", error)

    def _publish(self) -> None:
        """Tell of every pass there was, in order: what happened between two of them is news too."""
        untold, self._untold = self._untold, []
        for looked, memory in untold:
            before = self.summary
            after = summarise(looked, memory, before=before, degraded=self.outside.degraded())
            self.summary = after
            news = happenings(before.status if before else None, after.status, looked.plan, memory.failures)
            arrived = arrivals(before.sources, looked.observation.sources, looked.fleet) if before else ()
            self.outside.publish(after, (*arrived, *news))
