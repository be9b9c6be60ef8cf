"""The machine: its name, processors, memory, and the engine programs on PATH."""

import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Mapping

from reconciler import booted
from reconciler.model.observation import Host

PROGRAMS = ("llama-server", "vllm", "sglang", "text-generation-launcher", "tritonserver", "ollama")
"""What the engines look for on PATH."""
_LOOK_AGAIN = 30.0
"""Seconds for which the name, PATH and the driver are taken to be as they were."""
_LAST = 5.0
"""Seconds for which its memory is taken to be as it was."""
_DRIVER = "/sys/module/nvidia/version"


class Settled:
    """What rarely changes, and when it was found: looking for it takes longer than a pass."""

    def __init__(self) -> None:
        self.until = float("-inf")
        self.name = "local"
        self.cpus = 1
        self.found: Mapping[str, str] = {}
        self.driver: str | None = None
        self.installed = False
        self.no_units = ""
        self.last: Host | None = None
        self.last_until = float("-inf")

    def refresh(self, now: float, path: str | None = None) -> None:
        """Look again if it is time to; `path` instead of PATH."""
        if now >= self.until:
            self.until = now + _LOOK_AGAIN
            self.name = label(socket.gethostname())
            self.cpus = len(os.sched_getaffinity(0))
            paths = {name: shutil.which(name, path=path) for name in PROGRAMS}
            self.found = {name: os.path.abspath(path) for name, path in paths.items() if path is not None}
            self.driver = _driver()
            self.installed, self.no_units = booted.installed(), booted.no_units()


_settled = Settled()


def look() -> Host:
    """The machine as it was at most 5 s ago, and what rarely changes of it at most 30 s ago."""
    now = time.monotonic()
    if _settled.last is not None and now < _settled.last_until:
        return _settled.last
    _settled.refresh(now)
    total, available = memory()
    _settled.last_until = now + _LAST
    _settled.last = Host(
        name=_settled.name,
        cpus=_settled.cpus,
        memory=total,
        available=available,
        at=now,
        programs=_settled.found,
        python=sys.executable or "python3",
        driver=_settled.driver,
        auto="systemd" if _settled.installed else "process",
        no_units=_settled.no_units,
    )
    return _settled.last


def label(name: str) -> str:
    """A host name as a DNS label: its first part, in small letters, `local` where nothing is left of it."""
    text = re.sub(r"[^a-z0-9-]+", "-", name.partition(".")[0].lower())[:63].strip("-")
    return text or "local"


def memory() -> tuple[int, int]:
    """MemTotal and MemAvailable, bytes; zeros where the kernel does not tell."""
    try:
        fd = os.open("/proc/meminfo", os.O_RDONLY | os.O_CLOEXEC)
        try:
            lines = os.read(fd, 256).splitlines()
        finally:
            os.close(fd)
    except OSError:
        return 0, 0
    figures = {line.split()[0]: int(line.split()[1]) * 1024 for line in lines[:3] if len(line.split()) >= 2}
    return figures.get(b"MemTotal:", 0), figures.get(b"MemAvailable:", 0)


def _driver() -> str | None:
    try:
        with open(_DRIVER, encoding="ascii") as file:
            return file.read(64).strip() or None
    except (OSError, ValueError):
        return None
