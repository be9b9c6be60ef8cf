"""A gateway that answers what it is told to, and remembers what it was asked."""

import json
import ssl
import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Quiet(ThreadingHTTPServer):
    """Says nothing of a client that has heard enough and left."""

    def handle_error(self, request: object, client_address: object) -> None:
        pass


class Front:
    """Listens at `url` while `running` is open."""

    def __init__(self) -> None:
        front = self
        self.asked: list[dict[str, Any]] = []
        """Bodies."""
        self.shown: list[str | None] = []
        """What each request gave as Authorization."""
        self.paths: list[str] = []
        self.says: Iterable[bytes] = []
        self.headers: dict[str, str] = {}
        """What each answer has beside its own."""
        self.refuses: tuple[int, bytes] | None = None
        self.on_ask = lambda _: None

        class Answers(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                front.asked.append(asked)
                front.on_ask(asked)
                self._answer(front.says)

            def do_GET(self) -> None:
                self._answer([b"{}"])

            def _answer(self, says: Iterable[bytes]) -> None:
                front.paths.append(self.path)
                front.shown.append(self.headers["Authorization"])
                refusal = front.refuses
                self.send_response(refusal[0] if refusal else 200)
                self.send_header("Transfer-Encoding", "chunked")
                for name, value in front.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                for piece in [refusal[1]] if refusal else says:
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                    self.wfile.flush()
                self.wfile.write(b"0\r\n\r\n")

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                return

        self.server = Quiet(("127.0.0.1", 0), Answers)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@contextmanager
def running(tls: ssl.SSLContext | None = None) -> Generator[Front, None, None]:
    """One that listens, as `https://localhost` where it has a certificate."""
    made = Front()
    if tls is not None:
        made.server.socket = tls.wrap_socket(made.server.socket, server_side=True)
        made.url = f"https://localhost:{made.server.server_address[1]}"
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()


def events(*pieces: str, usage: tuple[int, int] | None = None) -> list[bytes]:
    """A whole stream of a chat: its pieces, and the usage at its end."""
    made: list[dict[str, Any]] = [{"choices": [{"delta": {"role": "assistant", "content": ""}}]}]
    made += [{"choices": [{"delta": {"content": piece}, "finish_reason": None}]} for piece in pieces]
    made.append({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    if usage is not None:
        made.append({"choices": [], "usage": {"prompt_tokens": usage[0], "completion_tokens": usage[1]}})
    return [*(b"data: " + json.dumps(one).encode() + b"\n\n" for one in made), b"data: [DONE]\n\n"]
