"""A real gateway before the daemon of a box: one address for its models, and nothing of it left afterwards."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.eventually import eventually
from tests.gateway.client import once, request
from tests.system.box import LATEST, ROOT, Box

TAUGHT = {
    "kind": "Engine",
    "name": "taught",
    "command": [
        sys.executable, "-m", "tests.gateway.upstream", "--port", "{port}", "--script", "{params.script}",
        "--once={params.once}",
    ],
    "env": {"PYTHONPATH": str(ROOT)},
    "params": {"type": "object", "properties": {"script": {"type": "string"}, "once": {"type": "string"}}},
    "cpu": True,
}  # fmt: skip
"""The scriptable engine, as the fleet may declare it."""


class Front:
    """One gateway at `port` of 127.0.0.1."""

    def __init__(self, box: Box, port: int) -> None:
        self.box, self.port = box, port
        self.log = box.place / "gateway.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def declare(self, *, engines: int = 20, **gateway: object) -> None:
        """The file of the node: the gateway's port, engines at the `engines` ports behind it, `gateway` as written."""
        said = {"listen": [self.url], "access_log": "all", **gateway}
        ports = f"{self.port + 1}-{self.port + engines}"
        self.box.write("node.yaml", json.dumps({"kind": "Node", "name": "local", "ports": ports, "gateway": said}))

    def model(self, name: str, script: str = "answer", *, once: Path | None = None, **fields: object) -> None:
        """A file that declares one model which does what the script says, and loads until the file `once` is there."""
        params = {"script": script, **({"once": str(once)} if once is not None else {})}
        said = {"kind": "Model", "name": name, "source": f"file:{self.box.place}", "engine": "taught", "gpus": 0}
        self.box.write("taught.yaml", json.dumps(TAUGHT))
        self.box.write(f"{name}.yaml", json.dumps({**said, "params": params, **fields}))

    def start(self) -> None:
        """Start it, and wait until it answers."""
        where = ["--state", str(self.box.state), "--socket", self.box.client.path]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "reconciler.cli", "gateway", *where],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},  # its workers look nowhere else for themselves
            )
        eventually(self.well, within=LATEST, what="the gateway answers")

    def well(self) -> bool:
        """Whether it answers."""
        assert self.process is not None
        assert self.process.poll() is None, f"the gateway has ended: {self.said()}"
        try:
            return asyncio.run(once(self.port, request("GET", "/health", host="127.0.0.1"))).status == 200
        except (OSError, EOFError):
            return False

    def workers(self) -> list[int]:
        """Pids of its workers, those included that finish what they have begun."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in children]

    def said(self) -> str:
        """What it logged."""
        return self.log.read_text(errors="replace")

    def clear(self) -> None:
        """End it at once, with its workers."""
        if self.process is None:
            return
        left = self.workers() if self.process.poll() is None else []
        self.process.kill()
        self.process.wait()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
