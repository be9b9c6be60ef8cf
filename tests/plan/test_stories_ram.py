"""Stories of host memory, as an operator would try them: what takes it, what is kept out by it, and who gives way."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from reconciler.model.memory import Memory
from reconciler.model.observation import Exited, Host, NotReady, Observation, Resident, Running, Unknown
from reconciler.model.status import Reason
from tests.plan.stories import Story, after, become, cards, headers, model
from tests.plan.world import GIB, HOST, NOW, decide, fleet, machine

EMPTY = replace(HOST, available=HOST.memory)
"""64 GiB, of which 3.2 are reserved: 5 %."""


def cpu(name: str, memory: float | None, more: str = "") -> str:
    """A model on the CPU that says how much host memory it needs, or does not."""
    return model(name, memory, f"gpus: 0\n{more}")


def service(name: str, more: str = "") -> str:
    """A service that says nothing of its memory."""
    return f"kind: Service\nname: {name}\ncommand: [sleep, infinity]\n{more}\n---\n"


def ran(text: str, *, on: Host = EMPTY, gpus: int = 0, held: int = 0, files: int = 0) -> Observation:
    """A machine on which that fleet has long run; each of its instances was seen to hold so many GiB."""
    seen = after(text, machine(gpus=cards(gpus), host=on))
    assert not isinstance(seen.instances, Unknown)
    counted = {
        slot: Resident(run=there.launch.run, own=held * GIB, files=files * GIB)
        for slot, there in seen.instances.items()
    }
    host = replace(on, available=on.available - held * GIB * len(counted))
    return replace(seen, host=host, resident=counted)


def bare(host: Host = EMPTY, *, gpus: int = 0) -> Callable[[], Observation]:
    """A machine on which nothing runs."""
    return lambda: machine(gpus=cards(gpus), host=host)


def ended(on: Observation, slot: str) -> Observation:
    """The same just after one has crashed; memory was read before that."""
    return become(on, slot, Exited(at=NOW - 0.1, code=1, ready_for=800.0))


def loading(on: Observation, slot: str) -> Observation:
    """The same while one loads, of which nothing was counted yet."""
    seen = become(on, slot, Running(pid=1, since=NOW - 5, readiness=NotReady()))
    return replace(seen, resident={other: counted for other, counted in on.resident.items() if other != slot})


WEIGHED = {"file:/models/a.gguf": headers(40), "file:/models/b.gguf": headers(30)}
MEASURED = Memory(measured={f"{fleet(cpu('a', None)).workloads['a'].fingerprint}@0 host": 30 * GIB})

STORIES = [
    Story(
        situation="models on the CPU start as far as memory goes, and the next is told what is in its way",
        fleet=cpu("a", 30) + cpu("b", 20) + cpu("c", 20),
        on=bare(),
        passes="""
            start b/0 port 9000: NotRunning
            start c/0 port 9001: NotRunning
            blocked a/0: NoFreeMemory (needs 30.0 GiB of host memory; 20.8 GiB of 64.0 GiB free beside b/0, \
c/0; 3.2 GiB reserved)
        """,
    ),
    Story(
        situation="a higher priority is never left out for lower ones, however many",
        fleet=cpu("a", 30) + cpu("b", 20) + cpu("c", 20) + cpu("high", 40, "priority: 500"),
        on=bare(),
        passes="""
            start high/0 port 9000: NotRunning
            start b/0 port 9001: NotRunning
            blocked a/0: NoFreeMemory (needs 30.0 GiB of host memory; 819.2 MiB of 64.0 GiB free \
beside b/0, high/0; 3.2 GiB reserved)
            blocked c/0: NoFreeMemory (needs 20.0 GiB of host memory; 819.2 MiB of 64.0 GiB free \
beside b/0, high/0; 3.2 GiB reserved)
        """,
    ),
    Story(
        situation="a lower priority goes for a higher one, the lowest first; what runs beside it stays",
        fleet=cpu("low", 30, "priority: 1") + cpu("mid", 20) + cpu("high", 30, "priority: 500"),
        on=lambda: ran(cpu("low", 30, "priority: 1") + cpu("mid", 20)),
        passes="""
            stop low/0: Preempted (for high/0)
            blocked high/0: Waiting (waits for memory to be given back: needs 30.0 GiB of host memory; 10.8 GiB of \
64.0 GiB free; 3.2 GiB reserved)
            then
            start high/0 port 9002: NotRunning
            blocked low/0: NoFreeMemory (needs 30.0 GiB of host memory; 10.8 GiB of 64.0 GiB free beside high/0, \
mid/0; 3.2 GiB reserved)
        """,
    ),
    Story(
        situation="who gave way comes back when there is room",
        fleet=cpu("low", 30, "priority: 1") + cpu("mid", 20),
        on=lambda: become(
            ran(cpu("low", 30, "priority: 1") + cpu("mid", 20)),
            "low/0",
            Exited(at=NOW - 60, code=0, asked=Reason.Preempted),
        ),
        passes="""
            start low/0 port 9001: Preempted (there is room again)
            then
            nothing to do
        """,
    ),
    Story(
        situation="a service that says nothing counts nothing before it runs, and keeps nobody out",
        fleet=service("s") + cpu("a", 60),
        on=bare(),
        passes="""
            start a/0 port 9000: NotRunning
            start s/0: NotRunning
            then
            nothing to do
        """,
    ),
    Story(
        situation="what a service was seen to hold counts, though it said nothing",
        fleet=service("s") + cpu("a", 50),
        on=lambda: ran(service("s"), held=20),
        passes="""
            blocked a/0: NoFreeMemory (needs 50.0 GiB of host memory; 40.8 GiB of 64.0 GiB free beside s/0; 3.2 GiB \
reserved)
        """,
    ),
    Story(
        situation="what others hold is planned around, and told",
        fleet=cpu("a", 40),
        on=bare(replace(HOST, available=30 * GIB)),
        passes="""
            blocked a/0: NoFreeMemory (needs 40.0 GiB of host memory; 26.8 GiB of 64.0 GiB free; 34.0 GiB held by \
others; 3.2 GiB reserved)
        """,
    ),
    Story(
        situation="a crashed one starts again at once where memory is just enough: what it held is its own",
        fleet=cpu("a", 30) + cpu("b", 30),
        on=lambda: ended(ran(cpu("a", 30) + cpu("b", 30), held=29), "b/0"),
        passes="""
            start b/0 port 9001: Exited (exited with status 1)
            then
            nothing to do
        """,
    ),
    Story(
        situation="those that grew beyond what there is go on, and nobody joins them",
        fleet=cpu("a", 30) + cpu("b", 20) + cpu("c", 5),
        on=lambda: ran(cpu("a", 30) + cpu("b", 20), held=31),
        passes="""
            blocked c/0: NoFreeMemory (needs 5.0 GiB of host memory; none of 64.0 GiB free beside a/0, b/0; 3.2 GiB \
reserved)
        """,
    ),
    Story(
        situation="of those that grew too much one goes only for a higher priority",
        fleet=cpu("a", 30) + cpu("b", 20) + cpu("c", 5, "priority: 500"),
        on=lambda: ran(cpu("a", 30) + cpu("b", 20), held=31),
        passes="""
            stop a/0: Preempted (for c/0)
            blocked c/0: Waiting (waits for memory to be given back: needs 5.0 GiB of host memory; none of 64.0 GiB \
free; 3.2 GiB reserved)
            then
            start c/0 port 9002: NotRunning
            blocked a/0: NoFreeMemory (needs 30.0 GiB of host memory; 24.8 GiB of 64.0 GiB free beside b/0, c/0; \
3.2 GiB reserved)
        """,
    ),
    Story(
        situation="where nobody knows the machine's memory nobody is kept from it",
        fleet=cpu("a", 600),
        on=bare(replace(HOST, memory=0, available=0)),
        passes="""
            start a/0 port 9000: NotRunning
            then
            nothing to do
        """,
    ),
    Story(
        situation="models on GPUs take host memory too, and are told when it is that which is short",
        fleet=model("x", 10, engine="vllm") + model("y", 10, engine="vllm") + cpu("c", 52, "priority: 500"),
        on=bare(gpus=2),
        passes="""
            start c/0 port 9000: NotRunning
            start x/0 on gpu 0 port 9001: NotRunning
            blocked y/0: NoFreeMemory (needs 5.0 GiB of host memory (estimated); 3.8 GiB of 64.0 GiB free beside \
c/0, x/0; 3.2 GiB reserved; one gpu with 10.0 GiB free could be had)
        """,
    ),
    Story(
        situation="one that yields to nobody keeps a higher priority out, and is named with why",
        fleet=cpu("a", 40, "priority: 1\npreemption: never") + cpu("b", 40, "priority: 900"),
        on=lambda: ran(cpu("a", 40, "priority: 1\npreemption: never")),
        passes="""
            blocked b/0: NoFreeMemory (needs 40.0 GiB of host memory; 20.8 GiB of 64.0 GiB free beside a/0 \
(preemption: never); 3.2 GiB reserved)
        """,
    ),
    Story(
        situation="host memory reserved on the node is left alone, and named",
        fleet=cpu("a", 40) + "kind: Node\nname: box1\nreserved_host: 30GiB",
        on=bare(),
        passes="""
            blocked a/0: NoFreeMemory (needs 40.0 GiB of host memory; 34.0 GiB of 64.0 GiB free; 30.0 GiB reserved)
        """,
    ),
    Story(
        situation="what headers tell of a model counts",
        fleet=cpu("a", None) + cpu("b", None),
        on=lambda: replace(machine(host=EMPTY), weights=WEIGHED),
        passes="""
            start b/0 port 9000: NotRunning
            blocked a/0: NoFreeMemory (needs 41.3 GiB of host memory (estimated ±5 %: \
context 8192, as none is declared); 29.5 GiB of 64.0 GiB free \
beside b/0; 3.2 GiB reserved)
        """,
    ),
    Story(
        situation="headers are being read: it waits, as it might take what others have",
        fleet=cpu("a", None) + cpu("b", 3),
        on=lambda: replace(machine(host=EMPTY), reading=frozenset({"file:/models/a.gguf"})),
        passes="""
            start b/0 port 9000: NotRunning
            blocked a/0: Waiting (how much memory it needs is being read from file:/models/a.gguf)
        """,
    ),
    Story(
        situation="headers that cannot be read: it counts nothing, and is kept from nothing",
        fleet=cpu("a", None) + cpu("b", 60),
        on=lambda: replace(machine(host=EMPTY), weights={"file:/models/a.gguf": Unknown(reason="gone")}),
        passes="""
            start a/0 port 9000: NotRunning
            start b/0 port 9001: NotRunning
            then
            nothing to do
        """,
    ),
    Story(
        situation="what was measured once counts instead of what headers tell",
        fleet=cpu("a", None) + cpu("b", 40),
        on=lambda: replace(machine(host=EMPTY), weights=WEIGHED),
        memory=MEASURED,
        passes="""
            start a/0 port 9000: NotRunning
            blocked b/0: NoFreeMemory (needs 40.0 GiB of host memory; 30.8 GiB of 64.0 GiB free beside a/0; 3.2 GiB \
reserved)
        """,
    ),
    Story(
        situation="one that is to grow beyond what is left goes on as it was",
        fleet=cpu("a", 40) + cpu("b", 25),
        on=lambda: ran(cpu("a", 30) + cpu("b", 25), held=20),
        passes="""
            blocked a/0: NoFreeMemory (needs 40.0 GiB of host memory; 35.8 GiB of 64.0 GiB free beside b/0; 3.2 GiB \
reserved; a/0 goes on as it was (memory 30GiB → 40GiB))
        """,
    ),
    Story(
        situation="a replica more for a roll-out only where there is host memory for it",
        fleet=cpu("a", 30, "context: 4096"),
        on=lambda: ran(cpu("a", 31), held=20),
        passes="""
            stop a/0: SpecChanged (context default → 4096; memory 31GiB → 30GiB)
            then
            start a/0 port 9000: SpecChanged
            then
            nothing to do
        """,
    ),
    Story(
        situation="while one loads it is not known which memory is its own: the next waits for that",
        fleet=cpu("a", 30) + cpu("b", 25),
        on=lambda: loading(ran(cpu("a", 30), held=28), "a/0"),
        passes="""
            blocked b/0: Waiting (waits for memory to be given back: needs 25.0 GiB of host memory; 2.8 GiB of 64.0 \
GiB free; 3.2 GiB reserved)
        """,
    ),
    Story(
        situation="what leaves gives its memory back first",
        fleet=cpu("b", 50),
        on=lambda: ran(cpu("a", 30), held=28),
        passes="""
            stop a/0: NotInFleet
            blocked b/0: Waiting (waits for memory to be given back: needs 50.0 GiB of host memory; 30.8 GiB of \
64.0 GiB free; 3.2 GiB reserved)
            then
            start b/0 port 9001: NotRunning
            forget a/0: NotInFleet
            then
            nothing to do
        """,
    ),
    Story(
        situation="GPUs that cannot be seen do not make host memory endless",
        fleet=cpu("a", 40) + cpu("b", 30, "priority: 1"),
        on=lambda: replace(machine(host=EMPTY), gpus=Unknown(reason="hangs")),
        passes="""
            start a/0 port 9000: NotRunning
            blocked b/0: NoFreeMemory (needs 30.0 GiB of host memory; 20.8 GiB of 64.0 GiB free; 3.2 GiB reserved)
        """,
    ),
]


@pytest.mark.parametrize("story", STORIES, ids=[story.situation for story in STORIES])
def test_story(story: Story) -> None:
    assert story.told() == story.expected


def test_what_held_scarce_memory_is_forgotten_once_that_was_read_again() -> None:
    """Until then nobody would know that it was ours."""
    on = become(ran(cpu("old", 30), held=29), "old/0", Exited(at=NOW - 1, code=0, asked=Reason.NotInFleet))
    decided = decide(fleet(cpu("a", 40) + cpu("b", 30)), on)
    assert "forget" not in str(decided)
    assert decided.wake_at == NOW + 4
    read = replace(on, host=replace(on.host, available=on.host.memory, at=NOW))
    assert "forget old/0" in str(decide(fleet(cpu("a", 40) + cpu("b", 30)), read))


def test_what_is_kept_without_a_file_and_starts_again_keeps_its_memory() -> None:
    """Nobody may prune it unasked, so nobody gets its place."""
    on = become(ran(cpu("a", 30) + cpu("b", 25) + cpu("c", 1) + cpu("d", 1)), "a/0", Exited(at=NOW - 60, code=1))
    told = str(decide(fleet(cpu("n", 10)), on))
    assert "start a/0 port 9000: Exited" in told
    assert "blocked n/0: NoFreeMemory (needs 10.0 GiB of host memory; 3.8 GiB of 64.0 GiB free beside" in told
