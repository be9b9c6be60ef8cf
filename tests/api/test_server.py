"""What the control API promises on its socket."""

import contextlib
import json
import os
import select
import socket
import stat
import threading
from pathlib import Path

import pytest

from reconciler.api import openapi
from reconciler.client import Client
from reconciler.model.errors import ApiError
from tests.api.daemon import FACTS, GPUS, ROAD, Recorder, event, served, status, workload
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
    assert client.road().passes == ROAD
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


def test_logs_come_as_the_engine_wrote_them(client, recorder):
    recorder.log_pieces = [b"\x1b[31mred\xff\n", b"x" * 100_000]
    assert b"".join(client.log("chat", 2, "first-failure", lines=7)) == b"\x1b[31mred\xff\n" + b"x" * 100_000
    assert recorder.asked == [("log", "chat", 2, "first-failure", 7, False)]


def test_a_workload_that_is_not_there_is_a_404_with_the_daemon_s_words(client, recorder):
    recorder.known = frozenset({"chat"})
    with pytest.raises(ApiError, match="no workload cat in the fleet") as caught:
        client.stop("cat")
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
        reader.join(30)
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
        assert hung_up.poll(20_000)
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
