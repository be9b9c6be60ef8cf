"""How long a slot waits before its next run: at once if it had been ready a while, then 1, 2, 4 … 60 s, with jitter."""

import hashlib

from reconciler.model.observation import Exited
from reconciler.model.plan import Strikes
from reconciler.model.status import Reason

LONGEST = 60.0
HEALTHY_AFTER = 600.0
"""Seconds of being ready after which earlier failures are forgotten."""
PROVEN_AFTER = 1.0
"""Seconds of being ready after which an end is a surprise: what nobody can ask is ready as soon as it runs."""
OURS = frozenset(
    {
        Reason.SpecChanged,
        Reason.NotInFleet,
        Reason.ScaledDown,
        Reason.RestartAsked,
        Reason.StopAsked,
        Reason.Preempted,
        Reason.Moved,
        Reason.Idle,
        Reason.Lost,
        Reason.GpuCordoned,
    }
)
"""Ends that are no failure of the engine: we had asked for them, or the machine went down under it."""


def delay(count: int, slot: str) -> float:
    """Seconds to wait after `count` failures in a row (1 is the first), up to 10 % longer by the slot's own jitter.

    The jitter is derived from slot and count, so the same failure always waits equally long, and fifty slots that
    fail together do not come back together.
    """
    seconds = min(LONGEST, 2.0 ** (min(count, 16) - 1))
    spread = hashlib.blake2b(f"{slot}:{count}".encode(), digest_size=2).digest()
    return seconds * (1 + int.from_bytes(spread, "big") / 0xFFFF / 10)


def after(strikes: Strikes, end: Exited, slot: str) -> tuple[Strikes, float]:
    """What the slot owes after this end, and how many seconds its next run waits."""
    if end.asked in OURS:
        return Strikes(), 0.0
    ready_for = end.ready_for or 0.0
    if ready_for >= HEALTHY_AFTER:
        strikes = Strikes()
    if ready_for >= PROVEN_AFTER and strikes == Strikes():
        return Strikes(spared=True), 0.0
    count = strikes.count + 1
    return Strikes(count=count, spared=strikes.spared), delay(count, slot)
