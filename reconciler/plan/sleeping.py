"""Who sleeps instead of ending: a replica that idles or gives way, where its engine can and its file says so."""

from reconciler.model.fleet import Workload
from reconciler.model.memory import Failure, Memory
from reconciler.model.observation import Instance, Ready, Running
from reconciler.model.plan import Wake
from reconciler.model.slots import split_slot
from reconciler.plan import scaling
from reconciler.plan.rollout import outdated


def may_sleep(instance: Instance, workload: Workload, memory: Memory) -> bool:
    """Whether it is to sleep while it is not needed: it can, may, and could be needed again as it is."""
    spec, failure = workload.spec, memory.failures.get(instance.slot)
    return (
        instance.launch.sleeper is not None
        and spec.kind == "Model"
        and spec.idle_action == "sleep"
        and split_slot(instance.slot)[1] < workload.replicas[1]
        and not outdated(instance, workload, memory)
        and (failure is None or failure.action != "sleep")
    )


def sleeps_on(instance: Instance, workload: Workload, memory: Memory) -> bool:
    """Whether it sleeps, and is to for as long as it is not needed. What is let go by command does not return."""
    asleep = instance.asleep is not None and may_sleep(instance, workload, memory)
    return asleep and scaling.by_command(workload, memory) is None


def wakes_in_vain(instance: Instance | None, workload: Workload | None, memory: Memory) -> bool:
    """Whether one that is being woken is to end all the same: it may have to load first, which takes its time.

    `workload`: whose it stays; None where it is not wanted any more.
    """
    if instance is None or not isinstance(memory.in_flight.get(instance.slot), Wake):
        return False
    return workload is None or outdated(instance, workload, memory)


def failure_of(slot: str, action: str, memory: Memory) -> Failure | None:
    """How the last action failed, if it was of this kind."""
    failure = memory.failures.get(slot)
    return failure if failure is not None and failure.action == action else None


def serves(instance: Instance) -> bool:
    """Whether it answers requests."""
    return isinstance(instance.phase, Running) and isinstance(instance.phase.readiness, Ready)
