"""An outlook as text: one line for each thing that changes, every GPU before and after, and hosts where it matters."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from reconciler.model.fleet import split_slot
from reconciler.model.plan import Plan
from reconciler.model.status import Reason
from tui.view.clean import line
from tui.view.outlook import Change, GpuOutlook, Holding, HostOutlook, Mark, Outlook
from tui.view.paint import Cell, Style, columns, counted, gib, paint, wrap

_STYLES: dict[Mark, Style] = {"+": "good", "±": "busy", "~": "busy", "!": "bad", "-": "bad"}
_CELLS = 10
_TIED = "\u00a0"
_LONG = 120
"""Characters of a reason that is not told twice."""
_NAMED = 2**30 // 20
"""Bytes that are worth naming: what would not print as 0.0 GiB."""


def plan_text(seen: Outlook, *, width: int, colour: bool, steps: bool = False) -> str:
    """The whole outlook in lines of at most `width` columns. With `steps` every pass, in the planner's own words."""
    name, counts = title(seen), " · ".join(counted_parts(seen))
    head = f"{paint(name, 'bold', colour=colour)} · {counts}"
    lines = [head]
    if len(name) + 3 + len(counts) > width:
        lines = [paint(text, "bold", colour=colour) for text in wrap(name, width=width, indent="")]
        lines += wrap(counts, width=width, indent="  ")
    rows = together(seen.changes)
    if rows:
        lines += ["", *_changes(rows, width=width, colour=colour)]
    if any(change.verb != "paused" for change in rows):
        lines += _room(seen, width=width, colour=colour)
    problems = [line(str(problem)) for problem in seen.problems]
    if seen.missing is not None:
        problems.insert(0, line(seen.missing))
    if seen.against and seen.against.problems:
        problems.append(f"at {seen.against}, where the models of these files are taken not to run:")
        problems += [line(str(problem)) for problem in seen.against.problems]
    if problems:
        told = [text for problem in problems for text in wrap(problem, width=width, indent="  ")]
        lines += ["", *(paint(text, "bad", colour=colour) for text in told)]
    if steps:
        for heading, texts in passes(seen.passes):
            wrapped = [row for text in texts for row in _hanging(text, width=width)]
            lines += ["", paint(heading, "bold", colour=colour), *wrapped]
    return "\n".join(lines)


def title(seen: Outlook) -> str:
    """What is planned, and for where: `fleet.d @ 3f2a9c1 against main (9016de0) on box1`."""
    text = line(seen.root) + (f" @ {seen.revision}" if seen.revision else "")
    text += f" against {seen.against}" if seen.against else ""
    return text + (f" on {line(seen.machine)}" if seen.machine is not None else "")


def counted_parts(seen: Outlook) -> list[str]:
    """What there is and how much of it changes: `5 models`, `2 to change`, `1 blocked`."""
    held = sum(change.verb == "paused" for change in seen.changes)
    blocked = len(seen.changes) - seen.changing - held
    parts = [counted(seen.models, "model")] if seen.models or not seen.services else []
    parts += [counted(seen.services, "service")] if seen.services else []
    parts += [f"{seen.changing} to change"] if seen.changing else []
    parts += [f"{blocked} blocked"] if blocked else []
    parts += [f"{held} paused"] if held else []
    problems = len(seen.problems) + (seen.missing is not None)
    parts += [] if seen.changing or blocked or seen.missing else ["nothing to do"]
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
    now, then = gpu.before.used, gpu.after.used
    least, most = sorted((_cells(now, gpu.memory), _cells(then, gpu.memory)))
    if now != then and least == most:
        least -= 1
    moves = "▒" if then > now else "░"
    return "▇" * least + moves * (most - least) + "▁" * (_CELLS - most)


def passes(road: Sequence[Plan]) -> Iterator[tuple[str, list[str]]]:
    """Every pass in the planner's own words.

    What is blocked is said when it becomes so, and why only where it is not so in the end: that is told already.
    """
    told = {(item.subject, item.reason) for item in (road[-1].blocked if road else ())}
    before: set[tuple[str, Reason]] = set()
    number = 0
    for plan in road:
        texts = [line(str(action)) for action in plan.actions]
        for item in plan.blocked:
            key = item.subject, item.reason
            if key not in before:
                texts.append(line(str(replace(item, detail="") if key in told else item)))
        before = {(item.subject, item.reason) for item in plan.blocked}
        if texts:
            number += 1
            yield f"pass {number}", texts


