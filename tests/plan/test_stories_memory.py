"""Stories of memory, as an operator would try them: how much a model is taken to need, and what follows from that."""

from dataclasses import replace

import pytest

from reconciler.model.memory import Memory
from reconciler.model.observation import Exited, Holder, NotReady, Observation, Running, Unknown
from reconciler.model.plan import Start
from reconciler.model.weights import Unreadable
from tests.plan.stories import Story, after, bare, cards, headers, model, placed
from tests.plan.world import GIB, HOST, NOW, decide, fleet, gpu, instance, machine

WEIGHED = {"file:/models/chat.gguf": headers(4), "file:/models/big.gguf": headers(30)}
OTHER = model("other", 12)
OPEN = "kind: Model\nname: big\nsource: file:/models/big.gguf\n"
ALL = model("declared", 6) + model("chat", None) + model("seen", None) + model("unknown", None)


def chat(context: int, more: str = "") -> str:
    """A model whose memory is estimated: 4 GiB, and one for every 8192 tokens of context."""
    return model("chat", None, f"context: {context}\n{more}")


def weighed(text: str, *, count: int = 1, memory: float = 24, reading: str = "") -> Observation:
    """A machine on which that has long run, the headers of its models read."""
    on = replace(machine(gpus=cards(count, memory)), weights=WEIGHED)
    return replace(after(text, on), reading=frozenset({reading} - {""}))


def ended(ago: float, *, used: float) -> Observation:
    """One card, on which a model that is no longer declared ended a while ago; so much is still held."""
    phase = Exited(at=NOW - ago, code=0)
    old = instance(fleet(model("old", 20)), "old/0", phase, port=9000, gpus=(gpu(0, 24),))
    return machine(old, gpus=(gpu(0, 24, used=used), gpu(1, 24)))


def loading(slot: str, on: Observation) -> Observation:
    """The same while one of its instances has not answered yet."""
    assert not isinstance(on.instances, Unknown)
    phase = Running(pid=1, since=NOW - 5, readiness=NotReady())
    instances = {**on.instances, slot: replace(on.instances[slot], phase=phase)}
    return replace(
        on, instances=instances, healthy={name: digest for name, digest in on.healthy.items() if name != slot}
    )


