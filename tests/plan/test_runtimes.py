"""What runs under something that cannot be asked now: Unknown is not absent, and what is beside it goes on."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from reconciler.model.observation import Exited, Instance, Observation, Unknown
from tests.plan.world import NOW, decide, fleet, gpu, instance, machine

BOXED = "kind: Service\nname: boxed\ncommand: [serve]\nruntime: {docker: {image: it:1}}\n"
TINY = "---\nkind: Service\nname: tiny\ncommand: [sleep, infinity]\n"
LOW = "kind: Model\nname: low\nsource: file:/low\nengine: vllm\ngpus: 1\npriority: 1\n"
HIGH = LOW.replace("low", "high").replace("priority: 1", "runtime: docker")
WHY = "cannot reach docker"


def unseen(*instances: Instance) -> Observation:
    """A machine with one GPU, whose docker does not answer."""
    return replace(machine(*instances, gpus=(gpu(0),)), unseen={"docker": WHY})


@dataclass(frozen=True, kw_only=True)
class Case:
    situation: str
    fleet: str = BOXED
    on: Callable[[], Observation]
    plan: str


CASES = [
    Case(
        situation="nothing is started in a docker that cannot be seen, and what is no container is",
        fleet=BOXED + TINY,
        on=unseen,
        plan="start tiny/0: NotRunning\nblocked boxed/0: Unknown (cannot reach docker)",
    ),
    Case(
        situation="what may run in it is neither started nor stopped",
        fleet="",
        on=lambda: unseen(instance(fleet(BOXED), "boxed/0", Unknown(reason=WHY))),
        plan="blocked boxed/0: Unknown (cannot see whether it runs: cannot reach docker; it is neither started nor "
        "stopped until that is known)",
    ),
    Case(
        situation="what ended in it waits to be started again",
        on=lambda: unseen(instance(fleet(BOXED), "boxed/0", Exited(at=NOW - 500, code=1))),
        plan="blocked boxed/0: Unknown (cannot reach docker)",
    ),
    Case(
        situation="a process that is to become a container goes on",
        on=lambda: unseen(instance(fleet(BOXED.replace("{docker: {image: it:1}}", "process")), "boxed/0")),
        plan="blocked boxed/0: Unknown (cannot reach docker; boxed/0 goes on as it was (runtime process → docker: "
        "image: it:1))",
    ),
    Case(
        situation="who waits for docker takes no place from others",
        fleet=LOW + "---\n" + HIGH,
        on=lambda: unseen(instance(fleet(LOW), "low/0", port=9000, gpus=(gpu(0),))),
        plan="blocked high/0: Unknown (cannot reach docker)",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.situation)
def test_plan(case: Case) -> None:
    assert str(decide(fleet(case.fleet), case.on())) == case.plan
