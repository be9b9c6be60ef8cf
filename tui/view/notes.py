"""What stands above the fleet: how many do well, where its gateway is, and everything that is wrong with the whole."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import tzinfo

from reconciler.model.status import WorkloadStatus
from tui.view.clean import line
from tui.view.clock import clock
from tui.view.entry import traffic
from tui.view.paint import Cell, Style, cut, span, wrap
from tui.view.picture import Line, Picture, clipped, wide
from tui.view.status import rates, state
from tui.view.world import Machine, World

_WORDS: tuple[tuple[Style, str, str], ...] = (
    ("bad", "✖", "in trouble"),
    ("busy", "◐", "on the way"),
    ("good", "●", "ready"),
    ("dim", "○", "at rest"),
)
_LONG = 2000
"""Characters of a text that are shown."""


def notes(world: World, *, room: int, short: bool = False, zone: tzinfo | None = None) -> Picture:
    """For each machine a line or two, and what is wrong there. `zone`: of the person; None: that of this machine.

    `short`: how many do well is told of all machines together.
    """
    machines = world.machines.values()
    several = len(machines) > 1
    lines: list[Line] = []
    if together := short and several and any(machine.status is not None for machine in machines):
        lines.append(clipped(_counted(machines, "all"), room))
    for machine in machines:
        title = line(machine.title) if several else ""
        lines += _away(machine, world.wall, title, room, zone)
        if not together:
            lines += _summary(machine, title, room)
        lines += _wrong(machine, f"{title}: " if title else "", room)
    return Picture(lines=tuple(lines))


def _away(machine: Machine, wall: float, title: str, room: int, zone: tzinfo | None) -> Iterator[Line]:
    status = machine.status
    if machine.away:
        since = ""
        if machine.lost and status is not None:
            since = f" Shown as of {clock(machine.lost, wall, zone)}, {span(wall - machine.lost)} ago."
        yield from _told(f"{title or 'the daemon'} is away: {_clean(machine.away)}.{since}", "✖", "bad", room)
    elif status is None:
        yield (Cell(text=f" ◌ {title or 'the daemon'}: asking …", style="dim"),)


def _summary(machine: Machine, title: str, room: int) -> Iterator[Line]:
    if machine.status is None:
        return
    counted = _counted([machine], title)
    gateways = list(_gateways(machine))
    beside = next((cells for cells in gateways if wide(counted) + wide(cells) + 3 <= room), None)
    if beside is not None and (title or beside is gateways[0]):
        yield (*counted, Cell(text=" " * (room - wide(counted) - wide(beside) - 1)), *beside)
    else:
        yield counted
        if gateways and not title:
            yield (Cell(text=" "), *clipped(gateways[0], room - 2))


def _wrong(machine: Machine, prefix: str, room: int) -> Iterator[Line]:
    status = machine.status
    if status is None:
        return
    if status.paused:
        yield from _told(f"{prefix}{_clean(status.paused)}", "‖", "busy", room)
    if status.gateway is not None and not machine.away:
        if not status.gateway.connected:
            yield from _told(f"{prefix}the gateway is not up: start it with `holdfast up`", "▲", "bad", room)
        for problem in status.gateway.problems:
            yield from _told(f"{prefix}gateway: {_clean(problem)}", "▲", "bad", room)
    for problem in status.problems:
        yield from _told(f"{prefix}{_clean(str(problem))}", "▲", "bad", room)
    for text in status.degraded:
        yield from _told(f"{prefix}{_clean(text)}", "▲", "bad", room)


def _clean(text: str) -> str:
    return line(text[:_LONG])


def _told(text: str, mark: str, style: Style, room: int) -> Iterator[Line]:
    for number, part in enumerate(wrap(text, width=room - 3, indent="")):
        yield (Cell(text=f" {mark} " if not number else "   ", style=style), Cell(text=part, style=style))


def _counted(machines: Iterable[Machine], title: str) -> Line:
    known = (machine.status for machine in machines if machine.status is not None)
    counts = Counter(_counts_as(row) for status in known for row in status.workloads.values())
    cells = [Cell(text=f" {cut(title, 16)}", style="bold"), Cell(text=" ")] if title else []
    for style, shape, word in _WORDS:
        if counts[style]:
            cells += [Cell(text=f" {shape} {counts[style]}", style=style), Cell(text=f" {word} ", style="dim")]
    return tuple(cells)


def _counts_as(row: WorkloadStatus) -> Style:
    """What is paused and answers all the same is not at rest."""
    return "good" if row.ready and row.wanted and row.paused else state(row).style


def _gateways(machine: Machine) -> Iterator[Line]:
    """Its address and what goes through it; and the same in fewer words."""
    gateway = machine.status.gateway if machine.status is not None else None
    if gateway is None:
        return
    where = Cell(text=line(", ".join(gateway.listen)), style="accent")
    rated = rates(traffic(machine).values()) if gateway.connected else "-"
    if rated != "-":
        yield (Cell(text="gateway ", style="dim"), where, Cell(text=f"  {rated}"))
    yield (Cell(text="gateway ", style="dim"), where)
    yield (where,)
