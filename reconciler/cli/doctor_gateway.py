"""Whether clients reach the gateway at the addresses that are declared, and who they have to be."""

import http.client
import json
import ssl
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from reconciler.cli.finding import Finding
from reconciler.model.fleet import Fleet
from reconciler.model.routing import Certificate, Site

_PATIENCE = 2.0
_STRANGER = "another program answers"
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  where a socket for all addresses is reached


def gateway(fleet: Fleet, host: str, start: str) -> Iterator[Finding]:
    """`host`: name of this machine; `start`: the command that starts a gateway here."""
    for address in fleet.node(host).gateway.listen:
        wrong = _asked(address)
        if wrong == _STRANGER:
            which = f"ss -ltnp 'sport = :{urlsplit(address).port}'"
            yield Finding("bad", f"gateway: {address}: {wrong}; end it, or declare another address", which)
        elif wrong:
            yield Finding("warn", f"gateway: {address}: {wrong}", start)
        else:
            keys = f"keys of {', '.join(sorted(fleet.access))}" if fleet.access else "this machine alone, without a key"
            yield Finding("ok", f"gateway: {address} answers, for {keys}")
    yield from _certificates(fleet, fleet.node(host).gateway.listen)


def _asked(address: str) -> str:
    """Why the gateway does not answer there; empty where it does."""
    url = urlsplit(address)
    host = _ANY.get(url.hostname or "", url.hostname or "")
    unchecked = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
    try:
        if url.scheme == "https":
            connection = http.client.HTTPSConnection(host, url.port, timeout=_PATIENCE, context=unchecked)
        else:
            connection = http.client.HTTPConnection(host, url.port, timeout=_PATIENCE)
        connection.request("GET", "/health")
        told = json.loads(connection.getresponse().read(65536))
    except (ssl.SSLError, ConnectionResetError):
        return ""  # it answers those alone who name one of its sites
    except OSError as error:
        return (error.strerror or str(error)).lower()
    except (http.client.HTTPException, ValueError):
        return _STRANGER
    return "" if told == {"status": "ok"} or "error" in told else _STRANGER


def _certificates(fleet: Fleet, listen: Sequence[str]) -> Iterator[Finding]:
    from reconciler.gateway.tls import Certificates, bare

    pairs = ((route.name, route.tls) for route in fleet.routes.values() if route.tls is not None)
    sites = [Site(name=name, tls=Certificate(certificate=tls.certificate, key=tls.key)) for name, tls in pairs]
    certificates = Certificates()
    certificates.take(sites)
    for problem in (*certificates.problems.values(), *bare(listen, sites)):
        yield Finding("bad", f"gateway: {problem}")
