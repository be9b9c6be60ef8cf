"""The head of every screen: which machines, which commit, whether all is as declared, and where one is."""

from collections.abc import Sequence

from tui.view.clean import line
from tui.view.paint import Cell, cut, span, width
from tui.view.picture import Line, Picture, clipped, wide
from tui.view.world import Machine, World

LEAST = (60, 15)
"""Columns and lines that a screen needs."""
_EACH = 28
"""Columns for a machine beside the tabs; with less than that the machines have a line of their own."""
_DETAILS = (3, 2, 1, 0)


def header(world: World, places: Sequence[tuple[str, str]], here: str, *, width: int) -> Picture:
    """`places`: key and title of each, of which `here` is the title of this one.

    How many lines it takes depends on the width and on how many machines there are, so that nothing jumps.
    """
    tabs = _tabs(places, here)
    room = width - wide(tabs)
    if room >= _EACH * len(world.machines):
        told = _told(world, room)
        return Picture(lines=((*told, Cell(text=" " * (room - wide(told))), *tabs),))
    return Picture(lines=(_told(world, width), tuple(tabs)))


def tab_at(picture: Picture, places: Sequence[tuple[str, str]], x: int, y: int) -> str:
    """The title of the tab at that column and line of a header; empty where there is none."""
    if y != len(picture.lines) - 1:
        return ""
    cells = picture.lines[y]
    left = 0
    for number, cell in enumerate(cells):
        left += width(cell.text)
        if x < left:
            place = number - (len(cells) - 2 * len(places))
            return places[place // 2][1] if place >= 0 else ""
    return ""


def too_small(columns: int, lines: int) -> Picture:
    """What is shown where a screen does not fit."""
    text = f"{LEAST[0]} × {LEAST[1]} is the least; this is {columns} × {lines}"
    return Picture(lines=((Cell(text=cut(text, columns), style="busy"),),))


def _tabs(places: Sequence[tuple[str, str]], here: str) -> list[Cell]:
    cells: list[Cell] = []
    for key, title in places:
        chosen = title == here
        cells += [
            Cell(text=f" {key} ", style="accent" if chosen else "key"),
            Cell(text=f"{title} ", style="bold" if chosen else "dim"),
        ]
    return cells


def _told(world: World, room: int) -> Line:
    """As much of every machine as there is room for."""
    cells: list[Cell] = []
    for details in _DETAILS:
        cells = [Cell(text=" holdfast ", style="bold")] if details == 3 else []
        for number, machine in enumerate(world.machines.values()):
            cells += [Cell(text=" · " if number else " ", style="dim"), *_machine(machine, world.wall, details)]
        if wide(cells) <= room:
            break
    return clipped(cells, room)


def _machine(machine: Machine, wall: float, details: int) -> list[Cell]:
    status = machine.status
    name = cut(line(machine.title), 24 if details else 10)
    if machine.away:
        since = f" {span(wall - machine.lost)}" if machine.lost and details else ""
        word = ("", " away", f" away{since}", f" away{since}, trying again")[details]
        return [Cell(text=f"✖ {name}{word}", style="bad")]
    if status is None:
        return [Cell(text="◌ ", style="busy"), Cell(text=f"{name} …", style="dim")]
    shape, word, style = "●", "in sync", "good"
    if status.paused:
        shape, word, style = "‖", "paused", "busy"
    elif status.problems:
        shape, word, style = "▲", f"{len(status.problems)} to mend", "bad"
    elif not status.converged:
        shape, word, style = "◐", "not in sync", "busy"
    revision = f" @{line(str(status.revision))}" if status.revision is not None and details > 1 else ""
    return [
        Cell(text=f"{name} "),
        Cell(text=f"{revision.strip()} " if revision else "", style="dim"),
        Cell(text=f"{shape} {word}" if details else shape, style=style),
    ]
