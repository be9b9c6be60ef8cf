"""AMD GPUs without a library: cards and their sensors from sysfs, who holds them from /proc/*/fdinfo."""

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from reconciler.model.observation import Gpu, Holder
from reconciler.model.status import Meters
from reconciler.observe import processes
from reconciler.observe.sighting import Sighting

_AGAIN = 5
"""Readings between two looks through all processes, while no card's use changes."""
_MATERIAL = 64 * 2**20
_CARD = re.compile(r"card(\d+)")
_UNITS = {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


class Amd:
    """The cards of the amdgpu driver. One without a `unique_id` cannot be given to an engine, and is left out."""

    def __init__(self, *, clock: Callable[[], float], drm: str = "/sys/class/drm", proc: str = "/proc") -> None:
        self._clock, self._drm, self._proc = clock, drm, proc
        self._known: dict[str, Gpu] = {}
        self._held: dict[str, dict[int, int]] = {}
        self._held_at: tuple[int, ...] = ()
        self._readings = 0

    def read(self, first: int = 0) -> tuple[Sighting, ...]:
        """All cards as they are now; their indices begin at `first`."""
        devices = self._devices()
        if not devices and not self._known:
            return ()
        used = {bus: _number(device, "mem_info_vram_used") for bus, device in devices.items()}
        self._look_for_holders(tuple((amount or 0) // _MATERIAL for amount in used.values()))
        seen: list[Sighting] = []
        for bus, device in devices.items():
            gpu, total = self._known.get(bus), _number(device, "mem_info_vram_total")
            unique = _text(device, "unique_id")
            if total is None or used[bus] is None or not unique:
                if gpu is not None:
                    why = f"gpu {gpu.index}: amdgpu does not tell of its memory"
                    seen.append(Sighting(gpu=replace(gpu, used=0, holders=()), unsure=why))
                continue
            node = _number(device, "numa_node")
            gpu = self._known[bus] = Gpu(
                index=first + len(seen),
                uuid=f"GPU-{unique}",
                model=_model(device),
                maker="amd",
                numa=node if node is not None and node >= 0 else None,
                memory=total,
                used=used[bus] or 0,
                holders=self._holders(bus),
            )
            seen.append(Sighting(gpu=gpu, meters=self._meters(device)))
        return tuple(seen)

    def _devices(self) -> dict[str, str]:
        """Directories of the cards that this driver has, by PCI address."""
        found: dict[str, str] = {}
        with contextlib.suppress(OSError):
            cards = (match for name in os.listdir(self._drm) if (match := _CARD.fullmatch(name)))
            for card in sorted(cards, key=lambda match: int(match[1])):
                device = f"{self._drm}/{card[0]}/device"
                if _text(device, "vendor") == "0x1002" and os.path.exists(f"{device}/mem_info_vram_total"):
                    found[os.path.basename(os.path.realpath(device))] = device
        return found

    def _meters(self, device: str) -> Meters:
        sensors = f"{device}/hwmon"
        with contextlib.suppress(OSError):
            sensors = next((f"{sensors}/{name}" for name in sorted(os.listdir(sensors))), sensors)
        heat, power = _number(sensors, "temp1_input"), _number(sensors, "power1_average")
        clock = _number(sensors, "freq1_input")
        return Meters(
            at=self._clock(),
            busy=_number(device, "gpu_busy_percent"),
            celsius=None if heat is None else round(heat / 1000),
            watts=None if power is None else power / 1e6,
            mhz=None if clock is None else round(clock / 1e6),
        )

    def _holders(self, bus: str) -> tuple[Holder, ...]:
        held = self._held.get(bus, {})
        return tuple(
            Holder(pid=pid, name=processes.name(pid, self._proc), memory=held[pid]) for pid in sorted(held) if held[pid]
        )

    def _look_for_holders(self, used: tuple[int, ...]) -> None:
        """Look through all processes, which is dear, where the use of a card has changed, and else now and then."""
        self._readings += 1
        if used == self._held_at and self._readings % _AGAIN:
            return
        self._held_at, self._held = used, {}
        for pid in processes.every(self._proc):
            clients: dict[tuple[str, str], int] = {}
            for bus, client, memory in self._clients(pid):
                clients[bus, client] = memory  # a descriptor that was duplicated is the same client
            for (bus, _), memory in clients.items():
                card = self._held.setdefault(bus, {})
                card[pid] = card.get(pid, 0) + memory

    def _clients(self, pid: int) -> Iterator[tuple[str, str, int]]:
        """PCI address, client and bytes of every descriptor of a process that is of this driver."""
        with contextlib.suppress(OSError):
            for number in os.listdir(f"{self._proc}/{pid}/fd"):
                with contextlib.suppress(OSError):
                    if os.readlink(f"{self._proc}/{pid}/fd/{number}").startswith("/dev/dri/"):
                        said = _fields(f"{self._proc}/{pid}/fdinfo/{number}")
                        if said.get("drm-driver") == "amdgpu":
                            memory = _size(said.get("drm-memory-vram", "0"))
                            yield said.get("drm-pdev", ""), said.get("drm-client-id", ""), memory


def _text(directory: str, name: str) -> str:
    try:
        with open(f"{directory}/{name}", encoding="ascii", errors="replace") as file:
            return file.read(256).strip()
    except OSError:
        return ""


def _number(directory: str, name: str) -> int | None:
    text = _text(directory, name)
    return int(text) if text.removeprefix("-").isdecimal() else None


def _model(device: str) -> str:
    """`AMD Instinct MI300X OAM`; where its maker gave it no name, the number of its kind."""
    name = _text(device, "product_name") or _text(device, "device")
    return name if name.startswith("AMD") else f"AMD {name}"


def _fields(path: str) -> dict[str, str]:
    with open(path, encoding="ascii", errors="replace") as file:
        pairs = (text.partition(":") for text in file.read(65536).splitlines())
        return {key: value.strip() for key, _, value in pairs}


def _size(text: str) -> int:
    number, _, unit = text.partition(" ")
    return int(number) * _UNITS.get(unit, 0) if number.isdecimal() else 0
