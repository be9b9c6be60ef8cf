"""A double of the daemon: its control API over a unix socket, with answers that a test gives it and changes.

`python -m tests.tui.daemon SOCKET` serves a fleet that moves, in a process of its own.
"""

import argparse
import contextlib
import itertools
import json
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Self, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import BaseModel

from reconciler.client import Client
from reconciler.model.answers import Info, LogPage
from reconciler.model.live import Live
from reconciler.model.status import Event, Status
from reconciler.model.stored import Shelf
from tests.api.daemon import FACTS, ROAD
from tests.tui import worlds

INFO = Info(version="0.1.0", pid=4242, root="/srv/fleet.d", state="/var/lib/holdfast", started_at=worlds.WALL - 86_400)
Query = Mapping[str, str]
Answer = Callable[[Query], object]
"""Bytes are sent as they are, iterables of bytes one after the other, everything else as JSON."""


def plain(value: Any) -> Any:
    """What `json.dumps` takes of a value of ours; NaN and lone surrogates stay, as no daemon would send them."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in cast("Iterable[Any]", value)]
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return value


def encoded(value: object) -> bytes:
    """As JSON, in one line."""
    return json.dumps(plain(value)).encode()


class Daemon:
    """From `start` to `close`, or while it is entered. All of it may be changed from any thread while it serves."""

    def __init__(self, path: str | Path, status: Status | None = None, *, events: Iterable[Event] = ()) -> None:
        self.path = str(path)
        self.client = Client(self.path, timeout=10.0)
        self.asked: list[tuple[str, str, dict[str, Any]]] = []
        """What was ordered: verb, workload (empty: none), body."""
        self.seen: list[str] = []
        """Paths that were asked for, streams too."""
        self.answers: dict[str, Answer] = {
            "/info": lambda _: INFO,
            "/plan": lambda _: ROAD,
            "/facts": lambda _: FACTS,
            "/metrics": lambda _: (),
            "/models": lambda _: Shelf(path="/m", hub="/h", ollama="/o", size=0, free=1, limit=None),
        }
        """By path beneath /v1; what is not in it is 404."""
        self.refusals: dict[str, tuple[int, str]] = {}
        """By path or by verb: the status and the words with which it is refused."""
        self.logs: dict[str, dict[int, bytes]] = {}
        """By slot and run. Changed by `write`."""
        self.hung = threading.Event()
        """While it is set, connections are taken and nothing is answered."""
        self._status = encoded(status if status is not None else worlds.status())
        self._live = encoded(Live(now=worlds.NOW))
        self._events = list(events)
        self._turn = threading.Condition()
        self._told = [0, 0]
        """How often status and live were published."""
        self._open: set[socket.socket] = set()
        self._server: _Server | None = None

    # -- that it is there

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Listen, again too."""
        Path(self.path).unlink(missing_ok=True)
        self._server = _Server(self)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        """End: connections break off and the socket is gone, as where a daemon was killed."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
            Path(self.path).unlink(missing_ok=True)
            self.cut()

    def cut(self) -> None:
        """Break off all connections."""
        with self._turn:
            for one in self._open:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            self._turn.notify_all()

    @property
    def connected(self) -> int:
        """Connections that are open."""
        return len(self._open)

    # -- what it tells

    def publish(self, status: Status | None = None, live: Live | None = None) -> None:
        """Tell these from now on, and whoever follows at once."""
        for number, value in enumerate((status, live)):
            if value is not None:
                self.publish_raw(number, encoded(value))

    def publish_raw(self, number: int, line: bytes) -> None:
        """The same as bytes, `number` 0: status, 1: live."""
        with self._turn:
            if number:
                self._live = line
            else:
                self._status = line
            self._told[number] += 1
            self._turn.notify_all()

    def happen(self, *events: Event) -> None:
        """Tell of these too."""
        with self._turn:
            self._events += events
            self._turn.notify_all()

    def write(self, slot: str, data: bytes, *, run: int = 1) -> None:
        """Have a run write more to its log."""
        with self._turn:
            runs = self.logs.setdefault(slot, {})
            runs[run] = runs.get(run, b"") + data
            self._turn.notify_all()

    # -- how it answers; called by the threads that serve

    @contextlib.contextmanager
    def holding(self, connection: socket.socket) -> Generator[None, None, None]:
        """While it is open."""
        with self._turn:
            self._open.add(connection)
        try:
            yield
        finally:
            with self._turn:
                self._open.discard(connection)

    def _lines(self, number: int, gone: Callable[[], bool]) -> Iterable[bytes]:
        last = -1
        while True:
            with self._turn:
                while self._told[number] == last or self.hung.is_set():
                    if gone():
                        return
                    self._turn.wait(0.05)
                last = self._told[number]
                line = self._live if number else self._status
            yield line + b"\n"

    def _happened(self, since: int, gone: Callable[[], bool]) -> Iterable[bytes]:
        while True:
            with self._turn:
                while not (new := [event for event in self._events if event.seq > since]) or self.hung.is_set():
                    if gone():
                        return
                    self._turn.wait(0.05)
            since = new[-1].seq
            for event in new:
                yield encoded(event) + b"\n"

    def get(self, path: str, query: Query, gone: Callable[[], bool]) -> object | None:
        """The answer to a GET; None where there is no such path."""
        if path in self.answers:
            return self.answers[path](query)
        if path == "/status":
            return self._status
        if path == "/status/stream":
            return self._lines(0, gone)
        if path == "/live/stream":
            return self._lines(1, gone)
        if path == "/events/stream":
            return self._happened(int(query.get("since", 0)), gone)
        if path == "/events":
            found = [event for event in self._events if event.seq > int(query.get("since", 0))]
            limit = int(query.get("limit", 1000))
            return found[-limit:] if query.get("newest") == "true" else found[:limit]
        if path.startswith("/workloads/"):
            slot = f"{path.split('/')[2]}/{query.get('index', 0)}"
            if path.endswith("/logs/page"):
                return self.page(slot, query)
            if path.endswith("/logs"):
                return iter([self.logs.get(slot, {1: b""})[self._run(slot, query)]])
        return None

    def _run(self, slot: str, query: Query) -> int:
        asked = query.get("run", "")
        runs = self.logs.get(slot, {1: b""})
        return int(asked) if asked.isdigit() else min(runs) if asked else max(runs)

    def page(self, slot: str, query: Query) -> bytes:
        run, back, size = self._run(slot, query), query.get("back") == "true", int(query.get("size", 65536))
        with self._turn:

            def known() -> bytes:
                return self.logs.get(slot, {}).get(run, b"")

            if "at" in query and not back:
                self._turn.wait_for(
                    lambda: len(known()) != int(query["at"]) or max(self.logs.get(slot, {1: b""})) > run,
                    int(query.get("wait", 0)),
                )
            whole = known()
        at = min(int(query.get("at", len(whole))), len(whole))
        begin, end = (max(0, at - size), at) if back or "at" not in query else (at, min(at + size, len(whole)))
        newest = max(self.logs.get(slot, {1: b""}))
        page = LogPage(run=run, newest=newest, first=0, end=len(whole), at=begin)
        where = {key: value for key, value in plain(page).items() if key != "data"}
        return encoded(where) + b"\n" + whole[begin:end]


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        super().__init__(daemon.path, _Exchange)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is none of our concern."""


