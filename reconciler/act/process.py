"""The `process` runtime: instances as processes of this machine, each under a keeper that outlives the daemon.

What is about to run is on disk before it runs, so after any crash it is found again; and nothing here decides.
"""

import asyncio
import contextlib
import os
import resource
import shutil
import time
from collections.abc import Callable, Mapping

from reconciler.act import procfs, record
from reconciler.act.hatchery import Hatchery
from reconciler.act.slot import Site, Slot
from reconciler.model.observation import Instance, Unknown
from reconciler.model.plan import Launch
from reconciler.model.status import Reason

SILENCE = 60.0
"""Seconds after which a keeper that said nothing is asked whether it is there."""
PATIENCE = 0.8
"""Seconds that a look waits for one slot."""
SLOTS = ("slots", "containers", "units")
"""Where slots are recorded, by whoever keeps them."""
OLD_LOGS = 64
"""Log directories of forgotten slots that are kept."""


class ProcessRuntime:
    """All instances below one state directory. Of one event loop; only one runtime may act on a directory at a time."""

    def __init__(
        self,
        directory: str,
        *,
        on_change: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        nofile: int | None = None,
    ) -> None:
        """`on_change` hears the slot whose instance changed; `nofile`: engines' soft limit, by default ours of now."""
        self.instances: dict[str, Instance] = {}
        """By slot; the same object as long as nothing of it changed."""
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if nofile is None else nofile
        self._on_change = on_change
        self._slots: dict[str, Slot] = {}
        self._finding: set[asyncio.Task[None]] = set()
        self._unlisted: str | None = None
        self._barren: str | None = None
        self._site = Site(
            directory=os.path.abspath(directory),
            hatchery=Hatchery(soft),
            on_change=self._changed,
            clock=clock,
            boot=procfs.BOOT,
        )

    @property
    def table(self) -> Mapping[str, Instance] | Unknown:
        """The instances, or why they cannot be known."""
        return self.instances if self._unlisted is None else Unknown(reason=self._unlisted)

    @property
    def trouble(self) -> str | None:
        """Why none of them can be seen."""
        return self._unlisted

    @property
    def degraded(self) -> tuple[str, ...]:
        """What cannot be done now, in words."""
        return tuple(text for text in (self._unlisted, self._barren) if text is not None)

    async def open(self) -> None:
        """Take up everything that is recorded. Raises OSError where the state directory cannot be made."""
        for path in (self._site.directory, self._path("slots"), self._path("logs")):
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, 0o700)
        self._sweep()
        await self.look()

    async def look(self) -> None:
        """Look at everything once: what is there and not known, and what is known and does not answer."""
        try:
            self._site.hatchery.open()
            self._barren = None
        except OSError as error:
            self._barren = str(record.failure("start the forkserver", error))
        try:
            found = {slot for name in os.listdir(self._path("slots")) if (slot := record.slot_of(name)) is not None}
            self._unlisted = None
        except OSError as error:
            self._unlisted = str(record.failure(f"list {self._path('slots')}", error))
            return
        for name in found - self._slots.keys():
            self._slots[name] = Slot(name, self._site)
        doubtful = [
            slot
            for slot in self._slots.values()
            if not slot.lock.locked() and (slot.doubtful or slot.vacant or slot.silent_for() > SILENCE)
        ]
        await asyncio.gather(*(self._find(slot) for slot in doubtful))
        for slot in doubtful:
            self._drop_if_vacant(slot)

    async def _find(self, slot: Slot) -> None:
        """One that hangs is Unknown, and nobody waits for it."""
        task = asyncio.create_task(slot.find())
        self._finding.add(task)
        task.add_done_callback(self._finding.discard)
        done, _ = await asyncio.wait([task], timeout=PATIENCE)
        if not done:
            slot.doubt(f"its keeper has not answered for {PATIENCE} s")

    async def start(self, launch: Launch, secrets: Mapping[str, str]) -> None:
        """Record, have a keeper, order; returns when it was exec'd. Raises TransientError or TerminalError.

        A program that cannot be executed is an instance that Exited, and no error here.
        """
        slot = self._slots.setdefault(launch.slot, Slot(launch.slot, self._site))
        try:
            await slot.start(launch, secrets)
        finally:
            self._drop_if_vacant(slot)

    async def stop(self, slot: str, run: int, grace: float, reason: Reason) -> None:
        """End a run: SIGTERM to its group, SIGKILL to all of it after `grace` seconds. Returns when none is left."""
        if slot in self._slots:
            await self._slots[slot].stop(run, grace, reason)

    async def update(self, launch: Launch) -> None:
        """Record new live settings with the run that is there."""
        slot = self._slots.setdefault(launch.slot, Slot(launch.slot, self._site))
        try:
            await slot.update(launch)
        finally:
            self._drop_if_vacant(slot)

    async def forget(self, slot: str, run: int) -> None:
        """Remove the record of a run that ended. Its log stays, among the newest of those forgotten."""
        if slot in self._slots:
            await self._slots[slot].forget(run)
            self._drop_if_vacant(self._slots[slot])
            await asyncio.to_thread(self._trim_logs)

    def note_ready(self, slot: str, since: float | None) -> None:
        """Remember with a run since when it answers, seconds of CLOCK_MONOTONIC; None: it no longer does.

        The next daemon finds it so, and `Exited.ready_for` is counted from it.
        """
        if slot in self._slots:
            self._slots[slot].note(since)

    async def close(self) -> None:
        """Let go of everything; keepers and engines stay."""
        for task in self._finding:
            task.cancel()
        for slot in self._slots.values():
            slot.close()
        await self._site.hatchery.close()

    def _path(self, *parts: str) -> str:
        return os.path.join(self._site.directory, *parts)

    def _changed(self, name: str) -> None:
        slot = self._slots.get(name)
        if slot is None or slot.instance is None:
            self.instances.pop(name, None)
        else:
            self.instances[name] = slot.instance
        self._on_change(name)

    def _drop_if_vacant(self, slot: Slot) -> None:
        if slot.vacant and not slot.lock.locked() and self._slots.get(slot.name) is slot:
            slot.close()
            del self._slots[slot.name]

    def _sweep(self) -> None:
        """Finish removals that were cut off."""
        with contextlib.suppress(OSError):
            for name in os.listdir(self._path("slots")):
                if name.startswith(".gone."):
                    shutil.rmtree(self._path("slots", name), ignore_errors=True)

    def _trim_logs(self) -> None:
        """Keep the log directories of slots that are there, and the newest of the others."""
        with contextlib.suppress(OSError):
            kept = (self._path(where) for where in SLOTS)
            there = {name for path in kept if os.path.isdir(path) for name in os.listdir(path)}
            old = [name for name in os.listdir(self._path("logs")) if name not in there]
            old.sort(key=lambda name: os.stat(self._path("logs", name)).st_mtime_ns)
            for name in old[:-OLD_LOGS]:
                shutil.rmtree(self._path("logs", name), ignore_errors=True)
