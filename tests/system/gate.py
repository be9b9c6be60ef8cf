"""A real gateway in front of a scriptable engine, told by a daemon's socket; nothing of it is left afterwards."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from pathlib import Path

from reconciler.act import procfs
from reconciler.booted import for_gateways
from reconciler.model.routing import Front, Grant, Place, Served, Site, Table
from tests.eventually import eventually
from tests.gateway.client import Raw, chat, once
from tests.gateway.control import Control, control
from tests.gateway.exchange import Exchange
from tests.gateway.scripts import SSE, asked, chunk, events
from tests.gateway.upstream import Upstream, upstream
from tests.system.box import LATEST, ROOT


class Gate:
    """One gateway, its state and its log."""

    def __init__(self, place: Path, daemon: Control, engine: Upstream, port: int) -> None:
        self.daemon, self.engine, self.port = daemon, engine, port
        self.state = place / "state"
        self.log = place / "gateway.log"
        self.newer = place / "newer"
        """Modules here come before all others."""
        self.newer.mkdir()
        self.process: subprocess.Popen[bytes] | None = None
        at = Place(slot="chat/0", run=1, address=engine.address, names=("chat",))
        model = Served(name="chat", names=("chat",), engine="vllm", source="x", outlook="ready", places=(at,))
        front = Front(listen=(f"http://127.0.0.1:{port}",), workers=2, drain=20.0)
        self.table = Table(seq=1, epoch="e", models={"chat": model}, front=front)

    def tell(
        self,
        *,
        models: dict[str, Served] | None = None,
        grants: tuple[Grant, ...] | None = None,
        sites: tuple[Site, ...] | None = None,
        **front: object,
    ) -> Table:
        """Another table, in which this is different."""
        changes = {"models": models, "grants": grants, "sites": sites}
        given = {name: value for name, value in changes.items() if value is not None}
        table = replace(self.table, seq=self.table.seq + 1, front=replace(self.table.front, **front), **given)
        self.table = table
        self.daemon.table(table)
        return table

    def argv(self) -> list[str]:
        where = ["--state", str(self.state), "--socket", str(self.state.with_name("s"))]
        return [sys.executable, "-P", "-m", "reconciler.cli", "gateway", *where]

    def start(self, *, answers: bool = True) -> subprocess.Popen[bytes]:
        """Start it, and wait until it answers, and each of its workers has read its program."""
        with open(self.log, "ab") as log:
            environment = {**os.environ, "PYTHONPATH": f"{self.newer}:{ROOT}"}
            self.process = subprocess.Popen(
                self.argv(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.state.parent, env=environment
            )
        if answers:
            eventually(self.well, within=LATEST, what="the gateway answers")
            eventually(self._begun, within=LATEST, what="its workers have begun")
        return self.process

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def workers(self) -> list[int]:
        """Pids of its workers, the draining included."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [int(pid) for pid in children if b"gateway.worker" in (procfs.read(f"/proc/{pid}/cmdline") or b"")]

    def _begun(self) -> bool:
        return all((procfs.read(f"/proc/{pid}/comm") or b"").startswith(b"hf:gateway.") for pid in self.workers())

    def listening(self) -> dict[str, list[str]]:
        """Where it says that it listens, and what stands in the way."""
        try:
            return json.loads((self.state / "gateway" / "listening.json").read_text())
        except OSError:
            return {"open": [], "problems": []}

    def connects(self, port: int | None = None) -> bool:
        try:
            socket.create_connection(("127.0.0.1", port or self.port), timeout=LATEST).close()
        except ConnectionRefusedError:
            return False
        return True

    def well(self) -> bool:
        """Whether a request is answered."""
        try:
            return asyncio.run(once(self.port, chat())).status == 200
        except (OSError, EOFError):
            return False

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def reload(self) -> None:
        """SIGHUP, and wait until workers of the next program have taken over."""
        before = {*self.workers()}
        os.kill(self.pid, signal.SIGHUP)
        self.replaced(before)

    def replaced(self, before: set[int]) -> None:
        """Wait until these take nothing new, and others do."""
        wanted = self.table.front.workers

        def done() -> bool:
            started = [pid for pid in self.workers() if pid not in before]
            return len(started) == wanted and not any(map(self.accepts, before)) and all(map(self.accepts, started))

        eventually(done, within=LATEST, what="others have taken over")

    def accepts(self, pid: int) -> bool:
        """Whether a process holds a listening socket of ours."""
        return bool(self.inodes() & sockets(pid))

    def inodes(self) -> set[str]:
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return {f"socket:[{row[9]}]" for row in rows if row[3] == "0A" and row[1].endswith(f":{self.port:04X}")}

    def clear(self) -> None:
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            left = self.workers() if self.process.poll() is None else []
            self.process.kill()
            self.process.wait()
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def sockets(pid: int) -> set[str]:
    """What its descriptors lead to."""
    found: set[str] = set()
    with contextlib.suppress(OSError):
        for each in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                found.add(os.readlink(f"/proc/{pid}/fd/{each}"))
    return found


@contextlib.contextmanager
def gate(place: Path, port: int) -> Generator[Gate]:
    """One with its daemon and its engine, not started yet."""
    with control(Path(for_gateways(str(place / "s")))) as daemon, upstream() as engine:
        made = Gate(place, daemon, engine, port)
        daemon.table(made.table)
        try:
            yield made
        finally:
            made.clear()


class Stream:
    """A script: one answer that goes on until `ends`, and then ends as it should."""

    def __init__(self) -> None:
        self.sent = 0
        self.ends = False

    async def __call__(self, exchange: Exchange) -> None:
        *tokens, last, done = events("/v1/chat/completions", await asked(exchange), 1)
        await exchange.send(SSE + b"transfer-encoding: chunked\r\n\r\n")
        while not self.ends:
            await exchange.send(chunk(tokens[0]))
            self.sent += 1
            await exchange.pause(0.02)
        await exchange.send(chunk(last) + chunk(done) + chunk(b""))


@dataclass
class Load:
    """Clients that ask all the time: some on connections that they keep, some each time on another."""

    port: int
    answered: int = 0
    failed: list[str] = field(default_factory=list[str])
    _stop: bool = False

    async def keep(self, kept: int = 4, fresh: int = 4) -> None:
        """Until `stop`."""
        await asyncio.gather(*(self._kept() for _ in range(kept)), *(self._fresh() for _ in range(fresh)))

    def stop(self) -> None:
        self._stop = True

    async def _kept(self) -> None:
        while not self._stop:
            async with await Raw.open(self.port) as raw:
                while not self._stop and await self._ask(raw):
                    pass

    async def _fresh(self) -> None:
        while not self._stop:
            try:
                async with await Raw.open(self.port) as raw:
                    await self._ask(raw)
            except OSError as error:
                self.failed.append(f"connect: {error!r}")

    async def _ask(self, raw: Raw) -> bool:
        """Whether the connection may be used again."""
        try:
            answer = await raw.ask(chat())
        except (OSError, EOFError) as error:
            self.failed.append(repr(error))
            return False
        if answer.status != 200 or not answer.whole:
            self.failed.append(f"{answer.status} {answer.body[:200]!r}")
        self.answered += 1
        return (answer.header("connection") or "").lower() != "close"
