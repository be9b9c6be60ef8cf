"""Words for whole stories: models of so many GiB, cards, what runs after earlier fleets, and every pass of the road."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from textwrap import dedent

from reconciler.model.memory import Memory
from reconciler.model.observation import Demand, Exited, Gpu, Instance, Observation, Phase, Unknown, healthy_of
from reconciler.model.plan import Plan, Strikes
from reconciler.model.weights import Layer, Weights
from reconciler.plan.road import road
from reconciler.plan.simulate import simulate
from tests.plan.world import GIB, NOW, fleet, gpu, instance, machine


@dataclass(frozen=True, kw_only=True)
class Story:
    """A situation in a sentence, what is declared and what there is; and what an operator expects to be told."""

    situation: str
    fleet: str
    on: Callable[[], Observation]
    memory: Memory = Memory()  # noqa: RUF009
    demand: Demand | None = None
    now: float = NOW
    passes: str
    """Every pass of the road, parted by `then`; what is blocked is told when it becomes so."""

    def told(self) -> str:
        """What the planner says, pass by pass."""
        return told(road(fleet(self.fleet), self.on(), self.demand or {}, self.memory, self.now))

    @property
    def expected(self) -> str:
        """The same, as it should be."""
        return dedent(self.passes).strip()


def told(plans: Sequence[Plan]) -> str:
    """The passes that say anything new."""
    texts: list[str] = []
    before: set[str] = set()
    for number, decided in enumerate(plans):
        if not decided.actions and not decided.blocked and number < len(plans) - 1:
            continue  # time passes
        lines = [folded(text) for text in str(decided).splitlines()]
        fresh = [text for text in lines if text not in before]
        texts += ["\n".join(fresh)] if fresh else []
        before = {text for text in lines if text.startswith("blocked ")}
    return "\nthen\n".join(texts)


def folded(text: str) -> str:
    """`…; gpu 0: a; gpu 1: a` → `…; gpu 0,1: a`."""
    head, *each = re.split("; (?=gpu [0-9]+: )", text.removesuffix(")"))
    reasons: dict[str, list[str]] = {}
    for one in each:
        index, _, why = one.removeprefix("gpu ").partition(": ")
        reasons.setdefault(why, []).append(index)
    if not each:
        return text
    return "; ".join((head, *(f"gpu {','.join(indices)}: {why}" for why, indices in reasons.items()))) + ")"


def model(name: str, memory: float | None, more: str = "", *, engine: str = "llamacpp") -> str:
    """A document that declares a model of so many GiB on one GPU; None leaves `memory` out."""
    size = "" if memory is None else f"memory: {memory}GiB\n"
    gpus = "" if "gpus:" in more else "gpus: 1\n"
    source = {"vllm": f"hf:org/{name}", "ollama": f"ollama:{name}"}.get(engine, f"file:/models/{name}.gguf")
    return f"kind: Model\nname: {name}\nsource: {source}\nengine: {engine}\n{gpus}{size}{more}\n---\n"


def models(names: str, memory: float, more: str = "") -> str:
    """Several of a size: `a b c`."""
    return "".join(model(name, memory, more) for name in names.split())


def cards(count: int, memory: float = 24, links: Mapping[int, tuple[int, ...]] | None = None) -> tuple[Gpu, ...]:
    """Cards of one kind; `links` says which are linked to which."""
    made = (gpu(index, memory) for index in range(count))
    return tuple(replace(one, links=(links or {}).get(one.index, ())) for one in made)


def bare(count: int, memory: float = 24) -> Callable[[], Observation]:
    """A machine on which nothing runs."""
    return lambda: machine(gpus=cards(count, memory))


def after(text: str, on: Observation, *, demand: Demand | None = None, now: float = NOW - 900.0) -> Observation:
    """The machine as it is when that fleet has long run on it."""
    memory = Memory()
    for decided in road(fleet(text), on, demand or {}, memory, now):
        on, memory = simulate(decided, on, memory, now)
    return on


def ran(text: str, count: int, memory: float = 24) -> Callable[[], Observation]:
    """A machine on which that fleet has long run."""
    return lambda: after(text, machine(gpus=cards(count, memory)))


def begun(before: str, text: str, passes: int) -> Observation:
    """A machine on which a fleet has long run, after so many passes towards another."""
    on, memory = ran(before, 1)(), Memory()
    for decided in road(fleet(text), on, {}, memory, NOW - 60)[:passes]:
        on, memory = simulate(decided, on, memory, NOW - 60)
    return on


def become(on: Observation, slot: str, phase: Phase, *, strikes: int = 0) -> Observation:
    """The same with one instance in another phase."""
    assert not isinstance(on.instances, Unknown)
    there = on.instances[slot]
    there = replace(there, phase=phase, launch=replace(there.launch, strikes=Strikes(count=strikes)))
    instances = {**on.instances, slot: there}
    return replace(on, instances=instances, healthy=healthy_of(instances))


def placed(text: str, gpus: tuple[Gpu, ...], **places: int) -> Callable[[], Observation]:
    """A machine on which these models run where it is said: `chat=0`."""

    def build() -> Observation:
        made: list[Instance] = []
        for port, (name, index) in enumerate(places.items(), 9000):
            made.append(instance(fleet(text), f"{name}/0", port=port, gpus=(gpus[index],)))
        return machine(*made, gpus=gpus)

    return build


def lost(on: Observation, *, ended: bool) -> Observation:
    """The first card has fallen off the bus; with `ended` what ran there died of it."""
    assert not isinstance(on.gpus, Unknown)
    assert not isinstance(on.instances, Unknown)
    gone = on.gpus[0].uuid
    died = Exited(at=NOW, code=1, ready_for=800.0, detail="CUDA error: device lost")
    instances = {
        slot: replace(there, phase=died) if ended and gone in there.launch.gpus else there
        for slot, there in on.instances.items()
    }
    return replace(on, gpus=on.gpus[1:], instances=instances, healthy=healthy_of(instances))


def headers(gib: float, *, context: int = 8192) -> Weights:
    """What the header of a model of so many GiB tells: 32 layers, grouped heads."""
    part = int(gib * GIB) // 34
    layer = Layer(weights=part, attention="full", heads=32, kv_heads=8, key_length=128, value_length=128)
    return Weights(
        format="gguf",
        architecture="llama",
        dtype="Q4_K",
        total=34 * part,
        embedding=part,
        output=part,
        layers=(replace(layer, feed_forward=14336),) * 32,
        context_length=context,
        embedding_length=4096,
        vocab=128256,
    )


def where(plans: Iterable[Plan]) -> str:
    """A table of who was started where: `gpu 0: a/0 b/0`."""
    on: dict[int, list[str]] = {}
    for decided in plans:
        for action in decided.actions:
            if action.kind == "start":
                for index in action.launch.indices:
                    on.setdefault(index, []).append(action.slot)
    return "\n".join(f"gpu {index}: {' '.join(sorted(on[index]))}" for index in sorted(on))
