"""Logs are read in threads: opened at their end, walked, searched, followed through floods, rotations and new runs."""

import threading
from functools import partial

import pytest

from reconciler.model.answers import LogPage
from reconciler.model.errors import ApiError
from tests.eventually import eventually
from tui.source import RUN, Source
from tui.tail import BEHIND, FIRST, Tail
from tui.view.log_find import Filter, Pattern
from tui.view.log_news import Earlier, Failed, Found, Later, Looked, Opened, Size

ALL = Filter()


class Kept:
    """The runs of one slot, as the daemon serves them."""

    def __init__(self, **runs: bytes) -> None:
        self.runs = {int(name[1:]): data for name, data in runs.items()}
        self.first = 0
        self.fails = ""
        self.asked = 0
        self.turn = threading.Condition()

    def write(self, data: bytes, run: int = 1) -> None:
        with self.turn:
            self.runs[run] = self.runs.get(run, b"") + data
            self.turn.notify_all()

    def __call__(self, run, *, at=None, back=False, size=65536, wait=0) -> LogPage:
        with self.turn:
            self.asked += 1
            if self.fails:
                raise ApiError(self.fails)
            run = run or max(self.runs, default=0)
            if at is not None and not back:
                self.turn.wait_for(
                    lambda: len(self.runs.get(run, b"")) != at or max(self.runs, default=0) > run, min(wait, 0.2)
                )
            if not self.runs:
                raise ApiError("cannot show a log of chat/0: there is none yet", status=404)
            if run not in self.runs:
                raise ApiError(f"cannot show run {run} of chat/0: choose one of {max(self.runs)}", status=404)
            data, newest = self.runs[run], max(self.runs)
        back = back or at is None
        end = len(data) if at is None else min(at, len(data))
        begin, stop = (
            (max(self.first, end - size), end) if back else (max(self.first, end), max(self.first, end) + size)
        )
        return LogPage(run=run, newest=newest, first=self.first, end=len(data), at=begin, data=data[begin:stop])


class Reader:
    """Somebody who looks at logs, and has a list of what came."""

    def __init__(self, *sources: Source) -> None:
        self.came = []
        self.woken = threading.Event()
        # an hour: on a slow machine too, nothing is told before all of it is found
        self.tail = Tail(sources, lambda _asked: self.woken.set(), soon=3600.0)

    def until(self, kind, test=lambda _news: True):
        """The first that is so; all before it is taken too."""

        def look():
            self.came += self.tail.take()
            return next((news for news in self.came if isinstance(news, kind) and test(news)), None)

        found = eventually(look, what=f"{kind}, not {self.came[-3:]}")
        self.came = self.came[self.came.index(found) + 1 :]
        return found


@pytest.fixture
def reading():
    readers = []

    def read(*sources):
        readers.append(Reader(*sources))
        return readers[-1]

    yield read
    for reader in readers:
        reader.tail.close()


def texts(news) -> list[str]:
    return [line.text for line in news.lines]


def numbered(count: int, first: int = 0) -> bytes:
    return b"".join(b"line %d\n" % number for number in range(first, first + count))


def test_a_log_is_opened_at_its_end_with_few_bytes_read(reading):
    kept = Kept(r3=numbered(1_000_000))
    reader = reading(Source(reader=kept))
    reader.tail.open(ALL, 50)
    opened = reader.until(Opened)
    assert opened.end
    assert texts(reader.until(Earlier)) == [f"line {n}" for n in range(999_950, 1_000_000)]
    assert reader.until(Looked).read <= FIRST
    assert kept.asked == 1
    assert opened.hi == {0: 3 * RUN + len(kept.runs[3])}


def test_who_asked_is_woken_once_there_is_something_to_see_and_who_follows_without_haste():
    kept, woken = Kept(r1=b"one\n"), []
    tail = Tail((Source(reader=kept),), woken.append)
    tail.open(ALL, 50)
    eventually(lambda: len(woken) == 2, what="lines, and that it is done")
    assert [type(news) for news in tail.take()] == [Size, Opened, Earlier, Looked]
    assert woken == [True, True]
    tail.follow(ALL, {0: RUN + 4})
    kept.write(b"two\n")
    eventually(lambda: len(woken) > 2)
    tail.close()
    assert not any(woken[2:])


