"""The road ahead as a person reads it: one line for each thing that changes, and every GPU before and after."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from reconciler.model.fleet import Fleet, split_slot
from reconciler.model.observation import Exited, Gpu, Observation, Unknown
from reconciler.model.plan import Drain, Forget, Launch, Plan, Start, Stop, Update
from reconciler.model.quantity import print_duration
from reconciler.model.status import Reason
from tui.view.clean import line
from tui.view.paint import Cell, Style, bar, columns, counted, gib, paint, wrap
from tui.view.status import split_words

Mark = Literal["+", "±", "~", "!", "-"]
_STYLES: dict[Mark, Style] = {"+": "good", "±": "busy", "~": "busy", "!": "bad", "-": "bad"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One line: everything that happens to one slot, over all passes, or to one workload's live settings."""

    mark: Mark
    subject: str
    verb: str
    """start, replace, restart, stop, live, drain, forget, blocked or paused."""
    what: str
    note: str = ""


@dataclass(slots=True)
class _Slot:
    """What the passes do to one slot."""

    drain: Drain | None = None
    stop: Stop | None = None
    start: Start | None = None
    update: Update | None = None
    forget: Forget | None = None


def changes(fleet: Fleet, road: Sequence[Plan]) -> tuple[Change, ...]:
    """What would change, in the order in which it begins; then what is blocked in the end."""
    slots: dict[str, _Slot] = {}
    for plan in road:
        for action in plan.actions:
            done = slots.setdefault(action.slot, _Slot())
            match action:
                case Drain():
                    done.drain = action
                case Stop():
                    done.stop = done.stop or action
                case Start():
                    done.start = action
                case Update():
                    done.update = action
                case Forget():
                    done.forget = action
    found: dict[tuple[str, ...], Change] = {}
    for slot, done in slots.items():
        change = _change(fleet, slot, done)
        key = ("live", change.subject, change.what) if change.verb == "live" else (slot,)
        found.setdefault(key, change)
    blocked = road[-1].blocked if road else ()
    return (
        *found.values(),
        *(
            Change(
                mark="!",
                subject=item.subject,
                verb="paused" if item.reason is Reason.Paused else "blocked",
                what=line(item.detail).removeprefix("paused: "),
            )
            for item in blocked
        ),
    )


def plan_text(
    fleet: Fleet, observation: Observation, road: Sequence[Plan], *, width: int, colour: bool, steps: bool = False
) -> str:
    """The whole plan. With `steps` the passes too, in the planner's own words."""
    found = changes(fleet, road)
    lines = [_headline(fleet, found, colour=colour)]
    if found:
        lines += ["", *(f"  {text}" for text in _lines(found, width=width - 2, colour=colour))]
    bars = _gpus(observation, road, width=width - 2, colour=colour) if any(one.mark != "!" for one in found) else []
    if bars:
        lines += ["", *(f"  {text}" for text in bars)]
    problems = [line(str(problem)) for problem in fleet.problems]
    if fleet.missing is not None:
        problems.insert(0, line(fleet.missing))
    for problem in problems:
        lines += ["", *(paint(text, "bad", colour=colour) for text in wrap(problem, width=width, indent="  "))]
    if steps:
        for number, plan in enumerate((plan for plan in road if plan.actions or plan.blocked), start=1):
            lines += ["", f"pass {number}", *(f"  {line(text)}" for text in str(plan).splitlines())]
    return "\n".join(lines)


def _headline(fleet: Fleet, found: Sequence[Change], *, colour: bool) -> str:
    models = sum(workload.spec.kind == "Model" for workload in fleet.workloads.values())
    services = len(fleet.workloads) - models
    changing = sum(change.mark != "!" for change in found)
    held = sum(change.verb == "paused" for change in found)
    blocked = len(found) - changing - held
    parts = [counted(models, "model")] if models or not services else []
    parts += [counted(services, "service")] if services else []
    parts += [f"{changing} to change"] if changing else []
    parts += [f"{blocked} blocked"] if blocked else []
    parts += [f"{held} paused"] if held else []
    parts += [] if changing or blocked else ["nothing to do"]
    parts += [counted(len(fleet.problems), "problem")] if fleet.problems else []
    name = line(fleet.root) + (f" @ {fleet.revision}" if fleet.revision else "")
    return " · ".join((paint(name, "bold", colour=colour), *parts))


