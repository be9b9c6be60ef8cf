"""A conversation as a picture, and the choice of a model: what stands where, and what is said of what is not."""

from dataclasses import replace

import pytest

from reconciler.model.bench import Answer
from reconciler.model.status import Condition, GatewayStatus, Reason
from tests.api.daemon import status, workload
from tests.tui import worlds
from tui.view.chat import Sheet, Turn, figures, models
from tui.view.clean import clean
from tui.view.paint import width
from tui.view.picture import Picture
from tui.view.world import Machine, Row, World

UP = GatewayStatus(listen=("http://127.0.0.1:8642",), connected=True)
WORLDS = tuple(worlds.all_worlds())
EVIL = "\x1b[2J\x1b]0;title\x07a\u202eb\tc\r\n" + "漢" * 200 + "\n\n```" + "x" * 90 + "\n\x1b[31m" + "y" * 300 + "\n```"
ASLEEP = Condition(type="Ready", status="True", reason=Reason.Asleep)
STOPPED = Condition(type="Ready", status="True", reason=Reason.StopAsked)


def lines(picture: Picture) -> list[str]:
    return ["".join(cell.text for cell in line).rstrip() for line in picture.lines]


def conversation(turns, one: Row | None, model: str, **how) -> Picture:
    return Sheet().picture(turns, one, model, **how)


def said(*turns: Turn, thoughts: bool = False) -> list[str]:
    return lines(conversation(turns, None, "chat", columns=60, thoughts=thoughts))[2:]


def row(name: str = "chat", ready: Condition | None = None) -> Row:
    made = workload(name)
    if ready is not None:
        made = replace(made, wanted=0, replicas=(), conditions=(ready, *made.conditions[1:]))
    return Row(Machine(name=""), made)


def titled(one: Row | None) -> str:
    return lines(conversation((), one, "chat", columns=100, thoughts=False))[0]


def test_a_question_stands_out_and_its_answer_is_prose():
    assert said(Turn(question="one\ntwo", answer="# Yes\n- a", ended=True)) == [
        "▌ one",
        "▌ two",
        "",
        "  Yes",
        "",
        "  • a",
        "",
    ]


def test_before_anything_was_said_it_says_what_to_do():
    assert said() == ["  Ask chat something."]


@pytest.mark.parametrize(
    ("turn", "shown"),
    [
        (Turn(question="q"), ["  ◌ waiting for its first word"]),
        (Turn(question="q", note="waiting for chat: starting"), ["  ◌ waiting for chat: starting"]),
        (Turn(question="q", note="waiting", answer="so"), ["  so", "  ◌ waiting"]),
        (Turn(question="q", note="old", answer="so", ended=True), ["  so"]),
        (Turn(question="q", error="cannot\x1b[2J chat", ended=True), ["  ✖ cannot chat"]),
        (Turn(question="q", answer="so", error="lost it", ended=True), ["  so", "  ✖ lost it"]),
        (Turn(question="q", answer="so", stopped=True, ended=True), ["  so", "", "  stopped"]),
        (Turn(question="q", answer="so", instead="small", ended=True), ["  so", "", "  small answered instead"]),
    ],
)
def test_what_an_answer_waits_for_and_what_became_of_it_stands_under_it(turn, shown):
    assert said(turn) == ["▌ q", "", *shown, ""]


def test_thoughts_are_seen_while_there_is_nothing_else_and_folded_after():
    thinking = Turn(question="q", thought="let me\nsee")
    assert said(thinking)[2:] == ["  ┊ let me", "  ┊ see", "", ""]
    answered = replace(thinking, answer="yes", ended=True)
    assert said(answered)[2:] == ["  ▸ it thought, in 3 words; ^t shows them", "", "  yes", ""]
    assert said(answered, thoughts=True)[2:] == ["  ┊ let me", "  ┊ see", "", "  yes", ""]


@pytest.mark.parametrize(
    ("measured", "told"),
    [
        (Answer(first=0.2, last=3.2, took=3.3, read=10, written=124),
         "200ms to the first token · 41 tok/s · 124 tokens · 3.3s in all"),
        (Answer(first=1.5, last=1.5, took=1.6, written=1), "1.5s to the first token · 1 token · 1.6s in all"),
        (Answer(first=1.5, last=2.0, took=2.1), "1.5s to the first token · 2.1s in all"),
        (Answer(took=2.1), ""),
    ],
)  # fmt: skip
def test_figures_are_those_that_were_measured(measured, told):
    assert figures(Turn(measured=measured, ended=True)) == told


def test_what_nobody_has_counted_yet_is_at_least_its_pieces():
    coming = Turn(question="q", answer="so", pieces=31, measured=Answer(first=0.5, last=3.5, took=3.5))
    assert figures(coming) == "500ms to the first token · ≥ 10 tok/s · 3.5s so far"
    stopped = replace(coming, stopped=True, ended=True)
    assert figures(stopped) == "stopped · 500ms to the first token · ≥ 10 tok/s · 3.5s in all"
    begun = replace(coming, pieces=9, measured=Answer(first=0.5, last=0.6, took=0.6))
    assert figures(begun) == "500ms to the first token · 600ms so far"


