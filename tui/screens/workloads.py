"""A screen on which keys act on one workload: the one that is pointed at."""

import time
from typing import ClassVar

from textual.actions import parse
from textual.binding import Binding, BindingType

from tui.actions import VERBS, verb
from tui.screens.place import Place
from tui.view.world import Row
from tui.widgets.canvas import Canvas

_STARTLED = 1.0
"""Seconds in which a person sees that something else is pointed at; a key within them was not meant for that."""


class OnWorkload(Place):
    """Says which workload is pointed at; what can be done to it is here."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l", "on_it('Logs')", "logs", tooltip="read what it writes"),
        Binding("c", "on_it('Chat')", "chat", tooltip="talk to it"),
        *(Binding(each.key, f"order('{each.name}')", each.name) for each in VERBS),
    ]

    @property
    def row(self) -> Row | None:
        """The workload that is pointed at; None where none is."""
        raise NotImplementedError

    @property
    def index(self) -> int | None:
        """Of the instance that is pointed at, where it is one of several and not the workload."""
        return None

    def action_on_it(self, place: str) -> None:
        """Go to a screen that is of this workload."""
        if (row := self.row) is not None:
            self.board.visit(place, row.key)

    def action_order(self, name: str) -> None:
        """Do something to it."""
        if isinstance(self.focused, Canvas) and time.monotonic() < self.focused.strayed + _STARTLED:
            self.board.say("what was pointed at has just gone: nothing was done")
        elif (row := self.row) is not None:
            self.board.order(row, name, self.index if verb(name).instances else None)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What would do nothing is not offered."""
        if action not in ("on_it", "order"):
            return super().check_action(action, parameters)
        return not self._idle(action, str(parameters[0]))

    def refusal(self, key: str) -> str:
        """Of what can be done to a workload."""
        for binding in self._bindings.key_to_bindings.get(key, ()):
            _, action, parameters = parse(binding.action)
            if action in ("on_it", "order") and (told := self._idle(action, str(parameters[0]))):
                return told
        return super().refusal(key)

    def _idle(self, action: str, what: str) -> str:
        """Why nothing would come of it; empty where something would."""
        row = self.row
        if row is None:
            return f"{what.lower()}: no workload is pointed at"
        if action == "order":
            return verb(what).idle(row)
        return f"{row.workload.name} {row.mute}" if what == "Chat" and row.mute else ""
