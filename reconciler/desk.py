"""What people ask of the daemon, by the control API: answers from the last pass, and orders that become memory."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from pydantic import TypeAdapter, ValidationError

from reconciler import shelf
from reconciler.act.discard import discard
from reconciler.api.control import Acts, History, RunChoice
from reconciler.gateways import Gateways
from reconciler.loop import Loop
from reconciler.model.answers import About, Info, LogPage, Run, Written
from reconciler.model.errors import ApiError
from reconciler.model.facts import Facts, Road, declared
from reconciler.model.fleet import Fleet
from reconciler.model.live import Live
from reconciler.model.memory import Memory, Override
from reconciler.model.metrics import ReplicaMetrics
from reconciler.model.observation import Instance, Unknown
from reconciler.model.quantity import print_size
from reconciler.model.routing import Report, Table
from reconciler.model.slots import split_slot
from reconciler.model.status import Meters, Status
from reconciler.model.stored import Shelf
from reconciler.observe import metering, shelves
from reconciler.observe.host_meter import HostMeter
from reconciler.plan import orders, spare
from reconciler.plan.fetches import needs
from reconciler.plan.launches import launches
from reconciler.plan.road import road
from reconciler.plan.summary import Summary
from reconciler.plan.words import several


class Logs(Protocol):
    """How the log of a run is read."""

    def stream(self, name: str, index: int, run: RunChoice, *, lines: int, follow: bool) -> AsyncIterator[bytes]:
        """As `Control.log`."""
        ...

    async def page_soon(
        self, name: str, index: int, run: RunChoice, *, at: int | None, back: bool, size: int, wait: float
    ) -> LogPage:
        """As `Control.log_page`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """The part of memory that outlives the daemon: what operators asked for, what was measured, who told of demand."""

    overrides: dict[str, Override] = field(default_factory=dict[str, Override])
    restarts: dict[str, int] = field(default_factory=dict[str, int])
    consents: tuple[str, ...] = ()
    measured: dict[str, int] = field(default_factory=dict[str, int])
    stated: dict[str, int] = field(default_factory=dict[str, int])
    paused: bool = False
    routed: bool = False
    gateways: tuple[str, ...] = ()


_KEPT = TypeAdapter(_Kept)


def read_kept(path: str) -> Memory:
    """What is remembered of earlier lives. Raises ValueError where the file is there and cannot be understood."""
    try:
        with open(path, "rb") as file:
            kept = _KEPT.validate_json(file.read())
    except FileNotFoundError:
        return Memory()
    except ValidationError as error:
        raise ValueError(f"cannot understand {path}: {error.errors()[0]['msg']}") from None
    return Memory(
        overrides=kept.overrides,
        restarts=kept.restarts,
        consents=frozenset(kept.consents),
        measured=kept.measured,
        stated=kept.stated,
        paused=kept.paused,
        routed=kept.routed,
        gateways=frozenset(kept.gateways),
    )


