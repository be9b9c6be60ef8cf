"""All instances that are containers, of one state directory. It decides nothing.

The engine is asked once in a look for everything that carries our label; its stream of events says when to look at one
of them between two looks.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Collection, Mapping

from reconciler.act import logfile, oom, procfs, record
from reconciler.act.docker import asking
from reconciler.act.docker.api import Api, Info, RefusedError, SilentError
from reconciler.act.docker.asking import Seen
from reconciler.act.docker.body import body, offers_cdi
from reconciler.act.docker.images import Images
from reconciler.act.docker.labels import SLOT, TOKEN, Row, labels, name
from reconciler.act.docker.presence import Presence
from reconciler.act.docker.slot import ContainerSlot, Site
from reconciler.act.record import Record
from reconciler.model.container import Container
from reconciler.model.errors import TransientError
from reconciler.model.observation import Instance
from reconciler.model.plan import Launch, Strikes
from reconciler.model.status import Reason

log = logging.getLogger(__name__)
LOOK = 5.0
"""Seconds that the engine has to list containers."""
START = 60.0
MARGIN = 15.0
"""Seconds beyond the grace until what was killed must be gone."""
PATIENCE = 1.0
"""Seconds that a daemon's own start waits for the engine."""
PACE = 4
"""So many containers are made at once: after a restart of the engine all of them are due."""
_STIRRING = frozenset({"start", "die", "destroy", "remove", "pause", "unpause", "update"})
"""Podman says remove, Docker destroy."""
_PORT_WORDS = ("port is already allocated", "address already in use")


