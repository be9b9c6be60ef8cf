"""NVIDIA GPUs by NVML: what is on each card and on each MIG instance, who holds it, and what is wrong with it.

A card that is lost stays in sight, with what was last known of it: what ran there has to be planned elsewhere.
"""

import glob
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from reconciler.model.observation import Gpu, Holder, Unknown
from reconciler.model.quantity import print_duration
from reconciler.model.status import Meters
from reconciler.observe import processes
from reconciler.observe.nvml import Nvml, Refusal
from reconciler.observe.sighting import Sighting

_AGAIN = 5
"""Readings between two of what is dear (power), and between two attempts to open a driver anew that lost a card."""
_PARTS = 100
"""MIG instance 2 of GPU 0 is gpu 102, of GPU 1 gpu 202."""
_RESET = "reset it (`nvidia-smi --gpu-reset`) or restart the machine"
_XIDS = {
    48: "memory that cannot be corrected",
    62: "its controller has halted",
    64: "a row of its memory could not be replaced",
    79: "it has fallen off the bus",
    95: "memory that cannot be corrected, and not contained",
    119: "its system processor does not answer",
    120: "its system processor has failed",
    140: "memory that cannot be corrected",
}
"""Errors after which NVIDIA asks for a reset, in words. Others are of programs, or pass."""
_ACTIONS = {
    1: _RESET,
    2: "restart the machine",
    3: "reset it and its NVLink peers, or restart the machine",
    4: _RESET,
    6: "reset it (`nvidia-smi --gpu-reset`), bus and all, or restart the machine",
    7: "restart the machine",
}
"""What the driver itself says has to be done. 5 is about other machines."""


class NoDriver(Exception):  # noqa: N818 - a finding, not an error
    """There is no NVIDIA driver on this machine."""


@dataclass(slots=True)
class _Card:
    """What is kept of a card or a MIG instance between readings."""

    handle: Any
    seen: Sighting
    watts: float | None = None
    fails: bool = False


