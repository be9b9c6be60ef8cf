"""Every key of every screen, as the screens themselves declare them."""

import sys
from collections.abc import Iterable, Iterator
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.dom import DOMNode
from textual.screen import Screen
from textual.widget import Widget

from tui.actions import VERBS
from tui.screens import index
from tui.screens.place import Place
from tui.screens.workloads import OnWorkload
from tui.view.help import Section, help_page
from tui.view.world import World
from tui.widgets.canvas import Canvas

_ABOUT = {f"order('{verb.name}')": f"{verb.name}: {verb.about}" for verb in VERBS}


class Help(Place):
    """The keys."""

    place = "Help"
    BINDINGS: ClassVar[list[BindingType]] = []

    def body(self) -> Iterable[Widget]:
        """One page."""
        yield Canvas(id="help")

    def paint(self, world: World) -> None:  # noqa: ARG002  it is of the keys alone
        """It differs by width alone."""
        canvas = self.query_one("#help", Canvas)
        canvas.show(help_page(tuple(self._sections()), width=max(30, canvas.size.width - 1)))

    def _sections(self) -> Iterator[Section]:
        yield Section("Everywhere", self._keys(self.board.__class__))
        yield Section("Moving about", self._keys(Canvas))
        yield Section("A workload that is pointed at", self._keys(OnWorkload))
        for name in index.SCREENS:
            keys = tuple(pair for each in _of_module(index.kind(name)) for pair in self._keys(each))
            if keys:
                yield Section(name, tuple(dict.fromkeys(keys)))

    def _keys(self, declares: type[object]) -> tuple[tuple[str, str], ...]:
        found: list[tuple[str, str]] = []
        for binding in vars(declares).get("BINDINGS", ()):
            if isinstance(binding, Binding):
                shown = " ".join(self._shown(binding, key) for key in binding.key.split(","))
                found.append((shown, _ABOUT.get(binding.action, binding.tooltip or binding.description)))
        return tuple(found)

    def _shown(self, binding: Binding, key: str) -> str:
        return self.board.get_key_display(binding.with_key(key, binding.key_display))


def _of_module(screen: type[Place]) -> list[type[DOMNode]]:
    """The screen, and the widgets that it has beside the common one."""
    beside = vars(sys.modules[screen.__module__]).values()
    widgets = (each for each in beside if isinstance(each, type) and issubclass(each, Widget) and each is not Canvas)
    return [screen, *(each for each in widgets if each.__module__.startswith("tui.") and not issubclass(each, Screen))]
