"""Every route of the API, once: what it takes, answers and does. The server and its description both read it."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, fields
from typing import Any, Generic, Literal, TypeVar

import msgspec
from pydantic import BaseModel, TypeAdapter

from reconciler.api.control import Control
from reconciler.api.given import (
    ApplyBody,
    EventsQuery,
    FollowQuery,
    Given,
    LiveQuery,
    LogPageQuery,
    LogQuery,
    MetricsQuery,
    Nothing,
    PruneBody,
    ReportBody,
    RestartBody,
    ScaleBody,
)
from reconciler.model.answers import About, Info, LogPage, Told
from reconciler.model.facts import Facts, Road
from reconciler.model.live import Live
from reconciler.model.metrics import ReplicaMetrics
from reconciler.model.routing import Table
from reconciler.model.status import Event, Status
from reconciler.model.stored import Shelf

SPACING = 0.05
"""Seconds between two lines of the status stream: many passes in a row become one line."""
TABLES = 0.01
"""The same of tables: who routes is to hear soon."""
BODY = 64 * 1024
REPORT = 4 * 2**20
"""The largest body of a report: 10,000 models."""
NDJSON = "application/x-ndjson"


class Failure(BaseModel):
    """Every answer that is not 2xx."""

    error: str
    """What cannot be done, and what to do instead."""


G = TypeVar("G", bound=Given)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route(Generic[G]):
    """One operation."""

    method: Literal["GET", "POST"]
    path: str
    """Beneath /v1; `{name}` is a workload."""
    summary: str
    given: type[G]
    answer: TypeAdapter[Any] | None
    """Of the whole answer, or of each line of a stream; None: bytes."""
    media: str = "application/json"
    body: int = BODY
    """The most bytes of a body."""
    verb: str = ""
    """Of an order, which is recorded with who gave it: `stop`, `scale` …"""
    does: Callable[[Control, str, G], Awaitable[object]]
    """Of the daemon, the name and what was given: a value of the answer's type, or an iterator of bytes to stream."""


async def _statuses(control: Control, status: Status) -> AsyncIterator[bytes]:
    while True:
        yield STATUS.dump_json(status) + b"\n"
        await asyncio.sleep(SPACING)
        status = await control.next_status(status)


async def _lives(control: Control, every: float) -> AsyncIterator[bytes]:
    async for live in control.live(every):
        yield LIVE.dump_json(live) + b"\n"


async def _tables(control: Control) -> AsyncIterator[bytes]:
    seq = 0
    while True:
        table = await control.next_table(seq)
        yield msgspec.json.encode(table) + b"\n"
        seq = table.seq
        await asyncio.sleep(TABLES)


async def _events(control: Control, query: FollowQuery) -> AsyncIterator[bytes]:
    async for event in control.events.follow(query.since, query.subject):
        yield EVENT.dump_json(event) + b"\n"


async def _status(control: Control, _: str, __: Nothing) -> Status:
    return control.status()


async def _status_stream(control: Control, _: str, __: Nothing) -> AsyncIterator[bytes]:
    return _statuses(control, control.status())


async def _live_stream(control: Control, _: str, query: LiveQuery) -> AsyncIterator[bytes]:
    return _lives(control, query.every)


async def _plan(control: Control, _: str, __: Nothing) -> Road:
    return control.road()


async def _about(control: Control, name: str, _: Nothing) -> About:
    return await control.about(name)


async def _facts(control: Control, _: str, __: Nothing) -> Facts:
    return control.facts()


async def _metrics(control: Control, _: str, query: MetricsQuery) -> tuple[ReplicaMetrics, ...]:
    return await control.metrics(query.name)


async def _info(control: Control, _: str, __: Nothing) -> Info:
    return control.info


async def _event_page(control: Control, _: str, query: EventsQuery) -> list[Event]:
    return await asyncio.to_thread(control.events.since, query.since, query.limit, query.subject, newest=query.newest)


async def _event_stream(control: Control, _: str, query: FollowQuery) -> AsyncIterator[bytes]:
    return _events(control, query)


async def _logs(control: Control, name: str, query: LogQuery) -> AsyncIterator[bytes]:
    return control.log(name, query.index, query.run, lines=query.lines, follow=query.follow)


async def _log_page(control: Control, name: str, query: LogPageQuery) -> AsyncIterator[bytes]:
    page = await control.log_page(
        name, query.index, query.run, at=query.at, back=query.back, size=query.size, wait=query.wait
    )
    return _paged(page)


async def _paged(page: LogPage) -> AsyncIterator[bytes]:
    where = {each.name: getattr(page, each.name) for each in fields(page) if each.name != "data"}
    yield json.dumps(where).encode() + b"\n"
    if page.data:
        yield page.data


async def _restart(control: Control, name: str, body: RestartBody) -> Told:
    return Told(message=control.restart(name, body.index))


async def _stop(control: Control, name: str, _: Nothing) -> Told:
    return Told(message=control.stop(name))


async def _pause(control: Control, name: str, _: Nothing) -> Told:
    return Told(message=control.pause(name))


async def _resume(control: Control, name: str, _: Nothing) -> Told:
    return Told(message=control.resume(name))


