"""A line to type what is looked for: each letter counts at once, enter keeps it, esc shows all again."""

from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from tui.widgets.line import Line


class Filter(Horizontal):
    """Not there until it is opened."""

    DEFAULT_CSS = """
    Filter { display: none; height: 1; background: $surface; }
    Filter Input, Filter Input:focus { width: 1fr; height: 1; border: none; padding: 0; background: $surface; }
    Filter Static { width: auto; background: $surface; color: $ink-dim; padding: 0 1; }
    Filter #mark { color: $ink-key; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "show all"),
        Binding("up,down,tab", "keep", "back to the list", show=False),
    ]

    @dataclass
    class Changed(Message):
        """Other words."""

        text: str

    @dataclass
    class Left(Message):
        """It has been typed; the keys are for others again."""

    def __init__(self, about: str) -> None:
        """`about`: what stands there before anything is typed."""
        super().__init__()
        self._about = about

    @property
    def text(self) -> str:
        """What is looked for; empty: all."""
        return self.query_one(Input).value

    def compose(self) -> ComposeResult:
        """A mark, the line, and how much is left."""
        yield Static(Content("/"), id="mark")
        yield Line(placeholder=self._about)
        yield Static(Content(""), id="left")

    def open(self) -> None:
        """Type."""
        self.display = True
        self.screen.set_focus(self.query_one(Input))  # at once: the next key is its

    def tell(self, shown: int, of: int) -> None:
        """How much of all there is to see."""
        if self.display:
            left = self.query_one("#left", Static)
            text = Content(f"{shown} of {of}")
            left.update(text, layout=text.cell_length != left.size.width)

    def clear(self) -> None:
        """All again."""
        self.query_one(Input).value = ""
        self.display = False

    def on_input_changed(self, changed: Input.Changed) -> None:
        """Tell the screen."""
        changed.stop()
        self.post_message(self.Changed(changed.value))

    def on_input_submitted(self, submitted: Input.Submitted) -> None:
        """It stays as it is."""
        submitted.stop()
        self.action_keep()

    def action_keep(self) -> None:
        """It stays as it is; nothing typed is nothing looked for."""
        if not self.text:
            self.display = False
        self.post_message(self.Left())

    def action_leave(self) -> None:
        """All again."""
        self.clear()
        self.post_message(self.Left())
