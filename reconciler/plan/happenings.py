"""What happened between two passes, as events for people. Pure: the loop gives them a time and a place to stay."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from reconciler import engines
from reconciler.model.fleet import Fleet
from reconciler.model.memory import Failure
from reconciler.model.observation import Unknown
from reconciler.model.plan import Action, Attach, Cancel, Detach, Fetch, Forget, Plan, Start
from reconciler.model.quantity import print_duration, print_size
from reconciler.model.status import Condition, Event, Reason, Replica, Status, WorkloadStatus
from reconciler.model.stored import Absent, Fetching, Here, Stored
from reconciler.plan.failures import tried
from reconciler.plan.words import ASKED

_NONE_FAILED: Mapping[str, Failure] = {}
_FIGURE = re.compile(r"[0-9.]+ [KMGT]iB|none")
_VERBS = {
    "start": "starting",
    "stop": "stopping",
    "drain": "draining",
    "update": "updating",
    "attach": "attaching",
    "detach": "detaching",
    "sleep": "putting to sleep",
    "wake": "waking",
    "fetch": "fetching",
    "cancel": "no longer fetching",
}
Severity = Literal["info", "warning", "error"]
_FAILURES = frozenset(
    {
        Reason.Exited,
        Reason.OutOfMemory,
        Reason.StartFailed,
        Reason.NeverReady,
        Reason.ProbeFailing,
        Reason.PortTaken,
        Reason.WakeFailed,
        Reason.SleepFailed,
        Reason.Lost,
        Reason.GpuCordoned,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """An event without its time."""

    severity: Severity
    subject: str
    reason: Reason
    message: str

    def event(self, at: float) -> Event:
        """The event, at a wall-clock time."""
        return Event(at=at, severity=self.severity, subject=self.subject, reason=self.reason, message=self.message)


def happenings(
    before: Status | None, after: Status, plan: Plan, failures: Mapping[str, Failure] = _NONE_FAILED
) -> tuple[Happening, ...]:
    """What a person would want to read of one pass, in the order in which it happened.

    `failures`: of actions, by slot. What is tried again and fails in the same way is told once.
    """
    doing = (_doing(action) for action in plan.actions if not _is_silent(action, failures.get(action.slot)))
    return (*_problems(before, after), *_gpus(before, after), *_rows(before, after, failures), *doing)


def _is_silent(action: Action, failure: Failure | None) -> bool:
    """A start that is tried again; and that the record of what has ended is removed: its end was told."""
    if isinstance(action, Forget):
        return True
    return isinstance(action, Start) and failure is not None and failure.digest == tried(action)


def arrivals(
    before: Mapping[str, Stored | Unknown], after: Mapping[str, Stored | Unknown], fleet: Fleet
) -> tuple[Happening, ...]:
    """Weights and images that are here now and were not: each told to the first of those that wait for it."""
    if before is after:
        return ()
    came = {
        source: stored
        for source, stored in after.items()
        if isinstance(stored, Here) and isinstance(before.get(source), Fetching | Absent)
    }
    needing: dict[str, str] = {}
    for name, workload in sorted(fleet.workloads.items(), reverse=True) if came else ():
        needing |= dict.fromkeys((*engines.required(workload), *engines.fetched(workload)), name)
    return tuple(
        Happening(
            severity="info",
            subject=needing.get(source, "daemon"),
            reason=Reason.Fetched,
            message=f"{source} is here, whole and checked: {print_size(stored.size)}",
        )
        for source, stored in came.items()
    )


def failed(action: Action, reason: Reason, message: str) -> Happening:
    """An action that could not be carried out."""
    does = "remove the record of it" if isinstance(action, Forget) else action.kind
    text = f"cannot {does}{_thing(action)}: {message}"
    return Happening(severity="error", subject=action.slot, reason=reason, message=text)


def _thing(action: Action) -> str:
    """The adapter, or the source, that it is about."""
    if isinstance(action, Fetch | Cancel):
        size = f", {print_size(action.size)}" if isinstance(action, Fetch) and action.size else ""
        return f" {action.source}{size}"
    return f" {action.adapter}" if isinstance(action, Attach | Detach) else ""


def _doing(action: Action) -> Happening:
    launch = action.launch if isinstance(action, Start) else None
    place = ""
    if launch is not None:
        place = f" on gpu {','.join(map(str, launch.indices))}" if launch.indices else ""
        place += f", port {launch.port}" if launch.port is not None else ""
    severity: Severity = "warning" if action.reason in _FAILURES else "info"
    text = f"{_VERBS[action.kind]}{place}{_thing(action)}" + (f": {action.detail}" if action.detail else "")
    return Happening(severity=severity, subject=action.slot, reason=action.reason, message=text)


def _problems(before: Status | None, after: Status) -> Iterator[Happening]:
    old, new = set(before.problems if before else ()), set(after.problems)
    for problem in after.problems:
        if problem not in old:
            yield Happening(severity="error", subject=problem.path, reason=Reason.SpecInvalid, message=str(problem))
    mended = {problem.path for problem in old} - {problem.path for problem in new}
    declaring = {row.source.rpartition(":")[0] for row in after.workloads.values()} if mended else set[str]()
    for path in sorted(mended):
        message = "is good again" if path in declaring else "what was wrong there is gone"
        yield Happening(severity="info", subject=path, reason=Reason.Recovered, message=message)
    was, now = set(before.degraded if before else ()), set(after.degraded)
    for text in sorted(now - was):
        yield Happening(severity="error", subject="daemon", reason=Reason.Unknown, message=text)
    for text in sorted(was - now):
        yield Happening(severity="info", subject="daemon", reason=Reason.Recovered, message=f"no longer so: {text}")


def _gpus(before: Status | None, after: Status) -> Iterator[Happening]:
    """Cards that were cordoned, and those that are taken back."""
    was = {gpu.uuid: gpu for gpu in before.gpus} if before is not None else {}
    for gpu in after.gpus:
        known = was.pop(gpu.uuid, None)
        earlier, subject = known.cordoned if known is not None else "", f"gpu {gpu.index}"
        if gpu.cordoned and gpu.cordoned != earlier:
            severity: Severity = "warning" if earlier else "error"
            yield Happening(
                severity=severity, subject=subject, reason=Reason.GpuCordoned, message=f"is cordoned: {gpu.cordoned}"
            )
        elif earlier and not gpu.cordoned:
            text = "is taken back: it is well again"
            yield Happening(severity="info", subject=subject, reason=Reason.Recovered, message=text)


def _rows(before: Status | None, after: Status, failures: Mapping[str, Failure]) -> Iterator[Happening]:
    old: Mapping[str, WorkloadStatus] = before.workloads if before is not None else {}
    for name, row in after.workloads.items():
        earlier = old.get(name)
        if earlier is row:
            continue
        told = {*after.degraded, *(before.degraded if before is not None else ())}
        yield from _replicas(earlier, row, after.now, told)
        failed = (failures.get(replica.slot) for replica in row.replicas)
        again = {failure.detail for failure in failed if failure is not None and failure.again and failure.detail}
        yield from _stalled(earlier, row, told | again)


def _stalled(earlier: WorkloadStatus | None, row: WorkloadStatus, told: Collection[str]) -> Iterator[Happening]:
    """A block that is new; backing off is told by what failed before it, what was told already is not repeated."""
    condition: Condition = row.conditions[2]
    known = earlier.conditions[2] if earlier is not None else None
    if condition.status != "True" or condition.reason in (Reason.BackingOff, Reason.AdapterFailed, Reason.SpecInvalid):
        return
    if any(text in condition.message for text in told):
        return
    if known is None or (known.status, known.reason, _news(known)) != ("True", condition.reason, _news(condition)):
        held = condition.reason is Reason.Paused
        text = condition.message if held else f"blocked: {condition.message}"
        severity: Severity = "info" if held else "warning"
        yield Happening(severity=severity, subject=row.name, reason=condition.reason, message=text)


def _news(condition: Condition) -> str:
    """Its message as far as a change of it is worth an event: how much host memory is free wavers all the time."""
    wavers = condition.reason is Reason.NoFreeMemory
    return _FIGURE.sub("", condition.message) if wavers else condition.message


def _replicas(
    earlier: WorkloadStatus | None, row: WorkloadStatus, now: float, told: Collection[str]
) -> Iterator[Happening]:
    known = {replica.slot: replica for replica in earlier.replicas} if earlier is not None else {}
    for replica in row.replicas:
        was = known.get(replica.slot)
        if replica.state == "unknown" and replica.detail in told:
            continue
        if was is not None and was.detail in told and was.run == replica.run and replica.state == "ready":
            continue  # it was out of sight, and is as it was
        if was is None or (was.state, was.run) != (replica.state, replica.run):
            yield from _turned(was, replica, now)


def _turned(was: Replica | None, now_is: Replica, now: float) -> Iterator[Happening]:
    slot = now_is.slot
    match now_is.state:
        case "starting":
            text = f"is running as pid {now_is.pid}"
            yield Happening(severity="info", subject=slot, reason=Reason.Starting, message=text)
        case "ready":
            took = ""
            if was is not None and was.state == "starting" and was.since is not None and now_is.since is not None:
                took = f" after {print_duration(max(0.0, now_is.since - was.since))}"
            where = f" on port {now_is.port}" if now_is.port is not None else ""
            found = " (it was running already)" if was is None else ""
            text = f"is ready{where}{took}{found}"
            yield Happening(severity="info", subject=slot, reason=Reason.Ready, message=text)
        case "asleep":
            yield Happening(severity="info", subject=slot, reason=Reason.Asleep, message="is asleep")
        case "failing":
            yield Happening(severity="warning", subject=slot, reason=Reason.ProbeFailing, message=now_is.detail)
        case "exited" if was is not None:
            asked = was.state == "stopping" or now_is.detail.startswith(ASKED)
            severity: Severity = "info" if asked else "error"
            # a run that began and ended between two passes was never seen: how long it lasted is not known
            seen = was.run == now_is.run and was.since is not None and not asked
            lasted = f" after {print_duration(max(0.0, now - (was.since or now)))}" if seen else ""
            yield Happening(severity=severity, subject=slot, reason=Reason.Exited, message=f"{now_is.detail}{lasted}")
        case "unknown" if was is not None:  # at first it may only not have been asked yet
            yield Happening(severity="warning", subject=slot, reason=Reason.Unknown, message=now_is.detail)
        case _:
            return
