"""What a benchmark reports. Each module `tests/bench/b<N>_<name>.py` has `def rows(quick: bool) -> list[Row]`."""

import statistics
from collections.abc import Sequence
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


def compared(
    measure: str, mine: Sequence[float], theirs: Sequence[float], name: str, *,
    bench: str, most: float | None = None, judged: bool = True,
) -> Row:  # fmt: skip
    """Medians side by side; good where ours is at most `most` times the peer's. Who did not run has no samples."""
    median, peer = (statistics.median(one) if one else None for one in (mine, theirs))
    if peer is None:
        name += " missing"
    if median is None:
        name += ", ours does not run"
    good = median is not None and peer is not None and most is not None and median <= most * peer
    return Row(
        bench=bench, measure=measure, ours=median or 0.0, peer=peer, peer_name=name,
        target="-" if most is None else f"<= {most:g} x",
        good=None if most is None or peer is None or not judged else good,
    )  # fmt: skip


def limited(
    measure: str, mine: Sequence[float], theirs: Sequence[float], name: str, *,
    bench: str, most: float | None = None, judged: bool = True,
) -> Row:  # fmt: skip
    """The same; good where ours is at most `most`, whatever the peer's. A measure without a peer has no `name`."""
    median = statistics.median(mine)
    return Row(
        bench=bench, measure=measure, ours=median, peer=statistics.median(theirs) if theirs else None,
        peer_name=name if theirs or not name else f"{name} missing",
        target="-" if most is None else f"<= {most:.3g}",
        good=median <= most if most is not None and judged else None,
    )  # fmt: skip
