"""Which cards are fit to run on: from what is seen of them, reading by reading, to GPUs that are cordoned or not.

What may pass is waited for, and what was certainly wrong is not forgiven at once, so that nothing flaps.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from reconciler.model.observation import Gpu, Unknown
from reconciler.observe.sighting import Sighting

_PATIENCE = 3
"""Readings in a row that a card may fail before it is cordoned; until then none is believed."""
_REMEMBERED = 600.0
"""Seconds for which a card is told of that its driver does not list any more."""
_GONE = "its driver does not list it any more; look for it with `nvidia-smi -L` and in the kernel's log"
_DIVIDED = "MIG was switched on: its instances are cards of their own"


@dataclass(slots=True)
class _Case:
    """What is remembered of a card."""

    gpu: Gpu
    at: float
    """When it was last listed."""
    failures: int = 0
    """In a row."""
    why: str = ""
    """What was last wrong with it; empty: nothing, or that is forgiven."""
    bad_at: float = 0.0


class Cordons:
    """One for each machine. The clock is an argument."""

    def __init__(self, quiet: float = 30.0) -> None:
        """`quiet`: seconds that a card has to be well before anything runs on it again."""
        self._quiet = quiet
        self._cases: dict[str, _Case] = {}

    def judge(self, seen: Iterable[Sighting], now: float) -> tuple[Gpu, ...] | Unknown:
        """All GPUs by index; Unknown while one of them fails and may yet recover."""
        listed: dict[str, Sighting] = {sighting.gpu.uuid: sighting for sighting in seen}
        whole = {uuid: one for uuid, one in listed.items() if not one.divided or uuid in self._cases}
        judged = {uuid: self._one(uuid, sighting, now) for uuid, sighting in whole.items()}
        for text in judged.values():
            if isinstance(text, Unknown):
                return text
        gone = [self._missing(uuid, now) for uuid in [*self._cases] if uuid not in listed]
        gpus = [gpu for gpu in (*judged.values(), *gone) if isinstance(gpu, Gpu)]
        return tuple(sorted(gpus, key=lambda gpu: (gpu.index, bool(gpu.cordoned), gpu.uuid)))

    def _one(self, uuid: str, sighting: Sighting, now: float) -> Gpu | Unknown | None:
        case = self._cases.setdefault(uuid, _Case(gpu=sighting.gpu, at=now))
        if sighting.divided:
            if now - case.at > _REMEMBERED:
                del self._cases[uuid]
                return None
            return self._cordoned(case, sighting.gpu, _DIVIDED, now)
        case.at = now
        case.failures = case.failures + 1 if sighting.unsure else 0
        if sighting.trouble:
            return self._cordoned(case, sighting.gpu, sighting.trouble, now)
        if sighting.unsure and case.failures < _PATIENCE and not case.why:
            return Unknown(reason=sighting.unsure)
        if sighting.unsure:
            return self._cordoned(case, sighting.gpu, f"{sighting.unsure}, again and again", now)
        if case.why and now - case.bad_at < self._quiet:
            again = f"{case.why} (it answers again, and is taken back once it has been well for {self._quiet:.0f} s)"
            case.gpu = replace(sighting.gpu, cordoned=again)
            return case.gpu
        case.why, case.gpu = "", sighting.gpu
        return case.gpu

    def _missing(self, uuid: str, now: float) -> Gpu | None:
        """One that was listed and is not now."""
        case = self._cases[uuid]
        if now - case.at > _REMEMBERED or case.gpu.uuid == f"gpu {case.gpu.index}":
            del self._cases[uuid]
            return None
        return self._cordoned(case, replace(case.gpu, used=0, holders=()), _GONE, now)

    def _cordoned(self, case: _Case, gpu: Gpu, why: str, now: float) -> Gpu:
        case.why, case.bad_at = why, now
        case.gpu = replace(gpu, cordoned=why)
        return case.gpu
