"""Several machines: a GPU belongs to one, gangs never span them, and each has its labels, reserve and ports."""

from textwrap import dedent

import pytest

from reconciler.model.observation import Gpu, Observation
from tests.plan.world import decide, fleet, gpu, machine, text

CHAT = """
kind: Model
name: chat
source: hf:Qwen/Qwen3-8B
engine: llamacpp
gpus: 1
memory: 20GiB
"""
TINY = """
kind: Service
name: tiny
command: [sleep, infinity]
"""
BOX2 = "\n---\nkind: Node\nname: box2\nlabels: {zone: b}\n"


def two(*gpus: Gpu) -> Observation:
    """box1, on which the daemon runs, and box2 beside it."""
    return machine(gpus=gpus, others=("box2",))


def four(node: str = "") -> tuple[Gpu, ...]:
    return tuple(gpu(index, node=node) for index in range(4))


CASES = {
    "the machine that the daemon runs on comes first": (
        CHAT,
        two(gpu(0), gpu(0, node="box2")),
        "start chat/0 on gpu 0 port 9000: NotRunning",
    ),
    "what does not fit here goes to another machine": (
        CHAT.replace("20GiB", "70GiB") + "replicas: 2",
        two(gpu(0), gpu(0, node="box2")),
        """
        start chat/0 on gpu 0 port 9000: NotRunning
        start chat/1 on box2 gpu 0 port 9000: NotRunning
        """,
    ),
    "a gang is placed inside one machine": (
        CHAT.replace("gpus: 1", "gpus: 4"),
        two(gpu(0), gpu(1), *four("box2")),
        "start chat/0 on box2 gpu 0,1,2,3 port 9000: NotRunning",
    ),
    "a gang never spans two": (
        CHAT.replace("gpus: 1", "gpus: 8"),
        two(*four(), *four("box2")),
        "blocked chat/0: NoFreeGpu (needs 8 gpus with 20.0 GiB free; 8 fit, but no machine has 8 of them)",
    ),
    "labels choose the machine": (
        CHAT + "nodes: {zone: b}" + BOX2,
        two(gpu(0), gpu(0, node="box2")),
        "start chat/0 on box2 gpu 0 port 9000: NotRunning",
    ),
    "labels that no machine has are told": (
        CHAT + "nodes: {zone: c}" + BOX2,
        two(gpu(0), gpu(0, node="box2")),
        "blocked chat/0: NoNode (needs a machine labelled zone: c; label this Node, or edit nodes)",
    ),
    "where only labelled machines will do, the others are told apart": (
        CHAT.replace("20GiB", "90GiB") + "nodes: {zone: b}" + BOX2,
        two(gpu(0), gpu(0, node="box2")),
        "blocked chat/0: NoFreeGpu (needs one gpu with 90.0 GiB free; gpu 0: its machine is not labelled zone: b; "
        "box2 gpu 0: 80.0 GiB in all)",
    ),
    "a service goes where its labels lead it": (
        TINY + "nodes: {zone: b}" + BOX2,
        two(),
        "start tiny/0 on box2: NotRunning",
    ),
    "each machine has a reserve of its own": (
        CHAT + BOX2 + "reserved: 61GiB",
        two(gpu(0, 10), gpu(0, node="box2")),
        "blocked chat/0: NoFreeGpu (needs one gpu with 20.0 GiB free; gpu 0: 10.0 GiB in all; "
        "box2 gpu 0: 19.0 GiB of 80.0 GiB free; 61.0 GiB reserved)",
    ),
    "each machine has ports of its own": (
        CHAT.replace("20GiB", "70GiB") + "replicas: 2" + BOX2 + "ports: 7000-7001",
        two(gpu(0), gpu(0, node="box2")),
        """
        start chat/0 on gpu 0 port 9000: NotRunning
        start chat/1 on box2 gpu 0 port 7000: NotRunning
        """,
    ),
}


@pytest.mark.parametrize("situation", CASES)
def test_over_two_machines(situation: str) -> None:
    of, on, plan = CASES[situation]
    assert text(decide(fleet(of), on)) == dedent(plan).strip()
