"""The Plan screen: of every machine what is under way, what comes, what waits, what is blocked, and the memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import TYPE_CHECKING

from reconciler.model.status import Reason, ReplicaState
from reconciler.model.stored import Fetching
from tui.view.clean import line
from tui.view.clock import clock
from tui.view.entry import moment
from tui.view.outlook import Change, Outlook, each_gpu
from tui.view.paint import Cell, Style, bar, counted, gib, pad, span, wrap
from tui.view.paint import width as wide
from tui.view.picture import Line, Lines, Picture, beside
from tui.view.plan import change_lines, headline, problem_lines, room_lines, step_lines, together
from tui.view.world import Machine

if TYPE_CHECKING:
    from reconciler.model.facts import Road
    from reconciler.model.observation import Observation
    from reconciler.model.plan import Action

_BESIDE = 170
"""Columns from which the memory stands beside what changes it."""
_MOVING: dict[ReplicaState, tuple[str, str]] = {
    "recorded": ("◐", "starting"),
    "starting": ("◐", "starting"),
    "draining": ("◌", "draining"),
    "stopping": ("◌", "stopping"),
}
_DOING: dict[str, tuple[str, str]] = {
    "start": ("◐", "starting"),
    "drain": ("◌", "draining"),
    "stop": ("◌", "stopping"),
    "update": ("~", "updating"),
    "attach": ("~", "attaching"),
    "detach": ("~", "detaching"),
    "sleep": ("◌", "going to sleep"),
    "wake": ("◐", "waking"),
    "forget": ("-", "removing"),
    "fetch": ("↓", "fetching"),
    "cancel": ("-", "no longer fetching"),
}
_BY_ITSELF = {Reason.Waiting, Reason.Fetching, Reason.BackingOff, Reason.Draining}
"""What ends without a person."""
_NAMED = 12
"""Workloads that are named in a question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One machine, and what it would do, as it was last told."""

    machine: Machine
    road: Road | None = None
    seen: Outlook | None = None
    """What the road comes to."""
    at: float = 0.0
    """When that was told, seconds since the epoch."""
    error: str = ""
    """Why there is none newer."""

    @property
    def now(self) -> float:
        """Seconds of that machine's CLOCK_MONOTONIC."""
        return moment(self.machine)

    @property
    def held(self) -> tuple[str, ...]:
        """Workloads that would be stopped once somebody consents to it."""
        return waiting(self.road) if self.road is not None else ()


def waiting(road: Road) -> tuple[str, ...]:
    """The same, of a road."""
    first = road.passes[0].blocked if road.passes else ()
    return tuple(line(each.subject) for each in first if each.reason is Reason.PruneNeedsConsent)


def plan_picture(
    sections: Sequence[Section], *, wall: float, width: int, steps: bool = False, zone: tzinfo | None = None
) -> Picture:
    """All machines, one beneath the other. With `steps` every pass too. `wall`: seconds since the epoch, now.

    `zone`: of the person; None: of this machine.
    """
    lines: Lines = []
    for section in sections:
        lines += [("", ()), *_section(section, _stale(section, wall, width, zone), width=width, steps=steps)]
    return Picture(lines=tuple(each for _, each in lines[1:]), keys=tuple(key for key, _ in lines[1:]))


def opened(key: str) -> str:
    """Of which workload a line of that key is, as `World.find` knows it."""
    return key.rpartition("#")[0]


def machine_of(key: str) -> str:
    """Of which machine."""
    return opened(key).rpartition("/")[0]


def consent(names: Sequence[str], *, on: str = "") -> str:
    """What is asked before what is held is removed; `on`: its machine, where that was asked for by name."""
    named = ", ".join(names[:_NAMED])
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    where = f" on {line(on)}" if on else ""
    return f"stop and remove {counted(len(names), 'workload')}{where} that no file declares any more: {named}{more}?"


