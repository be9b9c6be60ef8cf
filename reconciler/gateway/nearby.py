"""Who may come in where no key is asked for: programs of this machine, and no page of a foreign site in its browser.

A site may have its own name lead to 127.0.0.1, so that its pages read what is answered there (DNS rebinding), and may
send forms without being asked. So the names that a request is for and from count, and they cannot be chosen by a page.
"""

import ipaddress
from collections.abc import Callable

from reconciler.gateway.access import NO_KEY
from reconciler.gateway.refusal import Refusal

_OURS = (".localhost", ".local", ".internal")
"""Names beneath these can be bought by nobody."""


def is_local(address: str) -> bool:
    """Whether only this machine reaches an IP address."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def keyless(
    host: bytes | None, origin: bytes | None, declared: Callable[[str], object], *, local: bool
) -> Refusal | None:
    """Why a request without a key is refused; None where it is not.

    `host`, `origin`: these headers. `declared`: whether a host is one of a site's. `local`: whether the connection
    came in at an address of this machine alone: one may be open still from when keys were asked for.
    """
    if not local:
        return NO_KEY
    if host is not None and (refused := _foreign(host, declared)) is not None:
        return refused
    if origin is not None:
        scheme, _, whose = origin.partition(b"://")
        return _foreign(whose or scheme + b".", declared)
    return None


def _foreign(host: bytes, declared: Callable[[str], object]) -> Refusal | None:
    name = host.decode("latin-1").lower()
    if name.startswith("["):
        return None
    name = name.partition(":")[0]
    if "." not in name or name.endswith(_OURS) or name.replace(".", "").isdecimal() or declared(name):
        return None
    message = (
        f"cannot answer a page of {name[:100]} without a key: it may be of anybody; ask 127.0.0.1 or localhost, or "
        "declare a `kind: Access`, or a `kind: Route` with this host"
    )
    return Refusal(status=403, code="foreign_host", message=message)
