"""Ports of this machine that nobody is given by chance: not between being found free and being listened at, either."""

import socket

_kept: list[socket.socket] = []


def free_port() -> int:
    """Of 127.0.0.1. Nobody listens there; who is told of it may, as servers do: with SO_REUSEADDR or SO_REUSEPORT.

    It stays bound until these tests end, so that the kernel gives it to no other program and no connection.
    """
    kept = socket.socket()
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    kept.bind(("127.0.0.1", 0))
    _kept.append(kept)
    return kept.getsockname()[1]
