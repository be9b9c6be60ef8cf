"""GPUs for the machine that exists only here, and a small gateway.

It queues requests for each model, tells the loop what waits, and serves where an endpoint is.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from reconciler.loop import Loop, Outside
from reconciler.model.fleet import Fleet
from reconciler.model.memory import Memory
from reconciler.model.observation import Demand, Gpu, Holder, Observation, Wish
from reconciler.model.slots import split_slot
from reconciler.plan.summary import Summary
from tests.plan.world import GIB, HOST, gpu
from tests.sim.machine import Machine, simulate

HELD = 76 * GIB
"""Bytes that an engine holds of each of its cards, of 80 GiB."""


@dataclass(kw_only=True)
class Cards(Machine):
    """A machine with GPUs, and engines that differ in how long they load."""

    cards: int = 1
    loads: dict[str, float] = field(default_factory=dict[str, float])
    """By model: seconds, where it is not `load_time`; `inf` never gets ready."""

    def observe(self) -> Observation:
        """One look at all of it."""
        host = replace(HOST, memory=1024 * GIB, available=1024 * GIB)
        return replace(super().observe(), host=host, gpus=tuple(self._card(index) for index in range(self.cards)))

    def _card(self, index: int) -> Gpu:
        uuid = gpu(index).uuid
        holders = tuple(
            Holder(pid=process.pid, name="engine", memory=self._held(slot), slot=slot)
            for slot, process in sorted(self.processes().items())
            if uuid in self.records[slot].gpus
        )
        return replace(gpu(index, holders=holders), used=sum(holder.memory for holder in holders))

    def _held(self, slot: str) -> int:
        launch, process = self.records[slot], self.processes()[slot]
        return (launch if process.asleep_at is None else launch.asleep).memory or HELD

    def load_of(self, slot: str) -> float:
        """Seconds from start to ready."""
        return self.loads.get(split_slot(slot)[0], self.load_time)


@dataclass(slots=True, kw_only=True)
class Request:
    """One request of a client."""

    model: str
    at: float
    """When it arrives, seconds."""
    begun: float | None = None
    """When an engine took it."""
    slot: str = ""
    cut: bool = False
    """Whether its engine went away under it."""


@dataclass(kw_only=True)
class Gateway:
    """Requests in, demand out."""

    machine: Cards
    service: float = 1.0
    """Seconds that a request takes."""
    at_once: int = 1
    """Requests that one replica serves at once."""
    told: bool = True
    """Whether the loop hears from it; while it does not, nobody seems to wait."""
    summary: Summary | None = None
    waiting: list[Request] = field(default_factory=list[Request])
    serving: list[Request] = field(default_factory=list[Request])
    done: list[Request] = field(default_factory=list[Request])

    def demand(self) -> Demand:
        """What clients want now."""
        names = sorted({request.model for request in (*self.waiting, *self.serving)}) if self.told else []
        return {name: self._wish(name) for name in names}

    def _wish(self, name: str) -> Wish:
        queue = [request.at for request in self.waiting if request.model == name]
        in_flight = Counter(request.slot for request in self.serving if request.model == name)
        return Wish(waiting=len(queue), in_flight=in_flight, since=min(queue, default=None))

    def arrive(self, request: Request) -> None:
        """A client asks."""
        self.waiting.append(request)
        self._serve()
        self.machine.wake()

    def published(self, summary: Summary) -> None:
        """A new status: where requests may go."""
        self.summary = summary
        self._serve()

    def _serve(self) -> None:
        rows = self.summary.status.workloads if self.summary is not None else {}
        for request in list(self.waiting):
            row = rows.get(request.model)
            for endpoint in row.endpoints if row is not None else ():
                busy = sum(other.slot == endpoint.slot for other in self.serving)
                if busy < self.at_once and endpoint.slot in self.machine.processes():
                    self._take(request, endpoint.slot)
                    break

    def _take(self, request: Request, slot: str) -> None:
        request.begun, request.slot = self.machine.now, slot
        self.waiting.remove(request)
        self.serving.append(request)
        process = self.machine.processes()[slot]

        def end() -> None:
            request.cut = self.machine.processes().get(slot) is not process
            self.serving.remove(request)
            self.done.append(request)
            self._serve()

        self.machine.later(self.service, end)
        self.machine.wake()


@dataclass(kw_only=True)
class World:
    """The loop, the machine and the gateway of one run."""

    machine: Cards
    gateway: Gateway
    loop: Loop
    task: "asyncio.Task[None]"
    starts: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])

    def revive(self) -> None:
        """The daemon was killed, and another takes its place: it remembers nothing."""
        self.task.cancel()
        self.loop = Loop(self.loop.outside, memory=Memory())
        self.machine.wake = self.loop.wake
        self.task = asyncio.create_task(self.loop.run())

    def ask(self, model: str, at: float) -> Request:
        """Have a client ask at that time."""
        request = Request(model=model, at=at)
        asyncio.get_running_loop().call_at(at, self.gateway.arrive, request)
        return request


def world(fleet: Fleet, machine: Cards, *, service: float = 1.0, at_once: int = 1) -> World:
    """A daemon's loop over all this, running."""
    gateway = Gateway(machine=machine, service=service, at_once=at_once)
    outside = Outside(
        load=lambda: (fleet, None),
        observe=machine.observe,
        demand=gateway.demand,
        perform=machine.perform,
        publish=lambda summary, _: gateway.published(summary),
        keep=lambda _: None,
        clock=asyncio.get_running_loop().time,
        degraded=tuple,
    )
    loop = Loop(outside, memory=Memory())
    machine.wake = loop.wake
    return World(machine=machine, gateway=gateway, loop=loop, task=asyncio.create_task(loop.run()))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a string of requests."""

    loads: tuple[str, ...]
    """Models, in the order in which they were loaded."""
    waits: tuple[float, ...]
    """Seconds from a request's arrival to its first token, in order of arrival."""
    cut: int
    """Requests whose engine went away under them."""
    seconds: float
    """Until the last was served."""


def replay(
    fleet: Fleet,
    requests: Sequence[tuple[str, float]],
    machine: Cards,
    *,
    service: float = 1.0,
    at_once: int = 1,
    within: float = 1e6,
) -> Outcome:
    """What comes of (model, arrival) with this fleet on this machine."""
    found: list[Outcome] = []

    async def run() -> None:
        here = world(fleet, machine, service=service, at_once=at_once)
        asked = [here.ask(name, at) for name, at in requests]
        while len(here.gateway.done) < len(asked):
            if machine.now > within or here.task.done():
                raise AssertionError(f"still waiting: {here.gateway.waiting}; plan: {here.loop.plan}")
            await asyncio.sleep(1.0)
        here.task.cancel()
        found.append(
            Outcome(
                loads=tuple(split_slot(slot)[0] for slot in machine.started),
                waits=tuple((request.begun or 0.0) - request.at for request in asked),
                cut=sum(request.cut for request in asked),
                seconds=max((request.begun or 0.0) + service for request in asked),
            )
        )

    simulate(run())
    return found[0]


def fifo(requests: Sequence[tuple[str, float]], *, load: float, service: float) -> Outcome:
    """The peer's policy: requests in order of arrival, each swapping its model in where it is not loaded."""
    loads: list[str] = []
    waits: list[float] = []
    now = 0.0
    for name, at in sorted(requests, key=lambda request: request[1]):
        now = max(now, at)
        if loads[-1:] != [name]:
            loads.append(name)
            now += load
        waits.append(now - at)
        now += service
    return Outcome(loads=tuple(loads), waits=tuple(waits), cut=0, seconds=now)
