"""The table of the fleet: what it says of each workload, in which order, and what it leaves out where it is narrow."""

from dataclasses import replace
from typing import Any

import pytest

from reconciler.model.routing import Traffic, Wanted
from reconciler.model.status import (
    Condition,
    GatewayStatus,
    GpuShare,
    GpuStatus,
    Reason,
    Replica,
    Status,
    WorkloadStatus,
)
from tests.api.daemon import status, workload
from tests.tui import worlds
from tui.view.entry import lasting, spread
from tui.view.fleet import ORDERS, Asked, Table, groupings
from tui.view.paint import width
from tui.view.picture import Picture
from tui.view.world import Machine, Row, World

GIB = 2**30
LONG = "needs 80.0 GiB on one gpu, most free is 46.1 GiB (gpu 3): chat/0 holds 60.0; wait, or make its memory smaller"
GATEWAY = GatewayStatus(connected=True, listen=("http://127.0.0.1:8642",))


def blocked(name: str, why: str = LONG) -> WorkloadStatus:
    conditions = (
        Condition(type="Ready", status="False", reason=Reason.NoFreeGpu, message=why),
        Condition(type="Reconciling", status="False", reason=Reason.NoFreeGpu),
        Condition(type="Stalled", status="True", reason=Reason.NoFreeGpu, message=why),
    )
    return replace(
        workload(name, ready=0), replicas=(Replica(slot=f"{name}/0", state="absent"),), conditions=conditions
    )


def of(name: str, **more: Any) -> WorkloadStatus:
    """One that is ready; `more` of its replica."""
    row = workload(name)
    return replace(row, replicas=tuple(replace(replica, **more) for replica in row.replicas))


GPU = GpuStatus(
    index=0,
    uuid="GPU-0",
    model="NVIDIA H200",
    memory=141 * GIB,
    used=62 * GIB,
    shares=(GpuShare(holder="chat/0", memory=60 * GIB, ours=True),),
)
CHAT = replace(of("chat", memory=60 * GIB, basis="measured", restarts=2), labels={"team": "search"})
CODE = replace(of("code", memory=20 * GIB, basis="estimated", since=140.0), labels={"team": "dev"}, engine="vllm")
FLEET = status(
    CHAT,
    CODE,
    blocked("big"),
    gpus=(GPU,),
    gateway=GATEWAY,
    traffic={"chat": Wanted(waiting=3, traffic=Traffic(requests=4.2, tokens=12345.0, errors=0.1))},
)


def world(*machines: Machine, wall: float = 1000.0) -> World:
    return World(machines={machine.name: machine for machine in machines}, wall=wall)


def one(of: Status, **more: Any) -> World:
    return world(Machine(name="", status=of, **more))


def text(picture: Picture) -> str:
    return "\n".join("".join(cell.text for cell in line).rstrip() for line in picture.lines)


def names(picture: Picture) -> list[str]:
    return [key.rpartition("/")[2] for key in dict.fromkeys(picture.keys) if key]


def table(of: World, room: int, **asked: str) -> str:
    return text(Table().picture(of, Asked(**asked), room=room))


def test_its_age_is_that_of_its_oldest_instance_that_answers():
    row = workload("chat", wanted=3, ready=2)
    since = (400.0, 700.0, 990.0)
    row = replace(row, replicas=tuple(replace(each, since=at) for each, at in zip(row.replicas, since, strict=True)))
    assert lasting(Row(Machine(name="", status=status(row)), row)).since == 400.0
    loading = replace(row, replicas=row.replicas[2:])
    assert lasting(Row(Machine(name="", status=status(loading)), loading)).since == 990.0