def _lines(found: Sequence[Change], *, width: int, colour: bool) -> list[str]:
    """Mark, subject and verb in columns; what and note in columns where both fit, else beneath each other."""
    subjects = max(len(change.subject) for change in found)
    verbs = max(len(change.verb) for change in found)
    indent = subjects + verbs + 6
    room = max(24, width - indent)
    whats = max((len(change.what) for change in found if change.note), default=0)
    notes = max(len(change.note) for change in found)
    beside = whats + 2 + notes <= room
    lines: list[str] = []
    for change in found:
        style = _STYLES[change.mark]
        head = f"{paint(change.mark, style, colour=colour)} {change.subject:<{subjects}}  {change.verb:<{verbs}}"
        rows = [f"{change.what:<{whats}}  {change.note}".rstrip()] if beside and change.note else []
        rows = rows or [text.strip() for text in wrap(change.what, width=room, indent="")] or [""]
        lines += [f"{head}  {rows[0]}".rstrip(), *(" " * indent + text for text in rows[1:])]
        if change.note and not beside:
            lines += [paint(text, "dim", colour=colour) for text in wrap(change.note, width=width, indent=" " * indent)]
    return lines


def _change(fleet: Fleet, slot: str, done: _Slot) -> Change:
    drains = f"drains up to {_drain(fleet, slot)}" if done.drain else ""
    if done.start and done.stop:
        asked = done.stop.reason is not Reason.SpecChanged
        place = _place(done.start.launch)
        what = line(done.stop.detail) or " ".join(split_words(done.stop.reason))
        note = "; ".join(filter(None, ("replace: down while it loads", drains)))
        verb = "restart" if asked else "replace"
        return Change(mark="±", subject=slot, verb=verb, what=what if not asked else f"{what}, {place}", note=note)
    if done.start:
        reason = " ".join(split_words(done.start.reason))
        return Change(mark="+", subject=slot, verb="start", what=_place(done.start.launch), note=reason)
    if done.stop:
        reason = done.stop.reason
        told = f"removed from {line(fleet.root)}" if reason is Reason.NotInFleet else " ".join(split_words(reason))
        grace = f"ends within {print_duration(done.stop.grace)}"
        return Change(mark="-", subject=slot, verb="stop", what=told, note=drains or grace)
    if done.update:
        name, what = split_slot(slot)[0], line(done.update.detail) or "settings"
        return Change(mark="~", subject=name, verb="live", what=what, note="no restart")
    if done.forget:
        return Change(mark="-", subject=slot, verb="forget", what="it ended, and is not wanted")
    return Change(mark="~", subject=slot, verb="drain", what="gets nothing new")


def _place(launch: Launch) -> str:
    indices = launch.indices
    text = line(launch.engine)
    text += f" on gpu {','.join(map(str, indices))}" if indices else " on cpu"
    return text + (f", port {launch.port}" if launch.port is not None else "")


def _drain(fleet: Fleet, slot: str) -> str:
    workload = fleet.workloads.get(split_slot(slot)[0])
    return print_duration(workload.update.drain) if workload is not None else "its deadline"


def _gpus(observation: Observation, road: Sequence[Plan], *, width: int, colour: bool) -> list[str]:
    """Every GPU's memory before and after, and who is on it after."""
    if isinstance(observation.gpus, Unknown) or isinstance(observation.instances, Unknown):
        return []
    before = {
        slot: instance.launch
        for slot, instance in observation.instances.items()
        if not isinstance(instance.phase, Exited)
    }
    after = dict(before)
    for plan in road:
        for action in plan.actions:
            if isinstance(action, Stop | Forget):
                after.pop(action.slot, None)
            elif isinstance(action, Start):
                after[action.slot] = action.launch
    rows: list[list[Cell]] = []
    for gpu in observation.gpus:
        strangers = [holder for holder in gpu.holders if holder.slot is None]
        was, will = _held(gpu, before), _held(gpu, after)
        ours = sum(holder.memory for holder in gpu.holders if holder.slot is not None)
        # what a driver does not attribute to a process is somebody else's, as far as ours do not explain it
        unexplained = gpu.used - (ours or min(gpu.used, sum(was.values())))
        foreign = max(sum(holder.memory for holder in strangers), unexplained)
        names = [*sorted(will), *(f"pid {holder.pid} {line(holder.name)}" for holder in strangers)]
        then = min(gpu.memory, foreign + sum(will.values()))
        now = max(gpu.used, min(gpu.memory, foreign + sum(was.values())))
        amount = f"{gib(now)} → {gib(then)}" if now != then else gib(then)
        rows.append(
            [
                Cell(text=f"gpu {gpu.index}"),
                Cell(text=line(gpu.model).removeprefix("NVIDIA ")),
                Cell(text=bar(then, gpu.memory)),
                Cell(text=f"{amount} of {gib(gpu.memory)} GiB"),
                Cell(text=" ".join(names) or "free", style="dim"),
            ]
        )
    return columns(rows, width=width, colour=colour)


def _held(gpu: Gpu, launches: Mapping[str, Launch]) -> dict[str, int]:
    """Bytes of a GPU by slot: what was promised."""
    return {
        slot: gpu.memory if launch.memory is None else launch.memory
        for slot, launch in launches.items()
        if gpu.uuid in launch.gpus
    }
