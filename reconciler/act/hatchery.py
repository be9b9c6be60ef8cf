"""The daemon's end of the forkserver: keepers on request, and another forkserver where one has died."""

import asyncio
import errno
import json
import os
import socket
import subprocess
import sys
from typing import Any

from reconciler.act import forkserver, spawn

PATIENCE = 10.0
"""Seconds that a fork may take."""


class Hatchery:
    """Makes keepers. `nofile` is the soft limit of descriptors that engines are to have."""

    def __init__(self, nofile: int) -> None:
        self._nofile = nofile
        self._sock: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._next = 0
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}

    @property
    def pid(self) -> int | None:
        """The forkserver's; None where there is none."""
        return self._process.pid if self._process is not None and self._sock is not None else None

    def open(self) -> None:
        """Have a forkserver. OSError where none can be started."""
        if self._sock is not None:
            return
        if self._process is not None:
            self._process.poll()  # reaps the one that died
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", forkserver.__file__, str(theirs.fileno()), str(self._nofile)],
                pass_fds=[theirs.fileno()],
                env=spawn.scrubbed(dict(os.environ)),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        self._sock = ours
        asyncio.get_running_loop().add_reader(ours.fileno(), self._read)

    async def hatch(self, path: str) -> socket.socket:
        """A connection to a new keeper of the slot's directory at `path`. OSError where none can be had."""
        for last in (False, True):
            self.open()
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                answer = await self._ask(path, theirs)
            except (ConnectionError, TimeoutError):
                ours.close()
                if last:
                    raise OSError(errno.EAGAIN, "the forkserver died") from None
                continue
            except BaseException:
                ours.close()
                raise
            finally:
                theirs.close()
            if "errno" in answer:
                ours.close()
                raise OSError(answer["errno"], os.strerror(answer["errno"]))
            return ours
        raise OSError(errno.EAGAIN, "no forkserver")

    async def close(self) -> None:
        """Let the forkserver go. Its keepers stay."""
        self._drop()
        if self._process is not None:
            process = self._process
            try:
                await asyncio.to_thread(process.wait, 2.0)
            except subprocess.TimeoutExpired:
                process.kill()  # our own child, not reaped
                await asyncio.to_thread(process.wait)

    async def _ask(self, path: str, end: socket.socket) -> dict[str, Any]:
        if self._sock is None:
            raise ConnectionResetError
        self._next += 1
        number = self._next
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            socket.send_fds(self._sock, [json.dumps({"id": number, "path": path}).encode()], [end.fileno()])
            async with asyncio.timeout(PATIENCE):
                return await future
        except TimeoutError:
            self._drop()  # it hangs: another is tried
            raise
        except OSError as error:
            if isinstance(error, BlockingIOError):
                raise
            self._drop()
            raise ConnectionResetError from None
        finally:
            self._waiting.pop(number, None)

    def _read(self) -> None:
        while self._sock is not None:
            try:
                data = self._sock.recv(4096)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._drop()
                return
            answer = json.loads(data)
            future = self._waiting.get(answer["id"])
            if future is not None and not future.done():
                future.set_result(answer)

    def _drop(self) -> None:
        if self._sock is None:
            return
        asyncio.get_running_loop().remove_reader(self._sock.fileno())
        self._sock.close()
        self._sock = None
        if self._process is not None:
            self._process.poll()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ConnectionResetError())
