"""What the control API promises on its socket."""

import asyncio
import contextlib
import json
import os
import pwd
import select
import socket
import stat
import threading
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest

from reconciler.api import openapi
from reconciler.api.routes import FOR_GATEWAYS, ROUTES
from reconciler.client import Client
from reconciler.model.answers import LogPage
from reconciler.model.errors import ApiError
from reconciler.model.routing import Front, Place, Report, Served, Table, Traffic, Wanted
from tests.api.daemon import ABOUT, FACTS, GPUS, LIVE, METRICS, ROAD, Recorder, event, served, status, workload
from tests.eventually import eventually

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path) -> str:
    return str(tmp_path / "run" / "holdfast.sock")


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def client(path, recorder):
    with served(recorder, path):
        yield Client(path)


def exchange(path: str, raw: bytes, *, wait: float = 20.0) -> bytes:
    """Everything the server says to these bytes until it closes."""
    answer = b""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(wait)
        connection.connect(path)
        with contextlib.suppress(ConnectionError):
            connection.sendall(raw)
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(65536):
                answer += piece
    return answer


def request(path: str, line: str, *headers: str, body: bytes = b"") -> tuple[int, dict, bytes]:
    """Status, JSON and raw answer of one request, Host given unless it is among the headers."""
    lines = [line + " HTTP/1.1", *headers, "Connection: close"]
    if not any(header.startswith("Host:") for header in headers):
        lines.append("Host: localhost")
    if body:
        lines.append(f"Content-Length: {len(body)}")
    raw = exchange(path, "\r\n".join([*lines, "", ""]).encode() + body)
    head, _, payload = raw.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(payload) if b"application/json" in head else {}, raw


def test_what_the_daemon_knows_comes_back_as_it_was(client, recorder):
    recorder.now = status(workload("chat", ready=1, wanted=2), gpus=GPUS, degraded=("cannot see gpus",))
    assert client.status() == recorder.now
    assert client.info() == recorder.info
    assert client.facts() == FACTS
    assert client.metrics("chat") == METRICS
    assert recorder.asked[-1] == ("metrics", "chat")
    assert client.about("chat") == ABOUT
    assert recorder.asked[-1] == ("about", "chat")
    assert client.road() == ROAD
    assert client.events() == recorder.events.kept
    assert client.events(since=1, limit=1, subject="daemon") == [event(2, "daemon")]


def test_every_request_reaches_the_daemon_and_its_sentence_comes_back(client, recorder):
    assert client.restart("chat", 1) == "chat: will do restart"
    assert client.restart("chat") == "chat: will do restart"
    client.stop("chat")
    client.pause("chat")
    client.resume("chat")
    client.scale("chat", 3)
    client.scale("chat", None)
    assert client.apply(prune=True) == "looks again now"
    assert recorder.asked == [
        ("restart", "chat", 1),
        ("restart", "chat", None),
        ("stop", "chat"),
        ("pause", "chat"),
        ("resume", "chat"),
        ("scale", "chat", 3),
        ("scale", "chat", None),
        ("apply", True),
    ]


def test_the_whole_fleet_is_paused_and_resumed_under_a_path_of_its_own(client, recorder):
    assert client.pause(None) == "the fleet: will do pause"
    assert client.resume(None) == "the fleet: will do resume"
    assert recorder.asked == [("pause", None), ("resume", None)]
    acts = [entry[0] for entry in recorder.acts.kept]
    assert [(act.verb, act.subject) for act in acts[::2]] == [("pause", "daemon"), ("resume", "daemon")]


def test_an_order_is_recorded_with_who_gave_it_before_it_is_done_and_its_outcome_after(client, path, recorder):
    recorder.known = frozenset({"chat"})
    done: list[int] = []
    recorder.on_ask = lambda it: done.append(len(it.acts.kept))
    client.scale("chat", 3)
    client.apply()
    with pytest.raises(ApiError):
        client.stop("cat")
    assert done == [1, 3], "the order is on record when it is carried out, its outcome is not"
    acts = [entry[0] for entry in recorder.acts.kept]
    assert {(act.pid, act.uid, act.user) for act in acts} == {
        (os.getpid(), os.getuid(), pwd.getpwuid(os.getuid()).pw_name)
    }
    assert [(act.verb, act.subject, act.arguments) for act in acts[::2]] == [
        ("scale", "chat", {"replicas": 3}),
        ("apply", "daemon", {}),
        ("stop", "cat", {}),
    ]
    assert [entry[1:] for entry in recorder.acts.kept[1::2]] == [
        (1, "chat: will do scale"),
        (3, "looks again now"),
        (5, "refused: no workload cat in the fleet"),
    ]


