"""The way to the system manager: straight for a daemon that is root, through the broker for one that was installed."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from reconciler.act.aside import aside
from reconciler.act.units.broker import LARGEST, carry_out
from reconciler.act.units.manager import DEADLINE, Manager, RefusedError, SilentError
from reconciler.act.units.unit import OrderError

Units = list[dict[str, str]]


class Stream(NamedTuple):
    """What the journal tells, as `journalctl --output=export` writes it."""

    socket: socket.socket
    close: Callable[[], None]


class Door(Protocol):
    """Orders, and what the journal tells."""

    async def ask(self, op: str, *, within: float = DEADLINE, **fields: Any) -> Units:
        """Have an order carried out; how the units are that it is about. SilentError or RefusedError."""
        ...

    def journal(self, **begin: Any) -> Stream:
        """What units log from there on. OSError."""
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

    def journal(self, **begin: Any) -> Stream:
        """See `Door`."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                follower = self._manager.journal(begin, theirs.fileno())
            except (OSError, OrderError):
                ours.close()
                raise OSError("journalctl cannot be started") from None

        def close() -> None:
            ours.close()
            follower.kill()  # our own child, not reaped
            follower.wait()

        return Stream(ours, close)


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
            raise SilentError(f"holdfast-units cannot be reached: {(error.strerror or str(error)).lower()}") from None
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

    def journal(self, **begin: Any) -> Stream:
        """See `Door`."""
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(self._path)
            sock.sendall(json.dumps({"op": "journal", **begin}).encode() + b"\n")
        except OSError:
            sock.close()
            raise
        return Stream(sock, sock.close)


def _read(answer: dict[str, Any]) -> Units:
    if "silent" in answer:
        raise SilentError(str(answer["silent"]))
    if "refused" in answer:
        raise RefusedError(str(answer["refused"]))
    return answer["units"]


def hang_up(stream: Stream) -> None:
    """End whoever waits for what it tells."""
    with contextlib.suppress(OSError):
        stream.socket.shutdown(socket.SHUT_RDWR)
