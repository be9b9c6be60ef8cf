"""The examples of docs/gateway.md: nginx and Caddy before a gateway, each where it is installed. Ports 32080-32089."""

import asyncio
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from reconciler.model.routing import Site
from tests.eventually import eventually, eventually_async
from tests.gateway.certificates import client, make
from tests.gateway.client import Raw, chat, once, request
from tests.system.box import LATEST, ROOT
from tests.system.gate import Gate, Stream, gate

pytestmark = pytest.mark.system
GATEWAY, FRONT, PLAIN = 32080, 32081, 32082
HOST = "models.example.org"


def example(name: str) -> str:
    """A block of the document, for this gateway."""
    found = re.search(rf"<!-- {name} -->\n```\w*\n(.*?)```", (ROOT / "docs/gateway.md").read_text(), re.DOTALL)
    assert found
    return found[1].replace("127.0.0.1:8642", f"127.0.0.1:{GATEWAY}")


def nginx(place: Path) -> list[str]:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("needs nginx")
    pair = make(place, HOST)
    text = example("nginx").replace("listen 443 ssl", f"listen 127.0.0.1:{FRONT} ssl")
    text = re.sub(r"/etc/ssl/\S+\.pem", pair.certificate, text)
    text = re.sub(r"/etc/ssl/\S+\.key", pair.key, text)
    temporary = "".join(
        f"{name}_temp_path {place}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (place / "nginx.conf").write_text(
        f"daemon off;\nmaster_process off;\nerror_log stderr;\npid {place}/pid;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}{text}}}\n"
    )
    return [program, "-p", str(place), "-c", str(place / "nginx.conf")]


def caddy(place: Path) -> list[str]:
    program = shutil.which("caddy")
    if program is None:
        pytest.skip("needs caddy")
    pair = make(place, HOST)
    tls = f"    tls {pair.certificate} {pair.key}\n"  # there is nobody here to get one from
    text = example("caddy").replace(HOST, f"https://{HOST}:{FRONT}").replace("{\n", "{\n" + tls, 1)
    (place / "Caddyfile").write_text(
        f"{{\n    admin off\n    http_port {PLAIN}\n    skip_install_trust\n    storage file_system {place}\n}}\n{text}"
    )
    return [program, "run", "--config", str(place / "Caddyfile"), "--adapter", "caddyfile"]


@pytest.fixture
def gateway(tmp_path) -> Generator[Gate]:
    with gate(tmp_path, GATEWAY) as made:
        made.tell(sites=(Site(name="here"), Site(name="public", hosts=(HOST,))))
        made.start()
        yield made


@pytest.mark.parametrize("proxy", [nginx, caddy])
def test_answers_streams_and_errors_pass_through_it(gateway, proxy: Callable[[Path], list[str]]):
    with tempfile.TemporaryDirectory() as place:
        argv = proxy(Path(place))
        with subprocess.Popen(argv, env={**os.environ, "HOME": place}) as process:
            try:
                eventually(lambda: gateway.connects(FRONT), within=LATEST, what="the proxy listens")
                asyncio.run(passes(gateway))
            finally:
                process.terminate()
                process.wait(LATEST)


async def passes(gateway: Gate) -> None:
    tls = client()
    tls.set_alpn_protocols(["http/1.1"])

    def opened():
        return Raw.open(FRONT, tls=tls, name=HOST)

    async with await opened() as raw:
        for _ in range(20):
            answer = await raw.ask(chat().replace(b"host: gateway", f"host: {HOST}".encode()))
            assert answer.status == 200
    assert len({one.connection for one in gateway.engine.seen}) < 5, "connections are kept"
    script = gateway.engine.script = Stream()
    async with await opened() as raw:
        await raw.send(request(body={"model": "chat", "stream": True, "messages": []}, host=HOST))
        answer = await raw.head()
        pieces = raw.pieces(answer)
        first = await anext(pieces)
        assert b'"content"' in first, "a token comes while the stream goes on"
        script.ends = True
        rest = b"".join([piece async for piece in pieces])
        assert rest.endswith(b"data: [DONE]\n\n")
    async with await opened() as raw:
        answer = await raw.ask(request(body={"model": "nobody", "messages": []}, host=HOST))
        assert (answer.status, answer.json()["error"]["code"]) == (404, "model_not_found")
    gateway.engine.script = Stream()
    async with await opened() as raw:
        await raw.send(request(body={"model": "chat", "stream": True, "messages": []}, host=HOST))
        await raw.head()
    await eventually_async(lambda: not gateway.engine.working, what="a client that leaves is told to the engine")
    assert (await once(GATEWAY, request("GET", "/health"))).status == 200
