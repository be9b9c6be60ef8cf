"""Sends each action to the runtime of its launch, and puts together what all of them see.

What one runtime cannot see says nothing about the others: its own instances are Unknown then, theirs go on.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from reconciler.act.docker.runtime import DockerRuntime
from reconciler.act.process import ProcessRuntime
from reconciler.act.runs import Runs
from reconciler.act.units.runtime import UnitRuntime
from reconciler.model.container import RuntimeName
from reconciler.model.observation import Instance, Unknown
from reconciler.model.plan import Cancel, Fetch, Launch
from reconciler.model.status import Reason


class Runtimes:
    """All runtimes of one state directory. Where a slot is in two of them, the newer run counts."""

    def __init__(
        self, directory: str, *, on_change: Callable[[str], None], on_images: Callable[[], None] = lambda: None
    ) -> None:
        """`on_change` hears the slot whose instance changed; `on_images` that something of an image did."""
        self._on_change = on_change
        self._instances: dict[str, Instance] = {}
        self.runs = Runs(directory)
        self.process = ProcessRuntime(directory, on_change=self._changed)
        self.docker = DockerRuntime(directory, on_change=self._changed, on_images=on_images)
        self._named: dict[RuntimeName, ProcessRuntime | UnitRuntime | DockerRuntime] = {
            "process": self.process,
            "systemd": UnitRuntime(directory, on_change=self._changed),
            "docker": self.docker,
        }
        self._all = tuple(self._named.values())

    @property
    def table(self) -> Mapping[str, Instance] | Unknown:
        """The instances, or why none can be known."""
        processes = self.process.table
        if not isinstance(processes, Unknown):
            return self._instances
        hidden = {slot: replace(each, phase=processes) for slot, each in self.process.instances.items()}
        others = {slot: each for runtime in self._all[1:] for slot, each in runtime.instances.items()}
        return {**hidden, **others} if others else processes

    @property
    def unseen(self) -> Mapping[str, str]:
        """By runtime: why what runs under it cannot be seen."""
        return {name: runtime.trouble for name, runtime in self._named.items() if runtime.trouble is not None}

    @property
    def degraded(self) -> tuple[str, ...]:
        """What cannot be done now, in words."""
        return tuple(text for runtime in self._all for text in runtime.degraded)

    async def open(self) -> None:
        """Take up everything that is recorded. Raises OSError where the state directory cannot be made."""
        for runtime in self._all:
            await runtime.open()

    async def look(self) -> None:
        """Look at everything once."""
        for runtime in self._all:
            await runtime.look()

    async def start(self, launch: Launch, secrets: Mapping[str, str]) -> None:
        """Record the run and start it; what is left of the slot in another runtime is forgotten first.

        Runs of a slot that was forgotten are counted on, so that the logs of its earlier life are told beside the new.
        """
        if launch.slot not in self._instances:
            launch = replace(launch, run=self.runs.newest(launch.slot) + 1)
        for runtime in self._all:
            left = runtime.instances.get(launch.slot)
            if left is not None and left.launch.runtime != launch.runtime:
                await runtime.forget(launch.slot, left.launch.run)
        await self._named[launch.runtime].start(launch, secrets)

    async def stop(self, slot: str, run: int, grace: float, reason: Reason) -> None:
        """End a run; returns when nothing of it is left."""
        await self._where(slot).stop(slot, run, grace, reason)

    async def update(self, launch: Launch) -> None:
        """Record new live settings with the run that is there."""
        await self._named[launch.runtime].update(launch)

    async def forget(self, slot: str, run: int) -> None:
        """Remove the record of a run that ended."""
        await self._where(slot).forget(slot, run)

    async def fetch(self, action: Fetch | Cancel) -> None:
        """Have an image brought here, or no longer; returns when that has begun."""
        await self.docker.images.perform(action)

    def note_ready(self, slot: str, since: float | None) -> None:
        """Remember with a run since when it answers, seconds of CLOCK_MONOTONIC; None: it no longer does."""
        self._where(slot).note_ready(slot, since)

    async def close(self) -> None:
        """Let go of everything; engines stay."""
        for runtime in self._all:
            await runtime.close()

    def _where(self, slot: str) -> ProcessRuntime | UnitRuntime | DockerRuntime:
        known = self._instances.get(slot)
        return self.process if known is None else self._named[known.launch.runtime]

    def _changed(self, slot: str) -> None:
        there = [found for runtime in self._all if (found := runtime.instances.get(slot)) is not None]
        if there:
            newest = self._instances[slot] = max(there, key=lambda instance: instance.launch.run)
            self.runs.note(newest)
        else:
            self._instances.pop(slot, None)
        self._on_change(slot)
