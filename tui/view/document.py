"""A file of the fleet as it is written: its numbers of lines, and its words in the colours of what they are."""

from collections.abc import Iterator
from functools import lru_cache

from tui.view.clean import clean
from tui.view.paint import Cell, Style, width
from tui.view.picture import Line

_TAB = "    "
_LONGEST = 256 * 1024
"""Characters that are coloured; a file of the fleet has no more."""


def document_lines(text: str, *, first: int, columns: int) -> list[Line]:
    """YAML, folded where a line is too long. `first`: the number of its first line."""
    coloured = _coloured(clean(text[:_LONGEST]).expandtabs(len(_TAB)).rstrip("\n"))
    size = len(str(first + len(coloured)))
    lines: list[Line] = []
    for number, line in enumerate(coloured, first):
        for part, piece in enumerate(_folded(line, columns - size - 3)):
            label = f"{number:>{size}}" if not part else " " * size
            lines.append((Cell(text=f" {label}  ", style="dim"), *piece))
    return lines


@lru_cache(maxsize=16)
def _coloured(text: str) -> tuple[Line, ...]:
    from pygments.lexers.data import YamlLexer  # noqa: PLC0415  dear, and rarely wanted

    lines: list[Line] = []
    line: list[Cell] = []
    for token, value in YamlLexer(stripnl=False, ensurenl=False).get_tokens(text):
        style = _style(str(token))
        for number, part in enumerate(value.split("\n")):
            if number:
                lines.append(tuple(line))
                line = []
            if part:
                line.append(Cell(text=part, style=style))
    return (*lines, tuple(line))


def _style(token: str) -> Style:
    """By what the lexer calls it: keys, quoted and folded text, anchors; comments and punctuation step back."""
    if "Tag" in token:
        return "accent"
    if "Comment" in token or "Punctuation" in token:
        return "dim"
    if "String" in token or "Constant" in token:
        return "hue2"
    return "key" if "Label" in token or "Type" in token else ""


def _folded(line: Line, columns: int) -> Iterator[Line]:
    columns = max(8, columns)
    piece: list[Cell] = []
    room = columns
    for cell in line:
        text = cell.text
        while width(text) > room:
            size = next(size for size in range(min(len(text), room), -1, -1) if width(text[:size]) <= room)
            piece.append(Cell(text=text[:size], style=cell.style))
            yield tuple(piece)
            text, piece, room = text[size:], [], columns
        piece.append(Cell(text=text, style=cell.style))
        room -= width(text)
    yield tuple(piece)
