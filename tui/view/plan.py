"""An outlook as text: one line for each thing that changes, every GPU before and after, and hosts where it matters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from reconciler.model.slots import split_slot
from reconciler.model.status import Reason
from tui.view.clean import line
from tui.view.outlook import Change, GpuOutlook, Holding, HostOutlook, Mark, Outlook, each_gpu
from tui.view.paint import Cell, Style, counted, gib, pad, wrap
from tui.view.paint import width as wide
from tui.view.picture import Line, printed

if TYPE_CHECKING:
    from reconciler.model.plan import Plan

_STYLES: dict[Mark, Style] = {"+": "good", "±": "busy", "~": "busy", "!": "bad", "-": "bad"}
_TIED = "\u00a0"
_LONG = 100
"""Characters of a reason that is not told twice."""
_NAMED = 2**30 // 20
"""Bytes that are worth naming: what would not print as 0.0 GiB."""


def plan_text(seen: Outlook, *, width: int, colour: bool, steps: bool = False) -> str:
    """The whole outlook in lines of at most `width` columns. With `steps` every pass, in the planner's own words."""
    rows = together(seen.changes)
    lines = [*headline(seen, width=width)]
    for part in (
        [told for _, told in change_lines(rows, width=width)],
        room_lines(seen, width=width) if any(change.verb != "paused" for change in rows) else [],
        problem_lines(seen, width=width),
        *(step_lines(seen, width=width) if steps else ()),
    ):
        lines += [(), *part] if part else []
    return "\n".join(printed(each, colour=colour) for each in lines)


def headline(seen: Outlook, *, width: int, waiting: int = 0) -> list[Line]:
    """What is planned for where, how much of it changes, and whether nothing of it is done now."""
    name, counts = title(seen), " · ".join(counted_parts(seen, waiting=waiting))
    lines: list[Line] = [(Cell(text=name, style="bold"), Cell(text=f" · {counts}"))]
    if wide(name) + 3 + wide(counts) > width:
        lines = [(Cell(text=part, style="bold"),) for part in wrap(name, width=width, indent="")]
        lines += [(Cell(text=part),) for part in wrap(counts, width=width, indent="  ")]
    standing = wrap(seen.standing, width=width, indent="‖ ") if seen.standing else []
    return lines + [(Cell(text=part, style="busy"),) for part in standing]


def problem_lines(seen: Outlook, *, width: int) -> list[Line]:
    """What is wrong in the files, and where."""
    problems = [line(str(problem)) for problem in seen.problems]
    if seen.missing is not None:
        problems.insert(0, line(seen.missing))
    if seen.against and seen.against.problems:
        problems.append(f"at {seen.against}, where the models of these files are taken not to run:")
        problems += [line(str(problem)) for problem in seen.against.problems]
    told = [part for problem in problems for part in wrap(problem, width=width, indent="  ")]
    return [(Cell(text=part, style="bad"),) for part in told]


def step_lines(seen: Outlook, *, width: int) -> Iterator[list[Line]]:
    """Every pass, in the planner's own words."""
    for heading, texts in passes(seen.passes):
        rows: list[Line] = [(Cell(text=row),) for each in texts for row in _hanging(each, width=width)]
        yield [(Cell(text=heading, style="bold"),), *rows]


def title(seen: Outlook) -> str:
    """What is planned, and for where: `fleet.d @ 3f2a9c1 against main (9016de0) on box1`."""
    text = line(seen.root) + (f" @ {seen.revision}" if seen.revision else "")
    text += f" against {seen.against}" if seen.against else ""
    return text + (f" on {line(seen.machine)}" if seen.machine is not None else "")


def counted_parts(seen: Outlook, *, waiting: int = 0) -> list[str]:
    """What there is and how much of it changes: `5 models`, `2 to change`, `1 blocked`.

    `waiting`: how many of those that are blocked are told of as waiting.
    """
    held = sum(change.verb == "paused" for change in seen.changes)
    blocked = len(seen.changes) - seen.changing - held - waiting
    parts = [counted(seen.models, "model")] if seen.models or not seen.services else []
    parts += [counted(seen.services, "service")] if seen.services else []
    parts += [f"{seen.changing} to change"] if seen.changing else []
    parts += [f"{waiting} waiting"] if waiting else []
    parts += [f"{blocked} blocked"] if blocked else []
    parts += [f"{held} paused"] if held else []
    problems = len(seen.problems) + (seen.missing is not None)
    parts += [] if seen.changing or waiting or blocked or seen.missing else ["nothing to do"]
    return parts + ([counted(problems, "problem")] if problems else [])


def together(changes: Sequence[Change]) -> list[Change]:
    """The changes; instances of one workload that are blocked for the same reason as one: `chat/1-3`.

    What is blocked for the same long reason as another workload is told so, and no more.
    """
    rows: list[Change] = []
    told: dict[str, str] = {}
    for change in changes:
        last = rows[-1] if rows else None
        if last is not None and change.mark == "!" and replace(change, subject=last.subject) == last:
            joined = _joined(last.subject, change.subject)
            if joined is not None:
                rows[-1] = replace(last, subject=joined)
                continue
        if change.mark == "!" and len(change.what) > _LONG:
            first = told.setdefault(change.what, change.subject)
            if first.rpartition("/")[0] != change.subject.rpartition("/")[0]:
                change = replace(change, what=f"for the same reasons as {first}")
        rows.append(change)
    return rows


