"""A daemon without a fleet: it records what it is asked, and answers what it is told to. And the API in front of it."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Generator
from dataclasses import dataclass, field, replace
from typing import Any

from reconciler.api.control import RunChoice
from reconciler.api.server import Server
from reconciler.model.answers import Info
from reconciler.model.errors import ApiError
from reconciler.model.facts import Facts
from reconciler.model.memory import Memory
from reconciler.model.observation import Gpu, Holder, Host, Instance, Observation, Ready, Running
from reconciler.model.plan import Blocked, Launch, Plan, Probe, Start, Stop
from reconciler.model.source import Revision
from reconciler.model.status import (
    Condition,
    Endpoint,
    Event,
    GpuShare,
    GpuStatus,
    Reason,
    Replica,
    Status,
    WorkloadStatus,
)

GIB = 2**30
Soon = Callable[[Callable[[], object]], None]


def launch(slot: str, **more: Any) -> Launch:
    probe = Probe(path="/health", interval=5.0, timeout=3.0, failures=3, start=300.0)
    given: dict[str, Any] = {"run": 1, "source": "fleet.d/a.yaml", "engine": "llamacpp", "port": 9000}
    given |= {"argv": ("llama-server",), "fingerprint": "f", "live": "l", "settings": "{}", "env": {"A": "b"}}
    return Launch(slot=slot, probe=probe, **(given | more))


def workload(
    name: str, *, ready: int = 1, wanted: int = 1, reason: Reason = Reason.Ready, why: str = "", **more: Any
) -> WorkloadStatus:
    """One row, all its replicas ready or starting."""
    good = ready >= wanted
    replicas = tuple(
        Replica(
            slot=f"{name}/{index}",
            state="ready" if index < ready else "starting",
            run=1,
            pid=4000 + index,
            port=9000 + index,
            gpus=(index,),
            memory=16 * GIB,
            since=100.0,
        )
        for index in range(wanted)
    )
    endpoints = tuple(
        Endpoint(slot=f"{name}/{index}", address=f"http://127.0.0.1:{9000 + index}", names=(name, f"{name}-alias"))
        for index in range(ready)
    )
    conditions = (
        Condition(type="Ready", status="True" if good else "False", reason=reason, message=why),
        Condition(type="Reconciling", status="False" if good else "True", reason=Reason.Converged),
        Condition(type="Stalled", status="False", reason=Reason.Converged),
    )
    row = WorkloadStatus(
        name=name,
        kind="Model",
        engine="llamacpp",
        source=f"fleet.d/{name}.yaml:1",
        wanted=wanted,
        priority=100,
        paused=False,
        conditions=conditions,
        replicas=replicas,
        endpoints=endpoints,
    )
    return replace(row, **more)


def status(*rows: WorkloadStatus, **more: Any) -> Status:
    given: dict[str, Any] = {"host": "box1", "root": "/srv/fleet.d", "now": 200.0}
    given |= {"revision": Revision(commit="3f2a9c1" + "0" * 33)}
    given |= {"converged": True, "workloads": {row.name: row for row in rows}}
    return Status(**(given | more))


GPUS = (
    GpuStatus(
        index=0,
        uuid="GPU-0",
        model="NVIDIA H200",
        memory=141 * GIB,
        used=62 * GIB,
        shares=(
            GpuShare(holder="chat/0", memory=60 * GIB, ours=True),
            GpuShare(holder="pid 7 x", memory=GIB, ours=False),
        ),
    ),
)
FACTS = Facts(
    observation=Observation(
        host=Host(name="box1", cpus=8, memory=64 * GIB, available=32 * GIB, programs={"vllm": "/usr/bin/vllm"}),
        gpus=(
            Gpu(
                index=0,
                uuid="GPU-0",
                model="NVIDIA H200",
                memory=141 * GIB,
                used=62 * GIB,
                holders=(
                    Holder(pid=4000, name="llama-server", memory=61 * GIB, slot="chat/0"),
                    Holder(pid=7, name="x", memory=GIB),
                ),
            ),
        ),
        instances={
            "chat/0": Instance(
                slot="chat/0",
                launch=launch("chat/0", gpus=("GPU-0",)),
                phase=Running(pid=4000, since=1.0, readiness=Ready(since=2.0), was_ready=True),
            )
        },
        ports=frozenset({9000}),
        healthy={"chat/0": "f:l"},
    ),
    memory=Memory(in_flight={"new/0": Start(slot="new/0", launch=launch("new/0"), reason=Reason.NotRunning)}),
    now=200.0,
)
ROAD = (
    Plan(
        actions=(Stop(slot="chat/0", run=1, grace=10.0, reason=Reason.SpecChanged, detail="context 8192 → 16384"),),
        blocked=(Blocked(subject="big", reason=Reason.NoFreeGpu, detail="needs 80.0 GiB on one gpu", until=None),),
        wake_at=205.5,
    ),
    Plan(),
)


INFO = Info(version="0.1.0", pid=4242, root="/srv/fleet.d", state="/var/lib/holdfast", started_at=1.7e9)


@dataclass
class History:
    """Events in a list."""

    kept: list[Event] = field(default_factory=list[Event])
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def since(self, seq: int, limit: int = 1000, subject: str | None = None, *, newest: bool = False) -> list[Event]:
        found = [one for one in self.kept if one.seq > seq and subject in (None, one.subject)]
        return found[-limit:] if newest else found[:limit]

    async def follow(self, seq: int, subject: str | None = None) -> AsyncIterator[Event]:
        while True:
            self.changed.clear()
            for one in self.since(seq, subject=subject):
                seq = one.seq
                yield one
            await self.changed.wait()


def event(seq: int, subject: str = "chat/0", message: str = "exited with status 1") -> Event:
    return Event(seq=seq, at=1.7e9, severity="info", subject=subject, reason=Reason.Exited, message=message)


@dataclass
class Recorder:
    """The daemon as the API sees it."""

    info: Info = INFO
    now: Status = field(default_factory=lambda: status(workload("chat")))
    events: History = field(default_factory=lambda: History([event(1), event(2, "daemon")]))
    asked: list[tuple[object, ...]] = field(default_factory=list[Any])
    log_pieces: list[bytes] = field(default_factory=lambda: [b"one\n", b"two\n"])
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    on_ask: Callable[["Recorder"], None] = lambda _: None
    known: frozenset[str] | None = None

    def status(self) -> Status:
        return self.now

    async def next_status(self, after: Status) -> Status:
        while self.now is after:
            self.changed.clear()
            await self.changed.wait()
        return self.now

    def facts(self) -> Facts:
        return FACTS

    def road(self) -> tuple[Plan, ...]:
        return ROAD

    def publish(self, new: Status) -> None:
        self.now = new
        self.changed.set()

    def log(self, name: str, index: int, run: RunChoice, *, lines: int, follow: bool) -> AsyncIterator[bytes]:
        self._ask("log", name, index, run, lines, follow)

        async def pieces() -> AsyncIterator[bytes]:
            for piece in self.log_pieces:
                yield piece
            if follow:
                await asyncio.Event().wait()

        return pieces()

    def restart(self, name: str, index: int | None) -> str:
        return self._ask("restart", name, index)

    def stop(self, name: str) -> str:
        return self._ask("stop", name)

    def pause(self, name: str) -> str:
        return self._ask("pause", name)

    def resume(self, name: str) -> str:
        return self._ask("resume", name)

    def scale(self, name: str, replicas: int | None) -> str:
        return self._ask("scale", name, replicas)

    def apply(self, *, prune: bool) -> str:
        self.asked.append(("apply", prune))
        self.on_ask(self)
        return "looks again now"

    def _ask(self, *what: object) -> str:
        if self.known is not None and what[1] not in self.known:
            raise ApiError(f"no workload {what[1]} in the fleet", status=404)
        self.asked.append(what)
        self.on_ask(self)
        return f"{what[1]}: will do {what[0]}"


@contextlib.contextmanager
def served(recorder: Recorder, path: str, **settings: Any) -> Generator[Soon, None, None]:
    """The API on a socket, in a thread of its own. Yields what runs a function in that thread."""
    loop = asyncio.new_event_loop()
    server: list[Server] = []
    up = threading.Event()
    failed: list[BaseException] = []

    async def start() -> None:
        server.append(Server(recorder, path, **settings))
        await server[0].start()

    def run() -> None:
        try:
            loop.run_until_complete(start())
        except BaseException as error:
            failed.append(error)
            up.set()
            return
        loop.call_soon(up.set)
        loop.run_forever()
        loop.run_until_complete(server[0].close())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    up.wait(20)
    if failed:
        raise failed[0]
    try:

        def soon(what: Callable[[], object]) -> None:
            loop.call_soon_threadsafe(what)

        yield soon
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
