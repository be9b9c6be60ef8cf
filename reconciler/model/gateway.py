"""What a file may declare of the gateway: who may ask, how much, under which domain, and where it listens."""

import re
from datetime import UTC, date, datetime, timedelta
from ipaddress import ip_address
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator

from reconciler.model.fields import Duration, Resource, Size, Spec, Strings, live
from reconciler.model.routing import Role

SHA256 = r"^[0-9a-f]{64}$"
HOST = r"^(\*\.)?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$"
PREFIX = r"^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+$"
_MOST = 10**12
_ADDRESS = re.compile(r"(?:(https?)://)?(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):([0-9]{1,5})")
_EXPIRES = "write a date such as 2027-01-31, or a time with its offset such as 2027-01-31T18:00:00Z"


def _address(value: str) -> str:
    """`127.0.0.1:8642` → `http://127.0.0.1:8642`."""
    match = _ADDRESS.fullmatch(value)
    try:
        if match is None or not 1 <= int(match[4]) <= 65535:
            raise ValueError
        host = ip_address(match[2] or match[3])
    except ValueError:
        raise ValueError("write http://IP:port or https://IP:port, such as http://127.0.0.1:8642") from None
    if (host.version == 6) != (match[2] is not None):
        raise ValueError("write http://IP:port, an IPv6 address in brackets, such as http://[::1]:8642")
    shown = f"[{host}]" if host.version == 6 else str(host)
    return f"{match[1] or 'http'}://{shown}:{int(match[4])}"


def _distinct(value: tuple[str, ...]) -> tuple[str, ...]:
    places = [address.partition("://")[2] for address in value]
    twice = next((place for index, place in enumerate(places) if place in places[:index]), None)
    if twice is not None:
        raise ValueError(f"cannot listen on {twice} twice; remove one of them")
    return value


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach an address of `listen`."""
    host = address.partition("://")[2].rpartition(":")[0]
    return ip_address(host.strip("[]")).is_loopback


def _expiry(value: object) -> datetime:
    """A day ends as it ends in UTC."""
    if isinstance(value, datetime):
        return value
    text = value if isinstance(value, str) and len(value) <= 40 else ""
    try:
        if len(text) == 10:
            return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC) + timedelta(days=1)
        at = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise ValueError(_EXPIRES) from None
    if at.tzinfo is None:
        raise ValueError(_EXPIRES)
    return at


_LISTEN: dict[str, object] = {"type": "string", "pattern": r"^(https?://)?(\[[0-9A-Fa-f:.]+\]|[0-9.]+):[0-9]{1,5}$"}
_DATE = r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d))?$"
_DATES: dict[str, object] = {"type": "string", "pattern": _DATE, "examples": ["2027-01-31"]}

Address = Annotated[str, AfterValidator(_address), WithJsonSchema(_LISTEN)]
Expiry = Annotated[
    datetime,
    BeforeValidator(_expiry),
    PlainSerializer(datetime.isoformat, return_type=str),
    WithJsonSchema(_DATES),
]
Domain = Annotated[str, Field(pattern=HOST, max_length=253)]
_Count = Annotated[int, Field(ge=1, le=_MOST)]


class Limits(Spec):
    """How much at most. What is not given is not limited."""

    requests_per_minute: _Count | None = None
    """Requests that may begin within a minute."""
    requests_per_day: _Count | None = None
    """Requests that may begin within a day."""
    tokens_per_minute: _Count | None = None
    """Tokens of prompts and answers together, as engines count them, within a minute."""
    tokens_per_day: _Count | None = None
    """The same within a day."""
    concurrency: _Count | None = None
    """Requests at once, those that wait included."""


class AccessKey(Spec):
    """One key. The file has only its hash."""

    sha256: str = Field(pattern=SHA256)
    """Hash of the key, as `holdfast key new` prints it."""
    expires: Expiry | None = None
    """Until when it is taken: a day, which it is good for until it ends in UTC, or a time with its offset."""
    note: str = Field(default="", max_length=200)
    """Whose it is, for people."""


class Access(Resource):
    """Who may ask the gateway for what, and how much: whoever shows one of its keys."""

    kind: Literal["Access"] = "Access"
    keys: Annotated[tuple[AccessKey, ...], Field(strict=False)] = live(..., min_length=1, max_length=1000)
    """Its keys, any of which will do: to change a key, add the new one, and remove the old one later."""
    roles: Annotated[tuple[Role, ...], Field(strict=False)] = live(("inference",), min_length=1)
    """What the keys are for: `inference` asks models, `metrics` reads the gateway's metrics, `admin` both."""
    models: Strings = live(("*",), min_length=1)
    """Model names that it may use, `*` in them for anything."""
    limits: Limits | None = live(None)
    """How much at most, all its keys together."""
    priority: int = live(100, ge=0, le=1000)
    """Whose turn it is among requests that wait for a model, 0–1000: higher ones first."""

    @model_validator(mode="after")
    def _once(self) -> "Access":
        hashes = [key.sha256 for key in self.keys]
        for index, one in enumerate(hashes):
            if one in hashes[:index]:
                raise ValueError(f"keys cannot hold {one[:8]}… twice; remove one of them")
        return self