def test_a_wide_table_says_all_and_beneath_a_row_why_it_is_not_as_it_should_be():
    head, big, why, chat, code = table(one(FLEET), 132).splitlines()
    assert head.split() == [
        *("NAME", "STATE", "READY", "GPU", "REQ/S", "TOK/S", "QUEUE"),
        *("MEMORY", "AGE", "RESTARTS", "ENGINE", "PORT"),
    ]
    assert big.split() == ["big", "✖", "blocked", "0/1", "0", "0", "0", "0", "llamacpp"]
    assert why == f"     {LONG}"
    assert chat.split() == [
        *("▍", "chat", "●", "ready", "1/1", "0", "▲4.2", "12.3k", "3", "60.0G", "1m", "2", "llamacpp", "9000"),
    ]
    assert code.split() == [*("code", "●", "ready", "1/1", "0", "0", "0", "0", "~20.0G", "1m", "0", "vllm", "9000")]
    for title, value in (("READY", "1/1"), ("REQ/S", "▲4.2"), ("MEMORY", "60.0G"), ("RESTARTS", " 2")):
        assert head.index(title) + len(title) == chat.index(value) + len(value), "figures stand to the right"


def test_a_narrow_one_says_what_is_needed_most():
    assert (
        table(one(FLEET), 79)
        == """\
   NAME               STATE           READY  GPU   REQ/S  TOK/S  QUEUE   MEMORY
   big                ✖ blocked         0/1            0      0      0
     needs 80.0 GiB on one gpu, most free is 46.1 GiB (gpu 3): chat/0 holds 6…
 ▍ chat               ● ready           1/1  0      ▲4.2  12.3k      3    60.0G
   code               ● ready           1/1  0         0      0      0   ~20.0G"""
    )


def test_of_the_chosen_row_the_whole_reason_is_shown():
    picture = Table().picture(one(FLEET), Asked(), room=79, chosen="/big")
    assert "chat/0 holds\n     60.0; wait, or make its memory smaller\n" in text(picture)
    assert picture.keys == ("", "/big", "/big", "/big", "/chat", "/code")


def test_who_points_at_one_that_its_file_pauses_reads_which_line_to_change():
    chat = replace(workload("chat", ready=0, reason=Reason.Paused), paused=True, paused_at="fleet.d/chat.yaml:7")
    of = one(status(chat, workload("embed")))
    said = "     its file pauses it: remove `paused: true` at fleet.d/chat.yaml:7"
    assert said in text(Table().picture(of, Asked(), room=119, chosen="/chat"))
    assert said not in text(Table().picture(of, Asked(), room=119, chosen="/embed"))


def test_nothing_is_wider_than_its_room_whatever_the_world():
    for name, each in worlds.all_worlds():
        for room in (69, 79, 119, 249):
            for line in Table().picture(each, Asked(), room=room).lines:
                assert sum(width(cell.text) for cell in line) <= room, (name, room, line)


FIRST = {
    "trouble": ["big", "chat", "code"],
    "name": ["big", "chat", "code"],
    "memory": ["chat", "code", "big"],
    "requests": ["chat", "big", "code"],
    "tokens": ["chat", "big", "code"],
    "queue": ["chat", "big", "code"],
    "restarts": ["chat", "big", "code"],
    "age": ["chat", "code", "big"],
}


@pytest.mark.parametrize("order", ORDERS)
def test_rows_are_ordered_by_what_is_asked_for_the_most_first_and_then_by_name(order: str):
    assert names(Table().picture(one(FLEET), Asked(order=order), room=132)) == FIRST[order]


def test_rows_that_are_ordered_by_figures_keep_their_places_for_a_while():
    drawn, asked = Table(), Asked(order="queue")
    later = replace(FLEET, traffic={"code": Wanted(waiting=9)})
    assert names(drawn.picture(replace(one(FLEET), wall=100.0), asked, room=132))[0] == "chat"
    assert names(drawn.picture(replace(one(later), wall=104.0), asked, room=132))[0] == "chat"
    assert names(drawn.picture(replace(one(later), wall=105.0), asked, room=132))[0] == "code"


@pytest.mark.parametrize(
    ("group", "titles"),
    [
        ("state", ["blocked · 1 workload", "ready · 2 workloads"]),
        ("engine", ["llamacpp · 2 workloads", "vllm · 1 workload"]),
        ("team", ["dev · 1 workload", "search · 1 workload", "no team · 1 workload"]),
    ],
)
def test_rows_are_grouped_by_what_they_have_in_common(group: str, titles: list[str]):
    picture = Table().picture(one(FLEET), Asked(group=group), room=132)
    heads = [line for line, key in zip(text(picture).splitlines(), picture.keys, strict=True) if not key]
    assert [head.strip() for head in heads[1:]] == titles


