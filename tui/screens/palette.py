"""Everything that can be done, found by its name: on what is pointed at, here, elsewhere, and on every workload."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import ClassVar, cast

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Input

from tui.actions import VERBS
from tui.screens.place import Place
from tui.screens.question import Question
from tui.screens.workloads import OnWorkload
from tui.theme import THEMES
from tui.view.clean import line
from tui.view.palette import Name, meant, palette
from tui.view.world import Row, index
from tui.widgets.canvas import Canvas
from tui.widgets.line import Line

Do = Callable[[], object]


class Palette(Question[None]):
    """A line to type in, and what is called so."""

    DEFAULT_CSS = """
    Palette { align: center top; background: $background 60%; }
    Palette > Vertical { width: 84; max-width: 94%; height: 70%; margin-top: 2; padding: 1 1; background: $panel; }
    Palette Input, Palette Input:focus { border: none; height: 1; padding: 0 1; background: $cursor; margin-bottom: 1; }
    Palette Canvas > .canvas--blurred { background: $cursor; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+p", "dismiss", "leave"),
        Binding("up,ctrl+k", "move(-1)", "up"),
        Binding("down,ctrl+j", "move(1)", "down"),
        Binding("pageup", "page(-1)", "a page up"),
        Binding("pagedown", "page(1)", "a page down"),
    ]

    def __init__(self, place: Place) -> None:
        """`place`: where it was asked for."""
        super().__init__()
        self._commands = list(_commands(place))
        self._names = [name for name, _ in self._commands]
        self._meant = meant("", self._names)
        self._canvas = Canvas(id="commands", focusable=False)
        """Held, as it cannot be looked up where it is to be drawn after this was left."""

    def compose(self) -> ComposeResult:
        """The line, and the commands."""
        with Vertical():
            yield Line(placeholder="what to do, to what")
            yield self._canvas

    def on_resize(self) -> None:
        """In the room that there is now."""
        self.call_after_refresh(self._draw)

    def on_input_changed(self, changed: Input.Changed) -> None:
        """Those that are called so."""
        self._show(changed.value)

    def _show(self, typed: str) -> None:
        self._meant = meant(typed, self._names)
        self._draw()
        self._canvas.action_end(-1)

    def _draw(self) -> None:
        width = max(20, self._canvas.size.width - 1)
        self._canvas.show(palette(self._names, self._meant, width=width))

    def on_input_submitted(self, _submitted: Input.Submitted) -> None:
        """Do what is pointed at."""
        self._do(self._canvas.key)

    def on_canvas_chosen(self, chosen: Canvas.Chosen) -> None:
        """Do what was clicked."""
        self._do(chosen.key)

    def _do(self, key: str) -> None:
        if key and self.is_active:  # once
            _, do = self._commands[int(key)]
            self.dismiss()
            self.app.call_later(do)  # pyright: ignore[reportUnknownMemberType]  Textual leaves it open

    def action_move(self, by: int) -> None:
        """To the next."""
        self._canvas.action_move(by)

    def action_page(self, by: int) -> None:
        """As far as can be seen."""
        self._canvas.action_page(by)


def _commands(place: Place) -> Iterator[tuple[Name, Do]]:
    board = place.board
    pointed = place.row if isinstance(place, OnWorkload) else None
    if pointed is not None:
        yield from _of_workload(place, pointed, keys=True)
    yield from _here(place)
    for theme in THEMES:
        yield Name(text=f"theme {theme.name}", about="its colours"), lambda name=theme.name: board.wear(name)
    for row in board.world.rows():
        if pointed is None or row.key != pointed.key:
            yield from _of_workload(place, row, keys=False)


def _of_workload(place: Place, row: Row, *, keys: bool) -> Iterator[tuple[Name, Do]]:
    board, workload = place.board, row.workload
    name = line(workload.name if len(board.world.machines) == 1 else row.key)
    screens = [("open", "Workload", "what it is and how it does"), ("logs", "Logs", "what it writes")]
    if not row.mute:
        screens.append(("chat", "Chat", "talk to it"))
    for word, screen, about in screens:
        key = {"open": "enter", "logs": "l", "chat": "c"}[word] if keys else ""
        yield Name(text=f"{word} {name}", about=about, key=key), lambda to=screen: board.visit(to, row.key)
    for verb in VERBS:
        if verb.idle(row):
            continue
        key = verb.key if keys else ""
        yield Name(text=f"{verb.name} {name}", about=verb.about, key=key), lambda of=verb: board.order(row, of.name)
        for replica in workload.replicas if verb.instances and len(workload.replicas) > 1 else ():
            if (number := index(replica.slot)) is not None:
                told = Name(text=f"{verb.name} {name}/{number}", about="this instance alone")
                yield told, lambda of=verb, one=number: board.order(row, of.name, one)


def _here(place: Place) -> Iterator[tuple[Name, Do]]:
    """What the keys of this screen and those of all screens do."""
    board, app = place.board, cast("App[None]", place.board)
    found = [(each.node, each.binding) for each in place.active_bindings.values() if each.enabled]
    found += [(app, each) for each in type(app).BINDINGS if isinstance(each, Binding)]  # a line to type in has its keys
    seen: set[str] = set()
    for node, binding in found:
        ours = not isinstance(node, Canvas) and binding.action in _declared(type(node))
        ours = ours and binding.key != "ctrl+q"  # Textual's own name for q
        about_workload = binding.action.startswith(("on_it(", "order("))
        if ours and not about_workload and binding.action not in _NO_COMMANDS | seen:
            seen.add(binding.action)
            text = f"go to {binding.description}" if binding.key.isdigit() else binding.description
            told = Name(text=text, about=binding.tooltip, key=board.get_key_display(binding))
            yield told, lambda does=binding.action, to=node: board.run_action(does, to)


@cache
def _declared(kind: type) -> frozenset[str]:
    """Actions that we gave a key, not Textual."""
    ours = (each for each in kind.__mro__ if each.__module__.startswith("tui."))
    return frozenset(each.action for one in ours for each in one.__dict__.get("BINDINGS", ()))


_NO_COMMANDS = {
    "palette",
    "back",
    "next_theme",
    "app.focus_next",
    "app.focus_previous",
    "screen.copy_text",
    "help_quit",
}
