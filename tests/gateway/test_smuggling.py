"""However a request is written, an engine gets the one that was meant or none: never one that was hidden in another."""

import asyncio
import os
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.eventually import eventually
from tests.gateway.client import Raw, chat
from tests.gateway.gate import Gate, served
from tests.gateway.on_loop import on_loop
from tests.gateway.smuggling import BODY, PASSED, REFUSED
from tests.gateway.upstream import Upstream
from tests.ports import free_port

ALL = {**PASSED, **REFUSED}
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
WORDS = b'{"status":"ok"}'
LAST = b"GET /health HTTP/1.1\r\nhost: gateway\r\nx-last: 1\r\n\r\n"
CONFIG = """
daemon off; master_process off; pid {at}/pid; error_log {at}/error.log crit;
events {{ worker_connections 64; }}
http {{
  access_log off; client_body_temp_path {at}/body; proxy_temp_path {at}/proxy; fastcgi_temp_path {at}/fastcgi;
  uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;
  upstream engine {{ server 127.0.0.1:{engine}; keepalive 4; }}
  server {{
    listen 127.0.0.1:{port};
    location = /health {{ default_type application/json; return 200 '{words}'; }}
    location / {{ return 404; }}
    location ~ ^/v1/(chat/)?completions$ {{
      proxy_pass http://engine; proxy_http_version 1.1; proxy_set_header Connection "";
    }}
  }}
}}
"""


@dataclass(frozen=True)
class Told:
    """What came of one request."""

    statuses: tuple[str, ...]
    """Of the answers, in order; `end` where the connection ended, `open` where more was waited for."""
    seen: tuple[tuple[str, bytes], ...]
    """What the engine got: paths and bodies."""

    def __str__(self) -> str:
        return f"{' '.join(self.statuses)} | {', '.join(f'{path} {len(body)}' for path, body in self.seen) or '-'}"


async def told(port: int, engine: Upstream, data: bytes) -> Told:
    """Send it, and a sound request behind it: whoever answers that has found the end of the one before."""
    engine.seen.clear()
    statuses = list[str]()
    async with await Raw.open(port) as client:
        client.writer.write(data + LAST)
        try:
            while True:
                found = await client.answer(method="HEAD" if data.startswith(b"HEAD") and not statuses else "POST")
                statuses.append(str(found.status))
                if found.body == WORDS:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            statuses.append("end")
        except TimeoutError:
            statuses.append("open")
    for seen in engine.seen:
        assert seen.all("transfer-encoding") == [], seen.head
        assert seen.header("content-length") == str(len(seen.body)), seen.head
    return Told(tuple(statuses), tuple((seen.path, seen.body) for seen in engine.seen))


@on_loop
async def test_what_is_sound_reaches_an_engine_once_and_as_it_was_meant() -> None:
    async with Upstream() as engine, Gate(served("chat", [engine])) as gate:
        for name, data in PASSED.items():
            found = await told(gate.port, engine, data)
            assert found.seen == (("/v1/chat/completions", BODY),), f"{name}: {found}"
            assert found.statuses in {("200", "200"), ("200", "end")}, f"{name}: {found}"


@on_loop
async def test_what_could_be_read_in_two_ways_reaches_no_engine_and_ends_the_connection_where_its_end_is_unsure() -> (
    None
):
    async with Upstream() as engine, Gate(served("chat", [engine])) as gate:
        for name, data in REFUSED.items():
            found = await told(gate.port, engine, data)
            assert found.seen == (), f"{name}: {found}"
            its_end_is_sure = " hidden " in name  # answered 200 or 404, and so was what came behind it
            assert found.statuses[-1] == "end" or its_end_is_sure, f"{name}: {found}"
            assert (await gate.ask(chat())).status == 200, name


def nginx(engine: Upstream, at: Path) -> "tuple[subprocess.Popen[bytes], int]":
    port = free_port()
    config = at / "nginx.conf"
    config.write_text(CONFIG.format(at=at, engine=engine.port, port=port, words=WORDS.decode()))
    assert NGINX is not None
    running = subprocess.Popen([NGINX, "-e", str(at / "error.log"), "-c", str(config), "-p", str(at)])

    def listens() -> bool:
        assert running.poll() is None, (at / "error.log").read_text()
        with socket.socket() as there:
            return there.connect_ex(("127.0.0.1", port)) == 0

    eventually(listens)
    return running, port


@pytest.mark.skipif(NGINX is None, reason="no nginx to compare with")
@on_loop
async def test_an_engine_behind_the_gateway_never_sees_more_than_one_behind_nginx(tmp_path: Path) -> None:
    async with Upstream() as engine, Gate(served("chat", [engine])) as gate:
        running, port = nginx(engine, tmp_path)
        try:
            rows = [
                (name, await told(gate.port, engine, data), await told(port, engine, data))
                for name, data in ALL.items()
            ]
        finally:
            running.terminate()
            running.wait(60)
    table = "\n".join(f"{name:48} {ours!s:44} {theirs}" for name, ours, theirs in rows if ours != theirs)
    print(table)
    worse = [name for name, ours, theirs in rows if len(ours.seen) > len(theirs.seen) and name not in PASSED]
    assert not worse, f"{worse}\n{table}"
    changed = [name for name, ours, theirs in rows if ours.seen and theirs.seen and ours.seen[0] != theirs.seen[0]]
    assert not changed, f"{changed}\n{table}"
