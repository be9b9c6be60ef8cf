"""Rows of logs → a Picture: whose they are, how grave, what was searched for; and in a line how the looking goes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from reconciler.model.answers import Run
from reconciler.model.quantity import print_size
from tui.view import clean
from tui.view.log_find import Pattern
from tui.view.log_level import Level
from tui.view.log_line import LogLine
from tui.view.log_sheet import Row
from tui.view.paint import Cell, Style, cut, pad
from tui.view.paint import width as columns
from tui.view.picture import Line, Picture

_MARKS: dict[Level, Cell] = {
    Level.DEBUG: Cell(text="  "),
    Level.INFO: Cell(text="  "),
    Level.WARNING: Cell(text="╎ ", style="busy"),
    Level.ERROR: Cell(text="┃ ", style="bad"),
}
_HEADS: dict[Level, Style] = {Level.DEBUG: "dim", Level.INFO: "dim", Level.WARNING: "busy", Level.ERROR: "bad"}
_LEVELS = {
    Level.DEBUG: "all levels",
    Level.INFO: "info and up",
    Level.WARNING: "warnings and up",
    Level.ERROR: "errors",
}
_OURS = "[holdfast: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How rows are looked at."""

    width: int
    indices: tuple[int, ...] = ()
    """By source, which instance it is; empty where all lines are of one."""
    left: int = 0
    """Columns that are scrolled away."""
    pattern: Pattern | None = None
    """What is searched for."""
    found: tuple[int, int] | None = None
    """Source and address of the line that was found."""

    @property
    def gutter(self) -> int:
        """Columns before the text."""
        return 3 + (max(len(str(index)) for index in self.indices) + 1 if self.indices else 0)


def log_picture(rows: Sequence[Row], look: Look) -> Picture:
    """Those rows."""
    return Picture(lines=tuple(_row(row, look) for row in rows))


def hue(source: int) -> Style:
    """The colour of an instance."""
    hues: tuple[Style, ...] = ("hue0", "hue1", "hue2", "hue3", "hue4", "hue5", "hue6", "hue7")
    return hues[source % len(hues)]


def _row(row: Row, look: Look) -> Line:
    line = row.line
    room = look.width - look.gutter
    if line.note:
        text = cut(f"── {line.text} ", room)
        return (*_whose(row, look), Cell(text="  "), Cell(text=text + "─" * max(0, room - columns(text)), style="dim"))
    text, skipped = _from(row.text, look.left)
    shown = cut(text, room)
    return (*_whose(row, look), _MARKS[line.level], *_pieces(row, shown, skipped, look))


def _whose(row: Row, look: Look) -> list[Cell]:
    if not look.indices:
        return [Cell(text=" ")]
    text = str(look.indices[row.line.source]) if not row.begin else ""
    return [Cell(text=f" {pad(text, look.gutter - 4, right=True)} ", style=hue(row.line.source))]


def _pieces(row: Row, shown: str, skipped: int, look: Look) -> Iterable[Cell]:
    line = row.line
    begin = row.begin + skipped
    end = begin + len(shown)
    spans = look.pattern.spans(line.text) if look.pattern is not None else []
    hits = [(max(a, begin), min(b, end)) for a, b in spans if a < end and b > begin]
    edges = sorted({begin, end, min(max(line.head, begin), end), *(edge for hit in hits for edge in hit)})
    lit: Style = "found" if look.found == (line.source, line.at) else "hit"
    for a, b in pairwise(edges):
        style = lit if any(one <= a < other for one, other in hits) else _style(line, a)
        yield Cell(text=shown[a - begin : b - begin], style=style)


def _style(line: LogLine, at: int) -> Style:
    if line.head:
        return _HEADS[line.level] if at < line.head or line.level is Level.DEBUG else ""
    if line.text.startswith(_OURS):
        return "busy"
    if line.level is Level.DEBUG:
        return "dim"
    return _HEADS[line.level] if line.level > Level.INFO and not line.text.startswith(" ") else ""


def _from(text: str, left: int) -> tuple[str, int]:
    """What is right of so many columns, and how many letters are left of them."""
    if not left or text.isascii():
        return text[left:], min(left, len(text))
    at = passed = 0
    while at < len(text) and passed < left:
        passed += columns(text[at])
        at += 1
    return text[at:], at


