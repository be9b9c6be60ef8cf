"""What people ask of the daemon, by the control API: answers from the last pass, and orders that become memory."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from pydantic import TypeAdapter, ValidationError

from reconciler.api.control import History, RunChoice
from reconciler.loop import Loop
from reconciler.model.answers import Info
from reconciler.model.errors import ApiError
from reconciler.model.facts import Facts
from reconciler.model.fleet import Fleet
from reconciler.model.memory import Memory, Override
from reconciler.model.plan import Plan
from reconciler.model.status import Meters, Status
from reconciler.plan import orders
from reconciler.plan.road import road
from reconciler.plan.summary import Summary


class Logs(Protocol):
    """How the log of a run is read."""

    def __call__(self, name: str, index: int, run: RunChoice, *, lines: int, follow: bool) -> AsyncIterator[bytes]:
        """As `Control.log`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """The part of memory that outlives the daemon: what operators asked for, and what was measured."""

    overrides: dict[str, Override] = field(default_factory=dict[str, Override])
    restarts: dict[str, int] = field(default_factory=dict[str, int])
    consents: tuple[str, ...] = ()
    measured: dict[str, int] = field(default_factory=dict[str, int])
    stated: dict[str, int] = field(default_factory=dict[str, int])


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
    )


def keep(path: str, memory: Memory) -> None:
    """Write it down durably: an operator has been told that it is so. Raises OSError."""
    kept = _Kept(
        overrides=dict(memory.overrides),
        restarts=dict(memory.restarts),
        consents=tuple(sorted(memory.consents)),
        measured=dict(memory.measured),
        stated=dict(memory.stated),
    )
    beside = f"{path}.new"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, _KEPT.dump_json(kept, indent=1))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.rename(beside, path)


class Desk:
    """`api.control.Control` over the loop."""

    def __init__(
        self, loop: Loop, *, info: Info, events: History, logs: Logs, meters: Callable[[], Mapping[str, Meters]]
    ) -> None:
        """`meters`: what the sensors of the GPUs say now, by UUID."""
        self._loop = loop
        self._meters = meters
        self._newer: asyncio.Event = asyncio.Event()
        self.info = info
        self.events = events
        self.log = logs

    def published(self) -> None:
        """A newer status is there: tell everyone who waits for it."""
        self._newer.set()
        self._newer = asyncio.Event()

    def status(self) -> Status:
        """How the fleet did in the last pass."""
        summary = self._summary()
        return replace(summary.status, now=self._loop.outside.clock(), meters=self._meters())

    async def next_status(self, after: Status) -> Status:
        """The newest status once its rows are others than those of `after`."""
        while True:
            newest = self.status()
            if replace(newest, now=after.now, meters=after.meters) != after:
                return newest
            await self._newer.wait()

    def facts(self) -> Facts:
        """What the planner was told in the last pass."""
        self._summary()
        observation = self._loop.observation
        if observation is None:
            raise _not_yet()
        outside = self._loop.outside
        return Facts(observation=observation, memory=self._loop.memory, now=outside.clock(), demand=outside.demand())

    def road(self) -> tuple[Plan, ...]:
        """What would be done now and after, pass by pass."""
        facts = self.facts()
        fleet = self._loop.fleet
        if fleet is None:
            raise _not_yet()
        return road(fleet, facts.observation, facts.demand, facts.memory, facts.now)

    def restart(self, name: str, index: int | None) -> str:
        """Replace one instance, or all of a workload."""
        loop = self._loop
        if loop.fleet is None or loop.observation is None:
            raise _not_yet()
        return self._obey(orders.restart(loop.memory, loop.fleet, loop.observation, name, index))

    def stop(self, name: str) -> str:
        """Stop all of a workload until it is resumed."""
        return self._obey(orders.stop(self._loop.memory, self._fleet(), name))

    def pause(self, name: str) -> str:
        """Do nothing to a workload until it is resumed."""
        return self._obey(orders.pause(self._loop.memory, self._fleet(), name))

    def resume(self, name: str) -> str:
        """Undo `stop` and `pause`."""
        return self._obey(orders.resume(self._loop.memory, self._fleet(), name))

    def scale(self, name: str, replicas: int | None) -> str:
        """Run so many instead of what its file says; None: what its file says."""
        return self._obey(orders.scale(self._loop.memory, self._fleet(), name, replicas))

    def apply(self, *, prune: bool) -> str:
        """One pass now; `prune` consents to what is held."""
        if prune:
            return self._obey(orders.consent(self._loop.memory, self._loop.plan))
        self._loop.wake()
        return "looking now"

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
