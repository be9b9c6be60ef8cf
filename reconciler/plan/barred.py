"""What keeps a replica from being started however much room there is: it takes no place then, and none from others."""

from collections.abc import Mapping

from reconciler import engines
from reconciler.engines import headers
from reconciler.model.container import RuntimeName
from reconciler.model.fleet import Workload
from reconciler.model.kinds import Node
from reconciler.model.observation import Exited, Observation, Unknown
from reconciler.model.plan import Size, Strikes
from reconciler.model.slots import split_slot
from reconciler.model.status import Reason
from reconciler.plan import weights
from reconciler.plan.placement import labelled
from reconciler.plan.ports import NoRoom, taken


def barred(
    slot: str, workload: Workload, observation: Observation, nodes: Mapping[str, Node], size: Size
) -> NoRoom | None:
    """Why a slot could not be started even on GPUs that are free; None if it could. The GPUs must be known."""
    waits = unseen(workload.under(observation.host.auto), observation) or being_read(workload, observation)
    if waits is not None:
        return waits
    machines = labelled(workload.needs, nodes)
    if isinstance(machines, NoRoom):
        return machines
    why = _port(slot, workload, observation) if machines == [""] else None
    if why is not None:
        return why
    first = machines[0]
    gpus = observation.sound[: size.gpus]
    made = engines.launch(
        workload,
        slot=slot,
        run=1,
        gpus=gpus,
        port=None if workload.needs.port is None else nodes[first].port_range.start,
        size=size,
        strikes=Strikes(),
        machine=first,
        host=observation.machines[first],
        node=nodes[first],
    )
    if isinstance(made, engines.Refusal):
        return NoRoom(reason=made.reason, detail=made.detail)
    if weights.lacks(workload, observation, first):
        return NoRoom(reason=Reason.NotFetched, detail="what it needs is not here yet")
    return None


def unseen(runtime: RuntimeName, observation: Observation) -> NoRoom | None:
    """That nothing is started there, as what runs there cannot be seen."""
    why = observation.unseen.get(runtime)
    return NoRoom(reason=Reason.Unknown, detail=why) if why is not None else None


def being_read(workload: Workload, observation: Observation) -> NoRoom | None:
    """That it has to wait for its size; None where that is known, or cannot be."""
    reading = observation.reading and observation.reading.intersection(headers.wanted(workload))
    if not reading:
        return None
    return NoRoom(reason=Reason.Waiting, detail=f"how much memory it needs is being read from {min(reading)}")


def _port(slot: str, workload: Workload, observation: Observation) -> NoRoom | None:
    """Why it cannot have a port: none can be seen, or its own is another's who will not give it back for us."""
    wish, ports, instances = workload.needs.port, observation.ports, observation.instances
    if wish is None:
        return None
    if isinstance(ports, Unknown):
        return NoRoom(reason=Reason.Unknown, detail="cannot choose a port: listening ports cannot be seen")
    if not isinstance(wish, int) or isinstance(instances, Unknown):
        return None
    ours = {
        text
        for text, instance in instances.items()
        if instance.launch.port == wish and not isinstance(instance.phase, Exited)
    }
    siblings = any(text != slot and split_slot(text)[0] == workload.name for text in ours)
    return taken(wish) if siblings or (wish in ports and not ours) else None
