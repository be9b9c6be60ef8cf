"""What a model takes of each GPU and of the host, by component, and how sure that is."""

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Bytes at one place, by what they are for."""

    weights: int = 0
    cache: int = 0
    """Keys, values and recurrent states."""
    compute: int = 0
    """Buffers of the graph, and of what comes out of it."""
    runtime: int = 0
    """What the driver and its libraries take for themselves."""
    adapters: int = 0
    projector: int = 0
    draft: int = 0
    """A draft model with all it needs."""
    prompts: int = 0
    """Prompts kept for later, up to their limit."""
    spare: int = 0
    """What the engine takes beyond its need: of a card of which it was told a share; of the host for weights that it
    copied into another order, and whose pages are let go where others need them."""

    @property
    def total(self) -> int:
        """All of it."""
        return sum(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Of one replica."""

    gpus: tuple[Share, ...] = ()
    """In the order of the GPUs it was asked for; empty on the CPU."""
    host: Share = Share()
    uncertainty: float
    """How far the totals may be off, as a share: 0.08 is printed ±8 %."""
    notes: tuple[str, ...] = ()
    """What was assumed, in words."""

    @property
    def needed(self) -> int:
        """Bytes of the host that it cannot do without. Prompts kept come by use up to their limit, and are measured."""
        return self.host.total - self.host.prompts - self.host.spare

    @property
    def most(self) -> int:
        """Bytes on the GPU that needs most; 0 on the CPU."""
        return max((share.total for share in self.gpus), default=0)
