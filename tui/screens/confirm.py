"""Asks before something is lost."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from tui.screens.question import Question


class Confirm(Question[bool]):
    """A question with yes and no."""

    DEFAULT_CSS = """
    Confirm { align: center middle; background: $background 60%; }
    Confirm > Vertical { width: 64; max-width: 90%; height: auto; max-height: 90%; padding: 1 2; background: $panel; }
    Confirm VerticalScroll { height: auto; max-height: 60vh; scrollbar-size-vertical: 1; }
    Confirm Static { height: auto; }
    Confirm #keys { color: $ink-dim; margin-top: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y,enter", "answer(True)", "yes"),
        Binding("n,escape,q", "answer(False)", "no"),
    ]

    def __init__(self, question: str) -> None:
        """`question`: what would be lost, and by what."""
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        """The question and its keys."""
        with Vertical():
            with VerticalScroll():
                yield Static(Content(self._question))
            yield Static(Content("y  yes, do it    n  no, leave it"), id="keys")

    def action_answer(self, answer: bool) -> None:
        """It was answered."""
        self.dismiss(answer)
