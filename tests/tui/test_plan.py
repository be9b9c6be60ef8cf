"""The road ahead as a person sees it: fleet and machine in, text out, by the real planner."""

import re
from dataclasses import replace
from textwrap import dedent

import pytest

from reconciler.model.memory import Memory
from reconciler.model.observation import Asleep, Exited, Holder, Ready, Resident, Running, Unknown, Wish
from reconciler.model.plan import Basis, Blocked, Forget, Launch, Plan, Start, Stop
from reconciler.model.source import Problem, Revision
from reconciler.model.status import Reason
from reconciler.plan.road import road
from tests.plan.world import GIB, NOW, ahead_of, fleet, gpu, instance, machine
from tui.view.foresee import outlook
from tui.view.outlook import Against, Outlook
from tui.view.plan import passes, plan_text

CHAT = """
kind: Model
name: chat
source: hf:Qwen/Qwen3-8B
engine: vllm
gpus: 1
memory: 20GiB
context: 8192
update: {strategy: replace}
"""
TINY = """
kind: Service
name: tiny
command: [sleep, infinity]
"""


def ahead(wanted, on, memory=None, **known) -> Outlook:
    return outlook(ahead_of(wanted, on, road(wanted, on, {}, memory or Memory(), NOW), memory), **known)


def shown(wanted, on, *, width: int = 80, steps: bool = False) -> str:
    return plan_text(ahead(wanted, on), width=width, colour=False, steps=steps)


def wide(text: str) -> str:
    return dedent(text).strip("\n")


def running(*of: str):
    """These fleets' slots run on a machine with two GPUs, all on the first."""
    first, second = gpu(0, holders=(Holder(pid=7, name="python", memory=GIB),), used=1), gpu(1)
    instances = [
        instance(each, slot, port=9000 + number, gpus=(first,) if each.workloads[slot[:-2]].needs.gpus else ())
        for number, (each, slot) in enumerate((each, slot) for each in map(fleet, of) for slot in each.slots)
    ]
    return machine(*instances, gpus=(first, second))


def test_the_plan_of_a_paused_fleet_says_that_nothing_of_it_is_done():
    seen = ahead(fleet(CHAT), running(CHAT), Memory(paused=True))
    assert plan_text(seen, width=100, colour=False).splitlines() == [
        "fleet.d · 1 model · nothing to do",
        "‖ the fleet is paused: this is what `holdfast resume` would do",
    ]


def test_nothing_to_do_is_one_line():
    assert shown(fleet(CHAT), running(CHAT)) == "fleet.d · 1 model · nothing to do"


def test_what_starts_says_where_and_why():
    assert shown(fleet(CHAT), running()) == wide("""
        fleet.d · 1 model · 1 to change

          + chat/0  start  vllm on gpu 0, port 9000  not running

          gpu 0  H100  ▇▒▒▁▁▁▁▁▁▁  1.0 → 21.0 of 80.0 GiB  chat/0 20.0, pid 7 python 1.0
          gpu 1  H100  ▁▁▁▁▁▁▁▁▁▁  0.0 of 80.0 GiB         free
        """)


def test_a_change_is_one_line_though_it_takes_several_passes():
    after = CHAT.replace("8192", "16384")
    text = shown(fleet(after), running(CHAT), width=120)
    lines = [line for line in text.splitlines() if "chat/0" in line and "gpu 0  " not in line]
    assert len(lines) == 1
    assert lines[0].startswith("  ± chat/0  replace  context 8192 → 16384")
    assert "down while it loads" in lines[0]


def test_live_fields_of_many_instances_are_one_line():
    before = CHAT.replace("gpus: 1", "gpus: 1\nreplicas: 3")
    after = f"{before}aliases: [small]\n"
    assert [one.mark + one.subject for one in ahead(fleet(after), running(before)).changes] == ["~chat"]
    assert "~ chat  live  aliases default → small  no restart" in shown(fleet(after), running(before), width=120)


