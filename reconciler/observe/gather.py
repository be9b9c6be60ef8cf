"""One look: puts together what the runtime, the GPUs, the ports and the probes know into one Observation.

Only instances that changed since the last look are merged again: what did not change keeps its identity, so that
whoever compares two looks can compare by identity first.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from reconciler.model.observation import (
    Exited,
    Gpu,
    Holder,
    Host,
    Instance,
    Observation,
    Ready,
    Resident,
    Running,
    Stopping,
    Unknown,
)
from reconciler.model.stored import Stored
from reconciler.observe import gpus as cards
from reconciler.observe import host as machine
from reconciler.observe import inventory, ports, processes
from reconciler.observe.inventory import Inventory
from reconciler.observe.probes import Prober
from reconciler.observe.statements import Statements
from reconciler.observe.weighing import Weighed

Instances = Mapping[str, Instance]
T = TypeVar("T")


class Look:
    """Called once in each pass, on the event loop."""

    def __init__(
        self,
        *,
        instances: Callable[[], Instances | Unknown],
        gpus: Callable[[], tuple[Gpu, ...] | Unknown],
        host: Callable[[], Host],
        ports: Callable[[], frozenset[int] | Unknown],
        prober: Prober,
        unseen: Callable[[], Mapping[str, str]] = dict,
        weighing: Callable[[], Weighed] = Weighed,
        sources: Callable[[], Mapping[str, Stored | Unknown]] = dict,
        statements: Statements | None = None,
        resident: Callable[[], Mapping[str, Resident]] = dict,
        on_ready: Callable[[str, float], object] = lambda _slot, _since: None,
    ) -> None:
        """`on_ready(slot, since)` is told when a run becomes ready, so that its record can say so."""
        self._instances, self._gpus, self._host, self._ports = instances, gpus, host, ports
        self._prober = prober
        self._unseen = unseen
        self._weighing = weighing
        self._sources = sources
        self._statements = statements or Statements()
        self._resident = resident
        self._on_ready = on_ready
        self._merged: dict[str, Instance] = {}
        self._healthy: dict[str, str] = {}
        self._changed: set[str] | None = None
        self._told: dict[str, tuple[int, float]] = {}
        self._holders = _Holders()

    def changed(self, slot: str) -> None:
        """This instance, or its readiness, is no longer what it was at the last look."""
        if self._changed is not None:
            self._changed.add(slot)

    def __call__(self) -> Observation:
        """Look at everything once. A change of instances that nobody told of is noticed where their number shows it."""
        instances, gpus, host, ports = self._instances(), self._gpus(), self._host(), self._ports()
        weighed = self._weighing()
        if isinstance(instances, Unknown):
            self._changed = None  # whatever happens until it is known again was not told
            return Observation(
                host=host,
                gpus=self._holders.named(gpus, self._merged),
                instances=instances,
                ports=ports,
                weights=weighed.weights,
                reading=weighed.reading,
                sources=self._sources(),
            )
        self._merge(instances)
        return Observation(
            host=host,
            gpus=self._holders.named(gpus, self._merged),
            instances=self._merged,
            unseen=self._unseen(),
            ports=ports,
            healthy=self._healthy,
            weights=weighed.weights,
            reading=weighed.reading,
            resident=self._resident(),
            sources=self._sources(),
            stated=self._statements(),
        )

    def _merge(self, instances: Instances) -> None:
        changed = self._changed
        if changed is None or len(instances) != len(self._merged) + self._news(instances, changed):
            changed = {*instances, *self._merged}
        self._changed = set()
        if not changed:
            return
        merged: dict[str, Instance] | None = None
        healthy: dict[str, str] | None = None
        for slot in sorted(changed):
            before, raw = self._merged.get(slot), instances.get(slot)
            after = self._seen(raw) if raw is not None else self._gone(slot)
            if after == before:
                continue
            # a fresh mapping: the one of the last look belongs to whoever holds that Observation
            merged = dict(self._merged) if merged is None else merged
            _put(merged, slot, after)
            digest = after.digest if after is not None and after.healthy else None
            if digest != self._healthy.get(slot):
                healthy = dict(self._healthy) if healthy is None else healthy
                _put(healthy, slot, digest)
        self._merged = self._merged if merged is None else merged
        self._healthy = self._healthy if healthy is None else healthy

    def _news(self, instances: Instances, changed: set[str]) -> int:
        """By how many instances there are more than at the last look, as far as was told."""
        return sum((slot in instances) - (slot in self._merged) for slot in changed)

    def _seen(self, raw: Instance) -> Instance:
        """What the runtime says of an instance, with what the probes say of it."""
        slot, phase, run = raw.slot, raw.phase, raw.launch.run
        match phase:
            case Running():
                self._prober.watch(raw)
                known = self._prober.readiness(slot)
                if known is None:
                    return raw
                readiness, was_ready = known
                if isinstance(readiness, Ready) and self._told.get(slot) != (run, readiness.since):
                    self._told[slot] = (run, readiness.since)
                    self._statements.ready(raw.launch)
                    if phase.readiness != readiness:
                        self._on_ready(slot, readiness.since)
                if (phase.readiness, phase.was_ready) == known:
                    return raw
                return replace(raw, phase=replace(phase, readiness=readiness, was_ready=was_ready))
            case Exited():
                self._prober.end(slot, run)
                known_for = self._prober.ready_for(slot, run)
                if known_for is None or (phase.ready_for is not None and phase.ready_for >= known_for):
                    return raw
                return replace(raw, phase=replace(phase, ready_for=known_for))
            case Stopping():
                self._prober.end(slot, run)
                return raw
            case _:
                # not known to run: probes go on where there are some, and speak again once it is known
                return raw

    def _gone(self, slot: str) -> None:
        self._prober.forget(slot)
        self._told.pop(slot, None)
        self._statements.forget(slot)


class _Holders:
    """Names which of the processes on the GPUs are ours. Asked again only where something of it changed."""

    def __init__(self) -> None:
        self._from: tuple[object, object] = (None, None)
        self._named: tuple[Gpu, ...] | Unknown = ()

    def named(self, gpus: tuple[Gpu, ...] | Unknown, instances: Instances) -> tuple[Gpu, ...] | Unknown:
        if isinstance(gpus, Unknown) or not gpus:
            return gpus
        if self._from[0] is not gpus or self._from[1] is not instances:
            self._from = gpus, instances
            leaders = {
                instance.phase.pid: slot
                for slot, instance in instances.items()
                if isinstance(instance.phase, Running | Stopping)
            }
            self._named = tuple(_named(gpu, leaders) for gpu in gpus)
        return self._named


def _named(gpu: Gpu, leaders: Mapping[int, str]) -> Gpu:
    holders = tuple(_owned(holder, leaders) for holder in gpu.holders)
    return gpu if holders == gpu.holders else replace(gpu, holders=holders)


def _owned(holder: Holder, leaders: Mapping[int, str]) -> Holder:
    pid = processes.leader(holder.pid, leaders) if leaders else None
    slot = leaders[pid] if pid is not None else None
    return holder if holder.slot == slot else replace(holder, slot=slot)


def _put(mapping: dict[str, T], key: str, value: T | None) -> None:
    if value is None:
        mapping.pop(key, None)
    else:
        mapping[key] = value


def offline(written: Sequence[Inventory], clock: Callable[[], float]) -> Observation:
    """A look without a daemon, for `holdfast plan`: no instances; this machine's GPUs and ports, or those written down.

    The first inventory is the machine that the daemon would run on, the others stand beside it.
    """
    if written:
        first, *others = written
        others.sort(key=lambda machine: machine.node)
        beside = (replace(gpu, node=machine.node) for machine in others for gpu in machine.gpus)
        return Observation(
            host=inventory.simulated_host(first),
            others=tuple(map(inventory.simulated_host, others)),
            gpus=(*first.gpus, *beside),
        )
    poller = cards.Gpus("auto", clock=clock)
    poller.start()
    try:
        return Observation(host=machine.look(), gpus=poller.look(), ports=ports.listening())
    finally:
        poller.stop()
