"""The terminal's glass: what stands on it is remembered, and of an update only the cells that differ are written.

Textual writes whole lines of a widget where one figure changed, each piece with all of its colours: too much for a slow
line. It is also the last wall: nothing that a terminal would obey gets through, whatever a screen made.
"""

from collections.abc import Iterable
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from rich.cells import cell_len, split_graphemes
from rich.color import ColorSystem
from rich.console import COLOR_SYSTEMS, Console, ConsoleOptions, RenderResult
from rich.style import Style
from textual._compositor import ChopsUpdate, CompositorUpdate, LayoutUpdate
from textual.strip import Strip

_JOINER = "\u200d"
"""Makes one sign of two, as of families; at an end it would take in what stands beside it."""
_NEAR = 4
"""So many cells that have not changed are written again rather than stepped over."""


class _Look(NamedTuple):
    """How a cell looks, as parameters of SGR; empty: the terminal's own."""

    attributes: str
    ink: str
    paper: str


_LOOKS = itemgetter(1)
_Cell = tuple[str, _Look]
"""What is seen in a column; the text of the second column of a wide one is empty."""
_PLAIN = _Look("", "", "")
_UNKNOWN: _Cell = ("\0", _PLAIN)


class Glass:
    """Of one terminal."""

    def __init__(self, *, colours: bool = True) -> None:
        """`colours`: whether any is written."""
        self._colours = colours
        self._lines: list[list[_Cell]] = []
        self._looks: dict[Style | None, _Look] = {None: _PLAIN}
        self._system = ColorSystem.TRUECOLOR

    def forget(self) -> None:
        """What stands there is not known any more: the next update writes all that it has."""
        self._lines = [[_UNKNOWN] * len(line) for line in self._lines]

    def through(self, update: CompositorUpdate) -> CompositorUpdate:
        """The same update, which writes what differs."""
        return _Through(self, update)

    def written(self, update: CompositorUpdate, console: Console) -> str:
        """What to write, so that the terminal shows it."""
        self._system = COLOR_SYSTEMS[console.color_system or "truecolor"]
        if isinstance(update, LayoutUpdate):
            width = update.region.width
            lines = [(y, _fitted(self._cells(strips), width)) for y, strips in enumerate(update.strips)]
            if len(lines) != len(self._lines):
                self._lines = [[] for _ in lines]
        elif isinstance(update, ChopsUpdate):
            width = max(update.chop_ends[0], default=0)
            if not self._lines:
                self._lines = [[_UNKNOWN] * width for _ in update.chop_ends]
            if (len(self._lines[0]), len(self._lines)) != (width, len(update.chop_ends)):
                return ""  # pieces of a screen that was not laid out since the terminal changed; all of it follows
            lines = [(y, self._line(y, update)) for y in sorted({y for y, _, _ in update.spans})]
        else:
            self.forget()
            return update.render_segments(console)
        pen = _Pen()
        for y, cells in lines:
            pen.line(y, self._lines[y], cells)
            self._lines[y] = cells
        return pen.done()

    def _line(self, y: int, update: ChopsUpdate) -> list[_Cell]:
        """What a line shall be; as it is where nothing was to be updated: there, what lies behind was rendered."""
        cells = self._lines[y].copy()
        spans = [(left, right) for line, left, right in update.spans if line == y]
        for end, (x, strip) in zip(update.chop_ends[y], update.chops[y].items(), strict=False):
            if strip is None or all(right <= x or end <= left for left, right in spans):
                continue
            new = self._cells([strip])
            for left, right in spans:
                first, last = max(left, x), min(right, x + len(new))
                if first < last:
                    cells[first:last] = new[first - x : last - x]
        return cells

    def _cells(self, strips: Iterable[Strip]) -> list[_Cell]:
        """Each as wide as it says, whatever was made of its signs: what stands beside it is not moved."""
        looks, cells = self._looks, list[_Cell]()
        for strip in strips:
            begin = len(cells)
            for text, style, _ in strip:
                look = looks.get(style)
                if look is None:
                    look = looks[style] = self._look(style)
                if text.isascii() and text.isprintable():
                    cells += [(letter, look) for letter in text]
                else:
                    cells += [(letter, look) for letter in _letters(text)]
            if len(cells) - begin != strip.cell_length:
                cells[begin:] = _fitted(cells[begin:], strip.cell_length)
        return cells

    def _look(self, style: Style | None) -> _Look:
        if style is None:
            return _PLAIN
        if len(self._looks) > 2000:
            self._looks = {None: _PLAIN}
        if not self._colours:
            return _Look(Strip.render_ansi(style.without_color, self._system), "", "")
        ink, paper = Style(color=style.color), Style(bgcolor=style.bgcolor)
        return _Look(*(Strip.render_ansi(part, self._system) for part in (style.without_color, ink, paper)))