DOZY = f"{CHAT}idle_action: sleep\nreplicas: {{min: 0, max: 1}}\n"


def dozing(readiness, *, memory: Memory | None = None, demand: dict[str, Wish] | None = None, text: str = DOZY) -> str:
    of = fleet(text)
    phase = Running(pid=1, since=1.0, readiness=readiness, was_ready=True)
    on = machine(instance(of, "chat/0", phase, port=9000, gpus=(gpu(0),)), gpus=(gpu(0),))
    way = road(of, on, demand or {}, memory or Memory(), NOW)
    return plan_text(outlook(ahead_of(of, on, way)), width=100, colour=False, steps=False)


def test_what_sleeps_without_its_weights_unloads_them():
    shown = dozing(
        Ready(since=2.0),
        memory=Memory(lulls={"chat/0": 0.0}),
        text=DOZY.replace("source: hf:Qwen/Qwen3-8B", "source: ollama:qwen3").replace("engine: vllm", "engine: ollama"),
    )
    assert "~ chat/0  sleep  idle  unloads its model" in shown


def test_what_falls_asleep_shows_what_it_gives_back():
    assert dozing(Ready(since=2.0), memory=Memory(lulls={"chat/0": 0.0})) == wide("""
        fleet.d · 1 model · 1 to change

          ~ chat/0  sleep  idle  keeps its weights in host memory

          gpu 0  H100  ▇░▁▁▁▁▁▁▁▁  20.0 → 2.0 of 80.0 GiB  chat/0 2.0
        """)


def test_what_wakes_shows_what_it_takes_and_nothing_was_down_for_it():
    assert dozing(Asleep(since=2.0), demand={"chat": Wish(waiting=1, since=NOW)}) == wide("""
        fleet.d · 1 model · 1 to change

          ~ chat/0  wake  vllm on gpu 0, port 9000  was asleep

          gpu 0  H100  ▇▒▁▁▁▁▁▁▁▁  2.0 → 20.0 of 80.0 GiB  chat/0 20.0
        """)


def test_what_is_no_longer_declared_ends():
    text = shown(fleet(TINY), running(TINY, CHAT))
    assert "- chat/0  stop  removed from fleet.d" in text
    assert "▇░░▁▁▁▁▁▁▁  21.0 → 1.0 of 80.0 GiB  pid 7 python 1.0" in text


def test_what_cannot_be_is_last_with_its_reason_in_full():
    greedy = CHAT.replace("20GiB", "200GiB")
    text = shown(fleet(greedy + "---" + TINY), running())
    assert text.splitlines()[0] == "fleet.d · 1 model, 1 service · 1 to change · 1 blocked".replace(", ", " · ")
    lines = [line.strip() for line in text.splitlines()[2:]]
    assert lines[0].startswith("+ tiny/0")
    assert lines[1].startswith("! chat/0")
    assert "200.0 GiB" in " ".join(lines)
    assert max(map(len, text.splitlines())) <= 80


def test_what_is_paused_is_no_alarm():
    text = shown(fleet(f"{CHAT}paused: true\n"), running())
    assert text.splitlines()[0] == "fleet.d · 1 model · 1 paused · nothing to do"


def test_problems_and_the_commit_are_told():
    problem = Problem(path="fleet.d/x.yaml", line=7, column=3, key="priority", message="cannot be 5000; choose 0–1000")
    wanted = replace(fleet(CHAT, problems=(problem,)), revision=Revision(commit="3f2a9c1" + "0" * 33, dirty=True))
    text = shown(wanted, running(CHAT))
    assert text.splitlines()[0] == "fleet.d @ 3f2a9c1 (edited) · 1 model · nothing to do · 1 problem"
    assert text.splitlines()[-1] == "  fleet.d/x.yaml:7:3: priority: cannot be 5000; choose 0–1000"


