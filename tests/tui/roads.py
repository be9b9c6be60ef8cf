"""What a daemon says of a fleet in YAML and a machine, by the real planner: its Status, and the Road ahead."""

from dataclasses import replace
from typing import Any

from reconciler.model.facts import Road
from reconciler.model.fleet import Fleet
from reconciler.model.memory import Memory
from reconciler.model.observation import Exited, Holder, NotReady, Observation, Running
from reconciler.model.plan import Strikes
from reconciler.model.source import Problem, Revision
from reconciler.model.status import Status
from reconciler.model.stored import Fetching
from reconciler.plan.road import road
from reconciler.plan.summary import Pass, summarise
from tests.plan.world import GIB, NOW, ahead_of, decide, fleet, gpu, instance, machine
from tui.view.ahead import Section
from tui.view.foresee import outlook
from tui.view.world import Machine

MODEL = """
kind: Model
name: {name}
source: hf:Qwen/{name}
engine: vllm
gpus: 1
memory: {memory}GiB
context: 8192
"""


def model(name: str, memory: int = 20, more: str = "") -> str:
    """One that is declared."""
    return "---" + MODEL.format(name=name, memory=memory) + more


def said(of: Fleet, on: Observation, memory: Memory | None = None) -> tuple[Status, Road]:
    """What the daemon says after a pass that saw this."""
    known = memory or Memory()
    looked = Pass(fleet=of, observation=on, demand={}, plan=decide(of, on, memory=known), now=NOW)
    return summarise(looked, known).status, ahead_of(of, on, road(of, on, {}, known, NOW), known)


def section(of: Fleet, on: Observation, memory: Memory | None = None, name: str = "", **more: Any) -> Section:
    """What the Plan screen shows of it."""
    status, ahead = said(of, on, memory)
    given = Machine(name=name, status=status, away=more.pop("away", ""))
    return Section(machine=given, road=ahead, seen=outlook(ahead, machine=name or None), **more)


def busy() -> tuple[Fleet, Observation]:
    """Two cards and a stranger: one is replaced, one starts, one is loading, one is fetched, one backs off, one is too
    large, one is no longer declared."""
    before = fleet("".join(model(name) for name in ("chat", "code", "old", "crash")))
    wanted = replace(
        fleet(
            model("chat").replace("8192", "16384")
            + model("code")
            + model("vision", 12)
            + model("embed", 4)
            + model("crash", 6)
            + model("large", 200)
        ),
        revision=Revision(commit="3f2a9c1" + "0" * 33),
    )
    first, second = gpu(0, holders=(Holder(pid=7714, name="python", memory=6 * GIB),), used=46), gpu(1, used=20)
    loading = Running(pid=4711, since=NOW - 42, readiness=NotReady(detail="loading weights: 61 %"))
    on = machine(
        instance(before, "chat/0", port=9000, gpus=(first,)),
        instance(before, "code/0", loading, run=3, port=9001, gpus=(second,)),
        instance(before, "old/0", port=9002, gpus=(first,)),
        instance(
            before, "crash/0", Exited(at=NOW - 4, code=1, detail="ValueError: bad quantization"), run=5, port=9003,
            gpus=(second,), strikes=Strikes(count=4, spared=True),
        ),
        gpus=(first, second),
    )  # fmt: skip
    fetching = {"hf:Qwen/embed": Fetching(slot="embed/0", done=3 * GIB, total=16 * GIB)}
    return wanted, replace(on, sources=fetching)


def broken(of: Fleet) -> Fleet:
    """The same, with a file that cannot be read."""
    problem = Problem(
        path="fleet.d/chat.yaml", line=7, column=3, key="priority", message="cannot be 5000; choose 0-1000",
        names=("chat",),
    )  # fmt: skip
    return replace(of, problems=(problem,))
