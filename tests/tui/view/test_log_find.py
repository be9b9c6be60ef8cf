"""What is typed is looked for in lines as they are shown, and quickly in many of them: no pattern is slow."""

import random

import pytest

from tui.view.log_find import Filter, Pattern
from tui.view.log_level import Level
from tui.view.log_line import LONGEST, Cutter


def lines(data: bytes):
    cutter = Cutter(0, 0)
    found = cutter.feed(data, 0)
    rest = cutter.unfinished()
    return [*found, rest] if rest else found


@pytest.mark.parametrize(
    ("pattern", "text", "spans"),
    [
        ("err", "An ERROR, an error", [(3, 6), (13, 16)]),
        ("Err", "err Err", [(4, 7)]),
        ("a.c", "abc a.c", [(0, 3), (4, 7)]),
        ("x*", "abc", []),
        ("^a", "aa", [(0, 1)]),
        (r"\S+", "ÄB cd", [(0, 2), (3, 5)]),
        (r"é\Sx", "aÉUX", [(1, 4)]),
        ("🦙", "漢🦙 🦙", [(1, 2), (3, 4)]),
        ("a|^b|c$", "bac", [(0, 1), (1, 2), (2, 3)]),
        ("\ud800", "a", []),
    ],
)
def test_where_a_pattern_is_in_a_line(pattern, text, spans):
    assert Pattern(pattern).spans(text) == spans


@pytest.mark.parametrize("text", ["(", "[a", "*", "a{2,1}", "(?=a)b", r"(a)\1", "\\", "x" * 10**6 + "{1000}"])
def test_what_is_no_regular_expression_is_refused_in_words(text):
    with pytest.raises(ValueError, match="no regular expression: "):
        Pattern(text)


def test_an_empty_filter_keeps_all_and_says_that_it_is_empty():
    [line] = lines(b"DEBUG:a:b\n")
    assert Filter().keeps(line)
    assert not Filter()
    assert Filter(least=Level.INFO)
    assert not Filter(least=Level.INFO).keeps(line)


TOLD = [
    (b"need\x00le\n", "needle"),
    (b"need\x7f\x08le\n", "needle"),
    (b"need\x1b[1mle\n", "needle"),
    (b"need\x1b]52;c;eA==\x07le\n", "needle"),
    ("need\u200ble\n".encode(), "needle"),
    ("need\x9b31mle\n".encode(), "needle"),
    (b"need\xffle\n", "need.le"),
    (b"need\xffle\n", "need\ufffdle"),
    (b"10%\r 50%\r100% needle\n", "^100%"),
    (b"\tneedle\n", "^    needle$"),
    (b"hay\n" + b"x" * LONGEST + b"needle\n", "^needle"),
    (b"x" * LONGEST * 3, "^x{8}"),
    (b"hay\nneedle\nhay\n", r"\Aneedle\z"),
    (b"hay\nneedle\nhay\n", "(?-m)^needle$"),
    (b"hay\nNeedle\nhay\n", "^needle$"),
    ("hay\nÉ needle\n".encode(), "é needle"),
]


@pytest.mark.parametrize(("data", "pattern"), TOLD)
def test_what_is_in_a_line_as_it_is_shown_is_never_missed_in_many(data, pattern):
    one = Pattern(pattern)
    assert any(one.matches(line.text) for line in lines(data))
    assert one.may_match(data)


PIECES = [
    b"a",
    b"b",
    b" ",
    b"\n",
    b"\r",
    b"\t",
    b"\0",
    b"\x1b[1m",
    b"\x1b",
    b"[",
    b"\xff",
    b"\x08",
    "é\u200b\x9b".encode(),
]


@pytest.mark.parametrize("pattern", ["ab", "^a", "b$", "a.b", r"\ba", "[^b]a", "a *b", "é", "\ufffd", "[^a]"])
def test_whatever_is_written_nothing_that_matches_is_missed(pattern):
    chance, one, found = random.Random(pattern), Pattern(pattern), 0
    for _ in range(500):
        data = b"".join(chance.choices(PIECES, k=chance.randint(1, 12)))
        if any(one.matches(line.text) for line in lines(data)):
            assert one.may_match(data), data
            found += 1
    assert found


@pytest.mark.parametrize("pattern", ["needle", "no.*needle", "(hay )+needle", "^needle$"])
def test_where_it_is_in_no_line_that_is_seen_at_once(pattern):
    assert not Pattern(pattern).may_match("hay hay 漢字\n".encode() * 1000)


SLOW = ["(a+)+$", "(a|a)*b", "(a*)*(a*)*b", "(.*)(.*)(.*)(.*)(.*)x", "a?" * 40 + "a" * 40 + "b"]


@pytest.mark.parametrize("pattern", SLOW)
def test_no_pattern_takes_for_ever(pattern):
    one, text = Pattern(pattern), "a" * LONGEST + "!"
    assert not one.matches(text)
    assert one.spans(text) == []
    assert not one.may_match(("\n".join([text[5000:]] * 50)).encode())