def test_a_machine_that_cannot_be_seen_has_no_bars_and_says_why():
    on = machine(gpus=Unknown(reason="the driver does not answer"))
    text = shown(fleet(TINY), on)
    assert "gpu 0" not in text
    assert "cannot see the gpus: the driver does not answer" in text


def test_steps_are_told_in_the_planner_s_words():
    text = shown(fleet(CHAT.replace("8192", "16384")), running(CHAT), steps=True)
    assert "step 1" in text
    assert "stop chat/0" in text
    assert text.index("stop chat/0") < text.index("start chat/0")


def test_only_what_is_done_is_a_step():
    launch = launched(running(CHAT), "chat/0")
    blocked = Blocked(subject="chat/0", reason=Reason.Waiting, detail="")
    forget = Forget(slot="chat/1", run=1, reason=Reason.ScaledDown)
    road_ = [
        Plan(actions=(Start(slot="chat/0", launch=launch, reason=Reason.NotRunning), forget), blocked=()),
        Plan(actions=(forget,), blocked=()),
        Plan(actions=(), blocked=(blocked,)),
    ]
    start = "start chat/0 on gpu 0 port 9000: NotRunning"
    assert list(passes(road_)) == [("step 1", [start]), ("after step 1", ["blocked chat/0: Waiting"])]
    assert list(passes(road_[2:])) == [("now", ["blocked chat/0: Waiting"])]


LONG = "a-name-of-sixty-three-letters-is-the-longest-that-anybody-may-g"


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_no_line_is_wider_than_the_terminal(width):
    before = CHAT.replace("gpus: 1", "gpus: 1\nreplicas: 3")
    after = before.replace("8192", "16384").replace("20GiB", "30GiB") + "---" + TINY
    after += (
        "---"
        + CHAT.replace("name: chat", f"name: {LONG}")
        + "---"
        + CHAT.replace("20GiB", "200GiB").replace("chat", "x")
    )
    problem = Problem(path=f"fleet.d/{LONG}.yaml", key="priority", message="cannot be 5000; choose 0–1000")
    text = shown(fleet(after, problems=(problem,)), running(before), width=width, steps=True)
    assert max(map(len, text.splitlines())) <= width
    assert LONG in "".join(text.split())


def test_what_somebody_else_s_revision_and_machine_are_is_in_the_headline():
    seen = ahead(fleet(CHAT), running(CHAT), against=Against(name="main", commit="9016de0" + "0" * 33), machine="box1")
    text = plan_text(seen, width=80, colour=False)
    assert text == "fleet.d against main (9016de0) on box1 · 1 model · nothing to do"


def test_what_the_compared_revision_cannot_run_is_told():
    problem = Problem(path="fleet.d/x.yaml", key="priority", message="cannot be 5000")
    against = Against(name="main", commit="9016de0" + "0" * 33, problems=(problem,))
    lines = plan_text(ahead(fleet(CHAT), running(CHAT), against=against), width=90, colour=False).splitlines()
    assert lines[-2:] == [
        "  at main (9016de0), where the models of these files are taken not to run:",
        "  fleet.d/x.yaml:1:1: priority: cannot be 5000",
    ]


def test_a_change_says_where_it_was_and_where_it_will_be():
    """The second GPU has the room that the first, with a neighbour on it, has not."""
    before = CHAT + "---" + CHAT.replace("name: chat", "name: other")
    after = CHAT.replace("20GiB", "70GiB") + "---" + CHAT.replace("name: chat", "name: other")
    (change,) = ahead(fleet(after), running(before)).changes
    assert change.what == "memory 20GiB → 70GiB; gpu 0 → gpu 1"
    assert change.before is not None
    assert change.after is not None
    assert (change.before.gpus, change.after.gpus, change.downtime) == ((0,), (1,), "loading")


def launched(on, slot: str) -> Launch:
    return on.instances[slot].launch


