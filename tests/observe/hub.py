"""A real HTTP server on this machine with files to fetch, and every way to misbehave."""

import contextlib
import json
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Way = Callable[["Ask"], None]


class Ask(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    hub: "LocalHub"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Nothing."""

    def do_GET(self) -> None:
        """Answer as the hub was told to."""
        hub = self.hub
        path = self.path.partition("?")[0]
        hub.asked.append((path, self.headers.get("Range", ""), self.headers.get("Authorization", "")))
        with contextlib.suppress(ConnectionError):
            (hub.ways.get(path) or hub.way)(self)

    def body(self) -> bytes | None:
        """The file asked for; 404 is sent where there is none."""
        data = self.hub.files.get(self.path.partition("?")[0])
        if data is None:
            self.head(404, {"Content-Length": "0"})
        return data

    def head(self, status: int, headers: dict[str, str]) -> None:
        """Status and headers."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def send(self, data: bytes) -> None:
        """Some of the body."""
        for place in range(0, len(data), 65536):
            self.wfile.write(data[place : place + 65536])
            self.hub.sent += len(data[place : place + 65536])


def ranges(ask: Ask) -> None:
    """As it should be: only the part that was asked for."""
    data = ask.body()
    if data is None:
        return
    first, _, last = ask.headers.get("Range", "").removeprefix("bytes=").partition("-")
    begin, end = int(first), min(int(last), len(data) - 1)
    if begin >= len(data):
        ask.head(416, {"Content-Length": "0"})
        return
    ask.head(206, {"Content-Range": f"bytes {begin}-{end}/{len(data)}", "Content-Length": str(end - begin + 1)})
    ask.send(data[begin : end + 1])


def whole(ask: Ask) -> None:
    """Ranges are not honoured."""
    data = ask.body()
    if data is not None:
        ask.head(200, {"Content-Length": str(len(data))})
        ask.send(data)


def other_part(ask: Ask) -> None:
    """Another part than the one asked for."""
    data = ask.body()
    if data is not None:
        ask.head(206, {"Content-Range": f"bytes 7-{len(data) - 1}/{len(data)}", "Content-Length": str(len(data) - 7)})
        ask.send(data[7:])


def cut(ask: Ask) -> None:
    """More is promised than comes."""
    data = ask.body()
    if data is not None:
        ask.head(200, {"Content-Length": str(len(data) * 2)})
        ask.send(data[:300])
        ask.close_connection = True


def endless(ask: Ask) -> None:
    """Never the end of it, and no length."""
    ask.close_connection = True
    ask.head(200, {"Connection": "close"})
    while True:
        ask.send(bytes(2**20))


def hang(ask: Ask) -> None:
    """Nothing comes."""
    ask.hub.released.wait(60)
    ask.close_connection = True


def drip(ask: Ask) -> None:
    """A byte now and then."""
    data = ask.body()
    if data is not None:
        ask.head(200, {"Content-Length": str(len(data))})
        for place in range(len(data)):
            ask.send(data[place : place + 1])
            if ask.hub.released.wait(0.05):
                break
        ask.close_connection = True


def compressed(ask: Ask) -> None:
    """Encoded though that was not wished."""
    ask.head(200, {"Content-Encoding": "gzip", "Content-Length": "3"})
    ask.send(b"abc")


def page(ask: Ask) -> None:
    """A page for people instead of the file."""
    text = b"<!doctype html><title>Sign in</title>" + b" " * 64
    ask.head(200, {"Content-Type": "text/html", "Content-Length": str(len(text))})
    ask.send(text)


def refused(status: int) -> Way:
    """Only a status."""
    return lambda ask: ask.head(status, {"Content-Length": "0"})


def redirect(base: str) -> Way:
    """The same path elsewhere."""
    return lambda ask: ask.head(302, {"Location": f"{base}{ask.path}", "Content-Length": "0"})


@dataclass(kw_only=True)
class LocalHub:
    """What it has, what it does, what it saw."""

    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    way: Way = ranges
    ways: dict[str, Way] = field(default_factory=dict[str, Way])
    asked: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    """Path, Range, Authorization."""
    sent: int = 0
    released: threading.Event = field(default_factory=threading.Event)
    base: str = ""

    def put(self, repo: str, name: str, data: bytes | object, revision: str = "main") -> None:
        """A file of a repository; what is no bytes as JSON."""
        body = data if isinstance(data, bytes) else json.dumps(data).encode()
        self.files[f"/{repo}/resolve/{revision}/{name}"] = body


@contextlib.contextmanager
def local_hub() -> Generator[LocalHub]:
    """It serves until the block ends."""
    hub = LocalHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Ask,), {"hub": hub}))
    server.daemon_threads = True
    server.block_on_close = False
    hub.base = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.released.set()
        server.shutdown()
        server.server_close()
        hub.files.clear()  # hundreds of megabytes, which a class for each hub would keep for long
