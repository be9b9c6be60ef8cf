"""How busy the machine's own processors and memory are: read only for somebody who watches, at his pace."""

import os

from reconciler.model.live import HostMeters
from reconciler.observe.host import memory

_STAT = "/proc/stat"
_TIMES = 8
"""user, nice, system, idle, iowait, irq, softirq, steal; guests are counted in the first two."""
_IDLE = slice(3, 5)


class HostMeter:
    """One reader's: what is busy since its own last reading."""

    def __init__(self, stat: str = _STAT) -> None:
        self._stat = stat
        self._before: tuple[int, int] | None = None

    def read(self) -> HostMeters | None:
        """How it is now; None where the kernel does not tell."""
        total, available = memory()
        if not total:
            return None
        return HostMeters(
            busy=self._busy(),
            cores=os.cpu_count() or 1,
            memory=total,
            used=total - available,
            load=os.getloadavg()[0],
        )

    def _busy(self) -> float | None:
        """Percent of all cores; None where nothing has passed since the last reading, or nothing can be read."""
        before, self._before = self._before, _ticks(self._stat)
        if before is None or self._before is None:
            return None
        idle, total = (now - then for now, then in zip(self._before, before, strict=True))
        # a core that goes offline takes its ticks along
        return min(100.0, max(0.0, 100.0 * (total - idle) / total)) if total > 0 else None


def _ticks(path: str) -> tuple[int, int] | None:
    """Of all cores together since the boot: idle, and in all."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            line = os.read(descriptor, 512).partition(b"\n")[0]
        finally:
            os.close(descriptor)
        times = [int(text) for text in line.split()[1 : _TIMES + 1]]
    except (OSError, ValueError):
        return None
    return (sum(times[_IDLE]), sum(times)) if len(times) == _TIMES else None
