"""Forks keepers: a small process that has read all their code once, so that each costs a fork and not an interpreter.

Started by the daemon as `python -I -S forkserver.py SOCKET NOFILE`; a request is a packet `{"id", "path"}` with one end
of a socket pair, the answer `{"id", "pid"}` or `{"id", "errno"}`. It ends with the daemon; the keepers do not.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import socket
import sys

sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from reconciler.act import keeper


def serve(requests: socket.socket) -> None:
    """Fork a keeper for each request, until the daemon is gone."""
    while True:
        try:
            data, descriptors, _, _ = socket.recv_fds(requests, keeper.PACKET, 1)
        except OSError:
            return
        if not data:
            return
        packet = json.loads(data)
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)  # an engine that had it would hide its keeper's death
        try:
            pid = os.fork()
        except OSError as error:
            answer = {"id": packet["id"], "errno": error.errno}
        else:
            if pid == 0:
                requests.close()
                become_keeper(packet["path"], descriptors)
            answer = {"id": packet["id"], "pid": pid}
        for descriptor in descriptors:
            os.close(descriptor)
        try:
            requests.send(json.dumps(answer).encode())
        except OSError:
            return


def become_keeper(path: str, descriptors: list[int]) -> None:
    """Never returns."""
    status = 1
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        null = os.open("/dev/null", os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        os.close(null)
        first = socket.socket(fileno=descriptors[0]) if descriptors else None
        keeper.main(path, first)
        status = 0
    finally:
        os._exit(status)


def main() -> None:
    """Serve on the inherited socket, with the limit of descriptors that engines are to have."""
    requests = socket.socket(fileno=int(sys.argv[1]))
    requests.set_inheritable(False)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft if hard < 0 else min(soft, hard), hard))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers that end are reaped by the kernel
    for number in (signal.SIGINT, signal.SIGHUP):  # whoever closes a terminal means neither us nor the keepers
        signal.signal(number, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    serve(requests)


if __name__ == "__main__":
    main()
