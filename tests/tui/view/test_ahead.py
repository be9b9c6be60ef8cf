"""The Plan screen as a person reads it: fleets and machines in, text out, by the real planner."""

from dataclasses import replace
from datetime import UTC
from textwrap import dedent

import pytest

from reconciler.model.memory import Memory
from reconciler.model.plan import Start
from reconciler.model.status import Reason
from tests.plan.world import NOW, fleet, gpu, instance, machine
from tests.tui.roads import broken, busy, model, section
from tests.tui.worlds import WALL, all_worlds
from tui.view.ahead import Section, consent, machine_of, opened, plan_picture
from tui.view.clean import clean
from tui.view.paint import width as wide
from tui.view.picture import printed
from tui.view.world import Machine

WIDTHS = (60, 80, 120, 169, 170, 250)


def shown(*sections: Section, width: int = 100, steps: bool = False) -> str:
    picture = plan_picture(sections, wall=WALL, width=width, steps=steps, zone=UTC)
    return "\n".join(printed(line, colour=False) for line in picture.lines)


def wide_text(text: str) -> str:
    return dedent(text).strip("\n")


def calm() -> Section:
    of, first = fleet(model("chat")), gpu(0, used=20)
    return section(of, machine(instance(of, "chat/0", port=9000, gpus=(first,)), gpus=(first,)))


def test_everything_that_can_be_said_has_its_place():
    assert shown(section(*busy()), width=110) == wide_text("""
        fleet.d @ 3f2a9c1 · 6 models · 2 to change · 4 waiting · 1 blocked

        NOW
          ◐ code/0   starting  42s  loading weights: 61 %
          ↓ embed/0  fetching       ▇▇▁▁▁▁▁▁▁▁ 3.0 of 16.0 GiB  hf:Qwen/embed

        AHEAD
          - old/0     stop   removed from fleet.d      ends within 10s
          + vision/0  start  vllm on gpu 0, port 9004  not running

        WAITS
          ◌ chat/0   waits for chat/1 to serve, then is replaced (context 8192 → 16384)
          ◌ chat/1   waits for code/0 to have loaded on the same gpu: one of the two sizes itself by what is free
          ◌ crash/0  waits for code/0 to have loaded on the same gpu: one of the two sizes itself by what is free
          ◌ embed/0  waits for memory to be given back: gpu 0: 2.0 GiB of 80.0 GiB free beside chat/0, vision/0; 6.0
                     GiB held by pid 7714 python, not ours
            tried again in 10m, sooner if something changes

        BLOCKED
          ! large/0  blocked  needs one gpu with 200.0 GiB free
                              gpu 0,1: 80.0 GiB in all

        MEMORY
          gpu 0  H100  ▇▇▇▇▇▇▇▇▇▇░░▁▁▁▁▁▁▁▁  46.0 → 38.0 of 80.0 GiB  chat/0 20.0, vision/0 12.0, pid 7714 python 6.0
          gpu 1  H100  ▇▇▇▇▇▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁  20.0 of 80.0 GiB         code/0 20.0
        """)


def test_that_nothing_is_to_do_is_said_plainly():
    text = shown(calm())
    assert "  ● nothing to do: all is as declared" in text.splitlines()
    assert "BLOCKED" not in text
    assert "WAITS" not in text
    assert "20.0 of 80.0 GiB" in text


def test_when_it_is_tried_again_is_told_where_something_waits_alone():
    found = calm()
    assert found.road is not None
    (first, *others) = found.road.passes
    found = replace(found, road=replace(found.road, passes=(replace(first, wake_at=NOW + 60), *others)))
    assert "tried again" not in shown(found)


def test_of_a_paused_fleet_it_is_what_would_be_done():
    text = shown(section(*busy(), Memory(paused=True)))
    assert "‖ the fleet is paused: this is what `holdfast resume` would do" in text
    assert "ONCE RESUMED\n  - old/0" in text
    assert "AHEAD" not in text


def test_an_edit_that_cannot_be_read_is_shown_where_it_is():
    of, on = busy()
    assert "PROBLEMS\n  fleet.d/chat.yaml:7:3: priority: cannot be 5000; choose 0-1000\n" in shown(
        section(broken(of), on)
    )


def test_what_has_just_begun_is_told_before_it_is_seen():
    of = fleet(model("chat"))
    launch = instance(of, "chat/0", gpus=(gpu(0),)).launch
    memory = Memory(in_flight={"chat/0": Start(slot="chat/0", launch=launch, reason=Reason.NotRunning)})
    text = shown(section(of, machine(gpus=(gpu(0),)), memory))
    assert "NOW\n  ◐ chat/0  starting" in text
    assert "AHEAD\n  nothing more to do: what was begun takes its time" in text


