"""What doctor says of the gateway: whether it answers, who may come in, and certificates."""

import json
from collections.abc import Callable

import pytest

from reconciler.cli.doctor_gateway import gateway
from reconciler.model.fleet import Fleet
from reconciler.spec.load import load_once
from tests.gateway.certificates import make
from tests.gateway.upstream import upstream
from tests.hub_server import hub_server

Declare = Callable[..., Fleet]


@pytest.fixture
def declare(tmp_path) -> Declare:
    """A fleet with a gateway that listens there."""

    def made(listen: str, *more: object) -> Fleet:
        node = {"kind": "Node", "name": "local", "gateway": {"listen": [listen]}}
        (tmp_path / "fleet.yaml").write_text("\n---\n".join(map(json.dumps, (node, *more))))
        found = load_once(str(tmp_path))
        assert not found.problems
        return found

    return made


def told(fleet: Fleet) -> list[tuple[str, str, str]]:
    return [(one.level, one.what, one.mend) for one in gateway(fleet, "box", "holdfast up")]


KEY = {"kind": "Access", "name": "team", "keys": [{"sha256": "0" * 64}]}


def test_an_address_that_answers_is_well_and_says_for_whom(declare):
    with upstream() as engine:  # its /health is no object of ours
        address = f"127.0.0.1:{engine.port}"
        assert told(declare(address)) == [
            (
                "bad",
                f"gateway: http://{address}: another program answers; end it, or declare another address",
                f"ss -ltnp 'sport = :{engine.port}'",
            )
        ]
    with hub_server(plain={"/health": b'{"status":"ok"}'}) as hub:
        address = hub.base.partition("://")[2]
        what = f"gateway: http://{address} answers, for "
        assert told(declare(address)) == [("ok", f"{what}this machine alone, without a key", "")]
        assert told(declare(address, KEY)) == [("ok", f"{what}keys of team", "")]


def test_an_address_where_nothing_answers_says_what_starts_it(declare):
    assert told(declare("127.0.0.1:9")) == [("warn", "gateway: http://127.0.0.1:9: connection refused", "holdfast up")]


def test_an_address_of_all_is_asked_on_this_machine(declare):
    [(level, what, _)] = told(declare("0.0.0.0:9", KEY))
    assert (level, what) == ("warn", "gateway: http://0.0.0.0:9: connection refused")


def test_certificates_that_cannot_be_used_are_told(declare, tmp_path):
    pair = make(tmp_path / "tls", "one.example")
    tls = {"certificate": pair.certificate, "key": pair.key}
    route = {"kind": "Route", "name": "one", "hosts": ["one.example"], "tls": tls}
    assert len(told(declare("127.0.0.1:9", route))) == 1
    (tmp_path / "tls" / "one.example.key").unlink()
    _, (level, what, _) = told(declare("127.0.0.1:9", route))
    assert (level, "cannot use the certificate" in what) == ("bad", True)


def test_https_without_any_certificate_is_told(declare):
    _, (level, what, _) = told(declare("https://127.0.0.1:9"))
    assert (level, what) == (
        "bad",
        "gateway: cannot answer at https://127.0.0.1:9: no certificate is declared: give a `kind: Route` a `tls`",
    )
