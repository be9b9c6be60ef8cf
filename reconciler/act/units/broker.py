"""Stands between a daemon without rights and the system manager: root's hand, for a few narrow orders and no more.

`python -m reconciler.act.units.broker STATE WEIGHTS` under `holdfast-units.socket`. A connection brings one order as a
line of JSON; the answer is a line of JSON, or what the journal tells until the other end is closed. Standard library
only.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import socket
import struct
import subprocess
import sys
import threading

from reconciler import booted
from reconciler.act.units.manager import ORDERS, Manager, RefusedError, SilentError
from reconciler.act.units.unit import OrderError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LARGEST = 4 * 2**20
"""Bytes of an order at most."""
IDLE = 60.0
"""Seconds without a connection after which it ends; systemd starts it for the next."""
_PATIENCE = 10.0
_AT_ONCE = 128
_LISTENING = 3
"""The descriptor that systemd hands over first."""


def main() -> None:
    """Serve on the socket that systemd made, until nobody comes."""
    state, weights = sys.argv[1:]
    if os.environ.get("LISTEN_FDS") != "1":
        raise SystemExit("holdfast-units: systemd has to start it, by holdfast-units.socket")
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(ORDERS):
            os.unlink(f"{ORDERS}/{name}")  # one that came before was killed while it started a unit
    broker = Broker(Manager(state, weights), pwd.getpwnam(booted.USER).pw_uid)
    broker.serve(socket.socket(fileno=_LISTENING))


class Broker:
    """Serves one user."""

    def __init__(self, manager: Manager, uid: int) -> None:
        self._manager, self._uid = manager, uid
        self._places = threading.BoundedSemaphore(_AT_ONCE)
        self._busy = 0
        self._lock = threading.Lock()

    def serve(self, server: socket.socket) -> None:
        """Until nobody has come for a while, and nobody is served."""
        server.settimeout(IDLE)
        while True:
            try:
                peer, _ = server.accept()
            except TimeoutError:
                if not self._busy:
                    return
                continue
            with peer:
                if _uid(peer) not in {0, self._uid} or not self._places.acquire(blocking=False):
                    continue
                self._count(+1)
                threading.Thread(target=self._answer, args=(peer.dup(),), daemon=True).start()

    def _answer(self, peer: socket.socket) -> None:
        try:
            with peer, contextlib.suppress(OSError):
                peer.settimeout(_PATIENCE)
                packet = _order(peer)
                if packet.get("op") == "journal":
                    peer.settimeout(None)
                    with contextlib.suppress(OrderError):
                        self._manager.journal(packet, peer)
                else:
                    peer.sendall(json.dumps(carry_out(self._manager, packet)).encode() + b"\n")
        finally:
            self._places.release()
            self._count(-1)

    def _count(self, by: int) -> None:
        with self._lock:
            self._busy += by


def carry_out(manager: Manager, packet: dict[str, Any]) -> dict[str, Any]:
    """What is answered to an order."""
    try:
        return {"units": manager.do(packet)}
    except SilentError as error:
        return {"silent": str(error)}
    except (RefusedError, OrderError) as error:
        return {"refused": str(error)}
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        return {"silent": f"the broker failed: {type(error).__name__}"}


def _order(peer: socket.socket) -> dict[str, Any]:
    data = bytearray()
    while not data.endswith(b"\n"):
        part = peer.recv(65536)
        if not part or len(data) + len(part) > LARGEST:
            raise ConnectionError
        data += part
    packet: Any = json.loads(data)
    if not isinstance(packet, dict):
        raise ConnectionError
    return packet  # pyright: ignore[reportUnknownVariableType]


def _uid(peer: socket.socket) -> int:
    """Who is at the other end, as the kernel says."""
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])


if __name__ == "__main__":
    main()
