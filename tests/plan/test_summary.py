"""The status of a workload, its conditions and endpoints; and the events that tell what happened between two passes."""

from dataclasses import replace
from typing import Any

import pytest

from reconciler.model.fleet import Fleet
from reconciler.model.memory import Memory, Override
from reconciler.model.observation import Asleep, Exited, Failing, Holder, NotReady, Observation, Running, Unknown
from reconciler.model.plan import Detach, Request, Sleep, Start, Stop
from reconciler.model.source import Problem
from reconciler.model.status import GpuShare, Reason, Status
from reconciler.plan.failures import with_failure
from reconciler.plan.happenings import happenings
from reconciler.plan.summary import Pass, Summary, summarise
from tests.plan.world import GIB, NOW, decide, fleet, gpu, instance, machine, running

TINY = "kind: Service\nname: tiny\ncommand: [sleep, infinity]\n"
CHAT = """
kind: Model
name: chat
source: file:/a.gguf
memory: 20GiB
aliases: [gpt]
adapters: [{name: sql, source: 'file:/x'}]
"""


def summary(
    text: str,
    on: Observation,
    *,
    memory: Memory | None = None,
    before: Summary | None = None,
    problems: tuple[Problem, ...] = (),
) -> Summary:
    of = fleet(text, problems=problems)
    remembered = memory or Memory()
    return summarise(looked(of, on, remembered), remembered, before=before)


def looked(of: Fleet, on: Observation, memory: Memory) -> Pass:
    """What a pass knew that saw this."""
    return Pass(fleet=of, observation=on, demand={}, plan=decide(of, on, memory=memory), now=NOW)


def status(text: str, on: Observation, *, memory: Memory | None = None) -> Status:
    return summary(text, on, memory=memory).status


def conditions(of: Status, name: str = "tiny") -> dict[str, tuple[str, Reason]]:
    return {each.type: (each.status, each.reason) for each in of.workloads[name].conditions}


def failing(failures: int) -> Running:
    return Running(pid=1, since=1, readiness=Failing(since=NOW, failures=failures, detail="x"), was_ready=True)


SLEEPS = CHAT.replace("file:/a.gguf", "hf:o/a").replace(
    "adapters: [{name: sql, source: 'file:/x'}]", "idle_action: sleep"
)
ON_DEMAND = SLEEPS + "replicas: {min: 0}\n"


def asleep(text: str, **more: Memory) -> Status:
    phase = Running(pid=1, since=1, readiness=Asleep(since=NOW - 5), was_ready=True)
    return status(
        text, machine(instance(fleet(text), "chat/0", phase, port=9000, gpus=(gpu(0),)), gpus=(gpu(0),)), **more
    )


def test_one_that_sleeps_and_is_not_needed_is_as_it_should_be_and_serves_nowhere() -> None:
    seen = asleep(ON_DEMAND)
    row = seen.workloads["chat"]
    assert conditions(seen, "chat")["Ready"] == ("True", Reason.Asleep)
    assert row.conditions[0].message == "0 of 0 ready, 1 asleep"
    assert (row.replicas[0].state, row.endpoints, seen.converged) == ("asleep", (), True)
    assert seen.gpus[0].shares[0].memory == 2 * GIB


def test_one_that_sleeps_and_is_wanted_is_not_ready_until_it_is_awake() -> None:
    seen = asleep(SLEEPS)
    assert conditions(seen, "chat")["Ready"] == ("False", Reason.Starting)
    assert seen.workloads["chat"].replicas[0].state == "starting", "what wakes loads"
    assert seen.gpus[0].shares[0].memory == 20 * GIB, "into what was promised to it"
    assert seen.workloads["chat"].conditions[1].message == "wake chat/0 on gpu 0: Asleep"
    assert seen.workloads["chat"].endpoints == ()


def test_one_that_is_being_put_to_sleep_gets_nothing_new() -> None:
    one = instance(fleet(ON_DEMAND), "chat/0", port=9000, gpus=(gpu(0),))
    falling = Memory(
        in_flight={
            "chat/0": Sleep(
                slot="chat/0",
                requests=(Request(path="/x", body={}, within=1.0),),
                launch=one.launch,
                reason=Reason.Idle,
            )
        }
    )
    seen = status(ON_DEMAND, machine(one, gpus=(gpu(0),)), memory=falling)
    assert (seen.workloads["chat"].replicas[0].state, seen.workloads["chat"].endpoints) == ("draining", ())


