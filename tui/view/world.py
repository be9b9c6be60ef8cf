"""What the dashboard knows: of every machine, what its daemon said last."""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import isnan
from typing import NamedTuple

from reconciler.model.live import Live
from reconciler.model.status import Event, Status, WorkloadStatus

KEPT = 120
"""Samples of the past that are kept for each meter."""


class Past:
    """How meters went: for each, its newest samples, oldest first. NaN where it could not be read."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self.count = 0
        """Samples that there ever were."""
        self._series: dict[str, deque[float]] = {}

    def series(self, meter: str) -> tuple[float, ...]:
        """Of one meter, by its name.

        `busy`, `memory`, `watts`, `celsius` with a UUID; `requests`, `tokens`, `first_byte`, `waiting` with a model;
        `cpu`, `ram`; `now`: when it was read, seconds of that machine's CLOCK_MONOTONIC.
        """
        return tuple(self._series.get(meter, ()))

    def add(self, live: Live, used: Mapping[str, int]) -> None:
        """One sample of each. `used`: bytes held on each GPU, by UUID."""
        self.count += 1
        told: dict[str, float | None] = {f"memory {uuid}": float(held) for uuid, held in used.items()}
        for uuid, meters in live.meters.items():
            told[f"busy {uuid}"] = meters.busy
            told[f"watts {uuid}"] = meters.watts
            told[f"celsius {uuid}"] = meters.celsius
        for model, wanted in live.traffic.items():
            traffic = wanted.traffic
            told[f"requests {model}"] = traffic.requests if traffic else 0.0
            told[f"tokens {model}"] = traffic.tokens if traffic else 0.0
            told[f"first_byte {model}"] = traffic.first_byte if traffic else None
            told[f"waiting {model}"] = wanted.waiting
        told["now"] = live.now
        if live.host is not None:
            told["cpu"], told["ram"] = live.host.busy, live.host.used
        for meter in self._series.keys() - told.keys():
            self._append(meter, None)
            if all(map(isnan, self._series[meter])):
                del self._series[meter]  # nobody has told of it for as long as is kept
        for meter, value in told.items():
            self._append(meter, value)

    def _append(self, meter: str, value: float | None) -> None:
        series = self._series.setdefault(meter, deque(maxlen=self._kept))
        series.append(float("nan") if value is None else float(value))


def index(slot: str) -> int | None:
    """`chat/1` → 1; None where no daemon of ours would name one so."""
    text = slot.rpartition("/")[2]
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else None


def alike(one: Live, other: Live) -> bool:
    """Whether nobody could see a difference between them, but for the time: figures as finely as they are shown."""
    return _shown(one) == _shown(other) and one.traffic == other.traffic


def _shown(live: Live) -> object:
    host = live.host
    meters = {
        uuid: (each.busy, each.celsius, f"{each.watts:.0f}" if each.watts is not None else "", each.ecc, each.xid)
        for uuid, each in live.meters.items()
    }
    return meters, host and (f"{host.busy or 0:.0f} {host.load:.1f}", host.cores, host.memory, host.used >> 26)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One machine. None and empty: not heard of yet."""

    name: str
    """As it was asked for: `gpu2`; empty for this one, where it is the only one."""
    status: Status | None = None
    live: Live | None = None
    events: tuple[Event, ...] = ()
    """The newest, oldest first."""
    away: str = ""
    """Why its daemon cannot be reached, and what to do; empty while it can."""
    lost: float = 0.0
    """Since when it is away, seconds since the epoch; 0 while it is not."""
    past: Past = field(default_factory=Past, compare=False)

    @property
    def title(self) -> str:
        """What people call it."""
        return self.name or (self.status.host if self.status is not None else "this machine")


class Row(NamedTuple):
    """A workload where it runs."""

    machine: Machine
    workload: WorkloadStatus

    @property
    def key(self) -> str:
        """What it is told apart by over all machines: no name has a `/`."""
        return f"{self.machine.name}/{self.workload.name}"

    @property
    def mute(self) -> str:
        """Why it cannot be talked to, in words; empty where it can."""
        if self.workload.kind != "Model":
            return f"is a {self.workload.kind}: only a Model can be talked to"
        alone = self.workload.alone
        return f"{alone}, as its file says: it cannot be talked to" if alone else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """All machines, in the order in which they were asked for. Never empty."""

    machines: Mapping[str, Machine]
    wall: float = 0.0
    """Seconds since the epoch, now."""

    def rows(self) -> Iterator[Row]:
        """Every workload of every machine that was heard of."""
        for machine in self.machines.values():
            if machine.status is not None:
                for workload in machine.status.workloads.values():
                    yield Row(machine, workload)

    def find(self, key: str) -> Row | None:
        """The workload with that key; None where it is gone."""
        name, _, workload = key.rpartition("/")
        machine = self.machines.get(name)
        found = machine.status.workloads.get(workload) if machine is not None and machine.status is not None else None
        return Row(machine, found) if machine is not None and found is not None else None
