"""A fleet that is paused as a whole: everything is decided as ever, and nothing of it is done. Pure."""

from dataclasses import replace

from reconciler.model.plan import Action, Blocked, Plan
from reconciler.model.status import Reason


def held_back(decided: Plan, now: float) -> Plan:
    """The same with its actions as blocks: what would be done, and why it is not."""
    blocked = (*decided.blocked, *map(_held, decided.actions))
    wake_at = decided.wake_at
    return replace(
        decided,
        actions=(),
        blocked=tuple(sorted(blocked, key=lambda one: (one.subject, one.reason, one.detail))),
        # what was due is held: looking at once would find it so again
        wake_at=wake_at if wake_at is not None and wake_at > now else None,
    )


def paused_words(held: int) -> str:
    """What `Status.paused` says while so many actions are held back."""
    waits = f"{held} {'action is' if held == 1 else 'actions are'} held back, see `holdfast plan`" if held else ""
    return f"the fleet is paused by command: {waits or 'nothing is to do'}; `holdfast resume` goes on"


def _held(action: Action) -> Blocked:
    detail = f"held back while the fleet is paused: {action}"
    return Blocked(subject=action.slot, reason=Reason.Paused, detail=detail)
