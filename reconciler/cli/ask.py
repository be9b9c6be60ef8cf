"""Verbs that ask the daemon for something. Each prints its sentence: what will happen."""

import argparse

from reconciler.cli.reach import daemon
from reconciler.cli.screen import Screen
from reconciler.cli.wait import held, missing, polled
from reconciler.model.errors import HoldfastError

_STEADY = 3
"""So many looks in a row must find it converged: the first may still be of the pass before."""


def restart(chosen: argparse.Namespace) -> int:
    """Replace one instance, or all."""
    name, index = slot(chosen.name)
    return _say(daemon(chosen).restart(name, index))


def stop(chosen: argparse.Namespace) -> int:
    """Stop it until it is resumed."""
    return _say(daemon(chosen).stop(chosen.name))


def pause(chosen: argparse.Namespace) -> int:
    """Do nothing to it, or to the whole fleet, until it is resumed."""
    return _say(daemon(chosen).pause(chosen.name))


def resume(chosen: argparse.Namespace) -> int:
    """Undo stop and pause, or the pause of the whole fleet."""
    return _say(daemon(chosen).resume(chosen.name))


def scale(chosen: argparse.Namespace) -> int:
    """Run so many."""
    return _say(daemon(chosen).scale(chosen.name, chosen.replicas))


def apply(chosen: argparse.Namespace) -> int:
    """One pass now, and perhaps wait until nothing is left to do."""
    client = daemon(chosen)
    _say(client.apply(prune=chosen.prune))
    if chosen.wait is None:
        return 0
    steady, idle, status = 0, 0, None
    for status in polled(client, within=chosen.wait):
        steady = steady + 1 if status.converged else 0
        idle = idle + 1 if held(status) else 0
        if steady == _STEADY:
            return _say("converged")
        if idle == _STEADY:
            raise HoldfastError(f"cannot converge: {status.paused}")
    left = "; ".join(missing(status)) if status else "the daemon has not looked yet"
    raise HoldfastError(f"cannot converge within {chosen.wait:g} s: {left}")


def slot(text: str) -> tuple[str, int | None]:
    """`chat/1` → chat, 1; `chat` → chat, None. Raises HoldfastError."""
    name, slash, index = text.partition("/")
    if not slash:
        return name, None
    if not (index.isascii() and index.isdigit() and len(index) < 5):
        raise HoldfastError(f"cannot find {text}: write NAME, or NAME/INDEX with a number")
    return name, int(index)


def _say(text: str) -> int:
    Screen().say(text)
    return 0