@dataclass(frozen=True, slots=True, kw_only=True)
class Looking:
    """How the looking goes."""

    what: str
    """`chat/0`, or `chat` where it is of several."""
    runs: str
    """`run 3`."""
    run: Run | None = None
    """What is known of that one."""
    indices: tuple[int, ...] = ()
    follows: bool = False
    returns: bool = False
    """Whether it follows once what came before is read."""
    ended: bool = False
    """Whether no more will be written."""
    place: float | None = None
    """The share of the log that lies above what is seen; None where that is not known."""
    size: int = 0
    filter: str = ""
    least: Level = Level.DEBUG
    count: int = 0
    """Lines held, and whether those are all."""
    all_held: bool = False
    skipped: int = 0
    """Bytes that were passed by."""
    search: str = ""
    told: str = ""
    """What there is to say of a search, or that went wrong."""
    failed: bool = False
    read: int | None = None
    """Bytes that were read by what is under way."""


def log_title(of: Looking, *, width: int) -> Line:
    """Whose log it is, which run, and how much there is."""
    cells = [Cell(text=f" {of.what}", style="bold"), Cell(text=f"  {of.runs}", style="accent")]
    if of.indices:
        cells.append(Cell(text="  instances ", style="dim"))
        cells += [Cell(text=f"{index} ", style=hue(number)) for number, index in enumerate(of.indices)]
    if of.size:
        cells.append(Cell(text=f"  {print_size(of.size)}", style="dim"))
    if of.run is not None and of.run.ended is not None:
        style, said = ("bad", "✖ first failure: ") if of.run.first_failure else ("dim", "")
        cells.append(Cell(text=f"  {said}{clean.line(of.run.outcome)}", style=style))
    return _fitted(cells, _narrowed(of), width)


def _narrowed(of: Looking) -> list[Cell]:
    cells: list[Cell] = []
    if of.least > Level.DEBUG:
        cells.append(Cell(text=f"{_LEVELS[of.least]}  ", style="key"))
    if of.filter:
        cells += [Cell(text="only ", style="dim"), Cell(text=cut(of.filter, 30), style="key"), Cell(text="  ")]
    if cells:
        more = "" if of.all_held else " or more"
        cells.append(Cell(text=f"{of.count:,} line{'' if of.count == 1 else 's'}{more} ", style="dim"))
    return cells


def log_status(of: Looking, *, width: int) -> Line:
    """Where one is, and whether what is written is followed."""
    if of.follows:
        state = [Cell(text=" ● ", style="good"), Cell(text="following")]
    elif of.returns:
        state = [Cell(text=" ◌ ", style="busy"), Cell(text="following once this is read")]
    elif of.ended and (of.place is None or of.place >= 1):
        state = [Cell(text=" ■ ", style="dim"), Cell(text="the end")]
    else:
        state = [Cell(text=" ‖ ", style="busy"), Cell(text="paused: G follows")] if not of.ended else [Cell(text=" ")]
    right: list[Cell] = []
    if of.search:
        right += [Cell(text="/", style="dim"), Cell(text=cut(of.search, 30), style="key")]
        right.append(Cell(text="  "))
    if of.search and not of.told and of.read is None:
        for key, word in (("n", "down"), ("N", "up")):
            right += [Cell(text=f"{key} ", style="key"), Cell(text=f"{word}  ", style="dim")]
    if of.told:
        room = width - sum(columns(cell.text) for cell in (*state, *right)) - 10
        right.append(Cell(text=f"{cut(of.told, room)}  ", style="bad" if of.failed else "dim"))
    if of.read is not None:
        right.append(Cell(text=f"◌ {print_size(of.read)} read  ", style="busy"))
    if of.skipped:
        right.append(Cell(text=f"{print_size(of.skipped)} passed by  ", style="busy"))
    if of.place is not None:
        right.append(Cell(text=f"{min(100, int(of.place * 100)):3} % "))
    return _fitted(state, right, width)


def _fitted(left: list[Cell], right: list[Cell], room: int) -> Line:
    taken = sum(columns(cell.text) for cell in right)
    kept: list[Cell] = []
    for cell in left:
        free = room - taken - sum(columns(each.text) for each in kept)
        kept.append(Cell(text=cut(cell.text, max(0, free)), style=cell.style))
    gap = room - taken - sum(columns(cell.text) for cell in kept)
    return (*kept, Cell(text=" " * max(0, gap)), *right)
