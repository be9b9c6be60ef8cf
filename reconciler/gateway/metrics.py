"""What is counted of requests, by model, slot and key; and how all workers' counts become one Prometheus text.

Format 0.0.4; `docs/metrics.md` describes what is there. Label values come from the table alone, so they are few.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate, chain

import msgspec

from reconciler.model.routing import Table, Wanted

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Upper bounds of whole requests and of what they wait for, in seconds."""
TOKEN_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 2.5)
"""Of the time from one token to the next."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_CLASSES = ("none", *(f"{hundreds}xx" for hundreds in range(1, 10)))
_LABELS = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


def _spread() -> "Spread":
    return Spread(counts=[0] * (len(BOUNDS) + 1))


def _token_spread() -> "Spread":
    return Spread(counts=[0] * (len(TOKEN_BOUNDS) + 1))


@dataclass(slots=True)
class Spread:
    """How long something took, counted by its bounds; the last count is of what took longer than all of them."""

    counts: list[int]
    sum: float = 0.0

    def add(self, other: "Spread") -> None:
        """Add what another counted by the same bounds."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum


@dataclass(slots=True, kw_only=True)
class Series:
    """The counts of one model's instance for one key."""

    model: str
    slot: str
    key: str
    classes: list[int] = field(default_factory=lambda: [0] * len(_CLASSES))
    """Requests by the hundreds of their status; the first: the client left before it was told one."""
    errors: dict[str, int] = field(default_factory=dict[str, int])
    """By reason."""
    read: int = 0
    written: int = 0
    received: int = 0
    sent: int = 0
    retries: int = 0
    duration: Spread = field(default_factory=_spread)
    first_byte: Spread = field(default_factory=_spread)
    waiting: Spread = field(default_factory=_spread)
    token: Spread = field(default_factory=_token_spread)

    def add(self, other: "Series") -> None:
        """Add what another worker counted of the same."""
        self.classes = [mine + theirs for mine, theirs in zip(self.classes, other.classes, strict=True)]
        for reason, count in other.errors.items():
            self.errors[reason] = self.errors.get(reason, 0) + count
        for name in ("read", "written", "received", "sent", "retries"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("duration", "first_byte", "waiting", "token"):
            getattr(self, name).add(getattr(other, name))


@dataclass(slots=True, kw_only=True)
class Snapshot:
    """All that one worker has counted, or several of them together."""

    series: list[Series] = field(default_factory=list[Series])
    connections: int = 0
    """Open now."""
    opened: int = 0
    """Connections since it began."""
    refused: dict[str, int] = field(default_factory=dict[str, int])
    """Connections that were turned away, by reason."""
    unlogged: int = 0
    """Lines of the access log that could not be written."""
    unrecorded: int = 0
    """Records of requests that could not be kept."""

    @property
    def past(self) -> "Snapshot":
        """What is left of it once its worker has ended: what it counted, and not what it held."""
        return Snapshot(
            series=self.series,
            opened=self.opened,
            refused=self.refused,
            unlogged=self.unlogged,
            unrecorded=self.unrecorded,
        )


@dataclass(frozen=True, slots=True)
class Names:
    """Label values of which there can be figures."""

    models: frozenset[str]
    slots: frozenset[str]
    keys: frozenset[str]

    def has(self, series: Series) -> bool:
        """Whether all three are in the table still; empty is none, and stays."""
        return (
            (not series.model or series.model in self.models)
            and (not series.slot or series.slot in self.slots)
            and (not series.key or series.key in self.keys)
        )


def names(table: Table) -> Names:
    """What a table names."""
    return Names(
        models=frozenset(table.models),
        slots=frozenset(place.slot for model in table.models.values() for place in model.places),
        keys=frozenset(grant.name for grant in table.grants),
    )


def encode(snapshot: Snapshot) -> bytes:
    """For the way to the master: JSON, in one line."""
    return msgspec.json.encode(snapshot)


def decode(raw: bytes) -> Snapshot:
    """What `encode` made. Raises msgspec.DecodeError."""
    return msgspec.json.decode(raw, type=Snapshot)


def merge(snapshots: Iterable[Snapshot], present: Names | None = None) -> Snapshot:
    """All of them as one; without what is not `present`, where that is given. The snapshots stay as they are."""
    whole = Snapshot()
    by_labels: dict[tuple[str, str, str], Series] = {}
    for snapshot in snapshots:
        whole.connections += snapshot.connections
        whole.opened += snapshot.opened
        whole.unlogged += snapshot.unlogged
        whole.unrecorded += snapshot.unrecorded
        for reason, count in snapshot.refused.items():
            whole.refused[reason] = whole.refused.get(reason, 0) + count
        for series in snapshot.series:
            if present is None or present.has(series):
                labels = (series.model, series.slot, series.key)
                if labels not in by_labels:
                    by_labels[labels] = Series(model=series.model, slot=series.slot, key=series.key)
                by_labels[labels].add(series)
    whole.series = [by_labels[labels] for labels in sorted(by_labels)]
    return whole


def text(
    whole: Snapshot, wanted: Mapping[str, Wanted], *, version: str, workers: int, started: float, seen: int
) -> str:
    """The exposition. `started`: when the gateway began, seconds since the epoch; `seen`: seq of the table in use."""
    own = (
        ("start_time_seconds", "gauge", "When the gateway began, since the epoch.", f"{started:.3f}"),
        ("workers", "gauge", "Processes that answer.", workers),
        ("table_seq", "gauge", "Number of the daemon's table that all of them go by.", seen),
        ("connections", "gauge", "Connections of clients that are open.", whole.connections),
        ("connections_total", "counter", "Connections of clients that were taken.", whole.opened),
        ("log_lines_dropped_total", "counter", "Lines of the access log that could not be written.", whole.unlogged),
        ("audit_records_lost_total", "counter", "Records of requests that could not be kept.", whole.unrecorded),
    )
    lines = [*_head("info", "gauge", "Its version."), f'holdfast_gateway_info{{version="{_escaped(version)}"}} 1']
    for name, kind, told, value in own:
        lines += [*_head(name, kind, told), f"holdfast_gateway_{name} {value}"]
    return "".join(f"{line}\n" for line in chain(lines, _refused(whole), _now(wanted), _of_requests(whole)))


_Count = Callable[[Series], int]
_COUNTERS: tuple[tuple[str, str, _Count], ...] = (
    ("read_tokens", "Tokens of prompts, as engines counted them.", lambda one: one.read),
    ("written_tokens", "Tokens of answers, as engines counted them.", lambda one: one.written),
    ("received_bytes", "Bytes of the bodies of requests.", lambda one: one.received),
    ("sent_bytes", "Bytes of the bodies of answers.", lambda one: one.sent),
    ("retries", "Instances that were asked in vain before the one that answered.", lambda one: one.retries),
)
_SPREADS: tuple[tuple[str, str, tuple[float, ...], Callable[[Series], Spread]], ...] = (
    ("duration", "From the head of a request to the end of its answer.", BOUNDS, lambda one: one.duration),
    ("first_byte", "From the head of a request to the first byte of its answer.", BOUNDS, lambda one: one.first_byte),
    ("wait", "How long requests waited for a model, of those that did.", BOUNDS, lambda one: one.waiting),
    ("token", "From one token of a stream to the next, on average in it.", TOKEN_BOUNDS, lambda one: one.token),
)


def _refused(whole: Snapshot) -> Iterator[str]:
    yield from _head("refused_connections_total", "counter", "Connections that were turned away.")
    for reason, count in sorted(whole.refused.items()):
        yield f'holdfast_gateway_refused_connections_total{{reason="{_escaped(reason)}"}} {count}'


def _of_requests(whole: Snapshot) -> Iterator[str]:
    labelled = [(_labels(model=one.model, slot=one.slot, key=one.key), one) for one in whole.series]
    yield from _head("requests_total", "counter", "Requests that ended.")
    for labels, one in labelled:
        for name, count in zip(_CLASSES, one.classes, strict=True):
            if count:
                yield f'holdfast_gateway_requests_total{{{labels},status="{name}"}} {count}'
    yield from _head("errors_total", "counter", "Requests that failed, and why.")
    for labels, one in labelled:
        for reason, count in sorted(one.errors.items()):
            yield f'holdfast_gateway_errors_total{{{labels},reason="{_escaped(reason)}"}} {count}'
    for name, told, of in _COUNTERS:
        yield from _head(f"{name}_total", "counter", told)
        yield from (f"holdfast_gateway_{name}_total{{{labels}}} {of(one)}" for labels, one in labelled)
    for name, told, bounds, spread in _SPREADS:
        yield from _head(f"{name}_seconds", "histogram", told)
        for labels, one in labelled:
            yield from _histogram(f"holdfast_gateway_{name}_seconds", labels, bounds, spread(one))


def _now(wanted: Mapping[str, Wanted]) -> Iterator[str]:
    """What goes on at this moment."""
    yield from _head("in_flight", "gauge", "Requests that an instance works on.")
    for model, one in sorted(wanted.items()):
        for slot, count in sorted(one.in_flight.items()):
            yield f"holdfast_gateway_in_flight{{{_labels(model=model, slot=slot)}}} {count}"
    yield from _head("waiting", "gauge", "Requests that wait for a model.")
    yield from (
        f"holdfast_gateway_waiting{{{_labels(model=model)}}} {one.waiting}" for model, one in sorted(wanted.items())
    )
    yield from _head("oldest_waiting_seconds", "gauge", "How long the first of those has waited.")
    yield from (
        f"holdfast_gateway_oldest_waiting_seconds{{{_labels(model=model)}}} {one.oldest:.3f}"
        for model, one in sorted(wanted.items())
    )


def _histogram(name: str, labels: str, bounds: tuple[float, ...], spread: Spread) -> Iterator[str]:
    below = list(accumulate(spread.counts))
    if not below[-1]:
        return
    for bound, count in zip((*map(repr, bounds), "+Inf"), below, strict=True):
        yield f'{name}_bucket{{{labels},le="{bound}"}} {count}'
    yield f"{name}_sum{{{labels}}} {spread.sum!r}"
    yield f"{name}_count{{{labels}}} {below[-1]}"


def _head(name: str, kind: str, told: str) -> tuple[str, str]:
    return f"# HELP holdfast_gateway_{name} {told}", f"# TYPE holdfast_gateway_{name} {kind}"


def _labels(**labels: str) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())


def _escaped(value: str) -> str:
    return value.translate(_LABELS)
