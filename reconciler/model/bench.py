"""How fast a model answers: what was asked, and what was measured at each number of requests at once."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One streamed request. Times in seconds since it was sent."""

    first: float | None = None
    """To the first piece of text; None where there was none."""
    last: float | None = None
    """To the last one."""
    took: float
    """To the end."""
    read: int | None = None
    """Tokens, as the engine's `usage` counts them; None where it tells none."""
    written: int | None = None
    error: str = ""
    """Why it failed; empty where it did not."""

    @property
    def step(self) -> float | None:
        """The mean from one token to the next; None where it was not measured."""
        if self.first is None or self.last is None or self.written is None or self.written < 2:
            return None
        return (self.last - self.first) / (self.written - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds: a half, nine tenths and 99 in 100 took no longer."""

    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What was measured with so many requests at once."""

    concurrency: int
    requests: int
    """That were answered."""
    failed: int
    errors: tuple[tuple[str, int], ...]
    """Why, and how often; the most frequent first."""
    seconds: float
    """From the first request to the end of the last answer."""
    first_token: Times | None
    """None where no request was answered, or no answer had any text."""
    next_token: Times | None
    """The mean from one token to the next, of each answer."""
    read: float | None
    """Tokens of a prompt, on average; None where the engine tells none."""
    written: float | None
    """Tokens of an answer, on average."""
    tokens_each: float | None
    """Tokens in a second that one client gets: the half of them more."""
    tokens_all: float | None
    """Tokens in a second that all get together."""
    requests_all: float
    """Requests answered in a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A whole run."""

    model: str
    url: str
    prompt_tokens: int
    """That were asked for."""
    max_tokens: int
    warmup: int
    """Requests before, that are not counted."""
    levels: tuple[Level, ...]


def level(concurrency: int, answers: Sequence[Answer], seconds: float) -> Level:
    """What some answers, given within `seconds`, amount to."""
    good = [one for one in answers if not one.error]
    errors = Counter(one.error for one in answers if one.error)
    steps = [one.step for one in good if one.step is not None]
    written = [one.written for one in good if one.written is not None]
    each = [one.written / one.took for one in good if one.written is not None and one.took > 0]
    return Level(
        concurrency=concurrency,
        requests=len(good),
        failed=len(answers) - len(good),
        errors=tuple(errors.most_common()),
        seconds=seconds,
        first_token=_times([one.first for one in good if one.first is not None]),
        next_token=_times(steps),
        read=_mean([one.read for one in good if one.read is not None]),
        written=_mean(written),
        tokens_each=_rank(sorted(each), 0.5) if each else None,
        tokens_all=sum(written) / seconds if written and seconds > 0 else None,
        requests_all=len(good) / seconds if seconds > 0 else 0.0,
    )


def _times(some: Sequence[float]) -> Times | None:
    ordered = sorted(some)
    if not ordered:
        return None
    return Times(p50=_rank(ordered, 0.5), p90=_rank(ordered, 0.9), p99=_rank(ordered, 0.99))


def _rank(ordered: Sequence[float], share: float) -> float:
    """The smallest that so many are not above: one that was measured, not one between two."""
    return ordered[max(0, ceil(share * len(ordered)) - 1)]


def _mean(some: Sequence[int]) -> float | None:
    return sum(some) / len(some) if some else None
