"""What is held of logs is bounded, and what is seen stays where it is while lines come and go around it."""

import pytest

from tui.view.log_line import LogLine
from tui.view.log_sheet import Sheet


def line(number: int, text: str = "", *, source: int = 0) -> LogLine:
    return LogLine(source, number * 10, number * 10 + 10, text or f"line {number}")


def lines(first: int, end: int) -> list[LogLine]:
    return [line(number) for number in range(first, end)]


def sheet(first: int, end: int, *, height: int = 5, most: int = 1000) -> Sheet:
    found = Sheet(most=most)
    found.measure(20, height, folds=False)
    found.begin({0: first * 10}, {0: first * 10})
    found.append(lines(first, end), {0: end * 10}, last=True)
    return found


def seen(of: Sheet) -> list[str]:
    return [row.text for row in of.rows()]


def test_it_sticks_to_the_end_until_one_scrolls_up_and_again_once_one_is_back():
    one = sheet(0, 10)
    assert seen(one) == [f"line {n}" for n in range(5, 10)]
    one.scroll(-1)
    assert not one.sticky
    one.append(lines(10, 12), {0: 120}, last=True)
    assert seen(one) == [f"line {n}" for n in range(4, 9)], "what is read does not move"
    one.scroll(3)
    assert one.sticky
    one.append(lines(12, 13), {0: 130}, last=True)
    assert seen(one)[-1] == "line 12"


@pytest.mark.parametrize(("more", "sticks"), [(0, True), (3, False)])
def test_it_sticks_to_an_end_that_was_reached_before_it_was_known_to_be_one(more, sticks):
    one = sheet(0, 10)
    one.scroll(-3)
    one.last = False
    one.scroll(3)
    assert not one.sticky
    one.append(lines(10, 10 + more), {0: 100 + more * 10}, last=True)
    assert one.sticky is sticks
    assert seen(one)[-1] == "line 9"


def test_what_comes_before_does_not_move_what_is_seen():
    one = sheet(100, 110)
    one.scroll(-5)
    before = seen(one)
    one.prepend(lines(50, 100), {0: 500}, first=False)
    assert seen(one) == before
    one.scroll(-1)
    assert seen(one)[0] == "line 99"


def test_what_was_to_be_seen_before_it_was_there_is_seen_once_it_is():
    one = sheet(100, 110)
    one.scroll(-12)
    assert seen(one)[0] == "line 100"
    one.prepend(lines(96, 100), {0: 960}, first=False)
    assert seen(one)[0] == "line 96"
    one.prepend(lines(50, 96), {0: 500}, first=False)
    assert seen(one)[0] == "line 93", "105 - 12"
    one.prepend(lines(40, 50), {0: 400}, first=False)
    assert seen(one)[0] == "line 93"


def test_what_is_held_is_bounded_and_knows_where_to_go_on():
    one = sheet(0, 100, most=40)
    assert (len(one.lines), one.lo, one.first) == (40, {0: 600}, False)
    one.to_first()
    one.prepend(lines(30, 60), {0: 300}, first=False)
    assert (len(one.lines), one.lo, one.hi, one.last) == (40, {0: 300}, {0: 700}, False)
    assert seen(one)[0] == "line 60"


def test_a_line_without_an_end_is_replaced_by_what_it_becomes():
    one = sheet(0, 3)
    one.append([LogLine(0, 30, 34, "load")], {0: 30}, last=True)
    one.append([line(7, source=1)], {1: 80}, last=True)
    one.append([LogLine(0, 30, 37, "loaded"), line(4)], {0: 50}, last=True)
    assert [each.text for each in one.lines[3:]] == ["loaded", "line 7", "line 4"]


def test_a_line_grows_however_much_others_have_said_meanwhile():
    one = sheet(0, 3)
    one.append([LogLine(0, 30, 34, "load")], {0: 30}, last=True)
    one.append([line(number, source=1) for number in range(50)], {1: 500}, last=True)
    one.append([LogLine(0, 30, 37, "loaded")], {0: 37}, last=True)
    assert [each.text for each in one.lines if each.source == 0][3:] == ["loaded"]


