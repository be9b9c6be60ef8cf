"""A real daemon on directories of its own, with real engines; nothing of it is left running afterwards."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from reconciler.act import procfs
from reconciler.client import Client
from reconciler.model.errors import ApiError
from tests.act.stage import alive, environ, identity
from tests.eventually import eventually

ROOT = Path(__file__).resolve().parents[2]
SERVER = str(Path(__file__).with_name("server.py"))
SLEEP = ("sleep", "100000")
LATEST = 60.0
"""Seconds that anything may take on a machine that has other things to do."""


class Box:
    """One fleet directory, one state directory, one socket, and at most one daemon of ours."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.fleet = place / "fleet.d"
        self.state = place / "state"
        self.log = place / "daemon.log"
        self.inventory = place / "inventory.yaml"
        self.env: dict[str, str] = {}
        """What the daemon's environment has more than ours."""
        self.fleet.mkdir(parents=True)
        self.client = Client(str(place / "s.sock"), timeout=LATEST)
        self.process: subprocess.Popen[bytes] | None = None

    # -- files

    def write(self, name: str, text: str) -> None:
        """A file of the fleet, replaced in one step as editors do."""
        fresh = self.fleet / f".{name}.new"
        fresh.write_text(text)
        fresh.replace(self.fleet / name)

    def service(self, name: str, *command: str, **fields: object) -> None:
        """A file that declares one Service; it sleeps where no command is given. JSON is YAML."""
        said = {"kind": "Service", "name": name, "command": command or SLEEP, **fields}
        self.write(f"{name}.yaml", json.dumps(said))

    def server(self, name: str, *modes: str, **fields: object) -> None:
        """The same of a small HTTP server on a leased port."""
        self.service(name, sys.executable, "-I", "-S", SERVER, "{port}", *modes, **fields)

    def ports(self, first: int, count: int = 20) -> None:
        """The range that ports are leased from: one of its own for each test, as several may run beside each other."""
        self.write("node.yaml", json.dumps({"kind": "Node", "name": "local", "ports": f"{first}-{first + count - 1}"}))

    def gpus(self, *sizes: str) -> None:
        """Simulated GPUs of these sizes, from the next daemon on."""
        cards = [
            {"index": index, "uuid": f"GPU-{index}", "model": "NVIDIA L4", "memory": size, "used": "0GiB", "links": []}
            for index, size in enumerate(sizes)
        ]
        self.inventory.write_text(json.dumps({"node": "box1", "memory": "64GiB", "gpus": cards}))

    def vllm(self) -> Path:
        """A directory, to stand first on PATH, with what stands in for vLLM."""
        place = self.place / "bin"
        place.mkdir()
        text = Path(__file__).with_name("vllm.py").read_text()
        (place / "vllm").write_text(text.replace("#!/usr/bin/env python3", f"#!{sys.executable} -I", 1))
        (place / "vllm").chmod(0o755)
        return place

    def remove(self, name: str) -> None:
        (self.fleet / name).unlink()

    # -- the daemon

    def argv(self, *more: str) -> list[str]:
        places = ["--fleet", str(self.fleet), "--state", str(self.state), "--socket", self.client.path]
        gpus = ["--inventory", str(self.inventory)] if self.inventory.exists() else []
        return [sys.executable, "-m", "reconciler.cli", "run", *places, *gpus, *more]

    def daemon(self, *, before: tuple[str, ...] = (), answers: bool = True) -> subprocess.Popen[bytes]:
        """Start it, and wait until it has looked once. `before` is a program that becomes it."""
        with open(self.log, "ab") as log:
            self.process = process = subprocess.Popen(
                [*before, *self.argv()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, **self.env},
            )
        if answers:
            eventually(lambda: self.look() or process.poll() is not None, within=LATEST, what="the daemon answers")
            assert process.poll() is None, f"the daemon has ended: {last_words(self)}"
        return process

    def kill(self) -> None:
        """SIGKILL it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def cli(self, *arguments: str, within: float = 60.0) -> subprocess.CompletedProcess[str]:
        """What `holdfast …` does and prints."""
        where = {"HOLDFAST_FLEET": self.fleet, "HOLDFAST_STATE": self.state, "HOLDFAST_SOCKET": self.client.path}
        return subprocess.run(
            [sys.executable, "-m", "reconciler.cli", *arguments],
            cwd=ROOT,
            env={**os.environ, **{key: str(value) for key, value in where.items()}},
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )

    # -- what it says

    def look(self):
        """Its status; None where it does not answer yet."""
        try:
            return self.client.status()
        except ApiError:
            return None

    def status(self):
        return self.client.status()

    def row(self, name):
        """Status of one workload; None where there is none."""
        found = self.look()
        return found.workloads.get(name) if found is not None else None

    def replica(self, slot):
        row = self.row(slot.split("/")[0])
        return next((one for one in row.replicas if one.slot == slot), None) if row is not None else None

    def stalled(self, name, reason=None):
        """The condition that says what stands in the way, once it does; for this reason, if one is given."""
        row = self.row(name)
        found = row.conditions[2] if row is not None else None
        fits = found is not None and found.status == "True" and reason in (None, found.reason.value)
        return found if fits else None

    def converged(self, *names: str, within: float = LATEST):
        """Wait until exactly these workloads are declared, all ready, and nothing is left to do."""

        def look():
            found = self.look()
            if found is None or not found.converged or set(found.workloads) != set(names):
                return None
            return found if all(row.ready for row in found.workloads.values()) else None

        return eventually(look, within=within, what=f"{names} converge")

    def events(self, subject=None):
        with contextlib.suppress(ApiError):
            return self.client.events(subject=subject, newest=True)
        return []

    def told(self, *words: str, subject: str | None = None, within: float = LATEST):
        """Wait for an event whose text holds all these words."""

        def look():
            return next(
                (e for e in self.events(subject) if all(word in f"{e.reason} {e.message}" for word in words)), 0
            )

        return eventually(look, within=within, what=f"an event says {words}")

    def pids(self):
        """Who runs: slot → (pid, start time)."""
        rows = self.status().workloads.values()
        return {one.slot: identity(one.pid) for row in rows for one in row.replicas if one.pid is not None}

    # -- what there is

    def ours(self):
        """Every process of this state directory, by what it carries or where it is: engines, children, keepers."""
        found = []
        for pid in procfs.pids():
            carried = environ(pid)
            home = next((entry for entry in carried if entry.startswith("HOME=")), "")
            with contextlib.suppress(OSError):
                home += os.readlink(f"/proc/{pid}/cwd")
            if f"{self.state}/slots/" in home and alive(pid):
                found.append((pid, next((e[14:] for e in carried if e.startswith("HOLDFAST_SLOT=")), "")))
        return found

    def engines(self, slot):
        """Pids of everything that carries a slot's name."""
        return [pid for pid, carried in self.ours() if carried == slot]

    def clear(self) -> list[str]:
        """End the daemon and all engines the regular way; what was left then, which is killed."""
        self.kill()
        ended = self.cli("down", "--engines", "--state", str(self.state)) if self.state.exists() else None
        left = [f"{pid} {carried or 'keeper'}" for pid, carried in self.ours()]
        if ended is not None and ended.returncode:
            left.append(f"down --engines: {ended.stderr}")

        def gone():
            for pid, _ in self.ours():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not self.ours()

        eventually(gone, what="everything of the test has ended")
        return [text for text in left if "keeper" not in text]

    def keep(self, name: str) -> None:
        """Lay logs, events and records where a person finds them after a failure."""
        into = ROOT / "test-artifacts" / name
        shutil.rmtree(into, ignore_errors=True)
        into.mkdir(parents=True)
        with contextlib.suppress(OSError, ApiError):
            (into / "status.txt").write_text(repr(self.client.status()))
        with contextlib.suppress(OSError):
            (into / "events.txt").write_text("\n".join(map(str, self.events())))
        for path in (self.log, self.fleet, self.state / "events.db", self.state / "logs"):
            with contextlib.suppress(OSError):
                copy = shutil.copytree if path.is_dir() else shutil.copy
                copy(path, into / path.name)


def last_words(box: Box) -> str:
    """What the daemon logged."""
    return box.log.read_text(errors="replace")
