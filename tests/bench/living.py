"""A real daemon on directories of its own, keeping engines that write down when they were executed."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.eventually import eventually

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "bench-out"
SOURCE = Path(__file__).with_name("stamp.c")


def stamp() -> Path | None:
    """The engine of these benchmarks; None where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    made = OUT / "stamp"
    if not made.exists() or made.stat().st_mtime < SOURCE.stat().st_mtime:
        OUT.mkdir(exist_ok=True)
        built = [compiler, "-O2", "-o", str(made), str(SOURCE)]
        if subprocess.run([*built, "-static"], check=False, capture_output=True).returncode:
            subprocess.run(built, check=True)
    return made


@dataclass(slots=True)
class Starts:
    """What the engines wrote of their starts."""

    path: Path
    at: int = 0
    seen: dict[str, list[tuple[int, int]]] = field(default_factory=dict[str, list[tuple[int, int]]])
    """By name: pid and nanoseconds of CLOCK_MONOTONIC of each start."""

    def read(self) -> None:
        """Take in what is new."""
        with contextlib.suppress(FileNotFoundError), self.path.open("rb") as file:
            file.seek(self.at)
            for line in file.read().splitlines(keepends=True):
                if line.endswith(b"\n"):
                    self.at += len(line)
                    name, pid, when = line.split()
                    self.seen.setdefault(name.decode(), []).append((int(pid), int(when)))

    def count(self, name: str) -> int:
        """Starts so far."""
        self.read()
        return len(self.seen.get(name, ()))

    def wait(self, name: str, count: int, *, within: float = 30.0) -> tuple[int, int]:
        """The `count`-th start of a name, once it is there."""
        eventually(lambda: self.count(name) >= count, within=within, what=f"start {count} of {name}")
        return self.seen[name][count - 1]


class Daemon:
    """`holdfast run` in a process of its own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.fleet, self.state = place / "fleet", place / "state"
        self.starts = Starts(place / "starts")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The daemon's."""
        assert self._process is not None
        return self._process.pid

    def write(self, name: str, text: str) -> int:
        """Put a file of the fleet in place in one step. Nanoseconds of CLOCK_MONOTONIC just before it."""
        beside = self.fleet / f".{name}.new"
        beside.write_text(text)
        begun = time.monotonic_ns()
        beside.rename(self.fleet / f"{name}.yaml")
        return begun

    def service(self, name: str, engine: Path, *, replicas: int = 1, env: str = "", port: bool = False) -> str:
        """YAML of a service that is an engine of ours."""
        words = [str(engine), str(self.starts.path), "{name}/{index}", *(["{port}"] if port else [])]
        lines = ["kind: Service", f"name: {name}", f"command: {words!r}", f"replicas: {replicas}"]
        return "\n".join([*lines, *([f"env: {{MARK: '{env}'}}"] if env else [])]) + "\n"

    def start(self) -> None:
        """Start it."""
        with (self.place / "daemon.log").open("ab") as log:
            words = ["run", str(self.fleet), "--state", str(self.state), "--log-level", "warning"]
            self._process = subprocess.Popen(self.holdfast(*words), stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def holdfast(self, *words: str) -> list[str]:
        """The command line of a verb."""
        return [os.path.join(sys.prefix, "bin", "holdfast"), *words]

    def ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a verb against it."""
        return subprocess.run(
            self.holdfast(*words, "--state", str(self.state)), check=False, capture_output=True, text=True
        )

    def ready(self, names: Iterable[str], *, within: float = 120.0) -> None:
        """Return once each first replica was started and nothing moves any more."""
        for name in names:
            self.starts.wait(f"{name}/0", 1, within=within)
        eventually(lambda: self.ask("status").returncode == 0, within=within, what="the fleet is as declared")

    def stop(self) -> None:
        """End it and every engine."""
        self.ask("down", "--engines")
        if self._process is not None:
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGTERM)
            self._process.wait(30)
        self.starts.read()
        for runs in self.starts.seen.values():
            for pid, _ in runs:  # whatever `down` could not reach
                if _is_ours(pid):
                    os.kill(pid, signal.SIGKILL)


def _is_ours(pid: int) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/exe") == str(OUT / "stamp")
    except OSError:
        return False


@contextlib.contextmanager
def daemon() -> Generator[Daemon]:
    """A daemon that is to be started, in a directory that goes with it."""
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-", ignore_cleanup_errors=True) as place:
        living = Daemon(Path(place))
        living.fleet.mkdir()
        try:
            yield living
        finally:
            living.stop()


def percentile(samples: list[float], part: float) -> float:
    """The smallest sample that so large a part of them does not exceed."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, max(0, -(-int(part * 1000) * len(ordered) // 1000) - 1))]
