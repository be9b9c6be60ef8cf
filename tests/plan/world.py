"""Words for the planner's cases: a fleet from YAML, a machine, instances in some phase; and the plan's text."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from textwrap import dedent
from typing import Any

import yaml

from reconciler import engines
from reconciler.model.facts import Facts, Road, declared
from reconciler.model.fleet import Fleet, Workload, slots_of
from reconciler.model.gateway import Access, Route
from reconciler.model.kinds import KINDS, Engine, Model, Node, Service
from reconciler.model.memory import Memory
from reconciler.model.observation import (
    Demand,
    Gpu,
    Holder,
    Host,
    Instance,
    Observation,
    Phase,
    Ready,
    Running,
    Unknown,
    healthy_of,
)
from reconciler.model.plan import Plan, Size, Strikes
from reconciler.model.source import Problem, Source
from reconciler.observe.host import PROGRAMS
from reconciler.plan.planner import plan

NOW = 1000.0
GIB = 2**30
HOST = Host(
    name="box1",
    cpus=8,
    memory=64 * GIB,
    available=60 * GIB,
    programs={name: f"/usr/bin/{name}" for name in PROGRAMS},
    python="/usr/bin/python3",
)


def fleet(text: str, *, problems: tuple[Problem, ...] = (), missing: str | None = None) -> Fleet:
    """A fleet as its files would give it; every document stands in `fleet.d/<name>.yaml`, `paused` on line 4."""
    specs: list[Any] = [
        KINDS[document["kind"]].model_validate(document)
        for document in yaml.load_all(dedent(text), yaml.CSafeLoader)
        if document
    ]
    templates = {spec.name: spec for spec in specs if isinstance(spec, Engine)}
    workloads: dict[str, Workload] = {}
    for spec in specs:
        if isinstance(spec, Model | Service):
            source = Source(path=f"fleet.d/{spec.name}.yaml", line=1, pause=4 if spec.paused else 0)
            made = engines.workload(spec, source=source, directory="/etc/fleet.d", engines=templates)
            assert isinstance(made, Workload), made
            workloads[spec.name] = made
    return Fleet(
        root="fleet.d",
        workloads=workloads,
        engines=templates,
        nodes={spec.name: spec for spec in specs if isinstance(spec, Node)},
        access={spec.name: spec for spec in specs if isinstance(spec, Access)},
        routes={spec.name: spec for spec in specs if isinstance(spec, Route)},
        problems=problems,
        missing=missing,
        slots=slots_of(workloads),
    )


def gpu(
    index: int,
    memory: float = 80,
    used: float = 0,
    holders: tuple[Holder, ...] = (),
    model: str = "H100",
    *,
    node: str = "",
) -> Gpu:
    """A GPU; sizes in GiB."""
    return Gpu(
        index=index,
        uuid=f"GPU-{node}{index}",
        node=node,
        model=f"NVIDIA {model}",
        memory=int(memory * GIB),
        used=int(used * GIB),
        holders=holders,
    )


def running(since: float = 100.0, ready: float | None = 101.0) -> Running:
    """A phase: running, and ready since then."""
    return Running(
        pid=4000, since=since, readiness=Ready(since=ready if ready is not None else since), was_ready=ready is not None
    )


def instance(
    of: Fleet,
    slot: str,
    phase: Phase | None = None,
    *,
    run: int = 1,
    port: int | None = None,
    gpus: tuple[Gpu, ...] = (),
    strikes: Strikes | None = None,
) -> Instance:
    """An instance started from what that fleet says of its slot."""
    workload = of.workloads[slot.partition("/")[0]]
    launch = engines.launch(
        workload,
        slot=slot,
        run=run,
        gpus=gpus,
        port=port,
        size=Size(gpus=len(gpus), memory=workload.needs.memory),
        strikes=strikes or Strikes(),
        host=HOST,
        node=Node(name="local"),
    )
    assert not isinstance(launch, engines.Refusal), launch
    return Instance(slot=slot, launch=launch, phase=phase or running())


def machine(
    *instances: Instance,
    gpus: tuple[Gpu, ...] | Unknown = (),
    ports: frozenset[int] | Unknown = frozenset(),
    host: Host = HOST,
    others: tuple[str, ...] = (),
) -> Observation:
    """A machine on which these run."""
    by_slot = {each.slot: each for each in instances}
    beside = tuple(replace(host, name=name) for name in others)
    return Observation(host=host, others=beside, gpus=gpus, instances=by_slot, ports=ports, healthy=healthy_of(by_slot))


def decide(
    of: Fleet, on: Observation, *, memory: Memory | None = None, demand: Demand | None = None, now: float = NOW
) -> Plan:
    """What the planner says."""
    return plan(of, on, demand or {}, memory or Memory(), now)


def text(decided: Plan) -> str:
    """The plan's text as the cases write it."""
    return str(decided)


def with_env(of: Fleet, name: str, env: Mapping[str, str]) -> Fleet:
    """The same fleet with another environment for one of its workloads."""
    spec = of.workloads[name].spec.model_copy(update={"env": dict(env)})
    made = engines.workload(spec, source=of.workloads[name].source, directory="/etc/fleet.d", engines=of.engines)
    assert isinstance(made, Workload)
    workloads = {**of.workloads, name: made}
    return replace(of, workloads=workloads, slots=slots_of(workloads))


def ahead_of(of: Fleet, observation: Observation, passes: Iterable[Plan], memory: Memory | None = None) -> Road:
    """These passes, as the daemon tells of them."""
    facts = Facts(observation=observation, memory=memory or Memory(), now=NOW)
    return Road(passes=tuple(passes), declared=declared(of), facts=facts)