def test_a_move_is_one_change_and_frees_one_gpu_for_the_other():
    wanted, on = fleet(CHAT), running(CHAT)
    was = launched(on, "chat/0")
    stop = Stop(slot="chat/0", run=1, grace=1, reason=Reason.ScaledDown, detail="for big/0")
    start = Start(slot="chat/0", launch=replace(was, gpus=("GPU-1",), indices=(1,)), reason=Reason.NotRunning)
    seen = outlook(ahead_of(wanted, on, [Plan(actions=(stop,)), Plan(actions=(start,))]))
    (change,) = seen.changes
    assert (change.mark, change.verb, change.what) == ("±", "move", "for big/0, gpu 0 → gpu 1")
    assert [(one.before.used > one.after.used, one.before.used < one.after.used) for one in seen.gpus] == [
        (True, False),
        (False, True),
    ]


def test_one_that_gives_way_and_finds_no_place_ends():
    on = running(CHAT)
    launch = launched(on, "chat/0")
    stop = Stop(slot="chat/0", run=1, grace=1, reason=Reason.ScaledDown, detail="for big/0")
    start = Start(slot="chat/0", launch=launch, reason=Reason.NotRunning)
    (change,) = outlook(ahead_of(fleet(CHAT), on, [Plan(actions=(each,)) for each in (stop, start, stop)])).changes
    assert (change.verb, change.what, change.downtime) == ("stop", "scaled down: for big/0", "ended")


def test_two_that_are_replaced_one_after_the_other_leave_no_gap():
    before = CHAT.replace("gpus: 1", "gpus: 1\nreplicas: 2")
    on = running(before)
    passes = []
    for slot in ("chat/0", "chat/1"):
        launch = launched(on, slot)
        passes += [Plan(actions=(Stop(slot=slot, run=1, grace=1, reason=Reason.SpecChanged, detail="context 1 → 2"),))]
        passes += [Plan(actions=(Start(slot=slot, launch=launch, reason=Reason.SpecChanged),))]
    one_by_one = outlook(ahead_of(fleet(before), on, passes))
    assert [change.downtime for change in one_by_one.changes] == ["none", "none"]
    assert "others serve meanwhile" in plan_text(one_by_one, width=120, colour=False)
    both = [Plan(actions=passes[0].actions + passes[2].actions), Plan(actions=passes[1].actions + passes[3].actions)]
    assert [change.downtime for change in outlook(ahead_of(fleet(before), on, both)).changes] == ["loading", "loading"]


def test_one_more_that_serves_meanwhile_is_told_and_leaves_no_gap():
    wanted, on = fleet(CHAT), running(CHAT)
    old = launched(on, "chat/0")
    more = replace(old, slot="chat/1", port=9001, gpus=("GPU-1",), indices=(1,))
    passes = [
        Start(slot="chat/1", launch=more, reason=Reason.SpecChanged),
        Stop(slot="chat/0", run=1, grace=1, reason=Reason.SpecChanged, detail="context 1 → 2"),
        Start(slot="chat/0", launch=old, reason=Reason.SpecChanged),
        Stop(slot="chat/1", run=1, grace=1, reason=Reason.ScaledDown),
        Forget(slot="chat/1", run=1, reason=Reason.ScaledDown),
    ]
    seen = outlook(ahead_of(wanted, on, [Plan(actions=(each,)) for each in passes]))
    told = [(one.mark, one.subject, one.verb, one.what, one.note, one.downtime) for one in seen.changes]
    more_note = "serves while others are replaced, then ends"
    assert told == [
        ("+", "chat/1", "surge", "vllm on gpu 1, port 9001", more_note, "none"),
        ("±", "chat/0", "replace", "context 1 → 2", "surge: no downtime", "none"),
    ]
    assert [gpu.before == gpu.after for gpu in seen.gpus] == [True, True]


