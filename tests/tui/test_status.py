"""A Status as a person sees it: text in, text out."""

from dataclasses import replace
from textwrap import dedent
from typing import Any

import pytest

from reconciler.model.source import Problem
from reconciler.model.status import (
    Condition,
    Event,
    GpuShare,
    HostStatus,
    Meters,
    Reason,
    Replica,
    Status,
    WorkloadStatus,
)
from tests.api.daemon import GPUS, status, workload
from tests.plan.world import GIB
from tui.view.status import event_text, state, status_text, transition


def conditions(
    ready: Reason, why: str = "", *, moving: Reason | None = None, stalled: Reason | None = None, well: bool = False
):
    return (
        Condition(type="Ready", status="True" if well else "False", reason=ready, message=why),
        Condition(type="Reconciling", status="True" if moving else "False", reason=moving or Reason.Converged),
        Condition(
            type="Stalled", status="True" if stalled else "False", reason=stalled or Reason.Converged, message=why
        ),
    )


def row(name: str, state: Any, **more: Any) -> WorkloadStatus:
    """A row with one replica in that state."""
    replica = Replica(slot=f"{name}/0", state=state, run=2, port=9001, since=188.0, restarts=1, detail="it said no")
    return replace(workload(name, ready=0), replicas=(replica,), **more)


NO_ROOM = "needs 80.0 GiB on one gpu, most free is 46.1 GiB (gpu 3); wait, or make its memory smaller"
BIG = row("big", "absent", conditions=conditions(Reason.NoFreeGpu, NO_ROOM, stalled=Reason.NoFreeGpu))
WRONG = Problem(path="fleet.d/x.yaml", line=7, column=3, key="priority", message="cannot be 5000; choose 0–1000")
MIXED = status(
    workload("chat", ready=2, wanted=2),
    row("code", "starting", conditions=conditions(Reason.Starting, "code/0 loading", moving=Reason.Starting)),
    BIG,
    converged=False,
    gpus=GPUS,
    problems=(
        Problem(path="fleet.d/x.yaml", line=7, column=3, key="priority", message="cannot be 5000; choose 0–1000"),
    ),
    degraded=("cannot write the history: disk full",),
)


def shown(text: str) -> str:
    return dedent(text).strip("\n")


def test_a_fleet_at_80_columns():
    assert status_text(MIXED, width=80, colour=False) == shown("""
        /srv/fleet.d @ 3f2a9c1 on box1 · 1 of 3 ready

        NAME  STATE       READY  ENGINE    GPU  PORT       RESTARTS  SINCE
        chat  ● ready     2/2    llamacpp  0,1  9000,9001  0         1m
        code  ◐ starting  0/1    llamacpp  -    9001       1         12s
            code/0 loading
        big   ✖ blocked   0/1    llamacpp  -    9001       1         12s
            needs 80.0 GiB on one gpu, most free is 46.1 GiB (gpu 3); wait, or make its
            memory smaller

        gpu 0  H200  ▇▇▇▇▁▁▁▁▁▁  62.0 of 141.0 GiB  chat/0 60.0, pid 7 x 1.0

        ! fleet.d/x.yaml:7:3: priority: cannot be 5000; choose 0–1000
        ! cannot write the history: disk full
        """)


def test_host_memory_is_shown_where_somebody_waits_for_it():
    held = GpuShare(holder="chat/0", memory=30 * GIB, ours=True)
    text = status_text(
        replace(MIXED, ram=HostStatus(memory=64 * GIB, used=20 * GIB, shares=(held,))), width=80, colour=False
    )
    assert "host   memory  ▇▇▇▇▇▁▁▁▁▁  20.0 of 64.0 GiB" in text


def test_a_gpu_shows_what_its_sensors_say_how_old_that_is_and_why_nothing_may_run_on_it():
    (first,) = GPUS
    sick = replace(first, index=1, uuid="GPU-1", cordoned="XID 79, it has fallen off the bus")
    meters = {
        "GPU-0": Meters(at=199.0, busy=97, celsius=64, watts=312.4),
        "GPU-1": Meters(at=160.0, celsius=40),
    }
    text = status_text(status(gpus=(replace(first, shares=()), sick), meters=meters), width=120, colour=False)
    assert text.splitlines()[-3:] == [
        "gpu 0  H200  ▇▇▇▇▁▁▁▁▁▁  62.0 of 141.0 GiB  97 % 64 °C 312 W  free",
        "gpu 1  H200  ▇▇▇▇▁▁▁▁▁▁  62.0 of 141.0 GiB  40 °C 40s ago     chat/0 60.0, pid 7 x 1.0",
        "    cordoned: XID 79, it has fallen off the bus",
    ]


def test_a_fleet_at_120_columns_says_the_same_in_fewer_lines():
    text = status_text(MIXED, width=120, colour=False)
    assert f"    {NO_ROOM}" in text.splitlines()


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_line_is_wider_than_the_terminal(width):
    many = status(*(workload(f"model-with-a-long-name-{i}", ready=i, wanted=8) for i in range(9)), gpus=GPUS)
    for found in (MIXED, many):
        lines = status_text(found, width=width, colour=False).splitlines()
        assert max(map(len, lines[2:])) <= width


