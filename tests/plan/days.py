"""Days of a machine, made from a seed: edits, failures, demand, strangers, cards that come and go. Nothing is at once:
what is started loads, what is stopped takes its time, memory comes back late, and drivers are asked now and then.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

from reconciler import engines
from reconciler.model.fleet import Fleet, Workload, slots_of
from reconciler.model.kinds import Gpus, Model, Node, Replicas, Update
from reconciler.model.memory import Failure, Memory
from reconciler.model.observation import (
    Asleep,
    Exited,
    Failing,
    Gpu,
    Holder,
    Instance,
    NotReady,
    Observation,
    Readiness,
    Ready,
    Running,
    Stopping,
    Unknown,
    Wish,
    healthy_of,
)
from reconciler.model.plan import Action, Attach, Cancel, Detach, Drain, Fetch, Forget, Plan, Sleep, Start, Stop, Wake
from reconciler.model.plan import Update as Updating
from reconciler.model.source import Source
from reconciler.model.status import Reason
from reconciler.plan.planner import plan
from reconciler.plan.settle import settled
from tests.plan.world import GIB, HOST

NAMES = ("a", "b", "c", "d", "e", "f")
LOADS, ENDS, RETURNS, ASKED = 3.0, 2.0, 2.0, 1.5
"""Seconds that an engine loads, and takes to end; that its memory takes to come back; between two looks of a driver."""
EVENTS = (
    "add",
    "edit",
    "edit",
    "remove",
    "priority",
    "scale",
    "crash",
    "crash",
    "stranger",
    "strangers-leave",
    "card",
    "demand",
    "demand",
    "quiet",
    "restart",
    "pause",
    "fails",
    "mended",
    "hiccup",
    "recover",
)
DROWSY = ("demand",) * 16 + ("quiet",) * 8 + ("doubt",) * 4
"""What happens besides where models sleep."""
PRIORITIES = (1, 100, 100, 500, 900)


def model(name: str, chance: random.Random) -> Model:
    """A model as anybody might write it."""
    count = chance.choice([1, 1, 1, 1, 2])
    gpus: int | Gpus = count
    if chance.random() < 0.1:
        gpus = Gpus(count=1, ids=(str(chance.randint(0, 2)),))
    elif chance.random() < 0.1:
        gpus = Gpus(count=count, share=False)
    few = chance.choice([1, 1, 1, 2, 0])
    replicas = Replicas(min=0, max=2, idle=timedelta(seconds=30)) if chance.random() < 0.15 else few
    return Model(
        name=name,
        source="hf:org/repo",
        engine=chance.choice(["vllm", "llamacpp", "llamacpp", "llamacpp"]) if count == 1 else "vllm",
        gpus=gpus,
        memory="auto" if chance.random() < 0.1 else chance.choice([4, 8, 10, 14, 20, 30]) * GIB,
        replicas=replicas,
        priority=chance.choice(PRIORITIES),
        preemption="never" if chance.random() < 0.1 else "lower",
        update=Update(strategy=chance.choice([None, "replace"]), drain=timedelta(seconds=5)),
        paused=chance.random() < 0.05,
    )


def drowsy(spec: Model, chance: random.Random) -> Model:
    """The same, most likely on demand, and most likely to sleep when it idles."""
    changed: dict[str, object] = {"engine": "vllm", "idle_action": chance.choice(["sleep", "sleep", "sleep", "stop"])}
    if chance.random() < 0.7:
        changed["replicas"] = Replicas(
            min=chance.choice([0, 0, 1]), max=2, idle=timedelta(seconds=chance.choice([3, 9]))
        )
    if chance.random() < 0.8:
        changed |= {"gpus": 1, "memory": chance.choice([8, 10, 14]) * GIB}
    return spec.model_copy(update=changed)


def workload_of(spec: Model) -> Workload:
    """What the planner sees of it."""
    made = engines.workload(spec, source=Source(path=f"{spec.name}.yaml", line=1), directory="/", engines={})
    assert isinstance(made, Workload), made
    return made


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One pass: what there was in truth, and what was decided."""

    now: float
    fleet: Fleet
    plan: Plan
    instances: Mapping[str, Instance]
    in_flight: Mapping[str, Action]
    restarts: Mapping[str, int]
    demand: Mapping[str, Wish]
    reserved: int
    cards: Mapping[str, int]
    """Bytes in all, by UUID."""
    foreign: Mapping[str, int]
    """Bytes of strangers, and of what has ended."""
    dozing: Mapping[str, int]
    """Bytes of each of its cards that one takes in truth which sleeps, by slot."""
    surprised: frozenset[str]
    """Cards where more is held than the driver has told yet."""
    settles: bool = True
    """Whether it went on until nothing was left to do."""

    def unsettled(self) -> "Pass":
        """The same, where it did not."""
        return replace(self, settles=False)


