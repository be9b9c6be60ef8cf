"""Every route of the API, once: what it takes, answers and does. The server and its description both read it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

from reconciler.api.control import Control
from reconciler.model.answers import Info, Told
from reconciler.model.facts import Facts, Road
from reconciler.model.status import Event, Status

SPACING = 0.05
"""Seconds between two lines of the status stream: many passes in a row become one line."""
NDJSON = "application/x-ndjson"


def _number(value: object) -> object:
    """Digits of a query, or a whole JSON number; everything else is left for the validator to refuse."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _truth(value: object) -> object:
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


# bounds stand within: outside of a validator they would be checked, and not be described
Seq = Annotated[int, Field(ge=0, le=2**53), BeforeValidator(_number)]
Page = Annotated[int, Field(ge=1, le=10_000), BeforeValidator(_number)]
Index = Annotated[int, Field(ge=0, le=999), BeforeValidator(_number)]
RunNumber = Annotated[int, Field(ge=1, le=2**53), BeforeValidator(_number)]
Lines = Annotated[int, Field(ge=0, le=1_000_000), BeforeValidator(_number)]
Count = Annotated[int, Field(ge=0, le=1000), BeforeValidator(_number)]
Truth = Annotated[bool, BeforeValidator(_truth)]
Subject = Annotated[str, Field(min_length=1, max_length=512)]


class Given(BaseModel):
    """What a request gives beside the path: the query of a GET, the JSON body of a POST."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class Nothing(Given):
    """Takes nothing."""


class EventsQuery(Given):
    """Which events."""

    since: Seq = 0
    """Only events after this number."""
    limit: Page = 1000
    """At most so many."""
    newest: Truth = False
    """The newest of them, rather than the oldest; in any case oldest first."""
    subject: Subject | None = None
    """Only of this workload and its slots, or of this slot, or `daemon`."""


class FollowQuery(Given):
    """Where to begin."""

    since: Seq = 0
    """Only events after this number: where a reader was interrupted, the last it saw."""
    subject: Subject | None = None
    """Only of this workload and its slots, or of this slot, or `daemon`."""


class LogQuery(Given):
    """Which log."""

    index: Index = 0
    """Of the workload's instances, counted from 0."""
    run: RunNumber | Literal["first-failure"] | None = None
    """A run by its number, or the first of its failures in a row; the newest when not given."""
    lines: Lines = 1000
    """So many of the last lines."""
    follow: Truth = False
    """Whether to go on with what it will write."""


class RestartBody(Given):
    """Which instance."""

    index: Index | None = None
    """Of the workload's instances, counted from 0; all when not given."""


class ScaleBody(Given):
    """How many."""

    replicas: Count | None
    """So many instead of what the file says, until the file says something else; null: what the file says."""


class ApplyBody(Given):
    """With which consent."""

    prune: bool = False
    """Stop also what is held because much goes at once."""


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
    does: Callable[[Control, str, G], Awaitable[object]]
    """Of the daemon, the name and what was given: a value of the answer's type, or an iterator of bytes to stream."""


async def _statuses(control: Control, status: Status) -> AsyncIterator[bytes]:
    while True:
        yield STATUS.dump_json(status) + b"\n"
        await asyncio.sleep(SPACING)
        status = await control.next_status(status)


async def _events(control: Control, query: FollowQuery) -> AsyncIterator[bytes]:
    async for event in control.events.follow(query.since, query.subject):
        yield EVENT.dump_json(event) + b"\n"


async def _status(control: Control, _: str, __: Nothing) -> Status:
    return control.status()


async def _status_stream(control: Control, _: str, __: Nothing) -> AsyncIterator[bytes]:
    return _statuses(control, control.status())


async def _plan(control: Control, _: str, __: Nothing) -> Road:
    return Road(passes=control.road())


async def _facts(control: Control, _: str, __: Nothing) -> Facts:
    return control.facts()


async def _info(control: Control, _: str, __: Nothing) -> Info:
    return control.info


async def _event_page(control: Control, _: str, query: EventsQuery) -> list[Event]:
    return await asyncio.to_thread(control.events.since, query.since, query.limit, query.subject, newest=query.newest)


async def _event_stream(control: Control, _: str, query: FollowQuery) -> AsyncIterator[bytes]:
    return _events(control, query)


async def _logs(control: Control, name: str, query: LogQuery) -> AsyncIterator[bytes]:
    return control.log(name, query.index, query.run, lines=query.lines, follow=query.follow)


async def _restart(control: Control, name: str, body: RestartBody) -> Told:
    return Told(message=control.restart(name, body.index))


async def _stop(control: Control, name: str, _: Nothing) -> Told:
    return Told(message=control.stop(name))


async def _pause(control: Control, name: str, _: Nothing) -> Told:
    return Told(message=control.pause(name))


async def _resume(control: Control, name: str, _: Nothing) -> Told:
    return Told(message=control.resume(name))


async def _scale(control: Control, name: str, body: ScaleBody) -> Told:
    return Told(message=control.scale(name, body.replicas))


async def _apply(control: Control, _: str, body: ApplyBody) -> Told:
    return Told(message=control.apply(prune=body.prune))


STATUS, EVENT, TOLD = TypeAdapter(Status), TypeAdapter(Event), TypeAdapter(Told)


def _get(path: str, summary: str, given: type[G], answer: Any, does: Callable[[Control, str, G], Any]) -> Route[G]:
    return Route(method="GET", path=path, summary=summary, given=given, answer=TypeAdapter(answer), does=does)


def _stream(
    path: str, summary: str, given: type[G], answer: TypeAdapter[Any], does: Callable[[Control, str, G], Any]
) -> Route[G]:
    return Route(method="GET", path=path, summary=summary, given=given, answer=answer, media=NDJSON, does=does)


def _post(path: str, summary: str, given: type[G], does: Callable[[Control, str, G], Any]) -> Route[G]:
    return Route(method="POST", path=path, summary=summary, given=given, answer=TOLD, does=does)


ROUTES: tuple[Route[Any], ...] = (
    _get("/info", "The daemon itself", Nothing, Info, _info),
    _get("/status", "How the fleet does", Nothing, Status, _status),
    _stream("/status/stream", "How the fleet does, again whenever that changes", Nothing, STATUS, _status_stream),
    _get("/plan", "What would be done now and after, pass by pass", Nothing, Road, _plan),
    _get("/facts", "What the planner was told in the last pass", Nothing, Facts, _facts),
    _get("/events", "What happened, oldest first", EventsQuery, list[Event], _event_page),
    _stream("/events/stream", "What happened and what will happen", FollowQuery, EVENT, _event_stream),
    Route(
        method="GET",
        path="/workloads/{name}/logs",
        summary="The log of a run, as the engine wrote it",
        given=LogQuery,
        answer=None,
        media="application/octet-stream",
        does=_logs,
    ),
    _post("/workloads/{name}/restart", "Replace one instance, or all", RestartBody, _restart),
    _post("/workloads/{name}/stop", "Stop it until it is resumed", Nothing, _stop),
    _post("/workloads/{name}/pause", "Do nothing to it until it is resumed", Nothing, _pause),
    _post("/workloads/{name}/resume", "Undo stop and pause", Nothing, _resume),
    _post("/workloads/{name}/scale", "Run so many instead of what its file says", ScaleBody, _scale),
    _post("/apply", "One pass now", ApplyBody, _apply),
)
