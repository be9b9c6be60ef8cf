"""Certificates of sites, chosen by the name that a client asks for; read again when their files change."""

import os
import ssl
from collections.abc import Iterable, Sequence

from reconciler.model.routing import Certificate, Site


class Certificates:
    """The certificates of all sites. Connections that are open keep the one that they began with."""

    EVERY = 10.0
    """Seconds between two looks at the files."""

    def __init__(self) -> None:
        self._sites: Sequence[Site] = ()
        self._contexts: dict[Certificate, tuple[object, ssl.SSLContext]] = {}
        self.problems: dict[Certificate, str] = {}
        """What cannot be read, and why, for a person; what was read of it last is used on."""
        self.context = _context()
        """For servers: it has no certificate of its own, and takes the right one."""
        self.context.sni_callback = self._chosen

    def take(self, sites: Sequence[Site]) -> None:
        """Go by these sites."""
        self._sites = sites
        wanted = {site.tls for site in sites if site.tls is not None}
        for gone in self._contexts.keys() - wanted:
            del self._contexts[gone]
        self.look()

    def look(self) -> None:
        """Read what is new, and what has changed since it was read."""
        self.problems = {}
        for pair in dict.fromkeys(site.tls for site in self._sites if site.tls is not None):
            there = self._contexts.get(pair)
            try:
                seen = _seen(pair)
                if there is None or there[0] != seen:
                    context = _context()
                    context.load_cert_chain(pair.certificate, pair.key, password=_no_password)
                    self._contexts[pair] = (seen, context)
            except (OSError, ValueError) as error:
                self.problems[pair] = _why(pair, error, used=there is not None)

    def find(self, name: str | None) -> ssl.SSLContext | None:
        """The context for a name that a client asks for; None where no site is for it."""
        for pattern in _patterns(name.lower().rstrip(".") if name else ""):
            for site in self._sites:
                there = self._contexts.get(site.tls) if site.tls is not None else None
                if there is not None and (pattern in site.hosts if pattern else not site.hosts):
                    return there[1]
        return None

    def _chosen(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> int | None:
        found = self.find(name)
        if found is None:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        connection.context = found
        return None


def bare(listen: Iterable[str], sites: Iterable[Site]) -> list[str]:
    """Of addresses those that nobody can be served at, as no site has a certificate: in words, for people."""
    if any(site.tls is not None for site in sites):
        return []
    why = "no certificate is declared: give a `kind: Route` a `tls`"
    return [f"cannot answer at {address}: {why}" for address in listen if address.startswith("https://")]


def _patterns(name: str) -> Sequence[str]:
    """What sites may say to be for a name, best first; the empty one is those for every host."""
    _, _, above = name.partition(".")
    wild: list[str] = []
    while above:
        wild.append(f"*.{above}")
        _, _, above = above.partition(".")
    return (name, *wild, "") if name else ("",)


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    return context


def _seen(pair: Certificate) -> object:
    return tuple(
        (status.st_ino, status.st_mtime_ns, status.st_size) for status in (os.stat(pair.certificate), os.stat(pair.key))
    )


def _no_password() -> str:
    raise ValueError("the key is encrypted; decrypt it, nobody is asked for its password")


def _why(pair: Certificate, error: Exception, *, used: bool) -> str:
    if isinstance(error, ssl.SSLError):
        why = "they are no certificate and its key in PEM"
        if error.reason == "KEY_VALUES_MISMATCH":
            why = "the key is not that certificate's"
    elif isinstance(error, OSError):
        why = f"{error.filename or ''}: {(error.strerror or str(error)).lower()}".removeprefix(": ")
        if isinstance(error, PermissionError):
            why += "; let the gateway's user or group read it"
    else:
        why = str(error)
    still = "; what was read before is used on" if used else "; clients of its hosts are refused"
    return f"cannot use the certificate {pair.certificate} with the key {pair.key}: {why}{still}"
