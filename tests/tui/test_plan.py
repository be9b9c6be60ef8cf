"""The road ahead as a person sees it: fleet and machine in, text out, by the real planner."""

from dataclasses import replace
from textwrap import dedent

import pytest

from reconciler.model.memory import Memory
from reconciler.model.observation import Holder, Unknown
from reconciler.model.source import Problem, Revision
from reconciler.plan.road import road
from tests.plan.world import GIB, NOW, fleet, gpu, instance, machine
from tui.view.plan import changes, plan_text

CHAT = """
kind: Model
name: chat
source: hf:Qwen/Qwen3-8B
engine: vllm
gpus: 1
memory: 20GiB
context: 8192
"""
TINY = """
kind: Service
name: tiny
command: [sleep, infinity]
"""


def shown(wanted, on, *, width: int = 80, steps: bool = False) -> str:
    ahead = road(wanted, on, {}, Memory(), NOW)
    return plan_text(wanted, on, ahead, width=width, colour=False, steps=steps)


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


def test_nothing_to_do_is_one_line():
    assert shown(fleet(CHAT), running(CHAT)) == "fleet.d · 1 model · nothing to do"


def test_what_starts_says_where_and_why():
    assert shown(fleet(CHAT), running()) == wide("""
        fleet.d · 1 model · 1 to change

          + chat/0  start  vllm on gpu 0, port 9000  not running

          gpu 0  H100  ▇▇▇▁▁▁▁▁▁▁  1.0 → 21.0 of 80.0 GiB  chat/0 pid 7 python
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
    assert [
        str(one.mark + one.subject)
        for one in changes(fleet(after), road(fleet(after), running(before), {}, Memory(), NOW))
    ] == ["~chat"]
    assert "~ chat  live  aliases default → small  no restart" in shown(fleet(after), running(before), width=120)


def test_what_is_no_longer_declared_ends():
    text = shown(fleet(TINY), running(TINY, CHAT))
    assert "- chat/0  stop  removed from fleet.d" in text
    assert "21.0 → 1.0 of 80.0 GiB  pid 7 python" in text


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


def test_a_machine_that_cannot_be_seen_has_no_bars():
    on = machine(gpus=Unknown(reason="the driver does not answer"))
    assert "gpu 0" not in shown(fleet(TINY), on)


def test_steps_show_every_pass_in_the_planner_s_words():
    text = shown(fleet(CHAT.replace("8192", "16384")), running(CHAT), steps=True)
    assert "pass 1" in text
    assert "stop chat/0" in text
    assert text.index("stop chat/0") < text.index("start chat/0")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(width):
    before = CHAT.replace("gpus: 1", "gpus: 1\nreplicas: 3")
    after = before.replace("8192", "16384").replace("20GiB", "30GiB") + "---" + TINY
    text = shown(fleet(after), running(before), width=width)
    assert max(map(len, text.splitlines())) <= width
