"""Which replicas may be replaced now, so that no more than one of those that serve is away at a time.

With `surge` one replica more is started first, in the slot after the last, and goes when all others are as declared:
then nothing is away at all. It takes only what is spare; where there is no room for it, replicas are replaced in place.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.model.fleet import Workload
from reconciler.model.memory import Memory
from reconciler.model.observation import Instance, Ready, Running
from reconciler.model.plan import Sleep, Stop
from reconciler.model.slots import slot
from reconciler.model.status import Reason
from reconciler.plan.attaching import suits


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """How one workload goes from what it was to what it is to be."""

    outdated: tuple[str, ...]
    """Slots that serve and are to be replaced, in order."""
    surge: str = ""
    """The slot of the replica more, while there is anything to replace; empty where there is none."""
    ready: bool = False
    """Whether that one serves."""
    away: tuple[str, ...] = ()
    """Others of its replicas, which do not serve yet."""
    reason: Reason = Reason.SpecChanged
    """Why the first of the outdated is replaced."""

    @property
    def later(self) -> tuple[str, ...]:
        """Those that need what they have, as others are replaced first."""
        return self.outdated if self.away else tuple(text for text in self.outdated[1:] if text != self.surge)

    def waits(self, slot: str) -> str:
        """For whom a slot that serves waits before it is replaced; empty where its turn has come."""
        if slot not in self.outdated:
            return ""  # it serves nobody
        if self.away:
            return f"waits for {self.away[0]} to serve"
        if self.surge and slot != self.surge and not self.ready:
            return f"waits for {self.surge} to serve"
        return f"waits its turn after {self.outdated[0]}" if slot not in (self.surge, self.outdated[0]) else ""


def rollout(workload: Workload, count: int, instances: Mapping[str, Instance], memory: Memory) -> Rollout | None:
    """How it stands with the replicas 0 … count-1; None where none that serves is to be replaced."""
    serving: list[str] = []
    away: list[str] = []
    for index in range(count):
        text = slot(workload.name, index)
        instance = instances.get(text)
        if instance is None:
            continue
        if not _serves(instance, memory):
            away.append(text)
        elif outdated(instance, workload, memory):
            serving.append(text)
    more = instances.get(slot(workload.name, count)) if count else None
    serves = more is not None and _serves(more, memory)
    old = [more.slot] if more is not None and serves and outdated(more, workload, memory) else []
    if not serving:
        if more is None or not serves or not away:
            return None
        # the last one replaced is not there yet: what serves meanwhile stays, though it be of yet other settings
        return Rollout(outdated=tuple(old), surge=more.slot, ready=True, away=tuple(away))
    same = suits(instances[serving[0]].launch, workload)
    reason = Reason.RestartAsked if same else Reason.SpecChanged
    if workload.spec.strategy != "surge":
        return Rollout(outdated=tuple(serving), away=tuple(away), reason=reason)
    surge = slot(workload.name, count)
    return Rollout(surge=surge, ready=serves and not old, outdated=(*serving, *old), away=tuple(away), reason=reason)


def outdated(instance: Instance, workload: Workload, memory: Memory) -> bool:
    """Whether what runs is to be replaced: it was made from other settings, or its restart was asked for."""
    launch = instance.launch
    return not suits(launch, workload) or memory.restarts.get(instance.slot, 0) >= launch.run


def _serves(instance: Instance, memory: Memory) -> bool:
    """Whether it answers, and will for a while: not where it drains, or its end is on its way."""
    going = instance.slot in memory.draining or isinstance(memory.in_flight.get(instance.slot), Stop | Sleep)
    return not going and isinstance(instance.phase, Running) and isinstance(instance.phase.readiness, Ready)