class DockerRuntime:
    """Of one event loop; only one runtime may act on a state directory at a time."""

    def __init__(
        self,
        directory: str,
        *,
        on_change: Callable[[str], None],
        on_images: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        api: Api | None = None,
    ) -> None:
        """`on_change` hears the slot whose instance changed; `on_images` that something of an image did."""
        self.instances: dict[str, Instance] = {}
        """By slot; the same object as long as nothing of it changed."""
        self._state = os.path.abspath(directory)
        machine = (procfs.read("/etc/machine-id") or b"").decode(errors="replace").strip()
        self._owner = f"{machine}:{self._state}"
        self._on_change = on_change
        self._api = api or Api()
        self._engine = Presence(self._api, self._owner, look=self.look, on_event=self._heard, on_trouble=self._hide)
        self.images = Images(self._api, on_change=on_images, on_silence=self._engine.fail)
        """What is known of the images that the fleet needs."""
        self._oom = oom.Watch(oom.MACHINE)
        self._site = Site(directory=self._state, api=self._api, on_change=self._changed, clock=clock, oom=self._oom)
        self._slots: dict[str, ContainerSlot] = {}
        self._pace = asyncio.Semaphore(PACE)
        self._asking = asyncio.Semaphore(2 * PACE)
        self._looking = asyncio.Lock()
        self._looked = False
        self._strange: set[str] = set()

    @property
    def trouble(self) -> str | None:
        """Why the engine cannot be asked now."""
        return self._engine.trouble

    @property
    def degraded(self) -> tuple[str, ...]:
        """What cannot be done now, in words."""
        return () if self.trouble is None else (self.trouble,)

    async def open(self) -> None:
        """Take up everything that is recorded. An engine that hangs is not waited for."""
        for slot in self._recorded():
            self._slot(slot).read()
        if self._slots:
            for slot in self._slots.values():
                slot.hide("docker has not answered yet")
            self._awaken()
            await asyncio.wait([self._engine.later(self.look())], timeout=PATIENCE)

    async def look(self) -> None:
        """Look at everything once, if there is anything."""
        if not self._engine.awake:
            return
        self._oom.sample()
        async with self._looking:
            try:
                rows, strange = await self._api.call(lambda client: asking.listed(client, self._owner), LOOK)
            except (SilentError, RefusedError) as error:
                self._engine.fail(error)
                return
            full = not self._looked or self.trouble is not None or self._engine.away
            went_away, self._looked = self._engine.answered(), True
            self._pass_by(strange)
            ours = self._ours(rows)
            self._discard_blank({row.slot for row in rows})
            await asyncio.gather(
                *(self._see(slot, ours.get(slot.name), full, went_away) for slot in list(self._slots.values()))
            )
            self._drop_vacant()
            await self.images.look()

    async def _see(self, slot: ContainerSlot, row: Row | None, full: bool, went_away: bool) -> None:
        """Ask for one where the list says that it is otherwise than known, or does not say how it is."""
        if slot.lock.locked() or slot.record is None:
            return
        if row is None and not slot.pending:
            slot.hide(None)
        elif row is not None and not full and (row.id, row.state) == (slot.id, slot.state):
            if row.state == "running":
                slot.follow()
        else:
            if row is not None:
                slot.id = row.id
            await self._inspect(slot, went_away=went_away)

    async def _inspect(self, slot: ContainerSlot, *, went_away: bool = False) -> None:
        """Ask for one, and believe the answer."""
        async with slot.lock:
            if slot.record is None:
                return
            try:
                async with self._asking:
                    seen = await self._of(slot)
                    if seen is not None and seen.restarts:
                        there = seen.id
                        log.warning("%s was told to restart by docker itself; no longer", slot.name)
                        await self._api.call(lambda client: asking.disarm(client, there))
                await slot.absorb(seen, went_away=went_away)
            except SilentError as error:
                self._engine.fail(error)
            except RefusedError as error:
                slot.state = ""  # it is asked for again by the next look
                slot.hide(f"cannot see its container: docker says: {error}")

    async def _stirred(self, slot: ContainerSlot) -> None:
        """The engine told of it."""
        if slot.foreign:
            await self._engine.check(LOOK)  # it may be on its way out
        if self.trouble is None:
            await self._inspect(slot)

    async def _of(self, slot: ContainerSlot) -> Seen | None:
        """What the engine says of the container of the recorded run; None where it says that there is none."""
        token = slot.record.token if slot.record is not None else ""
        try:
            return await self._api.call(lambda client: asking.inspect(client, slot.id or name(slot.name), token))
        except RefusedError as error:
            if error.status == 404:
                return None
            raise

    # -- doing

    async def start(self, launch: Launch, secrets: Mapping[str, str]) -> None:
        """Record, have the image, create, start. Raises TransientError.

        A program that cannot be executed is an instance that Exited, and no error here.
        """
        container = launch.container
        if container is None:
            raise TransientError(Reason.StartFailed, f"cannot start {launch.slot}: it is no container")
        if self._awaken() or not self._looked:
            await self.look()
        slot = self._slot(launch.slot)
        async with slot.lock:
            if slot.pending:
                raise TransientError(Reason.Stopping, f"cannot start {slot.name}: run {slot.run.run} is not over")
            try:
                await self._start(slot, launch, container, secrets)
            except SilentError as error:
                self._engine.fail(error)
                raise TransientError(Reason.Unknown, f"cannot start {slot.name}: {self.trouble}") from None
            except RefusedError as error:
                raise TransientError(Reason.StartFailed, f"cannot start {slot.name}: docker says: {error}") from None
            except OSError as error:
                raise record.failure(f"start {slot.name}", error) from None
            finally:
                slot.refresh()

    async def _start(
        self, slot: ContainerSlot, launch: Launch, container: Container, secrets: Mapping[str, str]
    ) -> None:
        async with self._pace:
            await self._api.call(lambda client: asking.clear(client, self._owner, slot.name, slot.id), START)
        new = record.new(launch, procfs.BOOT)
        slot.id = slot.state = ""
        slot.write(new)
        async with self._pace:
            cdi = bool(launch.gpus) and offers_cdi(await self._api.call(lambda client: client.info()), launch.gpus)
            config = body(launch, container, labels=labels(self._owner, new), secrets=secrets, cdi=cdi)
            slot.id = await self._create(config, container.image, slot)
            slot.begin(secrets)
            try:
                await self._api.call(lambda client: client.start(slot.id), START)
            except RefusedError as error:
                if any(words in str(error) for words in _PORT_WORDS):
                    slot.retract()
                    message = f"cannot start {slot.name}: port {launch.port} is in use; free it, or give another port"
                    raise TransientError(Reason.PortTaken, message) from None
                slot.settle(detail=f"docker cannot start it: {error}", code=126)
                return
            await slot.absorb(await self._of(slot))

    async def _create(self, config: Info, image: str, slot: ContainerSlot) -> str:
        """The id of the container that was made."""
        try:
            create = self._api.call(lambda client: client.create_container_from_config(config, name(slot.name)), START)
            return str((await create)["Id"])
        except RefusedError as error:
            if error.status == 404:
                self.images.lost(f"image:{image}")
                message = f"cannot start {slot.name}: its image {image} was removed"
                raise TransientError(Reason.NotFetched, message) from None
            if "already in use" in str(error):  # 409 of Docker, 500 of Podman
                message = f"cannot start {slot.name}: another container has its name; `docker rm {name(slot.name)}`"
                raise TransientError(Reason.StartFailed, message) from None
            raise

    def want(self, images: Collection[str]) -> None:
        """Know of these images from now on whether they are there."""
        if self.images.want(images) and images:
            self._awaken()
            self._engine.later(self.look())

    async def stop(self, slot: str, run: int, grace: float, reason: Reason) -> None:
        """End a run: the image's own signal, SIGTERM as a rule, SIGKILL after `grace` seconds. None is left then."""
        there = self._slots.get(slot)
        if there is None or there.run.run != run or not there.run.active:
            return
        if self.trouble is not None:
            raise TransientError(Reason.Unknown, f"cannot stop {slot}: {self.trouble}")
        there.asked(reason)
        try:
            await self._api.call(lambda client: asking.stop(client, there.id or name(slot), grace), grace + MARGIN)
        except SilentError as error:
            self._engine.fail(error)
            raise TransientError(Reason.Unknown, f"cannot stop {slot}: {self.trouble}") from None
        except RefusedError as error:
            if error.status != 404:
                raise TransientError(Reason.Stopping, f"cannot stop {slot}: docker says: {error}") from None
        await self._inspect(there)
        if there.run.run == run and there.run.active:
            raise TransientError(Reason.Stopping, f"cannot stop {slot}: docker says that it still runs")

    async def update(self, launch: Launch) -> None:
        """Record new live settings with the run that is there."""
        slot = self._slots.get(launch.slot)
        known = slot.record if slot is not None else None
        if slot is None or known is None or known.launch.run != launch.run:
            message = f"cannot update {launch.slot}: run {launch.run} is not what is recorded"
            raise TransientError(Reason.Lost, message)
        try:
            slot.update(launch)
        except OSError as error:
            raise record.failure(f"update {launch.slot}", error) from None
        if known.launch.strikes != Strikes() and launch.strikes == Strikes():
            logfile.unmark_first_failure(slot.logs)

    async def forget(self, slot: str, run: int) -> None:
        """Remove the container and the record of a run that ended. Its log stays."""
        there = self._slots.get(slot)
        if there is None or there.record is None or there.record.launch.run != run:
            return
        async with there.lock:
            if there.run.active:
                raise TransientError(Reason.Stopping, f"cannot forget {slot}: run {run} is not over")
            try:
                await self._api.call(lambda client: asking.clear(client, self._owner, slot, there.id), START)
                there.erase()
            except SilentError as error:
                self._engine.fail(error)
                raise TransientError(Reason.Unknown, f"cannot forget {slot}: {self.trouble}") from None
            except RefusedError as error:
                raise TransientError(Reason.Stopping, f"cannot forget {slot}: docker says: {error}") from None
            except OSError as error:
                raise record.failure(f"forget {slot}", error) from None
        self._drop_vacant()

    def note_ready(self, slot: str, since: float | None) -> None:
        """Remember with a run since when it answers, seconds of CLOCK_MONOTONIC; None: it no longer does."""
        if slot in self._slots:
            self._slots[slot].note(since)

    async def close(self) -> None:
        """Let go of everything; containers stay."""
        self.images.close()
        self._engine.close()
        for slot in self._slots.values():
            slot.close()

    # -- the engine, and what is found in it

    def _ours(self, rows: list[Row]) -> dict[str, Row]:
        """By slot: the container of the recorded run. One of which the disk knows nothing is taken up."""
        found: dict[str, Row] = {}
        for row in rows:
            slot = self._slots.get(row.slot)
            if (slot is None or (slot.record is None and not slot.lock.locked())) and row.named and row.record:
                slot = self._adopt(row, row.record)
            if slot is not None and slot.owns(row):
                found[row.slot] = row
        return found

    def _adopt(self, row: Row, known: Record) -> ContainerSlot:
        slot = self._slot(row.slot)
        try:
            slot.write(known)
            slot.id = row.id
            log.warning("%s was found by its label: container %s", slot.name, row.id[:12])
        except OSError as error:
            log.warning("cannot take up container %s of %s: %s", row.id[:12], slot.name, error)
        return slot

    def _discard_blank(self, listed: set[str]) -> None:
        """A start that was cut off, and of which the engine knows nothing either."""
        for slot in self._slots.values():
            if slot.blank and slot.name not in listed and not slot.lock.locked():
                with contextlib.suppress(OSError):
                    slot.erase()

    def _pass_by(self, strange: Mapping[str, str]) -> None:
        for container in strange.keys() - self._strange:
            log.warning("container %s (%s) has labels of ours and is not ours", container[:12], strange[container])
        self._strange = {*strange}

    def _hide(self, why: str) -> None:
        for slot in self._slots.values():
            slot.hide(why)
        self.images.hide(why)

    def _awaken(self) -> bool:
        """Listen to the engine from now on; whether nobody did before."""
        if not self._engine.awake:
            self._oom.begin()
        return self._engine.awaken()

    def _heard(self, event: Info) -> None:
        told: Mapping[str, str] = event["Actor"]["Attributes"]
        slot = self._slots.get(told.get(SLOT, ""))
        if slot is None or slot.record is None or told.get(TOKEN) != slot.record.token:
            return
        if slot.id and event["Actor"].get("ID") != slot.id:
            return
        if event["Action"] == "kill" and slot.run.asked is None:
            slot.blame(f"somebody else had docker send it signal {told.get('signal', '?')}")
        elif event["Action"] in _STIRRING:
            self._engine.later(self._stirred(slot))

    def _slot(self, slot: str) -> ContainerSlot:
        return self._slots.setdefault(slot, ContainerSlot(slot, self._site))

    def _recorded(self) -> list[str]:
        try:
            names = os.listdir(os.path.join(self._state, "containers"))
        except FileNotFoundError:
            return []
        return [slot for entry in names if (slot := record.slot_of(entry)) is not None]

    def _changed(self, slot: str) -> None:
        instance = self._slots[slot].instance if slot in self._slots else None
        if instance is None:
            self.instances.pop(slot, None)
        else:
            self.instances[slot] = instance
        self._on_change(slot)

    def _drop_vacant(self) -> None:
        for slot in [slot for slot in self._slots.values() if slot.instance is None and not slot.lock.locked()]:
            slot.close()
            del self._slots[slot.name]
