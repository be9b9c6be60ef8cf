"""A gateway beside the daemon's loop, both in virtual time: it routes by the tables that it is sent, and reports."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from reconciler.gateways import Gateways
from reconciler.loop import Loop, Outside
from reconciler.model.fleet import Fleet
from reconciler.model.memory import Memory
from reconciler.model.routing import LAPSE, Place, Report, Table, Wanted
from reconciler.plan.happenings import Happening
from reconciler.plan.summary import Summary
from tests.sim.machine import Machine


@dataclass(kw_only=True)
class Router:
    """Requests of one model, balanced by those in flight."""

    gateways: Gateways
    machine: Machine
    name: str = "router"
    lag: float = 0.02
    """Seconds after which a table is gone by."""
    service: float = 1.0
    """Seconds that a request takes."""
    hangs: bool = False
    """Whether its master does: its workers go by the table that they have, and nobody hears of them."""
    table: Table = field(default_factory=Table)
    serving: Counter[tuple[str, int]] = field(default_factory=Counter[tuple[str, int]])
    """By slot and run: requests in flight."""
    waiting: dict[str, int] = field(default_factory=dict[str, int])
    """By model: requests that wait for it."""
    done: int = 0
    failed: list[str] = field(default_factory=list[str])
    """Requests that found nobody, or whose engine went away under them."""

    async def listen(self) -> None:
        """Go by the newest table, each a moment after it was made."""
        beating = asyncio.create_task(self._beat())
        try:
            while True:
                table = await self.gateways.next_table(self.table.seq)
                await asyncio.sleep(self.lag)
                while self.hangs:
                    await asyncio.sleep(self.lag)
                self.table = table
                self.report()
        finally:
            beating.cancel()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(LAPSE / 4)
            self.report()

    async def load(self, model: str, every: float) -> None:
        """Constant load."""
        while True:
            self.ask(model)
            await asyncio.sleep(every)

    def places(self, model: str) -> list[Place]:
        """Those that take requests."""
        served = self.table.models.get(model)
        return [place for place in served.places if not place.draining] if served is not None else []

    def ask(self, model: str) -> None:
        """One request; it is sent at once."""
        places = self.places(model)
        if not places:
            self.failed.append("no place")
            return
        place = min(places, key=lambda place: self.serving[place.slot, place.run])
        key, process = (place.slot, place.run), self.machine.processes().get(place.slot)
        if process is None or process.run != place.run:
            self.failed.append(f"{place.slot} is not there")
            return
        self.serving[key] += 1
        self.report()

        def end() -> None:
            self.serving[key] -= 1
            self.done += 1
            if self.machine.processes().get(place.slot) is not process:
                self.failed.append(f"{place.slot} was cut")
            self.report()

        asyncio.get_running_loop().call_later(self.service, end)

    def report(self) -> None:
        """Tell the daemon."""
        if self.hangs:
            return
        models: dict[str, dict[str, int]] = {name: {} for name in self.waiting}
        for (slot, _), count in self.serving.items():
            by_slot = models.setdefault(slot.rpartition("/")[0], {})
            by_slot[slot] = by_slot.get(slot, 0) + count
        self.gateways.report(
            Report(
                gateway=self.name,
                seen=self.table.seq,
                epoch=self.table.epoch,
                models={
                    name: Wanted(waiting=self.waiting.get(name, 0), in_flight=by_slot)
                    for name, by_slot in models.items()
                },
            )
        )


@dataclass(kw_only=True)
class Site:
    """A daemon's loop, its gateways, and what it told people."""

    fleet: Fleet
    machine: Machine
    told: list[Happening] = field(default_factory=list[Happening])
    kept: list[Memory] = field(default_factory=list[Memory])
    """What was written down for the next daemon."""
    loop: Loop = field(init=False)
    gateways: Gateways = field(init=False)

    def __post_init__(self) -> None:
        running = asyncio.get_running_loop()
        outside = Outside(
            load=lambda: (self.fleet, None),
            observe=self.machine.observe,
            demand=lambda: self.gateways.demand(self.loop.memory.draining),
            perform=self.machine.perform,
            publish=self._published,
            keep=self.kept.append,
            clock=running.time,
            degraded=tuple,
            gateways=lambda: self.gateways.known,
        )
        self.loop = Loop(outside, memory=Memory())
        self.machine.wake = self.loop.wake
        self.gateways = Gateways(today=lambda: 5.0, wake=self.loop.wake, tell=self.told.append, began=running.time())
        self.task = running.create_task(self.loop.run())

    def _published(self, summary: Summary, _: object) -> None:
        assert self.loop.fleet is not None
        assert self.loop.observation is not None
        self.gateways.look(self.loop.fleet, self.loop.observation, summary.status)

    def declare(self, fleet: Fleet) -> None:
        """The files say something else."""
        self.fleet = fleet
        self.loop.wake()
