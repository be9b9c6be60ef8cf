"""A machine that exists only here: time, keepers, processes and ports, obeying the same rules as the real ones.

What a real crash of the daemon leaves behind stays here too: records, keepers, engines, orders already sent. Every step
that leaves the daemon goes through `boundary()`, where a run of the simulation can end the daemon.
"""

import asyncio
import math
import selectors
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from reconciler.model.errors import TransientError
from reconciler.model.observation import (
    Asleep,
    Exited,
    Failing,
    Instance,
    NotReady,
    Observation,
    Phase,
    Ready,
    Recorded,
    Running,
    Stopping,
    healthy_of,
)
from reconciler.model.plan import (
    Action,
    Attach,
    Cancel,
    Detach,
    Drain,
    Fetch,
    Forget,
    Launch,
    Sleep,
    Start,
    Stop,
    Update,
    Wake,
)
from reconciler.model.status import Reason
from tests.plan.world import HOST

RANK = "400 LoRA rank 64 is greater than max_lora_rank 16."
TAKES = 0.01
"""Seconds that a keeper needs for anything."""


class _NoWaiting(selectors.PollSelector):
    """Lets the clock jump instead of waiting."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise AssertionError("everything waits, and nothing will ever happen")
        # a moment at the least, or what has its timer come early, and so sets it again, would never get there
        self.now += max(timeout, 1e-9)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in which an hour passes at once, and always in the same order."""

    def __init__(self) -> None:
        self.virtual = _NoWaiting()
        super().__init__(self.virtual)

    def time(self) -> float:
        return self.virtual.now