class Certificate(Spec):
    """Where a certificate and its key are. Both files are read again when they change."""

    certificate: str = Field(pattern=r"^/")
    """File with the certificate and those it was signed by, in PEM, an absolute path."""
    key: str = Field(pattern=r"^/")
    """File with its private key, in PEM, an absolute path."""


class Route(Resource):
    """A domain of the gateway, or a part of its paths, and the models that are shown there."""

    kind: Literal["Route"] = "Route"
    hosts: Annotated[tuple[Domain, ...], Field(strict=False)] = live((), max_length=100)
    """Domain names that it is for, `*.example.org` for all beneath; every one when not given."""
    prefix: str | None = live(None, pattern=PREFIX, max_length=200)
    """Where its paths begin: with `/team-a`, requests go to `/team-a/v1/…`. When not given, its hosts are its own."""
    models: Strings = live(("*",), min_length=1)
    """Model names that are shown there, `*` in them for anything."""
    tls: Certificate | None = live(None)
    """The certificate that is shown for its hosts, where the gateway listens on https."""

    @model_validator(mode="after")
    def _somewhere(self) -> "Route":
        if not self.hosts and self.prefix is None:
            raise ValueError("hosts cannot be left out where there is no prefix; give hosts, prefix or both")
        return self

    @property
    def sites(self) -> tuple[tuple[str, str], ...]:
        """Each host with the prefix; an empty host is every host, an empty prefix all of its paths."""
        return tuple((host, self.prefix or "") for host in dict.fromkeys(self.hosts or ("",)))


_SHORTEST, _LONGEST = timedelta(milliseconds=100), timedelta(days=1)


def _wait(seconds: float) -> Any:
    return live(timedelta(seconds=seconds), ge=_SHORTEST, le=_LONGEST)


class Gateway(Spec):
    """How the gateway of this machine listens, and what it takes."""

    listen: Annotated[tuple[Address, ...], Field(strict=False), AfterValidator(_distinct)] = live(
        ("http://127.0.0.1:8642",), min_length=1, max_length=64
    )
    """Where: `http://` or `https://`, an IP address and a port. Where others can reach it, there must be an Access."""
    workers: int = live(1, ge=1, le=64)
    """Processes that share the work; one is good for thousands of requests a second."""
    body: Size = live(64 * 2**20, ge=1024, le=2**40)
    """The largest body of a request."""
    head_timeout: Duration = _wait(10)
    """In which the head of a request must be there, from its first byte on."""
    body_timeout: Duration = _wait(60)
    """In which each MiB of a body must come."""
    idle_timeout: Duration = _wait(75)
    """How long a connection may be kept without a request, before its first one too."""
    first_byte: Duration = _wait(600)
    """In which an engine must begin to answer, before the next is asked."""
    silence: Duration = _wait(300)
    """How long an engine may be silent within an answer."""
    wait: Duration = _wait(300)
    """How long a request waits for a model that is coming."""
    queue: int = live(256, ge=1, le=100_000)
    """Requests that may wait for one model, in each worker; of more the last of the lowest priority is refused."""
    drain: Duration = _wait(600)
    """How long answers may go on when workers are replaced, or the gateway ends."""
    connections: int = live(16384, ge=1, le=1_000_000)
    """Open at once, for each worker."""
    per_address: int = live(4096, ge=1, le=1_000_000)
    """Of these, from one address."""
    access_log: Literal["off", "errors", "all"] = live("errors")
    """Which requests are written to the access log."""
    audit: bool = live(False)
    """Whether each request leaves an audit record: who, which model, how many tokens, and never what was said."""
