"""The road ahead → what it comes to: one change for each slot, over all passes, and every GPU before and after."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from reconciler.model.facts import Declared, Road
from reconciler.model.observation import Exited, Instance, Running, Unknown
from reconciler.model.plan import (
    Action,
    Attach,
    Blocked,
    Cancel,
    Detach,
    Drain,
    Fetch,
    Forget,
    Launch,
    Plan,
    Sleep,
    Start,
    Stop,
    Update,
    Wake,
)
from reconciler.model.quantity import print_duration, print_size
from reconciler.model.slots import split_slot
from reconciler.model.status import Reason
from tui.view.clean import line
from tui.view.outlook import Against, Change, Outlook, Place, Verb, each_gpu, spans
from tui.view.room import room
from tui.view.status import split_words


def outlook(road: Road, *, against: Against | None = None, machine: str | None = None) -> Outlook:
    """What it comes to."""
    declared = road.declared
    cards, machines, unseen = room(road)
    return Outlook(
        root=declared.root,
        revision=declared.revision,
        against=against,
        machine=machine,
        models=declared.models,
        services=declared.services,
        changes=changes(road),
        gpus=cards,
        hosts=machines,
        unseen=unseen,
        paused=road.facts.memory.paused,
        missing=declared.missing,
        problems=declared.problems,
        passes=road.passes,
    )


@dataclass(slots=True)
class _Slot:
    """What the passes do to one slot."""

    before: Launch | None
    """What runs there now."""
    drain: Drain | None = None
    stop: Stop | None = None
    start: Start | None = None
    """The last one; None where it ends after all."""
    started: Start | None = None
    """The last one, whatever becomes of it."""
    update: Update | None = None
    adapters: list[Attach | Detach] = field(default_factory=list[Attach | Detach])
    forget: Forget | None = None
    turned: Sleep | Wake | None = None
    """The last one, where it does not end after all."""

    @property
    def passing(self) -> bool:
        """Whether it runs neither before nor after, but meanwhile."""
        return self.before is None and self.started is not None and self.start is None

    def take(self, action: Action) -> None:
        """Count one action more."""
        match action:
            case Drain():
                self.drain = action
            case Stop():
                self.stop, self.start, self.turned = self.stop or action, None, None
            case Start():
                self.start = self.started = action
            case Update():
                self.update = action
            case Attach() | Detach():
                self.adapters.append(action)
            case Forget():
                self.forget = action
            case Sleep() | Wake():
                self.turned = action
            case Fetch() | Cancel():
                pass  # of a source, not of the slot
            case _:
                assert_never(action)


def changes(road: Road) -> tuple[Change, ...]:
    """What would change, in the order in which it begins; then what is blocked in the end."""
    declared, seen = road.declared, road.facts.observation.instances
    instances: Mapping[str, Instance] = {} if isinstance(seen, Unknown) else seen
    slots: dict[str, _Slot] = {}
    found: dict[tuple[str, ...], Change] = {}
    for plan in road.passes:
        for action in plan.actions:
            if isinstance(action, Fetch | Cancel):
                found[action.kind, action.source] = _fetch(action)
                continue
            slots.setdefault(action.slot, _Slot(before=_running(instances.get(action.slot)))).take(action)
    down = _down(instances, road.passes)
    surged = {split_slot(slot)[0] for slot, done in slots.items() if done.passing}
    for slot, done in slots.items():
        name = split_slot(slot)[0]
        cost = "surge: no downtime" if name in surged else "others serve meanwhile"
        change = _change(declared, slot, done, cost=None if name in down else cost)
        key = ("live", change.subject, change.what) if change.verb == "live" else (slot,)
        found.setdefault(key, change)
    told = {str(problem) for problem in declared.problems}
    blocked = [_blocked(item, told) for item in (road.passes[-1].blocked if road.passes else ())]
    return (*found.values(), *dict.fromkeys(blocked))


def _blocked(item: Blocked, told: set[str]) -> Change:
    paused = item.reason is Reason.Paused
    what = _folded(line(item.detail).removeprefix("paused: "))
    if item.reason is Reason.SpecInvalid and item.detail in told:
        what = "its file has a problem; it stays as it was"
    return Change(mark="!", subject=item.subject, verb="paused" if paused else "blocked", reason=item.reason, what=what)


def _down(instances: Mapping[str, Instance], road: Sequence[Plan]) -> set[str]:
    """Workloads of which, at some time on the road, nothing serves that served before and serves again after."""
    serving: dict[str, set[str]] = {}
    for slot, instance in instances.items():
        if isinstance(instance.phase, Running) and instance.asleep is None:
            serving.setdefault(split_slot(slot)[0], set()).add(slot)
    served, silent, down = set(serving), set[str](), set[str]()
    for plan in road:
        for action in plan.actions:
            name = split_slot(action.slot)[0]
            match action:
                case Drain() | Stop() | Forget() | Sleep():
                    serving.get(name, set()).discard(action.slot)
                    if name in served and not serving[name]:
                        silent.add(name)
                case Start() | Update() | Wake() | Attach() | Detach() | Fetch() | Cancel():
                    pass
                case _:
                    assert_never(action)
        # what starts in a pass loads while what stops in it is gone
        for action in plan.actions:
            name = split_slot(action.slot)[0]
            if isinstance(action, Start | Update | Wake):
                serving.setdefault(name, set()).add(action.slot)
                down |= {name} & silent
    return down


def _folded(detail: str) -> str:
    """`…; gpu 0: a; gpu 1: b; gpu 2: a` → `…; gpu 0,2: a; gpu 1: b`: eight GPUs rarely have eight reasons."""
    head, *each = each_gpu(detail)
    reasons: dict[tuple[str, str], list[int]] = {}
    for text in each:
        gpu, _, why = text.partition(": ")
        machine, _, index = gpu.rpartition("gpu ")
        if not index.isdigit():
            return detail  # told together already
        reasons.setdefault((machine, why), []).append(int(index))
    return "; ".join((head, *(f"{machine}gpu {spans(indices)}: {why}" for (machine, why), indices in reasons.items())))


def _running(instance: Instance | None) -> Launch | None:
    return instance.launch if instance is not None and not isinstance(instance.phase, Exited) else None


def _place(launch: Launch | None) -> Place | None:
    if launch is None:
        return None
    return Place(
        engine=launch.engine,
        runtime=launch.runtime,
        node=launch.node,
        gpus=launch.indices,
        memory=launch.memory,
        host=launch.host,
        port=launch.port,
    )


def _change(declared: Declared, slot: str, done: _Slot, *, cost: str | None) -> Change:
    """What becomes of one slot; `cost` is what its replacement costs, None where nothing serves meanwhile."""
    before, after = _place(done.before), _place(done.start.launch if done.start else None)
    drains = f"drains up to {_drain(declared, slot)}" if done.drain else ""
    if done.start and done.stop and before and after:
        return _replaced(slot, done.stop, before, after, cost=cost, drains=drains)
    if done.passing and done.started:
        place, reason = _place(done.started.launch), done.started.reason
        note = f"{line(done.started.detail) or 'serves while others are replaced'}, then ends"
        return Change(mark="+", subject=slot, verb="surge", reason=reason, what=str(place), note=note, after=None)
    if done.start:
        start = done.start
        note = line(start.detail) or _words(start.reason)
        return Change(
            mark="+", subject=slot, verb="start", reason=start.reason, what=str(after), note=note, after=after
        )
    if done.turned:
        return _turned(slot, done.turned, before, drains)
    if done.stop:
        stop = done.stop
        told = f"removed from {line(declared.root)}" if stop.reason is Reason.NotInFleet else _words(stop.reason)
        what = f"{told}{' ' if stop.reason is Reason.Preempted else ': '}{line(stop.detail)}" if stop.detail else told
        note = drains or f"ends within {print_duration(stop.grace)}"
        return Change(
            mark="-",
            subject=slot,
            verb="stop",
            reason=stop.reason,
            what=what,
            note=note,
            downtime="ended",
            before=before,
        )
    last = done.update or next(iter(done.adapters), None)
    if last is not None:
        name = split_slot(slot)[0]
        told = [line(done.update.detail) or "settings"] if done.update else []
        what = "; ".join((*map(_attached, done.adapters), *told))
        reason, place = last.reason, _place(last.launch)
        return Change(
            mark="~", subject=name, verb="live", reason=reason, what=what, note="no restart", before=before, after=place
        )
    if done.forget:
        what = "it ended, and is not wanted"
        return Change(mark="-", subject=slot, verb="forget", reason=done.forget.reason, what=what)
    reason, why = Reason.Draining, ""
    if done.drain:
        reason, why = done.drain.reason, line(done.drain.detail) or _words(done.drain.reason)
    what = f"gets nothing new: {why}" if why else "gets nothing new"
    return Change(mark="~", subject=slot, verb="drain", reason=reason, what=what, note=drains, before=before)


def _fetch(action: Fetch | Cancel) -> Change:
    """What is brought here, or no longer."""
    size = f", {print_size(action.size)}" if isinstance(action, Fetch) and action.size is not None else ""
    return Change(
        mark="+" if action.kind == "fetch" else "-",
        subject=action.slot,
        verb=action.kind,
        reason=action.reason,
        what=f"{line(action.source)}{size}",
        note=line(action.detail) or "not on this machine yet",
    )


def _attached(action: Attach | Detach) -> str:
    """`attach law: hf:org/law`."""
    return f"{action.kind} {action.adapter}" + (f" from {line(action.detail)}" if action.detail else "")


def _turned(slot: str, action: Sleep | Wake, place: Place | None, drains: str) -> Change:
    """One that is put to sleep, or woken."""
    what = line(action.detail)
    if isinstance(action, Wake):
        what, note = str(place), "was asleep"
    else:
        told, sleeper = _words(action.reason), action.launch.sleeper
        keeps = "keeps its weights in host memory" if sleeper and sleeper.host else "unloads its model"
        what, note = f"{told} {what}" if what else told, "; ".join(filter(None, (drains, keeps)))
    return Change(
        mark="~", subject=slot, verb=action.kind, reason=action.reason, what=what, note=note, before=place, after=place
    )


def _replaced(slot: str, stop: Stop, before: Place, after: Place, *, cost: str | None, drains: str) -> Change:
    notes = [cost or "down while it loads", drains]
    moved = f"{before.where} → {after.where}"
    what = line(stop.detail) or _words(stop.reason)
    verb: Verb = "replace"
    if stop.reason is not Reason.SpecChanged:
        verb = "move" if (before.node, before.gpus) != (after.node, after.gpus) else "restart"
        what = f"{what}, {moved if (before.node, before.gpus) != (after.node, after.gpus) else after}"
    elif (before.node, before.gpus) != (after.node, after.gpus):
        what = f"{what}; {moved}"
    return Change(
        mark="±",
        subject=slot,
        verb=verb,
        reason=stop.reason,
        what=what,
        note="; ".join(filter(None, notes)),
        downtime="none" if cost else "loading",
        before=before,
        after=after,
    )


def _words(reason: Reason) -> str:
    return " ".join(split_words(reason))


def _drain(declared: Declared, slot: str) -> str:
    within = declared.drains.get(split_slot(slot)[0])
    return print_duration(within) if within is not None else "its deadline"
