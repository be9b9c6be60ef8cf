"""Each request that ends is counted where it belongs, logged as one line, and recorded where that is wished."""

import json
import os
from collections.abc import Iterator

import pytest

from reconciler.chain import Line, read
from reconciler.gateway import metrics
from reconciler.gateway.lines import Lines
from reconciler.gateway.observer import Observer
from reconciler.gateway.trail import Trail
from reconciler.model.routing import Traffic
from tests.eventually import eventually
from tests.gateway.records import record, table

WALL = 1_800_000_000.0


class Pipe:
    """What Lines write to, read at leisure."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self.read = b""

    def lines(self, count: int) -> list[dict]:
        """The first so many lines, once they are there."""
        while self.read.count(b"\n") < count:
            self.read += os.read(self.reader, 1 << 20)
        return [json.loads(line) for line in self.read.splitlines()[:count]]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    os.close(made.reader)
    os.close(made.writer)


def logged(pipe: Pipe, *records, access_log: str = "all") -> list[dict]:
    """The lines of these requests, and of one that failed after them."""
    lines = Lines(pipe.writer)
    observer = Observer(log=lines)
    observer.take(table(access_log=access_log))
    observer.tick(0.0, WALL)
    for one in (*records, record(status=502, reason="upstream_error", request_id="last")):
        observer.ended(one)
    observer.close(12.0, within=10.0)
    found: list[dict] = []
    while not found or found[-1]["id"] != "last":
        found = pipe.lines(len(found) + 1)
    return found[:-1]


def test_a_line_says_all_that_is_known_of_a_request(pipe):
    (found,) = logged(pipe, record(waited=0.25, retries=1))
    assert found == {
        "time": "2027-01-15T08:00:12.000Z",
        "id": "req-1",
        "trace": "0af7651916cd43dd8448eb211c80319c",
        "client": "127.0.0.1",
        "key": "team",
        "method": "POST",
        "path": "/v1/chat/completions",
        "asked": "chat",
        "model": "chat",
        "slot": "chat/0",
        "status": 200,
        "reason": "",
        "stream": True,
        "seconds": 2.0,
        "first_byte": pytest.approx(0.2, abs=2e-6),
        "waited": 0.25,
        "retries": 1,
        "received": 500,
        "sent": 8000,
        "read": 12,
        "written": 40,
    }


def test_what_did_not_come_to_an_answer_has_no_first_byte(pipe):
    (found,) = logged(pipe, record(first_byte=float("nan"), status=0, reason="client_left"))
    assert found["first_byte"] is None


@pytest.mark.parametrize(
    ("access_log", "expected"), [("off", []), ("errors", ["b", "c", "d"]), ("all", ["a", "b", "c", "d"])]
)
def test_what_is_logged_is_as_declared(pipe, access_log, expected):
    asked = (
        record(request_id="a"),
        record(request_id="b", status=0, reason="client_left"),
        record(request_id="c", reason="cut"),
        record(request_id="d", status=400),
    )
    if access_log == "off":
        observer = Observer(log=Lines(pipe.writer))
        observer.take(table(access_log="off"))
        for one in asked:
            observer.ended(one)
        observer.close(12.0, within=10.0)
        os.set_blocking(pipe.reader, False)
        with pytest.raises(BlockingIOError):
            os.read(pipe.reader, 1)
    else:
        assert [one["id"] for one in logged(pipe, *asked, access_log=access_log)] == expected


EVIL = 'x"}\n{"a":1}\r\x1b[2J\x07\\'


@pytest.mark.parametrize("field", ["request_id", "trace", "client", "method", "path", "asked"])
@pytest.mark.parametrize("evil", ["", "\x7f", "\x9b\u202e\u2028", "\ud800"], ids=ascii)
def test_nothing_that_a_client_made_up_forges_a_line_or_moves_a_terminal(pipe, field, evil):
    (found,) = logged(pipe, record(**{field: EVIL + evil, "first_byte": float("nan")}))
    assert found["id" if field == "request_id" else field] == EVIL + evil
    assert found["first_byte"] is None
    assert all(byte == 0x0A or 0x20 <= byte < 0x7F for byte in pipe.read)


def test_what_a_client_made_up_is_not_endless(pipe):
    (found,) = logged(pipe, record(path="/" * 10_000, asked="m" * 10_000, request_id="r" * 10_000))
    assert (len(found["path"]), len(found["asked"]), len(found["id"])) == (512, 512, 512)


def test_a_reader_that_is_stuck_costs_lines_and_the_next_says_how_many(pipe):
    observer = Observer(log=Lines(pipe.writer, room=200_000))
    observer.take(table(access_log="all"))
    for number in range(2000):
        observer.ended(record(request_id=f"early {number}"))
    observer.tick(12.0, WALL)
    lost = observer.snapshot().unlogged
    assert lost > 100
    found = pipe.lines(2000 - lost)

    def again() -> dict | None:
        observer.ended(record(request_id="late"))
        before = observer.snapshot().unlogged
        observer.tick(13.0, WALL + 1)
        return None if observer.snapshot().unlogged > before else pipe.lines(len(found) + 1)[-1]

    said = eventually(again)
    assert said == {"time": "2027-01-15T08:00:01.000Z", "dropped": observer.snapshot().unlogged}
    observer.ended(record(request_id="last"))
    observer.tick(14.0, WALL)
    assert [one["id"] for one in pipe.lines(len(found) + 3)[-2:]] == ["late", "last"]
    observer.close(14.0, within=10.0)


def test_many_lines_do_not_wait_for_a_beat(pipe):
    observer = Observer(log=Lines(pipe.writer))
    observer.take(table(access_log="all"))
    for number in range(300):
        observer.ended(record(request_id=str(number)))
    assert [one["id"] for one in pipe.lines(100)] == [str(number) for number in range(100)]
    observer.close(12.0, within=10.0)


def test_lines_that_a_full_disk_lost_are_counted():
    with open("/dev/full", "wb") as full:
        observer = Observer(log=Lines(full.fileno()))
        observer.take(table(access_log="all"))
        observer.ended(record())
        observer.close(12.0, within=10.0)
    assert observer.snapshot().unlogged == 1


def test_an_engine_may_answer_with_any_status():
    observer = Observer()
    observer.ended(record(status=999))
    assert observer.snapshot().series[0].classes[9] == 1


def test_each_request_is_counted_where_it_belongs():
    observer = Observer()
    observer.take(table("chat", "code"))
    for one in (
        record(),
        record(status=429, reason="rate_limited", slot="", first_byte=float("nan")),
        record(model="code", slot="code/0", key="", waited=3.0, retries=2, streamed=False),
        record(status=0, reason="client_left"),
    ):
        observer.ended(one)
    found = {(one.model, one.slot, one.key): one for one in observer.snapshot().series}
    assert set(found) == {("chat", "chat/0", "team"), ("chat", "", "team"), ("code", "code/0", "")}
    chat = found["chat", "chat/0", "team"]
    assert (chat.classes[:3], chat.errors) == ([1, 0, 1], {"client_left": 1})
    assert (chat.read, chat.written, chat.received, chat.sent) == (24, 80, 1000, 16000)
    assert dict(zip(metrics.BOUNDS, chat.duration.counts, strict=False))[2.5] == 2
    assert dict(zip(metrics.BOUNDS, chat.first_byte.counts, strict=False))[0.25] == 2
    assert dict(zip(metrics.TOKEN_BOUNDS, chat.token.counts, strict=False))[0.03] == 2
    assert chat.token.sum == pytest.approx(2 * 0.025)
    assert sum(chat.waiting.counts) == 0
    refused = found["chat", "", "team"]
    assert (refused.classes[4], refused.errors, sum(refused.first_byte.counts)) == (1, {"rate_limited": 1}, 0)
    code = found["code", "code/0", ""]
    assert (code.waiting.sum, code.retries, sum(code.token.counts)) == (3.0, 2, 0)


def test_where_an_engine_counts_no_tokens_its_pieces_are_taken():
    observer = Observer()
    observer.ended(record(written=0, pieces=11, first_byte=11.0, last_byte=12.0))
    observer.ended(record(written=0, pieces=1))
    (one,) = observer.snapshot().series
    assert (one.token.sum, sum(one.token.counts)) == (pytest.approx(0.1), 1)


def test_figures_of_what_left_the_table_are_dropped_after_a_while():
    observer = Observer()
    observer.take(table("chat", "code"))
    observer.ended(record())
    observer.ended(record(model="code", slot="code/0"))
    observer.ended(record(model="", slot="", key=""))
    observer.tick(12.0, WALL)
    observer.take(table("code"))
    for now in (13.0, 612.0):
        observer.tick(now, WALL)
        assert {one.model for one in observer.snapshot().series} == {"chat", "code", ""}
    observer.tick(613.5, WALL)
    assert {one.model for one in observer.snapshot().series} == {"code", ""}
    assert set(observer.traffic()) == {"code"}


def test_what_comes_back_to_the_table_keeps_its_figures():
    observer = Observer()
    for at, model in ((12.0, "chat"), (13.0, "code"), (300.0, "chat"), (400.0, "code"), (900.0, "code")):
        observer.take(table(model))
        if at == 12.0:
            observer.ended(record())
        observer.tick(at, WALL)
    assert len(observer.snapshot().series) == 1


def test_traffic_is_of_the_seconds_that_are_over():
    observer = Observer()
    observer.tick(0.0, WALL)
    observer.ended(record(first_byte=10.2))
    observer.ended(record(first_byte=10.4))
    observer.ended(record(first_byte=float("nan"), status=503, reason="unavailable", written=0))
    observer.ended(record(first_byte=10.9, status=0, reason="client_left", written=0))
    assert observer.traffic()["chat"].requests == 0.0
    for now in range(1, 5):
        observer.tick(float(now), WALL)
    expected = Traffic(requests=1.0, errors=0.25, tokens=20.0, first_byte=pytest.approx(0.4), total=4)  # type: ignore[arg-type]
    assert observer.traffic() == {"chat": expected}
    for now in range(5, 16):
        observer.tick(float(now), WALL)
    assert observer.traffic() == {"chat": Traffic(total=4)}


def test_beats_that_come_late_make_no_second_longer():
    observer = Observer()
    for beat in range(16):
        observer.tick(beat * 0.7, WALL)
        observer.ended(record())
    assert observer.traffic()["chat"].requests == pytest.approx(1.4, abs=0.05)


def test_a_request_is_recorded_where_that_is_wished(tmp_path):
    path = tmp_path / "requests-1.log"
    observer = Observer(trail=lambda: Trail(str(path)))
    for audit in (False, True, False, True):
        observer.take(table(audit=audit))
        observer.tick(10.0, WALL)
        observer.ended(record(request_id=str(audit)))
    observer.close(12.0, within=10.0)
    with open(path, "rb") as file:
        found = [one.record for one in read(file) if isinstance(one, Line)]
    assert [(one["id"], one["at"]) for one in found] == [("True", WALL + 2.0)] * 2
    assert observer.snapshot().unrecorded == 0


def test_connections_are_counted():
    observer = Observer()
    observer.connected()
    observer.connected()
    observer.disconnected()
    observer.refused("full")
    found = observer.snapshot()
    assert (found.connections, found.opened, found.refused) == (1, 2, {"full": 1})
