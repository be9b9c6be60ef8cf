"""How the first screen is laid out at each size, and what stands beside or beneath the table of the fleet."""

from math import ceil
from typing import NamedTuple

from tui.view.events import Journal
from tui.view.meters import across, cards, hosts
from tui.view.paint import Cell
from tui.view.picture import Line, Picture
from tui.view.world import World

_BESIDE = 176
"""Columns from which meters and events stand beside the table."""
_TABLE = 128
"""Columns in which the table has all that it has to say."""
SHORT = 30
"""Lines of a terminal from which there is room for the cards of several machines beside what runs on them."""


class Layout(NamedTuple):
    """Of what is between the notes and the keys."""

    beside: bool
    width: int
    """Columns of what is beside or beneath."""
    height: int
    cards: bool = True
    """Whether GPUs are there too; of several machines, their hosts as well."""


def arrange(world: World, *, width: int, height: int, short: bool = False) -> Layout:
    """For a body of that size. It hangs on how many workloads and GPUs there are, never on how they do."""
    if width >= _BESIDE:
        return Layout(True, min(120, max(72, width - _TABLE)), height)
    machines = [machine.status for machine in world.machines.values() if machine.status is not None]
    gpus = sum(len(status.gpus) for status in machines)
    rows = sum(len(status.workloads) for status in machines)
    if len(world.machines) > 1 and short:
        return Layout(False, width, height // 6, cards=False)
    drawn = ceil(gpus / across(width - 2, lines=1, count=gpus))
    wanted = height - 2 - max(2 * rows, 8)  # a line for each, and for why; a head, and one to breathe
    if short and drawn > max(wanted, height // 4):
        return Layout(False, width, len(machines) + max(1, height // 8), cards=False)  # some of them would mislead
    least = min(drawn, height // 4) + len(machines) + max(1, height // 8)
    return Layout(False, width, max(0, min(max(least, min(wanted, 2 * gpus + len(machines) + 16)), height - 4)))


def side(world: World, journal: Journal, layout: Layout) -> Picture:
    """GPUs, hosts, and as many events as there is room for then."""
    room, lines = layout.width - 2, layout.height
    if lines < 2:
        return Picture()
    machines = list(hosts(world, room=room))[: max(1, lines // 3)] if layout.cards or len(world.machines) == 1 else []
    airy = lines >= 14
    most = max(1, lines - len(machines) - max(1, lines // 6) - (3 if airy else 0))
    gpus = cards(world, room=room, lines=most).lines if layout.cards else ()
    drawn: list[Line] = [(Cell(text=" "), *text) for text in (*gpus, *machines)]
    if airy and drawn:
        drawn.insert(0, _title("GPUs and host" if gpus else "host"))
    left = lines - len(drawn)
    if left > 2 and airy:
        drawn += [(), _title("events")]
        left -= 2
    drawn += journal.last(world, room=layout.width - 1, lines=left)
    return Picture(lines=tuple(drawn))


def _title(text: str) -> Line:
    return (Cell(text=f" {text.upper()}", style="head"),)