STORIES = [
    Story(
        situation="headers are being read: it waits for its size, and nobody waits for it",
        fleet=model("chat", None) + model("other", 4),
        on=lambda: weighed("", reading="file:/models/chat.gguf"),
        passes="""
            start other/0 on gpu 0 port 9000: NotRunning
            blocked chat/0: Waiting (how much memory it needs is being read from file:/models/chat.gguf)
        """,
    ),
    Story(
        situation="headers that cannot be understood: it takes a card whole",
        fleet=model("chat", None) + model("other", 4),
        on=lambda: replace(machine(gpus=cards(2)), weights={"file:/models/chat.gguf": Unreadable(reason="no GGUF")}),
        passes="""
            start chat/0 on gpu 0 port 9000: NotRunning
            start other/0 on gpu 1 port 9001: NotRunning
            then
            nothing to do
        """,
    ),
    Story(
        situation="two by estimate and two by declaration share what two cards have",
        fleet=chat(8192) + model("chat2", 6) + model("chat3", 16),
        on=lambda: weighed("", count=2),
        passes="""
            start chat/0 on gpu 1 port 9000: NotRunning
            start chat2/0 on gpu 0 port 9001: NotRunning
            start chat3/0 on gpu 0 port 9002: NotRunning
            then
            nothing to do
        """,
    ),
    Story(
        situation="too large for one card by estimate: it spreads over two where its file leaves the number open",
        fleet=OPEN,
        on=lambda: weighed("", count=4),
        passes="""
            start big/0 on gpu 0,1 port 9000: NotRunning
            then
            nothing to do
        """,
    ),
    Story(
        situation="too large for one card by estimate, and its file says one: what each card has is told",
        fleet=OPEN + "gpus: 1",
        on=lambda: weighed("", count=2),
        passes="""
            blocked big/0: NoFreeGpu (needs one gpu with 30.7 GiB free (estimated ±5 %: \
context 8192, as none is declared); gpu 0,1: 24.0 GiB in all)
        """,
    ),
    Story(
        situation="a context doubled that fits beside the old one: one more first, nothing is down",
        fleet=chat(16384),
        on=lambda: weighed(chat(8192)),
        passes="""
            start chat/1 on gpu 0 port 9001: SpecChanged (serves while chat/0 is replaced)
            blocked chat/0: Waiting (waits for chat/1 to serve, then is replaced (context 8192 → 16384))
            then
            stop chat/0: SpecChanged (context 8192 → 16384)
            then
            start chat/0 on gpu 0 port 9000: SpecChanged
            then
            stop chat/1: ScaledDown
            then
            forget chat/1: ScaledDown
            then
            nothing to do
        """,
    ),
    Story(
        situation="a context doubled that fits in place, not beside: the old one ends first",
        fleet=chat(65536),
        on=lambda: weighed(chat(32768)),
        passes="""
            stop chat/0: SpecChanged (context 32768 → 65536)
            then
            start chat/0 on gpu 0 port 9000: SpecChanged
            then
            nothing to do
        """,
    ),
    Story(
        situation="a context doubled that fits elsewhere only: it goes there",
        fleet=chat(131072) + OTHER,
        on=lambda: weighed(chat(32768) + OTHER, count=2),
        passes="""
            stop chat/0: SpecChanged (context 32768 → 131072)
            then
            start chat/0 on gpu 1 port 9000: SpecChanged
            then
            nothing to do
        """,
    ),
    Story(
        situation="a context doubled that fits nowhere: the old one goes on serving, and it is said why",
        fleet=chat(131072) + OTHER,
        on=lambda: weighed(chat(32768) + OTHER),
        passes="""
            blocked chat/0: NoFreeGpu (needs one gpu with 20.6 GiB free (estimated ±5 %); gpu 0: 12.0 GiB of 24.0 \
GiB free beside other/0; chat/0 goes on as it was (context 32768 → 131072))
        """,
    ),
    Story(
        situation="a context doubled that fits nowhere but in the place of a lower priority: that one is named",
        fleet=chat(131072, "priority: 300") + OTHER,
        on=lambda: weighed(chat(32768, "priority: 300") + OTHER),
        passes="""
            stop other/0: Preempted (for chat/0)
            blocked chat/0: Waiting (waits for memory to be given back: gpu 0: 12.0 GiB of 24.0 GiB free beside \
other/0; chat/0 goes on as it was (context 32768 → 131072))
            then
            stop chat/0: SpecChanged (context 32768 → 131072)
            blocked other/0: NoFreeGpu (needs one gpu with 12.0 GiB free; gpu 0: 3.3 GiB of 24.0 GiB free beside \
chat/0)
            then
            start chat/0 on gpu 0 port 9000: SpecChanged
        """,
    ),
    Story(
        situation="the edit that fitted nowhere is taken back: nothing was restarted, and nothing is",
        fleet=chat(32768) + OTHER,
        on=lambda: after(chat(131072) + OTHER, weighed(chat(32768) + OTHER)),
        passes="nothing to do",
    ),
    Story(
        situation="vllm sizes itself by what is free: one after another on a card, side by side on two",
        fleet="".join(model(name, 10, engine="vllm") for name in ("a", "b", "c")),
        on=bare(2),
        passes="""
            start a/0 on gpu 0 port 9000: NotRunning
            start c/0 on gpu 1 port 9001: NotRunning
            blocked b/0: Waiting (waits for a/0 to have loaded on the same gpu: one of the two sizes itself by \
what is free)
            then
            start b/0 on gpu 0 port 9002: NotRunning
            then
            nothing to do
        """,
    ),
    Story(
        situation="while vllm loads on a card llama.cpp waits for it too, though it would fit",
        fleet=model("a", 10, engine="vllm") + model("b", 4),
        on=lambda: loading("a/0", after(model("a", 10, engine="vllm"), machine(gpus=cards(1)))),
        passes="""
            blocked b/0: Waiting (waits for a/0 to have loaded on the same gpu: one of the two sizes itself by \
what is free)
        """,
    ),
    Story(
        situation="memory still held after a stop is waited for, and nobody moves meanwhile",
        fleet=model("next", 20, "gpus: {ids: ['0']}"),
        on=lambda: ended(1, used=20),
        passes="""
            blocked next/0: Waiting (waits for memory to be given back: gpu 0: 4.0 GiB of 24.0 GiB free; 20.0 GiB \
held by others)
        """,
    ),
    Story(
        situation="memory still held after a stop is not waited for where another card is free",
        fleet=model("next", 20),
        on=lambda: ended(1, used=20),
        passes="""
            start next/0 on gpu 1 port 9001: NotRunning
            then
            nothing to do
        """,
    ),
    Story(
        situation="memory that is back after a stop is given again at once",
        fleet=model("next", 20, "gpus: {ids: ['0']}"),
        on=lambda: ended(1, used=0),
        passes="""
            start next/0 on gpu 0 port 9001: NotRunning
            forget old/0: NotInFleet
            then
            nothing to do
        """,
    ),
    Story(
        situation="memory that did not come back is somebody's, and is told so",
        fleet=model("next", 20, "gpus: {ids: ['0']}"),
        on=lambda: ended(60, used=20),
        passes="""
            forget old/0: NotInFleet
            blocked next/0: NoFreeGpu (needs one gpu with 20.0 GiB free; gpu 0: 4.0 GiB of 24.0 GiB free; 20.0 GiB \
held by others; gpu 1: not one of gpus.ids)
        """,
    ),
    Story(
        situation="what is still held after a stop makes nobody give way: it is about to be free",
        fleet=model("low", 20, "priority: 1") + model("next", 20, "priority: 500"),
        on=lambda: returning(),  # noqa: PLW0108
        passes="""
            blocked next/0: Waiting (waits for memory to be given back: gpu 0: 4.0 GiB of 24.0 GiB free; 20.0 GiB \
held by others)
        """,
    ),
    Story(
        situation="one that took more than it was promised counts with what it took",
        fleet=model("greedy", 8) + model("next", 14),
        on=lambda: grown(model("greedy", 8), "greedy/0", 12),
        passes="""
            blocked next/0: NoFreeGpu (needs one gpu with 14.0 GiB free; gpu 0: 12.0 GiB of 24.0 GiB free beside \
greedy/0)
        """,
    ),
    Story(
        situation="memory reserved on the node is left alone, and named",
        fleet=model("chat", 23) + "kind: Node\nname: box1\nreserved: 2GiB",
        on=bare(1),
        passes="""
            blocked chat/0: NoFreeGpu (needs one gpu with 23.0 GiB free; gpu 0: 22.0 GiB of 24.0 GiB free; 2.0 GiB \
reserved)
        """,
    ),
]


