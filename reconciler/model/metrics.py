"""What engines measure of themselves, in words that are the same for all of them: for people, no plan is made of it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Seconds that something took, counted since the engine started."""

    count: int
    sum: float
    """Of all of them."""
    buckets: tuple[tuple[float, int], ...] = ()
    """(a bound in seconds, how many took no longer), as the engine has them; that without a bound is left out."""

    @property
    def mean(self) -> float | None:
        """Seconds; None where nothing was counted."""
        return self.sum / self.count if self.count else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Of one engine. None: it does not tell."""

    running: int | None = None
    """Requests that it works on."""
    waiting: int | None = None
    """Requests that it has taken, and that wait."""
    cache: float | None = None
    """Share of the KV cache that is in use, 0 to 1."""
    prompt_tokens: int | None = None
    """Read since it started."""
    generated_tokens: int | None = None
    """Written since it started."""
    first_token: Histogram | None = None
    """From a request to its first token."""
    next_token: Histogram | None = None
    """From one token to the next."""
    request: Histogram | None = None
    """From a request to the end of its answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaMetrics:
    """Of one instance."""

    slot: str
    engine: str
    metrics: Metrics | None = None
    detail: str = ""
    """Why there are none."""