_SEVERAL = re.compile(r"[0-9]-[0-9]+$")


def several(label: str) -> bool:
    """Whether a label of `alike` stands for several GPUs."""
    return _SEVERAL.search(label) is not None


def alike(gpus: Sequence[GpuOutlook]) -> Iterator[tuple[str, GpuOutlook]]:
    """The GPUs by index; neighbours that are in all the same as one: `gpu 2-7`."""
    for _, group in groupby(
        gpus, key=lambda gpu: (gpu.node, gpu.model, gpu.memory, gpu.cordoned, gpu.before, gpu.after)
    ):
        first, *others = group
        if others and others[-1].index - first.index == len(others):
            yield f"{_machine(first)}gpu {first.index}-{others[-1].index}", first
        else:
            yield from ((f"{_machine(gpu)}gpu {gpu.index}", gpu) for gpu in (first, *others))


def hosts(seen: Outlook) -> Iterator[tuple[str, HostOutlook]]:
    """Machines whose own memory is worth telling: `host`, `box2 host`."""
    return ((f"{_machine(host)}host", host) for host in seen.hosts if host.tight)


def _machine(gpu: GpuOutlook | HostOutlook) -> str:
    return f"{line(gpu.node)} " if gpu.node else ""


def amount(gpu: GpuOutlook | HostOutlook) -> str:
    """`62.0 → 118.4 of 141.0 GiB`."""
    now, then = gib(gpu.before.used), gib(gpu.after.used)
    return f"{now} → {then} of {gib(gpu.memory)} GiB" if now != then else f"{then} of {gib(gpu.memory)} GiB"


def held(holding: Holding) -> str:
    """How much of it is theirs, in GiB: `20.0`, `20.0 (measured)`, `20.0 (estimated ±8 %)`, or `whole`."""
    text = "whole" if holding.whole else gib(holding.memory)
    if holding.basis not in ("measured", "estimated"):
        return text  # its file says so, or nobody knows
    off = f" ±{holding.within * 100:.0f} %" if holding.within is not None and holding.basis == "estimated" else ""
    return f"{text} ({holding.basis}{off})"


def cordon(gpu: GpuOutlook | HostOutlook) -> str:
    """`cordoned: XID 79, …`; empty where it is well."""
    return f"cordoned: {line(gpu.cordoned)}" if isinstance(gpu, GpuOutlook) and gpu.cordoned else ""


def tenants(gpu: GpuOutlook | HostOutlook) -> tuple[Holding, ...]:
    """Who is on it after, as far as it is worth telling."""
    return tuple(holding for holding in gpu.after.holdings if holding.ours or holding.memory >= _NAMED)


def model(gpu: GpuOutlook | HostOutlook) -> str:
    """`NVIDIA GeForce RTX 4090` → `RTX 4090`."""
    if isinstance(gpu, HostOutlook):
        return "memory"
    return line(gpu.model).removeprefix("NVIDIA ").removeprefix("GeForce ")


def bar(gpu: GpuOutlook | HostOutlook) -> str:
    """How full it is: `▇` before and after, `▒` what comes, `░` what goes. Anything at all shows as one cell."""
    return "".join(cell.text for cell in bar_cells(gpu))


def bar_cells(gpu: GpuOutlook | HostOutlook, *, cells: int = 10) -> Line:
    """The same in pieces, so wide."""
    now, then = gpu.before.used, gpu.after.used
    least, most = sorted((_full(now, gpu.memory, cells), _full(then, gpu.memory, cells)))
    if now != then and least == most:
        least -= 1
    moves = Cell(text="▒" * (most - least), style="busy") if then > now else Cell(text="░" * (most - least))
    pieces = (Cell(text="▇" * least), moves, Cell(text="▁" * (cells - most), style="dim"))
    return tuple(piece for piece in pieces if piece.text)


def passes(road: Sequence[Plan]) -> Iterator[tuple[str, list[str]]]:
    """Every pass in the planner's own words: a step, for who reads it.

    That the record of what has ended is removed is none. What is blocked is said when it becomes so, and why only
    where it is not so in the end: that is told already.
    """
    told = {(item.subject, item.reason) for item in (road[-1].blocked if road else ())}
    before: set[tuple[str, Reason]] = set()
    number = 0
    for plan in road:
        done = [line(str(action)) for action in plan.actions if action.kind != "forget"]
        texts = [*done]
        for item in plan.blocked:
            key = item.subject, item.reason
            if key not in before:
                texts.append(line(str(replace(item, detail="") if key in told else item)))
        before = {(item.subject, item.reason) for item in plan.blocked}
        if texts:
            number += bool(done)
            yield f"{'' if done else 'after '}step {number}" if number else "now", texts