def _section(section: Section, stale: Sequence[Line], *, width: int, steps: bool) -> Lines:
    machine, seen = section.machine, section.seen
    here = f"{machine.name}/#" if machine.name else ""
    if seen is None or section.road is None:
        told = machine.away or section.error
        text = f"{line(machine.title)}: {line(told)}" if told else f"asking {line(machine.title)} …"
        style: Style = "bad" if told else "dim"
        return [(here, (Cell(text=part, style=style),)) for part in wrap(text, width=width, indent="")]
    waits = sum(change.mark == "!" and change.reason in _BY_ITSELF for change in seen.changes)
    lines: Lines = [(here, each) for each in headline(seen, width=width, waiting=waits)]
    lines += [("", each) for each in stale]
    rows = together(seen.changes)
    changing = [row for row in rows if row.mark != "!"]
    waiting = [row for row in rows if row.mark == "!" and row.reason in _BY_ITSELF]
    blocked = [row for row in rows if row.mark == "!" and row.reason not in _BY_ITSELF]
    left, right = (width, width) if width < _BESIDE else (width * 3 // 5, width - width * 3 // 5)
    parts = [
        ("problems", [("", each) for each in problem_lines(seen, width=left)]),
        ("now", _now(section, width=left)),
        ("once resumed" if seen.paused else "ahead", _ahead(section, changing, width=left)),
        ("waits", _waits(section, waiting, width=left)),
        ("blocked", _blocked(section, blocked, width=left)),
    ]
    if steps:
        parts += [("", [("", each) for each in told]) for told in step_lines(seen, width=left)]
    room = room_lines(seen, width=right, cells=10 if right < 96 else 20)
    memory = [("memory", [("", each) for each in room])]
    if width < _BESIDE:
        return lines + _titled([*parts[:5], *memory, *parts[5:]])
    return lines + beside(_titled(parts), [each for _, each in _titled(memory)], at=left)


def _titled(parts: Sequence[tuple[str, Lines]]) -> Lines:
    lines: Lines = []
    for title, told in parts:
        if told:
            lines += [("", ()), *([("", (Cell(text=title.upper(), style="head"),))] if title else []), *told]
    return lines


def _stale(section: Section, wall: float, width: int, zone: tzinfo | None) -> list[Line]:
    """That this is old, why, and of when it is: a plan may be older than what else is known of its machine."""
    why = section.machine.away or section.error
    if not why:
        return []
    since = f"Planned at {clock(section.at, wall, zone)}, {span(wall - section.at)} ago."
    told = wrap(f"✖ {line(why)}. {since}", width=width, indent="")
    return [(Cell(text=part, style="bad"),) for part in told]


def _key(section: Section, subject: str, part: str) -> str:
    """Of a slot, of several, or of a workload; empty where there is none such."""
    name = subject.rpartition("/")[0] or subject
    status = section.machine.status
    known = status is not None and name in status.workloads
    return f"{section.machine.name}/{name}#{part}" if known else ""


def _now(section: Section, *, width: int) -> Lines:
    """What is under way."""
    rows: list[tuple[str, str, str, str, str]] = []
    told: set[str] = set()
    status, road = section.machine.status, section.road
    for workload in status.workloads.values() if status is not None else ():
        for replica in workload.replicas:
            if replica.state not in _MOVING:
                continue
            told.add(replica.slot)
            shape, word = _MOVING[replica.state]
            since = span(section.now - replica.since) if replica.since is not None else ""
            rows.append((shape, line(replica.slot), word, since, line(replica.detail)))
    if road is not None:
        rows += [_doing(each) for each in road.facts.memory.in_flight.values() if each.slot not in told]
        rows += _fetching(road.facts.observation)
    if not rows:
        return []
    subjects = min(max(wide(subject) for _, subject, *_ in rows), max(12, width // 3))
    words = max(len(word) for _, _, word, _, _ in rows)
    times = max(len(since) for *_, since, _ in rows)
    lines: Lines = []
    for shape, subject, word, since, detail in rows:
        head = f" {pad(subject, subjects)}  {word:<{words}}  {since:>{times}}  "
        first, *more = wrap(detail, width=width - wide(head) - 3, indent="") or [""]
        key = _key(section, subject, "now")
        lines.append((key, (Cell(text=f"  {shape}", style="busy"), Cell(text=head), Cell(text=first, style="dim"))))
        lines += [(key, (Cell(text=" " * (wide(head) + 3)), Cell(text=part, style="dim"))) for part in more]
    return lines


def _doing(action: Action) -> tuple[str, str, str, str, str]:
    shape, word = _DOING[action.kind]
    return shape, line(action.slot), word, "", line(action.detail)


def _fetching(observation: Observation) -> Iterator[tuple[str, str, str, str, str]]:
    for source, stored in observation.sources.items():
        if isinstance(stored, Fetching):
            share = f"{bar(stored.done, stored.total)} " if stored.total else ""
            far = f"{gib(stored.done)} of {gib(stored.total)} GiB" if stored.total else f"{gib(stored.done)} GiB"
            yield "↓", line(stored.slot), "fetching", "", f"{share}{far}  {line(source)}"


def _ahead(section: Section, rows: Sequence[Change], *, width: int) -> Lines:
    if rows:
        return [(_key(section, subject, "ahead"), each) for subject, each in change_lines(rows, width=width)]
    seen, status = section.seen, section.machine.status
    if seen is None or seen.problems or seen.missing is not None or any(row.verb == "blocked" for row in seen.changes):
        return [("", (Cell(text="  nothing more can be done as it is", style="dim"),))]
    if status is not None and not status.converged:
        return [("", (Cell(text="  nothing more to do: what was begun takes its time", style="dim"),))]
    return [("", (Cell(text="  ●", style="good"), Cell(text=" nothing to do: all is as declared")))]


def _waits(section: Section, rows: Sequence[Change], *, width: int) -> Lines:
    """What goes on by itself, and until when it waits if nothing changes."""
    first = section.road.passes[0] if section.road is not None and section.road.passes else None
    retried = {each.subject: each for each in first.blocked if each.until is not None} if first is not None else {}
    told = [
        (line(each.subject), f"again {_when((each.until or 0.0) - section.now)}: {line(each.detail)}")
        for each in retried.values()
    ]
    others = [(row.subject, row.what) for row in rows if row.subject not in retried]
    told += others
    size = min(max((wide(subject) for subject, _ in told), default=0), max(12, width // 3))
    lines: Lines = []
    for subject, text in told:
        key = _key(section, subject, "waits")
        room = width - size - 6
        texts = [part for reason in each_gpu(text) for part in wrap(reason, width=room, indent="")] or [""]
        head = (Cell(text="  ◌", style="busy"), Cell(text=f" {pad(subject, size)}  "))
        lines.append((key, (*head, Cell(text=texts[0]))))
        lines += [(key, (Cell(text=" " * (size + 6) + part),)) for part in texts[1:]]
    if others and first is not None and first.wake_at is not None:
        left = first.wake_at - section.now
        text = f"tried again {_when(left)}" + (", sooner if something changes" if left >= 1 else "")
        lines.append(("", (Cell(text=f"    {text}", style="dim"),)))
    return lines


def _when(seconds: float) -> str:
    return f"in {span(seconds)}" if seconds >= 1 else "now"


def _blocked(section: Section, rows: Sequence[Change], *, width: int) -> Lines:
    """What stands in the way of what, and what a person can do."""
    lines: Lines = [
        (_key(section, subject, "blocked"), each) for subject, each in change_lines(rows, width=width, apart=True)
    ]
    if section.held:
        told = f"a consents to it: {', '.join(section.held)} would be stopped"
        lines += [("", (Cell(text=part, style="busy"),)) for part in wrap(told, width=width, indent="    ")]
    return lines
