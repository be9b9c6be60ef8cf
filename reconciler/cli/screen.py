"""The terminal, or whatever stdout is: how wide, whether coloured, and drawing over what was drawn before."""

import os
import sys
from typing import TextIO

from tui.view.paint import cut


class Screen:
    """Where a command prints."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self.terminal = self._out.isatty()
        self.colour = self.terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self._drawn = 0
        self._noted = ""

    @property
    def width(self) -> int:
        """Columns. What is not a terminal is as wide as a wide one."""
        return self._size()[0] if self.terminal else 120

    def say(self, text: str) -> None:
        """Print a line, or several, at once."""
        self._drawn = 0
        self._out.write(f"{text}\n")
        self._out.flush()

    def draw(self, text: str) -> None:
        """Print over what the last `draw` printed. Lines that do not fit the terminal's height are left out."""
        lines = text.split("\n")
        height = max(4, self._size()[1] - 1)
        if len(lines) > height:
            lines = [*lines[: height - 1], f"… {len(lines) - height + 1} lines more; make the terminal higher"]
        back = f"\x1b[{self._drawn}A\r" if self._drawn else ""
        self._out.write(back + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J")
        self._out.flush()
        self._drawn = len(lines)

    def note(self, text: str) -> None:
        """Say something for the moment: on a terminal in the place of the last note, elsewhere once for each text."""
        if self.terminal:
            self.draw(cut(text, self.width))
        elif text != self._noted:
            self.say(text)
        self._noted = text

    def clear(self) -> None:
        """Take away what `draw` or `note` printed last."""
        if self._drawn:
            self._out.write(f"\x1b[{self._drawn}A\r\x1b[J")
            self._out.flush()
        self._drawn = 0

    def _size(self) -> tuple[int, int]:
        try:
            size = os.get_terminal_size(self._out.fileno())
        except (OSError, ValueError):
            return 80, 24
        return size.columns or 80, size.lines or 24


def warn(text: str) -> None:
    """A line on stderr."""
    sys.stdout.flush()
    print(text, file=sys.stderr, flush=True)
