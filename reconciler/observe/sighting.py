"""What one question to a driver tells of one card, before anyone judges whether it is well."""

from dataclasses import dataclass

from reconciler.model.observation import Gpu
from reconciler.model.status import Meters


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """One card at one reading."""

    gpu: Gpu
    """As it is now, or was when it last told."""
    meters: Meters | None = None
    trouble: str = ""
    """What is certainly wrong with it, and what a person can do."""
    unsure: str = ""
    """Why it could not be read this time: that may pass."""
    divided: bool = False
    """Whether it is cut into MIG instances, which are cards of their own."""
