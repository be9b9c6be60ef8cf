"""What was typed → which of the commands are meant, the likeliest first; and how that looks."""

from collections.abc import Sequence
from dataclasses import dataclass

from tui.view.paint import Cell, cut
from tui.view.picture import Line, Picture

MOST = 100
"""Commands that are shown; who looks for another writes more of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """How a command is called."""

    text: str
    """`restart chat/1`."""
    about: str
    key: str = ""
    """What does the same here, as it is shown."""


def meant(typed: str, names: Sequence[Name]) -> list[int]:
    """Which of them hold every word that was typed, by number. Words that begin a word go before words within one."""
    words = typed.casefold().split()
    ranks: list[tuple[int, int]] = []
    for number, name in enumerate(names):
        rank = sum(_rank(word, name) for word in words)
        if rank < _NOT:
            ranks.append((rank, number))
    return [number for _, number in sorted(ranks)]


_NOT = 1000


def _rank(word: str, name: Name) -> int:
    text = f" {name.text.casefold()}"
    if f" {word}" in text:
        return 0 if text.startswith(f" {word}") or f" {word} " in f"{text} " else 1
    if word in text:
        return 2
    return 3 if f" {word}" in f" {name.about.casefold()}" else _NOT


def palette(names: Sequence[Name], chosen: Sequence[int], *, width: int) -> Picture:
    """A line for each of `chosen`, which its key is the number of."""
    if not chosen:
        return Picture(lines=((Cell(text=" nothing is called so", style="dim"),),))
    shown = chosen[:MOST]
    room = min(max(len(names[number].text) for number in shown), max(12, width // 2))
    lines: list[Line] = [_line(names[number], room, width) for number in shown]
    keys = [str(number) for number in shown]
    if len(chosen) > MOST:
        lines.append((Cell(text=f" {len(chosen) - MOST} more: write more of what you look for", style="dim"),))
        keys.append("")
    return Picture(lines=tuple(lines), keys=tuple(keys))


def _line(name: Name, room: int, width: int) -> Line:
    about = width - room - 3 - (len(name.key) + 2 if name.key else 0)
    return (
        Cell(text=f" {cut(name.text, room):{room}}  "),
        Cell(text=f"{cut(name.about, about):{about}}" if about > 0 else "", style="dim"),
        Cell(text=f" {name.key} " if name.key else "", style="key"),
    )
