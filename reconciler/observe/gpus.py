"""The GPUs, behind one question: NVIDIA's, those of an inventory, or none.

One thread asks the driver, as it may hang; the event loop only ever reads the last answer, and says so when it is old.
"""

import threading
from collections.abc import Callable
from typing import Literal

from reconciler.model.observation import Gpu, Unknown
from reconciler.model.quantity import print_duration
from reconciler.observe.inventory import Inventory
from reconciler.observe.nvidia import NoDriver, Nvidia

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
    ) -> None:
        """`on_change` is called from the thread. A reading older than interval + deadline is not believed."""
        self._source = source
        self._clock = clock
        self._on_change = on_change
        self._interval, self._deadline = interval, deadline
        self._reading: Reading = source.gpus if isinstance(source, Inventory) else ()
        self._polls = False
        self._asked = self._answered = 0.0
        self._known = threading.Event()
        self._stopped = threading.Event()

    def start(self) -> None:
        """Take the first reading, waiting no longer than the deadline; go on in a thread where there is a GPU."""
        if self._source not in ("nvidia", "auto") or self._polls:
            return
        self._polls = True
        self._asked = self._answered = self._clock()
        self._reading = Unknown(reason="the driver has not answered yet")
        threading.Thread(target=self._poll, name="gpus", daemon=True).start()
        self._known.wait(self._deadline)

    def stop(self) -> None:
        """Ask the driver no more. A call that hangs is left behind: it ends with the process."""
        self._stopped.set()

    def look(self) -> Reading:
        """All GPUs by index, as of the last reading; Unknown where the driver failed, or has not answered in time."""
        reading, asked = self._reading, self._asked
        if self._polls:
            now = self._clock()
            silent = now - asked if asked > self._answered or not self._known.is_set() else 0.0
            if silent > self._deadline:
                return Unknown(reason=f"NVML has not answered for {print_duration(silent)}")
        return reading

    def _poll(self) -> None:
        nvidia: Nvidia | None = None
        told: Reading | None = None
        while not self._stopped.is_set():
            self._asked = self._clock()
            nvidia = nvidia or Nvidia()
            reading = self._read(nvidia)
            if reading is None:
                self._reading, self._polls = (), False
                self._known.set()
                return
            late = self._clock() - self._asked > self._deadline
            if reading != self._reading:
                self._reading = reading  # an equal one keeps its identity, for those who compare by it
            self._answered = self._clock()
            first = not self._known.is_set()
            self._known.set()
            if told is None or late or materially(told, reading):
                told = reading
                if self._on_change is not None and (late or not first):
                    self._on_change()
            self._stopped.wait(self._interval)
        if nvidia is not None:
            nvidia.close()

    def _read(self, nvidia: Nvidia) -> Reading | None:
        """None: there is no driver, which is nothing to wait for."""
        try:
            return nvidia.read()
        except NoDriver:
            return None if self._source == "auto" else Unknown(reason="there is no NVIDIA driver on this machine")
        except Exception as error:  # noqa: BLE001 - the thread must live: whatever the binding throws is not known
            return Unknown(reason=f"NVML: {error!r}")


def materially(before: Reading, after: Reading) -> bool:
    """Whether another plan may follow: a card came or went, its holders changed, or its use by 64 MiB and more."""
    if isinstance(before, Unknown) or isinstance(after, Unknown):
        return before != after
    return len(before) != len(after) or any(
        (old.uuid, old.index, old.memory) != (new.uuid, new.index, new.memory)
        or [holder.pid for holder in old.holders] != [holder.pid for holder in new.holders]
        or abs(old.used - new.used) >= _MATERIAL
        for old, new in zip(before, after, strict=True)
    )