def test_a_sheet_shows_what_one_that_saw_nothing_before_would():
    sheet = Sheet()
    old = Turn(question="old", answer="# yes", ended=True)
    grown = "- one\n\n```python\nx = 1\n\ny = 2\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nthe end"
    new = Turn(question="new", thought="let me\n\nsee")
    steps = [(), (Turn(question="old", answer="# y"),), (old,), (old, new)]
    steps += [(old, replace(new, answer=grown[:at])) for at in range(len(grown))]
    done = replace(new, answer=grown, ended=True)
    steps += [(old, done), (old, done, old), (), (done,), (Turn(question="other", answer="no"),)]
    for number, turns in enumerate(steps):
        columns, thoughts = 60 if number % 50 else 40, number % 30 > 20
        shown = sheet.picture(turns, None, "chat", columns=columns, thoughts=thoughts)
        assert shown == Sheet().picture(turns, None, "chat", columns=columns, thoughts=thoughts), turns


def test_the_title_says_what_a_question_meets():
    assert titled(row()) == "  chat ● ready"
    assert titled(row(ready=ASLEEP)) == "  chat ○ asleep the first question wakes it"
    assert titled(row(ready=STOPPED)) == "  chat ○ stopped stopped; resume it first"
    assert titled(Row(Machine(name="gpu2"), workload("chat", ready=0, why="no room"))) == (
        "  chat on gpu2 ◐ starting no room"
    )
    away = Machine(name="", away="cannot reach it")
    assert titled(Row(away, workload("chat"))) == "  chat ● ready as it was last: its daemon is away"
    assert titled(None) == "  chat is not in the fleet"


def world(**machines: Machine) -> World:
    return World(machines=machines)


def test_models_that_answer_at_once_come_first_then_those_that_wake():
    asleep, away = row("bed", ready=ASLEEP).workload, workload("dead", ready=0, why="no gpu")
    told = status(away, asleep, workload("zed"), replace(workload("db"), kind="Service"), gateway=UP)
    picture = models(world(a=Machine(name="", status=told)), columns=100)
    assert [key for key in picture.keys if key] == ["/zed", "/bed", "/dead"]
    shown = lines(picture)
    assert shown[0] == "  Talk to which model?"
    assert "the first question wakes it" in shown[-2]
    assert "no gpu" in shown[-1]
    assert len(picture.keys) == len(shown)


def test_what_embeds_comes_last_says_so_and_cannot_be_chosen():
    told = status(replace(workload("bge"), alone="embeds"), workload("chat"), gateway=UP)
    picture = models(world(a=Machine(name="", status=told)), columns=100)
    assert [key for key in picture.keys if key] == ["/chat"]
    assert "bge" in lines(picture)[-1]
    assert "embeds, as its file says: it" in lines(picture)[-1]


def test_those_are_shown_in_which_every_word_occurs_that_is_looked_for():
    told = status(workload("chat-small"), workload("chat-large", ready=0), workload("embed"), gateway=UP)
    one = world(a=Machine(name="", status=told))
    for words, keys in (("chat", 2), ("CHAT starting", 1), ("embed", 1), ("", 3), (" ", 3)):
        assert len([key for key in models(one, columns=100, looked_for=words).keys if key]) == keys, words
    assert lines(models(one, columns=100, looked_for="x\x1b[2Jyz"))[-1] == "  nothing matches 'xyz'"


def test_of_several_machines_each_model_says_where_it_is():
    one = Machine(name="gpu1", status=status(workload("chat"), gateway=UP))
    two = Machine(name="gpu2", status=status(workload("chat"), gateway=UP))
    picture = models(world(gpu1=one, gpu2=two), columns=100)
    assert [key for key in picture.keys if key] == ["gpu1/chat", "gpu2/chat"]
    assert "gpu2" in lines(picture)[-1]


@pytest.mark.parametrize(
    ("machine", "told"),
    [
        (Machine(name="", status=status(workload("chat"))), "▲ no gateway runs; start it with `holdfast up`"),
        (
            Machine(name="", status=status(workload("chat"), gateway=GatewayStatus(listen=(), connected=False))),
            "▲ the gateway is not up; start it with `holdfast up`",
        ),
        (Machine(name="", away="cannot reach the\x1b[2J daemon"), "▲ cannot reach the daemon"),
        (Machine(name=""), "nothing was heard of any model yet"),
        (Machine(name="", status=status(gateway=UP)), "no model is in the fleet: declare one, see `fleet.d/`"),
    ],
)
def test_why_nobody_answers_is_said_before_anything_is_asked(machine, told):
    assert f"  {told}" in lines(models(world(a=machine), columns=100))


@pytest.mark.parametrize("columns", [60, 79, 249])
@pytest.mark.parametrize(("name", "one"), WORLDS, ids=[name for name, _ in WORLDS])
def test_whatever_a_fleet_tells_fits_and_does_nothing(name, one, columns):
    shown = lines(models(one, columns=columns))
    for each in one.rows():
        shown += lines(conversation((Turn(question="q"),), each, each.workload.name, columns=columns, thoughts=True))
    for text in shown:
        assert clean(text) == text, name
        assert width(text) <= columns, name


@pytest.mark.parametrize("columns", [60, 100])
def test_whatever_a_model_says_fits_and_does_nothing(columns):
    given = dict.fromkeys(("question", "thought", "answer", "note", "error", "instead"), EVIL)
    turn = Turn(**given, measured=Answer(took=1.0))
    for each in (turn, replace(turn, ended=True)):
        for text in lines(conversation((each,), None, EVIL, columns=columns, thoughts=True)):
            assert clean(text) == text
            assert width(text) <= columns
