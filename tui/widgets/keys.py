"""The last line of every screen: the keys that do something here. A click is a key press."""

from typing import ClassVar

from rich.segment import Segment
from textual.events import Click
from textual.strip import Strip
from textual.widget import Widget


class Keys(Widget):
    """Of what can be done now, that which is worth showing, as far as there is room; and always where all of it is."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"keys--key", "keys--word"}
    DEFAULT_CSS = """
    Keys { height: 1; width: 1fr; dock: bottom; background: $surface; }
    Keys > .keys--key { color: $ink-key; background: $surface; }
    Keys > .keys--word { color: $ink-dim; background: $surface; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._keys: tuple[tuple[str, str, str], ...] = ()

    def show(self, keys: tuple[tuple[str, str, str], ...]) -> None:
        """`keys`: each key, as it is shown, and what it does."""
        if keys != self._keys:
            self._keys = keys
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """That line."""
        if y:
            return Strip.blank(self.size.width, self.rich_style)
        key, word = self.get_component_rich_style("keys--key"), self.get_component_rich_style("keys--word")
        segments: list[Segment] = []
        for _, shown, does in self._fitting():
            segments += [Segment(f" {shown}", key), Segment(f" {does} ", word)]
        return Strip(segments).adjust_cell_length(self.size.width, self.rich_style)

    def _fitting(self) -> list[tuple[str, str, str]]:
        last = [one for one in self._keys if one[0] == "question_mark"]  # it tells of those that do not fit
        room = self.size.width - sum(map(_wide, last))
        found: list[tuple[str, str, str]] = []
        for one in self._keys:
            if one not in last:
                room -= _wide(one)
                if room < 0:
                    break
                found.append(one)
        return found + last

    def on_click(self, event: Click) -> None:
        """As if the key had been pressed."""
        at = 0
        for key, shown, does in self._fitting():
            at += _wide((key, shown, does))
            if event.x < at:
                self.app.simulate_key(key)  # pyright: ignore[reportUnknownMemberType]  Textual leaves it open
                return


def _wide(one: tuple[str, str, str]) -> int:
    """Columns that it takes."""
    return len(one[1]) + len(one[2]) + 3