def test_lines_before_and_after_come_when_they_are_asked_for(reading):
    kept = Kept(r1=numbered(5000))
    reader = reading(Source(reader=kept))
    at = {0: RUN + kept.runs[1].index(b"line 3000\n")}
    reader.tail.open_at(ALL, 10, at, None)
    assert not reader.until(Opened).end
    later = reader.until(Later)
    assert texts(later) == [f"line {n}" for n in range(3000, 3010)]
    earlier = reader.until(Earlier)
    assert texts(earlier) == [f"line {n}" for n in range(2990, 3000)]
    reader.until(Looked)
    reader.tail.earlier(ALL, 5, earlier.lo, later.hi)
    assert texts(reader.until(Earlier)) == [f"line {n}" for n in range(2985, 2990)]
    reader.tail.later(ALL, 10_000, later.hi)
    last = reader.until(Later)
    assert (len(last.lines), last.last, last.hi) == (1990, True, {0: RUN + len(kept.runs[1])})


def test_what_is_written_comes_by_itself_and_a_line_without_an_end_grows(reading):
    kept = Kept(r1=b"one\n")
    reader = reading(Source(reader=kept))
    reader.tail.follow(ALL, {0: RUN})
    assert texts(reader.until(Later)) == ["one"]
    kept.write(b"load")
    first = reader.until(Later)
    assert (texts(first), first.hi) == (["load"], {0: RUN + 4})
    kept.write(b"ed\ntwo\n")
    assert texts(reader.until(Later, lambda news: len(news.lines) == 2)) == ["loaded", "two"]


def test_a_flood_is_passed_by_and_said(reading):
    kept = Kept(r1=b"one\n")
    reader = reading(Source(reader=kept))
    reader.tail.follow(ALL, {0: RUN})
    reader.until(Later)
    kept.write(numbered(1_000_000))
    flooded = reader.until(Later, lambda news: news.skipped)
    assert flooded.lines[0].note
    assert "passed by" in flooded.lines[0].text
    assert flooded.lines[-1].text == "line 999999"
    assert flooded.skipped + sum(len(line.text) + 1 for line in flooded.lines[1:]) == len(kept.runs[1]) - 4
    assert len(flooded.lines) < BEHIND


def test_with_a_filter_only_what_matches_comes(reading):
    kept = Kept(r1=b"")
    reader = reading(Source(reader=kept))
    reader.tail.follow(Filter(patterns=(Pattern("7$"),)), {0: RUN})
    kept.write(numbered(40))
    assert texts(reader.until(Later, lambda news: news.lines)) == ["line 7", "line 17", "line 27", "line 37"]


def test_a_run_that_follows_is_followed_where_the_newest_is_looked_at(reading):
    kept = Kept(r1=b"error: no\n")
    reader = reading(Source(reader=kept))
    reader.tail.follow(ALL, {0: RUN})
    reader.until(Later)
    kept.write(b"again\n", run=2)
    assert texts(reader.until(Later, lambda news: news.lines)) == ["run 2 began"]
    again = reader.until(Later, lambda news: news.lines)
    assert (texts(again), again.lines[0].at) == (["again"], 2 * RUN)


def test_a_run_that_was_chosen_ends_where_it_does(reading):
    kept = Kept(r1=b"error: no\n", r2=b"again\n")
    reader = reading(Source(reader=kept, run=1))
    reader.tail.follow(ALL, {0: RUN})
    assert reader.until(Size, lambda news: news.ended).end == RUN + 10


def test_what_was_rotated_away_while_it_was_followed_is_said(reading):
    kept = Kept(r1=numbered(10))
    reader = reading(Source(reader=kept))
    reader.tail.follow(ALL, {0: RUN})
    reader.until(Later)
    with kept.turn:
        kept.first = 1000
        kept.runs[1] = bytes(1000) + b"the end of a line\nnew\n"
        kept.turn.notify_all()
    said = reader.until(Later, lambda news: news.lines)
    assert texts(said)[1:] == ["new"]
    assert "passed by" in texts(said)[0]


def test_a_log_that_was_cut_short_is_said_and_followed_from_its_beginning(reading):
    kept = Kept(r1=numbered(10))
    reader = reading(Source(reader=kept))
    reader.tail.follow(ALL, {0: RUN})
    reader.until(Later)
    with kept.turn:
        kept.runs[1] = b"anew\n"
        kept.turn.notify_all()
    said = reader.until(Later, lambda news: news.lines)
    assert (texts(said), said.lines[0].note) == (["the log was cut short"], True)
    assert texts(reader.until(Later, lambda news: news.lines)) == ["anew"]
    kept.write(b"more\n")
    assert texts(reader.until(Later, lambda news: news.lines)) == ["more"]