def test_what_was_said_earlier_stands_earlier_though_it_was_read_later():
    def said(source: int, *seconds: int) -> list[LogLine]:
        return [LogLine(source, at, at + 1, f"{source} {at}", stamp=f"11211200{at:02}") for at in seconds]

    one = sheet(0, 1)
    one.append(said(0, 10, 12, 14), {0: 15}, last=True)
    one.append([LogLine(2, 0, 1, "no time")], {2: 1}, last=True)
    one.append(said(1, 11, 12, 13, 15), {1: 16}, last=True)
    one.append([LogLine(1, 16, 17, "no time")], {1: 17}, last=True)
    assert [each.text for each in one.lines[1:]] == [
        *("0 10", "0 12", "0 14", "no time", "1 11", "1 12", "1 13", "1 15", "no time"),
    ]  # what has no time stays where it came, and nothing goes past it
    other = sheet(0, 0)
    other.append(said(0, 10, 12, 14), {0: 15}, last=True)
    other.append(said(1, 11, 12, 13, 15), {1: 16}, last=True)
    assert [each.text for each in other.lines] == ["0 10", "1 11", "0 12", "1 12", "1 13", "0 14", "1 15"]
    assert other.places(4) == {0: 13, 1: 13}


def test_it_asks_for_more_on_the_side_that_is_near():
    one = sheet(100, 200)
    assert not one.wants_earlier
    one.scroll(-90)
    assert (one.wants_earlier, one.wants_later) == (True, False)
    one.last = False
    one.scroll(85)
    assert (one.wants_earlier, one.wants_later) == (False, True)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("x" * 50, ["x" * 20, "x" * 20, "x" * 10]),
        ("漢" * 15, ["漢" * 10, "漢" * 5]),
        ("", [""]),
        ("a" * 20, ["a" * 20]),
        ("é" * 21, ["é" * 20, "é"]),
    ],
)
def test_a_long_line_is_folded_where_wanted(text, rows):
    one = sheet(0, 0)
    one.measure(20, 5, folds=True)
    one.append([LogLine(0, 0, 1, text)], {0: 1}, last=True)
    assert seen(one) == rows
    assert [row.line.text[row.begin : row.begin + len(row.text)] for row in one.rows()] == rows


def test_folded_lines_are_scrolled_row_by_row():
    one = sheet(0, 0, height=2)
    one.measure(20, 2, folds=True)
    one.append([LogLine(0, 0, 1, "a" * 45), LogLine(0, 1, 2, "b" * 25)], {0: 2}, last=True)
    walked = [seen(one)]
    for _ in range(3):
        one.scroll(-1)
        walked.append(seen(one))
    assert [rows[0][0] + str(len(rows[0])) for rows in walked] == ["b20", "a5", "a20", "a20"]
    one.scroll(99)
    assert seen(one) == walked[0]
    assert one.sticky


@pytest.mark.parametrize("by", [1, -1, 7, -7, 10**6, -(10**6)])
@pytest.mark.parametrize("folds", [False, True])
def test_scrolling_never_leaves_the_lines(by, folds):
    one = sheet(0, 30)
    one.measure(4, 5, folds=folds)
    for _ in range(50):
        one.scroll(by)
        assert len(seen(one)) == 5
    empty = Sheet()
    empty.scroll(by)
    assert seen(empty) == []


def test_a_line_that_was_found_is_shown_with_some_before_it():
    one = sheet(0, 100)
    assert one.show(0, 500)
    assert "line 50" in seen(one)
    assert seen(one)[0] != "line 50"
    assert not one.sticky
    assert not one.show(0, 505)
    assert not one.show(1, 500)


def test_lines_before_what_was_passed_by_are_let_go_so_that_it_can_be_read():
    one = sheet(0, 10, height=3)
    one.append([LogLine(0, 500, 500, "a gap", note=True), *lines(50, 60)], {0: 600}, last=True)
    one.scroll(-1)
    one.cut_gaps()
    assert (one.lines[0].text, one.lo, one.first) == ("line 50", {0: 500}, False)
    assert seen(one) == ["line 56", "line 57", "line 58"]


def test_where_a_walk_goes_on_from_a_line():
    one = sheet(0, 3)
    one.append([line(7, source=1), line(3)], {0: 40, 1: 80}, last=True)
    assert one.places(0) == {0: 0}
    assert one.places(2) == {0: 20}
    assert one.places(4) == {0: 30, 1: 80}


def test_the_view_is_shifted_no_further_than_there_is_text():
    one = sheet(0, 0)
    one.append([LogLine(0, 0, 1, "x" * 100)], {0: 1}, last=True)
    for _ in range(20):
        one.shift(16)
    assert 80 <= one.left < 100
    for _ in range(20):
        one.shift(-16)
    assert one.left == 0