def test_where_it_cannot_be_told_whether_one_sleeps_it_serves_nobody() -> None:
    phase = Running(pid=1, since=1, readiness=Unknown(reason="no answer in 3s"), was_ready=True)
    seen = status(SLEEPS, machine(instance(fleet(SLEEPS), "chat/0", phase, port=9000, gpus=(gpu(0),)), gpus=(gpu(0),)))
    assert conditions(seen, "chat")["Ready"] == ("Unknown", Reason.Unknown)
    assert seen.workloads["chat"].conditions[0].message == "chat/0 no answer in 3s"
    assert seen.workloads["chat"].endpoints == ()


def test_ready() -> None:
    seen = status(TINY, machine(instance(fleet(TINY), "tiny/0")))
    assert conditions(seen) == {
        "Ready": ("True", Reason.Ready),
        "Reconciling": ("False", Reason.Converged),
        "Stalled": ("False", Reason.Converged),
    }
    assert seen.converged


def test_being_started() -> None:
    seen = status(TINY, machine())
    assert conditions(seen)["Ready"] == ("False", Reason.NotRunning)
    assert conditions(seen)["Reconciling"] == ("True", Reason.NotRunning)
    assert not seen.converged


def test_starting_is_reconciling_and_says_what_it_answered() -> None:
    loading = Running(pid=7, since=NOW - 2, readiness=NotReady(detail="503 Loading model"))
    seen = status(TINY, machine(instance(fleet(TINY), "tiny/0", loading)))
    assert conditions(seen)["Reconciling"] == ("True", Reason.Starting)
    assert seen.workloads["tiny"].replicas[0].state == "starting"
    assert seen.workloads["tiny"].replicas[0].detail == "503 Loading model"


def test_stalled_with_the_reason() -> None:
    seen = status(TINY, machine(instance(fleet(TINY), "tiny/0", Exited(at=NOW, code=3))))
    assert conditions(seen)["Stalled"] == ("True", Reason.BackingOff)
    assert conditions(seen)["Ready"] == ("False", Reason.BackingOff)
    assert seen.workloads["tiny"].replicas[0].detail == "exited with status 3"


def test_unseen_is_unknown_and_not_false() -> None:
    seen = status(TINY, machine(instance(fleet(TINY), "tiny/0", Unknown(reason="no answer"))))
    assert conditions(seen)["Ready"] == ("Unknown", Reason.Unknown)


def test_paused_counts_as_settled() -> None:
    seen = status(TINY + "paused: true", machine())
    assert conditions(seen)["Ready"] == ("False", Reason.Paused)
    assert seen.converged


def test_a_row_has_the_labels_of_its_file() -> None:
    assert status(TINY + "labels: {team: search}\n", machine()).workloads["tiny"].labels == {"team": "search"}
    assert status(TINY, machine()).workloads["tiny"].labels == {}


@pytest.mark.parametrize(
    ("gpus", "known", "basis"),
    [
        (1, {"basis": "declared"}, "declared"),
        (1, {"basis": "measured", "host_basis": "estimated"}, "measured"),
        (1, {"basis": "whole", "host_basis": "estimated"}, ""),
        (0, {"basis": "whole", "host_basis": "estimated"}, "estimated"),
        (0, {"basis": "declared", "host_basis": "whole"}, ""),
    ],
    ids=["of its file", "of its GPUs", "it takes them whole", "of the host where it has none", "nobody knows"],
)
def test_a_replica_says_how_it_is_known_what_it_takes(gpus: int, known: dict[str, Any], basis: str) -> None:
    there = tuple(map(gpu, range(gpus)))
    one = instance(fleet(CHAT), "chat/0", port=9001, gpus=there)
    on = machine(replace(one, launch=replace(one.launch, **known)), gpus=there)
    assert status(CHAT, on).workloads["chat"].replicas[0].basis == basis


def test_what_one_that_sleeps_still_holds_is_no_estimate() -> None:
    assert asleep(ON_DEMAND).workloads["chat"].replicas[0].basis == ""


def test_an_endpoint_has_the_address_and_every_name() -> None:
    seen = status(CHAT, machine(instance(fleet(CHAT), "chat/0", port=9001, gpus=(gpu(0),)), gpus=(gpu(0),)))
    (endpoint,) = seen.workloads["chat"].endpoints
    assert endpoint.address == "http://127.0.0.1:9001"
    assert endpoint.names == ("chat", "gpt", "sql")
    assert endpoint.weight == 100


def test_an_endpoint_carries_the_weight_of_a_canary() -> None:
    of = CHAT + "weight: 5\n"
    seen = status(of, machine(instance(fleet(of), "chat/0", port=9001, gpus=(gpu(0),)), gpus=(gpu(0),)))
    assert [endpoint.weight for endpoint in seen.workloads["chat"].endpoints] == [5]