def simulate(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run it in virtual time."""
    loop = VirtualLoop()
    try:
        loop.run_until_complete(coroutine)
    finally:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.close()


@dataclass(kw_only=True)
class Process:
    """An engine that runs."""

    pid: int
    slot: str
    run: int
    port: int | None
    started: float
    hanging: bool = False
    hung_at: float = 0.0
    adapters: dict[str, str] = field(default_factory=dict[str, str])
    """What it has loaded: name → path."""
    asleep_at: float | None = None
    """Since when it sleeps."""
    woken_at: float | None = None


@dataclass(kw_only=True)
class Keeper:
    """What holds a slot's runs; it outlives the daemon."""

    run: int = 0
    """The last run it started."""
    process: Process | None = None
    ended: Exited | None = None
    asked: Reason | None = None
    asked_at: float = 0.0


@dataclass(kw_only=True)
class Machine:
    """Everything that is still there when the daemon is not."""

    load_time: float = 0.5
    """Seconds from start to ready."""
    records: dict[str, Launch] = field(default_factory=dict[str, Launch])
    keepers: dict[str, Keeper] = field(default_factory=dict[str, Keeper])
    nods: float = 0.3
    """Seconds that it takes to fall asleep, or to wake."""
    deaf: set[str] = field(default_factory=set[str])
    """Slots that neither fall asleep nor wake when they are told."""
    turns: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """What fell asleep and what woke, in order."""
    strangers: set[int] = field(default_factory=set[int])
    disk_full: bool = False
    pids: int = 1000
    boundaries: int = 0
    crash_at: int | None = None
    crashed: asyncio.Event = field(default_factory=asyncio.Event)
    wake: Callable[[], None] = lambda: None
    tokens: dict[str, int] = field(default_factory=dict[str, int])
    """Of each record: what an order must carry to be obeyed."""
    last_token: int = 0
    obeyed: set[int] = field(default_factory=set[int])
    bad_adapters: set[str] = field(default_factory=set[str])
    """What no engine can load: started with one of these, it ends at once."""
    asked: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    """What engines were asked by their API, and when."""
    started: list[str] = field(default_factory=list[str])
    """Slots, in the order in which engines were started."""
    stops: list[tuple[str, Reason]] = field(default_factory=list[tuple[str, Reason]])

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def load_of(self, slot: str) -> float:
        """Seconds from start to ready."""
        del slot
        return self.load_time

    def processes(self) -> dict[str, Process]:
        """What runs, by slot."""
        return {slot: keeper.process for slot, keeper in self.keepers.items() if keeper.process is not None}

    async def boundary(self) -> None:
        """A point between two effects. The daemon that dies here never goes on."""
        self.boundaries += 1
        if self.boundaries == self.crash_at:
            self.crashed.set()
            await asyncio.Event().wait()
        await asyncio.sleep(0)

    def later(self, seconds: float, what: Callable[..., None], *args: Any) -> None:
        """Something that happens whether or not the daemon lives."""

        def happen() -> None:
            what(*args)
            self.wake()

        asyncio.get_running_loop().call_later(seconds, happen)

    def observe(self) -> Observation:
        """One look at all of it."""
        instances = {
            slot: Instance(slot=slot, launch=launch, phase=self._phase(slot, launch))
            for slot, launch in self.records.items()
        }
        bound = {process.port for process in self.processes().values() if process.port is not None}
        return Observation(
            host=HOST, instances=instances, ports=frozenset(bound | self.strangers), healthy=healthy_of(instances)
        )

    def _phase(self, slot: str, launch: Launch) -> Phase:
        keeper = self.keepers.get(slot)
        if keeper is None or keeper.run != launch.run:
            return Recorded()
        if keeper.process is None:
            assert keeper.ended is not None
            return keeper.ended
        process = keeper.process
        if keeper.asked is not None:
            return Stopping(pid=process.pid, since=keeper.asked_at, asked=keeper.asked)
        ready_at = process.started + self.load_of(slot)
        if process.hanging:
            failing = Failing(since=process.hung_at, failures=3, detail="no answer")
            return Running(pid=process.pid, since=process.started, readiness=failing, was_ready=True)
        if self.now < ready_at:
            return Running(pid=process.pid, since=process.started, readiness=NotReady())
        if process.asleep_at is not None:
            asleep = Asleep(since=process.asleep_at)
            return Running(pid=process.pid, since=process.started, readiness=asleep, was_ready=True)
        if process.woken_at is not None:
            woken = Ready(since=process.woken_at, woken=True)
            return Running(pid=process.pid, since=process.started, readiness=woken, was_ready=True)
        return Running(pid=process.pid, since=process.started, readiness=Ready(since=ready_at), was_ready=True)

    async def perform(self, action: Action) -> None:
        """As the process runtime does it: record, keeper, order."""
        match action:
            case Start(launch=launch):
                await self._start(launch)
            case Stop():
                await self.boundary()
                self.later(TAKES, self._stop, action.slot, action.run, action.reason)
                await self.boundary()
                while (keeper := self.keepers.get(action.slot)) is not None and keeper.process is not None:
                    await asyncio.sleep(TAKES)
            case Fetch() | Cancel():
                await self.boundary()
            case Update(launch=launch):
                await self._record(launch)
            case Attach(launch=launch) | Detach(launch=launch):
                await self.boundary()
                self._ask(action)
                await self._record(launch)
            case Forget(slot=slot):
                await self.boundary()
                keeper = self.keepers.get(slot)
                if keeper is None or keeper.process is None:
                    self.keepers.pop(slot, None)
                    self.records.pop(slot, None)
                await self.boundary()
            case Drain():
                await self.boundary()
            case Sleep() | Wake():
                await self.boundary()
                self.later(self.nods, self._turn, action)
                await self.boundary()
                await asyncio.sleep(self.nods + TAKES)
                await self.boundary()
                if action.slot in self.deaf:
                    reason = Reason.SleepFailed if isinstance(action, Sleep) else Reason.WakeFailed
                    raise TransientError(reason, "no answer")

    def _turn(self, action: Sleep | Wake) -> None:
        """An engine falls asleep, or wakes."""
        process = self.processes().get(action.slot)
        if process is None or process.run != action.launch.run or action.slot in self.deaf:
            return
        assert action.launch.sleeper is not None, "it was never told how to sleep"
        self.turns.append((action.kind, action.slot))
        if isinstance(action, Sleep):
            process.asleep_at, process.woken_at = self.now, None
        else:
            process.asleep_at, process.woken_at = None, self.now

    async def _record(self, launch: Launch) -> None:
        await self.boundary()
        if launch.slot in self.records and self.records[launch.slot].run == launch.run:
            self.records[launch.slot] = launch
        await self.boundary()

    def _ask(self, action: Attach | Detach) -> None:
        """As vLLM answers: what it has already cannot be loaded, what it does not have is not found."""
        process = self.processes().get(action.slot)
        if process is None:
            raise TransientError(Reason.AdapterFailed, "connection refused")
        assert action.launch.run == process.run, "another run than the one it was decided for"
        for request in action.requests:
            body = {key: str(value) for key, value in request.body.items()}
            name, path = body["lora_name"], body.get("lora_path")
            self.asked.append((self.now, f"{action.slot} {'unload' if path is None else 'load'} {name}"))
            if path is None:
                process.adapters.pop(name, None)
                continue
            if name in self.bad_adapters:
                raise TransientError(Reason.AdapterFailed, f"vllm said {RANK}")
            assert name not in process.adapters, f"{name} is loaded a second time"
            process.adapters[name] = path

    async def _start(self, launch: Launch) -> None:
        slot = launch.slot
        await self.boundary()
        if self.disk_full:
            raise TransientError(Reason.DiskFull, "cannot record the launch: no space left")
        self.last_token += 1
        token = self.last_token
        self.records[slot], self.tokens[slot] = launch, token
        await self.boundary()
        self.keepers.setdefault(slot, Keeper(run=0))
        await self.boundary()
        self.later(TAKES, self._spawn, launch, token)
        await self.boundary()
        keeper = self.keepers[slot]
        for _ in range(10):
            if keeper.run >= launch.run:
                return
            await asyncio.sleep(TAKES)
        raise TransientError(Reason.StartFailed, "the keeper does not answer")

    def _spawn(self, launch: Launch, token: int) -> None:
        keeper = self.keepers.get(launch.slot)
        if keeper is None or keeper.process is not None or keeper.run >= launch.run:
            return
        if self.tokens.get(launch.slot) != token or launch.slot not in self.records:
            return
        assert token not in self.obeyed, f"run {launch.run} of {launch.slot} is started a second time"
        self.obeyed.add(token)
        self.started.append(launch.slot)
        taken = {process.port for process in self.processes().values()}
        self.pids += 1
        keeper.run, keeper.asked, keeper.ended = launch.run, None, None
        if launch.port is not None and launch.port in self.strangers | taken:
            keeper.ended = Exited(at=self.now, code=1, detail="address in use")
            return
        modules = [text for text in launch.argv if "=" in text] if "--lora-modules" in launch.argv else []
        adapters = {name: path for name, _, path in (text.partition("=") for text in modules)}
        if self.bad_adapters & adapters.keys():
            keeper.ended = Exited(at=self.now, code=1, detail=RANK)
            return
        keeper.process = Process(
            pid=self.pids, slot=launch.slot, run=launch.run, port=launch.port, started=self.now, adapters=adapters
        )
        if (load := self.load_of(launch.slot)) < math.inf:
            self.later(load, lambda: None)

    def _stop(self, slot: str, run: int, reason: Reason) -> None:
        keeper = self.keepers.get(slot)
        if keeper is None or keeper.process is None or keeper.run != run or keeper.asked is not None:
            return
        self.stops.append((slot, reason))
        keeper.asked, keeper.asked_at = reason, self.now
        self.later(5 * TAKES, self.end, slot, 0)

    def end(self, slot: str, code: int) -> None:
        """An engine ends."""
        keeper = self.keepers.get(slot)
        if keeper is None or keeper.process is None:
            return
        ready_at = keeper.process.started + self.load_of(slot)
        keeper.ended = Exited(
            at=self.now,
            code=code,
            asked=keeper.asked,
            ready_for=self.now - ready_at if self.now >= ready_at else None,
        )
        keeper.process = None

    def hang(self, slot: str) -> None:
        """An engine stops answering."""
        process = self.processes().get(slot)
        if process is not None:
            process.hanging, process.hung_at = True, self.now