def test_where_the_run_is_not_kept_any_more_the_newest_is_followed(reading):
    kept = Kept(r1=numbered(10))
    reader = reading(Source(reader=kept))
    reader.tail.follow(ALL, {0: RUN})
    reader.until(Later)
    with kept.turn:
        kept.runs = {7: b"seven\n"}
        kept.turn.notify_all()
    said = reader.until(Later, lambda news: news.lines)
    assert texts(said) == ["what came before is gone; run 7 is there"]
    assert texts(reader.until(Later, lambda news: news.lines)) == ["seven"]


def test_where_all_is_gone_that_is_said_and_what_is_written_then_is_followed(reading):
    kept = Kept(r1=numbered(10))
    reader = reading(Source(reader=kept))
    reader.tail.follow(ALL, {0: RUN})
    reader.until(Later)
    with kept.turn:
        kept.runs = {}
        kept.turn.notify_all()
    assert "there is none" in reader.until(Failed).why
    kept.write(b"two\n", run=2)
    assert texts(reader.until(Later, lambda news: news.lines))[-1] == "what came before is gone; run 2 is there"
    assert texts(reader.until(Later, lambda news: news.lines)) == ["two"]


def test_a_run_that_was_chosen_and_is_gone_is_said(reading):
    kept = Kept(r1=numbered(10))
    reader = reading(Source(reader=kept, run=1))
    reader.tail.follow(ALL, {0: RUN})
    reader.until(Later)
    with kept.turn:
        kept.runs = {2: b"two\n"}
        kept.turn.notify_all()
    assert "cannot show run 1" in reader.until(Failed).why


def test_a_search_goes_through_all_of_it_in_either_direction_and_tells_how_far_it_is(reading):
    kept = Kept(r1=b"needle\n" + numbered(1_000_000) + b"needle\n" + numbered(10))
    reader = reading(Source(reader=kept))
    keep = Filter(patterns=(Pattern("needle"),))
    end = {0: RUN + len(kept.runs[1])}
    reader.tail.find(keep, end, back=True)
    found = reader.until(Found).line
    assert found.at > RUN
    reader.tail.find(keep, {0: found.at}, back=True)
    other = reader.until(Found).line
    assert other.at == RUN
    reader.tail.find(keep, {0: other.at}, back=True)
    assert reader.until(Found).line is None
    reader.tail.find(keep, {0: other.end}, back=False)
    assert reader.until(Found).line == found
    assert reader.until(Looked).read > 2**20


def test_a_search_that_was_stopped_tells_nothing_more_and_reads_nothing_more(reading):
    kept = Kept(r1=numbered(3_000_000))
    reader = reading(Source(reader=kept))
    reader.tail.find(Filter(patterns=(Pattern("needle"),)), {0: RUN}, back=False)
    eventually(lambda: kept.asked > 2)
    reader.tail.stop()
    assert not reader.tail.busy
    eventually(lambda: not any(thread.name == "log" for thread in threading.enumerate()))
    assert kept.asked < 30
    assert reader.tail.take() == []


def test_hits_that_are_far_between_are_told_as_they_are_found(reading):
    gate = threading.Event()
    kept = Kept(r1=b"needle\n" + numbered(300_000) + b"needle\n")

    def slowly(run, **more):
        if kept.asked == 3:
            gate.wait(20)  # until the last was told
        return kept(run, **more)

    reader = reading(Source(reader=slowly))
    reader.tail = Tail((Source(reader=slowly),), lambda _asked: reader.woken.set(), soon=0.0)
    end = {0: RUN + len(kept.runs[1])}
    reader.tail.earlier(Filter(patterns=(Pattern("needle"),)), 100, end, end)
    assert len(reader.until(Earlier).lines) == 1
    gate.set()
    first = reader.until(Earlier, lambda news: news.lines)
    assert first.lines[0].at == RUN


def test_logs_of_several_instances_are_opened_together_by_their_times(reading):
    def stamped(*seconds):
        return b"".join(b"INFO 11-21 12:00:%02d [a.py:1] x\n" % second for second in seconds)

    one, other = Kept(r1=stamped(1, 3, 5)), Kept(r7=stamped(2, 4, 6))
    reader = reading(Source(reader=one), Source(reader=other))
    reader.tail.open(ALL, 4)
    earlier = reader.until(Earlier)
    assert [(line.source, line.stamp[-1]) for line in earlier.lines] == [(0, "3"), (1, "4"), (0, "5"), (1, "6")]
    reader.until(Looked)
    reader.tail.follow(ALL, {0: RUN + len(one.runs[1]), 1: 7 * RUN + len(other.runs[7])})
    other.write(stamped(9), run=7)
    one.write(stamped(8))
    came = {reader.until(Later, lambda news: news.lines).lines[0].stamp[-1] for _ in range(2)}
    assert came == {"8", "9"}


