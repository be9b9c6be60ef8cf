"""Which TCP ports something listens on, and whether that is us. Looks only: it never binds and never connects."""

import errno
import os
import socket
import struct
from typing import NamedTuple

from reconciler.model.observation import Unknown
from reconciler.observe import processes

_SOCK_DIAG, _BY_FAMILY, _DUMP = 4, 20, 0x301  # NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP
_DONE, _ERROR = 3, 2
_LISTEN = 10
_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_RANKS = {
    socket.inet_pton(socket.AF_INET, "127.0.0.1"): 3,
    socket.inet_pton(socket.AF_INET6, "::ffff:127.0.0.1"): 3,
    bytes(4): 2,
    bytes(16): 1,
}
_MESSAGE, _NUMBER = struct.Struct("=IH"), struct.Struct("=I")
_PORT, _ADDRESS, _UID, _INODE = 20, 24, 80, 84  # offsets in an inet_diag_msg, its header of 16 bytes before it
_TABLES = {socket.AF_INET: "/proc/net/tcp", socket.AF_INET6: "/proc/net/tcp6"}


class Listener(NamedTuple):
    """A socket that accepts connections. A tuple, as a thousand of them are made for each look."""

    port: int
    inode: int
    rank: int
    """Which of several on one port gets a connection to 127.0.0.1: the highest; 0 never does."""
    uid: int = 0
    """Whose it is."""


def listening() -> frozenset[int] | Unknown:
    """TCP ports that something listens on, on any address."""
    found = listeners()
    return found if isinstance(found, Unknown) else frozenset(listener.port for listener in found)


def listeners() -> list[Listener] | Unknown:
    """Every listening TCP socket of this network namespace."""
    # The kernel is asked for listeners alone: 30 us. /proc/net/tcp walks every bucket of the table of connections,
    # 1.5 ms even where it is empty; it stands in where sock_diag is not to be had, as in some sandboxes.
    try:
        return _from_netlink()
    except OSError:
        pass
    try:
        return _from_proc()
    except (OSError, ValueError) as error:
        return Unknown(reason=f"cannot list listening ports: {error}")


def stranger(port: int, pid: int) -> str | Unknown | None:
    """Who else than the instance led by `pid` listens where 127.0.0.1:`port` leads: `pid 4242 python`; None: nobody."""
    found = listeners()
    if isinstance(found, Unknown):
        return found
    rank = max((listener.rank for listener in found if listener.port == port), default=0)
    wanted = {listener.inode for listener in found if listener.port == port and listener.rank == rank > 0}
    alone = processes.dynamic_user(pid)
    if alone is not None:
        # nothing else has that user; whose a socket is, can be seen where processes may not be looked into
        wanted -= {listener.inode for listener in found if listener.uid == alone}
    unseen = False
    for member in processes.children(pid):
        if not wanted:
            return None
        try:
            wanted -= processes.sockets(member)
        except PermissionError:
            unseen = True
    if not wanted:
        return None
    return _holder(wanted, pid, unseen=unseen)


def _holder(wanted: set[int], leader: int, *, unseen: bool) -> str | Unknown | None:
    """The same by looking at every process: ours may have left its parents, a stranger is to be named."""
    culprit = None
    for pid in processes.every():
        try:
            held = wanted & processes.sockets(pid)
        except PermissionError:
            unseen = unseen or processes.leader(pid, (leader,)) is not None
            continue
        if held:
            if processes.leader(pid, (leader,)) is not None:
                wanted = wanted - held
            else:
                culprit = culprit or f"pid {pid} {processes.name(pid)}"
    if not wanted:
        return None
    if culprit is None and unseen:
        return Unknown(reason="cannot see the sockets of its processes: run the daemon as the same user, or as root")
    return culprit or "another user's process"


def _from_netlink() -> list[Listener]:
    found: list[Listener] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _SOCK_DIAG) as link:
        link.settimeout(1.0)  # the kernel answers at once or not at all
        for family in _FAMILIES:
            link.send(
                struct.pack(
                    "=IHHII BBBBI 48x", 72, _BY_FAMILY, _DUMP, 1, 0, family, socket.IPPROTO_TCP, 0, 0, 1 << _LISTEN
                )
            )
            while _parse(link.recv(1 << 16), family, found):
                pass
    return found


def _parse(data: bytes, family: socket.AddressFamily, found: list[Listener]) -> bool:
    """Add what one answer tells; whether more is to come. Raises OSError for an error or a cut answer."""
    width = 4 if family == socket.AF_INET else 16
    at = 0
    while at + 16 <= len(data):
        length, kind = _MESSAGE.unpack_from(data, at)
        if kind == _DONE:
            return False
        if kind == _ERROR or length < _INODE + 4 or at + length > len(data):
            raise OSError(errno.EPROTO, "sock_diag did not answer")
        port = int.from_bytes(data[at + _PORT : at + _PORT + 2], "big")
        rank = _RANKS.get(data[at + _ADDRESS : at + _ADDRESS + width], 0)
        uid, inode = (_NUMBER.unpack_from(data, at + where)[0] for where in (_UID, _INODE))
        found.append(Listener(port, inode, rank, uid))
        at += (length + 3) & ~3
    return True


def _from_proc() -> list[Listener]:
    found: list[Listener] = []
    for family, path in _TABLES.items():
        if family == socket.AF_INET6 and not os.path.exists(path):
            continue  # a kernel without IPv6
        with open(path, "rb") as file:
            next(file)
            for line in file:
                fields = line.split(None, 10)
                if fields[3] != b"0A":
                    break  # listeners come first
                address, _, port = fields[1].partition(b":")
                words = bytes.fromhex(address.decode())
                # each word of an address is printed as a number of this machine
                raw = b"".join(words[i : i + 4][::-1] for i in range(0, len(words), 4))
                found.append(Listener(int(port, 16), int(fields[9]), _RANKS.get(raw, 0), int(fields[7])))
    return found
