"""The planner's specification: a situation in a sentence, the fleet, the machine, and the plan's text."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from textwrap import dedent

import pytest

from reconciler.model.memory import Failure, Memory, Override
from reconciler.model.observation import (
    Demand,
    Exited,
    Failing,
    Holder,
    NotReady,
    Observation,
    Ready,
    Recorded,
    Running,
    Stopping,
    Unknown,
    Wish,
)
from reconciler.model.plan import Drain, Start, Stop, Strikes, Update
from reconciler.model.source import Problem
from reconciler.model.status import Reason
from reconciler.plan.prune import believed
from tests.plan.world import GIB, HOST, NOW, decide, fleet, gpu, instance, machine, running, text

CHAT = """
kind: Model
name: chat
source: hf:Qwen/Qwen3-8B
engine: vllm
gpus: 1
memory: 20GiB
"""
LLAMA = CHAT.replace("engine: vllm", "engine: llamacpp")
TINY = """
kind: Service
name: tiny
command: [sleep, infinity]
"""
CPU = """
kind: Model
name: cpu
source: file:/models/a.gguf
gpus: 0
"""


def several(count: int) -> str:
    return "\n---\n".join(f"kind: Service\nname: s{index}\ncommand: [sleep, infinity]" for index in range(count))


def exited(at: float = NOW - 0.5, **more: object) -> Exited:
    return Exited(at=at, **{"code": 1, **more})  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True, kw_only=True)
class Case:
    situation: str
    fleet: str
    on: Callable[[], Observation]
    memory: Memory = Memory()  # noqa: RUF009
    demand: Demand | None = None
    now: float = NOW
    plan: str


def started(*of: str, **more: object) -> Callable[[], Observation]:
    """A machine on which each slot of these fleets runs and is ready."""

    def build() -> Observation:
        instances = [
            instance(each, slot, port=9000 + number if each.workloads[slot[:-2]].needs.port else None)
            for number, (each, slot) in enumerate((each, slot) for each in map(fleet, of) for slot in each.slots)
        ]
        return machine(*instances, **more)  # pyright: ignore[reportArgumentType]

    return build


TWO = TINY + "replicas: 2\n"
CASES = [
    Case(situation="nothing is declared and nothing runs", fleet="", on=machine, plan="nothing to do"),
    Case(
        situation="a service that does not run is started",
        fleet=TINY,
        on=machine,
        plan="start tiny/0: NotRunning",
    ),
    Case(
        situation="a model is started on a gpu with a port of its own",
        fleet=CHAT,
        on=lambda: machine(gpus=(gpu(0),)),
        plan="start chat/0 on gpu 0 port 9000: NotRunning",
    ),
    Case(
        situation="what runs as declared is left alone",
        fleet=TINY,
        on=started(TINY),
        plan="nothing to do",
    ),
    Case(
        situation="replicas 1 → 2 starts the second only, on the next port",
        fleet=CPU + "replicas: 2",
        on=started(CPU, ports=frozenset({9000})),
        plan="""
            update cpu/0: SpecChanged (replicas default → 2)
            start cpu/1 port 9001: NotRunning
        """,
    ),
    Case(
        situation="a listening stranger's port is not leased",
        fleet=CPU,
        on=lambda: machine(ports=frozenset({9000, 9001})),
        plan="start cpu/0 port 9002: NotRunning",
    ),
    Case(
        situation="the node's port range is used, and where it is full the model is blocked",
        fleet=CPU + "replicas: 2\n---\nkind: Node\nname: local\nports: 7000-7000",
        on=machine,
        plan="""
            start cpu/0 port 7000: NotRunning
            blocked cpu/1: NoFreePort (all ports of 7000-7000 are in use; widen ports of this Node)
        """,
    ),
    Case(
        situation="a changed restart field has one more started first, which serves while the other is replaced",
        fleet=CPU + "context: 4096",
        on=started(CPU, ports=frozenset({9000})),
        plan="""
            start cpu/1 port 9001: SpecChanged (serves while cpu/0 is replaced)
            blocked cpu/0: Waiting (waits for cpu/1 to serve, then is replaced (context default → 4096))
        """,
    ),
    Case(
        situation="with strategy replace it stops the old run, and the next look starts the new one",
        fleet=CPU + "context: 4096\nupdate: {strategy: replace}",
        on=started(CPU),
        plan="stop cpu/0: SpecChanged (context default → 4096)",
    ),
    Case(
        situation="what changed is replaced though every port of the node is in use: its own will be free",
        fleet=CPU + "context: 4096\n---\nkind: Node\nname: local\nports: 9000-9000",
        on=started(CPU),
        plan="stop cpu/0: SpecChanged (context default → 4096)",
    ),
    Case(
        situation="what was renamed is let go under its old name, and started under its new one",
        fleet=TINY.replace("tiny", "fresh"),
        on=started(TINY),
        plan="""
            start fresh/0: NotRunning
            stop tiny/0: NotInFleet
        """,
    ),
    Case(
        situation="what is about to be replaced holds its gpu until it is gone",
        fleet=CHAT + "context: 4096\n---" + CHAT.replace("chat", "more"),
        on=lambda: machine(instance(fleet(CHAT), "chat/0", port=9000, gpus=(gpu(0),)), gpus=(gpu(0, 30),)),
        plan="""
            stop chat/0: SpecChanged (context default → 4096)
            blocked more/0: NoFreeGpu (needs one gpu with 20.0 GiB free; gpu 0: 10.0 GiB of 30.0 GiB free beside chat/0)
        """,
    ),
    Case(
        situation="what is being stopped holds its gpu until it is gone",
        fleet=CHAT + "---" + CHAT.replace("chat", "more"),
        on=lambda: machine(instance(fleet(CHAT), "chat/0", port=9000, gpus=(gpu(0),)), gpus=(gpu(0, 30),)),
        memory=Memory(in_flight={"chat/0": Stop(slot="chat/0", run=1, grace=1.0, reason=Reason.RestartAsked)}),
        plan="""
            blocked more/0: NoFreeGpu (needs one gpu with 20.0 GiB free; gpu 0: 10.0 GiB of 30.0 GiB free beside chat/0)
        """,
    ),
    Case(
        situation="a run on its way and the record it follows take their gpu once",
        fleet=LLAMA + "---" + LLAMA.replace("chat", "more"),
        on=lambda: machine(instance(fleet(LLAMA), "chat/0", Recorded(), port=9000, gpus=(gpu(0),)), gpus=(gpu(0, 45),)),
        memory=Memory(
            in_flight={
                "chat/0": Start(
                    slot="chat/0",
                    launch=instance(fleet(LLAMA), "chat/0", run=2, port=9000, gpus=(gpu(0),)).launch,
                    reason=Reason.NotRunning,
                )
            }
        ),
        plan="start more/0 on gpu 0 port 9001: NotRunning",
    ),
    Case(
        situation="a run stopped for a change is started again at once, on the port it had",
        fleet=CPU + "context: 4096",
        on=lambda: machine(instance(fleet(CPU), "cpu/0", exited(asked=Reason.SpecChanged), port=9005)),
        plan="start cpu/0 port 9005: SpecChanged",
    ),
    Case(
        situation="a changed live field is taken over without a restart",
        fleet=TINY + "priority: 500",
        on=started(TINY),
        plan="update tiny/0: SpecChanged (priority default → 500)",
    ),
    Case(
        situation="a changed environment is named by its keys and never by its values",
        fleet=TINY + "env: {TOKEN: hunter2}",
        on=started(TINY),
        plan="stop tiny/0: SpecChanged (env (TOKEN))",
    ),
    Case(
        situation="a replacement that could not be placed leaves the old run serving",
        fleet=CHAT.replace("20GiB", "90GiB"),
        on=lambda: machine(instance(fleet(CHAT), "chat/0", port=9000, gpus=(gpu(0),)), gpus=(gpu(0),)),
        plan="""
            blocked chat/0: NoFreeGpu (needs one gpu with 90.0 GiB free; gpu 0: 80.0 GiB in all; \
chat/0 goes on as it was (memory 20GiB → 90GiB))
        """,
    ),
    Case(
        situation="an undeclared service is stopped, one of two may go without consent",
        fleet=TINY,
        on=started(TINY, several(1)),
        plan="stop s0/0: NotInFleet",
    ),
    Case(
        situation="an ended run that is not declared is forgotten",
        fleet="",
        on=lambda: machine(instance(fleet(TINY), "tiny/0", exited())),
        plan="forget tiny/0: NotInFleet",
    ),
    Case(
        situation="two of five gone at once need consent",
        fleet=several(3),
        on=started(several(5)),
        plan="""
            blocked s3: PruneNeedsConsent (2 of 5 workloads are gone from the files at once; they go on as they were \
until `holdfast apply --prune`)
            blocked s4: PruneNeedsConsent (2 of 5 workloads are gone from the files at once; they go on as they were \
until `holdfast apply --prune`)
        """,
    ),
    Case(
        situation="one of five may go without consent",
        fleet=several(4),
        on=started(several(5)),
        plan="stop s4/0: NotInFleet",
    ),
    Case(
        situation="with consent they go",
        fleet=several(3),
        on=started(several(5)),
        memory=Memory(consents=frozenset({"s3", "s4"})),
        plan="""
            stop s3/0: NotInFleet
            stop s4/0: NotInFleet
        """,
    ),
    Case(
        situation="what is held for consent is restarted when it crashes",
        fleet=several(3),
        on=lambda: machine(
            *(instance(fleet(several(5)), f"s{index}/0") for index in range(4)),
            instance(fleet(several(5)), "s4/0", exited(ready_for=5.0)),
        ),
        plan="""
            start s4/0: Exited (exited with status 1)
            blocked s3: PruneNeedsConsent (2 of 5 workloads are gone from the files at once; they go on as they were \
until `holdfast apply --prune`)
            blocked s4: PruneNeedsConsent (2 of 5 workloads are gone from the files at once; they go on as they were \
until `holdfast apply --prune`)
        """,
    ),
    Case(
        situation="after 10 minutes of health earlier failures are forgotten",
        fleet=TINY,
        on=lambda: machine(
            instance(fleet(TINY), "tiny/0", running(since=1, ready=NOW - 600), strikes=Strikes(count=3, spared=True))
        ),
        plan="update tiny/0: Recovered (healthy for 10 minutes: earlier failures are forgotten)",
    ),
    Case(
        situation="something that had been ready is restarted at once the first time",
        fleet=TINY,
        on=lambda: machine(instance(fleet(TINY), "tiny/0", exited(at=NOW, ready_for=3.0))),
        plan="start tiny/0: Exited (exited with status 1)",
    ),
    Case(
        situation="something that ended as soon as it ran waits, though it counted as ready",
        fleet=TINY,
        on=lambda: machine(instance(fleet(TINY), "tiny/0", exited(at=NOW, ready_for=0.9))),
        plan="blocked tiny/0: BackingOff (exited with status 1; the first time)",
    ),
    Case(
        situation="something that was never ready waits",
        fleet=TINY,
        on=lambda: machine(instance(fleet(TINY), "tiny/0", exited(at=NOW))),
        plan="blocked tiny/0: BackingOff (exited with status 1; the first time)",
    ),
    Case(
        situation="a crash loop is told with its count",
        fleet=TINY,
        on=lambda: machine(instance(fleet(TINY), "tiny/0", exited(at=NOW), strikes=Strikes(count=3))),
        plan="blocked tiny/0: BackingOff (exited with status 1; 4 times in a row)",
    ),
    Case(
        situation="an edit ends the waiting",
        fleet=TINY + "env: {A: b}",
        on=lambda: machine(instance(fleet(TINY), "tiny/0", exited(at=NOW), strikes=Strikes(count=6))),
        plan="start tiny/0: SpecChanged",
    ),
    Case(
        situation="a restart asked for ends the waiting",
        fleet=TINY,
        on=lambda: machine(instance(fleet(TINY), "tiny/0", exited(at=NOW), run=7, strikes=Strikes(count=6))),
        memory=Memory(restarts={"tiny/0": 7}),
        plan="start tiny/0: RestartAsked",
    ),
    Case(
        situation="a restart asked for replaces the run it was asked of, and not its successor",
        fleet=TINY + "replicas: 2",
        on=lambda: machine(
            instance(fleet(TINY + "replicas: 2"), "tiny/0", run=3),
            instance(fleet(TINY + "replicas: 2"), "tiny/1", run=4),
        ),
        memory=Memory(restarts={"tiny/0": 3, "tiny/1": 3}),
        plan="stop tiny/0: RestartAsked",
    ),
    Case(
        situation="an out-of-memory kill is called by its name",
        fleet=TINY,
        on=lambda: machine(
            instance(fleet(TINY), "tiny/0", exited(signal=9, code=None, oom=True, detail="held 3.0 GiB", ready_for=9.0))
        ),
        plan="start tiny/0: OutOfMemory (was killed: out of memory (held 3.0 GiB))",
    ),
    Case(
        situation="a machine that was restarted is no failure of the engine",
        fleet=TINY,
        on=lambda: machine(instance(fleet(TINY), "tiny/0", exited(at=NOW, asked=Reason.Lost, code=None))),
        plan="start tiny/0: Lost (was stopped: Lost)",
    ),
    Case(
        situation="never ready within its deadline: stopped",
        fleet=CPU,
        on=lambda: machine(
            instance(
                fleet(CPU), "cpu/0", Running(pid=1, since=NOW - 300, readiness=NotReady(detail="503 Loading model"))
            )
        ),
        plan="stop cpu/0: NeverReady (not ready within 300 s: 503 Loading model)",
    ),
    Case(
        situation="not ready yet is waited for",
        fleet=CPU,
        on=lambda: machine(instance(fleet(CPU), "cpu/0", Running(pid=1, since=NOW - 200, readiness=NotReady()))),
        plan="nothing to do",
    ),
    Case(
        situation="two failed probes are not enough, three restart it",
        fleet=TINY + "replicas: 2",
        on=lambda: machine(
            *(
                instance(
                    fleet(TINY + "replicas: 2"),
                    f"tiny/{index}",
                    Running(
                        pid=1,
                        since=1,
                        readiness=Failing(since=NOW, failures=2 + index, detail="no answer in 3s"),
                        was_ready=True,
                    ),
                )
                for index in range(2)
            )
        ),
        plan="stop tiny/1: ProbeFailing (3 probes failed in a row: no answer in 3s)",
    ),
    Case(
        situation="a port stolen before it was bound: stopped, and then started on another",
        fleet=CPU,
        on=lambda: machine(
            instance(
                fleet(CPU),
                "cpu/0",
                Running(
                    pid=1,
                    since=NOW,
                    readiness=NotReady(reason=Reason.PortTaken, detail="port 9000 is held by pid 7 nc"),
                ),
                port=9000,
            ),
            ports=frozenset({9000}),
        ),
        plan="stop cpu/0: PortTaken (port 9000 is held by pid 7 nc)",
    ),
    Case(
        situation="the successor of a run whose port was stolen gets another port",
        fleet=CPU,
        on=lambda: machine(
            instance(fleet(CPU), "cpu/0", exited(at=NOW - 5, asked=Reason.PortTaken), port=9000),
            ports=frozenset({9000}),
        ),
        plan="start cpu/0 port 9001: PortTaken (was stopped: PortTaken)",
    ),
    Case(
        situation="what cannot be seen is neither started nor stopped",
        fleet=TINY,
        on=lambda: machine(instance(fleet(TINY), "tiny/0", Unknown(reason="its keeper does not answer"))),
        plan="blocked tiny/0: Unknown (cannot see whether it runs: its keeper does not answer; it is neither started "
        "nor stopped until that is known)",
    ),
    Case(
        situation="where nothing of ours can be seen nothing is done",
        fleet=TINY,
        on=lambda: replace(machine(), instances=Unknown(reason="cannot read /state: input/output error")),
        plan="blocked fleet: Unknown (cannot see what runs: cannot read /state: input/output error; nothing is "
        "started or stopped until it can be seen)",
    ),
    Case(
        situation="gpus that cannot be seen: nothing is placed on them, nothing on them is replaced",
        fleet=CHAT + "context: 100\nreplicas: 2",
        on=lambda: machine(
            instance(fleet(CHAT), "chat/0", port=9000, gpus=(gpu(0),)),
            gpus=Unknown(reason="NVML has not answered for 7 s"),
        ),
        plan="""
            blocked chat/0: Unknown (cannot place on gpus that cannot be seen: NVML has not answered for 7 s; chat/0 \
goes on as it was (context default → 100))
            blocked chat/1: Unknown (cannot place on gpus that cannot be seen: NVML has not answered for 7 s)
        """,
    ),
    Case(
        situation="a run whose record was all that came of it is started as the next one",
        fleet=TINY,
        on=lambda: machine(instance(fleet(TINY), "tiny/0", Recorded(), run=4)),
        plan="start tiny/0: NotRunning",
    ),
    Case(
        situation="a stop that a dead daemon had begun is finished",
        fleet=TINY,
        on=lambda: machine(
            instance(fleet(TINY), "tiny/0", Stopping(pid=1, since=NOW, asked=Reason.SpecChanged)),
        ),
        plan="stop tiny/0: SpecChanged",
    ),
    Case(
        situation="an action in flight is not decided again, and holds its port",
        fleet=CPU + "replicas: 2",
        on=machine,
        memory=Memory(
            in_flight={
                "cpu/0": Start(
                    slot="cpu/0", launch=instance(fleet(CPU), "cpu/0", port=9000).launch, reason=Reason.NotRunning
                )
            }
        ),
        plan="start cpu/1 port 9001: NotRunning",
    ),
    Case(
        situation="a paused workload is left as it is",
        fleet=TINY + "paused: true\nenv: {A: b}",
        on=started(TINY),
        plan="blocked tiny: Paused (paused: nothing is done to it; to go on, remove `paused: true` at"
        " fleet.d/tiny.yaml:4)",
    ),
    Case(
        situation="paused by command likewise",
        fleet=TINY + "replicas: 2",
        on=started(TINY),
        memory=Memory(overrides={"tiny": Override(paused=True)}),
        plan="blocked tiny: Paused (paused: nothing is done to it; to go on, `holdfast resume tiny`)",
    ),
    Case(
        situation="stopped by command",
        fleet=TINY,
        on=started(TINY),
        memory=Memory(overrides={"tiny": Override(stopped=True)}),
        plan="stop tiny/0: StopAsked",
    ),
    Case(
        situation="scaled by command, until the file says another number",
        fleet=TINY,
        on=started(TINY),
        memory=Memory(overrides={"tiny": Override(replicas=2, declared=(1, 1))}),
        plan="start tiny/1: NotRunning",
    ),
    Case(
        situation="a scaling by command that the file has overtaken does not count",
        fleet=TINY + "replicas: 2",
        on=started(TINY + "replicas: 2"),
        memory=Memory(overrides={"tiny": Override(replicas=5, declared=(1, 1))}),
        plan="nothing to do",
    ),
    Case(
        situation="fewer replicas: the last ones go",
        fleet=TINY + "replicas: 1",
        on=started(TINY + "replicas: 3"),
        plan="""
            stop tiny/1: ScaledDown
            stop tiny/2: ScaledDown
            update tiny/0: SpecChanged (replicas 3 → default)
        """,
    ),
    Case(
        situation="on demand: nothing runs until somebody waits",
        fleet=TINY + "replicas: {min: 0, max: 1}",
        on=machine,
        plan="nothing to do",
    ),
    Case(
        situation="on demand: somebody waits",
        fleet=TINY + "replicas: {min: 0, max: 1}",
        on=machine,
        demand={"tiny": Wish(waiting=1)},
        plan="start tiny/0: NotRunning",
    ),
    Case(
        situation="with requests in flight it is drained before it is stopped",
        fleet=TINY + "env: {A: b}",
        on=started(TINY),
        demand={"tiny": Wish(in_flight={"tiny/0": 2})},
        plan="drain tiny/0: SpecChanged (env (A))",
    ),
    Case(
        situation="a drain that took its time ends in a stop",
        fleet=TINY + "env: {A: b}",
        on=started(TINY),
        demand={"tiny": Wish(in_flight={"tiny/0": 2})},
        memory=Memory(draining={"tiny/0": NOW - 120}),
        plan="stop tiny/0: SpecChanged (env (A))",
    ),
    Case(
        situation="a drain that is not over is waited for",
        fleet=TINY + "env: {A: b}",
        on=started(TINY),
        demand={"tiny": Wish(in_flight={"tiny/0": 2})},
        memory=Memory(draining={"tiny/0": NOW - 119}),
        plan="nothing to do",
    ),
    Case(
        situation="a replica goes once its own requests are done, whatever others are at",
        fleet=TWO + "env: {A: b}",
        on=started(TWO),
        demand={"tiny": Wish(in_flight={"tiny/1": 9})},
        memory=Memory(draining={"tiny/0": NOW - 1}),
        plan="""
            stop tiny/0: SpecChanged (env (A))
            blocked tiny/1: Waiting (waits for tiny/0 to serve, then is replaced (env (A)))
        """,
    ),
    Case(
        situation="a failed start is tried again after its backoff",
        fleet=TINY,
        on=machine,
        memory=Memory(
            failures={
                "tiny/0": Failure(
                    at=NOW - 0.5,
                    count=1,
                    reason=Reason.DiskFull,
                    detail="no space left in the state directory",
                    digest=fleet(TINY).workloads["tiny"].digest,
                )
            }
        ),
        plan="blocked tiny/0: DiskFull (no space left in the state directory)",
    ),
    Case(
        situation="a failed start is tried at once when its file was edited",
        fleet=TINY,
        on=machine,
        memory=Memory(
            failures={"tiny/0": Failure(at=NOW, count=9, reason=Reason.DiskFull, detail="full", digest="other")}
        ),
        plan="start tiny/0: NotRunning",
    ),
    Case(
        situation="a stop that could not be carried out is not tried again at once",
        fleet=TINY + "env: {A: b}",
        on=started(TINY),
        memory=Memory(
            failures={"tiny/0": Failure(at=NOW, count=1, reason=Reason.StartFailed, detail="no answer", digest="")}
        ),
        plan="blocked tiny/0: StartFailed (no answer)",
    ),
    Case(
        situation="an update that could not be recorded is not tried again at once",
        fleet=TINY + "priority: 500",
        on=started(TINY),
        memory=Memory(
            failures={
                "tiny/0": Failure(
                    at=NOW,
                    count=1,
                    reason=Reason.DiskFull,
                    detail="full",
                    digest=fleet(TINY + "priority: 500").workloads["tiny"].digest,
                )
            }
        ),
        plan="blocked tiny/0: DiskFull (full)",
    ),
    Case(
        situation="best fit: the fullest gpu that still has room",
        fleet=CHAT,
        on=lambda: machine(gpus=(gpu(0), gpu(1, used=50), gpu(2, used=70))),
        plan="start chat/0 on gpu 1 port 9000: NotRunning",
    ),
    Case(
        situation="no gpu has room: each is told, with the stranger that holds it",
        fleet=CHAT,
        on=lambda: machine(
            gpus=(
                gpu(0, memory=16),
                gpu(1, used=70, holders=(Holder(pid=4242, name="python", memory=70 * GIB),)),
            )
        ),
        plan="blocked chat/0: NoFreeGpu (needs one gpu with 20.0 GiB free; gpu 0: 16.0 GiB in all; "
        "gpu 1: 10.0 GiB of 80.0 GiB free; 70.0 GiB held by pid 4242 python, not ours)",
    ),
    Case(
        situation="memory auto takes a gpu whole",
        fleet=CHAT.replace("memory: 20GiB", "replicas: 2"),
        on=lambda: machine(gpus=(gpu(0),)),
        plan="""
            start chat/0 on gpu 0 port 9000: NotRunning
            blocked chat/1: NoFreeGpu (needs one gpu to itself (as its memory is not known: declare it to share); \
gpu 0: taken whole by chat/0)
        """,
    ),
    Case(
        situation="two share a gpu by memory, and the promise of the first counts for the second",
        fleet=LLAMA + "replicas: 4",
        on=lambda: machine(gpus=(gpu(0, memory=70),)),
        plan="""
            start chat/0 on gpu 0 port 9000: NotRunning
            start chat/1 on gpu 0 port 9001: NotRunning
            start chat/2 on gpu 0 port 9002: NotRunning
            blocked chat/3: NoFreeGpu (needs one gpu with 20.0 GiB free; gpu 0: 10.0 GiB of 70.0 GiB free beside \
chat/0, chat/1, chat/2)
        """,
    ),
    Case(
        situation="engines that measure what is free when they start do so one after the other on a gpu",
        fleet=CHAT + "replicas: 3",
        on=lambda: machine(gpus=(gpu(0, memory=30), gpu(1, memory=70))),
        plan="""
            start chat/0 on gpu 0 port 9000: NotRunning
            start chat/1 on gpu 1 port 9001: NotRunning
            blocked chat/2: Waiting (waits for chat/1 to have loaded on the same gpu: one of the two sizes itself by \
what is free)
        """,
    ),
    Case(
        situation="memory reserved on the node is left alone",
        fleet=CHAT + "---\nkind: Node\nname: box1\nreserved: 61GiB",
        on=lambda: machine(gpus=(gpu(0),)),
        plan="blocked chat/0: NoFreeGpu (needs one gpu with 20.0 GiB free; gpu 0: 19.0 GiB of 80.0 GiB free; "
        "61.0 GiB reserved)",
    ),
    Case(
        situation="of two that do not both fit the one with priority is placed",
        fleet=CHAT + "---\n" + CHAT.replace("name: chat", "name: big\npriority: 900"),
        on=lambda: machine(gpus=(gpu(0, memory=30),)),
        plan="""
            start big/0 on gpu 0 port 9000: NotRunning
            blocked chat/0: NoFreeGpu (needs one gpu with 20.0 GiB free; gpu 0: 10.0 GiB of 30.0 GiB free beside big/0)
        """,
    ),
    Case(
        situation="a gang takes two gpus of the kind it asks for",
        fleet=CHAT.replace("gpus: 1", "gpus: {count: 2, model: H200}"),
        on=lambda: machine(gpus=(gpu(0), gpu(1, model="H200"), gpu(2, model="H200"))),
        plan="start chat/0 on gpu 1,2 port 9000: NotRunning",
    ),
    Case(
        situation="without a gpu llama.cpp runs on the cpu when gpus is not given",
        fleet=CPU.replace("gpus: 0", ""),
        on=machine,
        plan="start cpu/0 port 9000: NotRunning",
    ),
    Case(
        situation="without a gpu vllm is blocked",
        fleet=CHAT,
        on=machine,
        plan="blocked chat/0: NoFreeGpu (needs one gpu, and this machine has none)",
    ),
    Case(
        situation="an engine that is not installed is named",
        fleet=CHAT,
        on=lambda: machine(gpus=(gpu(0),), host=replace(HOST, programs={})),
        plan="blocked chat/0: EngineMissing (cannot find vllm on PATH; install it, or choose an engine)",
    ),
    Case(
        situation="labels that this node does not carry",
        fleet=TINY + "nodes: {zone: a}",
        on=machine,
        plan="blocked tiny/0: NoNode (needs a machine labelled zone: a; label this Node, or edit nodes)",
    ),
    Case(
        situation="a fixed port that something listens on",
        fleet=TINY + "port: 8080",
        on=lambda: machine(ports=frozenset({8080})),
        plan="blocked tiny/0: PortTaken (port 8080 is in use; free it, or give another port)",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case.situation for case in CASES])
def test_plan(case: Case) -> None:
    decided = decide(fleet(case.fleet), case.on(), memory=case.memory, demand=case.demand, now=case.now)
    assert text(decided) == dedent(case.plan).strip()


def test_a_broken_file_holds_what_ran_before_even_across_a_restart_of_the_daemon() -> None:
    problem = Problem(path="fleet.d/tiny.yaml", line=3, column=1, message="cannot be read as YAML")
    on = machine(instance(fleet(TINY), "tiny/0", exited(at=NOW, ready_for=1.0)))
    decided = decide(fleet("", problems=(problem,)), on)
    assert "blocked tiny: SpecInvalid (cannot tell whether it is still declared: fleet.d/tiny.yaml:3:1" in text(decided)
    assert "start tiny/0: Exited" in text(decided)


def test_what_is_removed_is_let_go_as_its_file_last_said() -> None:
    on = machine(instance(fleet(TINY + "update: {grace: 500ms}"), "tiny/0"))
    (stop,) = decide(fleet(""), on).actions
    assert isinstance(stop, Stop)
    assert stop.grace == 0.5


def test_a_missing_directory_removes_nothing() -> None:
    empty = fleet("", missing="fleet.d cannot be believed: it is gone")
    decided = decide(empty, machine(instance(fleet(TINY), "tiny/0")))
    assert text(decided) == (
        "blocked tiny: PruneNeedsConsent (fleet.d cannot be believed: it is gone; what ran goes on as it was until "
        "`holdfast apply --prune`)"
    )


def test_a_directory_that_is_not_believed_lets_go_of_what_was_consented_to_only() -> None:
    gone = replace(fleet(several(2)), missing="fleet.d cannot be believed: it is gone")
    on = started(several(2))()
    assert [blocked.subject for blocked in decide(gone, on).blocked] == ["s0", "s1"]
    assert not decide(gone, on).actions
    memory = Memory(consents=frozenset({"s1"}))
    decided = decide(believed(gone, memory), on, memory=memory)
    assert [str(action) for action in decided.actions] == ["stop s1/0: NotInFleet"]
    assert [blocked.subject for blocked in decided.blocked] == ["s0"]


def test_a_problem_blocks_the_names_it_holds() -> None:
    problem = Problem(
        path="fleet.d/x.yaml", line=7, column=3, key="priority", message="cannot be 5000", names=("tiny",)
    )
    decided = decide(fleet(TINY, problems=(problem,)), machine(instance(fleet(TINY), "tiny/0")))
    assert text(decided) == "blocked tiny: SpecInvalid (fleet.d/x.yaml:7:3: priority: cannot be 5000)"


def test_it_wakes_when_a_backoff_ends() -> None:
    decided = decide(fleet(TINY), machine(instance(fleet(TINY), "tiny/0", exited(at=NOW))))
    assert decided.wake_at is not None
    assert NOW + 1.0 <= decided.wake_at <= NOW + 1.1


def test_it_wakes_at_the_deadline_to_become_ready() -> None:
    on = machine(instance(fleet(CPU), "cpu/0", Running(pid=1, since=NOW - 200, readiness=NotReady())))
    assert decide(fleet(CPU), on).wake_at == NOW + 100


def test_an_update_after_ten_healthy_minutes_forgets_earlier_failures_too() -> None:
    ready = running(since=1, ready=NOW - 600)
    on = machine(instance(fleet(TINY), "tiny/0", ready, strikes=Strikes(count=3)))
    (update,) = decide(fleet(TINY + "priority: 5"), on).actions
    assert isinstance(update, Update)
    assert (update.reason, update.launch.strikes) == (Reason.SpecChanged, Strikes())


def test_a_drain_that_is_no_longer_wanted_is_called_off() -> None:
    memory = Memory(draining={"tiny/0": NOW - 1})
    decided = decide(fleet(TINY), started(TINY)(), memory=memory)
    assert text(decided) == "update tiny/0: Recovered (drain called off)"


def test_requests_in_flight_do_not_save_what_does_not_answer() -> None:
    failing = Running(pid=1, since=1, readiness=Failing(since=1, failures=3, detail="x"), was_ready=True)
    on = machine(instance(fleet(TINY), "tiny/0", failing))
    decided = decide(fleet(TINY), on, demand={"tiny": Wish(in_flight={"tiny/0": 4})})
    assert not any(isinstance(action, Drain) for action in decided.actions)
    assert text(decided).startswith("stop tiny/0: ProbeFailing")


def test_a_ready_one_with_strikes_wakes_the_planner_when_they_may_be_forgotten() -> None:
    on = machine(
        instance(
            fleet(TINY),
            "tiny/0",
            Running(pid=1, since=1, readiness=Ready(since=NOW - 10), was_ready=True),
            strikes=Strikes(count=2),
        )
    )
    assert decide(fleet(TINY), on).wake_at == NOW + 590
