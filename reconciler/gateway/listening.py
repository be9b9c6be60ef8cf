"""The sockets that clients connect to: for each address as many as there are workers, so that each has its own."""

import contextlib
import errno
import ipaddress
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

BACKLOG = 4096
"""Connections that may wait to be accepted, at each socket."""
_LISTENS = "0A"


@dataclass(frozen=True, slots=True)
class Address:
    """Where clients connect to."""

    text: str
    """As declared: `http://127.0.0.1:8642`."""
    secure: bool
    host: str
    port: int

    @property
    def local(self) -> bool:
        """Whether only this machine reaches it."""
        return ipaddress.ip_address(self.host).is_loopback


@dataclass(frozen=True, slots=True)
class Listen:
    """Where a worker is to accept."""

    number: int
    """Grows with each order to one worker."""
    at: tuple[str, ...]
    """Addresses, one for each socket that comes with it."""


def parse(text: str) -> Address:
    """An address as it is declared. Raises ValueError that says what it cannot be."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port is None or parts.path.strip("/"):
        raise ValueError(f"cannot listen at {text}: write http:// or https://, an IP address and a port")
    try:
        host = str(ipaddress.ip_address(parts.hostname))
    except ValueError:
        raise ValueError(f"cannot listen at {text}: {parts.hostname} is no IP address") from None
    return Address(text, parts.scheme == "https", host, parts.port)


class Listening:
    """All sockets that are open, and why others are not."""

    def __init__(self, descriptors: Mapping[str, Sequence[int]] | None = None) -> None:
        """`descriptors` of sockets that are open already, by address."""
        self.sockets = {
            text: [socket.socket(fileno=each) for each in some] for text, some in (descriptors or {}).items()
        }
        self.refused: dict[str, str] = {}
        """Address → why it is not open, for a person."""

    def want(self, declared: Sequence[str], workers: int, *, keyed: bool) -> None:
        """Be open at the declared addresses, with a socket for each worker.

        `keyed`: somebody has to show a key. Without, only this machine may come in. An address never has fewer sockets
        than it had: closing one would break off the connections that wait at it.
        """
        self.refused = {}
        wanted: dict[str, Address] = {}
        for text in declared:
            try:
                address = wanted[text] = parse(text)
                if not address.local and not keyed:
                    del wanted[text]
                    self.refused[text] = (
                        f"cannot listen at {text}: others reach it, and nobody has to show a key; declare a "
                        "`kind: Access`, or listen at 127.0.0.1"
                    )
            except ValueError as error:
                self.refused[text] = str(error)
        for text in self.sockets.keys() - wanted.keys():
            self._close(text)
        for text, address in wanted.items():
            try:
                self._open(address, workers)
            except OSError as error:
                self.refused[text] = _why(address, error)

    def close(self) -> None:
        """Refuse whoever comes from now on."""
        for text in [*self.sockets]:
            self._close(text)

    def _open(self, address: Address, count: int) -> None:
        there = self.sockets.get(address.text, [])
        if not there:
            # with SO_REUSEPORT alone another program of the same user would share our connections, and nobody notice
            _bound(address, shared=False).close()
        while len(there) < count:
            there.append(_bound(address, shared=True))
            there[-1].listen(BACKLOG)
            self.sockets[address.text] = there

    def _close(self, text: str) -> None:
        for each in self.sockets.pop(text):
            each.close()


def _bound(address: Address, *, shared: bool) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if made.family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((address.host, address.port))
    except BaseException:
        made.close()
        raise
    return made


def _why(address: Address, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        who = _listener(address)
        return f"cannot listen at {address.text}: {who or 'another program'} does; end it, or declare another address"
    if error.errno == errno.EACCES:
        return (
            f"cannot listen at {address.text}: ports below 1024 are for root; declare another port, or give the "
            "gateway CAP_NET_BIND_SERVICE, as the service that `holdfast install` makes has it"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"cannot listen at {address.text}: this machine has no such address"
    return f"cannot listen at {address.text}: {(error.strerror or str(error)).lower()}"


def _listener(address: Address) -> str:
    """Who listens there, as `pid 4242 (nginx)`; empty where it cannot be told."""
    table = "/proc/net/tcp6" if ":" in address.host else "/proc/net/tcp"
    inodes: set[str] = set()
    with contextlib.suppress(OSError), open(table, encoding="ascii") as file:
        for fields in map(str.split, file):
            if fields[3] == _LISTENS and fields[1].endswith(f":{address.port:04X}"):
                inodes.add(f"socket:[{fields[9]}]")
    for pid in filter(str.isdigit, os.listdir("/proc") if inodes else ()):
        with contextlib.suppress(OSError):
            for descriptor in os.listdir(f"/proc/{pid}/fd"):
                if os.readlink(f"/proc/{pid}/fd/{descriptor}") in inodes:
                    with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as name:
                        return f"pid {pid} ({name.read().strip()})"
    return ""
