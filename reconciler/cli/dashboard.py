"""`holdfast tui`: the dashboard, on this terminal."""

import argparse
import gc
import os
import signal
import sys
import threading

from reconciler.cli.places import places
from reconciler.cli.reach import remote
from reconciler.client import Client
from reconciler.client.gateway import key_in
from reconciler.model.errors import HoldfastError

_PR_SET_PDEATHSIG = 1
_RARELY = (20_000, 20, 1000)
"""How often Python looks for cycles: a look at all that the dashboard is made of takes as long as three frames."""


def tui(chosen: argparse.Namespace) -> int:
    """Show it until it is left."""
    if why := unfit():
        raise HoldfastError(f"cannot show the dashboard: {why}; `holdfast status` and `holdfast top --once` print")
    key_in(chosen.key_file)  # what is wrong with it is said before anybody chats
    if _served():
        _end_with_server()
    return show(machines(chosen), chosen)


def _served() -> bool:
    """Whether a browser shows it: that is as good as a terminal."""
    return "TEXTUAL_DRIVER" in os.environ


def _end_with_server() -> None:
    """Have the kernel end us with `holdfast web`, however that ends."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def show(clients: dict[str, Client], chosen: argparse.Namespace) -> int:
    """The same, of daemons that are known."""
    from reconciler.cli import colours

    if not _served():
        for name in ("COLUMNS", "LINES"):  # as some shell once saw it; the terminal itself knows better
            os.environ.pop(name, None)
    worn: list[str] = []
    asking = threading.Thread(target=lambda: worn.append(colours.theme(chosen)))
    asking.start()  # a terminal far away takes as long to answer as the dashboard to be read
    gc.disable()
    from tui.app import show as shown

    gc.freeze()  # none of that ever goes
    gc.set_threshold(*_RARELY)
    gc.enable()
    asking.join()
    return shown(
        clients,
        theme=worn[0],
        every=chosen.interval,
        remember=colours.remember,
        key_file=chosen.key_file,
    )


def unfit() -> str:
    """Why there can be no dashboard here; empty where there can."""
    if _served():
        return ""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return f"{'stdout' if sys.stdin.isatty() else 'stdin'} is no terminal"
    if os.environ.get("TERM", "dumb") == "dumb":
        return "this terminal (TERM=dumb) cannot move its cursor"
    return ""


def machines(chosen: argparse.Namespace) -> dict[str, Client]:
    """The daemons that are meant, by the names of their machines: this one where none is named, or as `localhost`."""
    here = Client(places(chosen).socket)
    if not chosen.hosts:
        return {"": here}
    return {host: here if host == "localhost" else remote(chosen, host).client for host in chosen.hosts}
