"""What happened, a line for each event, the newest last, of all machines together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import NamedTuple

from reconciler.model.status import Event
from tui.view.clean import line
from tui.view.clock import day, moment
from tui.view.paint import Cell, Style, cut, pad, span, width, wrap
from tui.view.picture import Line, Picture, clipped, wide
from tui.view.world import World

SEVERITIES = ("all", "warnings", "errors")
"""What is shown: all, warnings and errors, errors."""
_MARKS: dict[str, tuple[str, Style]] = {"info": ("·", "dim"), "warning": ("▲", "busy"), "error": ("✖", "bad")}
_NIGHT = 8 * 3600
"""Seconds within which the time of day says enough, though it may have been yesterday."""
_AGO = 72
"""Columns from which it is told how long ago one was, too."""
_LONG = 2000
"""Characters of a message that are shown."""


class Happened(NamedTuple):
    """An event, and on which machine."""

    machine: str
    event: Event

    @property
    def key(self) -> str:
        """What it is told apart by over all machines."""
        return f"{self.machine}/{self.event.seq}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sought:
    """Which events a person wants to see."""

    severity: str = SEVERITIES[0]
    filter: str = ""
    """Words, all of which must occur."""


def happened(world: World) -> list[Happened]:
    """All that is known, oldest first."""
    found = [Happened(name, event) for name, machine in world.machines.items() for event in machine.events]
    return sorted(found, key=lambda each: each.event.at) if len(world.machines) > 1 else found


def about(world: World, key: str) -> str:
    """The key of the workload that the event with that key may be about; empty where there is no such event."""
    name, _, seq = key.rpartition("/")
    machine = world.machines.get(name)
    found = (event for event in (machine.events if machine is not None else ()) if str(event.seq) == seq)
    event = next(found, None)
    return f"{name}/{event.subject.partition('/')[0]}" if event is not None else ""


class Journal:
    """The lines of one screen; what was made of an event is kept."""

    def __init__(self, zone: tzinfo | None = None) -> None:
        """`zone`: of the person; None: that of this machine."""
        self._zone = zone
        self._texts: dict[Event, str] = {}
        self.shown = self.all = 0
        """How many are left of how many."""

    def picture(self, world: World, sought: Sought, *, room: int, chosen: str = "") -> Picture:
        """All that is sought, with a line for each new day; of the `chosen` one the whole message."""
        every = happened(world)
        found = [each for each in every if self._sought(each.event, sought)]
        self.all, self.shown = len(every), len(found)
        lines: list[Line] = []
        keys: list[str] = []
        today = None
        places, subjects = _places(world), _subjects(found, room)
        for each in found:
            at = moment(each.event.at, self._zone)
            if at is not None and at.date() != today:
                today = at.date()
                lines.append((Cell(text=f" {day(at)}", style="head"),))
                keys.append("")
            clock = f"{at:%H:%M:%S}" if at is not None else "?"
            ago = f"{pad(span(world.wall - each.event.at), 6, right=True)}  " if room >= _AGO else ""
            head = (Cell(text=f" {clock:8} "), Cell(text=ago, style="dim"))
            whole = each.key == chosen
            drawn = list(self._draw(each, head, places=places, subjects=subjects, room=room, whole=whole))
            lines += drawn
            keys += [each.key] * len(drawn)
        if not lines:
            text = "nothing has happened yet" if not every else "no such event; esc shows all again"
            lines, keys = [(), (Cell(text=f"   {text}", style="dim"),)], []
        return Picture(lines=tuple(lines), keys=tuple(keys))

    def last(self, world: World, *, room: int, lines: int) -> list[Line]:
        """The newest, each in one line."""
        found = happened(world)[-lines:] if lines > 0 else []
        places, subjects = _places(world), _subjects(found, room)
        drawn: list[Line] = []
        for each in found:
            at = moment(each.event.at, self._zone)
            clock = "?" if at is None else f"{at:%H:%M:%S}"
            if at is not None and world.wall - each.event.at > _NIGHT:
                clock = f"{at:%b %d}"
            head = (Cell(text=f" {clock:8} ", style="dim"),)
            drawn += self._draw(each, head, places=places, subjects=subjects, room=room, whole=False)
        return drawn

    def _sought(self, event: Event, sought: Sought) -> bool:
        if sought.severity == "errors" and event.severity != "error":
            return False
        if sought.severity == "warnings" and event.severity == "info":
            return False
        words = sought.filter.lower().split()
        if not words:
            return True
        text = self._texts.get(event)
        if text is None:
            if len(self._texts) > 10_000:
                self._texts.clear()
            text = f"{event.severity} {line(event.subject)} {event.reason.value} {line(event.message[:_LONG])}".lower()
            self._texts[event] = text
        return all(word in text for word in words)

    def _draw(
        self, each: Happened, head: Line, *, places: int, subjects: int, room: int, whole: bool
    ) -> Iterator[Line]:
        event = each.event
        mark, style = _MARKS[event.severity]
        where = (Cell(text=pad(line(each.machine), places) + "  ", style="dim"),) if places else ()
        start: Line = (
            *head,
            *where,
            Cell(text=f"{mark} ", style=style),
            Cell(text=pad(line(event.subject), subjects) + "  "),
        )
        indent = wide(start)
        reason, text = event.reason.value, line(event.message[:_LONG])
        shown: Style = "dim" if event.severity == "info" else ""
        left = room - indent - width(reason) - 3
        if (not whole or width(text) <= left) and left > 0:
            yield (*start, Cell(text=f"{reason}  ", style=style), Cell(text=cut(text, left), style=shown))
            return
        if not whole:
            yield clipped((*start, Cell(text=reason, style=style)), room - 1)
            return
        yield clipped((*start, Cell(text=reason, style=style)), room - 1)
        for part in wrap(text, width=room - 1, indent=" " * (wide(head) + 2)):
            yield (Cell(text=part, style=shown),)


def _places(world: World) -> int:
    """How wide the column of machines is; 0 where there is but one."""
    return min(12, max(width(line(name)) for name in world.machines)) if len(world.machines) > 1 else 0


def _subjects(found: Sequence[Happened], room: int) -> int:
    """How wide their column is."""
    return min(24, max(12, room // 4), max((width(line(each.event.subject)) for each in found), default=0))


def heading(journal: Journal, sought: Sought, *, follows: bool, room: int) -> Line:
    """What is shown: `412 events · warnings and errors · following`."""
    words = {"all": "of every severity", "warnings": "warnings and errors", "errors": "errors"}
    left = journal.shown if journal.shown == journal.all else f"{journal.shown} of {journal.all}"
    text = f" {left} events · {words[sought.severity]}"
    going = "● following" if follows else "○ not following: G goes to the newest"
    gap = room - width(text) - width(going)
    if gap < 1:
        return (Cell(text=cut(text, room), style="dim"),)
    return (
        Cell(text=text, style="dim"),
        Cell(text=" " * gap),
        Cell(text=going, style="good" if follows else "dim"),
    )
