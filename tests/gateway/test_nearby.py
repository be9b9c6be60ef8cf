"""A gateway without keys: programs of this machine may ask, and no page that a browser of this machine shows."""

from dataclasses import replace

import pytest

from reconciler.gateway.nearby import keyless
from reconciler.model.routing import Site
from tests.eventually import eventually_async
from tests.gateway.client import request
from tests.gateway.gate import Gate, served
from tests.gateway.on_loop import on_loop
from tests.gateway.test_exchange import code
from tests.gateway.upstream import Upstream

FORM = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nchat\r\n--x--\r\n'


@pytest.mark.parametrize(
    "host",
    [b"127.0.0.1:8642", b"localhost", b"LocalHost:1", b"[::1]:8642", b"box", b"host.docker.internal", b"a.local"],
)
def test_names_that_nobody_can_buy_are_answered(host: bytes) -> None:
    assert keyless(host, None, lambda _: False, local=True) is None
    assert keyless(host, b"http://" + host, lambda _: False, local=True) is None


@pytest.mark.parametrize("host", [b"evil.example", b"127.0.0.1.evil.example:8642", b"evil.example.", b"1.2.3.x"])
def test_names_that_somebody_may_have_bought_are_refused(host: bytes) -> None:
    assert keyless(host, None, lambda _: False, local=True) is not None
    assert keyless(b"127.0.0.1", b"https://" + host, lambda _: False, local=True) is not None
    assert keyless(host, b"https://" + host, {host.decode().partition(":")[0]}.__contains__, local=True) is None


@pytest.mark.parametrize("origin", [b"null", b"", b"evil.example"])
def test_a_page_that_does_not_say_whose_it_is_is_refused(origin: bytes) -> None:
    assert keyless(b"127.0.0.1", origin, lambda _: False, local=True) is not None


@on_loop
async def test_a_page_whose_name_leads_here_gets_no_answer() -> None:
    async with Upstream() as engine, Gate(served("chat", [engine])) as gate:
        for method, path in (("POST", "/v1/chat/completions"), ("GET", "/v1/models"), ("GET", "/metrics")):
            found = await gate.ask(request(method, path, {"model": "chat"}, host="evil.example:8642"))
            assert (found.status, code(found)) == (403, "foreign_host")
            assert "kind: Route" in found.json()["error"]["message"]
        site = Site(name="open", hosts=("evil.example",))
        gate.take(replace(gate.table, sites=(site,)))
        assert (await gate.ask(request(body={"model": "chat"}, host="evil.example:8642"))).status == 200


@on_loop
async def test_a_form_that_another_site_sends_reaches_no_engine() -> None:
    async with Upstream() as engine, Gate(served("chat", [engine])) as gate:
        headers = {"content_type": "multipart/form-data; boundary=x", "origin": "https://evil.example"}
        path = "/v1/audio/transcriptions"
        assert (await gate.ask(request("POST", path, FORM, "127.0.0.1", **headers))).status == 403
        assert not engine.seen


@on_loop
async def test_a_connection_from_elsewhere_is_not_open_when_the_last_key_is_gone() -> None:
    async with Upstream() as engine, Gate(served("chat", [engine])) as gate, await gate.open() as client:
        await eventually_async(lambda: gate.connections)
        gate.connections[0].local = False  # as one that came in at an address of the network
        assert (await client.ask(request(body={"model": "chat"}))).status == 401
        assert not engine.seen