def test_one_that_crashed_starts_and_says_how_it_ended():
    wanted = fleet(CHAT)
    on = machine(instance(wanted, "chat/0", Exited(at=NOW - 900, code=1), port=9000, gpus=(gpu(0),)), gpus=(gpu(0),))
    (change,) = ahead(wanted, on).changes
    assert (change.verb, change.note, change.before) == ("start", "exited with status 1", None)


def test_requests_in_flight_are_drained_and_that_is_told():
    wanted, on = fleet(CHAT.replace("8192", "16384")), running(CHAT)
    seen = outlook(ahead_of(wanted, on, road(wanted, on, {"chat": Wish(in_flight={"chat/0": 1})}, Memory(), NOW)))
    assert "drains up to 2m" in plan_text(seen, width=120, colour=False)


def test_gpus_that_are_alike_are_one_row():
    text = shown(fleet(CHAT), machine(gpus=tuple(map(gpu, range(8)))), width=100)
    assert text.splitlines()[4:] == [
        "  gpu 0    H100  ▒▒▁▁▁▁▁▁▁▁  0.0 → 20.0 of 80.0 GiB  chat/0 20.0",
        "  gpu 1-7  H100  ▁▁▁▁▁▁▁▁▁▁  0.0 of 80.0 GiB each    free",
    ]


def test_where_there_is_no_room_beside_it_that_nothing_runs_yet_is_not_told():
    several = CHAT.replace("gpus: 1", "gpus: 4").replace("name: chat", "name: chat-of-several-words")
    (first, *_), (row, *others) = (
        shown(fleet(several), machine(gpus=tuple(map(gpu, range(4)))), width=width).splitlines()[2:]
        for width in (100, 60)
    )
    assert first.endswith("port 9000  not running")
    assert row.endswith("vllm on gpu 0-3, port 9000") or others[0].endswith("port 9000")
    assert "not running" not in "".join(others)


def test_a_card_is_called_as_people_call_it():
    text = shown(fleet(TINY), machine(gpus=(gpu(0, model="GeForce RTX 4090"),)))
    assert "gpu 0  RTX 4090  ▁" in text


def test_a_gpu_that_is_missing_in_between_is_not_made_up():
    text = shown(fleet(TINY), machine(gpus=(gpu(0), gpu(2))), width=100)
    assert "gpu 0-2" not in text


def test_whatever_comes_or_goes_shows_in_the_bar():
    text = shown(fleet(CHAT.replace("20GiB", "1GiB")), machine(gpus=(gpu(0, used=40),)), width=100)
    assert "▇▇▇▇▒▁▁▁▁▁  40.0 → 41.0 of 80.0 GiB" in text


def test_how_a_figure_is_known_is_told():
    """But where the file says it: nobody asks how the file knows."""
    wanted, on = fleet(CHAT), machine(gpus=(gpu(0),))
    texts: dict[Basis, str] = {}
    bases: tuple[Basis, ...] = ("declared", "measured", "estimated")
    for basis in bases:
        launch = replace(launched(running(CHAT), "chat/0"), basis=basis, within=0.08)
        start = Start(slot="chat/0", launch=launch, reason=Reason.NotRunning)
        texts[basis] = plan_text(outlook(ahead_of(wanted, on, [Plan(actions=(start,))])), width=120, colour=False)
    assert texts["declared"].endswith("  chat/0 20.0")
    assert texts["measured"].endswith("  chat/0 20.0 (measured)")
    assert texts["estimated"].endswith("  chat/0 20.0 (estimated ±8 %)")


def test_what_has_begun_counts_after_though_no_pass_does_it_again():
    start = Start(slot="chat/0", launch=launched(running(CHAT), "chat/0"), reason=Reason.NotRunning)
    on = machine(gpus=(gpu(0),))
    seen = outlook(ahead_of(fleet(CHAT), on, [Plan()], Memory(in_flight={"chat/0": start})))
    assert [(one.before.used, one.after.used) for one in seen.gpus] == [(0, 20 * GIB)]


