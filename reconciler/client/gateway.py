"""How models are reached: where the gateway is, and the key that it is shown.

What a gateway says is passed on as it said it: whoever shows it cleans it.
"""

import contextlib
import http.client
import json
import os
import socket
from collections.abc import Callable, Generator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

from reconciler.client.crowded import crowded
from reconciler.model.errors import HoldfastError
from reconciler.model.status import Status

SILENCE = 300.0
"""Seconds that an answer may be silent."""
START = "start it with `holdfast up`"
_LONGEST = 500


class Gateway(NamedTuple):
    """Where it is: `http://127.0.0.1:8642`; and what each request says of who asks."""

    url: str
    headers: Mapping[str, str]
    on: str = ""
    """The machine whose address that is; empty for this one."""
    by: Callable[[], socket.socket] | None = None
    """Connects to it where its address means nothing here. Raises OSError or HoldfastError."""

    def lost(self, error: Exception, *, begun: bool = False) -> HoldfastError:
        """What to tell of a connection that failed; `begun`: in the middle of an answer."""
        said = error.strerror if isinstance(error, OSError) else ""
        there = f" on {self.on}" if self.on else ""
        if begun:
            why = "it was silent for too long" if isinstance(error, TimeoutError) else "it broke off its answer"
            return HoldfastError(f"lost the gateway at {self.url}{there}: {why}; see `holdfast events`")
        if why := crowded(error):
            return HoldfastError(f"cannot ask the gateway at {self.url}{there}: {why}")
        why = (said or str(error) or type(error).__name__).lower()
        advice = f"{START}{there}"
        if "certificate" in why:
            named = "mismatch" in why
            advice = (
                "name it as its certificate does: --url https://NAME"
                if named
                else "name its authority in SSL_CERT_FILE"
            )
        return HoldfastError(f"cannot reach the gateway at {self.url}{there}: {why}; {advice}")


def gateway(url: str, key_file: str | None = None) -> Gateway:
    """The one at an address, shown the key in a file, or HOLDFAST_KEY. Raises HoldfastError where either is none."""
    url = url.rstrip("/")
    if not _usable(url):
        raise HoldfastError(f"cannot use {url} as the gateway's address; write http://HOST:PORT or https://HOST")
    key = key_in(key_file)
    return Gateway(url=url, headers={"Authorization": f"Bearer {key}"} if key else {})


def _usable(url: str) -> bool:
    """Whether something can be reached there at all."""
    try:
        at = urlsplit(url)
        return at.scheme in ("http", "https") and bool((at.hostname or "").encode("idna")) and at.port != 0
    except ValueError:  # no such port, no such name
        return False


def address(status: Status, on: str = "") -> str:
    """Where the gateway is that a daemon knows, here or `on` a machine. Raises HoldfastError where there is none."""
    found = status.gateway
    if found is None or not found.listen:
        raise HoldfastError(f"cannot reach the gateway: none runs {f'on {on}' if on else 'here'}; {START}")
    return nearest(found.listen)


def nearest(listen: Sequence[str]) -> str:
    """Of the addresses where it listens, the best for its machine: without TLS, then on loopback, if there is one."""
    urls = [one.replace("://0.0.0.0:", "://127.0.0.1:").replace("://[::]:", "://[::1]:") for one in listen]
    return min(urls, key=lambda url: (url.startswith("https:"), not url.startswith(("http://127.", "http://[::1]"))))


def key_in(file: str | None) -> str:
    """The key in a file, or of the environment; empty where there is none. Raises OSError, or HoldfastError."""
    if file is not None:
        with open(file, encoding="utf-8", errors="replace") as opened:
            key, where = opened.readline(4096).strip(), file
    else:
        key, where = os.environ.get("HOLDFAST_KEY", "").strip(), "HOLDFAST_KEY"
    if not (key.isascii() and key.isprintable()) or " " in key or (file is not None and not key):
        raise HoldfastError(f"cannot use the key in {where}: a key is one line of letters, digits and signs")
    return key


@contextlib.contextmanager
def answered(
    gate: Gateway,
    method: str,
    path: str,
    body: Mapping[str, object] | None = None,
    *,
    connected: Callable[[socket.socket], None] = lambda _: None,
) -> Generator[http.client.HTTPResponse, None, None]:
    """An answer, whatever its status. Raises HoldfastError where it does not come, or breaks off.

    `connected` is given the connection: whoever shuts it down ends the answer.
    """
    at = urlsplit(gate.url)
    secure = at.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(at.hostname or "", at.port, timeout=SILENCE)
    raw = json.dumps(body).encode() if body is not None else None
    headers = {**gate.headers, **({"Content-Type": "application/json"} if raw is not None else {})}
    begun = False
    with contextlib.closing(connection):
        try:
            if gate.by is None:
                connection.connect()
            else:
                given = gate.by()
                given.settimeout(SILENCE)
                connection.sock = _secured(given, at.hostname or "") if secure else given
            connected(connection.sock)
            connection.request(method, at.path + path, raw, headers)
            response = connection.getresponse()
            begun = True
            yield response
        except (OSError, http.client.HTTPException) as error:
            raise gate.lost(error, begun=begun) from error


def _secured(connection: socket.socket, name: str) -> socket.socket:
    import ssl  # noqa: PLC0415  dear, and rarely wanted

    return ssl.create_default_context().wrap_socket(connection, server_hostname=name)


def refusal(status: int, raw: bytes, after: str | None = None) -> str:
    """What a gateway, or an engine behind it, says of a request that it does not answer: in its words.

    `after`: its `Retry-After`.
    """
    advice = "; `--key-file FILE` or HOLDFAST_KEY is the key that is shown" if status == HTTPStatus.UNAUTHORIZED else ""
    if after is not None and after.isascii() and after.isdigit() and len(after) < 6:
        advice += f"; try again in {after} s"
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
        return f"{message(json.loads(raw)['error'])} (status {status}{advice})"
    return f"it answered with status {status}{advice}"


def message(error: Any) -> str:
    """The words of an error, as they came, and not too many."""
    text: Any = cast("dict[str, Any]", error).get("message") if isinstance(error, dict) else error
    return " ".join(str(text).split())[:_LONGEST]