def keep(path: str, memory: Memory) -> None:
    """Write it down durably: an operator has been told that it is so. Raises OSError."""
    kept = _Kept(
        overrides=dict(memory.overrides),
        restarts=dict(memory.restarts),
        consents=tuple(sorted(memory.consents)),
        measured=dict(memory.measured),
        stated=dict(memory.stated),
        paused=memory.paused,
        routed=memory.routed,
        gateways=tuple(sorted(memory.gateways)),
    )
    beside = f"{path}.new"
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(_KEPT.dump_json(kept, indent=1))  # all of it, or an error: a disk may take a part
        file.flush()
        os.fsync(file.fileno())
    os.rename(beside, path)
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)  # the new name too
    finally:
        os.close(folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """What is kept on disk, and read or written for those who ask."""

    events: History
    acts: Acts
    logs: Logs
    runs: Callable[[str, Mapping[str, Instance]], tuple[Run, ...]]
    """Of a workload, with what there is of it now; in a thread."""
    written: Callable[[Fleet, str], tuple[Written, ...]]
    """What declares a workload; in a thread."""


class Desk:
    """`api.control.Control` over the loop."""

    def __init__(
        self,
        loop: Loop,
        *,
        info: Info,
        records: Records,
        gateways: Gateways,
        meters: Callable[[], Mapping[str, Meters]],
        look_again: Callable[[], None],
    ) -> None:
        """`meters`: what the sensors of the GPUs say now, by UUID; `look_again` at what weights are here, and wake."""
        self._loop = loop
        self._meters = meters
        self._look_again = look_again
        self._gateways = gateways
        self._records = records
        self._newer: asyncio.Event = asyncio.Event()
        self.info = info
        self.events = records.events
        self.acts = records.acts
        self.log = records.logs.stream
        self.log_page = records.logs.page_soon

    def published(self) -> None:
        """A newer status is there: tell everyone who waits for it."""
        loop = self._loop
        if loop.summary is not None and loop.fleet is not None and loop.observation is not None:
            self._gateways.look(loop.fleet, loop.observation, loop.summary.status)
        self._newer.set()
        self._newer = asyncio.Event()

    def status(self) -> Status:
        """How the fleet did in the last pass."""
        summary = self._summary()
        return replace(
            summary.status,
            now=self._loop.outside.clock(),
            meters=self._meters(),
            traffic=self._gateways.traffic(),
            gateway=self._gateways.status(),
        )

    async def next_status(self, after: Status) -> Status:
        """The newest status once its rows are others than those of `after`."""
        while True:
            newest = self.status()
            if replace(newest, now=after.now, meters=after.meters, traffic=after.traffic) != after:
                return newest
            await self._newer.wait()

    async def live(self, every: float) -> AsyncIterator[Live]:
        """What sensors say and clients do: now, and each `every` seconds again."""
        host = HostMeter()
        while True:
            yield Live(
                now=self._loop.outside.clock(),
                meters=self._meters(),
                traffic=self._gateways.traffic(),
                host=host.read(),
            )
            await asyncio.sleep(every)

    async def next_table(self, after: int) -> Table:
        """The newest table for gateways, once there is one with a higher number."""
        return await self._gateways.next_table(after)

    def report(self, report: Report) -> None:
        """Take in what a gateway tells."""
        self._gateways.report(report)

    async def metrics(self, name: str | None) -> tuple[ReplicaMetrics, ...]:
        """What engines measure of themselves, asked now: of one model, or of all that run."""
        instances, fleet = self.facts().observation.instances, self._fleet()
        if isinstance(instances, Unknown):
            raise ApiError(f"cannot ask engines: {instances.reason}", status=409)
        found = [(one, fleet.workloads.get(split_slot(slot)[0])) for slot, one in sorted(instances.items())]
        models = [
            (one, of) for one, of in found if of is not None and of.spec.kind == "Model" and name in (None, of.name)
        ]
        if name is not None and name not in fleet.workloads:
            raise ApiError(f"cannot ask {name}: it is not in the fleet", status=404)
        return await metering.ask(models)

    async def about(self, name: str) -> About:
        """What is known of one workload beside how it does."""
        instances, fleet = self.facts().observation.instances, self._fleet()
        there: Mapping[str, Instance] = {} if isinstance(instances, Unknown) else instances
        mine = {slot: each for slot, each in there.items() if split_slot(slot)[0] == name}
        written = await asyncio.to_thread(self._records.written, fleet, name)
        runs = await asyncio.to_thread(self._records.runs, name, mine)
        if not (written or runs or mine or name in fleet.workloads):
            raise ApiError(f"cannot tell of {name}: it is not in the fleet", status=404)
        return About(name=name, written=written, launches=launches(mine), runs=runs)

    def facts(self) -> Facts:
        """What the planner was told in the last pass."""
        self._summary()
        observation = self._loop.observation
        if observation is None:
            raise _not_yet()
        outside = self._loop.outside
        return Facts(observation=observation, memory=self._loop.memory, now=outside.clock(), demand=outside.demand())

    def road(self) -> Road:
        """What would be done now and after, pass by pass."""
        facts = self.facts()
        fleet = self._loop.fleet
        if fleet is None:
            raise _not_yet()
        passes = road(fleet, facts.observation, facts.demand, facts.memory, facts.now)
        return Road(passes=passes, declared=declared(fleet), facts=facts)

    def restart(self, name: str, index: int | None) -> str:
        """Replace one instance, or all of a workload."""
        loop = self._loop
        if loop.fleet is None or loop.observation is None:
            raise _not_yet()
        return self._obey(orders.restart(loop.memory, loop.fleet, loop.observation, name, index))

    def stop(self, name: str) -> str:
        """Stop all of a workload until it is resumed."""
        return self._obey(orders.stop(self._loop.memory, self._fleet(), name))

    def pause(self, name: str | None) -> str:
        """Do nothing to a workload, or to the whole fleet, until it is resumed."""
        if name is None:
            return self._obey(orders.pause_fleet(self._loop.memory))
        return self._obey(orders.pause(self._loop.memory, self._fleet(), name))

    def resume(self, name: str | None) -> str:
        """Undo `stop` and `pause` of a workload, or the pause of the whole fleet."""
        if name is None:
            return self._obey(orders.resume_fleet(self._loop.memory))
        return self._obey(orders.resume(self._loop.memory, self._fleet(), name))

    def scale(self, name: str, replicas: int | None) -> str:
        """Run so many instead of what its file says; None: what its file says."""
        return self._obey(orders.scale(self._loop.memory, self._fleet(), name, replicas))

    def apply(self, *, prune: bool) -> str:
        """One pass now; `prune` consents to what is held."""
        if prune:
            return self._obey(orders.consent(self._loop.memory, self._loop.plan))
        self._loop.wake()
        return f"looking now{orders.only_shown(self._loop.memory)}"

    async def models(self) -> Shelf:
        """The weights on this machine."""
        return await asyncio.to_thread(self._look_for_weights())

    async def prune(self, sources: tuple[str, ...]) -> str:
        """Delete the weights of these sources, or of none where one may not go."""
        found = await self.models()
        refused = spare.refused(found, sources)
        if refused:
            raise ApiError(f"cannot delete {refused}; nothing was deleted", status=409)
        frees = spare.freed(found, sources)
        try:
            await asyncio.to_thread(discard, shelf.place_of(found), sources)
        except OSError as error:
            where = f"{error.filename}: {(error.strerror or 'error').lower()}"
            raise ApiError(f"cannot delete {where}; what is left is deleted by the next prune", status=409) from None
        await asyncio.to_thread(self._look_again)
        return f"deleted {several(sources)}: {print_size(frees)}"

    def _look_for_weights(self) -> Callable[[], Shelf]:
        """The look, made here of what the last pass knew, done where it may take a while."""
        facts, fleet = self.facts(), self._fleet()
        cache = fleet.node(facts.observation.host.name).cache
        instances, in_flight = facts.observation.instances, facts.memory.in_flight.values()
        return partial(
            shelves.look,
            shelf.place(cache.path if cache is not None else None),
            needs(fleet),
            held=spare.held(instances, in_flight),
            limit=cache.size if cache is not None else None,
            frozen=spare.frozen(fleet, instances),
        )

    def _fleet(self) -> Fleet:
        if self._loop.fleet is None:
            raise _not_yet()
        return self._loop.fleet

    def _summary(self) -> Summary:
        if self._loop.summary is None:
            raise _not_yet()
        return self._loop.summary

    def _obey(self, order: orders.Order | orders.Refused) -> str:
        if isinstance(order, orders.Refused):
            raise ApiError(order.says, status=404 if order.unknown else 409)
        try:
            self._loop.remember(order.memory)
        except OSError as error:
            raise ApiError(f"cannot keep what was asked for: {error.strerror}; nothing was done", status=409) from None
        return order.says


def _not_yet() -> ApiError:
    return ApiError("cannot say yet: the daemon has just started; try again", status=409)