class _Through(CompositorUpdate):
    """An update that goes through the glass at the moment that it is written."""

    def __init__(self, glass: Glass, update: CompositorUpdate) -> None:
        self._glass, self._update = glass, update

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        raise NotImplementedError  # Textual asks for what is below

    def render_segments(self, console: Console) -> str:
        return self._glass.written(self._update, console)


def _fitted(cells: list[_Cell], size: int) -> list[_Cell]:
    """So many, whatever was made of signs whose width is disputed; a wide one is whole or not there."""
    if len(cells) > size:
        del cells[size if not size or cells[size][0] else size - 1 :]
    look = cells[-1][1] if cells else _PLAIN
    return [*cells, *[(" ", look)] * (size - len(cells))] if len(cells) < size else cells


@lru_cache(512)  # all that one screen shows; of wide signs a line takes some ten kilobytes here
def _letters(text: str) -> tuple[str, ...]:
    """What is seen in each column."""
    letters: list[str] = []
    for start, end, width in split_graphemes(text)[0]:
        letter = "".join(part for part in text[start:end] if part.isprintable() or part == _JOINER).strip(_JOINER)
        if width:
            letters += [letter or "\ufffd" + " " * (width - 1), *[""] * (width - 1)]
    room = cell_len(text)
    if len(letters) > room:  # Rich counts some joined signs otherwise than it splits them; all is laid out by count
        del letters[room if not room or letters[room] else room - 1 :]
    return (*letters, *" " * (room - len(letters)))


class _Pen:
    """Writes cells where they differ, and says as little as it can on the way."""

    def __init__(self) -> None:
        self._out: list[str] = []
        self._y, self._x = -1, -1
        self._look: _Look | None = None

    def line(self, y: int, old: list[_Cell], new: list[_Cell]) -> None:
        """Write a line over what stands there."""
        if old == new:
            return
        if len(old) != len(new):
            old = [_UNKNOWN] * len(new)
        first = last = -1
        for x in [x for x, (was, cell) in enumerate(zip(old, new, strict=True)) if was != cell]:
            if first < 0:
                first = x
            elif x - last > 1 and (x - last > _NEAR or any(look != new[last][1] for _, look in new[last + 1 : x])):
                self._write(first, y, new[first : last + 1])
                first = x
            last = x
        self._write(first, y, new[first : last + 1])

    def _write(self, x: int, y: int, cells: list[_Cell]) -> None:
        out, lost = self._out, False
        if (x, y) != (self._x, self._y):
            out.append(f"\x1b[{x + 1}G" if y == self._y else f"\x1b[{y + 1};{x + 1}H")
        column = x
        for look, some in groupby(cells, _LOOKS):
            if look != self._look:
                out.append(self._turn(look))
                self._look = look
            letters = [letter for letter, _ in some]
            text = "".join(letters)
            if lost or len(text) != len(letters):
                for at, letter in enumerate(letters, column):
                    if lost and letter:
                        out.append(f"\x1b[{at + 1}G")
                        lost = False
                    out.append(letter)
                    lost = lost or len(letter) > 1  # terminals do not agree how wide these are
            else:
                out.append(text)
            column += len(letters)
        self._x, self._y = -1 if lost else x + len(cells), y

    def _turn(self, look: _Look) -> str:
        """From how it writes to that."""
        now = self._look
        if now is None or now.attributes != look.attributes:
            return f"\x1b[{';'.join(part for part in ('0', *look) if part)}m"
        ink = (look.ink or "39") if look.ink != now.ink else ""
        paper = (look.paper or "49") if look.paper != now.paper else ""
        return f"\x1b[{';'.join(part for part in (ink, paper) if part)}m"

    def done(self) -> str:
        """All of it."""
        return "".join([*self._out, "\x1b[0m"]) if self._out else ""
