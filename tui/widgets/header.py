"""The head of a screen; a click on a tab goes there."""

from dataclasses import dataclass

from textual.events import Click
from textual.message import Message

from tui.view.frame import tab_at
from tui.widgets.canvas import Canvas


class Header(Canvas):
    """What `tui.view.frame.header` makes."""

    @dataclass
    class Picked(Message):
        """A tab was clicked."""

        title: str

    def __init__(self, places: tuple[tuple[str, str], ...]) -> None:
        """`places`: key and title of each tab."""
        super().__init__(id="header", focusable=False)
        self._places = places

    async def on_click(self, event: Click) -> None:
        """Go where it says."""
        if title := tab_at(self.picture, self._places, event.x, event.y):
            self.post_message(self.Picked(title))
