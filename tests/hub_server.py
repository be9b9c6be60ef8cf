"""A hub on this machine: it speaks Hugging Face's and ModelScope's APIs, and misbehaves as it is told."""

import contextlib
import hashlib
import json
import ssl
import threading
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

COMMIT = "c" * 40


@dataclass(kw_only=True)
class Hub:
    """What it has, how it behaves, what it saw."""

    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """By `org/name`: files."""
    plain: dict[str, bytes] = field(default_factory=dict)
    """By path: files of no repository."""
    lies: dict[str, bytes] = field(default_factory=dict)
    """By name of a file: other bytes than those it says it has."""
    answers: dict[str, tuple[int, dict[str, str]]] = field(default_factory=dict)
    """By a part of the path: a status instead of an answer, and headers."""
    token: str | None = None
    """Without it, 401."""
    cut_after: int | None = None
    """Bytes after which each connection ends."""
    rate: int | None = None
    """Bytes a second."""
    holds: int | None = None
    """Bytes of a file after which no more of it comes, until this is None."""
    ranges: bool = True
    etag: str = '"v1"'
    digests: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    """Of every file, beside those that belong there."""
    becomes: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    """By path: what is sent of it to those who go on, and its ETag; no If-Range is looked at."""
    tokens: set[str] = field(default_factory=set)
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Path and Range."""
    sent: Counter[str] = field(default_factory=Counter)
    """Bytes by path."""
    gone: threading.Event = field(default_factory=threading.Event)
    base: str = ""
    tls: ssl.SSLContext | None = None
    """What it answers https with."""


class _Ask(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing."""

    def do_GET(self) -> None:
        path = unquote(self.path.partition("?")[0])
        hub = self.hub
        hub.asked.append((path, self.headers.get("Range", "")))
        hub.tokens.add(self.headers.get("Authorization", ""))
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            for part, (status, headers) in list(hub.answers.items()):
                if part in path:
                    return self.say(status, b"", headers)
            if hub.token is not None and self.headers.get("Authorization") != f"Bearer {hub.token}":
                return self.say(401, b"")
            if path in hub.plain:
                return self.file(path, path, hub.plain[path])
            parts = path.strip("/").split("/")
            if parts[:2] == ["api", "models"]:
                return self.listing("/".join(parts[2:4]))
            if parts[:3] == ["api", "v1", "models"]:
                return self.modelscope("/".join(parts[3:5]))
            parts = parts[1:] if parts[0] == "models" else parts
            found = hub.repos.get("/".join(parts[:2]), {}).get("/".join(parts[4:]))
            if found is None:
                return self.say(404, b"")
            return self.file(path, "/".join(parts[4:]), found)
        return None

    def say(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def listing(self, repo: str) -> None:
        if repo not in self.hub.repos:
            return self.say(404, b"")
        siblings = []
        for name, data in self.hub.repos[repo].items():
            one: dict[str, object] = {"rfilename": name, "size": len(data)}
            if name.endswith((".gguf", ".safetensors")):
                one["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
            else:
                one["blobId"] = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            siblings.append(one)
        return self.say(200, json.dumps({"sha": COMMIT, "siblings": siblings}).encode())

    def modelscope(self, repo: str) -> None:
        files = [
            {"Path": name, "Type": "blob", "Size": len(data), "Sha256": hashlib.sha256(data).hexdigest()}
            for name, data in self.hub.repos.get(repo, {}).items()
        ]
        self.say(200, json.dumps({"Code": 200, "Data": {"Files": files}}).encode())

    def file(self, path: str, name: str, data: bytes) -> None:
        hub, etag, wish = self.hub, self.hub.etag, self.headers.get("Range", "")
        data = hub.lies.get(name, data)
        if wish and path in hub.becomes:
            data, etag = hub.becomes[path]
        size = len(data)
        begin = 0
        if wish and hub.ranges and (path in hub.becomes or self.headers.get("If-Range", hub.etag) == hub.etag):
            first, _, last = wish.removeprefix("bytes=").partition("-")
            begin, data = int(first), data[: int(last) + 1] if last else data
            if begin >= size:
                self.say(416, b"", {"Content-Range": f"bytes */{size}"})
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{size}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(data) - begin))
        for key, value in {"ETag": etag, **hub.headers}.items():
            self.send_header(key, value)
        self.end_headers()
        end = len(data) if hub.cut_after is None else min(len(data), begin + hub.cut_after)
        step = 65536 if hub.rate is None else max(1, hub.rate // 20)
        for place in range(begin, end, step):
            while hub.holds is not None and place >= hub.holds and not hub.gone.wait(0.01):
                pass
            piece = data[place : min(place + step, end)]
            self.wfile.write(piece)
            hub.sent[path] += len(piece)
            if hub.rate is not None and hub.gone.wait(0.05):
                break
        if end < len(data):
            self.close_connection = True


@contextlib.contextmanager
def hub_server(**more: object) -> Generator[Hub]:
    """It serves until the block ends."""
    hub = Hub(**more)  # pyright: ignore[reportArgumentType]
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Ask,), {"hub": hub}))
    server.daemon_threads = True
    server.block_on_close = False
    if hub.tls is not None:
        server.socket = hub.tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    hub.base = f"http{'s' if hub.tls is not None else ''}://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield hub
    finally:
        hub.gone.set()
        server.shutdown()
        server.server_close()


def pattern(size: int, seed: int = 1) -> bytes:
    """Bytes of which no two places look alike."""
    made = bytearray()
    while len(made) < size:
        made += hashlib.sha256(f"{seed}:{len(made)}".encode()).digest() * 32
    return bytes(made[:size])


__all__ = ["COMMIT", "Hub", "hub_server", "pattern"]
