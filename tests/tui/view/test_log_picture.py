"""Rows of logs as they are drawn: whose, how grave, what was found; and the lines that say how the looking goes."""

import random
from dataclasses import replace

import pytest

from reconciler.model.answers import Run
from tests.tui.spoiled import NASTY
from tui.view.log_find import Pattern
from tui.view.log_level import Level
from tui.view.log_line import Cutter, LogLine
from tui.view.log_picture import Look, Looking, log_picture, log_status, log_title
from tui.view.log_runs import log_runs
from tui.view.log_sheet import Sheet
from tui.view.paint import width
from tui.view.picture import printed


def drawn(data: bytes, look: Look, *, folds: bool = False, height: int = 50):
    sheet = Sheet()
    sheet.measure(look.width - look.gutter, height, folds=folds)
    sheet.append(Cutter(0, 0).feed(data, 0), {0: len(data)}, last=True)
    return log_picture(sheet.rows(), look).lines


def styles(line) -> list[tuple[str, str]]:
    return [(cell.text, cell.style) for cell in line if cell.text.strip()]


ROWS = {
    "a head is dim": (
        b"INFO 11-21 12:00:00 [a.py:1] ready\n",
        [("INFO 11-21 12:00:00 [a.py:1]", "dim"), (" ready", "")],
    ),
    "an error has a bar, and its head a colour": (
        b"ERROR 11-21 12:00:00 [a.py:1] no\n",
        [("┃ ", "bad"), ("ERROR 11-21 12:00:00 [a.py:1]", "bad"), (" no", "")],
    ),
    "a warning has another bar": (b"WARNING:root:hm\n", [("╎ ", "busy"), ("WARNING:", "busy"), ("root:hm", "")]),
    "an error without a head has a colour": (b"error: no\n", [("┃ ", "bad"), ("error: no", "bad")]),
    "what debugs is dim": (b"DEBUG:a:b\n", [("DEBUG:", "dim"), ("a:b", "dim")]),
    "what the keeper dropped is seen": (b"[holdfast: 3 lines dropped]\n", [("[holdfast: 3 lines dropped]", "busy")]),
    "plain text is plain": (b"srv  load_model: x\n", [("srv  load_model: x", "")]),
}


@pytest.mark.parametrize(("data", "expected"), ROWS.values(), ids=ROWS)
def test_a_row_says_how_grave_it_is_by_shape_and_colour(data, expected):
    [line] = drawn(data, Look(width=80))
    assert styles(line) == expected


def test_hits_are_marked_within_heads_and_texts_and_the_one_that_was_found_differs():
    look = Look(width=80, pattern=Pattern("err|a.py"))
    data = b"ERROR 11-21 12:00:00 [a.py:1] an err\n"
    [line] = drawn(data, look)
    hits = [("ERR", "hit"), ("a.py", "hit"), ("err", "hit")]
    assert [cell for cell in styles(line) if cell[1] == "hit"] == hits
    [line] = drawn(data, replace(look, found=(0, 0)))
    assert [cell for cell in styles(line) if cell[1] == "found"] == [(text, "found") for text, _ in hits]


def test_a_hit_that_is_folded_is_marked_in_both_rows():
    rows = drawn(b"x" * 18 + b"needle\n", Look(width=23, pattern=Pattern("needle")), folds=True)
    assert [[text for text, style in styles(row) if style == "hit"] for row in rows] == [["ne"], ["edle"]]


def test_each_line_says_which_instance_wrote_it():
    look = Look(width=40, indices=(0, 11))
    sheet = Sheet()
    sheet.append([LogLine(1, 0, 1, "one"), LogLine(0, 0, 1, "other")], {}, last=True)
    lines = log_picture(sheet.rows(), look).lines
    assert [printed(line, colour=False).rstrip() for line in lines] == [" 11   one", "  0   other"]
    assert [line[0].style for line in lines] == ["hue1", "hue0"]


@pytest.mark.parametrize("left", [0, 1, 15, 16, 1000])
@pytest.mark.parametrize("text", ["plain " * 30, "漢字" * 60, "é" * 100, "", "x", *NASTY])
@pytest.mark.parametrize("folds", [False, True])
def test_no_row_is_wider_than_the_screen_and_none_has_what_a_terminal_acts_on(text, left, folds):
    data = text.encode("utf-8", "surrogatepass") + b"\nINFO 11-21 12:00:00 [a.py:1] after\n"
    for line in drawn(data, Look(width=41, left=left, indices=(0, 1), pattern=Pattern("a|1")), folds=folds):
        shown = printed(line, colour=False)
        assert width(shown) <= 41
        assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in shown)


