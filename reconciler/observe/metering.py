"""Asks engines what they measure of themselves: when somebody wants to know, and never else."""

import asyncio
from collections.abc import Iterable

from reconciler import asking, engines
from reconciler.model.fleet import Workload
from reconciler.model.metrics import ReplicaMetrics
from reconciler.model.observation import Asleep, Instance, Ready, Running

_WITHIN = 3.0
"""Seconds that an engine may take to tell."""
_LIMIT = 4 * 2**20
"""Bytes that are read of what it tells."""


async def ask(of: Iterable[tuple[Instance, Workload | None]]) -> tuple[ReplicaMetrics, ...]:
    """Of each of these instances, in their order; all are asked at once."""
    return tuple(await asyncio.gather(*(_ask(instance, workload) for instance, workload in of)))


async def _ask(instance: Instance, workload: Workload | None) -> ReplicaMetrics:
    launch = instance.launch
    metering = engines.metering(launch.engine, workload)
    if metering is None:
        return _none(instance, f"engine {launch.engine} has none that are known; name them in its kind: Engine")
    if launch.port is None:
        return _none(instance, "it has no port")
    readiness = instance.phase.readiness if isinstance(instance.phase, Running) else None
    if not isinstance(readiness, Ready):
        return _none(instance, "it sleeps" if isinstance(readiness, Asleep) else "it is not ready")
    name = launch.slot.rpartition("/")[0]
    question = asking.get(metering.path.replace("{name}", name), launch.port)
    answer = await asking.ask(launch.port, question, _WITHIN, limit=_LIMIT)
    if not answer.good:
        return _none(instance, f"{metering.path.replace('{name}', name)} got {answer.detail}")
    metrics = metering.read(answer.body.decode(errors="replace"))
    return ReplicaMetrics(slot=instance.slot, engine=launch.engine, metrics=metrics)


def _none(instance: Instance, why: str) -> ReplicaMetrics:
    return ReplicaMetrics(slot=instance.slot, engine=instance.launch.engine, detail=why)
