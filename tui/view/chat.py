"""A conversation as a picture, and the models that one can talk to."""

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.model.bench import Answer
from reconciler.model.status import Reason, Status
from tui.view.clean import clean, line
from tui.view.flow import flow
from tui.view.grid import Column, fit, measure, row, titles
from tui.view.paint import Cell, brief, counted, cut, rate
from tui.view.picture import Line, Picture
from tui.view.prose import Prose, behind
from tui.view.status import explained, state
from tui.view.world import Row, World

_WIDEST = 104
"""Columns of a text that can be read."""
_WHILE = 0.5
"""Seconds of an answer from which its pace can be told."""
_IN = Cell(text="  ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A question and what became of it."""

    question: str = ""
    thought: str = ""
    """What the model thought before."""
    answer: str = ""
    instead: str = ""
    """The model that answers in the place of the one that was asked."""
    note: str = ""
    """What is waited for."""
    error: str = ""
    """Why there is no answer, or not all of one."""
    stopped: bool = False
    ended: bool = False
    measured: Answer | None = None
    pieces: int = 0
    """In which it came: each is a token, or several."""


class Sheet:
    """What was said, laid out: a turn that has ended once, and of the one that has not what is new."""

    def __init__(self) -> None:
        self._how = (0, False)
        self._ended: list[Turn] = []
        self._lines: list[Line] = []
        self._growing: dict[str, Prose] = {}

    def picture(self, turns: Sequence[Turn], row: Row | None, model: str, *, columns: int, thoughts: bool) -> Picture:
        """`row`: the model as its daemon tells of it; `thoughts`: show all that it thought."""
        room = min(columns - 4, _WIDEST)
        if self._how != (room, thoughts) or list(turns[: len(self._ended)]) != self._ended:
            self._how, self._ended, self._lines, self._growing = (room, thoughts), [], [], {}
        last: list[Line] = []
        for turn in turns[len(self._ended) :]:
            last = [*self._turn(turn, room, thoughts=thoughts), ()]
            if turn.ended:
                self._ended.append(turn)
                self._lines += last
                self._growing, last = {}, []
        if not turns:
            last = behind(flow([Cell(text=f"Ask {line(model)} something.", style="dim")], room), _IN)
        head = [*behind(_title(row, model, room), _IN), ()]
        return Picture(lines=(*head, *self._lines, *last), head=len(head))

    def _turn(self, turn: Turn, room: int, *, thoughts: bool) -> list[Line]:
        mark = Cell(text="▌ ", style="accent")
        asked = flow([Cell(text=clean(turn.question).strip("\n").expandtabs(4), style="bold")], room)
        lines = [*behind(asked, mark, mark), ()]
        lines += behind(self._thought(turn, room, thoughts=thoughts), _IN)
        answer = self._growing.setdefault("answer", Prose(room)).lines(turn.answer, grows=not turn.ended)
        lines += behind(answer, _IN)
        if turn.note and not turn.ended:
            lines += _marked("◌", line(turn.note), room)
        elif not turn.ended and not answer and not turn.thought:
            lines += _marked("◌", "waiting for its first word", room)
        if turn.error:
            mark, text = Cell(text="  ✖ ", style="bad"), Cell(text=line(turn.error), style="bad")
            lines += behind(flow([text], room - 2), mark)
        if told := figures(turn):
            apart = [()] if any(cell.text.strip() for cell in lines[-1]) else []
            lines += [*apart, *behind(flow([Cell(text=told, style="dim")], room), _IN)]
        return lines

    def _thought(self, turn: Turn, room: int, *, thoughts: bool) -> list[Line]:
        """All of it while that is all there is, or where it is wanted; else that there was some."""
        if not turn.thought.strip():
            return []
        if thoughts or not (turn.answer or turn.ended):
            mark = Cell(text="┊ ", style="dim")
            thought = self._growing.setdefault("thought", Prose(room - 2, plain="dim")).lines(
                turn.thought, grows=not turn.ended
            )
            return [*behind(thought, mark, mark), ()]
        said = f"▸ it thought, in {counted(len(turn.thought.split()), 'word')}; ^t shows them"
        return [(Cell(text=said, style="dim"),), ()]


def _marked(shape: str, text: str, room: int) -> list[Line]:
    return behind(flow([Cell(text=text, style="busy")], room - 2), Cell(text=f"  {shape} ", style="busy"))


def figures(turn: Turn) -> str:
    """`0.2s to the first token · 41 tok/s · 128 tokens`; what nobody has counted yet is at least its pieces."""
    parts = [f"{line(turn.instead)} answered instead"] if turn.instead else []
    parts += ["stopped"] if turn.stopped else []
    measured = turn.measured
    if measured is None or measured.first is None or measured.last is None:
        return " · ".join(parts)
    parts.append(f"{brief(measured.first)} to the first token")
    if measured.step:
        parts.append(f"{rate(1 / measured.step)} tok/s")
    elif measured.written is None and turn.pieces > 1 and measured.last - measured.first >= _WHILE:
        parts.append(f"≥ {rate((turn.pieces - 1) / (measured.last - measured.first))} tok/s")
    if measured.written is not None:
        parts.append(counted(measured.written, "token"))
    parts.append(f"{brief(measured.took)} {'in all' if turn.ended else 'so far'}")
    return " · ".join(parts)


def _title(row: Row | None, model: str, room: int) -> list[Line]:
    """Who is talked to, and what a question meets there."""
    told = [Cell(text=cut(line(model), 40), style="bold")]
    if row is None:
        return flow([*told, Cell(text=" is not in the fleet", style="bad")], room)
    how = state(row.workload)
    told += [Cell(text=f" on {cut(line(row.machine.name), 24)}", style="dim")] if row.machine.name else []
    told += [Cell(text=f" {how}", style=how.style)]
    about = "as it was last: its daemon is away" if row.machine.away else cut(_about(row), 2 * room)
    return flow([*told, Cell(text=f" {about}", style="dim")], room)[:3]


def _about(row: Row) -> str:
    """What a question meets."""
    workload = row.workload
    if not workload.wanted and workload.ready and state(workload).word != "stopping":
        stopped = workload.conditions[0].reason is Reason.StopAsked
        return "stopped; resume it first" if stopped else "the first question wakes it"
    return line(explained(workload))


# -- whom one can talk to


def _columns(room: int) -> tuple[Column, ...]:
    names, words = (24, 34) if room >= 75 else (22, 14)
    return (
        Column(title="MODEL", least=names, most=40),
        Column(title="STATE", least=13, most=20),
        Column(title="ENGINE", rank=2, most=16),
        Column(title="ALSO CALLED", rank=3, least=24, most=40),
        Column(title="MACHINE", rank=1, most=24),
        Column(title="", least=words, most=120),
    )


def models(world: World, *, columns: int, looked_for: str = "") -> Picture:
    """Those in which every word occurs that is looked for; a line for each, which its key stands for."""
    rows = sorted((row for row in world.rows() if row.workload.kind == "Model"), key=_rank)
    lines: list[Line] = [(Cell(text="  Talk to which model?", style="bold"),), ()]
    for machine in world.machines.values():
        told = machine.away or (_without(machine.status) if machine.status is not None else "")
        if told:
            name = f"{line(machine.name)}: " if machine.name else ""
            text = [Cell(text=name + line(told), style="bad")]
            lines += [*behind(flow(text, columns - 4), Cell(text="  ▲ ", style="bad")), ()]
    cells = [_cells(row, several=len(world.machines) > 1) for row in rows]
    if words := looked_for.lower().split():
        texts = (" ".join(cell.text for cell in each).lower() for each in cells)
        kept = [number for number, text in enumerate(texts) if all(word in text for word in words)]
        rows, cells = [rows[number] for number in kept], [cells[number] for number in kept]
    if not rows:
        return Picture(lines=(*lines, (_IN, Cell(text=_none(world, looked_for), style="dim"))), head=2)
    table = _columns(columns - 4)
    widths = fit(table, measure(cells, table), columns - 4)
    lines.append((_IN, *titles(table, widths)))
    head = len(lines)
    lines += [(_IN, *row(each, table, widths)) for each in cells]
    return Picture(
        lines=tuple(lines), keys=("",) * head + tuple("" if row.mute else row.key for row in rows), head=head
    )


def _none(world: World, looked_for: str) -> str:
    if looked_for.split():
        return f"nothing matches {line(looked_for)!r}"
    heard = any(machine.status is not None for machine in world.machines.values())
    return "no model is in the fleet: declare one, see `fleet.d/`" if heard else "nothing was heard of any model yet"


def _without(status: Status) -> str:
    gateway = status.gateway
    if gateway is None:
        return "no gateway runs; start it with `holdfast up`"
    return "" if gateway.connected else "the gateway is not up; start it with `holdfast up`"


def _rank(row: Row) -> tuple[int, str, str]:
    """Who answers at once comes first, who never does last."""
    ready = row.workload.ready
    return (
        3 if row.mute else 0 if ready and row.workload.wanted else 1 if ready else 2,
        row.workload.name,
        row.machine.name,
    )


def _cells(row: Row, *, several: bool) -> tuple[Cell, ...]:
    workload, how = row.workload, state(row.workload)
    names = dict.fromkeys(name for each in workload.endpoints for name in each.names if name != workload.name)
    return (
        Cell(text=line(workload.name), style="bold"),
        Cell(text=str(how), style=how.style),
        Cell(text=line(workload.engine)),
        Cell(text=", ".join(map(line, names)), style="dim"),
        Cell(text=line(row.machine.title) if several else ""),
        Cell(text=line(row.mute) or _about(row), style="dim"),
    )