def test_an_order_that_cannot_be_recorded_is_not_carried_out(client, recorder):
    recorder.acts.full = True
    for ask in (lambda: client.restart("chat"), lambda: client.prune(["hf:o/x"]), client.apply):
        with pytest.raises(ApiError, match="cannot record it: the disk is full"):
            ask()
    assert recorder.asked == []


def test_an_order_whose_client_goes_away_before_its_outcome_is_recorded_as_that(path, recorder):
    async def never(sources):
        recorder.asked.append(("prune", sources))
        await asyncio.Event().wait()

    recorder.prune = never
    with served(recorder, path):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
            body = b'{"sources": ["hf:o/x"]}'
            head = "POST /v1/models/prune HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            eventually(lambda: recorder.asked)
        eventually(lambda: len(recorder.acts.kept) == 2)
    assert recorder.acts.kept[1][1:] == (1, "it was cut off")


def test_every_route_that_changes_something_is_an_order_that_is_recorded():
    assert {route.path for route in ROUTES if route.method == "POST" and not route.verb} == {"/demand"}
    assert {route.verb for route in ROUTES} == {
        "", "restart", "stop", "pause", "resume", "scale", "prune", "apply"
    }  # fmt: skip


def test_logs_come_as_the_engine_wrote_them(client, recorder):
    recorder.log_pieces = [b"\x1b[31mred\xff\n", b"x" * 100_000]
    assert b"".join(client.log("chat", 2, "first-failure", lines=7)) == b"\x1b[31mred\xff\n" + b"x" * 100_000
    assert recorder.asked == [("log", "chat", 2, "first-failure", 7, False)]


@pytest.mark.parametrize("data", [b"\x1b[31mred\xff\n\n{}\n", b"", b"x" * 4 * 2**20])
def test_a_page_of_a_log_comes_with_its_place_and_as_the_engine_wrote_it(client, recorder, data):
    recorder.page = LogPage(run=7, newest=9, first=3, end=10**12, at=5, data=data)
    assert client.log_page("chat", 2, 7, at=5, back=True, size=100, wait=1) == recorder.page
    assert recorder.asked == [("log page", "chat", 2, 7, 5, True, 100, 1)]


def test_a_workload_that_is_not_there_is_a_404_with_the_daemon_s_words(client, recorder):
    recorder.known = frozenset({"chat"})
    with pytest.raises(ApiError, match="no workload cat in the fleet") as caught:
        client.stop("cat")
    assert caught.value.status == 404
    with pytest.raises(ApiError, match="no workload cat") as caught:
        client.about("cat")
    assert caught.value.status == 404
    with pytest.raises(ApiError, match="no workload cat") as caught:
        list(client.log("cat"))
    assert caught.value.status == 404


def test_a_stream_of_statuses_begins_with_the_present_one_and_goes_on(path, recorder):
    with served(recorder, path) as soon:
        stream = Client(path).statuses()
        assert next(stream).workloads.keys() == {"chat"}
        new = status(workload("chat"), workload("code"))
        soon(lambda: recorder.publish(new))
        assert next(stream) == new
        stream.close()


def test_what_is_live_comes_at_the_pace_that_is_asked_for_and_only_while_somebody_listens(path, recorder):
    with served(recorder, path):
        stream = Client(path).live(0.5)
        assert [next(stream), next(stream)] == [LIVE, replace(LIVE, now=200.5)]
        assert recorder.asked == [("live", 0.5)]
        stream.close()
        eventually(lambda: recorder.asked == [("live", 0.5), ("live", "over")], what="the daemon hears that it is over")


