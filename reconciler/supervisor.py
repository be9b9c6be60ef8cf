"""Tells systemd how the daemon does, and that its event loop turns. Where nobody listens, nobody is told."""

import asyncio
import contextlib
import os
import socket
from collections.abc import MutableMapping
from time import monotonic_ns


class Supervisor:
    """What started us with Type=notify, if anything did."""

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        """Takes from the environment what is meant for us alone."""
        address = environ.pop("NOTIFY_SOCKET", "")
        limit = environ.pop("WATCHDOG_USEC", "") if environ.pop("WATCHDOG_PID", "") in ("", str(os.getpid())) else ""
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._every = int(limit) / 1e6 / 3 if limit.isdigit() else 0.0
        self._said = ""

    def status(self, text: str) -> None:
        """We are there, or have read everything again; and how the fleet does, in a line."""
        said = f"READY=1\nSTATUS={text}"
        if said != self._said:
            self._tell(said)

    def reloading(self) -> None:
        """What is declared is read again; the next `status` says that it was."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={monotonic_ns() // 1000}")

    def stopping(self, text: str) -> None:
        """We end."""
        self._tell(f"STOPPING=1\nSTATUS={text}")

    async def beat(self) -> None:
        """Say again and again that the event loop turns: when this is not heard, systemd starts another daemon."""
        while self._every:
            self._send("WATCHDOG=1")
            await asyncio.sleep(self._every)
        await asyncio.Event().wait()

    def _tell(self, said: str) -> None:
        self._said = said
        self._send(said)

    def _send(self, text: str) -> None:
        if self._address:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
                to.setblocking(False)
                to.sendto(text.encode(), self._address)


__all__ = ["Supervisor"]
