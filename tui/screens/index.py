"""Where each screen is; read when it is first visited, or ahead of that."""

import importlib
import threading
from collections.abc import Callable
from typing import cast

from textual.binding import Binding

from tui.screens.place import PLACES, Place
from tui.screens.workloads import OnWorkload

SCREENS = {
    "Fleet": "tui.screens.fleet:Fleet",
    "Plan": "tui.screens.plan:Plan",
    "GPUs": "tui.screens.gpus:Gpus",
    "Events": "tui.screens.events:Events",
    "Chat": "tui.screens.chat:Chat",
    "Workload": "tui.screens.workload:WorkloadScreen",
    "Logs": "tui.screens.logs:Logs",
    "Help": "tui.screens.help:Help",
}


_SOON = 0.05
"""Seconds."""
_WANTED = ("tui.view.foresee",)
"""What is dear, and wanted by a screen once it is visited."""


def kind(name: str) -> type[Place]:
    """The class of a screen."""
    module, _, attribute = SCREENS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def made(name: str, key: str = "") -> Place:
    """A new one; `key`: of the workload that it is about."""
    make = cast("Callable[..., Place]", kind(name))
    return make(key) if key else make()


def elsewhere(key: str) -> str:
    """Where a key that does nothing here does something, in words; empty where it does nowhere."""
    if any(isinstance(each, Binding) and each.key == key for each in OnWorkload.BINDINGS):
        return f"{key} is for a workload: point at one on Fleet (1), or open it"
    ways = {title: f"{title} ({number})" for number, title in PLACES} | {"Logs": "Logs (l on a workload)"}
    found = {
        name: each
        for name in ways
        for each in vars(kind(name)).get("BINDINGS", ())
        if isinstance(each, Binding) and each.show and each.key == key
    }
    shown = next((each.key_display or key for each in found.values()), "")
    if len(shown) != 1:
        return ""
    does = "".join(f": {each.tooltip or each.description}" for each in found.values() if len(found) == 1)
    return f"{shown} is a key of {', '.join(ways[name] for name in found)}{does}"


def read_ahead(then: Callable[[], object]) -> None:
    """Read them all in a thread, so that nobody waits for it who visits one; what was drawn is written before that.

    `then` is called in that thread once the places are read.
    """

    def read() -> None:
        for _, title in PLACES:
            kind(title)
        then()
        for name in SCREENS:
            kind(name)
        for name in _WANTED:
            importlib.import_module(name)

    ahead = threading.Timer(_SOON, read)
    ahead.daemon = True
    ahead.start()
