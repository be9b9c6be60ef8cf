"""Stands between a client and a unix socket, and can stop answering, answer in part, or answer itself."""

import contextlib
import os
import socket
import threading
from collections.abc import Callable


class Proxy:
    """Forwards every connection, until told otherwise."""

    def __init__(self, path: str, target: str) -> None:
        self.path, self._target = path, target
        self.hanging = False
        """Whether nothing is forwarded any more; connections are still accepted."""
        self.cut: int | None = None
        """Bytes of an answer after which its connection is closed."""
        self.lies: Callable[[str], tuple[int, bytes] | None] = lambda _: None
        """What it answers itself to a request with this first line: status and body."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(path)
        self._server.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            there = socket.socket(socket.AF_UNIX)
            try:
                there.connect(self._target)
            except OSError:
                client.close()
                continue
            for ends, limited in (((client, there), False), ((there, client), True)):
                threading.Thread(target=self._copy, args=(*ends, limited), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket, limited: bool) -> None:
        sent = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                while self.hanging:
                    threading.Event().wait(0.02)
                lie = None if limited else self.lies(data.split(b"\r\n", 1)[0].decode(errors="replace"))
                if lie is not None:
                    status, body = lie
                    head = f"HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
                    source.sendall(f"{head}\r\n\r\n".encode() + body)
                    continue
                if limited and self.cut is not None and sent + len(data) > self.cut:
                    target.sendall(data[: self.cut - sent])
                    break
                target.sendall(data)
                sent += len(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._server.close()
