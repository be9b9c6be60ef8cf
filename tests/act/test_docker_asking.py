"""What the engine is asked, where it does not answer: no thread waits for it without end."""

import json
import socketserver
import threading
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from docker import APIClient
from docker.errors import APIError
from requests import Response
from requests.exceptions import ReadTimeout

from reconciler.act.docker import asking
from reconciler.act.docker.api import RefusedError, translated
from reconciler.act.docker.labels import RECORD, RUN, SLOT, STATE, TOKEN, name


class _Going(BaseHTTPRequestHandler):
    """An engine with one container that somebody else removes, and that is never gone."""

    protocol_version = "HTTP/1.1"
    over = threading.Event()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def address_string(self) -> str:
        return "unix"

    def say(self, status: int, said: Any) -> None:
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        labels = {STATE: "m:/s", SLOT: "chat/0", RUN: "1", TOKEN: "t", RECORD: "{}"}
        self.say(200, [{"Id": "c" * 64, "Names": [f"/{name('chat/0')}"], "State": "removing", "Labels": labels}])

    def do_DELETE(self) -> None:
        self.say(409, {"message": "removal of container is already in progress"})

    def do_POST(self) -> None:
        self.over.wait(60)


def test_a_container_that_is_never_gone_is_waited_for_within_the_client_s_deadline(tmp_path) -> None:
    server = socketserver.ThreadingUnixStreamServer(str(tmp_path / "s"), _Going)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    client: Any = APIClient(base_url=f"unix://{tmp_path}/s", version="1.41", timeout=1)
    try:
        with pytest.raises(ReadTimeout):
            asking.clear(client, "m:/s", "chat/0", "c" * 64)
    finally:
        _Going.over.set()
        client.close()
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("said", "status"),
    [("container 5f does not exist in database: no such container", 404), ("database is locked", 500)],
)
def test_podman_says_of_a_container_that_just_goes_that_there_is_none(said: str, status: int) -> None:
    answer = Response()
    answer.status_code = 500
    with pytest.raises(RefusedError, match=said) as told, translated():
        raise APIError("500 Server Error", response=answer, explanation=said)
    assert told.value.status == status