def test_they_can_be_grouped_by_every_label_and_by_machine_where_there_are_several():
    assert groupings(one(FLEET)) == ("", "state", "engine", "team")
    two = world(Machine(name="a", status=FLEET), Machine(name="b", status=FLEET))
    assert groupings(two) == ("", "state", "machine", "engine", "team")


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ("", ["big", "chat", "code"]),
        ("C", ["big", "chat", "code"]),
        ("co", ["code"]),
        ("READY vllm", ["code"]),
        ("team=search", ["chat"]),
        ("46.1", ["big"]),
        ("xyz", []),
    ],
)
def test_a_filter_leaves_those_in_which_all_its_words_occur(words: str, left: list[str]):
    drawn = Table()
    assert names(drawn.picture(one(FLEET), Asked(filter=words), room=132)) == left
    assert (drawn.shown, drawn.all) == (len(left), 3)


def test_a_filter_that_leaves_nothing_says_how_to_see_all_again():
    assert (
        text(Table().picture(one(FLEET), Asked(filter="xyz"), room=79))
        == "\n   nothing matches 'xyz'\n\n   esc shows all again"
    )


def test_several_machines_stand_in_one_table_with_a_column_that_says_which():
    two = world(Machine(name="gpu1", status=status(CHAT)), Machine(name="gpu2", status=status(CHAT)))
    assert (
        table(two, 79)
        == """\
   NAME               MACHINE  STATE           READY  GPU   MEMORY    AGE
   chat               gpu1     ● ready           1/1  0      60.0G     1m
   chat               gpu2     ● ready           1/1  0      60.0G     1m"""
    )


def test_of_a_machine_that_is_away_everything_is_dim():
    picture = Table().picture(one(FLEET, away="cannot reach it"), Asked(), room=132)
    assert {cell.style for line in picture.lines[1:] for cell in line} == {"dim"}


def test_an_empty_fleet_says_what_to_do_next():
    assert (
        table(one(status()), 79)
        == """
   nothing is declared in /srv/fleet.d yet

   Write what is to run into /srv/fleet.d/chat.yaml, for example, and it
   starts:

       kind: Model
       name: chat
       source: hf:Qwen/Qwen3-8B

   `holdfast validate` checks it; the plan (2) shows what is going to be done."""
    )


def test_a_row_that_stands_still_is_the_same_object_from_one_drawing_to_the_next():
    drawn = Table()
    before = drawn.picture(one(FLEET), Asked(), room=132)
    again = replace(FLEET, now=200.5, traffic={"chat": Wanted(waiting=4, traffic=FLEET.traffic["chat"].traffic)})
    after = drawn.picture(one(again), Asked(), room=132)
    assert [old is new for old, new in zip(before.lines, after.lines, strict=True)] == [False, True, True, False, True]


def test_a_row_follows_its_status_its_figures_and_the_clock():
    drawn = Table()
    assert "60.0G     1m" in text(drawn.picture(one(FLEET), Asked(), room=132))
    moved = replace(FLEET, now=4000.0, workloads={**FLEET.workloads, "chat": of("chat", memory=GIB, restarts=7)})
    assert "1.0G  1h05m         7" in text(drawn.picture(one(moved), Asked(), room=132))


def test_a_workload_that_is_gone_is_gone():
    drawn = Table()
    drawn.picture(one(FLEET), Asked(), room=132)
    assert names(drawn.picture(one(status(CHAT)), Asked(), room=132)) == ["chat"]


@pytest.mark.parametrize(
    ("numbers", "text"),
    [([], ""), ([3], "3"), ([0, 1], "0,1"), ([0, 1, 2, 3], "0-3"), ([0, 1, 2, 5, 7, 8], "0-2,5,7,8")],
)
def test_gpus_in_a_row_are_told_together(numbers: list[int], text: str):
    assert spread(numbers) == text
