"""The memory of every GPU and machine before and after a road of plans, and whose it is."""

from collections.abc import Mapping, Sequence
from typing import assert_never

from reconciler.model.facts import Road
from reconciler.model.observation import Exited, Gpu, Host, Observation, Unknown
from reconciler.model.plan import (
    Action,
    Attach,
    Cancel,
    Detach,
    Drain,
    Fetch,
    Forget,
    Launch,
    Sleep,
    Start,
    Stop,
    Update,
    Wake,
)
from reconciler.model.status import Reason
from tui.view.clean import line
from tui.view.outlook import GpuOutlook, Holding, HostOutlook, Moment


def room(road: Road) -> tuple[tuple[GpuOutlook, ...], tuple[HostOutlook, ...], str | None]:
    """Each GPU, and each machine whose memory is known; or why they cannot be told of."""
    observation = road.facts.observation
    if isinstance(observation.gpus, Unknown):
        return (), (), f"cannot see the gpus: {observation.gpus.reason}"
    if isinstance(observation.instances, Unknown):
        return (), (), f"cannot see what runs: {observation.instances.reason}"
    before = {
        slot: instance.holding
        for slot, instance in observation.instances.items()
        if not isinstance(instance.phase, Exited)
    }
    after = dict(before)
    for action in (*road.facts.memory.in_flight.values(), *(each for plan in road.passes for each in plan.actions)):
        _carry_out(action, after)
    waits = any(blocked.reason is Reason.NoFreeMemory for blocked in (road.passes[-1].blocked if road.passes else ()))
    hosts = tuple(
        _host(name, host, observation, before, after, waits=waits)
        for name, host in observation.machines.items()
        if host.memory
    )
    return tuple(_gpu(gpu, before, after) for gpu in observation.gpus), hosts, None


def _carry_out(action: Action, launches: dict[str, Launch]) -> None:
    match action:
        case Stop() | Forget():
            launches.pop(action.slot, None)
        case Start():
            launches[action.slot] = action.launch
        case Sleep():
            launches[action.slot] = action.launch.asleep
        case Wake():
            launches[action.slot] = action.launch
        case Drain() | Update() | Attach() | Detach() | Fetch() | Cancel():
            pass
        case _:
            assert_never(action)


def _gpu(gpu: Gpu, before: Mapping[str, Launch], after: Mapping[str, Launch]) -> GpuOutlook:
    strangers = [
        Holding(holder=line(f"pid {holder.pid} {holder.name}"), ours=False, memory=holder.memory)
        for holder in gpu.holders
        if holder.slot is None
    ]
    named = sum(holding.memory for holding in strangers)
    ours = sum(holder.memory for holder in gpu.holders if holder.slot is not None)
    # what the driver does not attribute to a process is somebody else's, as far as ours do not explain it
    promised = sum(gpu.memory if launch.memory is None else launch.memory for launch in _on(gpu, before).values())
    foreign = max(named, gpu.used - (ours or min(gpu.used, promised)))
    if foreign > named:
        strangers.append(Holding(holder="others", ours=False, memory=foreign - named))
    was, will = (_moment(gpu, _on(gpu, launches), strangers, foreign) for launches in (before, after))
    if was.used < gpu.used:
        was = Moment(used=gpu.used, holdings=was.holdings)
    return GpuOutlook(
        node=gpu.node,
        index=gpu.index,
        uuid=gpu.uuid,
        model=gpu.model,
        memory=gpu.memory,
        cordoned=line(gpu.cordoned),
        before=was,
        after=will,
    )


def _on(gpu: Gpu, launches: Mapping[str, Launch]) -> dict[str, Launch]:
    return {slot: launch for slot, launch in sorted(launches.items()) if gpu.uuid in launch.gpus}


def _moment(gpu: Gpu, launches: Mapping[str, Launch], strangers: Sequence[Holding], foreign: int) -> Moment:
    left = max(0, gpu.memory - foreign)
    ours = [
        Holding(
            holder=slot,
            ours=True,
            memory=left if launch.memory is None else launch.memory,
            whole=launch.memory is None,
            basis=launch.basis,
            within=launch.within,
        )
        for slot, launch in launches.items()
    ]
    used = min(gpu.memory, foreign + sum(holding.memory for holding in ours))
    return Moment(used=used, holdings=(*ours, *strangers))


def _host(
    name: str,
    host: Host,
    observation: Observation,
    before: Mapping[str, Launch],
    after: Mapping[str, Launch],
    *,
    waits: bool,
) -> HostOutlook:
    """One machine's own memory. What is held and was not counted of ours is taken for others'."""
    own = {
        slot: counted.own
        for slot, counted in observation.resident.items()
        if slot in before and before[slot].run == counted.run and before[slot].node == name
    }
    foreign = max(0, host.memory - host.available - sum(own.values()))
    strangers = [Holding(holder="others", ours=False, memory=foreign)] if foreign else []

    def moment(launches: Mapping[str, Launch]) -> Moment:
        ours = [
            Holding(
                holder=slot,
                ours=True,
                memory=max(launch.host, own.get(slot, 0) if launch is before.get(slot) else 0),
                basis=launch.host_basis,
                within=launch.within,
            )
            for slot, launch in sorted(launches.items())
            if launch.node == name
        ]
        held = tuple(holding for holding in ours if holding.memory)
        return Moment(
            used=min(host.memory, foreign + sum(holding.memory for holding in held)), holdings=(*held, *strangers)
        )

    was, will = moment(before), moment(after)
    full = 2 * sum(holding.memory for holding in will.holdings if holding.ours) > host.memory
    return HostOutlook(node=name, memory=host.memory, before=was, after=will, tight=waits or full)
