"""What holds for every fleet on every machine, whatever happened to it."""

from collections.abc import Iterable
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler import engines
from reconciler.model.fleet import Fleet, Workload, slots_of
from reconciler.model.kinds import Gpus, Model, Node, Replicas, Service
from reconciler.model.memory import Memory, Override
from reconciler.model.observation import (
    Exited,
    Failing,
    Gpu,
    Instance,
    NotReady,
    Observation,
    Phase,
    Ready,
    Recorded,
    Running,
    Stopping,
    Unknown,
    Wish,
    healthy_of,
)
from reconciler.model.plan import Forget, Launch, Size, Start, Stop, Strikes
from reconciler.model.source import Source
from reconciler.model.status import Reason
from reconciler.plan.road import PASSES, road
from reconciler.plan.simulate import simulate
from tests.plan.world import GIB, HOST, NOW, decide

HELD = 20 * GIB
"""What an earlier fleet was promised of the host where it takes no GPU: two of these fit, three do not."""
NAMES: tuple[str, ...] = ("a", "b", "c", "d", "e")
UNSEEN = Unknown(reason="not seen")

sizes = st.sampled_from(["auto", 10 * GIB, 30 * GIB, 70 * GIB])
replicas = st.one_of(st.integers(0, 3), st.builds(Replicas, min=st.just(0), max=st.integers(1, 3)))
models = st.builds(
    Model,
    name=st.sampled_from(NAMES),
    source=st.just("hf:org/repo"),
    engine=st.just("vllm"),
    gpus=st.one_of(st.integers(0, 2), st.builds(Gpus, count=st.integers(1, 2), share=st.booleans())),
    memory=sizes,
    context=st.sampled_from([None, 100]),
    replicas=replicas,
    priority=st.sampled_from([1, 100, 900]),
    paused=st.booleans(),
)
services = st.builds(
    Service,
    name=st.sampled_from(NAMES),
    command=st.sampled_from([("sleep", "1"), ("serve", "{port}")]),
    replicas=replicas,
    priority=st.sampled_from([1, 100]),
)
specs = st.lists(st.one_of(models, services), max_size=5, unique_by=lambda spec: spec.name)
times = st.floats(0, NOW)
phases: st.SearchStrategy[Phase] = st.one_of(
    st.just(UNSEEN),
    st.just(Recorded()),
    st.builds(
        Running,
        pid=st.just(1),
        since=times,
        readiness=st.one_of(
            st.builds(Ready, since=times),
            st.builds(NotReady, reason=st.sampled_from([Reason.ProbeFailing, Reason.PortTaken])),
            st.builds(Failing, since=times, failures=st.integers(1, 4), detail=st.just("no answer")),
        ),
    ),
    st.builds(Stopping, pid=st.just(1), since=times, asked=st.just(Reason.SpecChanged)),
    st.builds(
        Exited,
        at=times,
        code=st.integers(0, 3),
        asked=st.sampled_from([None, Reason.SpecChanged, Reason.NeverReady, Reason.Lost, Reason.ScaledDown]),
        ready_for=st.sampled_from([None, 1.0, 700.0]),
    ),
)


def fleet_of(written: Iterable[Model | Service]) -> Fleet:
    workloads: dict[str, Workload] = {}
    for spec in written:
        made = engines.workload(spec, source=Source(path=f"{spec.name}.yaml", line=1), directory="/", engines={})
        assert isinstance(made, Workload)
        workloads[spec.name] = made
    nodes = {"local": Node(name="local", ports="9000-9003")}
    return Fleet(root="fleet.d", workloads=workloads, nodes=nodes, slots=slots_of(workloads))


@st.composite
def situations(draw: st.DrawFn) -> tuple[Fleet, Observation, Memory]:
    """A fleet, and a machine on which instances of this or an earlier fleet are in any phase."""
    fleet, earlier = fleet_of(draw(specs)), fleet_of(draw(specs))
    count = draw(st.integers(0, 3))
    gpus = tuple(Gpu(index=i, uuid=f"GPU-{i}", model="H100", memory=80 * GIB, used=0) for i in range(count))
    instances: dict[str, Instance] = {}
    for source in (earlier, fleet):
        for workload in source.workloads.values():
            for index in range(draw(st.integers(0, 3))):
                slot = f"{workload.name}/{index}"
                wish = workload.needs.gpus or 0
                launch = engines.launch(
                    workload,
                    slot=slot,
                    run=draw(st.integers(1, 5)),
                    gpus=gpus[:wish],
                    size=Size(gpus=min(wish, count), memory=workload.needs.memory, host=0 if wish else HELD),
                    port=9000 + len(instances) if workload.needs.port else None,
                    strikes=Strikes(count=draw(st.integers(0, 4))),
                    host=HOST,
                    node=Node(name="local"),
                )
                if isinstance(launch, Launch):
                    instances[slot] = Instance(slot=slot, launch=launch, phase=draw(phases))
    observation = Observation(
        host=HOST,
        gpus=draw(st.sampled_from([gpus, gpus, UNSEEN])),
        instances=instances,
        ports=draw(st.sampled_from([frozenset[int](), frozenset({9000, 9001}), UNSEEN])),
        healthy=healthy_of(instances),
    )
    override = st.builds(Override, stopped=st.booleans(), paused=st.booleans())
    memory = Memory(overrides=draw(st.dictionaries(st.sampled_from(NAMES), override, max_size=2)))
    return fleet, observation, memory