def _full(part: int, whole: int, cells: int) -> int:
    share = part / whole if whole > 0 else 0.0
    return min(cells, max(round(share * cells), 1 if share > 0 else 0))


def _joined(subjects: str, another: str) -> str | None:
    """`chat/1-2` and `chat/3` → `chat/1-3`; None where they are no neighbours."""
    (name, _, indices), (other, _, index) = subjects.rpartition("/"), another.rpartition("/")
    if not name or name != other or not index.isdigit():
        return None
    first, _, last = indices.partition("-")
    return f"{name}/{first}-{index}" if split_slot(another)[1] == int(last or first) + 1 else None


def change_lines(rows: Sequence[Change], *, width: int, apart: bool = False) -> list[tuple[str, Line]]:
    """Mark, subject and verb in columns; the note in a column too where there is the width, else beneath.

    Each line with the subject that it is of. `apart`: what stands in the way on each GPU has a line of its own.
    """
    limit = max(12, width // 3)
    subjects = max((len(row.subject) for row in rows if len(row.subject) <= limit), default=limit)
    verbs = max((len(row.verb) for row in rows), default=0)
    indent = subjects + verbs + 8
    room = width - indent
    most = max((len(row.note) for row in rows), default=0)
    whats = max((len(row.what) for row in rows if row.note and len(row.what) + 2 + most <= room), default=0)
    lines: list[tuple[str, Line]] = []
    for row in rows:
        texts: list[Line]
        if row.note and max(len(row.what), whats) + 2 + len(row.note) <= room:
            texts = [(Cell(text=f"{row.what:<{whats}}  "), Cell(text=row.note, style="dim"))]
        else:
            reasons = each_gpu(row.what) if apart and row.mark == "!" else [row.what]
            parts = [part.strip() for reason in reasons for part in wrap(reason, width=room, indent="")] or [""]
            texts = [(Cell(text=part),) for part in parts]
            # that what starts does not run is worth a column, not a line
            notes = wrap(row.note, width=room, indent="") if row.reason is not Reason.NotRunning else []
            texts += [(Cell(text=part, style="dim"),) for part in notes]
        mark = (Cell(text="  "), Cell(text=row.mark, style=_STYLES[row.mark]))
        if len(row.subject) <= subjects:
            lines.append(
                (row.subject, (*mark, Cell(text=f" {row.subject:<{subjects}}  {row.verb:<{verbs}}  "), *texts[0]))
            )
            texts = texts[1:]
        else:
            # a name so long stands alone, or everything else would have no room
            first, *more = wrap(f"{row.subject}  {row.verb}", width=width - 4, indent="")
            lines.append((row.subject, (*mark, Cell(text=f" {first}"))))
            lines += [(row.subject, (Cell(text=f"    {part}"),)) for part in more]
        lines += [(row.subject, (Cell(text=" " * indent), *part)) for part in texts]
    return lines


def room_lines(seen: Outlook, *, width: int, cells: int = 10) -> list[Line]:
    """The memory of every GPU, and of hosts where it matters, before and after, and who is on it after.

    `cells`: how wide a bar is.
    """
    if seen.unseen is not None:
        return [(Cell(text=part),) for part in wrap(line(seen.unseen), width=width, indent="  ")]
    groups = [*alike(seen.gpus), *hosts(seen)]
    if not groups:
        return []
    nows = max(len(gib(gpu.before.used)) for _, gpu in groups)
    labels = max(len(label) for label, _ in groups)
    models = min(max(wide(model(gpu)) for _, gpu in groups), max(4, width - labels - cells - nows - 32))
    amounts = [
        " " * (nows - amount(gpu).index(" ")) + amount(gpu) + (" each" if several(label) else "")
        for label, gpu in groups
    ]
    indent = 2 + labels + 2 + models + 2 + cells + 2 + max(map(len, amounts)) + 2
    lines: list[Line] = []
    for (label, gpu), told in zip(groups, amounts, strict=True):
        head = (
            Cell(text=f"  {label:<{labels}}  {pad(model(gpu), models)}  "),
            *bar_cells(gpu, cells=cells),
        )
        # kept together: a name and what it holds
        who = ", ".join(f"{holding.holder} {held(holding)}".replace(" ", _TIED) for holding in tenants(gpu))
        who = "; ".join(filter(None, [who, cordon(gpu)])) or "free"
        beside = indent + 24 <= width
        at = indent if beside else 6
        texts = [part.replace(_TIED, " ") for part in wrap(who, width=width - at, indent="")]
        if beside:
            padded = f"  {told}".ljust(indent - len(head[0].text) - cells)
            lines.append((*head, Cell(text=padded), Cell(text=texts.pop(0), style="dim")))
        else:
            lines.append((*head, Cell(text=f"  {told}")))
        lines += [(Cell(text=" " * at), Cell(text=part, style="dim")) for part in texts]
    return lines


def _hanging(text: str, *, width: int) -> list[str]:
    first, *more = wrap(text, width=width - 4, indent="")
    return [f"  {first}", *(f"    {row}" for row in more)]
