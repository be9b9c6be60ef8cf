"""Drives `ends.c`: engines and clients on one core, what they load on another, and what that costs."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.living import OUT

HERE = Path(__file__).parent
SOURCES = ("ends.c", "ends_clients.c", "ends_engines.c", "ends.h")
KEY = "hf-bench"
"""What clients show."""


def program() -> Path | None:
    """The compiled program; None where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    made = OUT / "ends"
    sources = [HERE / name for name in SOURCES]
    if not made.exists() or made.stat().st_mtime < max(path.stat().st_mtime for path in sources):
        OUT.mkdir(exist_ok=True)
        subprocess.run([compiler, "-O2", "-o", str(made), *map(str, sources[:3])], check=True)
    return made


def free(count: int) -> list[int]:
    """So many ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def pinned(core: int) -> list[str]:
    """Words before a command that keep it on one core: 0 for load, 1 for what is loaded."""
    cores = sorted(os.sched_getaffinity(0))
    return ["taskset", "-c", str(cores[core])] if len(cores) > core and shutil.which("taskset") else []


@dataclass(frozen=True, kw_only=True)
class Load:
    """What came of one load; microseconds at 50, 90, 99 and 100 %."""

    requests: int
    before: int
    """That failed before the first byte of an answer."""
    after: int
    refused: int
    """Attempts to connect in vain."""
    status: int
    """Answers other than 200."""
    seconds: float
    cpu: float
    """Of both ends."""
    events: int
    merged: int
    """Events that came in one read with another."""
    bytes: int
    latency: tuple[float, ...]
    first: tuple[float, ...]
    """To the first byte of the answer's body."""
    lag: tuple[float, ...]
    """From an event's sending to its coming."""
    outliers: tuple[tuple[int, float, str], ...]
    """What failed or was slow: when it ended (ns of CLOCK_MONOTONIC), after how many µs, and why."""


class Ends:
    """One process of them."""

    def __init__(self, ports: Sequence[int], core: int | None = 0) -> None:
        made = program()
        assert made is not None
        self.ports = tuple(ports)
        self.process = subprocess.Popen(
            [*(() if core is None else pinned(core)), str(made), *map(str, ports)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip
        self.say("set")

    def say(self, line: str) -> str:
        """Tell it something, and hear what it says."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        heard = self.process.stdout.readline()
        if not heard:
            raise RuntimeError(f"the ends have ended on: {line}")
        return heard

    def set(self, **told: int) -> None:
        """How engines answer: `delay` and `every` in µs, `events` of a stream, `size` of an answer in bytes."""
        self.say("set " + " ".join(f" {key}={value}" for key, value in told.items()))

    def ready(self, request: Path, target: int, connections: int, **more: int) -> None:
        """Connect and ask until it may be counted: `count` requests, or `seconds_ms`; `warm` before; `slow` in µs."""
        told = " ".join(f" {key}={value}" for key, value in more.items())
        self.say(f"run  target={target} request={request} connections={connections} {told}")

    def begin(self) -> None:
        """Count from now on; `end` tells."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")

    def end(self) -> Load:
        """What came of it, once it is over."""
        assert self.process.stdout is not None
        found = json.loads(self.process.stdout.readline())
        found |= {key: tuple(found[key]) for key in ("latency", "first", "lag", "outliers")}
        return Load(**found)

    def load(self, request: Path, target: int, connections: int, **more: int) -> Load:
        """All of it."""
        self.ready(request, target, connections, **more)
        self.begin()
        return self.end()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


@contextlib.contextmanager
def ends(ports: Sequence[int] = (), *, core: int | None = 0) -> Generator[Ends]:
    """Engines at these ports, and clients; until the block ends."""
    both = Ends(ports, core)
    try:
        yield both
    finally:
        both.stop()


@dataclass(frozen=True, kw_only=True)
class Requests:
    """Files that hold a request's bytes, as they are sent."""

    plain: Path
    stream: Path


@contextlib.contextmanager
def requests(prompt: int = 1000) -> Generator[Requests]:
    """A chat with a prompt of so many bytes, for an answer and for a stream."""
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as place:
        made = Requests(plain=Path(place) / "plain", stream=Path(place) / "stream")
        for path, stream in ((made.plain, False), (made.stream, True)):
            messages = [{"role": "user", "content": "x" * prompt}]
            asked = {"model": "chat", "messages": messages, "max_tokens": 64, "temperature": 0.7}
            text = {**asked, "stream": True, "stream_options": {"include_usage": True}} if stream else asked
            body = json.dumps(text, separators=(",", ":")).encode()
            head = (
                "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: application/json\r\n"
                f"authorization: Bearer {KEY}\r\nuser-agent: OpenAI/Python 2.0.0\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\n\r\n"
            )
            path.write_bytes(head.encode() + body)
        yield made


def family(pid: int) -> list[int]:
    """A process and all that come from it."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found = [pid]
    for one in found:
        found += parents.get(one, ())
    return found


def cpu(pid: int) -> float:
    """CPU seconds that a process and all that come from it have taken."""
    spent = 0
    for one in family(pid):
        for path in Path(f"/proc/{one}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):
                spent += int(path.read_text().split()[0])
    return spent / 1e9


def resident(pid: int) -> float:
    """MiB that a process and all that come from it hold, of shared pages each its part."""
    held = 0
    for one in family(pid):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
            held += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return held / 1024
