"""A daemon without a fleet: it records what it is asked, and answers what it is told to. And the API in front of it."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Generator
from dataclasses import dataclass, field, replace
from typing import Any

from reconciler.api.control import RunChoice
from reconciler.api.server import Server
from reconciler.model.acts import Act
from reconciler.model.answers import About, Info, Launched, LogPage, Run, Written
from reconciler.model.errors import ApiError
from reconciler.model.facts import Declared, Facts, Road
from reconciler.model.live import HostMeters, Live
from reconciler.model.memory import Memory
from reconciler.model.metrics import Histogram, Metrics, ReplicaMetrics
from reconciler.model.observation import Gpu, Holder, Host, Instance, Observation, Ready, Running
from reconciler.model.plan import Blocked, Launch, Plan, Probe, Start, Stop
from reconciler.model.routing import Report, Table, Traffic, Wanted
from reconciler.model.source import Problem, Revision
from reconciler.model.status import (
    Condition,
    Endpoint,
    Event,
    GpuShare,
    GpuStatus,
    Meters,
    Reason,
    Replica,
    Status,
    WorkloadStatus,
)
from reconciler.model.stored import Blob, Kept, Shelf

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
PASSES = (
    Plan(
        actions=(Stop(slot="chat/0", run=1, grace=10.0, reason=Reason.SpecChanged, detail="context 8192 → 16384"),),
        blocked=(Blocked(subject="big", reason=Reason.NoFreeGpu, detail="needs 80.0 GiB on one gpu", until=None),),
        wake_at=205.5,
    ),
    Plan(),
)
ROAD = Road(
    passes=PASSES,
    declared=Declared(
        root="/srv/fleet.d",
        revision=Revision(commit="3f2a9c1" + "0" * 33),
        models=2,
        drains={"chat": 120.0},
        problems=(Problem(path="fleet.d/a.yaml", line=3, column=1, key="gpus", message="cannot be -1"),),
    ),
    facts=FACTS,
)


PAGE = LogPage(run=1, newest=1, first=0, end=8, at=4, data=b"two\n")
INFO = Info(version="0.1.0", pid=4242, root="/srv/fleet.d", state="/var/lib/holdfast", started_at=1.7e9)


LIVE = Live(
    now=200.0,
    meters={"GPU-0": Meters(at=199.5, busy=98, celsius=64, watts=310.5)},
    traffic={"chat": Wanted(waiting=1, in_flight={"chat/0": 2}, traffic=Traffic(requests=3.5, tokens=340.0, total=9))},
    host=HostMeters(busy=37.5, cores=8, memory=64 * GIB, used=32 * GIB, load=2.5),
)

ABOUT = About(
    name="chat",
    written=(Written(path="fleet.d/chat.yaml", line=3, text="kind: Model\nname: chat"),),
    launches=(
        Launched(
            slot="chat/0",
            run=2,
            engine="vllm",
            runtime="docker",
            argv=("vllm", "serve"),
            env={"A": "b", "HF_TOKEN": "{secret: hf-token}"},
            image="vllm/vllm-openai",
            gpus=(0, 1),
            port=9000,
        ),
    ),
    runs=(
        Run(slot="chat/0", run=2, began=1.7e9, ended=None, outcome="runs", first_failure=False, size=2**30),
        Run(slot="chat/0", run=1, began=None, ended=1.6e9, outcome="was killed", first_failure=True, size=0),
    ),
)

SHELF = Shelf(
    path="/data/models/holdfast",
    hub="/data/models/hub",
    ollama="/data/models/ollama",
    size=30 * GIB,
    free=12 * GIB,
    limit=100 * GIB,
    kept=(
        Kept(source="hf:Qwen/Qwen3-8B", state="whole", size=16 * GIB, total=16 * GIB, needed_by=("chat",)),
        Kept(source="hf:o/new", state="fetching", size=GIB, total=4 * GIB, needed_by=("new",)),
        Kept(
            source="hf:o/old-GGUF/*.gguf", state="whole", size=5 * GIB, total=5 * GIB, unneeded_since=1.7e9, used=1.7e9
        ),
        Kept(source="https://h/a.gguf", state="partial", size=2 * GIB, unneeded_since=1.6e9),
    ),
    blobs=(
        Blob(path="/data/models/hub/a", size=16 * GIB, sources=("hf:Qwen/Qwen3-8B",)),
        Blob(path="/data/models/hub/n", size=GIB, sources=("hf:o/new",)),
        Blob(path="/data/models/hub/b", size=5 * GIB, sources=("hf:o/old-GGUF/*.gguf",)),
        Blob(path="/data/models/holdfast/c", size=2 * GIB, sources=("https://h/a.gguf",)),
    ),
)

METRICS = (
    ReplicaMetrics(
        slot="chat/0",
        engine="vllm",
        metrics=Metrics(
            running=2,
            waiting=0,
            cache=0.254,
            prompt_tokens=1200,
            generated_tokens=340,
            first_token=Histogram(count=4, sum=1.0, buckets=((0.1, 1), (1.0, 4))),
            next_token=Histogram(count=0, sum=0.0),
            request=Histogram(count=4, sum=12.0),
        ),
    ),
    ReplicaMetrics(slot="own/0", engine="mine", detail="it is not ready"),
)


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
class Acts:
    """The audit in a list."""

    kept: list[tuple[object, ...]] = field(default_factory=list[Any])
    full: bool = False

    def asked(self, act: Act) -> int | None:
        if self.full:
            raise ApiError("cannot record it: the disk is full", status=409)
        self.kept.append((act,))
        return len(self.kept)

    def ended(self, act: Act, number: int | None, outcome: str) -> None:
        self.kept.append((act, number, outcome))


@dataclass
class Recorder:
    """The daemon as the API sees it."""

    info: Info = INFO
    now: Status = field(default_factory=lambda: status(workload("chat")))
    events: History = field(default_factory=lambda: History([event(1), event(2, "daemon")]))
    acts: Acts = field(default_factory=Acts)
    shelf: Shelf = SHELF
    table: Table = field(default_factory=lambda: Table(seq=1, epoch="e"))
    reports: list[Report] = field(default_factory=list[Report])
    asked: list[tuple[object, ...]] = field(default_factory=list[Any])
    page: LogPage = PAGE
    runs: tuple[Run, ...] = ABOUT.runs
    log_pieces: list[bytes] = field(default_factory=lambda: [b"one\n", b"two\n"])
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    on_ask: Callable[["Recorder"], None] = lambda _: None
    known: frozenset[str] | None = None
    silent_at: float = 1e9
    """From that time of its clock on it says nothing of what is live."""

    def status(self) -> Status:
        return self.now

    async def next_status(self, after: Status) -> Status:
        while self.now is after:
            self.changed.clear()
            await self.changed.wait()
        return self.now

    async def live(self, every: float) -> AsyncIterator[Live]:
        self.asked.append(("live", every))
        live = LIVE
        try:
            while live.now < self.silent_at:
                yield live
                live = replace(live, now=live.now + every)
                await asyncio.sleep(every)
            await asyncio.Event().wait()
        finally:
            self.asked.append(("live", "over"))

    async def next_table(self, after: int) -> Table:
        while self.table.seq <= after:
            self.changed.clear()
            await self.changed.wait()
        return self.table

    def report(self, report: Report) -> None:
        self.reports.append(report)

    async def about(self, name: str) -> About:
        self._ask("about", name)
        return replace(ABOUT, runs=self.runs)

    def facts(self) -> Facts:
        return FACTS

    async def metrics(self, name: str | None) -> tuple[ReplicaMetrics, ...]:
        self._ask("metrics", name)
        return METRICS

    def road(self) -> Road:
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

    async def log_page(
        self, name: str, index: int, run: RunChoice, *, at: int | None, back: bool, size: int, wait: float
    ) -> LogPage:
        self._ask("log page", name, index, run, at, back, size, wait)
        return self.page

    async def models(self) -> Shelf:
        return self.shelf

    async def prune(self, sources: tuple[str, ...]) -> str:
        self.asked.append(("prune", sources))
        return "deleted it"

    def restart(self, name: str, index: int | None) -> str:
        return self._ask("restart", name, index)

    def stop(self, name: str) -> str:
        return self._ask("stop", name)

    def pause(self, name: str | None) -> str:
        return self._ask("pause", name)

    def resume(self, name: str | None) -> str:
        return self._ask("resume", name)

    def scale(self, name: str, replicas: int | None) -> str:
        return self._ask("scale", name, replicas)

    def apply(self, *, prune: bool) -> str:
        self.asked.append(("apply", prune))
        self.on_ask(self)
        return "looks again now"

    def _ask(self, *what: object) -> str:
        if self.known is not None and what[1] is not None and what[1] not in self.known:
            raise ApiError(f"no workload {what[1]} in the fleet", status=404)
        self.asked.append(what)
        self.on_ask(self)
        return f"{what[1] or 'the fleet'}: will do {what[0]}"


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
    up.wait(60)
    if failed:
        raise failed[0]
    try:

        def soon(what: Callable[[], object]) -> None:
            loop.call_soon_threadsafe(what)

        yield soon
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