def test_one_that_has_no_log_yet_does_not_keep_from_reading_the_others(reading):
    one, other = Kept(r1=b"one\n"), Kept()
    reader = reading(Source(reader=one), Source(reader=other))
    reader.tail.open(ALL, 4)
    assert texts(reader.until(Earlier)) == ["one"]
    reader.tail.follow(ALL, {0: RUN + 4})
    assert "none yet" in reader.until(Failed).why
    other.write(b"other\n")
    assert texts(reader.until(Later, lambda news: news.lines)) == ["other"]


def test_a_daemon_that_went_away_is_said_once_and_found_again(reading):
    kept = Kept(r1=b"one\n")
    reader = reading(Source(reader=kept))
    reader.tail.follow(ALL, {0: RUN})
    reader.until(Later)
    kept.fails = "lost the daemon at /s: if it is gone, start it with `holdfast up`"
    assert "lost the daemon" in reader.until(Failed).why
    before = kept.asked
    eventually(lambda: kept.asked > before)
    kept.fails = ""
    kept.write(b"two\n")
    assert not any(isinstance(news, Failed) for news in reader.came)
    assert texts(reader.until(Later, lambda news: news.lines)) == ["two"]


def test_what_could_not_be_read_is_under_way_for_a_while_so_that_it_is_not_asked_for_all_the_time(reading):
    kept = Kept(r1=numbered(100))
    kept.fails = "cannot read it"
    reader = reading()
    reader.tail = Tail((Source(reader=kept),), lambda _asked: None, again=3600.0)
    for ask in (partial(reader.tail.open, ALL, 10), partial(reader.tail.earlier, ALL, 10, {0: RUN + 9}, {0: RUN + 9})):
        ask()
        assert reader.until(Failed).why == "cannot read it"
        assert reader.tail.busy
    assert kept.asked == 2
    reader.tail.stop()
    assert not reader.tail.busy
    eventually(lambda: not any(thread.name == "log" for thread in threading.enumerate()))


def test_what_makes_no_sense_is_said_and_followed_once_it_does(reading):
    kept = Kept(r1=b"one\n")
    nonsense = threading.Event()

    def reader_of_two(run, **more):
        if nonsense.is_set():
            raise OverflowError("int too large")
        return kept(run, **more)

    reader = reading(Source(reader=reader_of_two))
    nonsense.set()
    reader.tail.open(ALL, 10)
    assert "cannot make sense of the log as the daemon tells it: OverflowError" in reader.until(Failed).why
    reader.until(Looked)
    reader.tail.follow(ALL, {0: RUN})
    assert "int too large" in reader.until(Failed).why
    nonsense.clear()
    assert texts(reader.until(Later)) == ["one"]


def test_who_is_not_looked_at_reads_nothing(reading):
    kept = Kept(r1=b"one\n")
    reader = reading(Source(reader=kept))
    reader.tail.follow(ALL, {0: RUN})
    reader.until(Later)
    reader.tail.close()
    eventually(lambda: not any(thread.name == "log 0" for thread in threading.enumerate()))
    before = kept.asked
    kept.write(b"two\n")
    assert reader.tail.take() == []
    assert kept.asked == before


def test_while_nobody_takes_what_was_read_little_more_is_and_the_rest_is_passed_by(reading):
    kept = Kept(r1=b"")
    idle, other = reading(Source(reader=kept)), reading(Source(reader=kept))
    for each in (idle, other):
        each.tail.follow(ALL, {0: RUN})
    for _ in range(9):
        kept.write(b"x" * BEHIND + b"\n")
        other.until(Later, lambda news: news.lines)
    assert idle.tail.full
    assert len(idle.tail._news) < 10
    idle.tail.take()
    assert idle.until(Later, lambda news: news.skipped).skipped > BEHIND


def test_addresses_are_those_of_the_run_that_was_read():
    page = Source(reader=partial(Kept(r1=b"one\n", r5=b"five\n")))(at=RUN + 1, back=False, size=2)
    assert (page.first, page.at, page.end, page.data) == (RUN, RUN + 1, RUN + 4, b"ne")