@dataclass
class Days:
    """The machine, its files, and whoever asks it for something."""

    chance: random.Random
    named: bool = True
    """Whether the driver names who holds memory."""
    reserved: int = 0
    now: float = 1000.0
    specs: dict[str, Model] = field(default_factory=dict)
    cards: dict[str, Gpu] = field(default_factory=dict)
    """By UUID, empty."""
    strangers: dict[str, int] = field(default_factory=dict)
    instances: dict[str, Instance] = field(default_factory=dict)
    ghosts: list[tuple[float, str, int]] = field(default_factory=list)
    """Memory of what has ended: until when, where, bytes."""
    memory: Memory = field(default_factory=Memory)
    demand: dict[str, Wish] = field(default_factory=dict)
    asked_at: float = -100.0
    told: tuple[Gpu, ...] = ()
    """What the driver said when it was asked last."""
    pids: int = 100
    surprised: set[str] = field(default_factory=set)
    """Cards where a stranger came, or something ended that had hardly loaded, since the driver was asked."""
    crashes: set[str] = field(default_factory=set)
    """Names of models that never become ready."""
    sleeps: bool = False
    """Whether its models sleep and wake a lot."""
    asleep: set[str] = field(default_factory=set)
    """Slots that sleep in truth."""

    @classmethod
    def of(cls, seed: int, *, sleeps: bool = False) -> "Days":
        """A machine with something declared."""
        chance = random.Random(seed)
        days = cls(chance=chance, named=chance.random() < 0.7, reserved=chance.choice([0, 0, 2]) * GIB, sleeps=sleeps)
        for index in range(chance.randint(1, 3)):
            days.plug(index)
        for name in NAMES[: chance.randint(1, 5)]:
            days.specs[name] = days.model(name)
        return days

    def model(self, name: str) -> Model:
        """A model as anybody might write it here."""
        made = model(name, self.chance)
        return drowsy(made, self.chance) if self.sleeps else made

    def plug(self, index: int) -> None:
        """A card comes."""
        size = self.chance.choice([16, 24, 24, 48]) * GIB
        self.cards[f"GPU-{index}"] = Gpu(index=index, uuid=f"GPU-{index}", model="L4", memory=size, used=0)

    def fleet(self) -> Fleet:
        """As its files declare it."""
        workloads = {name: workload_of(spec) for name, spec in sorted(self.specs.items())}
        nodes = {"local": Node(name="local", reserved=self.reserved)}
        return Fleet(root="fleet.d", workloads=workloads, nodes=nodes, slots=slots_of(workloads))

    def holds(self, instance: Instance, uuid: str) -> int:
        """Bytes that it takes of a card in truth."""
        launch, phase = instance.launch, instance.phase
        if uuid not in launch.gpus or isinstance(phase, Exited):
            return 0
        if instance.slot in self.asleep:
            return self.dozes(instance.slot)
        promised = launch.memory if launch.memory is not None else int(self.cards[uuid].memory * 0.85)
        loading = isinstance(phase, Running) and isinstance(phase.readiness, NotReady)
        return promised // 2 if loading else promised

    def dozes(self, slot: str) -> int:
        """Bytes of each of its cards that one takes which sleeps: not always what is said of its engine."""
        return (1 + ord(slot[0]) % 3 if self.named else 2) * GIB

    def truly(self, uuid: str) -> Gpu:
        """A card as it is this moment."""
        card = self.cards[uuid]
        holders: list[Holder] = []
        for slot, instance in sorted(self.instances.items()):
            if (held := self.holds(instance, uuid)) and isinstance(instance.phase, Running | Stopping):
                holders.append(Holder(pid=instance.phase.pid, name="engine", memory=held, slot=slot))
        foreign = self.strangers.get(uuid, 0) + self._returning(uuid)
        if foreign:
            holders.append(Holder(pid=7, name="python", memory=foreign))
        used = sum(holder.memory for holder in holders)
        return replace(card, used=min(used, card.memory), holders=tuple(holders) if self.named else ())

    def look(self) -> Observation:
        """What is seen: the driver's word may be a little old, and names those who have ended no more."""
        if self.now >= self.asked_at + ASKED or {gpu.uuid for gpu in self.told} != self.cards.keys():
            self.asked_at = self.now
            self.surprised.clear()
            self.told = tuple(self.truly(uuid) for uuid in sorted(self.cards))
        alive = {slot for slot, i in self.instances.items() if isinstance(i.phase, Running | Stopping)}
        gpus = tuple(
            replace(gpu, holders=tuple(h if h.slot in alive else replace(h, slot=None) for h in gpu.holders))
            for gpu in self.told
        )
        return Observation(
            host=replace(HOST, available=HOST.memory) if self.sleeps else HOST,  # what sleeps may fill it
            gpus=gpus,
            instances=dict(self.instances),
            ports=frozenset(
                i.launch.port for i in self.instances.values() if i.launch.port and i.phase.kind == "running"
            ),
            healthy=healthy_of(self.instances),
        )

    def decide(self) -> Pass:
        """One pass, with its actions set going."""
        observation, fleet = self.look(), self.fleet()
        self.memory = settled(self.memory, fleet, observation)
        decided = plan(fleet, observation, dict(self.demand), self.memory, self.now)
        made = Pass(
            now=self.now,
            fleet=fleet,
            plan=decided,
            instances=dict(self.instances),
            in_flight=self.memory.in_flight,
            restarts=self.memory.restarts,
            demand=dict(self.demand),
            reserved=self.reserved,
            cards={uuid: card.memory for uuid, card in self.cards.items()},
            foreign={uuid: self.strangers.get(uuid, 0) + self._returning(uuid) for uuid in self.cards},
            dozing={slot: self.dozes(slot) for slot in self.asleep},
            surprised=frozenset(self.surprised),
        )
        flying = {**self.memory.in_flight, **{action.slot: action for action in decided.actions}}
        self.memory = replace(self.memory, lulls=decided.lulls, in_flight=flying)
        return made

    def _returning(self, uuid: str) -> int:
        return sum(held for _, where, held in self.ghosts if where == uuid)

    def perform(self) -> None:
        """What was decided happens; some of it takes longer than others."""
        for slot, action in list(self.memory.in_flight.items()):
            if self.chance.random() < 0.7:
                self._carry_out(action)
                flying = {other: one for other, one in self.memory.in_flight.items() if other != slot}
                self.memory = replace(self.memory, in_flight=flying)

    def _carry_out(self, action: Action) -> None:
        slot, memory = action.slot, self.memory
        there = self.instances.get(slot)
        match action:
            case Fetch() | Cancel():
                raise AssertionError("nothing of these days was looked for in a cache")
            case Start(launch=launch):
                self._forgive(slot)
                self.pids += 1
                phase = Running(pid=self.pids, since=self.now, readiness=NotReady())
                self.instances[slot] = Instance(slot=slot, launch=launch, phase=phase)
            case Stop(reason=reason):
                self._forgive(slot)
                memory = self.memory
                rest = {other: since for other, since in memory.draining.items() if other != slot}
                self.memory = replace(memory, draining=rest)
                if there is not None and isinstance(there.phase, Running):
                    stopping = Stopping(pid=there.phase.pid, since=self.now, asked=reason)
                    self.instances[slot] = replace(there, phase=stopping)
            case Drain():
                self.memory = replace(memory, draining={**memory.draining, slot: self.now})
            case Updating(launch=launch):
                rest = {other: since for other, since in memory.draining.items() if other != slot}
                self.memory = replace(memory, draining=rest)
                if there is not None:
                    self.instances[slot] = replace(there, launch=launch)
            case Attach(launch=launch) | Detach(launch=launch):
                if there is not None and isinstance(there.phase, Running):
                    self.instances[slot] = replace(there, launch=launch)
            case Forget():
                self.instances.pop(slot, None)
            case Sleep() | Wake():
                self._turn(action)

    def _forgive(self, slot: str) -> None:
        """What succeeded lets earlier failures be forgotten."""
        failures = {other: one for other, one in self.memory.failures.items() if other != slot}
        self.memory = replace(self.memory, failures=failures)

    def _turn(self, action: Sleep | Wake) -> None:
        """One falls asleep or wakes, if it does as it is told; what it answers is not always true."""
        slot, heard = action.slot, self.chance.random() < 0.9
        there = self.instances.get(slot)
        if there is None or not isinstance(there.phase, Running):
            return
        if heard or self.chance.random() < 0.3:
            (self.asleep.add if isinstance(action, Sleep) else self.asleep.discard)(slot)
        failures = {other: one for other, one in self.memory.failures.items() if other != slot}
        draining = dict(self.memory.draining)
        if heard and isinstance(action, Sleep):
            draining.pop(slot, None)
        elif not heard:
            reason = Reason.SleepFailed if isinstance(action, Sleep) else Reason.WakeFailed
            failures[slot] = Failure(
                at=self.now, count=1, reason=reason, detail="no answer", digest="", action=action.kind
            )
        self.memory = replace(self.memory, failures=failures, draining=draining)
        self._readiness(slot, self._truth(slot, woken=True))

    def _truth(self, slot: str, *, woken: bool = False) -> Ready | Asleep:
        return Asleep(since=self.now) if slot in self.asleep else Ready(since=self.now, woken=woken)

    def pass_time(self, seconds: float) -> None:
        """What takes time goes on."""
        self.now += seconds
        self.ghosts = [ghost for ghost in self.ghosts if ghost[0] > self.now and ghost[1] in self.cards]
        for slot, instance in list(self.instances.items()):
            phase = instance.phase
            if isinstance(phase, Stopping) and self.now >= phase.since + ENDS:
                self.end(slot, Exited(at=self.now, code=0, asked=phase.asked, ready_for=5.0))
            elif isinstance(phase, Running) and isinstance(phase.readiness, NotReady):
                if self.now >= phase.since + LOADS and slot.partition("/")[0] not in self.crashes:
                    ready = Running(pid=phase.pid, since=phase.since, readiness=Ready(since=self.now), was_ready=True)
                    self.instances[slot] = replace(instance, phase=ready)
                elif slot.partition("/")[0] in self.crashes and self.now >= phase.since + 1.0:
                    self.end(slot, Exited(at=self.now, code=1))

    def end(self, slot: str, how: Exited) -> None:
        """An engine ends; its memory comes back after a while."""
        instance = self.instances[slot]
        readiness = instance.phase.readiness if isinstance(instance.phase, Running) else None
        if isinstance(readiness, NotReady) or (isinstance(readiness, Ready) and readiness.since > self.asked_at):
            self.surprised.update(instance.launch.gpus)  # the driver has not told yet what it took
        for uuid in instance.launch.gpus:
            if uuid in self.cards and (held := self.holds(instance, uuid)):
                self.ghosts.append((self.now + RETURNS * self.chance.random(), uuid, held))
        self.instances[slot] = replace(instance, phase=how)
        self.asleep.discard(slot)

    def happen(self) -> str:
        """Something happens: what, in a word."""
        chance = self.chance
        what = chance.choice(EVENTS + DROWSY if self.sleeps else EVENTS)
        name = chance.choice(sorted(self.specs) or ["a"])
        spec = self.specs.get(name)
        ready = [slot for slot, i in sorted(self.instances.items()) if _ready(i)]
        match what:
            case "add":
                free = [one for one in NAMES if one not in self.specs]
                if free:
                    self.specs[free[0]] = self.model(free[0])
            case "remove" if len(self.specs) > 1:
                self.specs.pop(name)
            case "edit" if spec is not None:
                self.specs[name] = spec.model_copy(update={"context": chance.randint(1, 10**6)})
                if chance.random() < 0.4 and spec.memory != "auto":
                    self.specs[name] = self.specs[name].model_copy(update={"memory": chance.choice([4, 10, 20]) * GIB})
            case "priority" if spec is not None:
                self.specs[name] = spec.model_copy(update={"priority": chance.choice(PRIORITIES)})
            case "scale" if spec is not None and isinstance(spec.replicas, int):
                self.specs[name] = spec.model_copy(update={"replicas": chance.randint(0, 3)})
            case "pause" if spec is not None:
                self.specs[name] = spec.model_copy(update={"paused": not spec.paused})
            case "crash" if ready:
                self.end(chance.choice(ready), Exited(at=self.now, code=1, ready_for=5.0))
            case "hiccup" if ready:
                self._readiness(
                    chance.choice(ready), Failing(since=self.now, failures=chance.choice([1, 3]), detail="no answer")
                )
            case "doubt" if able := [slot for slot in ready if self.instances[slot].launch.sleeper]:
                self._readiness(chance.choice(able), Unknown(reason="no answer"))
            case "restart" if ready:
                slot = chance.choice(ready)
                run = self.instances[slot].launch.run
                self.memory = replace(self.memory, restarts={**self.memory.restarts, slot: run})
            case "stranger":
                uuid = chance.choice(sorted(self.cards))
                self.strangers[uuid] = chance.choice([3, 6, 12]) * GIB
                self.surprised.add(uuid)
            case "strangers-leave":
                self.strangers.clear()
            case "card":
                self._card()
            case "demand":
                waiting = chance.randint(0, 6)
                since = self.now if waiting else None
                busy = {f"{name}/{index}": chance.randint(0, 2) for index in range(chance.randint(0, 2))}
                self.demand[name] = Wish(waiting=waiting, in_flight=busy, since=since)
            case "quiet":
                self.demand.clear()
            case "fails":
                self.crashes.add(name)
            case _:
                self.crashes.clear()
        for slot, instance in list(self.instances.items()):
            if (
                what == "recover"
                and isinstance(instance.phase, Running)
                and isinstance(instance.phase.readiness, Failing | Unknown)
            ):
                self._readiness(slot, self._truth(slot))
        return what

    def _readiness(self, slot: str, readiness: Readiness) -> None:
        instance = self.instances[slot]
        assert isinstance(instance.phase, Running)
        self.instances[slot] = replace(instance, phase=replace(instance.phase, readiness=readiness))

    def _card(self) -> None:
        """A card falls off the bus, with what ran there; or comes back."""
        gone = [index for index in range(3) if f"GPU-{index}" not in self.cards]
        if gone and self.chance.random() < 0.7:
            self.plug(gone[0])
        elif len(self.cards) > 1:
            uuid = self.chance.choice(sorted(self.cards))
            for slot, instance in list(self.instances.items()):
                if uuid in instance.launch.gpus and isinstance(instance.phase, Running | Stopping):
                    self.end(slot, Exited(at=self.now, code=1, ready_for=5.0))
            del self.cards[uuid]
            self.strangers.pop(uuid, None)

    def calm(self) -> None:
        """Nothing fails any more, and requests are answered."""
        self.crashes.clear()
        for slot, instance in list(self.instances.items()):
            if isinstance(instance.phase, Running) and isinstance(instance.phase.readiness, Failing | Unknown):
                self._readiness(slot, self._truth(slot))
        self.demand = {name: replace(wish, in_flight={}) for name, wish in self.demand.items()}

    def _is_paused(self, slot: str) -> bool:
        spec = self.specs.get(slot.partition("/")[0])
        return spec is not None and spec.paused

    def until_quiet(self, passes: int) -> Iterator[Pass]:
        """Passes until nothing is left to do, at most so many."""
        quiet = 0
        for _ in range(passes):
            made = self.decide()
            yield made
            self.perform()
            busy = bool(made.plan.actions or self.memory.in_flight)
            loading = any(not _ready(i) and not isinstance(i.phase, Exited) for i in self.instances.values())
            draining = [slot for slot in self.memory.draining if not self._is_paused(slot)]
            waits = [b for b in made.plan.blocked if b.until is not None] or draining
            quiet = 0 if busy or loading or self.ghosts or waits else quiet + 1
            if quiet > 12:
                return
            self.pass_time(1.0)


def _ready(instance: Instance) -> bool:
    return isinstance(instance.phase, Running) and isinstance(instance.phase.readiness, Ready | Asleep)
