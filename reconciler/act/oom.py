"""Whether the kernel has just killed something for memory: a counter, sampled. Standard library only.

Its own log is not ours to read everywhere, so a kill is known by two facts together: a SIGKILL that we did not send,
and a count of out-of-memory kills that rose within the last two samples.
"""

from __future__ import annotations

from reconciler.act import procfs


def counter() -> str:
    """The file that counts this control group's out-of-memory kills; the whole machine's where there is none.

    Version 2 has memory.events, version 1 memory.oom_control, the kernel /proc/vmstat: `oom_kill N` in each.
    """
    for line in (procfs.read("/proc/self/cgroup") or b"").decode().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            candidates = [f"/sys/fs/cgroup{path}/memory.events", f"/sys/fs/cgroup/unified{path}/memory.events"]
        elif "memory" in controllers.split(","):
            candidates = [f"/sys/fs/cgroup/memory{path}/memory.oom_control"]
        else:
            continue
        for candidate in candidates:
            if b"oom_kill " in (procfs.read(candidate) or b""):
                return candidate
    return MACHINE


def kills(path: str) -> int:
    """How many processes were killed for memory, by that counter."""
    for line in (procfs.read(path) or b"").splitlines():
        if line.startswith(b"oom_kill "):
            return int(line.split()[1])
    return 0


MACHINE = "/proc/vmstat"
"""Counts them on the whole machine."""
_PATH = counter()  # asked once: a keeper is forked into the control group of who read this


class Watch:
    """Two samples are kept: many gigabytes take a while to die, and the newer may have been taken meanwhile."""

    def __init__(self, path: str = _PATH) -> None:
        self._path = path
        self.begin()

    def begin(self) -> None:
        """What was killed until now is not ours."""
        self._older = self._newer = kills(self._path)

    def sample(self) -> None:
        """Forget what was killed before the last sample."""
        self._older, self._newer = self._newer, kills(self._path)

    def rose(self) -> bool:
        """Whether something was killed since the sample before the last."""
        return kills(self._path) > self._older
