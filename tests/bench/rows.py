"""What a benchmark reports. Each module `tests/bench/b<N>_<name>.py` has `def rows(quick: bool) -> list[Row]`."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    bench: str
    """`B8`."""
    measure: str
    """What was measured, with its unit: `10,000 files cold, s wall`."""
    ours: float
    peer: float | None = None
    """The peer's figure from the same run; None where there is no peer, or it could not be installed."""
    peer_name: str = ""
    """Who; or why it is missing."""
    target: str
    """As the target is written: `<= 0.8`."""
    good: bool | None
    """Whether the target is met; None where it is not one to judge here."""
