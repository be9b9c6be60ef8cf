"""What happened, in lines."""

from dataclasses import replace
from datetime import UTC
from typing import Any

import pytest

from reconciler.model.status import Event, Reason
from tests.tui import worlds
from tests.tui.view.test_fleet import text
from tui.view.events import Journal, Sought, about, heading
from tui.view.paint import width
from tui.view.world import Machine, World

WALL = 1_800_000_000.0
"""08:00 of a Friday, UTC."""
LONG = "CUDA out of memory. Tried to allocate 2.10 GiB; the 4th failure in a row, starts again in 38 s"


def event(seq: int, at: float, **more: Any) -> Event:
    given: dict[str, Any] = {
        "severity": "info",
        "subject": "chat/0",
        "reason": Reason.Ready,
        "message": "ready after 21 s",
    }
    return Event(seq=seq, at=WALL + at, **(given | more))


HAPPENED = (
    event(1, -40_000.0, subject="gateway", reason=Reason.Converged, message="up"),
    event(2, -90.0),
    event(3, -30.0, severity="warning", subject="code/0", reason=Reason.ProbeFailing, message="no answer"),
    event(4, -5.0, severity="error", subject="code/0", reason=Reason.OutOfMemory, message=LONG),
)


def world(*machines: Machine) -> World:
    return World(machines={machine.name: machine for machine in machines}, wall=WALL)


HERE = world(Machine(name="", events=HAPPENED))


def drawn(of: World = HERE, *, room: int = 79, chosen: str = "", **sought: str) -> list[str]:
    return text(Journal(UTC).picture(of, Sought(**sought), room=room, chosen=chosen)).splitlines()


def test_each_has_its_time_its_age_its_severity_and_each_day_a_line():
    assert drawn() == [
        " 2027-01-14",
        " 20:53:20 11h06m  · gateway  Converged  up",
        " 2027-01-15",
        " 07:58:30     1m  · chat/0   Ready  ready after 21 s",
        " 07:59:30    30s  ▲ code/0   ProbeFailing  no answer",
        " 07:59:55     5s  ✖ code/0   OutOfMemory  CUDA out of memory. Tried to alloca…",
    ]


def test_the_chosen_one_shows_all_of_its_message():
    assert drawn(chosen="/4")[-3:] == [
        " 07:59:55     5s  ✖ code/0   OutOfMemory",
        "                    CUDA out of memory. Tried to allocate 2.10 GiB; the 4th",
        "                    failure in a row, starts again in 38 s",
    ]


@pytest.mark.parametrize(
    ("severity", "words", "left"),
    [
        ("all", "", 4),
        ("warnings", "", 2),
        ("errors", "", 1),
        ("all", "CODE", 2),
        ("all", "code probe", 1),
        ("all", "38 s", 1),
        ("errors", "chat", 0),
    ],
)
def test_events_are_filtered_by_severity_and_by_words(severity: str, words: str, left: int):
    journal = Journal(UTC)
    journal.picture(HERE, Sought(severity=severity, filter=words), room=79)
    assert (journal.shown, journal.all) == (left, 4)


def test_where_there_is_none_it_says_so():
    assert drawn(world(Machine(name=""))) == ["", "   nothing has happened yet"]
    assert drawn(filter="xyz") == ["", "   no such event; esc shows all again"]


def test_those_of_several_machines_stand_in_the_order_of_their_times():
    both = world(Machine(name="a", events=HAPPENED[1:2]), Machine(name="gpu2", events=(event(1, -60.0),)))
    assert drawn(both)[1:] == [
        " 07:58:30     1m  a     · chat/0  Ready  ready after 21 s",
        " 07:59:00     1m  gpu2  · chat/0  Ready  ready after 21 s",
    ]


def test_the_last_of_them_stand_on_the_first_screen_each_in_a_line_the_older_ones_with_their_day():
    lines = Journal(UTC).last(HERE, room=60, lines=4)
    assert ["".join(cell.text for cell in line) for line in lines] == [
        " Jan 14   · gateway  Converged  up",
        " 07:58:30 · chat/0   Ready  ready after 21 s",
        " 07:59:30 ▲ code/0   ProbeFailing  no answer",
        " 07:59:55 ✖ code/0   OutOfMemory  CUDA out of memory. Trie…",
    ]
    assert Journal(UTC).last(HERE, room=60, lines=0) == []


def test_after_midnight_those_of_the_evening_have_their_time():
    at_two = replace(HERE, wall=HAPPENED[0].at + 6 * 3600)
    (first, *_) = Journal(UTC).last(at_two, room=60, lines=4)
    assert "".join(cell.text for cell in first).startswith(" 20:53:20 · gateway")


def test_on_few_columns_there_is_room_for_the_message():
    assert drawn(room=58)[-1] == " 07:59:55 ✖ code/0   OutOfMemory  CUDA out of memory. Tr…"


def test_an_event_knows_which_workload_it_is_about():
    assert about(HERE, "/4") == "/code"
    assert about(HERE, "/1") == "/gateway"
    assert about(HERE, "/99") == ""
    assert about(HERE, "") == ""


def test_a_heading_says_what_is_shown_and_whether_it_follows():
    journal = Journal(UTC)
    journal.picture(HERE, Sought(severity="errors"), room=79)
    line = heading(journal, Sought(severity="errors"), follows=True, room=60)
    assert "".join(cell.text for cell in line) == " 1 of 4 events · errors" + " " * 26 + "● following"
    line = heading(journal, Sought(), follows=False, room=79)
    assert "".join(cell.text for cell in line).endswith("○ not following: G goes to the newest")


def test_nothing_is_wider_than_its_room_whatever_the_world():
    for name, each in worlds.all_worlds():
        for room in (59, 79, 249):
            for chosen in ("", "/3"):
                for line in Journal().picture(each, Sought(), room=room, chosen=chosen).lines:
                    assert sum(width(cell.text) for cell in line) <= room, (name, room, line)
