"""What one pass knows, and the room that is left while it decides."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from reconciler.model.fleet import Workload
from reconciler.model.kinds import Node
from reconciler.model.memory import Failure, Memory
from reconciler.model.observation import Demand, Gpu, Instance, Observation, Running, Unknown
from reconciler.model.plan import Launch, Sleep, Wake
from reconciler.model.slots import slot, split_slot
from reconciler.plan import scaling
from reconciler.plan.arrange import Arrangement
from reconciler.plan.cards import Stock, holding, stock
from reconciler.plan.hosts import Ram, held, rams
from reconciler.plan.placement import Room
from reconciler.plan.rollout import Rollout
from reconciler.plan.weights import is_here


@dataclass(slots=True)
class Facts:
    """What one pass knows, and the room that is left while it decides."""

    observation: Observation
    instances: Mapping[str, Instance]
    """Those of the observation."""
    nodes: Mapping[str, Node]
    """By machine: empty for this one."""
    memory: Memory
    demand: Demand
    now: float
    arrangement: Arrangement | None = None
    """Where what takes GPUs or scarce host memory belongs; None where nothing of it is to be decided, or the GPUs are
    not known."""
    roomy: bool = False
    """Whether it is known that there is host memory for all that is asked: then it need not be counted."""
    rollouts: dict[str, Rollout] = field(default_factory=dict[str, Rollout])
    """By workload, where anything that serves is to be replaced."""
    fetches: set[str] = field(default_factory=set[str])
    """Sources that this pass has fetched."""
    _room: Room | None = None
    _taken: list[Launch] = field(default_factory=list[Launch])
    """Promised in this pass before the room was counted."""
    _dozing: list[Launch] = field(default_factory=list[Launch])
    """Told to sleep in this pass."""
    _cards: dict[str, Stock] | None = None
    _rams: dict[str, Ram] | None = None

    def free(self) -> Room:
        """The room that is left. Counting it takes a look at every instance, so it is counted when it is asked for."""
        if self._room is None:
            rams = {} if self.roomy else self.rams()
            self._room = Room.of(self.observation, self.memory, self.nodes, self.cards(), rams, self.now)
            for launch in self._taken:
                self._room.take(launch)
        return self._room

    def take(self, launch: Launch) -> None:
        """Count a launch as there."""
        if self._room is None:
            self._taken.append(launch)
        else:
            self._room.take(launch)

    def rams(self) -> dict[str, Ram]:
        """What each machine's own memory has to give."""
        if self._rams is None:
            self._rams = rams(self.observation, self.instances, self.nodes)
        return self._rams

    def cards(self) -> dict[str, Stock]:
        """What each GPU has to give, by UUID; nothing where they cannot be seen, or nothing may run on them."""
        if self._cards is None:
            reserved = {name: node.reserved for name, node in self.nodes.items()}
            self._cards = stock(self.observation.sound, self.instances, reserved=reserved, now=self.now)
        return self._cards

    def may_doze(self, launch: Launch) -> bool:
        """Whether there is host memory for what one takes that falls asleep, beside all that were told to."""
        falling = [action.launch for action in self.memory.in_flight.values() if isinstance(action, Sleep)]
        sleepers = [one.sleeper for one in (*falling, *self._dozing) if one.node == launch.node and one is not launch]
        promised = sum(sleeper.host for sleeper in sleepers if sleeper is not None)
        free = self.rams()[launch.node].now - held(self.observation)[launch.node] - promised
        return launch.sleeper is not None and free >= launch.sleeper.host

    def doze(self, launch: Launch) -> None:
        """Count it as falling asleep."""
        self._dozing.append(launch)

    def holding(self, instance: Instance) -> Launch:
        """Its launch with what it takes now: less than promised while it sleeps."""
        if isinstance(self.memory.in_flight.get(instance.slot), Wake):
            return instance.launch
        return holding(instance, self.cards(), self.now)

    def slots_beyond(self, name: str, count: int, declared: int, leftovers: Iterable[str]) -> list[str]:
        """Slots of a workload that exist and are not wanted: beyond its files' number, or within it but scaled down."""
        if count >= declared and not leftovers:
            return []
        within = [text for index in range(count, declared) if (text := f"{name}/{index}") in self.instances]
        return sorted({*within, *(text for text in leftovers if split_slot(text)[1] >= count)}, key=split_slot)

    def present(self, workload: Workload) -> int:
        """How many of its slots, from the first, it takes to hold all that is there of it."""
        fewest, most = workload.replicas
        if fewest == most:
            return fewest
        slots = (slot(workload.name, index) for index in range(most))
        return scaling.present(workload, (self.instances[text] for text in slots if text in self.instances))

    def owes(self, slot: str, workload: Workload) -> bool:
        """Whether an instance is not what its workload asks for."""
        instance = self.instances[slot]
        return instance.digest != workload.digest or not isinstance(instance.phase, Running)

    def startable(self, slot: str, workload: Workload) -> Workload:
        """Without adapters that are not here, or could not be attached: with one of them it would not start at all."""
        refusals = self.memory.refusals.get(slot, {})
        adapters = workload.adapters
        good = {
            name: source
            for name, source in adapters.items()
            if not _refused(refusals.get(name), source) and is_here(source, self.observation)
        }
        return workload if good == adapters else replace(workload, adapters=good)

    def cordoned(self, launch: Launch) -> str:
        """Why it cannot stay on its GPUs; empty where it can."""
        found = (gpu for gpu in self.gpus(launch.gpus) if gpu.cordoned)
        return next((f"gpu {gpu.index} is cordoned: {gpu.cordoned}" for gpu in found), "")

    def gpus(self, uuids: Collection[str]) -> tuple[Gpu, ...]:
        """Those of these GPUs that can be seen, in order of index."""
        gpus = self.observation.gpus
        return () if not uuids or isinstance(gpus, Unknown) else tuple(gpu for gpu in gpus if gpu.uuid in uuids)


def _refused(refusal: Failure | None, source: str) -> bool:
    return refusal is not None and refusal.digest == source