def test_what_is_taken_whole_says_so():
    text = shown(fleet(CHAT.replace("memory: 20GiB", "")), machine(gpus=(gpu(0, used=2),)), width=100)
    assert "chat/0 whole, others 2.0" in text
    assert "2.0 → 80.0 of 80.0 GiB" in text


def test_replicas_blocked_for_one_reason_are_one_line():
    greedy = CHAT.replace("20GiB", "200GiB").replace("gpus: 1", "gpus: 1\nreplicas: 3")
    seen = ahead(fleet(greedy), running())
    assert [change.subject for change in seen.changes] == ["chat/0", "chat/1", "chat/2"]
    text = plan_text(seen, width=120, colour=False)
    assert text.splitlines()[0].endswith("3 blocked")
    assert text.count("blocked  needs one gpu with 200.0 GiB free") == 1
    assert "! chat/0-2  blocked" in text


def test_a_long_reason_is_told_once():
    """Of several workloads that it keeps out; short ones are told each time."""
    long = "needs one gpu with 20.0 GiB free; " + "; ".join(f"gpu {n}: {n}.5 GiB of 24.0 GiB free" for n in range(8))
    for detail, count in ((long, 1), ("port 9 is in use", 3)):
        plan = Plan(blocked=tuple(Blocked(subject=f"{n}/0", reason=Reason.NoFreeGpu, detail=detail) for n in "abc"))
        text = plan_text(outlook(ahead_of(fleet(TINY), machine(), [plan])), width=200, colour=False)
        assert text.count(detail[:16]) == count
        assert text.count("for the same reasons as a/0") == 3 - count


def test_who_gives_way_is_told_for_whom():
    stop = Stop(slot="chat/0", run=1, grace=1, reason=Reason.Preempted, detail="for big/0")
    (change,) = outlook(ahead_of(fleet(CHAT), running(CHAT), [Plan(actions=(stop,))])).changes
    assert change.what == "preempted for big/0"


def test_gpus_that_refuse_for_one_reason_are_told_of_together():
    detail = "needs one gpu; gpu 0: taken whole by a/0; gpu 1: 1 free; 2 held by pid 7 x; gpu 2: taken whole by a/0; "
    detail += "gpu 3: taken whole by a/0; gpu 4: taken whole by a/0; gpu 5: 1 free"
    plan = Plan(blocked=(Blocked(subject="b/0", reason=Reason.NoFreeGpu, detail=detail),))
    (change,) = outlook(ahead_of(fleet(TINY), machine(), [plan])).changes
    assert change.what == (
        "needs one gpu; gpu 0,2-4: taken whole by a/0; gpu 1: 1 free; 2 held by pid 7 x; gpu 5: 1 free"
    )


def test_a_directory_that_cannot_be_believed_is_a_problem_and_not_nothing():
    text = shown(fleet("", missing="fleet.d cannot be believed: it does not exist"), machine())
    assert text.splitlines() == [
        "fleet.d · 0 models · 1 problem",
        "",
        "  fleet.d cannot be believed: it does not exist",
    ]


def test_a_problem_is_told_once():
    problem = Problem(path="fleet.d/chat.yaml", key="context", message="cannot be many", names=("chat",))
    text = shown(fleet(CHAT, problems=(problem,)), running(CHAT), width=120)
    assert text.count("cannot be many") == 1


def test_steps_tell_of_what_is_blocked_once_and_why_in_the_table():
    greedy = CHAT.replace("20GiB", "200GiB").replace("name: chat", "name: big")
    after = CHAT.replace("8192", "16384") + "---" + greedy
    text = shown(fleet(after), running(CHAT), width=120, steps=True)
    assert text.count("blocked big/0: NoFreeGpu") == 1
    assert text.count("with 200.0 GiB free") == 1


