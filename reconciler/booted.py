"""Whether this machine runs systemd, whether this daemon may have units of it, and where it is reached."""

import os
import pwd

USER = "holdfast"
"""Whom an installed daemon runs as."""
BROKER = "/etc/systemd/system/holdfast-units.socket"
"""What `holdfast install` gave it, so that it may have units without being root."""
SOCKET = "/run/holdfast-units.sock"
DAEMON = "/run/holdfast/holdfast.sock"
"""Where an installed daemon is spoken to by people."""
GATEWAYS = "/run/holdfast-gateways"
"""The directory of its socket for gateways, open to the group of the same name; so is that of a file made in it."""
WEIGHTS = "/var/cache/holdfast/models"
"""Where an installed daemon fetches weights to. The directory above is closed to others, and opened to engines."""
_BOOTED = "/run/systemd/system"


def installed() -> bool:
    """Whether this is the daemon that was installed, or root beside it: units are then what `runtime: auto` means."""
    return os.path.exists(BROKER) and (os.geteuid() == 0 or _name(os.geteuid()) == USER)


def no_units(booted: str = _BOOTED) -> str:
    """Why this daemon may have no units, and what to do; empty where it may."""
    if not os.path.isdir(booted):
        return "this machine was not booted with systemd; write runtime: process, or docker"
    if os.geteuid() != 0 and not installed():
        return "the daemon is neither root nor installed; `holdfast install` does that, or write runtime: process"
    return ""


def for_gateways(socket: str) -> str:
    """The daemon's socket for gateways, beside that for people: who routes need not be able to stop anything."""
    if socket == DAEMON:
        return f"{GATEWAYS}/holdfast.sock"
    stem, ending = os.path.splitext(socket)
    return f"{stem}-gateway{ending}"


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""
