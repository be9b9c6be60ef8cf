"""What a router needs to know, and nothing else: who answers to which name, who may ask, and where to listen.

The daemon makes a Table of the fleet and of its status; the gateway reads it, and reports back what clients want.
Plain dataclasses: a worker reads them from JSON without pydantic.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Role = Literal["inference", "metrics", "admin"]
Outlook = Literal["ready", "coming", "asleep", "absent", "blocked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much at most. None: no limit."""

    requests_per_minute: int | None = None
    requests_per_day: int | None = None
    tokens_per_minute: int | None = None
    """Of prompts and answers together, as engines count them."""
    tokens_per_day: int | None = None
    concurrency: int | None = None
    """Requests at once, those that wait included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An instance that serves, or that finishes what it has begun."""

    slot: str
    run: int
    """With the slot it says which process: a restart is another place, though its address is the same."""
    address: str
    """`http://127.0.0.1:9001`."""
    names: tuple[str, ...]
    """Names that it has: an adapter may not be attached yet."""
    known_as: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of these names: the model name that its engine knows it by, where that is another."""
    draining: bool = False
    """It gets nothing new."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One model with all its replicas."""

    name: str
    names: tuple[str, ...]
    """All that it answers to, as declared: its name, aliases, adapters."""
    adapters: tuple[str, ...] = ()
    """Of these names: those of adapters."""
    engine: str
    source: str
    """`hf:Qwen/Qwen3-8B`."""
    context: int | None = None
    """Tokens, as declared."""
    weight: int = 100
    """Its part of the requests for a name that it shares."""
    shares: bool = False
    """Whether the operator gave that weight, so that names may be shared."""
    places: tuple[Place, ...] = ()
    outlook: Outlook
    """`ready`: at least one place takes requests. `coming`: one will, waiting is worth it. `asleep` and `absent`: one
    will once it is asked for. `blocked`: none will until a person or another model does something."""
    why: str = ""
    """Of all but `ready`: in the plan's words, for a person."""
    fallback: tuple[str, ...] = ()
    """Models that answer in its place while it cannot, in order."""
    affinity: Literal["none", "prefix"] = "none"
    limits: Limits | None = None
    created: int = 0
    """When it was first seen, seconds since the epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """One key, of which nothing but its hash is known."""

    sha256: str
    """64 hexadecimal digits, lower case."""
    expires: float | None = None
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a `kind: Access` allows to whoever shows one of its keys."""

    name: str
    keys: tuple[AccessKey, ...]
    roles: tuple[Role, ...] = ("inference",)
    models: tuple[str, ...] = ("*",)
    """Model names, `*` in them for anything."""
    limits: Limits | None = None
    priority: int = 100
    """Whose turn it is among those that wait for a model: higher first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """Where a certificate and its key are, in PEM."""

    certificate: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A `kind: Route`: a domain, or a part of its paths, and what is shown there."""

    name: str
    hosts: tuple[str, ...] = ()
    """Lower case, `*.example.org` for all beneath; none: every host."""
    prefix: str = ""
    """`/team-a`, cut off before a path is looked up; empty: the whole host."""
    models: tuple[str, ...] = ("*",)
    tls: Certificate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """How the gateway of this machine listens, and what it takes: `gateway` of a Node. Seconds and bytes."""

    listen: tuple[str, ...] = ("http://127.0.0.1:8642",)
    """`http://` or `https://`, an IP address and a port."""
    workers: int = 1
    body: int = 64 * 2**20
    """The largest body of a request."""
    head_timeout: float = 10.0
    """In which the head of a request must be there, from its first byte on."""
    body_timeout: float = 60.0
    """In which each MiB of a body must come."""
    idle_timeout: float = 75.0
    """How long a connection may be kept without a request, before its first one too."""
    first_byte: float = 600.0
    """In which an engine must begin to answer, before the next is asked."""
    silence: float = 300.0
    """How long an engine may be silent within an answer."""
    wait: float = 300.0
    """How long a request waits for a model that is coming."""
    queue: int = 256
    """Requests that may wait for one model, in each worker; of more the last of the lowest priority is refused."""
    drain: float = 600.0
    """How long answers may go on when workers are replaced, or the gateway ends."""
    connections: int = 16384
    """Open at once, for each worker."""
    per_address: int = 4096
    """Of these, from one address."""
    access_log: Literal["off", "errors", "all"] = "errors"
    audit: bool = False
    """Whether each request leaves an audit record: who, which model, how many tokens, and never what was said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """All that a router needs, at one pass."""

    seq: int = 0
    """Grows with each other table of one daemon; which daemon says `epoch`."""
    epoch: str = ""
    models: Mapping[str, Served] = field(default_factory=dict[str, Served])
    grants: tuple[Grant, ...] = ()
    sites: tuple[Site, ...] = ()
    front: Front = field(default_factory=Front)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What clients of one model do, of the last seconds: for people, no plan is made of it."""

    requests: float = 0.0
    """Ended in a second."""
    errors: float = 0.0
    """Of these, those that failed."""
    tokens: float = 0.0
    """Written in a second."""
    first_byte: float | None = None
    """Seconds to the first byte of an answer, half of them sooner; None where there was none."""
    total: int = 0
    """Requests that ended, since the gateway began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What clients want of one model now."""

    waiting: int = 0
    oldest: float = 0.0
    """For how many seconds the first of those waiting has been."""
    in_flight: Mapping[str, int] = field(default_factory=dict[str, int])
    """By slot: requests that it works on."""
    traffic: Traffic | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a gateway tells the daemon, at each change and every few seconds, and once more when it has ended."""

    gateway: str
    """Who tells: one for each gateway that runs."""
    seen: int = -1
    """Of `epoch`, the newest table that all its workers go by: what drains in it gets nothing new from them. `ENDED`:
    there are none any more."""
    epoch: str = ""
    models: Mapping[str, Wanted] = field(default_factory=dict[str, Wanted])
    problems: tuple[str, ...] = ()
    """What it cannot do as declared, for people: addresses that are taken, certificates that cannot be used."""


LAPSE = 10.0
"""Seconds after which nobody believes any more what a gateway told that is silent."""
ENDED = 2**53
"""In place of a table's number: a gateway that has ended sends nothing, whatever the table."""


def together(some: Iterable[Mapping[str, Wanted]]) -> dict[str, Wanted]:
    """What the clients of several workers, or of several gateways, want of each model."""
    by_model: dict[str, list[Wanted]] = {}
    for each in some:
        for model, wanted in each.items():
            by_model.setdefault(model, []).append(wanted)
    return {model: _sum(wants) for model, wants in by_model.items()}


def _sum(wants: list[Wanted]) -> Wanted:
    in_flight: dict[str, int] = {}
    for one in wants:
        for slot, count in one.in_flight.items():
            in_flight[slot] = in_flight.get(slot, 0) + count
    rated = [one.traffic for one in wants if one.traffic is not None]
    return Wanted(
        waiting=sum(one.waiting for one in wants),
        oldest=max(one.oldest for one in wants),
        in_flight=in_flight,
        traffic=_total(rated) if rated else None,
    )


def _total(some: list[Traffic]) -> Traffic:
    """First bytes: their mean, as the requests of each weigh."""
    timed = [(one.first_byte, one.requests) for one in some if one.first_byte is not None and one.requests > 0]
    weight = sum(requests for _, requests in timed)
    return Traffic(
        requests=sum(one.requests for one in some),
        errors=sum(one.errors for one in some),
        tokens=sum(one.tokens for one in some),
        first_byte=sum(took * requests for took, requests in timed) / weight if timed else None,
        total=sum(one.total for one in some),
    )