async def _pause_fleet(control: Control, _: str, __: Nothing) -> Told:
    return Told(message=control.pause(None))


async def _resume_fleet(control: Control, _: str, __: Nothing) -> Told:
    return Told(message=control.resume(None))


async def _scale(control: Control, name: str, body: ScaleBody) -> Told:
    return Told(message=control.scale(name, body.replicas))


async def _apply(control: Control, _: str, body: ApplyBody) -> Told:
    return Told(message=control.apply(prune=body.prune))


async def _table_stream(control: Control, _: str, __: Nothing) -> AsyncIterator[bytes]:
    return _tables(control)


async def _demand(control: Control, _: str, body: ReportBody) -> Told:
    control.report(body.report())
    return Told(message="noted")


async def _models(control: Control, _: str, __: Nothing) -> Shelf:
    return await control.models()


async def _prune(control: Control, _: str, body: PruneBody) -> Told:
    return Told(message=await control.prune(body.sources))


STATUS, EVENT, TOLD = TypeAdapter(Status), TypeAdapter(Event), TypeAdapter(Told)
LIVE, TABLE = TypeAdapter(Live), TypeAdapter(Table)


def _get(path: str, summary: str, given: type[G], answer: Any, does: Callable[[Control, str, G], Any]) -> Route[G]:
    return Route(method="GET", path=path, summary=summary, given=given, answer=TypeAdapter(answer), does=does)


def _stream(
    path: str, summary: str, given: type[G], answer: TypeAdapter[Any], does: Callable[[Control, str, G], Any]
) -> Route[G]:
    return Route(method="GET", path=path, summary=summary, given=given, answer=answer, media=NDJSON, does=does)


def _post(path: str, summary: str, given: type[G], does: Callable[[Control, str, G], Any]) -> Route[G]:
    """An order: its path ends with its verb."""
    verb = path.rpartition("/")[2]
    return Route(method="POST", path=path, summary=summary, given=given, answer=TOLD, does=does, verb=verb)


ROUTES: tuple[Route[Any], ...] = (
    _get("/info", "The daemon itself", Nothing, Info, _info),
    _get("/status", "How the fleet does", Nothing, Status, _status),
    _stream("/status/stream", "How the fleet does, again whenever that changes", Nothing, STATUS, _status_stream),
    _stream("/live/stream", "What sensors say and clients do, again and again", LiveQuery, LIVE, _live_stream),
    _get("/plan", "What would be done now and after, pass by pass", Nothing, Road, _plan),
    _get("/facts", "What the planner was told in the last pass", Nothing, Facts, _facts),
    _get(
        "/models", "The weights on this machine: who needs and uses them, and what they share", Nothing, Shelf, _models
    ),
    _get(
        "/metrics",
        "What engines measure of themselves, asked now",
        MetricsQuery,
        tuple[ReplicaMetrics, ...],
        _metrics,
    ),
    _get("/events", "What happened, oldest first", EventsQuery, list[Event], _event_page),
    _stream("/events/stream", "What happened and what will happen", FollowQuery, EVENT, _event_stream),
    _get(
        "/workloads/{name}",
        "One workload: the files that declare it, what was started, how its runs ended",
        Nothing,
        About,
        _about,
    ),
    Route(
        method="GET",
        path="/workloads/{name}/logs",
        summary="The log of a run, as the engine wrote it",
        given=LogQuery,
        answer=None,
        media="application/octet-stream",
        does=_logs,
    ),
    Route(
        method="GET",
        path="/workloads/{name}/logs/page",
        summary="A part of a run's log: a line of JSON that says which (run, newest, first, end, at), then its bytes",
        given=LogPageQuery,
        answer=None,
        media="application/octet-stream",
        does=_log_page,
    ),
    _post("/workloads/{name}/restart", "Replace one instance, or all", RestartBody, _restart),
    _post("/workloads/{name}/stop", "Stop it until it is resumed", Nothing, _stop),
    _post("/workloads/{name}/pause", "Do nothing to it until it is resumed", Nothing, _pause),
    _post("/workloads/{name}/resume", "Undo stop and pause", Nothing, _resume),
    _post("/workloads/{name}/scale", "Run so many instead of what its file says", ScaleBody, _scale),
    _stream("/table/stream", "All that a router needs, again whenever that changes", Nothing, TABLE, _table_stream),
    Route(
        method="POST",
        path="/demand",
        summary="What clients of a gateway want",
        given=ReportBody,
        answer=TOLD,
        body=REPORT,
        does=_demand,
    ),
    _post("/models/prune", "Delete weights that no workload needs", PruneBody, _prune),
    _post("/pause", "Do nothing to the whole fleet until it is resumed", Nothing, _pause_fleet),
    _post("/resume", "Undo the pause of the whole fleet", Nothing, _resume_fleet),
    _post("/apply", "One pass now", ApplyBody, _apply),
)
FOR_GATEWAYS = tuple(route for route in ROUTES if route.path in ("/table/stream", "/demand", "/metrics"))
"""What a gateway needs: with it nothing is stopped, and nothing is read of logs, plans or files."""
