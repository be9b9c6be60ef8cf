"""Which hue tells a model apart: the same one wherever it stands, and another than its neighbours on a GPU."""

from collections.abc import Mapping
from functools import lru_cache
from zlib import crc32

from reconciler.model.status import GpuShare, GpuStatus
from tui.view.paint import Style

_HUES: tuple[Style, ...] = ("hue0", "hue1", "hue2", "hue3", "hue4", "hue5", "hue6", "hue7")
Hues = Mapping[str, Style]
"""By workload."""


@lru_cache(64)
def hues(gpus: tuple[GpuStatus, ...]) -> Hues:
    """Of everybody of ours who holds a part of a GPU.

    A name has its own, unless who shares a GPU with it has that; while there are hues enough, unless anybody has.
    """
    beside: dict[str, set[str]] = {}
    for gpu in gpus:
        names = {owner(share) for share in gpu.shares if share.ours}
        for name in names:
            beside.setdefault(name, set()).update(names)
    found: dict[str, Style] = {}
    for name in sorted(beside):
        own = crc32(name.encode("utf-8", "replace")) % len(_HUES)
        few = len(found) < len(_HUES)
        taken: set[Style] = {found[other] for other in (found if few else beside[name]) if other in found}
        turned = [(own + step) % len(_HUES) for step in range(len(_HUES))]
        found[name] = _HUES[next((number for number in turned if _HUES[number] not in taken), own)]
    return found


def owner(share: GpuShare) -> str:
    """The workload that holds it; empty where it is a stranger."""
    return share.holder.rpartition("/")[0] or share.holder if share.ours else ""


def hue(share: GpuShare, of: Hues) -> Style:
    """How a part of a GPU looks."""
    return of.get(owner(share), "accent") if share.ours else "stranger"
