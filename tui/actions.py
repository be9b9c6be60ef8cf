"""What can be done to a workload, once: its key, its words, what is asked before, and the order to the daemon."""

from collections.abc import Callable
from dataclasses import dataclass

from reconciler.client import Client
from reconciler.model.status import Reason
from tui.view.status import ready_count
from tui.view.world import Row

MOST = 1000
"""Replicas that can be asked for."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is ordered, and of what."""

    row: Row
    index: int | None = None
    """Of one instance; None: of the workload."""
    answer: str = ""
    """What was typed where the verb wants something."""

    @property
    def subject(self) -> str:
        """`chat`, `chat/1`."""
        name = self.row.workload.name
        return name if self.index is None else f"{name}/{self.index}"

    @property
    def title(self) -> str:
        """The same with its machine, where that was asked for by name: `chat/1 on gpu2`."""
        machine = self.row.machine.name
        return f"{self.subject} on {machine}" if machine else self.subject


def _nothing(_order: Order) -> str:
    return ""


def _never(_row: Row) -> str:
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a verb has to be told."""

    question: str
    given: Callable[[Row], str]
    """What stands there to begin with."""
    wrong: Callable[[str], str]
    """Why an answer will not do, in words; empty where it will."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One order."""

    name: str
    key: str
    about: str
    """What it does, for the palette and help: `restart: replace its instances, one after the other`."""
    do: Callable[[Client, Order], str]
    """Asks the daemon; what will happen, in a sentence. Raises ApiError."""
    loses: Callable[[Order], str] = _nothing
    """What is lost by it, in words: the question before. Empty where nothing is."""
    wants: Wanted | None = None
    idle: Callable[[Row], str] = _never
    """Why it would change nothing now, in words, and what would; empty where it would."""
    instances: bool = False
    """Whether it can be done to one instance too."""


def _stop_loses(order: Order) -> str:
    return f"{order.subject} answers nobody until it is resumed" if ready_count(order.row.workload) else ""


def _restart_loses(order: Order) -> str:
    replicas = order.row.workload.replicas
    ready = {replica.slot for replica in replicas if replica.state == "ready"}
    alone = len(ready) == 1 and (order.index is None or order.subject in ready)
    if not alone:
        return ""
    if order.row.workload.surges:
        return "Another instance starts first, then it ends; only where there is no room for two it ends first"
    return f"{order.row.workload.name} answers nobody until it has started again"


def _scale_loses(order: Order) -> str:
    none = order.answer == "0" and ready_count(order.row.workload)
    return f"{order.subject} answers nobody until it has replicas again" if none else ""


def _replicas_wrong(text: str) -> str:
    if text == "auto" or (text.isascii() and text.isdigit() and len(text) < 5 and int(text) <= MOST):
        return ""
    return f"write a number, 0 to {MOST}, or auto"


def _stopped(row: Row) -> bool:
    return row.workload.conditions[0].reason is Reason.StopAsked


def _stop_idle(row: Row) -> str:
    return f"{row.workload.name} is stopped already: u resumes it" if _stopped(row) else ""


def _pause_idle(row: Row) -> str:
    workload = row.workload
    if not workload.paused:
        return ""
    ends = f"remove `paused: true` at {workload.paused_at}" if workload.paused_at else "u resumes it"
    return f"{workload.name} is paused already: {ends}"


def _resume_idle(row: Row) -> str:
    """What its file pauses, only its file lets go on."""
    workload, status = row.workload, row.machine.status
    if _stopped(row) or (workload.paused and not workload.paused_at):
        return ""
    if workload.paused:
        return f"its file pauses {workload.name}: remove `paused: true` at {workload.paused_at}"
    if status is not None and status.paused:
        return f"{workload.name} itself is not held, the whole fleet is: P on Plan (2) resumes that"
    return f"{workload.name} is neither paused nor stopped"


def _name(order: Order) -> str:
    return order.row.workload.name


VERBS = (
    Verb(
        name="restart",
        key="r",
        about="replace its instances, as a roll-out does",
        do=lambda client, order: client.restart(_name(order), order.index),
        loses=_restart_loses,
        instances=True,
    ),
    Verb(
        name="stop",
        key="s",
        about="stop it until it is resumed",
        do=lambda client, order: client.stop(_name(order)),
        loses=_stop_loses,
        idle=_stop_idle,
    ),
    Verb(
        name="pause",
        key="p",
        about="do nothing to it until it is resumed",
        do=lambda client, order: client.pause(_name(order)),
        idle=_pause_idle,
    ),
    Verb(
        name="resume",
        key="u",
        about="take back a pause or a stop",
        do=lambda client, order: client.resume(_name(order)),
        idle=_resume_idle,
    ),
    Verb(
        name="scale",
        key="n",
        about="run so many replicas, whatever its file says",
        do=lambda client, order: client.scale(_name(order), None if order.answer == "auto" else int(order.answer)),
        loses=_scale_loses,
        wants=Wanted(
            question="replicas: a number, or auto for what its file says",
            given=lambda row: str(row.workload.wanted),
            wrong=_replicas_wrong,
        ),
    ),
)
"""In the order in which they are shown."""


def verb(name: str) -> Verb:
    """By its name. Raises StopIteration where there is none."""
    return next(each for each in VERBS if each.name == name)
