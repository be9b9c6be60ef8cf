"""Code in colours, by its language: lines of pieces."""

from functools import cache

from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name  # pyright: ignore[reportUnknownVariableType]  its options have no types
from pygments.token import Token
from pygments.util import ClassNotFound

from tui.view.paint import Cell, Style
from tui.view.picture import Line

_STYLES: tuple[tuple[object, Style], ...] = (
    (Token.Comment, "dim"),
    (Token.Keyword, "hue0"),
    (Token.Name.Tag, "hue0"),
    (Token.Name.Function, "hue5"),
    (Token.Name.Class, "hue5"),
    (Token.Name.Attribute, "hue5"),
    (Token.Name.Decorator, "hue4"),
    (Token.Literal.String, "hue2"),
    (Token.Literal.Number, "hue1"),
    (Token.Generic.Deleted, "bad"),
    (Token.Generic.Inserted, "good"),
    (Token.Generic.Heading, "bold"),
)

_LONGEST = 500
"""Characters of a line that is worth colours: nobody reads longer ones, and a lexer can take very long over them."""


def highlighted(text: str, language: str) -> list[Line]:
    """Each line of it. A language that nobody knows has no colours, nor what nobody would write."""
    lexer = _lexer(language.lower())
    if lexer is None or any(len(line) > _LONGEST for line in text.split("\n")):
        return [(Cell(text=line),) for line in text.split("\n")]
    lines: list[list[Cell]] = [[]]
    for token, piece in lexer.get_tokens(text):
        style = _style(token)
        for number, part in enumerate(piece.split("\n")):
            if number:
                lines.append([])
            if part:
                lines[-1].append(Cell(text=part, style=style))
    return [tuple(line) for line in lines[: text.count("\n") + 1]]


@cache
def _style(token: object) -> Style:
    return next((style for kind, style in _STYLES if token in kind), "")  # type: ignore[operator]


@cache
def _lexer(language: str) -> Lexer | None:
    if not language:
        return None
    try:
        return get_lexer_by_name(language, stripnl=False, ensurenl=True)
    except ClassNotFound:
        return None
