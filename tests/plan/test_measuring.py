"""What is learnt of the memory that instances take."""

from dataclasses import replace

from reconciler.model.memory import Memory
from reconciler.model.observation import Holder, NotReady, Observation, Resident, Running, Unknown
from reconciler.plan.measuring import MOST, measured, stated
from reconciler.plan.sizing import measure
from reconciler.plan.sizing import on_cpu as on_cpu_size
from tests.plan.stories import headers
from tests.plan.world import GIB, NOW, fleet, gpu, instance, machine

CHAT = """
kind: Model
name: chat
source: hf:Qwen/Qwen3-8B
engine: vllm
gpus: 2
"""


def look(*amounts: int, phase: Running | None = None):
    """chat/0 on a GPU for each amount (GiB), which it holds there in two processes."""
    halves = [
        tuple(Holder(pid=pid, name="vllm", memory=amount * GIB // 2, slot="chat/0") for pid in (1, 2))
        for amount in amounts
    ]
    cards = tuple(
        gpu(index, used=amount, holders=held) for index, (amount, held) in enumerate(zip(amounts, halves, strict=True))
    )
    return machine(instance(fleet(CHAT), "chat/0", phase, gpus=cards), gpus=cards)


FINGERPRINT = f"{fleet(CHAT).workloads['chat'].fingerprint}@2"


def test_the_most_that_any_gpu_gave_is_remembered():
    """Its processes on one GPU are counted together."""
    assert measured({}, look(20, 22)) == {FINGERPRINT: 22 * GIB}


def test_less_than_is_known_teaches_nothing():
    """The very same mapping comes back, so that nothing is written for it."""
    known = {FINGERPRINT: 22 * GIB}
    assert measured(known, look(20, 21)) is known


def test_one_that_still_loads_teaches_nothing():
    """Half a model is no measure of it."""
    loading = Running(pid=1, since=NOW, readiness=NotReady())
    assert measured({}, look(20, 20, phase=loading)) == {}


def test_unknown_gpus_teach_nothing():
    """Nor does a machine whose instances cannot be seen."""
    assert measured({"a": 1}, machine(gpus=Unknown(reason="hangs"))) == {"a": 1}


def test_the_oldest_figures_are_forgotten_first():
    """What is remembered stays bounded."""
    known = {f"f{number}": 1 for number in range(MOST)}
    after = measured(known, look(2, 2))
    assert len(after) == MOST
    assert "f0" not in after
    assert after[FINGERPRINT] == 2 * GIB


def test_one_that_takes_its_share_is_measured_once():
    """Each start would else be given a little more than the last."""
    first = look(20, 22)
    assert not isinstance(first.instances, Unknown)
    again = {slot: replace(it, launch=replace(it.launch, basis="measured")) for slot, it in first.instances.items()}
    assert measured({}, replace(first, instances=again)) == {}
    assert stated({}, replace(first, instances=again, stated={"chat/0": 22 * GIB})) == {}


def test_what_a_log_states_is_remembered_beside():
    """The most that was said; nothing of one that is not ready, or that says more than its cards have."""
    said = replace(look(20, 22), stated={"chat/0": 21 * GIB, "gone/0": GIB})
    assert stated({}, said) == {FINGERPRINT: 21 * GIB}
    known = {FINGERPRINT: 22 * GIB}
    assert stated(known, said) is known
    loading = Running(pid=1, since=NOW, readiness=NotReady())
    assert stated({}, replace(look(20, 22, phase=loading), stated={"chat/0": GIB})) == {}
    assert stated({}, replace(look(20, 22), stated={"chat/0": 81 * GIB})) == {}


def on_cpu(own: float, files: float = 0, *, promised: float = 0, phase: Running | None = None) -> Observation:
    """chat/0 on the CPU: what was counted of it and what it had been promised, GiB."""
    there = instance(fleet(CHAT.replace("gpus: 2", "gpus: 0").replace("vllm", "llamacpp")), "chat/0", phase)
    there = replace(there, launch=replace(there.launch, host=int(promised * GIB)))
    counted = Resident(run=1, own=int(own * GIB), files=int(files * GIB))
    return replace(machine(there), resident={"chat/0": counted})


def of_host(on: Observation, before: float = 0) -> float:
    """What is remembered of it, GiB."""
    name = (
        f"{fleet(CHAT.replace('gpus: 2', 'gpus: 0').replace('vllm', 'llamacpp')).workloads['chat'].fingerprint}@0 host"
    )
    return measured({name: int(before * GIB)}, on)[name] / GIB


def test_of_the_host_what_is_its_own_counts_and_what_it_maps_as_far_as_it_was_promised():
    """Of files more may be mapped than it needs: the kernel drops it where others need memory."""
    assert of_host(on_cpu(2)) == 2
    assert of_host(on_cpu(1, 20, promised=12)) == 12
    assert of_host(on_cpu(1, 8, promised=12)) == 9
    assert of_host(on_cpu(14, 8, promised=12)) == 14


def test_a_little_more_than_is_known_of_the_host_is_not_worth_writing_down():
    """A heap breathes."""
    assert of_host(on_cpu(10.2), before=10) == 10
    assert of_host(on_cpu(10.5), before=10) == 10.5


def test_what_was_counted_before_teaches_nothing_again():
    """A pass in which nothing was counted costs one comparison."""
    on = on_cpu(2)
    assert measured({}, on, on.resident) == {}
    assert measured({}, on, {}) != {}


def test_of_the_host_one_that_loads_or_another_run_teaches_nothing():
    """What was counted belongs to a run that has taken all it needs."""
    assert measured({}, on_cpu(2, phase=Running(pid=1, since=NOW, readiness=NotReady()))) == {}
    assert measured({}, replace(on_cpu(2), resident={"chat/0": Resident(run=2, own=GIB, files=0)})) == {}


def test_vllm_on_the_cpu_takes_what_it_is_given_so_what_was_seen_of_it_is_not_what_it_needs():
    """Given what it was seen to hold, its cache would shrink with each start."""
    of = fleet(CHAT.replace("gpus: 2", "gpus: 0").replace("hf:Qwen/Qwen3-8B", "file:/models/a")).workloads["chat"]
    on = replace(machine(), weights={"file:/models/a": headers(10)})
    seen = Memory(measured={measure(of.fingerprint, 0, host=True): 2 * GIB})
    size = on_cpu_size(of, on, seen)
    assert (size.host_basis, size.weights) == ("estimated", headers(10).total)
    assert size.host > 13 * GIB, "weights, one request of full length, and its processes"
    llama = replace(of, engine="llamacpp")
    assert on_cpu_size(llama, on, seen).host_basis == "measured"