def crowd() -> Section:
    before = fleet("".join(model(name, 5) for name in ("a", "b", "c", "d")))
    on = machine(*(instance(before, f"{name}/0", gpus=(gpu(0),)) for name in "abcd"), gpus=(gpu(0, used=20),))
    return section(fleet(model("a", 5)), on)


def test_what_is_held_is_named_before_anybody_consents():
    found = crowd()
    assert found.held == ("b", "c", "d")
    assert "    a consents to it: b, c, d would be stopped" in shown(found)
    assert consent(found.held) == "stop and remove 3 workloads that no file declares any more: b, c, d?"
    assert consent(["b"], on="gpu2") == "stop and remove 1 workload on gpu2 that no file declares any more: b?"
    assert consent([f"m{number}" for number in range(20)]).endswith("m10, m11 and 8 more?")
    assert calm().held == ()


def test_when_something_is_tried_again_counts_down():
    found = section(*busy())
    assert found.road is not None
    (first, *others) = found.road.passes
    soon = replace(
        next(each for each in first.blocked if each.subject == "crash/0"), until=NOW + 34, detail="backing off"
    )
    blocked = tuple(soon if each.subject == "crash/0" else each for each in first.blocked)
    found = replace(found, road=replace(found.road, passes=(replace(first, blocked=blocked), *others)))
    assert "  ◌ crash/0  again in 34s: backing off" in shown(found).splitlines()
    assert "    tried again in " in shown(found)
    assert found.seen is not None
    alone = tuple(each for each in found.seen.changes if each.subject == "crash/0")
    assert "    tried again in " not in shown(replace(found, seen=replace(found.seen, changes=alone))), "it is told"
    assert found.machine.status is not None
    later = replace(found, machine=replace(found.machine, status=replace(found.machine.status, now=NOW + 30.0)))
    assert "  ◌ crash/0  again in 4s: backing off" in shown(later).splitlines()


def test_what_is_old_says_so_and_stays():
    found = replace(section(*busy()), error="lost the daemon at /run/s: it ended", at=WALL - 77)
    text = shown(found)
    assert text.splitlines()[1] == "✖ lost the daemon at /run/s: it ended. Planned at 07:58:43, 1m ago."
    assert "vision/0" in text
    away = Section(machine=Machine(name="gpu2", away="cannot reach the daemon at gpu2: Connection refused"))
    assert shown(away) == "gpu2: cannot reach the daemon at gpu2: Connection refused"
    assert shown(Section(machine=Machine(name="gpu2"))) == "asking gpu2 …"
    keys = plan_picture([away], wall=WALL, width=100).keys
    assert keys == ("gpu2/#",), "it is pointed at, and what is ordered reaches no other"


def test_several_machines_have_a_section_each_and_a_key_of_their_own():
    picture = plan_picture([section(*busy(), name="gpu1"), section(*busy(), name="gpu2")], wall=WALL, width=100)
    text = "\n".join(printed(line, colour=False) for line in picture.lines)
    for name in ("gpu1", "gpu2"):
        assert f"fleet.d @ 3f2a9c1 on {name} · 6 models" in text
    keys = list(dict.fromkeys(key for key in picture.keys if key))
    assert [machine_of(key) for key in (keys[0], keys[-1])] == ["gpu1", "gpu2"]
    assert {opened(key) for key in keys} >= {"gpu1/", "gpu1/code", "gpu2/vision"}
    at = next(number for number, key in enumerate(picture.keys) if key == "gpu2/vision#ahead")
    assert "vision/0" in printed(picture.lines[at], colour=False)


def test_with_the_width_memory_stands_beside_what_changes_it():
    lines = shown(section(*busy()), width=200).splitlines()
    assert lines[2].startswith("NOW ")
    assert lines[2].endswith(" MEMORY")
    assert len(lines) < len(shown(section(*busy()), width=120).splitlines())


def test_every_pass_in_the_words_of_the_planner():
    assert "step 1\n  stop old/0: NotInFleet" in shown(section(*busy()), steps=True)
    assert "step 1" not in shown(section(*busy()))


@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_is_wider_than_the_screen(width):
    for found in (section(*busy()), calm(), crowd(), replace(section(*busy()), error="x" * 300)):
        picture = plan_picture([found], wall=WALL, width=width, steps=True)
        assert max(sum(wide(cell.text) for cell in line) for line in picture.lines) <= width
        assert len(picture.keys) == len(picture.lines)


def test_hostile_statuses_do_no_harm():
    of, on = busy()
    for _, world in all_worlds():
        for each in world.machines.values():
            known = section(of, on)
            text = shown(replace(known, machine=each), Section(machine=each))
            assert clean(text) == text