def returning() -> Observation:
    """A card whose model has just ended, and another with one of low priority."""
    low = instance(fleet(model("low", 20, "priority: 1")), "low/0", port=9001, gpus=(gpu(1, 24),))
    old = instance(fleet(model("old", 20)), "old/0", Exited(at=NOW - 1, code=0), port=9000, gpus=(gpu(0, 24),))
    held = Holder(pid=5, name="llama-server", memory=20 * GIB, slot="low/0")
    return machine(low, old, gpus=(gpu(0, 24, used=20), gpu(1, 24, used=20, holders=(held,))))


def grown(text: str, slot: str, gib: int) -> Observation:
    """A card on which one of ours is seen to hold more than it asked for."""
    on = placed(text, cards(1), **{slot[:-2]: 0})()
    held = Holder(pid=5, name="llama-server", memory=gib * GIB, slot=slot)
    return replace(on, gpus=(gpu(0, 24, used=gib, holders=(held,)),))


@pytest.mark.parametrize("story", STORIES, ids=[story.situation for story in STORIES])
def test_story(story: Story) -> None:
    assert story.told() == story.expected


def test_memory_is_as_declared_as_measured_as_estimated_or_the_whole_card() -> None:
    """And the launch says which; what was measured once is no longer estimated."""
    weights = {f"file:/models/{name}.gguf": headers(4) for name in ("chat", "seen")}
    measured = {f"{fleet(ALL).workloads['seen'].fingerprint}@1": 5 * GIB}
    decided = decide(fleet(ALL), replace(machine(gpus=cards(3)), weights=weights), memory=Memory(measured=measured))
    told = {
        action.slot: (launch.basis, launch.memory and round(launch.memory / GIB, 1), launch.host_basis, launch.within)
        for action in decided.actions
        if isinstance(action, Start) and (launch := action.launch)
    }
    assert told == {
        "chat/0": ("estimated", 5.5, "estimated", 0.05),
        "declared/0": ("declared", 6.0, "estimated", None),
        "seen/0": ("measured", 5.0, "estimated", 0.05),
        "unknown/0": ("whole", None, "estimated", None),
    }


def test_what_a_log_states_lacks_the_drivers_part_but_for_engines_that_take_a_share() -> None:
    """A share holds everything, llama.cpp knows only of its own buffers; what the driver measured is the best."""
    text = model("chat", None) + model("share", None, engine="vllm") + model("seen", None)
    weights = {f"file:/models/{name}.gguf": headers(4) for name in ("chat", "seen")} | {"hf:org/share": headers(4)}
    names = {name: f"{workload.fingerprint}@1" for name, workload in fleet(text).workloads.items()}
    memory = Memory(stated=dict.fromkeys(names.values(), 20 * GIB), measured={names["seen"]: 22 * GIB})
    host = replace(HOST, programs={**HOST.programs, "vllm": "/usr/bin/vllm"})
    on = replace(machine(gpus=cards(3), host=host), weights=weights)
    told = {
        action.slot: (action.launch.basis, (action.launch.memory or 0) // 2**20)
        for action in decide(fleet(text), on, memory=memory).actions
        if isinstance(action, Start)
    }
    assert told == {"chat/0": ("measured", 20980), "seen/0": ("measured", 22528), "share/0": ("measured", 20480)}
