"""All instances that are units of the system manager, of one state directory. It decides nothing.

The manager is asked once in a look for all of them. Between two looks the kernel tells when a main process ends. It is
first spoken to when there is something to look after, or to start.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from reconciler import booted
from reconciler.act import oom, procfs, record, spawn
from reconciler.act.units import unit
from reconciler.act.units.door import Broker, Door, RefusedError, SilentError, Straight
from reconciler.act.units.journal import Journal
from reconciler.act.units.manager import MARGIN, START
from reconciler.act.units.reach import unreadable
from reconciler.act.units.slot import UnitSlot
from reconciler.model.container import Unit
from reconciler.model.errors import TerminalError, TransientError
from reconciler.model.observation import Instance
from reconciler.model.plan import Launch
from reconciler.model.secret import Secret
from reconciler.model.status import Reason

LOOK = 5.0
"""Seconds that the manager has to show all units."""
PATIENCE = 1.0
"""Seconds that a daemon's own start waits for the manager."""
PACE = 4
"""So many units are started at once."""
STOPS = 96
"""So many are stopped at once; the broker would not serve many more."""
_OURS = ("HOME", "USER", "LOGNAME", "SHELL", "TMPDIR")
"""Variables of the daemon that are not true of a unit."""
_AGAIN = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds between two attempts to reach the manager."""
_SOON, _LATER = 0.01, 0.2
"""Seconds until it is looked again, at first and in the end, where a process has ended and its unit not yet."""


class UnitRuntime:
    """Of one event loop; only one runtime may act on a state directory at a time."""

    def __init__(
        self,
        directory: str,
        *,
        on_change: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        door: Door | None = None,
    ) -> None:
        """`on_change` hears the slot whose instance changed; `door`: to the manager, by default as this process may."""
        self.instances: dict[str, Instance] = {}
        """By slot; the same object as long as nothing of it changed."""
        self.trouble: str | None = None
        """Why the manager cannot be asked now."""
        self._state = os.path.abspath(directory)
        self._on_change, self._clock = on_change, clock
        self._door = door or _door(self._state)
        self._journal = Journal(self._door.journal, os.path.join(self._state, "units", "journal"))
        self._oom = oom.Watch(oom.MACHINE)
        self._slots: dict[str, UnitSlot] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._pace = asyncio.Semaphore(PACE)
        self._stopping = asyncio.Semaphore(STOPS)
        self._looking = asyncio.Lock()
        self._mending: asyncio.Task[None] | None = None
        self._doubting: asyncio.Task[None] | None = None

    @property
    def degraded(self) -> tuple[str, ...]:
        """What cannot be done now, in words."""
        return () if self.trouble is None else (self.trouble,)

    async def open(self) -> None:
        """Take up everything that is recorded. A manager that hangs is not waited for."""
        for slot in self._recorded():
            self._slot(slot).read()
        if self._slots:
            for slot in self._slots.values():
                slot.hide("systemd has not answered yet")
            await asyncio.wait([self._later(self._look())], timeout=PATIENCE)

    async def look(self) -> None:
        """Look at everything once, if there is anything and its time has come."""
        self._oom.sample()
        if self._slots and not await self._unchanged():
            await self._look()

    async def _unchanged(self) -> bool:
        """Whether all are known to be as they were, by what costs little to ask."""
        if self.trouble is not None or any(slot.doubtful or slot.left for slot in self._slots.values()):
            return False
        known = {slot.unit: slot.state for slot in self._slots.values() if not slot.lock.locked()}
        try:
            units = await self._door.ask("states", within=LOOK)
        except (SilentError, RefusedError) as error:
            self._fail(error)
            return True
        now = {each["Id"]: (each["ActiveState"], each["SubState"]) for each in units}
        return all(now.get(name) == state for name, state in known.items())

    async def _look(self) -> None:
        async with self._looking:
            try:
                units = await self._door.ask("list", within=LOOK)
            except (SilentError, RefusedError) as error:
                self._fail(error)
                return
            self.trouble = None
            ours = {each.get(unit.SLOT, ""): each for each in units}
            free = [slot for slot in self._slots.values() if not slot.lock.locked()]
            await asyncio.gather(*(self._see(slot, ours.get(slot.name)) for slot in free))
            self._drop_vacant()

    async def _see(self, slot: UnitSlot, info: Mapping[str, str] | None) -> None:
        """Believe what the manager says of one; of one that failed, its last words first."""
        known = slot.record
        if known is None:
            return
        if info is not None and info.get(unit.TOKEN) != known.token:
            info = None  # of an earlier run
        if slot.pending:
            slot.listen()  # it may have ended while nobody was here
        if info is not None and slot.pending and info["SubState"] == "failed":
            since = time.monotonic()
            while not self._journal.settled(known.token, since):
                await asyncio.sleep(_SOON)
        slot.absorb(info)
        if slot.left and (slot.clearing is None or slot.clearing.done()):
            slot.clearing = self._later(self._clear(slot))

    async def _clear(self, slot: UnitSlot) -> None:
        """End what the main process has left behind."""
        token = slot.record.token if slot.record is not None else ""
        try:
            await self._door.ask("clear", within=unit.LONGEST, slot=slot.name, token=token)
            slot.left = False
        except (SilentError, RefusedError) as error:
            self._fail(error)

    # -- doing

    async def start(self, launch: Launch, secrets: Mapping[str, str]) -> None:
        """Record, and have it started; returns when it was exec'd. Raises TransientError or TerminalError.

        A program that cannot be executed is an instance that Exited, and no error here.
        """
        made = launch.unit
        if made is None:
            raise TransientError(Reason.StartFailed, f"cannot start {launch.slot}: it is no unit")
        self._check(launch)
        slot = self._slot(launch.slot)
        async with slot.lock:
            if slot.pending:
                raise TransientError(Reason.Stopping, f"cannot start {slot.name}: run {slot.run.run} is not over")
            try:
                await self._start(slot, launch, made, secrets)
            except SilentError as error:
                self._fail(error)
                raise TransientError(Reason.Unknown, f"cannot start {slot.name}: {self.trouble}") from None
            except RefusedError as error:
                raise TransientError(Reason.StartFailed, f"cannot start {slot.name}: {error}") from None
            except OSError as error:
                raise record.failure(f"start {slot.name}", error) from None
            finally:
                slot.refresh()

    def _check(self, launch: Launch) -> None:
        """That the unit's user, who is nobody, may read what it needs."""
        for path in (file for file in launch.files if file.startswith("/")):
            why = unreadable(path, booted.WEIGHTS)
            if why is not None:
                message = f"cannot let a unit read {path}: {why}; or write runtime: process"
                raise TerminalError(Reason.SourceMissing, message)

    async def _start(self, slot: UnitSlot, launch: Launch, made: Unit, secrets: Mapping[str, str]) -> None:
        if slot.record is not None:
            self._journal.drop(slot.record.token)
        slot.write(record.new(launch, procfs.BOOT))
        token = slot.record.token if slot.record is not None else ""
        slot.listen()
        slot.begin(secrets)
        env = {key: value for key, value in spawn.scrubbed(dict(os.environ)).items() if key not in _OURS}
        env |= {key: secrets[value.secret] if isinstance(value, Secret) else value for key, value in launch.env.items()}
        try:
            program = spawn.program(launch.argv[0], env.get("PATH", os.defpath)) if launch.argv else ""
        except spawn.CannotRun as error:
            slot.settle(detail=str(error), code=error.code)
            return
        order = {
            "slot": slot.name,
            "run": launch.run,
            "token": token,
            "argv": [os.path.abspath(program), *launch.argv[1:]],
            "env": env,
            "directory": launch.directory,
            "memory": made.memory,
            "gpus": list(launch.gpus),
            "grace": made.grace,
        }
        async with self._pace:
            try:
                units = await self._door.ask("start", within=START + LOOK, **order)
            except RefusedError:
                slot.retract()
                raise
        await self._see(slot, units[0] if units else None)

    async def stop(self, slot: str, run: int, grace: float, reason: Reason) -> None:
        """End a run: SIGTERM to all of its control group, SIGKILL after `grace` seconds. None is left then."""
        there = self._slots.get(slot)
        if there is None or there.record is None or there.run.run != run or not there.run.active:
            return
        if self.trouble is not None:
            raise TransientError(Reason.Unknown, f"cannot stop {slot}: {self.trouble}")
        there.asked(reason)
        order = {"slot": slot, "token": there.record.token, "grace": min(grace, unit.LONGEST)}
        try:
            async with self._stopping:
                units = await self._door.ask("stop", within=grace + 2 * MARGIN, **order)
        except SilentError as error:
            self._fail(error)
            raise TransientError(Reason.Unknown, f"cannot stop {slot}: {self.trouble}") from None
        except RefusedError as error:
            raise TransientError(Reason.Stopping, f"cannot stop {slot}: {error}") from None
        await self._see(there, next(iter(units), None))
        if there.run.run == run and there.run.active:
            raise TransientError(Reason.Stopping, f"cannot stop {slot}: systemd says that it still runs")

    async def update(self, launch: Launch) -> None:
        """Record new live settings with the run that is there."""
        slot = self._slots.get(launch.slot)
        if slot is None or slot.record is None or slot.record.launch.run != launch.run:
            message = f"cannot update {launch.slot}: run {launch.run} is not what is recorded"
            raise TransientError(Reason.Lost, message)
        try:
            slot.update(launch)
        except OSError as error:
            raise record.failure(f"update {launch.slot}", error) from None

    async def forget(self, slot: str, run: int) -> None:
        """Remove the record of a run that ended, its unit and what lies in its home. Its log stays."""
        there = self._slots.get(slot)
        if there is None or there.record is None or there.record.launch.run != run:
            return
        async with there.lock:
            if there.run.active:
                raise TransientError(Reason.Stopping, f"cannot forget {slot}: run {run} is not over")
            token = there.record.token
            try:
                await self._door.ask("clear", within=2 * START, slot=slot, token=token, home=True)
                there.erase()
            except SilentError as error:
                self._fail(error)
                raise TransientError(Reason.Unknown, f"cannot forget {slot}: {self.trouble}") from None
            except RefusedError as error:
                raise TransientError(Reason.Stopping, f"cannot forget {slot}: {error}") from None
            except OSError as error:
                raise record.failure(f"forget {slot}", error) from None
            self._journal.drop(token)
        self._drop_vacant()

    def note_ready(self, slot: str, since: float | None) -> None:
        """Remember with a run since when it answers, seconds of CLOCK_MONOTONIC; None: it no longer does."""
        if slot in self._slots:
            self._slots[slot].note(since)

    async def close(self) -> None:
        """Let go of everything; units stay."""
        for task in tuple(self._tasks):
            task.cancel()
        for slot in self._slots.values():
            slot.unwatch()
        await asyncio.to_thread(self._journal.close)

    # -- the manager, and what is found

    def _fail(self, error: Exception) -> None:
        """The manager cannot be asked: what may run is Unknown until it can."""
        self.trouble = self.trouble or f"cannot reach systemd: {error}; see `systemctl status holdfast-units.socket`"
        for slot in self._slots.values():
            slot.hide(self.trouble)
        if self._mending is None or self._mending.done():
            self._mending = self._later(self._mend())

    async def _mend(self) -> None:
        for number in range(10**9):
            await asyncio.sleep(_AGAIN[min(number, len(_AGAIN) - 1)])
            await self._look()
            if self.trouble is None:
                return

    def _ended(self) -> None:
        """A main process has ended: its unit will have, soon."""
        if self._doubting is None or self._doubting.done():
            self._doubting = self._later(self._doubt())

    async def _doubt(self) -> None:
        wait = _SOON
        while any(slot.doubtful and not slot.lock.locked() for slot in self._slots.values()) and self.trouble is None:
            await self._look()
            await asyncio.sleep(wait)
            wait = min(_LATER, wait * 1.5)

    def _slot(self, slot: str) -> UnitSlot:
        if slot not in self._slots:
            self._slots[slot] = UnitSlot(
                slot,
                self._state,
                on_change=self._changed,
                on_end=self._ended,
                clock=self._clock,
                journal=self._journal,
                oom=self._oom,
            )
        return self._slots[slot]

    def _recorded(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            names = os.listdir(os.path.join(self._state, "units"))
            return [slot for entry in names if (slot := record.slot_of(entry)) is not None]
        return []

    def _changed(self, slot: str) -> None:
        instance = self._slots[slot].instance if slot in self._slots else None
        if instance is None:
            self.instances.pop(slot, None)
        else:
            self.instances[slot] = instance
        self._on_change(slot)

    def _drop_vacant(self) -> None:
        for slot in [slot for slot in self._slots.values() if slot.instance is None and not slot.lock.locked()]:
            slot.unwatch()
            del self._slots[slot.name]

    def _later(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _door(state: str) -> Door:
    return Straight(state, booted.WEIGHTS) if os.geteuid() == 0 else Broker(booted.SOCKET)