class _Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def handle(self) -> None:
        with self.server.daemon.holding(self.connection):
            super().handle()

    def _gone(self) -> bool:
        """Whether the client has closed its end, or we have."""
        try:
            return self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _asked(self) -> tuple[str, Query] | None:
        """Path and query; None where that was refused already."""
        parts = urlsplit(self.path)
        path = unquote(parts.path.removeprefix("/v1"))
        daemon = self.server.daemon
        daemon.seen.append(path)
        while daemon.hung.is_set():
            if self._gone():
                return None
            time.sleep(0.01)
        refusal = daemon.refusals.get(path) or daemon.refusals.get(path.rpartition("/")[2])
        if refusal is not None:
            self._say(refusal[0], encoded({"error": refusal[1]}))
            return None
        return path, dict(parse_qsl(parts.query))

    def do_GET(self) -> None:
        asked = self._asked()
        if asked is None:
            return
        answer = self.server.daemon.get(*asked, self._gone)
        if answer is None:
            self._say(404, encoded({"error": "no such path; GET /v1/openapi.json lists them"}))
        elif isinstance(answer, bytes):
            self._say(200, answer)
        elif isinstance(answer, Iterator):
            self._stream(cast("Iterator[bytes]", answer))
        else:
            self._say(200, encoded(answer))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        asked = self._asked()
        if asked is None:
            return
        parts = asked[0].strip("/").split("/")
        verb, name = parts[-1], parts[1] if parts[0] == "workloads" else ""
        self.server.daemon.asked.append((verb, name, body))
        self._say(200, encoded({"message": f"{name or 'the fleet'}: will {verb}"}))

    def _say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, pieces: Iterable[bytes]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in pieces:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the library's word
        """Say nothing."""


def main() -> None:
    """Serve a fleet whose meters change every so many seconds, until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("socket")
    parser.add_argument("--models", type=int, default=40)
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--every", type=float, default=0.5, help="seconds between two changes; 0: none")
    parser.add_argument("--still", action="store_true", help="nothing has changed for a day but the time")
    parser.add_argument("--status-every", type=int, default=0, help="changes of meters for one of the status; 0: none")
    given = parser.parse_args()
    first = worlds.status(given.models, given.gpus)
    ticks = [encoded(worlds.live(first, tick, still=given.still)) for tick in range(60)]
    more = [encoded(worlds.status(given.models, given.gpus, tick=tick)) for tick in range(10)]
    with Daemon(given.socket, first, events=worlds.events(first)) as daemon:
        daemon.publish_raw(1, ticks[0])
        print("ready", flush=True)
        for tick in itertools.count(1):
            if not given.every:
                threading.Event().wait()
            time.sleep(given.every)
            daemon.publish_raw(1, ticks[tick % len(ticks)])
            if given.status_every and tick % given.status_every == 0:
                daemon.publish_raw(0, more[tick // given.status_every % len(more)])


if __name__ == "__main__":
    main()
