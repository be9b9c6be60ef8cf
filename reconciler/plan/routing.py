"""Fleet and Status → the Table that a router goes by. Pure; what did not change is taken over as it was."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from reconciler.model import gateway, routing
from reconciler.model.fleet import Fleet, Workload
from reconciler.model.kinds import Model
from reconciler.model.routing import AccessKey, Certificate, Front, Grant, Outlook, Place, Served, Site, Table
from reconciler.model.status import Condition, Reason, Replica, Status, WorkloadStatus

PATIENCE = 2
"""Failures in a row after which waiting for a model that ends again and again is not worth it."""
GONE = "it is no longer in the fleet"
_FOR_GOOD = (Reason.StopAsked, Reason.ScaledDown)


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """A Table, and what it was made from."""

    table: Table = field(default_factory=Table)
    rows: Mapping[str, tuple[WorkloadStatus, Workload | None]] = field(
        default_factory=dict[str, "tuple[WorkloadStatus, Workload | None]"]
    )
    declared: tuple[object, object, object] = (None, None, None)
    """Access, Routes and the Gateway."""


def routed(fleet: Fleet, status: Status, before: Routed, *, now: int) -> Routed:
    """What a router is to be told now: the table of `before` itself where that is nothing new.

    `now`: seconds since the epoch. Whoever numbers the tables fills in `seq` and `epoch`.
    """
    old = before.table
    models: dict[str, Served] = {}
    rows: dict[str, tuple[WorkloadStatus, Workload | None]] = {}
    for name, row in status.workloads.items():
        workload = fleet.workloads.get(name)
        earlier, known = old.models.get(name), before.rows.get(name)
        if known is not None and known[0] is row and known[1] is workload:
            served, rows[name] = earlier, known
        else:
            served, rows[name] = _served(row, workload, earlier, now), (row, workload)
        if served is not None:
            models[name] = served
    table = replace(old, models=models)
    declared = (fleet.access, fleet.routes, fleet.node(status.host).gateway)
    if declared != before.declared:
        table = replace(
            table,
            grants=tuple(_grant(one) for _, one in sorted(fleet.access.items())),
            sites=tuple(_site(one) for _, one in sorted(fleet.routes.items())),
            front=_front(declared[2]),
        )
    return Routed(table=old if table == old else table, rows=rows, declared=declared)


def _served(row: WorkloadStatus, workload: Workload | None, earlier: Served | None, now: int) -> Served | None:
    """What is told of one workload; None of what is no model, or of which nothing is left to tell."""
    places = _places(row, earlier)
    if workload is None:
        # who is in neither kind is a model that left the files, and serves on or finishes what it has begun
        if row.engine == "command" or not places:
            return None
        ready = any(not place.draining for place in places)
        if earlier is None:
            earlier = Served(
                name=row.name, names=(row.name,), engine=row.engine, source="", outlook="ready", created=now
            )
        return replace(earlier, places=places, outlook="ready" if ready else "blocked", why="" if ready else GONE)
    spec = workload.spec
    if not isinstance(spec, Model):
        return None
    adapters = tuple(one.name for one in spec.adapters)
    outlook, why = _outlook(row, workload, places)
    return Served(
        name=row.name,
        names=(row.name, *spec.aliases, *adapters),
        adapters=adapters,
        engine=workload.engine,
        source=_shown(spec.source),
        context=spec.context,
        weight=100 if spec.weight is None else spec.weight,
        shares=spec.weight is not None,
        places=places,
        outlook=outlook,
        why=why,
        fallback=spec.fallback,
        affinity=spec.affinity,
        limits=_limits(spec.limits),
        created=earlier.created if earlier is not None else now,
    )


def _places(row: WorkloadStatus, earlier: Served | None) -> tuple[Place, ...]:
    """Those that serve, those that finish what they have begun, and those that served when they were last seen.

    What cannot be seen is not gone: whether it answers a router hears first itself.
    """
    open_ = {endpoint.slot: endpoint for endpoint in row.endpoints}
    known = {(place.slot, place.run): place for place in earlier.places} if earlier is not None else {}
    found: list[Place] = []
    for replica in row.replicas:
        endpoint = open_.get(replica.slot)
        if endpoint is not None:
            found.append(
                Place(
                    slot=replica.slot,
                    run=replica.run,
                    address=endpoint.address,
                    names=endpoint.names,
                    known_as=endpoint.known_as,
                )
            )
        elif replica.state == "draining" and replica.port is not None:
            found.append(_draining(replica, replica.port))
        elif (
            replica.state == "unknown"
            and replica.pid is None
            and (place := known.get((replica.slot, replica.run))) is not None
        ):
            found.append(place)
    return tuple(found)


def _draining(replica: Replica, port: int) -> Place:
    address = f"http://127.0.0.1:{port}"
    return Place(slot=replica.slot, run=replica.run, address=address, names=(), draining=True)


def _outlook(row: WorkloadStatus, workload: Workload, places: tuple[Place, ...]) -> tuple[Outlook, str]:
    """Whether a request should be sent, wait, wake it, or be refused; and why."""
    ready, _, stalled = row.conditions
    if any(not place.draining for place in places):
        return "ready", ""
    if row.paused:
        return "blocked", row.note or "it is paused; nothing is done to it until it is resumed"
    if not row.wanted:
        if workload.replicas[1] == 0:
            return "blocked", "its file says replicas: 0"
        if ready.reason in _FOR_GOOD:
            return "blocked", row.note or ready.message
        asleep = any(replica.state == "asleep" for replica in row.replicas)
        return ("asleep", "it is asleep") if asleep else ("absent", "nothing of it runs until it is asked for")
    if stalled.status == "True" and not _passes(row, stalled):
        return "blocked", stalled.message
    return "coming", ready.message or "it is being started"


def _passes(row: WorkloadStatus, stalled: Condition) -> bool:
    """Whether what stands in its way goes by itself, and soon: it is tried again, or its last good version goes on."""
    if stalled.reason is Reason.BackingOff:
        return all(replica.restarts < PATIENCE for replica in row.replicas)
    return stalled.reason is Reason.SpecInvalid


def _shown(source: str) -> str:
    """A source without what may be secret in an address."""
    if not source.startswith("https:"):
        return source
    parts = urlsplit(source)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


def _limits(given: gateway.Limits | None) -> routing.Limits | None:
    return routing.Limits(**given.model_dump()) if given is not None else None


def _grant(access: gateway.Access) -> Grant:
    return Grant(
        name=access.name,
        keys=tuple(
            AccessKey(sha256=key.sha256, expires=key.expires.timestamp() if key.expires is not None else None)
            for key in access.keys
        ),
        roles=access.roles,
        models=access.models,
        limits=_limits(access.limits),
        priority=access.priority,
    )


def _site(route: gateway.Route) -> Site:
    tls = route.tls
    return Site(
        name=route.name,
        hosts=route.hosts,
        prefix=route.prefix or "",
        models=route.models,
        tls=Certificate(certificate=tls.certificate, key=tls.key) if tls is not None else None,
    )


def _front(declared: gateway.Gateway) -> Front:
    """The same fields, durations in seconds."""
    return Front(**{name: _plain(getattr(declared, name)) for name in gateway.Gateway.model_fields})


def _plain(value: Any) -> Any:
    return value.total_seconds() if isinstance(value, timedelta) else value
