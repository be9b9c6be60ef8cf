"""The daemon and the gateway that a command means: here, or on the machine that was typed. No key is ever typed."""

import argparse
import atexit
import os
import signal
import threading
from types import FrameType
from typing import TYPE_CHECKING

from reconciler.cli.places import places
from reconciler.client import Client
from reconciler.client.gateway import Gateway, gateway
from reconciler.model.errors import HoldfastError

if TYPE_CHECKING:
    from reconciler.client.remote import Remote


def daemon(chosen: argparse.Namespace) -> Client:
    """That of `--host`, else the one here. Raises HoldfastError where no machine is called that."""
    host = vars(chosen).get("host")
    return Client(places(chosen).socket) if host is None else remote(chosen, host).client


def reach(chosen: argparse.Namespace) -> Gateway:
    """It, with the key that it is shown. Raises HoldfastError where there is none, or no such key."""
    if chosen.url and vars(chosen).get("host") is not None:
        raise HoldfastError("cannot use --host beside --url: either is where the gateway is")
    return gateway(chosen.url, chosen.key_file) if chosen.url else daemon(chosen).gateway(chosen.key_file)


def remote(chosen: argparse.Namespace, host: str) -> "Remote":
    """A machine, until this process ends. What was typed of places is meant there."""
    from reconciler.client.remote import Remote

    typed = vars(chosen)
    made = Remote(host, [f"--{name}={typed[name]}" for name in ("fleet", "state", "socket") if name in typed])
    atexit.register(made.close)
    _made.append(made)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL and threading.current_thread() is threading.main_thread():
            signal.signal(number, _ended)
    return made


_made: "list[Remote]" = []


def _ended(number: int, _frame: FrameType | None) -> None:
    """Leave nothing behind, and end by that signal all the same."""
    for each in _made:
        each.abandon()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
