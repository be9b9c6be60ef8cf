"""NVIDIA GPUs by NVML: what is on each card, and who holds it. Every driver error becomes an Unknown with its words.

Calls into the driver may take long or never return, so only the poller's own thread may be in here.
"""

import functools
import glob
import importlib
from collections.abc import Callable
from typing import Any, TypeVar

from reconciler.model.observation import Gpu, Holder, Unknown
from reconciler.observe import processes

T = TypeVar("T")


class NoDriver(Exception):  # noqa: N818 - a finding, not an error
    """There is no NVIDIA driver on this machine."""


@functools.cache
def _pynvml() -> Any:
    return importlib.import_module("pynvml")


class Nvidia:
    """The driver, opened once; handles and everything that cannot change of a card are kept."""

    def __init__(self) -> None:
        self._nvml = _pynvml()
        self._open = self._was_open = False
        self._count = 0
        self._cards: dict[int, tuple[Any, str, str, tuple[int, ...]]] = {}

    def read(self) -> tuple[Gpu, ...] | Unknown:
        """All cards as they are now, without those the driver calls lost. Raises NoDriver where there is no driver."""
        nvml = self._nvml
        try:
            if not self._open:
                nvml.nvmlInit()
                self._open = self._was_open = True
            count = nvml.nvmlDeviceGetCount()
            if count != self._count:
                self._count, self._cards = count, {}
            return tuple(gpu for index in range(count) if (gpu := self._gpu(index)) is not None)
        except nvml.NVMLError as error:
            code = getattr(error, "value", None)
            missing = code == nvml.NVML_ERROR_LIBRARY_NOT_FOUND
            unloaded = code == nvml.NVML_ERROR_DRIVER_NOT_LOADED
            # a driver that was here and is not now is being replaced: its cards are unknown, not absent
            if not self._was_open and (missing or (unloaded and not _cards_on_bus())):
                raise NoDriver from error
            self.close()  # handles may be of a card that is gone: begin anew the next time
            return Unknown(reason=f"NVML: {error}")

    def close(self) -> None:
        """Let go of the driver."""
        self._count, self._cards = 0, {}
        if self._open:
            self._open = False
            self._ask(self._nvml.nvmlShutdown, None)

    def _card(self, index: int) -> tuple[Any, str, str, tuple[int, ...]]:
        nvml = self._nvml
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        return handle, nvml.nvmlDeviceGetUUID(handle), nvml.nvmlDeviceGetName(handle), self._links(handle)

    def _links(self, handle: Any) -> tuple[int, ...]:
        """Indices of the cards that NVLink leads to; a switch in between is not followed."""
        nvml, found = self._nvml, set[int]()
        for link in range(nvml.NVML_NVLINK_MAX_LINKS):
            state = self._ask(functools.partial(nvml.nvmlDeviceGetNvLinkState, handle, link), None)
            if state is None:
                break
            if state != nvml.NVML_FEATURE_ENABLED:
                continue
            remote = self._ask(functools.partial(nvml.nvmlDeviceGetNvLinkRemotePciInfo, handle, link), None)
            if remote is None:
                continue
            other = self._ask(functools.partial(nvml.nvmlDeviceGetHandleByPciBusId, remote.busId), None)
            if other is not None:
                found.add(nvml.nvmlDeviceGetIndex(other))
        return tuple(sorted(found))

    def _gpu(self, index: int) -> Gpu | None:
        """One card; None where it fell off the bus (XID 79), of which the driver is sure."""
        nvml = self._nvml
        try:
            if index not in self._cards:
                self._cards[index] = self._card(index)
            handle, uuid, model, links = self._cards[index]
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
            return Gpu(
                index=index,
                uuid=uuid,
                model=model,
                memory=int(memory.total),
                used=int(memory.used),
                links=links,
                holders=self._holders(handle),
            )
        except nvml.NVMLError as error:
            if getattr(error, "value", None) != nvml.NVML_ERROR_GPU_IS_LOST:
                raise
            self._cards.pop(index, None)
            return None

    def _holders(self, handle: Any) -> tuple[Holder, ...]:
        """Processes on a card. Where the driver does not tell of whom the memory is, 0 is said; `used` counts it."""
        nvml = self._nvml
        held: dict[int, int] = {}
        for running in (nvml.nvmlDeviceGetComputeRunningProcesses, nvml.nvmlDeviceGetGraphicsRunningProcesses):
            entries: list[Any] = self._ask(functools.partial(running, handle), [], if_unsupported=True)
            for entry in entries:
                # a process with both kinds of context is listed twice, each time with all that it holds
                held[int(entry.pid)] = max(held.get(int(entry.pid), 0), int(entry.usedGpuMemory or 0))
        return tuple(Holder(pid=pid, name=processes.name(pid), memory=held[pid]) for pid in sorted(held))

    def _ask(self, call: Callable[[], T], otherwise: T, *, if_unsupported: bool = False) -> T:
        """What not every card or driver can tell; with `if_unsupported`, any other failure is one."""
        nvml = self._nvml
        try:
            return call()
        except nvml.NVMLError as error:
            unsupported = (
                nvml.NVML_ERROR_NOT_SUPPORTED,
                nvml.NVML_ERROR_NO_PERMISSION,
                nvml.NVML_ERROR_FUNCTION_NOT_FOUND,
            )
            if if_unsupported and getattr(error, "value", None) not in unsupported:
                raise
            return otherwise


def _cards_on_bus() -> bool:
    """Whether there is an NVIDIA display controller, whatever the driver says."""
    for device in glob.glob("/sys/bus/pci/devices/*"):
        try:
            with open(f"{device}/vendor") as vendor, open(f"{device}/class") as kind:
                if vendor.read().strip() == "0x10de" and kind.read().startswith("0x03"):
                    return True
        except OSError:
            continue
    return False