def _cells(part: int, whole: int) -> int:
    share = part / whole if whole > 0 else 0.0
    return min(_CELLS, max(round(share * _CELLS), 1 if share > 0 else 0))


def _joined(subjects: str, another: str) -> str | None:
    """`chat/1-2` and `chat/3` → `chat/1-3`; None where they are no neighbours."""
    (name, _, indices), (other, _, index) = subjects.rpartition("/"), another.rpartition("/")
    if not name or name != other or not index.isdigit():
        return None
    first, _, last = indices.partition("-")
    return f"{name}/{first}-{index}" if split_slot(another)[1] == int(last or first) + 1 else None


def _changes(rows: Sequence[Change], *, width: int, colour: bool) -> list[str]:
    """Mark, subject and verb in columns; the note in a column too where there is the width, else beneath."""
    limit = max(12, width // 3)
    subjects = max((len(row.subject) for row in rows if len(row.subject) <= limit), default=limit)
    verbs = max(len(row.verb) for row in rows)
    indent = subjects + verbs + 8
    room = width - indent
    most = max(len(row.note) for row in rows)
    whats = max((len(row.what) for row in rows if row.note and len(row.what) + 2 + most <= room), default=0)
    lines: list[str] = []
    for row in rows:
        mark = paint(row.mark, _STYLES[row.mark], colour=colour)
        if row.note and max(len(row.what), whats) + 2 + len(row.note) <= room:
            texts = [f"{row.what:<{whats}}  {paint(row.note, 'dim', colour=colour)}"]
        else:
            texts = [text.strip() for text in wrap(row.what, width=room, indent="")] or [""]
            # that what starts does not run is worth a column, not a line
            notes = wrap(row.note, width=room, indent="") if row.reason is not Reason.NotRunning else []
            texts += [paint(text, "dim", colour=colour) for text in notes]
        if len(row.subject) <= subjects:
            lines.append(f"  {mark} {row.subject:<{subjects}}  {row.verb:<{verbs}}  {texts[0]}".rstrip())
            texts = texts[1:]
        else:
            # a name so long stands alone, or everything else would have no room
            first, *more = wrap(f"{row.subject}  {row.verb}", width=width - 4, indent="")
            lines += [f"  {mark} {first}", *(f"    {text}" for text in more)]
        lines += [" " * indent + text for text in texts]
    return lines


def _room(seen: Outlook, *, width: int, colour: bool) -> list[str]:
    """The memory of every GPU, and of hosts where it matters, before and after, and who is on it after."""
    if seen.unseen is not None:
        return ["", *wrap(line(seen.unseen), width=width, indent="  ")]
    groups = [*alike(seen.gpus), *hosts(seen)]
    if not groups:
        return []
    nows = max(len(gib(gpu.before.used)) for _, gpu in groups)
    rows: list[list[Cell]] = []
    for label, gpu in groups:
        text = amount(gpu)
        rows.append(
            [
                Cell(text=label),
                Cell(text=model(gpu)),
                Cell(text=bar(gpu)),
                Cell(text=" " * (nows - text.index(" ")) + text + (" each" if several(label) else "")),
            ]
        )
    heads = columns(rows, width=width - 2, colour=False)
    indent = max(map(len, heads)) + 4
    lines: list[str] = []
    for head, (_, gpu) in zip(heads, groups, strict=True):
        # kept together: a name and what it holds
        who = ", ".join(f"{holding.holder} {held(holding)}".replace(" ", _TIED) for holding in tenants(gpu))
        who = "; ".join(filter(None, [who, cordon(gpu)])) or "free"
        beside = indent + 24 <= width
        at = indent if beside else 6
        texts = [text.replace(_TIED, " ") for text in wrap(who, width=width - at, indent="")]
        if beside:
            lines.append(f"  {head:<{indent - 4}}  {paint(texts.pop(0), 'dim', colour=colour)}")
        else:
            lines.append(f"  {head}")
        lines += [" " * at + paint(text, "dim", colour=colour) for text in texts]
    return ["", *lines]


def _hanging(text: str, *, width: int) -> list[str]:
    first, *more = wrap(text, width=width - 4, indent="")
    return [f"  {first}", *(f"    {row}" for row in more)]
