"""What is placed, where it may go, and the answer. Bytes are `int`; a smaller `standing` goes first among equals."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One node."""

    name: str
    host: int
    """Bytes of host RAM that may be planned with: without what is reserved and what strangers hold; nothing of ours
    taken off. Who runs may stay where there is less than they take, and nobody joins them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One GPU."""

    node: str
    index: int
    uuid: str
    model: str
    total: int
    free: int
    """Bytes that may be planned with: without what is reserved and what strangers hold; nothing of ours taken off."""
    links: tuple[int, ...] = ()
    """Indices of the cards of its node that it is directly linked to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a replica is: a node, and its cards there in order of index (none for one that runs on the CPU)."""

    node: str
    cards: tuple[str, ...]
    """UUIDs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One replica that wants a place."""

    slot: str
    priority: int
    count: int
    """Cards, all in one node; 0 takes host RAM only."""
    memory: int | None
    """Bytes on each of them; None takes them whole."""
    share: bool = True
    """Whether others may use what is left on its cards."""
    host: int = 0
    """Bytes of host RAM."""
    allowed: frozenset[str] | None = None
    """UUIDs it may use; None for all. One set shared by many items is compiled once."""
    nodes: frozenset[str] | None = None
    """Machines it may use; None for all."""
    at: Place | None = None
    """Where it runs, or was promised to run. One that names a card that is not there any more is as good as None."""
    fixed: bool = False
    """In flight or unknown: neither moved nor evicted."""
    never: bool = False
    """`preemption: never`: takes from nobody, yields to nobody."""
    cost: int = 0
    """Of moving or evicting it: seconds to load again, and requests in flight."""
    standing: int = 0
    """Who goes first among equals: the smaller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """All there is to decide at once. The order of the three tuples does not matter."""

    machines: tuple[Machine, ...]
    cards: tuple[Card, ...]
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """A running replica that has to go from where it is."""

    slot: str
    to: Place | None
    """Where it goes; None where there is no room for it."""
    gained: tuple[str, ...]
    """Slots of a higher priority that take its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One card as a refused replica saw it when its turn came: what lower priorities hold counts as free."""

    card: Card
    allowed: bool
    free: int
    """Bytes; may be negative where strangers took what was planned with."""
    tenants: tuple[str, ...]
    """Slots it may not displace."""
    closed: bool
    """Whether one of them has the card to itself."""
