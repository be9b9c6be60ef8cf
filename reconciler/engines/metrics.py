"""What an engine says of itself, in its own words → Metrics. Pure.

A field of ours has the engine's names beside it, the newest first: the first that is there counts, so that no version
has to be known. As little is believed of the text as of any text of a stranger.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, cast

from reconciler.model.metrics import Histogram, Metrics

Names = Mapping[str, tuple[str, ...]]
"""By field of Metrics."""
_SAMPLE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})?[ \t]+(\S+)(?:[ \t]+-?\d+)?[ \t]*")
_BOUND = re.compile(r'(?:^|,)\s*le="([^"]*)"')
_LINE = 4096
_MOST = 2**53
Samples = Mapping[str, list[tuple[str, float]]]
"""By name: labels and value of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metering:
    """How an engine is asked, and understood."""

    path: str
    """GET; `{name}` is the model's."""
    read: Callable[[str], Metrics]


def prometheus(names: Names, path: str = "/metrics") -> Metering:
    """Of an engine that speaks Prometheus's text format."""
    wanted = frozenset(
        name + end for row in names.values() for name in row for end in ("", "_bucket", "_sum", "_count")
    )

    def read(text: str) -> Metrics:
        samples = _samples(text, wanted)

        def values(field: str) -> list[float]:
            name = next((name for name in names.get(field, ()) if name in samples), None)
            return [value for _, value in samples[name]] if name is not None else []

        def total(field: str) -> int | None:
            return int(sum(found)) if (found := values(field)) else None

        def histogram(field: str) -> Histogram | None:
            name = next((name for name in names.get(field, ()) if f"{name}_count" in samples), None)
            return _histogram(samples, name) if name is not None else None

        return Metrics(
            running=total("running"),
            waiting=total("waiting"),
            cache=max(values("cache"), default=None),
            prompt_tokens=total("prompt_tokens"),
            generated_tokens=total("generated_tokens"),
            first_token=histogram("first_token"),
            next_token=histogram("next_token"),
            request=histogram("request"),
        )

    return Metering(path=path, read=read)


def _samples(text: str, wanted: frozenset[str]) -> Samples:
    found: dict[str, list[tuple[str, float]]] = {}
    for line in text.splitlines():
        match = _SAMPLE.fullmatch(line[:_LINE])
        if match is None or match[1] not in wanted:
            continue
        value = _number(match[3])
        if value is not None:
            found.setdefault(match[1], []).append((match[2] or "", value))
    return found


def _histogram(samples: Samples, name: str) -> Histogram:
    """All series of it together: of models, of ranks."""
    bounds: Counter[float] = Counter()
    for labels, value in samples.get(f"{name}_bucket", ()):
        match = _BOUND.search(labels)
        bound = _number(match[1]) if match is not None else None
        if bound is not None:
            bounds[bound] += int(value)
    return Histogram(
        count=int(sum(value for _, value in samples[f"{name}_count"])),
        sum=sum(value for _, value in samples.get(f"{name}_sum", ())),
        buckets=tuple(sorted(bounds.items())),
    )


def _statistics(text: str) -> Metrics:
    try:
        rows: Any = json.loads(text)["model_stats"]
        stats = [cast("dict[str, Any]", row)["inference_stats"]["success"] for row in rows]
        count, sum_ns = sum(int(each["count"]) for each in stats), sum(int(each["ns"]) for each in stats)
    except (ValueError, KeyError, TypeError, RecursionError):
        return Metrics()
    return Metrics(request=Histogram(count=count, sum=sum_ns / 1e9))


def _number(text: str) -> float | None:
    """A number that is one, and none that only a liar would give."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if isfinite(value) and 0 <= value <= _MOST else None


STATISTICS = Metering(path="/v2/models/{name}/stats", read=_statistics)
"""Of an engine that speaks the statistics extension of KServe's protocol. Of tokens it knows nothing."""
