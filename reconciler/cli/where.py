"""`holdfast where`: where the fleet, its daemon and its gateway are. Who comes by ssh asks this first."""

import argparse
import json
import os
import socket
from dataclasses import asdict

from reconciler import __version__
from reconciler.cli.places import places
from reconciler.cli.reach import remote
from reconciler.cli.screen import Screen
from reconciler.client import Client
from reconciler.model.answers import Where
from reconciler.model.errors import ApiError
from tui.view.clean import line


def where(chosen: argparse.Namespace) -> int:
    """Print it. A daemon that is away has its places too."""
    found, screen = _here(chosen) if chosen.host is None else remote(chosen, chosen.host).look(), Screen()
    if chosen.json:
        screen.say(json.dumps(asdict(found), ensure_ascii=False))
        return 0
    rows = {
        "fleet": found.fleet,
        "state": found.state,
        "socket": found.socket,
        "gateway": ", ".join(found.gateway) or "none runs",
        **({"daemon": found.away} if found.away else {}),
    }
    screen.say("\n".join(f"{name:8} {line(text)}" for name, text in rows.items()))
    return 0


def _here(chosen: argparse.Namespace) -> Where:
    meant = places(chosen)
    client = Client(meant.socket, timeout=3.0)
    fleet, state, gateway, away = meant.fleet, meant.state, (), ""
    try:
        info = client.info()
        fleet, state = info.root, info.state
        status = client.status()
        gateway = status.gateway.listen if status.gateway is not None else ()
    except ApiError as error:
        away = str(error) if error.status is None else ""
    return Where(
        version=__version__,
        host=socket.gethostname(),
        fleet=os.path.abspath(fleet),
        state=os.path.abspath(state),
        socket=os.path.abspath(meant.socket),
        gateway=gateway,
        away=away,
    )