def test_colour_changes_no_letter():
    import re

    plain = status_text(MIXED, width=80, colour=False)
    coloured = status_text(MIXED, width=80, colour=True)
    assert coloured != plain
    assert re.sub(r"\x1b\[\d+m", "", coloured) == plain


def test_one_workload_in_detail():
    assert status_text(MIXED, width=80, colour=False, only="chat") == shown("""
        /srv/fleet.d @ 3f2a9c1 on box1 · 1 of 3 ready

        NAME  STATE    READY  ENGINE    GPU  PORT       RESTARTS  SINCE
        chat  ● ready  2/2    llamacpp  0,1  9000,9001  0         1m

        declared in fleet.d/chat.yaml:1
        chat/0 answers at http://127.0.0.1:9000 to chat, chat-alias
        chat/1 answers at http://127.0.0.1:9001 to chat, chat-alias
        chat/0: ready, run 1, pid 4000, port 9000, 16.0 GiB on each gpu, for 1m
        chat/1: ready, run 1, pid 4001, port 9001, 16.0 GiB on each gpu, for 1m
        """)


def test_an_empty_fleet_says_so():
    assert status_text(status(root="/srv/none"), width=80, colour=False).endswith("nothing is declared in /srv/none")


def test_what_an_engine_said_cannot_move_the_cursor():
    evil = "\x1b[2J\x1b]0;x\x07oh\nno\u202e"
    found = status(row("code", "exited", conditions=conditions(Reason.Exited, evil)), degraded=(evil,))
    for text in (
        status_text(found, width=80, colour=False),
        status_text(found, width=80, colour=False, only="code"),
        transition(found.workloads["code"]),
    ):
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "oh no" in text


STATES = {
    "● ready": workload("a"),
    "◐ starting": row("a", "starting", conditions=conditions(Reason.Starting, moving=Reason.Starting)),
    "◌ stopping": row("a", "stopping", conditions=conditions(Reason.NotRunning, moving=Reason.Stopping)),
    "✖ blocked": BIG,
    "▲ backing off": row(
        "a", "exited", conditions=conditions(Reason.BackingOff, "next try", stalled=Reason.BackingOff)
    ),
    "▲ failing": row("a", "failing", conditions=conditions(Reason.ProbeFailing)),
    "✖ not ready": row("a", "exited", conditions=conditions(Reason.Exited)),
    "? unknown": row(
        "a",
        "unknown",
        conditions=(
            Condition(type="Ready", status="Unknown", reason=Reason.Unknown),
            *conditions(Reason.Unknown)[1:],
        ),
    ),
    "‖ paused": row("a", "absent", paused=True, conditions=conditions(Reason.Paused)),
    "‖ paused, ready": replace(workload("a"), paused=True),
    "○ none wanted": workload("a", ready=0, wanted=0, reason=Reason.Idle),
    "○ stopped": workload("a", ready=0, wanted=0, reason=Reason.StopAsked),
}


@pytest.mark.parametrize(("told", "found"), STATES.items(), ids=STATES)
def test_every_state_has_a_shape_and_a_word_of_its_own(told, found):
    assert str(state(found)) == told


def test_shapes_alone_tell_good_from_bad():
    """Without colours, and for those who do not see them."""
    assert len({told.split()[0] for told in STATES}) >= 7


def test_a_transition_says_where_it_answers_or_why_it_does_not():
    assert transition(workload("chat", ready=1)) == "chat: ● ready 1/1  at http://127.0.0.1:9000"
    assert transition(BIG) == f"big: ✖ blocked 0/1  {NO_ROOM}"


def test_an_event_is_one_line():
    one = Event(seq=4, at=0.0, severity="error", subject="chat/0", reason=Reason.Exited, message="exited\nwith 1")
    text = event_text(one, clock="12:00:00", width=None, colour=False)
    assert text == "12:00:00  ✖ chat/0       Exited: exited with 1"
    assert len(event_text(one, clock="12:00:00", width=20, colour=False)) == 20


def test_the_head_counts_as_ready_what_answers_and_tells_what_is_stuck_and_what_is_off():
    stuck = replace(workload("a"), conditions=conditions(Reason.Ready, stalled=Reason.BackingOff, well=True))
    off = replace(workload("b", ready=0, wanted=0), conditions=conditions(Reason.StopAsked, well=True))
    stopping = replace(off, name="c", conditions=conditions(Reason.StopAsked, moving=Reason.Stopping, well=True))
    asleep = replace(off, name="d", conditions=conditions(Reason.Asleep, well=True))
    lines = status_text(status(stuck, off, stopping, asleep, replace(BIG, paused=True)), width=99, colour=False)
    assert lines.splitlines()[0].endswith(" · 1 of 2 ready · 1 stuck · 1 paused · 1 stopped · 1 asleep")


def test_statuses_of_other_fleets_are_not_this_one_s():
    """A status without revision or GPUs still has a head."""
    bare = Status(host="h", root="r", revision=None, now=0.0, converged=True)
    assert status_text(bare, width=80, colour=False).startswith("r on h · 0 of 0 ready")