def test_one_failed_probe_keeps_the_endpoint_and_two_take_it_away() -> None:
    for failures, endpoints in ((1, 1), (2, 0)):
        seen = status(CHAT, machine(instance(fleet(CHAT), "chat/0", failing(failures), port=9001)))
        assert len(seen.workloads["chat"].endpoints) == endpoints


def test_a_draining_instance_gets_no_traffic() -> None:
    on = machine(instance(fleet(CHAT), "chat/0", port=9001))
    seen = status(CHAT, on, memory=Memory(draining={"chat/0": NOW}))
    assert seen.workloads["chat"].endpoints == ()
    assert seen.workloads["chat"].replicas[0].state == "draining"


def test_a_failed_probe_of_what_drains_or_is_being_stopped_brings_it_no_traffic() -> None:
    stop = Stop(slot="chat/0", run=1, grace=10.0, reason=Reason.SpecChanged)
    on = machine(instance(fleet(CHAT), "chat/0", failing(1), port=9001))
    for memory, state in (
        (Memory(draining={"chat/0": NOW}), "draining"),
        (Memory(in_flight={"chat/0": stop}), "failing"),
    ):
        row = status(CHAT, on, memory=memory).workloads["chat"]
        assert (row.replicas[0].state, row.endpoints) == (state, ())


