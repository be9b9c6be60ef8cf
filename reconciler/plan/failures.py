"""What is remembered of actions that failed: of each slot the last one, and of each of its adapters. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from reconciler.model.memory import Failure, Memory
from reconciler.model.plan import Action, Attach, Detach, Start, Update
from reconciler.model.slots import digest
from reconciler.model.status import Reason

T = TypeVar("T")


def with_failure(memory: Memory, action: Action, *, at: float, reason: Reason, detail: str) -> tuple[Memory, bool]:
    """Memory after an action failed, for the planner's backoff; and whether it had failed in the same way before."""
    slot, adapter = action.slot, action.adapter if isinstance(action, Attach | Detach) else None
    known = memory.failures if adapter is None else memory.refusals.get(slot, {})
    key = slot if adapter is None else adapter
    earlier = known.get(key)
    again = earlier is not None and earlier.detail == detail
    failure = Failure(
        at=at,
        count=earlier.count + 1 if earlier is not None else 1,
        reason=reason,
        detail=detail,
        digest=tried(action),
        action=action.kind,
        again=again,
    )
    now_known = {**known, key: failure}
    if adapter is None:
        return replace(memory, failures=now_known), again
    return replace(memory, refusals={**memory.refusals, slot: now_known}), again


def without_failure(memory: Memory, action: Action) -> Memory:
    """Memory after an action succeeded."""
    if isinstance(action, Attach | Detach):
        rest = without(memory.refusals.get(action.slot, {}), action.adapter)
        others = without(memory.refusals, action.slot)
        return replace(memory, refusals={**others, action.slot: rest} if rest else others)
    return replace(memory, failures=without(memory.failures, action.slot))


def without(mapping: Mapping[str, T], key: str) -> Mapping[str, T]:
    """The mapping without this key. The same object where it has none."""
    return {other: value for other, value in mapping.items() if other != key} if key in mapping else mapping


def tried(action: Action) -> str:
    """What of the fleet an action tries: what `Failure.digest` is of."""
    match action:
        case Attach(launch=launch) | Detach(launch=launch):
            return launch.adapters.get(action.adapter, "")
        case Start(launch=launch) | Update(launch=launch):
            return digest(launch.fingerprint, launch.live, launch.adapters)
        case _:
            return ""