GONE = "no more below; N searches up"
LOOKING = Looking(what="chat/0", runs="run 3", size=3 * 2**20, place=0.731)
STATUS = {
    "it follows": (Looking(what="x", runs="", follows=True, place=1.0), " ● following", "100 %"),
    "it is paused": (LOOKING, " ‖ paused: G follows", " 73 %"),
    "it has ended": (replace(LOOKING, ended=True, place=1.0), " ■ the end", "100 %"),
    "it has ended and wrote nothing": (replace(LOOKING, ended=True, place=None), " ■ the end", "the end"),
    "a search is under way": (replace(LOOKING, search="err", read=2**30), " ‖ paused", "/err  ◌ 1.0 GiB read   73 %"),
    "something was found": (replace(LOOKING, search="err"), " ‖ paused", "/err  n down  N up   73 %"),
    "nothing was found": (replace(LOOKING, search="err", told=GONE), " ‖", "N searches up   73 %"),
    "much was passed by": (replace(LOOKING, follows=True, skipped=2**20), " ● following", "1.0 MiB passed by   73 %"),
}  # fmt: skip


@pytest.mark.parametrize(("of", "left", "right"), STATUS.values(), ids=STATUS)
@pytest.mark.parametrize("columns", [80, 120])
def test_a_line_says_how_the_looking_goes(of, left, right, columns):
    text = printed(log_status(of, width=columns), colour=False)
    assert text.startswith(left)
    assert text.endswith(right)
    assert width(text) == columns - 1 or of.place is None, "a space is left at the right"


def test_what_is_wrong_gives_way_to_the_state():
    text = printed(log_status(replace(LOOKING, told="x" * 300, failed=True), width=60), colour=False)
    assert width(text) == 59
    assert text.startswith(" ‖ paused: G follows")


def test_the_title_says_whose_it_is_and_what_is_left_out():
    one = replace(LOOKING, what="chat", indices=(0, 1), filter="err", least=Level.WARNING, count=1234)
    text = printed(log_title(one, width=100), colour=False)
    assert text.startswith(" chat  run 3  instances 0 1   3.0 MiB")
    assert text.endswith("warnings and up  only err  1,234 lines or more")
    assert width(text) == 99
    assert "or more" not in printed(log_title(replace(one, all_held=True), width=100), colour=False)
    assert width(printed(log_title(one, width=40), colour=False)) <= 60


RUN = Run(slot="chat/0", run=3, began=1000.0, ended=None, outcome="runs", first_failure=False, size=2**20)
RUNS = (
    RUN,
    replace(RUN, run=2, began=500.0, ended=990.0, outcome="exited with status 1 (out of memory)", first_failure=True),
    replace(RUN, run=1, began=None, size=0, outcome="was stopped: SpecChanged"),
)


def test_the_title_says_how_a_run_ended_and_that_it_was_the_first_to_fail():
    def said(run):
        return printed(log_title(replace(LOOKING, run=run), width=100), colour=False).rstrip()

    assert said(RUN) == said(None) == " chat/0  run 3  3.0 MiB"
    assert said(RUNS[1]).endswith("3.0 MiB  ✖ first failure: exited with status 1 (out of memory)")
    assert said(RUNS[2]).endswith("3.0 MiB"), "when it ended is not known, nor if"
    assert said(replace(RUNS[1], first_failure=False)).endswith("3.0 MiB  exited with status 1 (out of memory)")
    assert "\x1b" not in said(replace(RUNS[1], outcome="\x1b[2J" * 50))


def test_runs_are_listed_with_how_they_ended_and_the_first_failure_is_marked():
    picture = log_runs(RUNS, now=1060.0, clock=lambda at: f"at {at:.0f}", width=96)
    assert picture.keys == ("newest", "", "chat/0 3", "chat/0 2", "chat/0 1")
    assert [printed(line, colour=False).rstrip() for line in picture.lines] == [
        "●  whichever run is the newest, after a restart too",
        "   INSTANCE  RUN  BEGAN    FOR     SIZE  HOW IT ENDED",
        "●  chat/0      3  at 1000   1m  1.0 MiB  runs",
        "✖  chat/0      2  at 500    8m  1.0 MiB  first failure: exited with status 1 (out of memory)",
        "   chat/0      1                      -  was stopped: SpecChanged",
    ]


@pytest.mark.parametrize("columns", [40, 60, 76, 110])
def test_the_list_of_runs_fits(columns):
    dice = random.Random(columns)
    runs = [replace(RUN, slot=dice.choice(NASTY), outcome=dice.choice(NASTY), size=10**30) for _ in range(20)]
    for line in log_runs(runs, now=1e300, clock=lambda _: "11-21 12:00:00", width=columns).lines[1:]:
        assert width(printed(line, colour=False)) <= columns