def test_marks_are_coloured_and_nothing_else_changes():
    seen = ahead(fleet(CHAT.replace("8192", "16384") + "---" + TINY), running(CHAT))
    plain, painted = (plan_text(seen, width=80, colour=colour, steps=True) for colour in (False, True))
    assert "\x1b[" not in plain
    assert re.sub(r"\x1b\[\d+m", "", painted) == plain


LORA = CHAT + "adapters: [{name: sql, source: 'hf:o/sql'}]\n"


def test_adapters_that_come_and_go_are_a_change_without_a_restart():
    adapters = "{name: law, source: 'hf:o/law'}, {name: tax"
    wanted = fleet(LORA.replace("{name: sql", adapters) + "weight: 7")
    assert shown(wanted, running(LORA), width=120).splitlines()[2:5] == [
        "  ~ chat  live  detach sql; attach law from hf:o/law; attach tax from hf:o/sql; 2 take turns for 1 in a batch",
        "                (--max-loras); weight default → 7",
        "                no restart",
    ]
    steps = shown(wanted, running(LORA), width=120, steps=True)
    assert "\nstep 2\n  detach chat/0 adapter sql: SpecChanged\n\nstep 3\n  attach chat/0 adapter law: " in steps


def test_the_first_adapter_of_a_model_replaces_it():
    assert shown(fleet(LORA), running(CHAT), width=120).splitlines()[2] == (
        "  ± chat/0  replace  adapter sql none → hf:o/sql; it was not started for adapters  down while it loads"
    )


def on_cpu(name: str, gib: int) -> str:
    return f"kind: Service\nname: {name}\ncommand: [sleep, infinity]\nmemory: {gib}GiB\n---\n"


def test_host_memory_is_shown_where_somebody_waits_for_it():
    """And what others hold of it."""
    assert shown(fleet(on_cpu("a", 20) + on_cpu("b", 50)), machine(gpus=(gpu(0),)), width=100) == wide("""
        fleet.d · 2 services · 1 to change · 1 blocked

          + a/0  start    command on cpu  not running
          ! b/0  blocked  needs 50.0 GiB of host memory; 36.8 GiB of 64.0 GiB free beside a/0; 4.0 GiB held
                          by others; 3.2 GiB reserved

          gpu 0  H100    ▁▁▁▁▁▁▁▁▁▁  0.0 of 80.0 GiB         free
          host   memory  ▇▒▒▒▁▁▁▁▁▁  4.0 → 24.0 of 64.0 GiB  a/0 20.0, others 4.0
    """)


def test_host_memory_is_shown_where_half_of_it_is_taken_and_not_before():
    half, more = fleet(on_cpu("a", 32)), fleet(on_cpu("a", 33))
    assert "host" not in shown(half, machine())
    assert "host  memory  ▇▒▒▒▒▒▁▁▁▁  4.0 → 37.0 of 64.0 GiB  a/0 33.0, others 4.0" in shown(more, machine(), width=100)
    assert ahead(half, machine()).hosts[0].after.used == 36 * GIB


def test_what_was_counted_of_ours_is_not_counted_as_others():
    wanted = fleet(on_cpu("a", 33) + on_cpu("b", 40))
    there = instance(wanted, "a/0")
    there = replace(there, launch=replace(there.launch, host=33 * GIB, host_basis="measured"))
    on = replace(machine(there), resident={"a/0": Resident(run=1, own=3 * GIB, files=20 * GIB)})
    assert "host  memory  ▇▇▇▇▇▁▁▁▁▁  34.0 of 64.0 GiB  a/0 33.0 (measured), others 1.0" in shown(wanted, on, width=100)


def test_nobody_shows_memory_of_a_machine_that_is_not_known():
    wanted = fleet(on_cpu("a", 33))
    on = machine(host=replace(machine().host, memory=0, available=0))
    assert ahead(wanted, on).hosts == ()
