"""What each machine's own memory has to give: without what is reserved, and what others than ours hold.

What is known of none of ours (a service that says nothing) counts as held by others while it runs, and nothing before.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.model.kinds import Node
from reconciler.model.observation import Exited, Host, Instance, Observation, Resident, Unknown
from reconciler.model.plan import Launch
from reconciler.model.quantity import print_size
from reconciler.plan.cards import coarse, tenths

ENDLESS = 1 << 60
"""Bytes of a machine whose memory is not known: nobody is kept from it."""
AGAIN = 5.0
"""Seconds after which what a machine holds has been read again."""
_LEAST, _PART = 2**30, 20
"""Bytes, and part of all, of which the larger is left alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ram:
    """One machine. Bytes; nothing of ours is taken off."""

    total: int
    reserved: int
    now: int
    """Free of others at this moment: of ours too, as far as it was not counted yet and might be another's."""
    then: int
    """Free of others once all of ours has been counted."""

    @property
    def strangers(self) -> int:
        """Bytes that others hold."""
        return self.total - self.reserved - self.then

    def left(self, free: int, beside: str = "") -> str:
        """`22.1 GiB of 64.0 GiB free beside a/0; 12.0 GiB held by others; 3.2 GiB reserved`."""
        shown = print_size(tenths(free)) if free > 0 else "none"
        text = f"{shown} of {print_size(self.total)} free{beside}"
        text += f"; {print_size(self.strangers)} held by others" if self.strangers >= 2**30 else ""
        return f"{text}; {print_size(self.reserved)} reserved" if self.reserved else text


def rams(observation: Observation, instances: Mapping[str, Instance], nodes: Mapping[str, Node]) -> dict[str, Ram]:
    """What each machine has to give, by the name that launches carry."""
    return {name: _ram(name, host, observation, instances, nodes[name]) for name, host in observation.machines.items()}


def _ram(name: str, host: Host, observation: Observation, instances: Mapping[str, Instance], node: Node) -> Ram:
    if not host.memory:
        return Ram(total=0, reserved=0, now=ENDLESS, then=ENDLESS)
    used = max(0, host.memory - host.available)
    counted = uncounted = 0
    for instance in instances.values() if used else ():
        launch, phase = instance.launch, instance.phase
        if launch.node != name or (type(phase) is Exited and phase.at <= host.at):
            continue
        resident = counted_of(launch, observation.resident)
        if resident is not None:
            counted += resident.own
        else:
            uncounted += instance.holding.host
    reserved = node.reserved_host
    if reserved is None:
        reserved = max(_LEAST, host.memory // _PART)
    others = max(0, used - counted)
    free = host.memory - reserved
    return Ram(
        total=host.memory,
        reserved=reserved,
        now=free - coarse(others),
        then=free - coarse(max(0, others - uncounted)),
    )


def counted_of(launch: Launch, resident: Mapping[str, Resident]) -> Resident | None:
    """What was counted of this very run; None where nothing was."""
    found = resident.get(launch.slot)
    return found if found is not None and found.run == launch.run else None


def taken(launch: Launch, resident: Mapping[str, Resident]) -> int:
    """Bytes that a launch takes: what was promised, or what it was seen to hold where that is more."""
    found = counted_of(launch, resident)
    return launch.host if found is None else max(launch.host, found.own)


def held(observation: Observation) -> dict[str, int]:
    """Bytes that all that runs or ends takes, by machine."""
    found = dict.fromkeys(observation.machines, 0)
    instances = observation.instances
    for instance in () if isinstance(instances, Unknown) else instances.values():
        if type(instance.phase) is not Exited and instance.launch.node in found:
            found[instance.launch.node] += taken(instance.holding, observation.resident)
    return found
