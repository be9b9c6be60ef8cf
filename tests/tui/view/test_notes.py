"""What stands above the fleet."""

from dataclasses import replace
from datetime import UTC

from reconciler.model.status import GatewayStatus, Reason
from tests.api.daemon import status, workload
from tests.tui import worlds
from tests.tui.view.test_fleet import FLEET, blocked, one, text, world
from tui.view.notes import notes
from tui.view.paint import width
from tui.view.world import Machine

AT = 1_800_000_000.0


def test_a_line_says_how_many_do_well_where_the_gateway_is_and_what_goes_through_it():
    assert text(notes(one(FLEET), room=100)) == (
        " ✖ 1 in trouble  ● 2 ready       gateway http://127.0.0.1:8642  4.2 req/s · 12.3k tok/s · 3 waiting"
    )


def test_what_is_stuck_is_in_trouble_and_what_is_paused_but_answers_is_ready():
    ready, moving, stalled = workload("a").conditions
    looping = replace(
        stalled, status="True", reason=Reason.BackingOff, message="exited with status 1, 4 times in a row"
    )
    stuck = replace(workload("a"), conditions=(ready, moving, looping))
    held = replace(workload("b"), paused=True)
    stopped = replace(workload("c", ready=0, wanted=0, reason=Reason.StopAsked), paused=True)
    assert text(notes(one(status(stuck, held, stopped)), room=100)) == " ✖ 1 in trouble  ● 1 ready  ○ 1 at rest"


def test_where_it_is_narrow_the_gateway_has_a_line_of_its_own():
    assert text(notes(one(FLEET), room=80)).splitlines() == [
        " ✖ 1 in trouble  ● 2 ready",
        " gateway http://127.0.0.1:8642  4.2 req/s · 12.3k tok/s · 3 waiting",
    ]


def test_everything_that_is_wrong_with_the_whole_is_said_in_full():
    lines = text(notes(one(worlds.troubled(FLEET)), room=79)).splitlines()[1:]
    assert lines == [
        " ▲ the gateway is not up: start it with `holdfast up`",
        " ▲ gateway: cannot listen: in use",
        " ▲ fleet.d/chat.yaml:7:3: priority: cannot be 5000; choose 0-1000",
        " ▲ cannot see gpus: NVML: Driver/library version mismatch; restart the machine",
    ]


def test_a_fleet_that_is_paused_says_so():
    paused = replace(FLEET, paused="nothing is done to the fleet until `holdfast resume`")
    assert " ‖ nothing is done to the fleet until `holdfast resume`" in text(notes(one(paused), room=79))


def test_of_a_daemon_that_is_away_it_says_why_what_to_do_and_of_when_the_rest_is():
    away = Machine(name="", status=status(workload("chat")), away="nothing listens there; start it", lost=AT - 120)
    assert text(notes(world(away, wall=AT), room=100, zone=UTC)).splitlines() == [
        " ✖ the daemon is away: nothing listens there; start it. Shown as of 07:58:00, 2m ago.",
        " ● 1 ready",
    ]


def test_one_that_has_not_answered_yet_is_being_asked():
    assert text(notes(world(Machine(name="")), room=80)) == " ◌ the daemon: asking …"


def test_of_several_machines_each_has_a_line_with_its_name():
    first = Machine(name="gpu1", status=FLEET)
    other = status(blocked("x"), gateway=GatewayStatus(connected=True, listen=("http://10.0.0.2:8642",)))
    lines = text(notes(world(first, Machine(name="gpu2", status=other)), room=80)).splitlines()
    assert [line.split() for line in lines] == [
        ["gpu1", "✖", "1", "in", "trouble", "●", "2", "ready", "gateway", "http://127.0.0.1:8642"],
        ["gpu2", "✖", "1", "in", "trouble", "gateway", "http://10.0.0.2:8642"],
    ]


def test_where_lines_are_few_several_machines_are_counted_together_and_what_is_wrong_is_told_of_each():
    paused = replace(FLEET, paused="nothing is done to the fleet until `holdfast resume`")
    away = Machine(name="gpu3", away="Connection refused")
    of = world(Machine(name="gpu1", status=FLEET), Machine(name="gpu2", status=paused), away)
    assert text(notes(of, room=80, short=True)).splitlines() == [
        " all  ✖ 2 in trouble  ● 4 ready",
        " ‖ gpu2: nothing is done to the fleet until `holdfast resume`",
        " ✖ gpu3 is away: Connection refused.",
    ]
    assert text(notes(one(FLEET), room=80, short=True)) == text(notes(one(FLEET), room=80))
    assert text(notes(world(Machine(name="gpu1"), away), room=80, short=True)).startswith(" ◌ gpu1: asking")


def test_nothing_is_wider_than_its_room_whatever_the_world():
    for name, each in worlds.all_worlds():
        for room in (79, 119, 249):
            for line in notes(each, room=room).lines:
                assert sum(width(cell.text) for cell in line) <= room, (name, room, line)
