"""Logs are walked through by pages: nothing is lost, nothing comes twice, wherever pages, lines and pieces end."""

import random
from itertools import pairwise

import pytest

from reconciler.model.answers import LogPage
from tui.view.log_find import Filter, Pattern
from tui.view.log_level import Level
from tui.view.log_line import LONGEST
from tui.view.log_walk import SCAN, Log, back, beside, forth, together_back, together_forth

ALL = Filter()
PIECE = 10_000


class Kept:
    """A log in memory, in pieces of uneven length, as the daemon serves it."""

    def __init__(self, data: bytes, *, seed: int = 0, most: int = PIECE, limit: int = 2**30) -> None:
        chance = random.Random(seed)
        self.pieces: list[tuple[int, bytes]] = []
        self.read = 0
        self.limit = limit
        number = 0
        while data:
            size = chance.randint(most // 2, most)
            self.pieces.append((number * most, data[:size]))
            data, number = data[size:], number + 1

    @property
    def end(self) -> int:
        return self.pieces[-1][0] + len(self.pieces[-1][1]) if self.pieces else 0

    def __call__(self, *, at: int | None, back: bool, size: int) -> LogPage:
        self.read += 1
        size = min(size, self.limit)
        first = self.pieces[0][0] if self.pieces else 0
        found = (self.end, b"")
        if at is None:
            at, back = self.end, True
        if back:
            found = (first, b"")
            for begin, data in reversed(self.pieces):
                if begin < at:
                    data = data[: at - begin]
                    found = (begin + max(0, len(data) - size), data[-size:])
                    break
        else:
            for begin, data in self.pieces:
                if at < begin + len(data):
                    offset = max(0, at - begin)
                    found = (begin + offset, data[offset : offset + size])
                    break
        return LogPage(run=1, newest=1, first=first, end=self.end, at=found[0], data=found[1])


def noise(seed: int, lines: int) -> bytes:
    """Lines of all lengths, some with a head, some very long, some with bytes that are no text."""
    chance = random.Random(seed)
    found: list[bytes] = []
    for number in range(lines):
        kind = chance.random()
        body = bytes(chance.choice(b"abc \xc3\xa9") for _ in range(chance.choice([0, 3, 80, 80, 400])))
        if kind < 0.3:
            body = b"INFO 11-21 12:00:%02d [a.py:1] %d " % (number % 60, number) + body
        elif kind < 0.32:
            body = body * 200
        found.append(body + b"\n")
    return b"".join(found)


def places(lines):
    return [(line.at, line.end, line.text) for line in lines]


@pytest.mark.parametrize("limit", [7, 100, 4000, 2**30])
@pytest.mark.parametrize("seed", range(4))
def test_back_and_forth_give_the_same_lines(seed, limit):
    kept = Kept(noise(seed, 200), seed=seed, limit=limit)
    log = Log(source=0, pages=kept)
    forwards, backwards = list(forth(log, 0, ALL)), list(back(log, kept.end, ALL))
    assert places(reversed(backwards)) == places(forwards)
    assert [line.level for line in reversed(backwards)] == [line.level for line in forwards]


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_lost_and_every_line_stands_where_it_says(seed):
    data = noise(seed, 200)
    kept = Kept(data, seed=seed)
    lines = list(forth(Log(source=0, pages=kept), 0, ALL))
    assert lines[0].at == 0
    assert lines[-1].end == kept.end
    for one, other in pairwise(lines):
        assert one.end == other.at or one.end // PIECE < other.at // PIECE
    raw = [line for line in data.split(b"\n")[:-1] if len(line) < LONGEST]
    assert sum(len(line.text) < LONGEST for line in lines) >= len(raw)


@pytest.mark.parametrize("number", [0, 1, 57, 199])
def test_a_walk_goes_on_from_any_line_in_both_directions(number):
    kept = Kept(noise(9, 200), seed=9)
    log = Log(source=0, pages=kept)
    lines = list(forth(log, 0, ALL))
    at = lines[number].at
    assert places(forth(log, at, ALL)) == places(lines[number:])
    assert places(reversed(list(back(log, at, ALL)))) == places(lines[:number])


@pytest.mark.parametrize("pattern", ["needle", "NEEDLE", "^need.*7$", r"a\s*needle", r"\Aneedle", "é needle", "x y"])
@pytest.mark.parametrize("limit", [97, 2**30])
def test_a_filter_gives_exactly_the_lines_that_match(pattern, limit):
    chance = random.Random(3)
    hits = [b"a needle 7", b"a NEEDLE", b"needle 17", b"\x1b[31mneed\x1b[0mle 7", "é needle".encode(), b"x\x1b[1m y"]
    lines = [chance.choice(hits) if chance.random() < 0.05 else b"hay %d" % number for number in range(1000)]
    kept = Kept(b"\n".join(lines) + b"\n", limit=limit)
    log = Log(source=0, pages=kept)
    keep = Filter(patterns=(Pattern(pattern),))
    wanted = [line for line in forth(log, 0, ALL) if keep.keeps(line)]
    assert wanted or pattern == "NEEDLE"
    assert places(forth(log, 0, keep)) == places(wanted)
    assert places(reversed(list(back(log, kept.end, keep)))) == places(wanted)


def test_only_grave_lines_are_kept_with_what_belongs_to_them():
    data = b"INFO 11-21 12:00:00 [a.py:1] fine\nERROR 11-21 12:00:01 [a.py:2] bad\nTraceback (most recent call last):\n"
    data += b'  File "a.py", line 1\nValueError: no\nINFO 11-21 12:00:02 [a.py:1] fine\n'
    kept = Kept(data, limit=11)
    keep = Filter(least=Level.ERROR)
    found = [line.text for line in forth(Log(source=0, pages=kept), 0, keep)]
    assert found[0].endswith("bad")
    assert found[-1] == "ValueError: no"
    assert len(found) == 4
    assert [line.text for line in back(Log(source=0, pages=kept), kept.end, keep)] == found[::-1]


def test_what_was_rotated_away_under_a_walk_is_said_and_the_walk_goes_on():
    kept = Kept(b"one\n" * 10_000)
    log = Log(source=0, pages=kept)
    walk = forth(log, 0, ALL)
    assert next(walk).text == "one"
    del kept.pieces[1:3]
    kept.pieces.pop(0)
    texts = [line.text for line in walk]
    [said] = [text for text in texts if text != "one"]
    assert "rotated away" in said
    assert "KiB" in said


def test_a_walk_back_ends_where_what_is_kept_begins():
    kept = Kept(b"one\n" * 100_000, most=100_000)
    walk = back(Log(source=0, pages=kept), kept.end, ALL)
    next(walk)
    del kept.pieces[:3]
    *_, last = walk
    assert last.at == kept.pieces[0][0]


def test_an_endless_line_is_read_in_pieces_and_never_held_whole():
    kept = Kept(b"\xc3\xa9" * 500_000, most=2**24)
    log = Log(source=0, pages=kept)
    backwards = list(back(log, kept.end, ALL))
    assert max(len(line.text) for line in backwards) <= LONGEST + 4
    assert "".join(line.text for line in reversed(backwards)) == "é" * 500_000


def stamped(*seconds: int, name: str = "x") -> Kept:
    return Kept(b"".join(b"INFO 11-21 12:00:%02d [a.py:1] %s\n" % (second, name.encode()) for second in seconds))


def two(one: Kept, other: Kept):
    return [Log(source=0, pages=one), Log(source=1, pages=other)], {0: one.end, 1: other.end}


def test_logs_are_put_together_by_their_times_in_both_directions():
    logs, ends = two(stamped(1, 4, 5, 9), stamped(2, 3, 6, 7))
    seconds = [line.stamp[-2:] for line in together_forth(logs, {0: 0, 1: 0}, ends, ALL)]
    assert seconds == ["01", "02", "03", "04", "05", "06", "07", "09"]
    assert [line.stamp[-2:] for line in together_back(logs, ends, ends, ALL)] == seconds[::-1]


def test_a_clock_that_was_set_back_does_not_turn_lines_of_one_log_around():
    logs, ends = two(stamped(1, 8, 3, 4), stamped(2, 5))
    for lines in (
        list(together_forth(logs, {0: 0, 1: 0}, ends, ALL)),
        list(together_back(logs, ends, ends, ALL))[::-1],
    ):
        assert [line.stamp[-2:] for line in lines if line.source == 0] == ["01", "08", "03", "04"]


def test_lines_without_times_are_put_together_by_how_far_from_the_end_they_are():
    logs, ends = two(Kept(b"a\n" * 3), Kept(b"b\n" * 5))
    assert [line.text for line in together_forth(logs, {0: 0, 1: 0}, ends, ALL)] == [
        "b",
        "b",
        "a",
        "b",
        "a",
        "b",
        "a",
        "b",
    ]


def test_beside_a_line_of_one_log_is_what_the_other_said_then():
    one, other = stamped(*range(60)), stamped(*(second for second in range(60) for _ in range(500)), name="y")
    logs, ends = two(one, other)
    line = next(line for line in forth(logs[0], 0, ALL) if line.stamp.endswith("30"))
    at = beside(logs[1], line, ends)
    after = next(forth(logs[1], at, ALL))
    assert after.text.startswith("INFO")
    assert 25 <= int(after.stamp[-2:]) <= 30


def test_a_walk_reads_no_more_than_it_is_asked_for():
    kept = Kept(b"line\n" * 10**6, most=2**24)
    walk = back(Log(source=0, pages=kept), kept.end, ALL)
    for _ in range(100):
        next(walk)
    assert kept.read == 1


def test_a_walk_can_be_ended_while_it_finds_nothing():
    class Enough(Exception):
        pass

    def watch(_read):
        watched.append(_read)
        if len(watched) == 3:
            raise Enough

    watched = []
    kept = Kept(b"line\n" * 10**6, most=2**22)
    with pytest.raises(Enough):
        next(back(Log(source=0, pages=kept, watch=watch), kept.end, Filter(patterns=(Pattern("needle"),))))
    assert sum(watched) <= 3 * SCAN