def test_a_daemon_that_falls_silent_in_the_midst_is_noticed_by_who_watches(path, recorder):
    recorder.silent_at = LIVE.now + 0.3
    with served(recorder, path):
        stream = Client(path, timeout=2.0).live(0.2)
        assert [next(stream), next(stream)] == [LIVE, replace(LIVE, now=200.2)]
        with pytest.raises(ApiError, match="it did not answer within"):
            next(stream)


@pytest.mark.parametrize("every", ["0.1", "61", "-1", "nan", "inf", "1e1", "1.0.0", "x", "", "１"])
def test_a_pace_that_is_none_is_refused(client, path, recorder, every):
    code, answer, _ = request(path, f"GET /v1/live/stream?every={quote(every)}")
    assert (code, answer["error"].partition(":")[0]) == (400, "every")
    assert recorder.asked == []


def lines(path: str, url: str):
    """The lines of a stream, as they come."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(path)
        connection.sendall(f"GET {url} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        with connection.makefile("rb") as answer:
            while answer.readline().strip():
                pass
            while size := int(answer.readline(), 16):
                yield answer.read(size)
                answer.readline()


def test_a_stream_of_tables_begins_with_the_present_one_and_goes_on(path, recorder):
    with served(recorder, path) as soon:
        stream = lines(path, "/v1/table/stream")
        assert msgspec.json.decode(next(stream), type=Table) == recorder.table
        place = Place(slot="chat/0", run=1, address="http://127.0.0.1:9000", names=("chat",), known_as={"a": "b"})
        served_ = Served(name="chat", names=("chat",), engine="vllm", source="hf:o/r", outlook="ready", places=(place,))
        new = Table(seq=5, epoch="e", models={"chat": served_}, front=Front(listen=("http://[::1]:80",)))

        def turn() -> None:
            recorder.table = new
            recorder.changed.set()

        soon(turn)
        assert msgspec.json.decode(next(stream), type=Table) == new
        stream.close()


def test_a_table_that_is_not_there_yet_is_waited_for(path, recorder):
    recorder.table = Table()
    with served(recorder, path) as soon:
        stream = lines(path, "/v1/table/stream")

        def turn() -> None:
            recorder.table = Table(seq=1)
            recorder.changed.set()

        soon(turn)
        assert msgspec.json.decode(next(stream), type=Table).seq == 1
        stream.close()


def told(path: str, body: bytes) -> tuple[int, dict, bytes]:
    return request(path, "POST /v1/demand", "Content-Type: application/json", body=body)


def test_what_a_gateway_tells_reaches_the_daemon(client, path, recorder):
    traffic = Traffic(requests=1.5, errors=0.5, tokens=40.0, first_byte=0.2, total=7)
    wanted = {
        f"m{index}": Wanted(waiting=2, oldest=1.5, in_flight={f"m{index}/0": 3}, traffic=traffic)
        for index in range(1000)
    }
    report = Report(gateway="box1", seen=4, epoch="e", models={**wanted, "idle": Wanted()}, problems=("taken",))
    assert told(path, msgspec.json.encode(report))[0] == 200
    assert recorder.reports == [report]


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        (b"{}", (400, "gateway")),
        (b'{"gateway": ""}', (400, "gateway")),
        (b'{"gateway": "a", "seen": -2}', (400, "seen")),
        (b'{"gateway": "a", "models": {"m": {"waiting": -1}}}', (400, "models")),
        (b'{"gateway": "a", "models": {"m": {"oldest": NaN}}}', (400, "")),
        (b'{"gateway": "a", "models": {"m": {"in_flight": {"m/0": 1.5}}}}', (400, "models")),
        (b'{"gateway": "a", "modles": {}}', (400, "modles")),
        (b'{"gateway": "' + b"a" * 5_000_000 + b'"}', (413, "4194304")),
    ],
)
def test_a_report_that_is_none_is_refused(client, path, recorder, body, refusal):
    found, answer, _ = told(path, body)
    code, says = refusal
    assert (found, says in answer["error"]) == (code, True), answer
    assert recorder.reports == []


def test_a_stream_of_events_goes_on_where_it_was_after_the_daemon_was_restarted(path, recorder):
    with served(recorder, path):
        stream = Client(path).follow_events(patience=30)
        assert [next(stream).seq, next(stream).seq] == [1, 2]
    again = Recorder()
    again.events.kept += [event(3), event(4)]
    seen: list[int] = []
    reader = threading.Thread(target=lambda: seen.extend([next(stream).seq, next(stream).seq]))
    reader.start()
    with served(again, path):
        reader.join(60)
    assert seen == [3, 4]


def test_a_stream_ends_with_what_to_do_when_the_daemon_is_gone_for_good(path, recorder):
    with served(recorder, path):
        stream = Client(path).statuses()
        next(stream)
    with pytest.raises(ApiError, match="holdfast up"):
        next(stream)


def test_nobody_but_the_owner_can_open_the_socket(client, path):
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700
    assert os.listdir(os.path.dirname(path)) == ["holdfast.sock"]


def test_a_stranger_who_gets_a_connection_is_refused_by_what_the_kernel_says_of_him(path, recorder):
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    with served(recorder, path):
        os.chmod(path, 0o666)
        assert asked_by_another(path) == b"403"


def asked_by_another(path, groups=()):
    """What the daemon answers to a user who can open the socket: the status, in digits."""
    os.chmod(os.path.dirname(path), 0o755)
    directory = os.open(os.path.dirname(path), os.O_PATH)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups(groups)
            os.setuid(65534)
            code = request(f"/proc/self/fd/{directory}/holdfast.sock", "GET /v1/status")[0]
            os.write(writing, str(code).encode())
        finally:
            os._exit(0)
    os.close(writing)
    try:
        return os.read(reading, 100)
    finally:
        os.waitpid(child, 0)
        os.close(reading)
        os.close(directory)


def test_a_dead_daemon_s_socket_is_replaced(path, recorder):
    os.makedirs(os.path.dirname(path))
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    with served(recorder, path):
        assert Client(path).info().pid == 4242
    assert not os.path.exists(path)


def test_a_live_daemon_s_socket_is_not_replaced_and_the_second_says_who_is_there(path, recorder):
    with served(recorder, path):
        with pytest.raises(ApiError, match=rf"another daemon \(pid {os.getpid()}\)"), served(Recorder(), path):
            pass
        assert Client(path).info().pid == 4242


def test_a_file_in_the_socket_s_place_is_left_alone(path, recorder):
    os.makedirs(os.path.dirname(path))
    Path(path).write_text("precious")
    with pytest.raises(ApiError, match="remove it"), served(recorder, path):
        pass
    assert Path(path).read_text() == "precious"


def test_a_path_of_any_length_will_do(tmp_path, recorder):
    path = str(tmp_path / ("d" * 120) / ("e" * 120) / "holdfast.sock")
    with served(recorder, path):
        assert Client(path).info().pid == 4242
        with pytest.raises(ApiError, match="another daemon"), served(Recorder(), path):
            pass
    with pytest.raises(ApiError, match="nothing listens there"):
        Client(path).info()


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1", "", "localhost:80"])
@pytest.mark.parametrize(
    "line", ["GET /v1/status", "POST /v1/workloads/chat/stop", "GET /nowhere", "DELETE /v1/status"]
)
def test_a_host_that_is_not_ours_is_refused_on_every_method(client, path, recorder, line, host):
    assert request(path, line, f"Host: {host}")[0] == 403
    assert recorder.asked == []


@pytest.mark.parametrize("line", ["GET /v1/status", "POST /v1/workloads/chat/stop", "OPTIONS /v1/apply"])
def test_a_web_page_s_request_is_refused_on_every_method(client, path, recorder, line):
    code, answer, _ = request(path, line, "Origin: http://localhost")
    assert code == 403
    assert "web pages" in answer["error"]
    assert recorder.asked == []


JSON = "Content-Type: application/json"
REFUSED = {
    "unknown path": ("GET /v1/nothing", [], b"", 404, "openapi.json"),
    "no version": ("GET /status", [], b"", 404, "openapi.json"),
    "wrong method": ("POST /v1/status", [], b"", 405, "Allow"),
    "HEAD is not GET": ("DELETE /v1/workloads/chat/stop", [], b"", 405, "Allow"),
    "unknown query key": ("GET /v1/events?sinse=4", [], b"", 400, "unknown key 'sinse'; choose from since, limit"),
    "query where none is taken": ("GET /v1/status?x=1", [], b"", 400, "takes none"),
    "query of a POST": ("POST /v1/apply?prune=true", [], b"", 400, "takes none"),
    "query key twice": ("GET /v1/events?since=1&since=2", [], b"", 400, "given twice"),
    "no number": ("GET /v1/events?since=1_000", [], b"", 400, "since"),
    "a negative number": ("GET /v1/events?since=-1", [], b"", 400, "since"),
    "too many": ("GET /v1/events?limit=10001", [], b"", 400, "limit"),
    "no truth value": ("GET /v1/workloads/chat/logs?follow=yes", [], b"", 400, "follow"),
    "a page without end": ("GET /v1/workloads/chat/logs/page?size=4194305", [], b"", 400, "size"),
    "no address": ("GET /v1/workloads/chat/logs/page?at=-1", [], b"", 400, "at"),
    "no such choice": ("GET /v1/workloads/chat/logs?run=last", [], b"", 400, "run"),
    "a name that is no name": ("GET /v1/workloads/Ch%2Fat/logs", [], b"", 404, "no workload"),
    "a name that climbs": ("GET /v1/workloads/%2e%2e/logs", [], b"", 404, ""),
    "body of a GET": ("GET /v1/status", [JSON], b"{}", 400, "takes no body"),
    "no JSON": ("POST /v1/apply", [JSON], b"{", 400, "json"),
    "not an object": ("POST /v1/apply", [JSON], b"[1]", 400, "object"),
    "unknown body key": ("POST /v1/apply", [JSON], b'{"purge": true}', 400, "purge"),
    "a text for a truth value": ("POST /v1/apply", [JSON], b'{"prune": "true"}', 400, "prune"),
    "a missing key": ("POST /v1/workloads/chat/scale", [JSON], b"{}", 400, "replicas"),
    "out of range": ("POST /v1/workloads/chat/scale", [JSON], b'{"replicas": 1001}', 400, "replicas"),
    "a form": ("POST /v1/apply", ["Content-Type: text/plain"], b'{"prune": true}', 415, "application/json"),
    "compressed": ("POST /v1/apply", [JSON, "Content-Encoding: gzip"], b'{"prune": true}', 415, "compressed"),
    "too long": ("POST /v1/apply", [JSON], b" " * 70_000, 413, "65536"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
@pytest.mark.usefixtures("client")
def test_what_is_malformed_is_refused_with_what_to_do(path, recorder, case):
    line, headers, body, code, says = case
    found, answer, raw = request(path, line, *headers, body=body)
    assert found == code
    assert list(answer) == ["error"]
    assert says in answer["error"] or says in raw.decode()
    assert recorder.asked == []


def test_no_word_of_an_error_of_ours_leaves_the_daemon(client, path, recorder, caplog):
    def break_down(_: Recorder) -> None:
        raise RuntimeError("canary-secret in /etc/holdfast")

    recorder.on_ask = break_down
    code, answer, raw = request(path, "POST /v1/workloads/chat/stop")
    assert (code, "canary" in raw.decode()) == (500, False)
    assert "log" in answer["error"]
    assert "canary-secret" in caplog.text


def test_a_log_that_breaks_off_does_not_look_complete(path, recorder):
    class Broken(list):
        def __iter__(self):
            yield b"first line\n"
            raise RuntimeError("the disk is gone")

    recorder.log_pieces = Broken()
    with served(recorder, path), pytest.raises(ApiError, match="lost the daemon"):
        list(Client(path).log("chat"))


SLOW = {
    "no request at all": b"",
    "half a head": b"GET /v1/status HTTP/1.1\r\nHost: loc",
    "half a body": (
        b"POST /v1/apply HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
    ),
    "a connection kept open": b"GET /v1/info HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


@pytest.mark.parametrize("raw", SLOW.values(), ids=SLOW)
def test_who_is_slow_is_cut_off(path, recorder, raw):
    with served(recorder, path, deadline=0.3):
        exchange(path, raw)  # returns when the server closes; the socket's own timeout would raise
        assert recorder.asked == []


def test_trickling_a_head_does_not_move_its_deadline(path, recorder):
    with served(recorder, path, deadline=0.5), socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.settimeout(0.05)

        def closed() -> bool:
            try:
                connection.send(b"G")
                return connection.recv(10) == b""
            except TimeoutError:
                return False
            except ConnectionError:
                return True

        eventually(closed)


def test_who_does_not_read_a_stream_is_cut_off(path, recorder):
    recorder.log_pieces = [b"x" * 65536] * 400
    with served(recorder, path, deadline=0.3), socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(b"GET /v1/workloads/chat/logs HTTP/1.1\r\nHost: localhost\r\n\r\n")
        eventually(lambda: recorder.asked)
        # nothing is read until the server has given up: then what it had sent comes, and no more
        hung_up = select.poll()
        hung_up.register(connection, 0)
        assert hung_up.poll(60_000)
        received = 0
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(1 << 20):
                received += len(piece)
        assert received < 400 * 65536


def test_one_connection_too_many_is_refused_and_the_others_go_on(path, recorder):
    with served(recorder, path, connections=3), contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(3)]
        for connection in held:
            connection.connect(path)
        ask = b"GET /v1/info HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        assert exchange(path, ask) == b""
        held[0].sendall(ask)
        assert b"200 OK" in held[0].recv(65536)
        eventually(lambda: b"200 OK" in exchange(path, ask))


def test_a_header_bomb_and_smuggled_requests_are_refused(client, path, recorder):
    fields = b"".join(b"X-%d: y\r\n" % i for i in range(5000))
    bomb = b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n" + fields + b"\r\n"
    assert b" 400 " in exchange(path, bomb).splitlines()[0]
    both = (
        b"POST /v1/workloads/chat/stop HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nPOST /v1/apply HTTP/1.1\r\nHost: localhost\r\n\r\n"
    )
    assert b" 400 " in exchange(path, both).splitlines()[0]
    assert recorder.asked == []


def test_closing_does_not_wait_for_those_who_stream(path, recorder):
    streams = []
    with served(recorder, path):
        for _ in range(5):
            stream = Client(path).statuses()
            next(stream)
            streams.append(stream)
    for stream in streams:
        with pytest.raises(ApiError):
            next(stream)


def test_the_description_that_is_committed_is_the_one_that_is_served(client, path):
    committed = (REPOSITORY / "schemas" / openapi.FILE).read_text()
    assert committed == openapi.text(), "run `holdfast schema`"
    raw = request(path, "GET /v1/openapi.json")[2]
    assert raw.partition(b"\r\n\r\n")[2].decode() == committed


@pytest.mark.parametrize(
    ("groups", "code"), [((4242,), b"200"), ((4241,), b"403"), ((*range(5000, 5300), 4242), b"403")]
)
def test_members_of_the_socket_s_group_may_use_it(path, recorder, groups, code):
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    with served(recorder, path, group=4242):
        assert (stat.S_IMODE(os.stat(path).st_mode), os.stat(path).st_gid) == (0o660, 4242)
        os.chmod(path, 0o666)
        assert asked_by_another(path, groups) == code


def test_at_the_socket_for_gateways_there_is_what_a_gateway_needs_and_nothing_else(path, recorder):
    with served(recorder, path, routes=FOR_GATEWAYS):
        for route in ROUTES:
            line = f"{route.method} /v1{route.path.replace('{name}', 'chat')}"
            if route.media == "application/x-ndjson" and route in FOR_GATEWAYS:
                assert msgspec.json.decode(next(lines(path, "/v1/table/stream")), type=Table) == recorder.table
                continue
            body = b"{}" if route.method == "POST" else b""
            code = request(path, line, "Content-Type: application/json", body=body)[0]
            assert (code in (404, 405)) == (route not in FOR_GATEWAYS), line
    assert {route.path for route in FOR_GATEWAYS} == {"/table/stream", "/demand", "/metrics"}
    assert {what[0] for what in recorder.asked} == {"metrics"}
