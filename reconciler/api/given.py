"""What requests give beside their path, and its bounds: queries of a GET, JSON bodies of a POST."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from reconciler.model.routing import Report, Traffic, Wanted


def _number(value: object) -> object:
    """Digits of a query, or a whole JSON number; everything else is left for the validator to refuse."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _decimal(value: object) -> object:
    """Digits of a query with or without a point; everything else is left for the validator to refuse."""
    if isinstance(value, str) and len(value) < 20 and value.isascii() and value.replace(".", "", 1).isdigit():
        return float(value)
    return value


def _truth(value: object) -> object:
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


# bounds stand within: outside of a validator they would be checked, and not be described
Seq = Annotated[int, Field(ge=0, le=2**53), BeforeValidator(_number)]
Page = Annotated[int, Field(ge=1, le=10_000), BeforeValidator(_number)]
Index = Annotated[int, Field(ge=0, le=999), BeforeValidator(_number)]
RunNumber = Annotated[int, Field(ge=1, le=2**53), BeforeValidator(_number)]
Address = Annotated[int, Field(ge=0, le=2**53), BeforeValidator(_number)]
Size = Annotated[int, Field(ge=1, le=4 * 2**20), BeforeValidator(_number)]
Wait = Annotated[int, Field(ge=0, le=5), BeforeValidator(_number)]
Lines = Annotated[int, Field(ge=0, le=1_000_000), BeforeValidator(_number)]
Count = Annotated[int, Field(ge=0, le=1000), BeforeValidator(_number)]
Truth = Annotated[bool, BeforeValidator(_truth)]
Source = Annotated[str, Field(min_length=1, max_length=1100)]
Subject = Annotated[str, Field(min_length=1, max_length=512)]
Many = Annotated[int, Field(ge=0, le=2**53), BeforeValidator(_number)]
Figure = Annotated[float, Field(ge=0, le=1e15)]
Every = Annotated[float, Field(ge=0.2, le=60), BeforeValidator(_decimal)]
Called = Annotated[str, Field(min_length=1, max_length=253)]


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


class LiveQuery(Given):
    """How often."""

    every: Every = 1.0
    """Seconds from one line to the next."""


class MetricsQuery(Given):
    """Of what."""

    name: Subject | None = None
    """Only of this model."""


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


class LogPageQuery(Given):
    """Which part of which log."""

    index: Index = 0
    """Of the workload's instances, counted from 0."""
    run: RunNumber | Literal["first-failure"] | None = None
    """A run by its number, or the first of its failures in a row; the newest when not given."""
    at: Address | None = None
    """Where the part begins, or with `back` where it ends; the end of the log when not given."""
    back: Truth = False
    """Whether what lies before `at` is meant; always where `at` is not given."""
    size: Size = 65536
    """At most so many bytes."""
    wait: Wait = 0
    """Seconds to wait for a first byte, where there is none yet and the run may still write."""


class RestartBody(Given):
    """Which instance."""

    index: Index | None = None
    """Of the workload's instances, counted from 0; all when not given."""


class ScaleBody(Given):
    """How many."""

    replicas: Count | None
    """So many instead of what the file says, until the file says something else; null: what the file says."""


class PruneBody(Given):
    """Which weights."""

    sources: Annotated[tuple[Source, ...], Field(strict=False, min_length=1, max_length=40)]
    """Each as `GET /models` names it."""


class ApplyBody(Given):
    """With which consent."""

    prune: bool = False
    """Stop also what is held because much goes at once."""


class TrafficBody(Given):
    """What clients of one model do, of the last seconds."""

    requests: Figure = 0.0
    """Ended in a second."""
    errors: Figure = 0.0
    """Of these, those that failed."""
    tokens: Figure = 0.0
    """Written in a second."""
    first_byte: Figure | None = None
    """Seconds to the first byte of an answer, half of them sooner; null where there was none."""
    total: Many = 0
    """Requests that ended, since the gateway began."""


class WantedBody(Given):
    """What clients want of one model now."""

    waiting: Many = 0
    """Requests that wait for it."""
    oldest: Figure = 0.0
    """For how many seconds the first of those waiting has been."""
    in_flight: dict[Called, Many] = Field(default_factory=dict, max_length=1000)
    """By slot: requests that it works on."""
    traffic: TrafficBody | None = None
    """How it is used."""


class ReportBody(Given):
    """What a gateway tells."""

    gateway: Annotated[str, Field(min_length=1, max_length=4096)]
    """Who tells: one for each gateway that runs."""
    seen: Annotated[int, Field(ge=-1, le=2**53), BeforeValidator(_number)] = -1
    """Of `epoch`, the newest table that it goes by; 2^53 where it has ended."""
    epoch: Annotated[str, Field(max_length=253)] = ""
    """As that table says it."""
    models: dict[Called, WantedBody] = Field(default_factory=dict, max_length=20_000)
    """By name of a model; those that nobody wants may be left out."""
    problems: Annotated[tuple[Annotated[str, Field(max_length=1000)], ...], Field(max_length=100)] = ()
    """What it cannot do as declared, in words."""

    def report(self) -> Report:
        """The same."""
        models = {name: _wanted(one) for name, one in self.models.items()}
        return Report(gateway=self.gateway, seen=self.seen, epoch=self.epoch, models=models, problems=self.problems)


def _wanted(body: WantedBody) -> Wanted:
    told = body.traffic
    traffic = None if told is None else Traffic(**{name: getattr(told, name) for name in TrafficBody.model_fields})
    return Wanted(waiting=body.waiting, oldest=body.oldest, in_flight=body.in_flight, traffic=traffic)