class Nvidia:
    """The driver, opened once; handles and everything that cannot change of a card are kept."""

    def __init__(self, *, clock: Callable[[], float], slow: float = 5.0) -> None:
        """`slow`: seconds after which the answers about a card come too late."""
        self._nvml = Nvml()
        self._clock = clock
        self._slow = slow
        self._was_open = False
        self._count = 0
        self._cards: dict[int, _Card] = {}
        self._parts: dict[str, _Card] = {}
        self._xids: dict[str, tuple[int, ...]] = {}
        """What each card has reported since it was last reset, by UUID."""
        self._readings = 0
        self.asked = ""
        """What is being asked about, for when no answer comes."""

    def read(self) -> tuple[Sighting, ...] | Unknown:
        """All cards as they are now. Raises NoDriver where there is no driver."""
        self.asked = "all gpus"
        refusal = self._nvml.open()
        if refusal is not None:
            self._xids = {}  # the driver is being loaded anew
        count = refusal or self._nvml.ask("nvmlDeviceGetCount")
        if isinstance(count, Refusal):
            return self._closed(count)
        if count != self._count:
            self._count, self._cards = count, {}
        self._was_open = True
        self._readings += 1
        seen = [sighting for index in range(count) for sighting in self._card(index)]
        if any(card.fails for card in self._cards.values()) and self._readings % _AGAIN == 0:
            self._close()  # what was reset or came back is seen by those alone who open the driver anew
        return tuple(seen)

    def wait(self, seconds: float) -> bool:
        """Sleep until then, or until a card reports an error; False where the driver does not let us wait."""
        self.asked = "errors"
        found = self._nvml.wait(seconds)
        if isinstance(found, tuple):
            uuid, xid = found
            self._xids[uuid] = (*(one for one in self._xids.get(uuid, ()) if one != xid), xid)
        return not isinstance(found, Refusal)

    def close(self) -> None:
        """Let go of the driver, and of all that is known of its cards."""
        self._count, self._cards, self._parts = 0, {}, {}
        self._nvml.close()

    def _close(self) -> None:
        for card in (*self._cards.values(), *self._parts.values()):
            card.handle = None
        self._nvml.close()

    def _closed(self, refusal: Refusal) -> Unknown:
        names = self._nvml.names
        missing = refusal.code == names.NVML_ERROR_LIBRARY_NOT_FOUND
        unloaded = refusal.code == names.NVML_ERROR_DRIVER_NOT_LOADED
        # a driver that was here and is not now is being replaced: its cards are unknown, not absent
        if not self._was_open and (missing or (unloaded and not _cards_on_bus())):
            raise NoDriver
        self.close()  # handles may be of a card that is gone: begin anew the next time
        return Unknown(reason=f"NVML: {refusal.words}")

    def _card(self, index: int) -> Iterator[Sighting]:
        """One card, and its MIG instances."""
        nvml, self.asked, began = self._nvml, f"gpu {index}", self._clock()
        card = self._cards.get(index)
        if card is None or card.handle is None:
            met = self._meet(index)
            if isinstance(met, Refusal):
                yield self._failed(index, card, met)
                return
            fails = card is not None and card.fails and card.seen.gpu.uuid == met.seen.gpu.uuid
            card = self._cards[index] = replace(met, fails=fails)
        mode = nvml.known("nvmlDeviceGetMigMode", card.handle)
        divided = mode is not None and mode[0] == nvml.names.NVML_DEVICE_MIG_ENABLE
        refusal = self._look(card)
        if refusal is not None:
            yield self._failed(index, card, refusal)
            return
        if card.fails:
            card.fails = False
            self._xids.pop(card.seen.gpu.uuid, None)  # it was reset: what it reported before is over
        took = self._clock() - began
        unsure = f"gpu {index} took {print_duration(took)} to answer" if took > self._slow else ""
        trouble = self._trouble(card)
        card.seen = replace(card.seen, trouble=trouble, unsure=unsure, divided=divided)
        yield card.seen
        if divided:
            yield from self._divide(card, index)

    def _meet(self, index: int) -> _Card | Refusal:
        """A handle, and what cannot change."""
        nvml = self._nvml
        handle: Any = nvml.ask("nvmlDeviceGetHandleByIndex", index)
        if isinstance(handle, Refusal):
            return handle
        uuid: Any = nvml.ask("nvmlDeviceGetUUID", handle)
        model: Any = nvml.ask("nvmlDeviceGetName", handle)
        if isinstance(uuid, Refusal) or isinstance(model, Refusal):
            return uuid if isinstance(uuid, Refusal) else model
        nvml.watch(handle, uuid)
        gpu = Gpu(
            index=index,
            uuid=uuid,
            model=model,
            memory=0,
            used=0,
            links=self._links(handle),
            numa=self._numa(handle),
        )
        return _Card(handle=handle, seen=Sighting(gpu=gpu))

    def _failed(self, index: int, card: _Card | None, refusal: Refusal) -> Sighting:
        """What is left to tell of a card about which the driver refuses to answer."""
        names = self._nvml.names
        if card is None:
            gpu = Gpu(index=index, uuid=f"gpu {index}", model="unknown", memory=0, used=0)
            card = self._cards[index] = _Card(handle=None, seen=Sighting(gpu=gpu))
        card.handle, card.fails = None, True
        lost = refusal.code == names.NVML_ERROR_GPU_IS_LOST
        trouble, unsure = "", f"gpu {index}: NVML: {refusal.words}"
        if lost:
            trouble, unsure = f"{_of(79)}; restart the machine, or load its driver anew", ""
        elif refusal.code == names.NVML_ERROR_RESET_REQUIRED:
            trouble, unsure = f"it has to be reset; {_RESET}", ""
        gpu = replace(card.seen.gpu, holders=(), used=0)
        card.seen = Sighting(gpu=gpu, trouble=trouble, unsure=unsure)
        return card.seen

    def _look(self, card: _Card) -> Refusal | None:
        """Renew what changes of a card or a part of one."""
        nvml, handle = self._nvml, card.handle
        memory: Any = nvml.ask("nvmlDeviceGetMemoryInfo", handle)
        if isinstance(memory, Refusal):
            return memory
        holders = self._holders(handle)
        if isinstance(holders, Refusal):
            return holders
        gpu = replace(card.seen.gpu, memory=int(memory.total), used=int(memory.used), holders=holders)
        card.seen = Sighting(gpu=gpu, meters=self._meters(card))
        return None

    def _meters(self, card: _Card) -> Meters:
        nvml, names, handle = self._nvml, self._nvml.names, card.handle
        rates = nvml.known("nvmlDeviceGetUtilizationRates", handle)
        if self._readings % _AGAIN == 1:
            power = nvml.known("nvmlDeviceGetPowerUsage", handle)
            card.watts = None if power is None else power / 1000
        uncorrected = names.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, names.NVML_VOLATILE_ECC
        return Meters(
            at=self._clock(),
            busy=None if rates is None else int(rates.gpu),
            celsius=nvml.known("nvmlDeviceGetTemperature", handle, names.NVML_TEMPERATURE_GPU),
            watts=card.watts,
            mhz=nvml.known("nvmlDeviceGetClockInfo", handle, names.NVML_CLOCK_SM),
            ecc=nvml.known("nvmlDeviceGetTotalEccErrors", handle, *uncorrected),
            xid=next(reversed(self._xids.get(card.seen.gpu.uuid, ())), None),
        )

    def _trouble(self, card: _Card) -> str:
        """What a card that answers has reported, or counts; empty where that is nothing that matters."""
        xid = next((xid for xid in reversed(self._xids.get(card.seen.gpu.uuid, ())) if xid in _XIDS), None)
        action = self._action(card.handle)
        if xid is not None:
            return f"{_of(xid)}; {_ACTIONS.get(action, _RESET)}"
        ecc = card.seen.meters.ecc if card.seen.meters is not None else None
        if ecc:
            errors = "an uncorrectable ECC error" if ecc == 1 else f"{ecc} uncorrectable ECC errors"
            return f"{errors} since its driver was loaded; {_ACTIONS.get(action, _RESET)}"
        return f"its driver asks for it; {_ACTIONS[action]}" if action in _ACTIONS else ""

    def _action(self, handle: Any) -> int:
        """What the driver says has to be done to a card; 0: nothing, or it does not say."""
        names = self._nvml.names
        field = getattr(names, "NVML_FI_DEV_GET_GPU_RECOVERY_ACTION", None)
        values = None if field is None else self._nvml.known("nvmlDeviceGetFieldValues", handle, [field])
        if values is None or values[0].nvmlReturn != names.NVML_SUCCESS:
            return 0
        return int(values[0].value.uiVal)

    def _divide(self, card: _Card, index: int) -> Iterator[Sighting]:
        """The MIG instances of a card. What is wrong with the card is wrong with each."""
        nvml = self._nvml
        for number in range(nvml.known("nvmlDeviceGetMaxMigDeviceCount", card.handle) or 0):
            handle = nvml.known("nvmlDeviceGetMigDeviceHandleByIndex", card.handle, number)
            uuid = None if handle is None else nvml.known("nvmlDeviceGetUUID", handle)
            if uuid is None:
                continue
            part = self._parts.get(uuid)
            if part is None:
                model = nvml.known("nvmlDeviceGetName", handle) or f"{card.seen.gpu.model} MIG"
                gpu = replace(card.seen.gpu, uuid=uuid, model=model, part=True, links=())
                part = self._parts[uuid] = _Card(handle=handle, seen=Sighting(gpu=gpu))
            part.handle = handle
            part.seen = replace(part.seen, gpu=replace(part.seen.gpu, index=(index + 1) * _PARTS + number))
            refusal = self._look(part)
            unsure = "" if refusal is None else f"gpu {part.seen.gpu.index}: NVML: {refusal.words}"
            yield replace(part.seen, trouble=card.seen.trouble, unsure=card.seen.unsure or unsure)

    def _links(self, handle: Any) -> tuple[int, ...]:
        """Indices of the cards that NVLink leads to; a switch in between is not followed."""
        nvml, found = self._nvml, set[int]()
        for link in range(nvml.names.NVML_NVLINK_MAX_LINKS):
            state = nvml.known("nvmlDeviceGetNvLinkState", handle, link)
            if state is None:
                break
            if state != nvml.names.NVML_FEATURE_ENABLED:
                continue
            remote = nvml.known("nvmlDeviceGetNvLinkRemotePciInfo", handle, link)
            other = None if remote is None else nvml.known("nvmlDeviceGetHandleByPciBusId", remote.busId)
            index = None if other is None else nvml.known("nvmlDeviceGetIndex", other)
            if index is not None:
                found.add(index)
        return tuple(sorted(found))

    def _numa(self, handle: Any) -> int | None:
        near = self._nvml.known("nvmlDeviceGetMemoryAffinity", handle, 1, self._nvml.names.NVML_AFFINITY_SCOPE_NODE)
        return (near[0] & -near[0]).bit_length() - 1 if near is not None and near[0] else None

    def _holders(self, handle: Any) -> tuple[Holder, ...] | Refusal:
        """Processes on a card. Where the driver does not tell of whom the memory is, 0 is said; `used` counts it."""
        nvml, names = self._nvml, self._nvml.names
        unsupported = (
            names.NVML_ERROR_NOT_SUPPORTED,
            names.NVML_ERROR_NO_PERMISSION,
            names.NVML_ERROR_FUNCTION_NOT_FOUND,
        )
        held: dict[int, int] = {}
        for kind in ("Compute", "Graphics"):
            entries = nvml.ask(f"nvmlDeviceGet{kind}RunningProcesses", handle)
            if isinstance(entries, Refusal):
                if entries.code not in unsupported:
                    return entries
                continue
            for entry in entries:
                # a process with both kinds of context is listed twice, each time with all that it holds
                held[int(entry.pid)] = max(held.get(int(entry.pid), 0), int(entry.usedGpuMemory or 0))
        return tuple(Holder(pid=pid, name=processes.name(pid), memory=held[pid]) for pid in sorted(held))


def persistence() -> dict[int, bool]:
    """Whether each card keeps its driver loaded while nobody uses it; without those that do not say."""
    nvml, found = Nvml(), dict[int, bool]()
    if nvml.open() is not None:
        return found
    for index in range(nvml.known("nvmlDeviceGetCount") or 0):
        handle = nvml.known("nvmlDeviceGetHandleByIndex", index)
        mode = None if handle is None else nvml.known("nvmlDeviceGetPersistenceMode", handle)
        if mode is not None:
            found[index] = bool(mode)
    nvml.close()
    return found


def _of(xid: int) -> str:
    """`XID 79, it has fallen off the bus`."""
    return f"XID {xid}, {_XIDS[xid]}"


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
