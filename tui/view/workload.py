"""One workload: how it does, its replicas, what its clients and its engine do, and the last of its log and events."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo

from reconciler.model.answers import About
from reconciler.model.metrics import ReplicaMetrics
from tui.view.clean import line
from tui.view.doing import clients, conditions, engine, events, log_lines, replicas, unkeyed
from tui.view.launch import file_lines, launch_lines, run_lines
from tui.view.log_line import LogLine
from tui.view.paint import Cell, Style, cut, wrap
from tui.view.paint import width as wide
from tui.view.picture import Line, Lines, Picture, beside
from tui.view.status import state
from tui.view.world import Row, World

TABS = ("Overview", "File", "Launch", "Runs")
_BESIDE = 150
"""Columns from which what clients do stands beside the rest."""
_GAP = 4
_LEAST = 6
"""Lines of the log that are shown at least."""
Part = tuple[str, Lines]
"""Title and lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What was asked of its daemon beside the streams; None: not answered yet. Errors in words, empty where none."""

    about: About | None = None
    about_error: str = ""
    metrics: Sequence[ReplicaMetrics] | None = None
    metrics_error: str = ""
    log: Sequence[LogLine] | None = None
    log_of: str = ""
    """The slot whose log that is."""
    log_error: str = ""


def workload_picture(
    world: World, key: str, told: Told, *, tab: str, width: int, height: int, zone: tzinfo | None = None
) -> Picture:
    """One of its pages; `height`: lines that can be seen. `zone`: of the person; None: of this machine."""
    found = world.find(key)
    head = [*_head(world, key, width), _tabs(tab), ()]
    lines: Lines
    match tab:
        case "Overview" if found is not None:
            lines = _overview(found, told, world.wall, width=width, height=height - len(head), zone=zone)
        case "File" if found is not None and (wrong := _wrong(found)) and told.about is None:
            lines = unkeyed([part for each in wrong for part in _words(each, width, "bad")])
        case "File" | "Launch" | "Runs":
            lines = [("", each) for each in _page(tab, told, world.wall, width=width, zone=zone)]
        case _:
            lines = []
    return Picture(
        lines=(*head, *(each for _, each in lines)),
        keys=("",) * len(head) + tuple(each for each, _ in lines),
        head=len(head),
    )


def tab_at(picture: Picture, x: int, y: int) -> str:
    """The page whose tab is at that column and line; empty where there is none."""
    if y != picture.head - 2:
        return ""
    left = 0
    for cell in picture.lines[y]:
        left += wide(cell.text)
        if x < left:
            return cell.text.strip("▸ ")
    return ""


def _head(world: World, key: str, width: int) -> list[Line]:
    """What it is and how it does; that it is gone; that this is old."""
    found, name = world.find(key), line(key.rpartition("/")[2])
    machine = world.machines.get(key.rpartition("/")[0])
    away = machine.away if machine is not None else ""
    if found is None:
        heard = machine is not None and machine.status is not None
        told = line(away) if away else "is no longer here" if heard else "asking …"
        return [
            (Cell(text=cut(name, width // 2), style="bold"), Cell(text=f"  {cut(told, width // 2 - 2)}", style="dim"))
        ]
    workload, how = found.workload, state(found.workload)
    labels = " ".join(f"{line(each)}={line(value)}" for each, value in workload.labels.items())
    where = [line(found.machine.title)] if len(world.machines) > 1 else []
    gone = "its file cannot be taken" if _wrong(found) else "no longer in the fleet"
    facts = [*where, line(workload.kind), line(workload.engine), line(workload.source) or gone]
    facts += [*([f"priority {workload.priority}"] if workload.source else []), labels]
    head = (Cell(text=f"{cut(name, max(16, width // 3))}  ", style="bold"), Cell(text=f"{how}  ", style=how.style))
    room = width - sum(wide(cell.text) for cell in head)
    lines: list[Line] = [(*head, Cell(text=cut(" · ".join(filter(None, facts)), room), style="dim"))]
    return lines + (_words(f"✖ as it was last told: {away}", width, "bad") if away else [])


def _wrong(found: Row) -> tuple[str, ...]:
    """Where its files are wrong, and why."""
    problems = found.machine.status.problems if found.machine.status is not None else ()
    return tuple(str(each) for each in problems if found.workload.name in each.names)


def _tabs(chosen: str) -> Line:
    return tuple(
        Cell(text=f"▸ {tab}  ", style="accent") if tab == chosen else Cell(text=f"  {tab}  ", style="dim")
        for tab in TABS
    )


def _page(tab: str, told: Told, wall: float, *, width: int, zone: tzinfo | None) -> list[Line]:
    """One that is made of what its daemon was asked."""
    if told.about is None:
        return _words(told.about_error or "asking …", width, "bad" if told.about_error else "dim")
    stale = _words(f"✖ as it was last told: {told.about_error}", width, "bad") if told.about_error else []
    match tab:
        case "File":
            lines = file_lines(told.about, width=width)
        case "Launch":
            lines = launch_lines(told.about, width=width)
        case _:
            lines = run_lines(told.about, width=width, wall=wall, zone=zone)
    return [*stale, *([()] if stale else []), *lines]


def _words(text: str, width: int, style: Style = "") -> list[Line]:
    return [(Cell(text=part, style=style),) for part in wrap(line(text), width=width, indent="")]


def _overview(found: Row, told: Told, wall: float, *, width: int, height: int, zone: tzinfo | None) -> Lines:
    """All that there is to say, the log in what is left of the screen. Where there is the width, in two columns."""
    two = width >= _BESIDE
    left = width * 11 // 20 if two else width
    right = width - left - _GAP if two else width
    name = found.workload.name
    doing: list[Part] = [
        ("CLIENTS", unkeyed(clients(found, right))),
        ("ENGINE", unkeyed(engine(told.metrics, told.metrics_error, right)) if found.workload.kind == "Model" else []),
    ]
    last: Part = ("LAST EVENTS", unkeyed(events(found.machine.events, name, wall, left, zone)))
    above: list[Part] = [("", conditions(found, left)), ("REPLICAS", replicas(found, left))]
    if two:
        lines = beside(_titled([*above, last]), [each for _, each in _titled(doing)], at=left + _GAP)
    else:
        lines = _titled([*above, *doing, last])
    if not found.workload.kind and not found.workload.replicas:
        return lines  # it has never run
    room = max(_LEAST, height - len(lines) - 2)
    log = log_lines(told.log, told.log_error, room, width)
    return [*lines, ("", ()), *_titled([(f"LOG of {line(told.log_of)}" if told.log_of else "LOG", unkeyed(log))])]


def _titled(parts: Sequence[Part]) -> Lines:
    lines: Lines = []
    for title, told in parts:
        if told:
            lines += [("", ())] if lines else []
            lines += [("", (Cell(text=title, style="head"),))] if title else []
            lines += told
    return lines
