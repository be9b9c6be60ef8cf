"""The GPUs, behind one question: NVIDIA's and AMD's, those of an inventory, or none.

One thread asks the drivers, as they may hang; the event loop only reads the last answer, and says so when it is old.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from reconciler.model.observation import Gpu, Unknown
from reconciler.model.quantity import print_duration
from reconciler.model.status import Meters
from reconciler.observe.amd import Amd
from reconciler.observe.cordons import Cordons
from reconciler.observe.inventory import Inventory
from reconciler.observe.nvidia import NoDriver, Nvidia
from reconciler.observe.sighting import Sighting

_MATERIAL = 64 * 2**20
"""Bytes by which the use of a card must change before the loop is woken for it."""

Reading = tuple[Gpu, ...] | Unknown


class Gpus:
    """The last reading, and the thread that renews it. Without a driver there is no thread."""

    def __init__(
        self,
        source: "Literal['nvidia', 'none', 'auto'] | Inventory" = "auto",
        *,
        clock: Callable[[], float],
        on_change: Callable[[], None] | None = None,
        interval: float = 2.0,
        deadline: float = 5.0,
        quiet: float = 30.0,
        amd: Amd | None = None,
    ) -> None:
        """`on_change` is called from the thread. A reading older than interval + deadline is not believed.

        `quiet`: seconds that a card in trouble has to be well before anything runs on it again.
        """
        self._source = source
        self._clock = clock
        self._on_change = on_change
        self._interval, self._deadline = interval, deadline
        self._reading: Reading = source.gpus if isinstance(source, Inventory) else ()
        self._meters: Mapping[str, Meters] = {}
        self._nvidia: Nvidia | None = Nvidia(clock=clock, slow=deadline)
        self._amd = amd or Amd(clock=clock)
        self._cordons = Cordons(quiet)
        self._polls = False
        self._answered = 0.0
        self._known = threading.Event()
        self._stopped = threading.Event()

    def start(self) -> None:
        """Take the first reading, waiting no longer than the deadline; go on in a thread where there is a GPU."""
        if self._source not in ("nvidia", "auto") or self._polls:
            return
        self._polls = True
        self._answered = self._clock()
        self._reading = Unknown(reason="the driver has not answered yet")
        threading.Thread(target=self._poll, name="gpus", daemon=True).start()
        self._known.wait(self._deadline)

    def stop(self) -> None:
        """Ask the driver no more. A call that hangs is left behind: it ends with the process."""
        self._stopped.set()

    def look(self) -> Reading:
        """All GPUs by index, as of the last reading; Unknown where a driver failed, or has not answered in time."""
        if self._polls:
            silent = self._clock() - self._answered
            if silent > self._interval + self._deadline or (not self._known.is_set() and silent > self._deadline):
                about = f" (asked about {self._nvidia.asked})" if self._nvidia is not None else ""
                return Unknown(reason=f"the driver has not answered for {print_duration(silent)}{about}")
        return self._reading

    def meters(self) -> Mapping[str, Meters]:
        """What sensors said last, by UUID: each says when."""
        return self._meters

    def _poll(self) -> None:
        told: Reading | None = None
        while not self._stopped.is_set():
            began = self._clock()
            reading = self._read()
            if reading is None:
                self._reading, self._polls = (), False
                self._known.set()
                return
            now = self._clock()
            late = now - began > self._deadline or began - self._answered > self._interval + self._deadline
            if reading != self._reading:
                self._reading = reading  # an equal one keeps its identity, for those who compare by it
            self._answered = now
            first = not self._known.is_set()
            self._known.set()
            if told is None or late or materially(told, reading):
                told = reading
                if self._on_change is not None and (late or not first):
                    self._on_change()
            # an error that a card reports ends the sleep
            if self._nvidia is None or not self._nvidia.wait(self._interval):
                self._stopped.wait(self._interval)
        if self._nvidia is not None:
            self._nvidia.close()

    def _read(self) -> Reading | None:
        """None: there is no driver, which is nothing to wait for."""
        try:
            seen = tuple(self._sightings())
        except NoDriver:
            return Unknown(reason="there is no NVIDIA driver on this machine")
        except _Unseen as unseen:
            return Unknown(reason=str(unseen))
        except Exception as error:  # noqa: BLE001 - the thread must live: whatever the binding throws is not known
            return Unknown(reason=f"NVML: {error!r}")
        if self._nvidia is None and not seen and not self._reading:
            return None
        self._meters = {sighting.gpu.uuid: sighting.meters for sighting in seen if sighting.meters is not None}
        return self._cordons.judge(seen, self._clock())

    def _sightings(self) -> Iterator[Sighting]:
        """The cards of both makers: first NVIDIA's, then AMD's with the indices that follow."""
        count = 0
        if self._nvidia is not None:
            try:
                seen = self._nvidia.read()
            except NoDriver:
                if self._source == "nvidia":
                    raise
                self._nvidia, seen = None, ()
            if isinstance(seen, Unknown):
                raise _Unseen(seen.reason)
            yield from seen
            count = sum(not sighting.gpu.part for sighting in seen)
        yield from self._amd.read(count)


class _Unseen(Exception):  # noqa: N818 - a finding, not an error
    """A driver does not tell now."""


def materially(before: Reading, after: Reading) -> bool:
    """Whether another plan may follow: a card came, went or was cordoned, its holders changed, or its use by 64 MiB."""
    if isinstance(before, Unknown) or isinstance(after, Unknown):
        return before != after
    return len(before) != len(after) or any(
        (old.uuid, old.index, old.memory, old.cordoned) != (new.uuid, new.index, new.memory, new.cordoned)
        or [holder.pid for holder in old.holders] != [holder.pid for holder in new.holders]
        or abs(old.used - new.used) >= _MATERIAL
        for old, new in zip(before, after, strict=True)
    )
