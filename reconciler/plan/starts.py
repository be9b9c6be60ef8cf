"""A start: the place where a replica belongs, if that is free this moment, a port, and the launch made of these."""

from collections.abc import Callable, Iterable

from reconciler import engines
from reconciler.model.fleet import Workload
from reconciler.model.observation import Gpu, Instance, NotReady, Running, Unknown
from reconciler.model.plan import Blocked, Fetch, Launch, Size, Strikes
from reconciler.model.status import Reason
from reconciler.plan import weights
from reconciler.plan.arrange import Arrangement
from reconciler.plan.barred import barred, being_read, unseen
from reconciler.plan.facts import Facts
from reconciler.plan.fetches import lacking
from reconciler.plan.placement import Room, labelled
from reconciler.plan.ports import NoRoom
from reconciler.plan.sizing import on_cpu


def launch(
    slot: str,
    workload: Workload,
    facts: Facts,
    room: Callable[[], Room],
    *,
    before: Launch | None,
    strikes: Strikes,
) -> Launch | Blocked | Fetch:
    """The launch of the run after `before`, at the place the room has for it; or why there is none, or what it lacks.

    The room is counted only where something of it is asked for: that takes a look at every instance.
    """
    place = unseen(workload.under(facts.observation.host.auto), facts.observation) or _place(
        slot, workload, facts, room
    )
    if isinstance(place, NoRoom) and place.reason is Reason.NotFetched:
        return lacking(slot, workload, facts)
    if isinstance(place, NoRoom):
        return Blocked(subject=slot, reason=place.reason, detail=place.detail)
    gpus, size, machine = place
    port = _port(workload, machine, before, room)
    if isinstance(port, NoRoom):
        return Blocked(subject=slot, reason=port.reason, detail=port.detail)
    made = engines.launch(
        facts.startable(slot, workload),
        slot=slot,
        run=before.run + 1 if before is not None else 1,
        gpus=gpus,
        port=port,
        size=size,
        strikes=strikes,
        machine=machine,
        host=facts.observation.machines[machine],
        node=facts.nodes[machine],
        weights=weights.where(workload, facts.observation, machine),
        adapters=weights.adapters(workload, facts.observation, machine),
    )
    if isinstance(made, engines.Refusal):
        return Blocked(subject=slot, reason=made.reason, detail=made.detail)
    return made


def wakes(instance: Instance, workload: Workload, facts: Facts) -> NoRoom | bool:
    """Whether one that sleeps belongs where it is, and has room there to wake now; False where it belongs elsewhere."""
    slot, launch, arrangement = instance.slot, instance.launch, facts.arrangement
    if not launch.gpus:
        return True  # what it takes of the host is its own, also while it sleeps
    if arrangement is None:
        return NoRoom(reason=Reason.Unknown, detail="cannot wake it on gpus that cannot be seen")
    place = _belongs(slot, workload, arrangement)
    if isinstance(place, NoRoom) or {gpu.uuid for gpu in place} != set(launch.gpus):
        return place if isinstance(place, NoRoom) else False
    size = Size(gpus=len(place), memory=launch.memory)
    room = facts.free().without(facts.holding(instance))
    return _not_now(place, size, workload, facts, arrangement, room) or True


def _port(workload: Workload, machine: str, before: Launch | None, room: Callable[[], Room]) -> int | NoRoom | None:
    """The port it listens on, the one it had before if it can."""
    wish = workload.needs.port
    if wish is None:
        return None
    return room().ports[machine].lease(wish, before.port if before is not None and before.node == machine else None)


def _place(
    slot: str, workload: Workload, facts: Facts, room: Callable[[], Room]
) -> tuple[tuple[Gpu, ...], Size, str] | NoRoom:
    """The GPUs where it belongs and their machine, if they are free this moment."""
    needs, arrangement = workload.needs, facts.arrangement
    if needs.gpus == 0:
        return _on_cpu(slot, workload, facts, room, on_cpu(workload, facts.observation, facts.memory))
    if arrangement is None:
        why = room().unknown or "nothing was arranged"
        return NoRoom(reason=Reason.Unknown, detail=f"cannot place on gpus that cannot be seen: {why}")
    size = arrangement.draft.size(workload)
    if not size.gpus:
        return _on_cpu(slot, workload, facts, room, size)
    bar = arrangement.draft.barred(slot, workload)
    if bar is not None:
        return bar
    place = _belongs(slot, workload, arrangement)
    if isinstance(place, NoRoom):
        return place
    if len(place) != size.gpus:
        return NoRoom(reason=Reason.NoFreeGpu, detail="a gpu it runs on cannot be seen any more")
    return _not_now(place, size, workload, facts, arrangement, room()) or (place, size, place[0].node)


