"""The fleet as a table: a line for each workload, and beneath it why it is not as it should be.

What was made of a row is kept until its status, its figures or the widths differ: most of a fleet stands still.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from reconciler.model.routing import Wanted
from tui.view.clean import line
from tui.view.entry import COLUMNS, Lasting, age, figures, lasting, moment, traffic
from tui.view.grid import fit, row, titles
from tui.view.hues import hues
from tui.view.paint import Cell, Style, counted, cut, width, wrap
from tui.view.picture import Line, Picture
from tui.view.world import Row, World

ORDERS = ("trouble", "name", "memory", "requests", "tokens", "queue", "restarts", "age")
"""By what rows are ordered; all but the first two: the most first."""
_HEADS = {"trouble": "STATE", "requests": "REQ/S", "tokens": "TOK/S"}
_SETTLED = 5.0
"""Seconds in which rows that are ordered by figures keep their places: nobody reads what jumps."""
_INDENT = "     "
_MARK = "▍ "


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a person wants to see."""

    order: str = ORDERS[0]
    group: str = ""
    """Empty, `state`, `machine`, `engine`, or a label's key."""
    filter: str = ""
    """Words, all of which must occur."""


@dataclass(slots=True, kw_only=True)
class _Kept:
    """A row, and what was made of it."""

    row: Row
    lasting: Lasting
    wanted: Wanted | None
    figures: tuple[Cell, Cell, Cell]
    told: tuple[object, ...] = ()
    """What its lines were made of."""
    lines: tuple[Line, ...] = ()


def groupings(world: World) -> tuple[str, ...]:
    """By what rows can be grouped: nothing, what all have, and every key of a label that any has."""
    labels = {key for each in world.rows() for key in each.workload.labels}
    machines = ("machine",) if len(world.machines) > 1 else ()
    return ("", "state", *machines, "engine", *sorted(labels - {"state", "machine", "engine"}))


