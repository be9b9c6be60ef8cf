"""One pass's problem of placement while it is put together: what is wished and what runs → items for the layout."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from reconciler.model.fleet import Fleet, Needs, Workload
from reconciler.model.kinds import Node
from reconciler.model.memory import Memory
from reconciler.model.observation import (
    Demand,
    Exited,
    Failing,
    Instance,
    Observation,
    Ready,
    Recorded,
    Running,
    Stopping,
    Unknown,
    Wish,
)
from reconciler.model.plan import Launch, Size, Sleep, Start, Stop, Wake
from reconciler.model.slots import slot, split_slot
from reconciler.model.status import Reason
from reconciler.plan.attaching import suits
from reconciler.plan.barred import barred
from reconciler.plan.cards import Stock, coarse, dozes_off, holding, of_one_maker, why_never
from reconciler.plan.hosts import Ram, held, taken
from reconciler.plan.layout import Item, Place
from reconciler.plan.placement import NoRoom
from reconciler.plan.scaling import paused
from reconciler.plan.sizing import size_of
from reconciler.plan.sleeping import sleeps_on
from reconciler.plan.turns import LOWEST, Turns

LEFT = frozenset({Reason.Preempted, Reason.Moved, Reason.Idle})
"""Ends after which no place is kept: it was given to another."""


@dataclass(slots=True)
class Draft:
    """What one pass knows of placement. The GPUs must be known."""

    fleet: Fleet
    observation: Observation
    instances: Mapping[str, Instance]
    memory: Memory
    demand: Demand
    cards: Mapping[str, Stock]
    """By UUID, in order of index."""
    rams: Callable[[], Mapping[str, Ram]]
    """By machine; counted only where it is asked for."""
    nodes: Mapping[str, Node]
    """By machine: empty for this one."""
    counts: Mapping[str, int]
    """How many replicas of each workload are to run about which there is something to decide."""
    surges: Mapping[str, str]
    """Slots of replicas more, for a roll-out, and their workloads: they take only what is spare."""
    waiting: frozenset[str]
    """Slots that are to be replaced, and whose turn has not come: until then they need what they have."""
    held: Collection[str]
    """Workloads that are gone from the files, or broken there, and not to be pruned."""
    now: float
    _sizes: dict[str, Size] = field(default_factory=dict[str, Size])
    _barred: dict[str, NoRoom | None] = field(default_factory=dict[str, NoRoom | None])
    leaving: list[Item] = field(default_factory=list[Item])
    """What holds memory and is to go."""
    as_is: dict[str, Item] = field(default_factory=dict[str, Item])
    """What runs and is to be replaced, as it is now."""
    dozing: list[Item] = field(default_factory=list[Item])
    """What has just fallen asleep: what it gives back may not be told yet."""
    absent: set[str] = field(default_factory=set[str])
    """Slots that have a home and are not in it: it is kept for them if there is still room."""
    _turns: Turns | None = None
    _tight: bool | None = None
    _allowed: dict[tuple[object, ...], frozenset[str] | None] = field(
        default_factory=dict[tuple[object, ...], frozenset[str] | None]
    )

    @property
    def until(self) -> float | None:
        """When the items are others though nothing happens, seconds of CLOCK_MONOTONIC."""
        return self.turns.until

    @property
    def tight(self) -> bool:
        """Whether host memory may be short: else nothing that takes it alone needs a place, and nobody's counts."""
        if self._tight is None:
            asked = self._asked()
            there = held(self.observation) if asked else {}
            self._tight = asked > 0 and any(there[name] + asked > ram.now for name, ram in self.rams().items())
        return self._tight

    def _asked(self) -> int:
        """Bytes of host memory that may be started with in this pass, wherever that is."""
        workloads = self.fleet.workloads
        asked = sum(count * self._host(workloads[name]) for name, count in self.counts.items())
        asked += sum(self._host(workloads[name]) for name in self.surges.values())
        asked += sum(action.launch.host for action in self.memory.in_flight.values() if isinstance(action, Start))
        if self.held:
            again = (text for text, instance in self.instances.items() if isinstance(instance.phase, Exited))
            asked += sum(self.instances[text].launch.host for text in again if split_slot(text)[0] in self.held)
        return asked

    def _host(self, workload: Workload) -> int:
        """Bytes of host memory that one replica needs."""
        needs = workload.needs
        if needs.gpus == 0 and needs.memory is None and not self.memory.measured and workload.spec.kind == "Service":
            return 0  # there may be thousands
        return self.size(workload).host

    def is_kept(self, name: str) -> bool:
        """Whether a workload stays as it is."""
        workload = self.fleet.workloads.get(name)
        return name in self.held or (workload is not None and paused(workload, self.memory))

    def takes(self, workload: Workload) -> bool:
        """Whether its replicas take a place: GPUs, or host memory where that may be short."""
        size = self.size(workload)
        return size.gpus > 0 or (self.tight and size.host > 0)

    @property
    def turns(self) -> Turns:
        """Whose turn it is."""
        if self._turns is None:
            self._turns = Turns(self.fleet, self.instances, self.memory, self.demand, self.counts, self.now)
        return self._turns

    def items(self) -> list[Item]:
        """Everything that takes a place and stays, or is to come. What is to go is in `leaving` afterwards."""
        return list(self._items())

    def _items(self) -> Iterator[Item]:
        if not self.cards and not self.tight:
            return
        wished = {slot(name, index): name for name, count in self.counts.items() for index in range(count)}
        wished |= self.surges
        for text, name in wished.items():
            yield from self._wish(text, self.fleet.workloads[name])
        for text, instance in self.instances.items():
            if text in wished or not self._occupies(instance.launch):
                continue
            name, _ = split_slot(text)
            workload = self.fleet.workloads.get(name)
            held = holding(instance, self.cards, self.now)
            if isinstance(instance.phase, Unknown) or _doubtful(instance):
                yield self._hold(text, instance.launch, fixed=True)
            elif self.is_kept(name):
                if workload is None or not isinstance(instance.phase, Exited):  # what is paused and ended holds nothing
                    yield self._hold(text, held, fixed=True)
            elif name not in self.counts and workload is not None:
                yield from self._wish(text, workload)
            elif isinstance(self.memory.in_flight.get(text), Wake):
                yield self._hold(text, instance.launch, fixed=True)
            elif workload is not None and sleeps_on(instance, workload, self.memory):
                yield self._resting(text, workload, held)
            elif not isinstance(instance.phase, Exited):
                self._leave(text, held)
        for text, action in self.memory.in_flight.items():
            if not isinstance(action, Start) or text in wished or text in self.instances:
                continue
            if self._occupies(action.launch):
                self._leave(text, action.launch)

    def _occupies(self, launch: Launch) -> bool:
        """Whether a launch has a place that matters."""
        return bool(launch.gpus) or self._ram(launch) > 0

    def _ram(self, launch: Launch) -> int:
        """Bytes of host memory that a launch takes, where it may be short."""
        return taken(launch, self.observation.resident) if self.tight else 0

    def _wish(self, text: str, workload: Workload) -> Iterator[Item]:
        """One replica that is to run."""
        action, instance = self.memory.in_flight.get(text), self.instances.get(text)
        if isinstance(action, Start):
            if self._occupies(action.launch):
                yield self._hold(text, action.launch, fixed=True)
            return
        if instance is None:
            yield from self._item(text, workload, None)
            return
        phase, launch = instance.phase, instance.launch
        if isinstance(phase, Unknown):
            if self._occupies(launch):
                yield self._hold(text, launch, fixed=True)
            return
        if isinstance(action, Wake):
            yield self._hold(text, launch, fixed=True)
            return
        held = holding(instance, self.cards, self.now)
        going = isinstance(phase, Stopping) or isinstance(action, Stop | Sleep)
        asked = phase.asked if isinstance(phase, Stopping | Exited) else action.reason if going and action else None
        stands = isinstance(phase, Running) and not going and self._occupies(launch)
        same = suits(launch, workload) or text in self.waiting
        if stands and same and instance.asleep and not self._uprooted(instance, workload):
            yield replace(self._waking(text, workload, launch), host=self._ram(held))
            self.absent.add(text)
            self.as_is[text] = self._resting(text, workload, held)
            return
        if stands and same and not self._uprooted(instance, workload):
            # what it was promised is its own, whatever is known better by now
            yield self._standing(text, workload, launch)
            return
        if not isinstance(phase, Exited | Recorded) and not stands and self._occupies(launch):
            self._leave(text, held)
        homeless = asked in LEFT or (text in self.surges and not stands)
        found = list(self._item(text, workload, None if homeless else launch))
        self.absent.add(text)
        if stands and found:
            self.as_is[text] = self._standing(text, workload, held)
        elif stands and self.barred(text, workload) is not None:
            yield self._standing(text, workload, held)  # its successor could not be started: it goes on
        elif stands:
            self._leave(text, held)  # what it is to be takes no place
        yield from found

    def _uprooted(self, instance: Instance, workload: Workload) -> bool:
        """Whether a card of it is cordoned, or is gone and it does not serve: where it runs next, that is elsewhere."""
        if self.cards.keys() >= set(instance.launch.gpus):
            return False
        if any(gpu.uuid in instance.launch.gpus for gpu in self.observation.cordoned):
            return True
        readiness = instance.phase.readiness if isinstance(instance.phase, Running) else None
        serves = isinstance(readiness, Ready) or (
            isinstance(readiness, Failing) and readiness.failures < workload.health.failures
        )
        return not serves or self.memory.restarts.get(instance.slot, 0) >= instance.launch.run

    def _item(self, text: str, workload: Workload, home: Launch | None) -> Iterator[Item]:
        """A replica as it is to be; `home`: what it was last, whose place it keeps if it can."""
        size, needs = self.size(workload), workload.needs
        if not self.takes(workload) or self.barred(text, workload) is not None:
            return
        allowed = self._allowed_for(needs, size) if size.gpus else None
        at = None
        if home is not None and len(home.gpus) == size.gpus and (allowed is None or allowed.issuperset(home.gpus)):
            at = self._at(home)
        surge = text in self.surges and at is None
        rank = 0 if surge else self.turns.of(text, workload, gpus=size.gpus).rank
        yield Item(
            slot=text,
            priority=rank,
            count=size.gpus,
            memory=size.memory,
            share=needs.share,
            host=size.host if self.tight else 0,
            allowed=allowed,
            nodes=self.machines(needs),
            at=at,
            never=surge or workload.spec.preemption == "never",
            cost=self._cost(text),
            standing=int(1000 * (self.turns.since(text, workload) or 0.0)),
        )

    def _standing(self, text: str, workload: Workload, launch: Launch) -> Item:
        """A replica that runs and may be moved or preempted."""
        turn = self.turns.of(text, workload, gpus=len(launch.gpus))
        never = workload.spec.preemption == "never"
        # while it serves, or may serve, it is let be
        fixed = turn.fixed or not self.cards.keys() >= set(launch.gpus) or _doubtful(self.instances[text])
        held = self._hold(text, launch, fixed=fixed)
        return replace(held, priority=turn.rank, never=never, cost=self._cost(text))

    def _waking(self, text: str, workload: Workload, launch: Launch) -> Item:
        """One that sleeps and is wanted: what it was promised, where it is if it can."""
        item = self._hold(text, launch)
        surge = text in self.surges
        return replace(
            item,
            priority=0 if surge else self.turns.of(text, workload, gpus=item.count).rank,
            allowed=self._allowed_for(workload.needs, Size(gpus=item.count, memory=launch.memory)),
            nodes=self.machines(workload.needs),
            at=None if surge else item.at,
            never=surge or workload.spec.preemption == "never",
            cost=self._cost(text),
            standing=int(1000 * (self.turns.since(text, workload) or 0.0)),
        )

    def _resting(self, text: str, workload: Workload, held: Launch) -> Item:
        """One that sleeps: whatever is to run may have what it still holds."""
        item = replace(self._hold(text, held), memory=held.memory, share=True, priority=workload.priority)
        if dozes_off(self.instances[text], self.now):
            self.dozing.append(item)
        return replace(item, cost=self._cost(text))

    def _hold(self, text: str, launch: Launch, *, fixed: bool = False) -> Item:
        """What a launch has been promised, or has taken where that is more; where it is, of the cards that are left."""
        workload = self.fleet.workloads.get(split_slot(text)[0])
        memory, cards = launch.memory, tuple(uuid for uuid in launch.gpus if uuid in self.cards)
        if memory is not None:
            memory = max([memory, *(coarse(held) for uuid in cards if (held := self.cards[uuid].held(text)) > memory)])
        return Item(
            slot=text,
            priority=LOWEST,
            count=len(cards),
            memory=memory,
            share=workload is None or workload.needs.share,
            host=self._ram(launch),
            at=Place(node=launch.node, cards=cards),
            fixed=fixed,
        )

    def _leave(self, text: str, launch: Launch) -> None:
        self.leaving.append(replace(self._hold(text, launch, fixed=True), slot=f"{text} (leaving)"))

    def homeless(self, item: Item, free: Mapping[str, int], ram: Mapping[str, int], items: Iterable[Item]) -> Item:
        """One that is to grow, without its home where it would not fit there beside those that are at home too.

        `free` and `ram`: bytes of each GPU, and of each machine's own memory.
        """
        if item.at is None:
            return item
        if item.host:
            there = [one for one in items if one is not item and one.at is not None and one.at.node == item.at.node]
            if sum(one.host for one in there) + item.host > ram.get(item.at.node, 0):
                return replace(item, at=None)
        for uuid in item.at.cards:
            others = [one for one in items if one is not item and one.at is not None and uuid in one.at.cards]
            taken = sum(one.memory or 0 for one in others)
            if others and (item.memory is None or not item.share or any(one.memory is None for one in others)):
                return replace(item, at=None)
            if item.memory is not None and taken + item.memory > free.get(uuid, 0):
                return replace(item, at=None)
        return item

    def barred(self, text: str, workload: Workload) -> NoRoom | None:
        """Why it could not be started however much room there were; None if it could."""
        if text not in self._barred:
            self._barred[text] = barred(text, workload, self.observation, self.nodes, self.size(workload))
        return self._barred[text]

    def _at(self, launch: Launch) -> Place:
        """Where a launch is."""
        return Place(node=launch.node, cards=launch.gpus)

    def machines(self, needs: Needs) -> frozenset[str] | None:
        """The machines it may run on; None: all of them."""
        if not needs.labels:
            return None
        return frozenset(name for name, node in self.nodes.items() if needs.labels.items() <= node.labels.items())

    def size(self, workload: Workload) -> Size:
        """What one replica of it takes."""
        found = self._sizes.get(workload.name)
        if found is None:
            reserved = max(node.reserved for node in self.nodes.values())
            found = self._sizes[workload.name] = size_of(workload, self.observation, self.memory, reserved)
        return found

    def _allowed_for(self, needs: Needs, size: Size) -> frozenset[str] | None:
        """The GPUs it may use; None: all of them."""
        whole, gang = size.memory is None, size.gpus > 1
        key = needs.ids, needs.models, needs.least, whole, gang
        if key not in self._allowed:
            good = [
                card.gpu
                for card in self.cards.values()
                if not why_never(needs, card.gpu, size.gpus) and (not whole or card.then >= card.whole)
            ]
            good = of_one_maker(good) if gang else good
            self._allowed[key] = None if len(good) == len(self.cards) else frozenset(gpu.uuid for gpu in good)
        return self._allowed[key]

    def _cost(self, text: str) -> int:
        """Of letting it go: what it took to load, the less the longer nobody has asked for it; requests in flight."""
        name, index = split_slot(text)
        instance = self.instances.get(text)
        if instance is None or not isinstance(instance.phase, Running):
            return 0
        phase, wish = instance.phase, self.demand.get(name, Wish())
        worth = 1000 * (1.0 + phase.took) / (1.0 + self.turns.lull(text)) + 1000 * wish.in_flight.get(text, 0)
        return max(0, int(worth) - index)  # of replicas that are alike the last one


def _doubtful(instance: Instance) -> bool:
    """Whether it cannot be told if it sleeps."""
    return isinstance(instance.phase, Running) and isinstance(instance.phase.readiness, Unknown)
