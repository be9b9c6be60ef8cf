"""What guessing keys costs: whoever shows wrong ones again and again waits for each answer. Good keys never wait."""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass

FREE = 10
"""Wrong keys from one address that are answered at once; one more each `WINDOW / FREE` seconds."""
WINDOW = 60.0
FIRST, LONGEST = 0.25, 5.0
"""Seconds that the next one waits, twice as long each time, and the longest."""
AT_ONCE = 8
"""Answers to one address that wait at the same time; a connection beyond them is closed."""
ADDRESSES = 4096
"""So many are remembered: those that were wrong last."""
_WORST = FREE + 8
"""Wrong keys are counted up to this: nobody is remembered for longer than two minutes."""


@dataclass(slots=True)
class _Wrong:
    """What is held against one address."""

    count: float = 0.0
    at: float = 0.0
    waiting: int = 0


class Penalty:
    """For each address, the wrong keys that came from it of late."""

    __slots__ = ("_by_address", "_clock")

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock`: monotonic seconds."""
        self._clock = clock
        self._by_address: dict[str, _Wrong] = {}

    def failed(self, address: str) -> float | None:
        """A wrong key came from there: after how many seconds to say so, or None to close the connection unanswered.

        Where that is more than 0, `answered` is to be called after it, or once the client has left.
        """
        address, now = network(address), self._clock()
        wrong = self._by_address.pop(address, None) or _Wrong(at=now)
        self._by_address[address] = wrong  # the last of them now
        if len(self._by_address) > ADDRESSES:
            del self._by_address[next(iter(self._by_address))]
        wrong.count = min(max(0.0, wrong.count - (now - wrong.at) * FREE / WINDOW) + 1, _WORST)
        wrong.at = now
        if wrong.count <= FREE:
            return 0.0
        if wrong.waiting >= AT_ONCE:
            return None
        wrong.waiting += 1
        return min(LONGEST, FIRST * 2 ** (wrong.count - FREE - 1))

    def answered(self, address: str) -> None:
        """One answer to this address waits no longer."""
        wrong = self._by_address.get(network(address))
        if wrong is not None and wrong.waiting:
            wrong.waiting -= 1


def network(address: str) -> str:
    """Whom an address belongs to: in IPv6 a client has 2^64 of them."""
    if ":" not in address:
        return address
    try:
        found = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    return str(found.ipv4_mapped or int(found) >> 64)
