"""A state directory of its own with runtimes on it, and nothing left running afterwards."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

from reconciler.act import procfs, runfile
from reconciler.act.process import ProcessRuntime
from reconciler.model.observation import Exited, Running
from reconciler.model.plan import Launch, Probe, Strikes
from tests.eventually import eventually, eventually_async

PROBE = Probe(path=None, interval=1.0, timeout=1.0, failures=3, start=60.0)
SLEEP = ("sleep", "1000")


def sh(script):
    return ("/bin/sh", "-c", script)


def py(script):
    return (sys.executable, "-I", "-S", "-c", script)


def launch(slot="chat/0", run=1, argv=SLEEP, *, env=None, directory=None, strikes=None):
    return Launch(
        slot=slot,
        run=run,
        source="fleet.d/chat.yaml",
        engine="command",
        argv=tuple(argv),
        env=env or {},
        directory=directory,
        probe=PROBE,
        fingerprint="f1",
        live="l1",
        settings="{}",
        strikes=strikes or Strikes(),
    )


class Stage:
    """One state directory."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.changes: list[str] = []

    def path(self, slot="chat/0"):
        return self.state / "slots" / slot.replace("/", ".")

    def logs(self, slot="chat/0"):
        return self.state / "logs" / slot.replace("/", ".")

    def log(self, slot="chat/0", run=1, piece=0):
        return (self.logs(slot) / f"{run}.{piece}.log").read_text()

    @contextlib.asynccontextmanager
    async def runtime(self, **more):
        runtime = ProcessRuntime(str(self.state), on_change=self.changes.append, **more)
        await runtime.open()
        try:
            yield runtime
        finally:
            await runtime.close()

    def processes(self):
        """Keepers and engines of this state directory."""
        return [pid for pid in procfs.pids() if self._ours(pid)]

    def recorded(self, slot="chat/0") -> runfile.Run:
        """What its keeper has written down."""
        run = runfile.read(str(self.path(slot) / "run.json"))
        assert run is not None
        return run

    def keepers(self, slot="chat/0"):
        return [pid for pid in procfs.pids() if self._at(pid) == str(self.path(slot)) and comm(pid).startswith("hf:")]

    def clear(self):
        def gone():
            left = self.processes()
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not left

        eventually(gone, what="everything of the test has ended")

    def _ours(self, pid):
        return alive(pid) and (self._at(pid).startswith(f"{self.state}/") or f"HOME={self.state}" in environ(pid))

    def _at(self, pid):
        try:
            return os.readlink(f"/proc/{pid}/cwd").removesuffix(" (deleted)")
        except OSError:
            return ""


def comm(pid):
    return (procfs.read(f"/proc/{pid}/comm") or b"").decode().strip()


def environ(pid):
    return (procfs.read(f"/proc/{pid}/environ") or b"").decode(errors="replace").split("\0")


def alive(pid):
    found = procfs.stat(pid)
    return found is not None and not found.ended


def identity(pid: int) -> tuple[int, int]:
    """Its pid and start time; no process has these once it is gone."""
    found = procfs.stat(pid)
    return (pid, -1) if found is None else (pid, found.start)


async def ended(runtime: ProcessRuntime, slot: str = "chat/0") -> Exited:
    """How its run ended, once it has."""

    def look() -> Exited | None:
        instance = runtime.instances.get(slot)
        return instance.phase if instance is not None and isinstance(instance.phase, Exited) else None

    phase = await eventually_async(look, what=f"{slot} has ended")
    assert phase is not None
    return phase


async def running(runtime: ProcessRuntime, slot: str = "chat/0") -> Running:
    """Its phase, once it runs."""

    def look() -> Running | None:
        instance = runtime.instances.get(slot)
        return instance.phase if instance is not None and isinstance(instance.phase, Running) else None

    phase = await eventually_async(look, what=f"{slot} runs")
    assert phase is not None
    return phase


async def said(stage, text, *, slot="chat/0", run=1):
    """Wait until the log holds it."""

    def look():
        try:
            return text in stage.log(slot, run)
        except FileNotFoundError:
            return False

    await eventually_async(look, what=f"{slot} says {text!r}")


def live(scene):
    """Run a coroutine of a test."""
    asyncio.run(scene)
