"""What clients of a model did in the last seconds, as rates for people."""

from collections import deque
from statistics import median

from reconciler.model.routing import Traffic

SECONDS = 10
"""How far back rates look."""
_SAMPLES = 512
"""First bytes of one second that are remembered; what comes after them adds nothing to the half of all."""


class Lately:
    """One model, in one worker. Its counts are of the second that goes on."""

    __slots__ = ("_before", "errors", "first_bytes", "requests", "tokens", "total")

    def __init__(self) -> None:
        self.requests = 0
        self.errors = 0
        self.tokens = 0
        self.first_bytes: list[float] = []
        self.total = 0
        """Of all seconds but this."""
        self._before: deque[tuple[int, int, int, list[float]]] = deque(maxlen=SECONDS)

    def close(self) -> None:
        """A second is over."""
        self._before.append((self.requests, self.errors, self.tokens, self.first_bytes[:_SAMPLES]))
        self.total += self.requests
        self.requests = self.errors = self.tokens = 0
        self.first_bytes = []

    def traffic(self) -> Traffic:
        """Of the last seconds that are over."""
        seconds = max(1, len(self._before))
        first_bytes = [took for *_, some in self._before for took in some]
        return Traffic(
            requests=sum(requests for requests, *_ in self._before) / seconds,
            errors=sum(errors for _, errors, *_ in self._before) / seconds,
            tokens=sum(tokens for *_, tokens, _ in self._before) / seconds,
            first_byte=median(first_bytes) if first_bytes else None,
            total=self.total + self.requests,
        )
