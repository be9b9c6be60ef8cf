"""Asks for a line: what an order wants to be told."""

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Input, Static

from tui.screens.question import Question
from tui.widgets.line import Line


class Prompt(Question[str | None]):
    """Gives what was typed, once it will do; None where it was left."""

    DEFAULT_CSS = """
    Prompt { align: center middle; background: $background 60%; }
    Prompt > Vertical { width: 64; max-width: 90%; height: auto; max-height: 90%; padding: 1 2; background: $panel; }
    Prompt VerticalScroll { height: auto; max-height: 50vh; scrollbar-size-vertical: 1; }
    Prompt Static { height: auto; }
    Prompt Input, Prompt Input:focus { margin: 1 0 0 0; border: none; height: 1; padding: 0 1; background: $cursor; }
    Prompt #wrong { color: $ink-bad; height: 1; }
    Prompt #keys { color: $ink-dim; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "leave it")]

    def __init__(self, question: str, given: str, wrong: Callable[[str], str]) -> None:
        """`given` stands there to begin with; `wrong` says why an answer will not do, empty where it will."""
        super().__init__()
        self._question, self._given, self._wrong = question, given, wrong

    def compose(self) -> ComposeResult:
        """The question, a line to type in, the keys."""
        with Vertical():
            with VerticalScroll(can_focus=False):
                yield Static(Content(self._question))
            yield Line(self._given, select_on_focus=True)
            yield Static("", id="wrong")
            yield Static(Content("enter  do it    esc  leave it"), id="keys")

    def on_input_changed(self, changed: Input.Changed) -> None:
        """Say at once what will not do."""
        text = changed.value.strip()
        self.query_one("#wrong", Static).update(Content(self._wrong(text) if text else ""))

    def on_input_submitted(self, submitted: Input.Submitted) -> None:
        """It was answered."""
        text = submitted.value.strip()
        if wrong := self._wrong(text):
            self.query_one("#wrong", Static).update(Content(wrong))
        else:
            self.dismiss(text)

    def action_leave(self) -> None:
        """It was not."""
        self.dismiss(None)