def _belongs(slot: str, workload: Workload, arrangement: Arrangement) -> tuple[Gpu, ...] | NoRoom:
    """The GPUs where it belongs; or for whom it waits, or why there is no room for it."""
    place = arrangement.place(slot)
    if place is not None:
        return place
    turn = arrangement.turn(slot, workload)
    return NoRoom(reason=Reason.Waiting, detail=turn) if turn else arrangement.why_not(slot, workload)


def _not_now(  # noqa: PLR0917
    place: tuple[Gpu, ...], size: Size, workload: Workload, facts: Facts, arrangement: Arrangement, room: Room
) -> NoRoom | None:
    """Why a place is not free this moment."""
    why = room.why_not(place, size, share=workload.needs.share)
    if why is not None and not arrangement.gives(place):
        return NoRoom(reason=Reason.NoFreeGpu, detail=f"cannot start where it belongs: {why}")
    if why is not None:
        return NoRoom(reason=Reason.Waiting, detail=f"waits for memory to be given back: {why}")
    short = _short(place[0].node, facts, lambda: room, size)
    if short is not None:
        return short
    loading = _loading(room.beside(place), workload, facts)
    if loading is not None:
        detail = f"waits for {loading} to have loaded on the same gpu: one of the two sizes itself by what is free"
        return NoRoom(reason=Reason.Waiting, detail=detail)
    return None


def _on_cpu(
    slot: str, workload: Workload, facts: Facts, room: Callable[[], Room], size: Size
) -> tuple[tuple[Gpu, ...], Size, str] | NoRoom:
    """The first machine that its labels allow; where host memory may be short, the one where it belongs."""
    machines = labelled(workload.needs, facts.nodes)
    if isinstance(machines, NoRoom):
        return machines
    reading = being_read(workload, facts.observation)
    if reading is not None:
        return reading
    machine, arrangement = machines[0], facts.arrangement
    if weights.lacks(workload, facts.observation, machine):
        bar = barred(slot, workload, facts.observation, facts.nodes, size)
        if bar is not None:
            return bar
    if arrangement is not None and arrangement.draft.takes(workload):
        bar = arrangement.draft.barred(slot, workload)
        if bar is not None:
            return bar
        belongs = arrangement.machine(slot)
        if belongs is None:
            return arrangement.why_not(slot, workload)
        machine = belongs
    return _short(machine, facts, room, size) or ((), size, machine)


def _short(machine: str, facts: Facts, room: Callable[[], Room], size: Size) -> NoRoom | None:
    """Why the host memory it needs is not there this moment; None if it is."""
    why = room().why_not_host(machine, size.host) if size.host and not facts.roomy else None
    if why is None:
        return None
    if facts.arrangement is not None and facts.arrangement.gives_host(machine):
        return NoRoom(reason=Reason.Waiting, detail=f"waits for memory to be given back: {why}")
    return NoRoom(reason=Reason.NoFreeMemory, detail=why)


def _loading(launches: Iterable[Launch], workload: Workload, facts: Facts) -> str | None:
    """Who on the same GPU is still loading, where one of the two sizes itself by what is free."""
    alone = engines.sizes_itself(workload.engine)
    for there in sorted(launches, key=lambda there: there.slot):
        if not (alone or engines.sizes_itself(there.engine)):
            continue
        instance = facts.instances.get(there.slot)
        if instance is None or instance.launch.run != there.run or _loads(instance):
            return there.slot  # promised in this very pass, or not ready yet
    return None


def _loads(instance: Instance) -> bool:
    phase = instance.phase
    return isinstance(phase, Unknown) or (isinstance(phase, Running) and isinstance(phase.readiness, NotReady))
