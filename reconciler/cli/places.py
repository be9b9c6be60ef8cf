"""Where the fleet, the state and the socket are: what was typed, the environment, then the customs of the machine."""

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass

from reconciler import booted

SYSTEM = ("/etc/holdfast/fleet.d", "/var/lib/holdfast", booted.DAEMON)


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The three places of one daemon."""

    fleet: str
    state: str
    socket: str


def places(
    chosen: argparse.Namespace, *, env: Mapping[str, str] | None = None, uid: int | None = None, here: bool = False
) -> Places:
    """The places that are meant.

    A directory that was typed wins, then the option, the environment, `./fleet.d` for verbs that may begin a fleet
    (`here`), and the default: of the system for root under systemd, and for whoever may use the system's daemon and
    has none; else of the user.
    """
    env = os.environ if env is None else env
    typed: dict[str, str | None] = vars(chosen)
    root = (os.geteuid() if uid is None else uid) == 0
    system = (root and "INVOCATION_ID" in env) or _beside_system(env)
    fleet = typed.get("directory") or typed.get("fleet") or env.get("HOLDFAST_FLEET")
    if fleet is None and here and os.path.isdir("fleet.d"):
        fleet = "fleet.d"
    own_state = typed.get("state") or env.get("HOLDFAST_STATE")
    state = own_state or (SYSTEM[1] if system else os.path.join(xdg(env, "STATE"), "holdfast"))
    socket = typed.get("socket") or env.get("HOLDFAST_SOCKET")
    if socket is None:
        # a state directory that somebody chose is another daemon's than the usual one
        socket = os.path.join(state, "holdfast.sock") if own_state else _socket(env, system=system, state=state)
    return Places(
        fleet=fleet or (SYSTEM[0] if system else os.path.join(xdg(env, "CONFIG"), "holdfast", "fleet.d")),
        state=state,
        socket=socket,
    )


def _socket(env: Mapping[str, str], *, system: bool, state: str) -> str:
    if system:
        return SYSTEM[2]
    runtime = env.get("XDG_RUNTIME_DIR", "")
    return (
        os.path.join(runtime, "holdfast", "holdfast.sock")
        if os.path.isabs(runtime)
        else os.path.join(state, "holdfast.sock")
    )


def _beside_system(env: Mapping[str, str]) -> bool:
    """Whether the system's daemon is here for us, and we have none of our own."""
    state = os.path.join(xdg(env, "STATE"), "holdfast")
    return os.access(SYSTEM[2], os.W_OK) and not os.path.exists(_socket(env, system=False, state=state))


def xdg(env: Mapping[str, str], what: str) -> str:
    """A user's directory: `CONFIG` or `STATE`."""
    given = env.get(f"XDG_{what}_HOME", "")
    if os.path.isabs(given):  # the specification: a relative one is to be ignored
        return given
    home = env.get("HOME") or os.path.expanduser("~")
    return os.path.join(home, {"CONFIG": ".config", "STATE": ".local/state"}[what])
