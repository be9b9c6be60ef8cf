"""The way to the system manager: straight for a daemon that is root, through the broker for one that was installed."""

import asyncio
import contextlib
import json
import socket
import threading
from typing import Any, Protocol

from reconciler.act.aside import aside
from reconciler.act.units.broker import LARGEST, carry_out
from reconciler.act.units.manager import DEADLINE, Manager, RefusedError, SilentError
from reconciler.act.units.unit import OrderError

Units = list[dict[str, str]]


class Door(Protocol):
    """Orders, and what the journal tells."""

    async def ask(self, op: str, *, within: float = DEADLINE, **fields: Any) -> Units:
        """Have an order carried out; how the units are that it is about. SilentError or RefusedError."""
        ...

    def journal(self, **begin: Any) -> socket.socket:
        """What units log from there on, as `journalctl --output=export` writes it; at its end why. OSError."""
        ...


class Straight:
    """By ourselves, as we are root."""

    def __init__(self, state: str, weights: str) -> None:
        self._manager = Manager(state, weights)

    async def ask(self, op: str, *, within: float = DEADLINE, **fields: Any) -> Units:
        """See `Door`."""
        try:
            async with asyncio.timeout(within):
                return _read(await aside(lambda: carry_out(self._manager, {"op": op, **fields}), "units"))
        except TimeoutError:
            raise SilentError("it has not answered in time") from None

    def journal(self, **begin: Any) -> socket.socket:
        """See `Door`."""
        ours, theirs = socket.socketpair()
        threading.Thread(target=self._tell, args=(begin, theirs), name="journalctl", daemon=True).start()
        return ours

    def _tell(self, begin: dict[str, Any], peer: socket.socket) -> None:
        with peer, contextlib.suppress(OrderError):
            self._manager.journal(begin, peer)


class Broker:
    """By the broker that `holdfast install` set up."""

    def __init__(self, path: str) -> None:
        self._path = path

    async def ask(self, op: str, *, within: float = DEADLINE, **fields: Any) -> Units:
        """See `Door`."""
        try:
            async with asyncio.timeout(within):
                said = await self._ask({"op": op, **fields})
            return _read(json.loads(said))
        except TimeoutError:
            raise SilentError("holdfast-units has not answered in time") from None
        except OSError as error:
            raise SilentError(_unreachable(error)) from None
        except (ValueError, KeyError, TypeError):
            raise SilentError("holdfast-units said something that cannot be understood") from None

    async def _ask(self, packet: dict[str, Any]) -> bytes:
        reader, writer = await asyncio.open_unix_connection(self._path, limit=LARGEST)
        try:
            writer.write(json.dumps(packet).encode() + b"\n")
            said = await reader.readline()
        finally:
            writer.close()
        if not said:
            raise ConnectionResetError("it closed the connection")
        return said

    def journal(self, **begin: Any) -> socket.socket:
        """See `Door`."""
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(self._path)
            sock.sendall(json.dumps({"op": "journal", **begin}).encode() + b"\n")
        except OSError as error:
            sock.close()
            raise OSError(_unreachable(error)) from None
        return sock


def _unreachable(error: OSError) -> str:
    return f"holdfast-units cannot be reached: {(error.strerror or str(error)).lower()}"


def _read(answer: dict[str, Any]) -> Units:
    if "silent" in answer:
        raise SilentError(str(answer["silent"]))
    if "refused" in answer:
        raise RefusedError(str(answer["refused"]))
    return answer["units"]