def test_a_gpu_shows_promises_and_strangers() -> None:
    card = gpu(
        0,
        used=40,
        holders=(Holder(pid=1, name="vllm", memory=5 * GIB, slot="chat/0"), Holder(pid=9, name="py", memory=35 * GIB)),
    )
    seen = status(CHAT, machine(instance(fleet(CHAT), "chat/0", port=1, gpus=(card,)), gpus=(card,)))
    assert [(share.holder, share.memory // GIB, share.ours) for share in seen.gpus[0].shares] == [
        ("chat/0", 20, True),
        ("pid 9 py", 35, False),
    ]


def test_what_runs_and_is_not_declared_has_a_row_too() -> None:
    seen = status("", machine(instance(fleet(TINY), "tiny/0")))
    assert seen.workloads["tiny"].kind == ""
    assert seen.workloads["tiny"].wanted == 0


def test_an_override_is_noted() -> None:
    on = machine(instance(fleet(TINY), "tiny/0"))
    for override, words in (
        (Override(replicas=2, declared=(1, 1)), "scaled to 2 by command, fleet.d/tiny.yaml:1 says 1"),
        (Override(stopped=True), "stopped by command"),
        (Override(paused=True), "paused by command"),
    ):
        assert words in status(TINY, on, memory=Memory(overrides={"tiny": override})).workloads["tiny"].note


def test_rows_of_what_did_not_change_are_taken_over() -> None:
    text = TINY + "---\n" + TINY.replace("tiny", "other")
    of = fleet(text)
    on = machine(instance(of, "tiny/0"), instance(of, "other/0"))
    first = summarise(looked(of, on, Memory()), Memory())
    assert not isinstance(on.instances, Unknown)
    changed = machine(on.instances["tiny/0"], instance(of, "other/0", failing(1)))
    second = summarise(looked(of, changed, Memory()), Memory(), before=first)
    assert second.status.workloads["tiny"] is first.status.workloads["tiny"]
    assert second.status.workloads["other"] is not first.status.workloads["other"]


def test_a_status_made_from_the_one_before_is_the_one_made_from_nothing() -> None:
    other = TINY.replace("tiny", "other")
    both = f"{TINY}---\n{other}"
    of = fleet(both)
    tiny, beside = instance(of, "tiny/0"), instance(of, "other/0")
    broken = Problem(path="fleet.d/x.yaml", message="cannot be read", names=("lost",))
    stopped = Memory(overrides={"other": Override(stopped=True)})
    before: Summary | None = None
    for text, on, memory, problems in (
        (both, machine(tiny, beside), Memory(), ()),
        (both, machine(tiny), Memory(), ()),
        (both, machine(tiny, instance(of, "other/0", failing(2))), stopped, ()),
        (other, machine(tiny, beside), Memory(), (broken,)),
        (other, machine(beside), Memory(), ()),
        (both, Observation(host=machine().host, instances=Unknown(reason="not listed")), stopped, ()),
        (f"{both}---\n{other.replace('other', 'aaa')}", machine(beside, tiny), Memory(), ()),
    ):
        after = summary(text, on, memory=memory, before=before, problems=problems)
        alone = summary(text, on, memory=memory, problems=problems)
        assert after.status == alone.status
        assert list(after.status.workloads) == list(alone.status.workloads)
        before = after


def said(text: str, *machines: Observation) -> list[str]:
    """The events of passes over these machines, one after the other; those of the first pass are left out."""
    before: Summary | None = None
    lines: list[str] = []
    for number, on in enumerate(machines):
        after = summary(text, on, before=before)
        news = happenings(before.status if before else None, after.status, decide(fleet(text), on))
        lines += [f"{new.severity} {new.subject} {new.reason}: {new.message}" for new in news] if number else []
        before = after
    return lines


def test_a_crash_and_its_restart_are_told_in_order() -> None:
    of = fleet(TINY)
    assert said(
        TINY,
        machine(instance(of, "tiny/0")),
        machine(instance(of, "tiny/0", Exited(at=NOW, code=None, signal=9, ready_for=5.0))),
        machine(instance(of, "tiny/0", Running(pid=8, since=NOW, readiness=NotReady()), run=2)),
        machine(instance(of, "tiny/0", running(since=NOW, ready=NOW + 2), run=2)),
    ) == [
        "error tiny/0 Exited: was killed by signal 9 after 14m59s",
        "warning tiny/0 Exited: starting: was killed by signal 9",
        "info tiny/0 Starting: is running as pid 8",
        "info tiny/0 Ready: is ready after 2s",
    ]


def test_a_block_is_told_once() -> None:
    text = CHAT + "gpus: 1"
    news = said(text, machine(gpus=(gpu(0),)), machine(gpus=(gpu(0, memory=1),)), machine(gpus=(gpu(0, memory=1),)))
    assert [line for line in news if "NoFreeGpu" in line] == [
        "warning chat NoFreeGpu: blocked: needs one gpu with 20.0 GiB free; gpu 0: 1.0 GiB in all"
    ]


def test_host_memory_that_wavers_is_no_news() -> None:
    """What is in the way is told again only where it is something else."""
    host = machine().host
    all_, less, none = (machine(host=replace(host, available=left * GIB)) for left in (64, 30, 1))
    news = said(CHAT + "gpus: 0\nmemory: 62GiB", all_, less, none)
    assert [line for line in news if "NoFreeMemory" in line] == [
        "warning chat NoFreeMemory: blocked: needs 62.0 GiB of host memory; 26.8 GiB of 64.0 GiB free; "
        "34.0 GiB held by others; 3.2 GiB reserved"
    ]


def test_host_memory_is_reported_where_somebody_waits_for_it() -> None:
    one = "kind: Service\nname: one\ncommand: [sleep]\nmemory: 20GiB\n"
    there = instance(fleet(one), "one/0")
    there = replace(there, launch=replace(there.launch, host=20 * GIB))
    assert summary(one, machine(there)).status.ram is None
    seen = summary(f"{one}---\n{one.replace('one', 'two').replace('20', '50')}", machine(there)).status
    assert seen.ram is not None
    assert (seen.ram.memory, seen.ram.used, seen.ram.shares) == (
        64 * GIB,
        4 * GIB,
        (GpuShare(holder="one/0", memory=20 * GIB, ours=True),),
    )
    assert seen.workloads["one"].replicas[0].host == 20 * GIB


def test_a_start_that_fails_again_and_again_is_told_once_until_it_fails_otherwise() -> None:
    def passed(before: Status | None, memory: Memory) -> tuple[Status, list[str]]:
        after, plan = status(TINY, machine(), memory=memory), decide(fleet(TINY), machine(), memory=memory)
        return after, [new.message for new in happenings(before, after, plan, memory.failures)]

    def failed(memory: Memory, why: str) -> Memory:
        [start] = decide(fleet(TINY), machine()).actions
        return with_failure(memory, start, at=NOW, reason=Reason.SourceMissing, detail=why)[0]

    def due(memory: Memory) -> Memory:
        return replace(memory, failures={"tiny/0": replace(memory.failures["tiny/0"], at=NOW - 9999)})

    seen, first = passed(None, Memory())
    assert [text for text in first if "starting" in text]
    memory = failed(Memory(), "no such file")
    seen, told = passed(seen, memory)
    assert told == ["blocked: no such file"]
    for why, expected in (
        ("no such file", []),
        ("no such file", []),
        ("denied", ["blocked: denied"]),
        ("denied", []),
    ):
        seen, told = passed(seen, due(memory))
        assert told == []
        memory = failed(memory, why)
        seen, told = passed(seen, memory)
        assert told == expected


def test_a_problem_is_told_when_it_comes_and_when_it_goes() -> None:
    problem = Problem(path="fleet.d/x.yaml", line=2, message="cannot be read")
    good, bad = summary(TINY, machine()).status, summary(TINY, machine(), problems=(problem,)).status
    plan = decide(fleet(""), machine())
    assert [new.message for new in happenings(good, bad, plan)] == ["fleet.d/x.yaml:2:1: cannot be read"]
    assert [new.message for new in happenings(bad, good, plan)] == ["what was wrong there is gone"]
    mended = summary(TINY.replace("tiny", "x"), machine()).status
    assert mended.workloads["x"].source.startswith("fleet.d/x.yaml:")
    assert [new.message for new in happenings(bad, mended, plan)] == ["is good again"]


def test_that_the_record_of_what_has_ended_is_removed_is_no_news() -> None:
    of = fleet(TINY)
    plan = decide(fleet(""), machine(instance(of, "tiny/0", Exited(at=NOW, code=0, asked=Reason.NotInFleet))))
    assert [action.kind for action in plan.actions] == ["forget"]
    seen = status(TINY, machine())
    assert happenings(seen, seen, plan) == ()


def test_a_start_names_its_place() -> None:
    decided = decide(fleet(CHAT), machine(gpus=(gpu(0),)))
    assert isinstance(decided.actions[0], Start)
    seen = status(CHAT, machine(gpus=(gpu(0),)))
    assert [new.message for new in happenings(seen, seen, decided)] == ["starting on gpu 0, port 9000"]


@pytest.mark.parametrize(("engine", "known"), [("vllm", {}), ("sglang", {"law": "a:law", "sql": "a:sql"})])
def test_an_adapter_is_a_name_where_its_engine_has_it(engine: str, known: dict[str, str]) -> None:
    lora = f"kind: Model\nname: a\nsource: hf:o/a\nengine: {engine}\ngpus: 0\naliases: [b]\nreplicas: 2\nadapters: ["
    sql, law = "{name: sql, source: 'hf:o/s'}", "{name: law, source: 'hf:o/l'}"
    one, both = (fleet(f"{lora}{text}]") for text in (sql, f"{law}, {sql}"))
    on = machine(instance(one, "a/0", port=9000), instance(both, "a/1", port=9001))
    seen = status(f"{lora}{law}, {sql}]", on).workloads["a"]
    assert [each.names for each in seen.endpoints] == [("a", "b", "sql"), ("a", "b", "law", "sql")]
    assert seen.endpoints[1].known_as == {"b": "a", **known}


def test_an_adapter_that_is_being_detached_is_no_name_any_more() -> None:
    lora = "kind: Model\nname: a\nsource: hf:o/a\nengine: vllm\ngpus: 0\nadapters: [{name: law, source: 'hf:o/l'}]"
    on = machine(instance(fleet(lora.replace("hf:o/l", "hf:o/former")), "a/0", port=9000))
    assert status(lora, on, memory=Memory(paused=True)).workloads["a"].endpoints[0].names == ("a", "law")
    [detach] = decide(fleet(lora), on).actions
    assert isinstance(detach, Detach)
    for memory in (Memory(), Memory(in_flight={"a/0": detach})):
        assert status(lora, on, memory=memory).workloads["a"].endpoints[0].names == ("a",)


def test_gpus_that_cannot_be_seen_are_shown_as_they_were() -> None:
    first = summary(TINY, machine(gpus=(gpu(0, used=9),)))
    blind = machine(gpus=Unknown(reason="the driver has not answered for 7 s"))
    after = summary(TINY, blind, before=first)
    assert after.status.gpus == first.status.gpus != ()
    assert after.status.degraded == ("cannot see gpus: the driver has not answered for 7 s",)
    assert summary(TINY, blind).status.gpus == ()


def test_a_cordon_is_told_when_it_comes_changes_and_goes() -> None:
    well = gpu(0)
    sick, mending = (replace(well, cordoned=why) for why in ("XID 79", "XID 79 (it answers again)"))
    news = said(TINY, *(machine(gpus=(one,)) for one in (well, sick, sick, mending, well, well)))
    assert [line for line in news if "gpu" in line] == [
        "error gpu 0 GpuCordoned: is cordoned: XID 79",
        "warning gpu 0 GpuCordoned: is cordoned: XID 79 (it answers again)",
        "info gpu 0 Recovered: is taken back: it is well again",
    ]


def test_a_model_that_embeds_says_so():
    text = "{kind: Model, name: tiny, source: 'hf:o/e', engine: vllm, args: [--runner, pooling]}"
    assert status(text, machine()).workloads["tiny"].alone == "embeds"
    assert status(text.replace("pooling", "generate"), machine()).workloads["tiny"].alone == ""