class Table:
    """The table of one screen."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._widths: tuple[object, tuple[int, ...]] = ((), ())
        self._places: tuple[object, float, dict[str, int]] = ((), 0.0, {})
        self.shown = 0
        """Workloads that the filter left."""
        self.all = 0

    def picture(self, world: World, asked: Asked, *, room: int, chosen: str = "") -> Picture:
        """All that is asked for in `room` columns; of the row that is `chosen` the whole reason."""
        kept = [self._keep(each) for each in world.rows()]
        self.all = len(kept)
        if len(kept) < len(self._kept):
            there = {each.row.key for each in kept}
            self._kept = {key: each for key, each in self._kept.items() if key in there}
        words = asked.filter.lower().split()
        kept = [each for each in kept if all(word in each.lasting.text for word in words)]
        self.shown = len(kept)
        if not kept:
            return _nothing(world, asked, room)
        several = len(world.machines) > 1
        widths = self._fit(kept, room - 3, several=several)
        told = {name: hues(each.status.gpus) for name, each in world.machines.items() if each.status is not None}
        lines: list[Line] = [_head(widths, asked.order)]
        keys = [""]
        for title, some in self._sections(self._sorted(kept, asked, world.wall), asked.group):
            if title:
                lines.append((Cell(text=f" {title}", style="accent"),))
                keys.append("")
            for each in some:
                hue = told[each.row.machine.name].get(each.row.workload.name, "")
                drawn = self._lines(each, hue, widths, room, whole=each.row.key == chosen)
                lines += drawn
                keys += [each.row.key] * len(drawn)
        return Picture(lines=tuple(lines), keys=tuple(keys), head=1)

    # -- what is kept

    def _keep(self, there: Row) -> _Kept:
        machine, workload = there
        wanted = traffic(machine).get(workload.name)
        found = self._kept.get(there.key)
        if found is None or (found.row.workload is not workload and found.row.workload != workload):
            served = machine.status is not None and machine.status.gateway is not None and workload.kind == "Model"
            kept = _Kept(row=there, lasting=lasting(there), wanted=wanted, figures=figures(wanted, served=served))
            self._kept[there.key] = kept
            return kept
        found.row = there
        if found.wanted is not wanted and found.wanted != wanted:
            found.wanted, found.figures = wanted, figures(wanted, served=True)
        return found

    def _fit(self, kept: Sequence[_Kept], room: int, *, several: bool) -> tuple[int, ...]:
        """Widths of the columns; measured again where a status differs."""
        of = (room, several, *(each.lasting for each in kept))
        if self._widths[0] != of:
            needed: list[int] = []
            for column in COLUMNS:
                cells = [each.lasting.cells.get(column.title) for each in kept]
                most = max((width(cell.text) for cell in cells if cell is not None), default=0)
                if column.title in ("REQ/S", "TOK/S", "QUEUE"):
                    most = column.least if any(each.figures[0].text for each in kept) else 0
                elif column.title == "AGE":
                    most = column.least if any(each.lasting.since is not None for each in kept) else 0
                elif column.title == "MACHINE" and not several:
                    most = 0
                needed.append(most)
            self._widths = of, fit(COLUMNS, needed, room)
        return self._widths[1]

    # -- in which order

    def _sorted(self, kept: Sequence[_Kept], asked: Asked, wall: float) -> list[_Kept]:
        """In the order that is asked for; by figures for a while as they were."""
        if asked.order in ("trouble", "name"):
            return sorted(kept, key=lambda each: _place(each, asked.order))
        of = (asked, *sorted(each.row.key for each in kept))
        was, at, places = self._places
        if was != of or not 0 <= wall - at < _SETTLED:
            ordered = sorted(kept, key=lambda each: _place(each, asked.order))
            places = {each.row.key: number for number, each in enumerate(ordered)}
            self._places = of, wall, places
        return sorted(kept, key=lambda each: places[each.row.key])

    def _sections(self, kept: Iterable[_Kept], group: str) -> Iterator[tuple[str, list[_Kept]]]:
        """With a title for each group, or all without one."""
        if not group:
            yield "", list(kept)
            return
        ordered = sorted(kept, key=lambda each: _section(each, group))
        for (_, title), some in groupby(ordered, key=lambda each: _section(each, group)):
            members = list(some)
            yield f"{title or f'no {line(group)}'} · {counted(len(members), 'workload')}", members

    # -- how a row looks

    def _lines(self, kept: _Kept, hue: Style, widths: tuple[int, ...], room: int, *, whole: bool) -> tuple[Line, ...]:
        """Its line, and its reason beneath it."""
        machine = kept.row.machine
        since = age(kept.lasting, moment(machine))
        told = (kept.lasting, kept.figures, since, hue, widths, room, whole, bool(machine.away))
        if kept.told != told:
            kept.told = told
            kept.lines = _draw(kept, since, hue, widths, room, whole=whole)
        return kept.lines


def _place(kept: _Kept, order: str) -> tuple[float, str, str]:
    last, row = kept.lasting, kept.row
    rated = kept.wanted.traffic if kept.wanted is not None else None
    most: dict[str, float] = {
        "trouble": -last.rank,
        "memory": last.memory,
        "requests": rated.requests if rated else 0.0,
        "tokens": rated.tokens if rated else 0.0,
        "queue": kept.wanted.waiting if kept.wanted else 0,
        "restarts": last.restarts,
        "age": moment(row.machine) - last.since if last.since is not None else -1.0,
    }
    return -most.get(order, 0.0), row.workload.name, row.machine.name


def _section(kept: _Kept, group: str) -> tuple[int, str]:
    if group == "state":
        return kept.lasting.rank, kept.lasting.word
    if group == "machine":
        return 0, line(kept.row.machine.title)
    text = kept.row.workload.engine if group == "engine" else kept.row.workload.labels.get(group, "")
    return (0 if text else 1), line(text)


def _head(widths: Sequence[int], order: str) -> Line:
    title = _HEADS.get(order, order.upper())
    cells = titles(COLUMNS, widths)
    shown = [column.title for column, size in zip(COLUMNS, widths, strict=True) if size]
    lit = [replace(cell, style="accent") if name == title else cell for name, cell in zip(shown, cells, strict=True)]
    return (Cell(text="   "), *lit)


def _draw(kept: _Kept, since: str, hue: Style, widths: tuple[int, ...], room: int, *, whole: bool) -> tuple[Line, ...]:
    cells = dict(kept.lasting.cells)
    cells["REQ/S"], cells["TOK/S"], cells["QUEUE"] = kept.figures
    cells["AGE"] = Cell(text=since, style="dim")
    drawn = row([cells.get(column.title, Cell(text="")) for column in COLUMNS], COLUMNS, widths)
    lines: list[Line] = [(Cell(text=" "), Cell(text=_MARK if hue else "  ", style=hue), *drawn)]
    style: Style = "" if kept.lasting.rank == 0 else "dim"
    if whole:
        texts = wrap(kept.lasting.explained, width=room - 1, indent=_INDENT)
        lines += [(Cell(text=text, style=style),) for text in texts]
    elif kept.lasting.why:
        lines.append((Cell(text=_INDENT + cut(kept.lasting.why, room - 1 - len(_INDENT)), style=style),))
    if kept.row.machine.away:
        return tuple(tuple(replace(cell, style="dim") for cell in each) for each in lines)
    return tuple(lines)


def _nothing(world: World, asked: Asked, room: int) -> Picture:
    """Where there is no row: why, and what to do next."""
    machines = list(world.machines.values())
    heard = [machine.status for machine in machines if machine.status is not None]
    if any(status.workloads for status in heard):
        texts = [f"nothing matches {line(asked.filter)!r}", "", "esc shows all again"]
    elif heard:
        where = line(heard[0].root)
        texts = [
            f"nothing is declared in {where} yet",
            "",
            f"Write what is to run into {where}/chat.yaml, for example, and it starts:",
            "",
            "    kind: Model",
            "    name: chat",
            "    source: hf:Qwen/Qwen3-8B",
            "",
            "`holdfast validate` checks it; the plan (2) shows what is going to be done.",
        ]
    elif any(not machine.away for machine in machines):
        texts = ["asking the daemon …"]
    else:
        texts = ["nothing is known yet; the daemon is asked again every second"]
    lines: list[Line] = [()]
    for text in texts:
        indent = "       " if text.startswith(" ") else "   "
        lines += [(Cell(text=part),) for part in wrap(text.strip(), width=room - 1, indent=indent) or [""]]
    return Picture(lines=tuple(lines))