thoroughly = settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


@thoroughly
@given(situations())
def test_it_converges_and_a_converged_machine_has_nothing_to_do(situation: tuple[Fleet, Observation, Memory]) -> None:
    fleet, observation, memory = situation
    plans = road(fleet, observation, {}, memory, NOW)
    assert len(plans) < PASSES
    assert not plans[-1].actions


@thoroughly
@given(situations())
def test_no_gpu_byte_and_no_port_is_given_twice(situation: tuple[Fleet, Observation, Memory]) -> None:
    fleet, observation, memory = situation
    before = observation.instances
    assert not isinstance(before, Unknown)
    decided = decide(fleet, observation, memory=memory)
    held: dict[str, list[Launch]] = {
        slot: [instance.launch] for slot, instance in before.items() if not isinstance(instance.phase, Exited)
    }
    for action in decided.actions:
        if not isinstance(action, Start):
            continue
        others = [launch for slot, launches in held.items() if slot != action.slot for launch in launches]
        launch = action.launch
        if launch.port is not None:
            assert launch.port not in {other.port for other in others}
        for uuid in launch.gpus:
            tenants = [other for other in others if uuid in other.gpus]
            if launch.memory is None:
                assert not tenants
            assert all(tenant.memory is not None for tenant in tenants)
            assert sum(each.memory or 0 for each in (*tenants, launch)) <= 80 * GIB
        held.setdefault(action.slot, []).append(launch)


@thoroughly
@given(situations())
def test_no_byte_of_host_memory_is_given_twice(situation: tuple[Fleet, Observation, Memory]) -> None:
    """More may be promised to what runs already; then nothing starts that takes any."""
    fleet, observation, memory = situation
    before = observation.instances
    assert not isinstance(before, Unknown)
    decided = decide(fleet, observation, memory=memory)
    held = {slot: there.launch.host for slot, there in before.items() if not isinstance(there.phase, Exited)}
    for action in decided.actions:
        if isinstance(action, Start):
            held[action.slot] = action.launch.host
            assert not action.launch.host or sum(held.values()) <= HOST.available - HOST.memory // 20


@thoroughly
@given(situations())
def test_what_cannot_be_seen_is_never_touched(situation: tuple[Fleet, Observation, Memory]) -> None:
    fleet, observation, memory = situation
    instances = observation.instances
    assert not isinstance(instances, Unknown)
    unseen = {slot for slot, instance in instances.items() if isinstance(instance.phase, Unknown)}
    decided = decide(fleet, observation, memory=memory)
    assert not unseen & {action.slot for action in decided.actions}
    replaced = {a.slot for a in decided.actions if isinstance(a, Stop) and a.reason is Reason.SpecChanged}
    for slot in replaced:
        phase, workload = instances[slot].phase, fleet.workloads.get(slot[:-2])
        if workload is None or not isinstance(phase, Running):
            continue
        assert not (isinstance(observation.gpus, Unknown) and workload.needs.gpus)
        assert not (isinstance(observation.ports, Unknown) and workload.needs.port)


@thoroughly
@given(situations())
def test_only_ours_are_stopped_and_each_slot_gets_one_action(situation: tuple[Fleet, Observation, Memory]) -> None:
    fleet, observation, memory = situation
    instances = observation.instances
    assert not isinstance(instances, Unknown)
    decided = decide(fleet, observation, memory=memory)
    slots = [action.slot for action in decided.actions]
    assert len(slots) == len(set(slots))
    assert all(action.slot in instances for action in decided.actions if isinstance(action, Stop | Forget))
    for action in decided.actions:
        if isinstance(action, Start) and action.slot in instances:
            assert action.launch.run > instances[action.slot].launch.run


@thoroughly
@given(situations(), st.randoms(use_true_random=False))
def test_the_order_of_input_does_not_matter(situation: tuple[Fleet, Observation, Memory], random: object) -> None:
    fleet, observation, memory = situation
    instances = observation.instances
    assert not isinstance(instances, Unknown)
    shuffled = list(instances.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    workloads = dict(reversed(list(fleet.workloads.items())))
    other = replace(fleet, workloads=workloads, slots=slots_of(workloads))
    again = decide(other, replace(observation, instances=dict(shuffled)), memory=memory)
    assert str(again) == str(decide(fleet, observation, memory=memory))
    assert again == decide(fleet, observation, memory=memory)


@thoroughly
@given(situations(), st.dictionaries(st.sampled_from(NAMES), st.integers(0, 2), max_size=3))
def test_a_simulated_plan_leaves_nothing_of_it_to_do(
    situation: tuple[Fleet, Observation, Memory], working: dict[str, int]
) -> None:
    """What a plan does is done: the next plan does not ask for the same again."""
    fleet, observation, memory = situation
    demand = {name: Wish(in_flight={f"{name}/0": count}) for name, count in working.items()}
    decided = decide(fleet, observation, memory=memory, demand=demand)
    after, remembered = simulate(decided, observation, memory, NOW)
    again = decide(fleet, after, memory=remembered, demand=demand)
    assert not {(a.kind, a.slot) for a in decided.actions} & {(a.kind, a.slot) for a in again.actions}
