"""Where every replica belongs: the fleet's wishes and what runs, put to the layout solver a few times a pass.

What runs and is to go (removed, replaced, preempted) holds its memory until it is seen free. So the layout says where
things belong, `placement.Room` says what is free this moment, and a start waits for the difference.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from reconciler.model.fleet import Workload
from reconciler.model.observation import Gpu
from reconciler.model.plan import Basis, Launch, Size
from reconciler.model.quantity import print_size
from reconciler.model.status import Reason
from reconciler.plan.cards import in_all, left, why_never
from reconciler.plan.draft import Draft
from reconciler.plan.hosts import ENDLESS
from reconciler.plan.layout import Answer, Card, Item, Machine, Place, Problem, Seen, Victim, solve
from reconciler.plan.ports import NoRoom
from reconciler.plan.words import several


@dataclass(slots=True)
class Arrangement:
    """The answer of one pass."""

    answer: Answer
    draft: Draft
    victims: Mapping[str, Victim]
    """Who runs and has to go, by slot."""
    refused: Mapping[str, Answer]
    """Slots whose successor has no place, so that what runs there goes on; and the answer that said so."""

    @property
    def until(self) -> float | None:
        """When another answer may follow though nothing happens, seconds of CLOCK_MONOTONIC."""
        return self.draft.until

    def place(self, slot: str) -> tuple[Gpu, ...] | None:
        """The GPUs where a slot belongs, in order of index; None where there is no room for it."""
        place = self._place(slot)
        return None if place is None else tuple(self.draft.cards[uuid].gpu for uuid in place.cards)

    def machine(self, slot: str) -> str | None:
        """The machine where a slot belongs; None where there is no room for it."""
        place = self._place(slot)
        return None if place is None else place.node

    def _place(self, slot: str) -> Place | None:
        return None if slot in self.refused else self.answer.places.get(slot)

    def gives(self, gpus: Iterable[Gpu]) -> bool:
        """Whether memory of one of these GPUs is on its way back: from what has ended, leaves, or is to be replaced."""
        uuids, draft = {gpu.uuid for gpu in gpus}, self.draft
        return any(draft.cards[uuid].then > draft.cards[uuid].now for uuid in uuids) or any(
            item.at is not None and not uuids.isdisjoint(item.at.cards) for item in self._going()
        )

    def gives_host(self, machine: str) -> bool:
        """Whether host memory of a machine is on its way back, or about to be known to be ours."""
        ram = self.draft.rams()[machine]
        return ram.then > ram.now or any(item.at and item.host and item.at.node == machine for item in self._going())

    def _going(self) -> list[Item]:
        items = self.answer.items
        draft = self.draft
        return [*draft.leaving, *draft.as_is.values(), *draft.dozing, *(items[slot] for slot in self.victims)]

    def is_yielded(self, slot: str) -> bool:
        """Whether a slot belongs where there is room only once others have been replaced that run there."""
        place = self.answer.places.get(slot)
        if place is None:
            return False
        return any(self._left(uuid) < 0 for uuid in place.cards) or self._left_of_host(place.node) < 0

    def _left_of_host(self, machine: str) -> int:
        """Bytes of host memory, in the same way."""
        items, sizes = self.answer.items, dict[str, int]()
        for slot, place in self.answer.places.items():
            if place is not None and place.node == machine:
                sizes[slot] = items[slot].host
        for slot, item in self.draft.as_is.items():
            if item.at is not None and item.at.node == machine:
                sizes[slot] = max(sizes.get(slot, 0), item.host)
        return self.draft.rams()[machine].then - sum(sizes.values())

    def spares(self, asleep: Launch) -> bool:
        """Whether there is room for what one still holds that sleeps, once all are where they belong."""
        going = {item.slot for item in self.draft.leaving}
        stay = [item for slot, item in self.answer.items.items() if slot not in going]
        for uuid in asleep.gpus:
            beside = [item for item in stay if self._is_on(item.slot, uuid)]
            if uuid not in self.draft.cards or any(not item.share or item.memory is None for item in beside):
                return False
            if self.draft.cards[uuid].then - sum(item.memory or 0 for item in beside) < (asleep.memory or 0):
                return False
        return True

    def _is_on(self, slot: str, uuid: str) -> bool:
        place = self.answer.places.get(slot)
        return place is not None and uuid in place.cards

    def _left(self, uuid: str) -> int:
        """Bytes that are free of a card once all are there who belong there, beside those yet to be replaced."""
        card, items, places = self.draft.cards[uuid], self.answer.items, self.answer.places
        sizes: dict[str, int] = {}
        for slot, place in places.items():
            if place is not None and uuid in place.cards:
                memory = items[slot].memory
                sizes[slot] = card.whole if memory is None else memory
        for slot, item in self.draft.as_is.items():
            if item.at is not None and uuid in item.at.cards:
                memory = card.whole if item.memory is None else item.memory
                sizes[slot] = max(sizes.get(slot, 0), memory)
        return card.then - sum(sizes.values())

    def turn(self, slot: str, workload: Workload) -> str:
        """For whom a slot waits that is asked for, if it fits once those have left that run on demand; else empty."""
        turns, size, answer = self.draft.turns, self.draft.size(workload), self.refused.get(slot, self.answer)
        instance = self.draft.instances.get(slot)
        serves = slot in self.refused and not (instance is not None and instance.asleep)
        if serves or slot in self.draft.surges or not turns.is_asked(slot, workload):
            return ""
        fitting, before = 0, set[str]()
        for seen in answer.seen(slot):
            card = self.draft.cards[seen.card.uuid]
            passing = {tenant for tenant in seen.tenants if turns.passes(tenant)}
            firm = [answer.items[tenant] for tenant in seen.tenants if tenant not in passing]
            alone = size.memory is None or not workload.needs.share
            if why_never(workload.needs, card.gpu) or any(alone or not one.share or not one.memory for one in firm):
                continue
            if seen.card.free - sum(one.memory or 0 for one in firm) >= (size.memory or card.whole):
                fitting += 1
                before |= passing
        if fitting < size.gpus or not before:
            return ""
        words = [f"{one}, which {turns.levels.get(one, 'is first')}" for one in sorted(before)]
        return f"waits for its turn after {several(words)}"

    def why_not(self, slot: str, workload: Workload) -> NoRoom:
        """Why there is no room for a slot, GPU by GPU, or machine by machine."""
        size = self.draft.size(workload)
        answer = self.refused.get(slot, self.answer)
        if not size.gpus:
            return NoRoom(reason=Reason.NoFreeMemory, detail=self._short(slot, workload, size))
        count = "one gpu" if size.gpus == 1 else f"{size.gpus} gpus"
        wish = f"needs {count} {_amount(size, workload)}"
        cordoned = [f"{_called(gpu)}: cordoned" for gpu in self.draft.observation.cordoned]
        if not self.draft.cards:
            why = "; ".join(cordoned) or "this machine has none"
            return NoRoom(reason=Reason.NoFreeGpu, detail=f"needs {count}{'; ' if cordoned else ', and '}{why}")
        found = answer.seen(slot)
        words = [(_called(self.draft.cards[seen.card.uuid].gpu), self._why(seen, workload, size)) for seen in found]
        if workload.spec.preemption == "never" and any(self._lower(seen.tenants, workload) for seen in found):
            wish += ", and takes from nobody (preemption: never)"
        each = [f"{gpu}: {why}" for gpu, why in words if why]
        fitting = len(words) - len(each)
        if self._only_short(
            slot, size, [seen.card.node for seen, (_, why) in zip(found, words, strict=True) if not why]
        ):
            return NoRoom(
                reason=Reason.NoFreeMemory,
                detail=f"{self._short(slot, workload, size)}; {count} {_amount(size, workload)} could be had",
            )
        if 0 < fitting < size.gpus:
            each.append("the other fits" if fitting == 1 else f"the other {fitting} fit")
        elif fitting >= size.gpus:
            each.append(f"{fitting} fit, but no machine has {size.gpus} of them")
        return NoRoom(reason=Reason.NoFreeGpu, detail="; ".join([wish, *each, *cordoned]))

    def _only_short(self, slot: str, size: Size, fitting: list[str]) -> bool:
        """Whether a machine has the GPUs, and not the host memory. `fitting`: the machine of each GPU that would do."""
        left = self.refused.get(slot, self.answer).host(slot)
        return any(left[name] < size.host and fitting.count(name) >= size.gpus for name in set(fitting))

    def _short(self, slot: str, workload: Workload, size: Size) -> str:
        """Why no machine has the host memory that a slot needs."""
        draft, answer = self.draft, self.refused.get(slot, self.answer)
        wish = f"needs {print_size(size.host)} of host memory{_basis(size.host_basis, size)}"
        if workload.spec.preemption == "never":
            wish += ", and takes from nobody (preemption: never)"
        words: list[str] = []
        machines = draft.machines(workload.needs)
        for machine, free in answer.host(slot).items():
            if machines is not None and machine not in machines:
                continue
            tenants = [one for one in answer.tenants(machine, slot) if one != slot]
            beside = f" beside {self._named(tenants, workload)}" if tenants else ""
            words.append(f"{machine}: ".removeprefix(": ") + draft.rams()[machine].left(free, beside))
        return "; ".join([wish, *words])

    def _why(self, seen: Seen, workload: Workload, size: Size) -> str:
        """Why one GPU will not do; empty where it would."""
        card = self.draft.cards[seen.card.uuid]
        never = why_never(workload.needs, card.gpu, size.gpus)
        if never:
            return never
        if not seen.allowed:
            labels = self.draft.nodes[card.gpu.node].labels
            missing = [f"{key}: {value}" for key, value in workload.needs.labels.items() if labels.get(key) != value]
            if missing:
                return f"its machine is not labelled {', '.join(missing)}"
        if size.memory is not None and size.memory > card.gpu.memory:
            return in_all(card.gpu)
        tenants = self._named(seen.tenants, workload)
        if seen.closed:
            return f"taken whole by {tenants}"
        if seen.tenants and (size.memory is None or not workload.needs.share):
            return f"shared by {tenants}"
        if seen.free >= (size.memory or card.whole):
            return ""
        why = left(card.gpu, seen.free, card.strangers, f" beside {tenants}" if tenants else "")
        return f"{why}; {print_size(card.reserved)} reserved" if card.reserved else why

    def _stays(self, lower: Workload) -> str:
        """Why one of a lower priority does not give way."""
        if self.draft.is_kept(lower.name):
            return " (left as it is)"
        return " (preemption: never)" if lower.spec.preemption == "never" else ""

    def _named(self, tenants: Iterable[str], workload: Workload) -> str:
        """Who is in the way, who stays though its priority is lower first: that needs to be told."""
        stays = {one: self._stays(other) for one, other in self._lower(tenants, workload).items()}
        return several([f"{one}{stays.get(one, '')}" for one in sorted(tenants, key=lambda one: not stays.get(one))])

    def _lower(self, tenants: Iterable[str], workload: Workload) -> dict[str, Workload]:
        """Those of them whose priority is lower."""
        workloads = self.draft.fleet.workloads
        found = ((one, workloads.get(one.rpartition("/")[0])) for one in tenants)
        return {one: other for one, other in found if other is not None and other.priority < workload.priority}


def _amount(size: Size, workload: Workload) -> str:
    """How much of each GPU, and how that is known where its file does not say it."""
    if size.memory is None:
        return "to itself (as its memory is not known: declare it to share)" if workload.needs.share else "to itself"
    return f"with {print_size(size.memory)} free{_basis(size.basis, size)}"


def _basis(basis: Basis, size: Size) -> str:
    """How a figure is known, where its file does not say it: ` (estimated ±8 %: context 8192, as none is declared)`."""
    if basis == "estimated" and size.within is not None:
        assumed = f": {', '.join(size.notes)}" if size.notes else ""
        return f" (estimated ±{size.within * 100:.0f} %{assumed})"
    return f" ({basis})" if basis in ("measured", "estimated") else ""


def _called(gpu: Gpu) -> str:
    """`gpu 3`, `box2 gpu 3`."""
    return f"{gpu.node} gpu {gpu.index}".lstrip()


def arrange(draft: Draft) -> Arrangement:
    """Where every slot that takes a place belongs."""
    items = draft.items()
    answer = _solve(draft, (*items, *draft.leaving), then=False)
    if answer.victims or None in answer.places.values():
        # it does not all fit beside what leaves: then as it will be once that has left
        answer = _solve(draft, items, then=True)
    refused: dict[str, Answer] = {}
    while stuck := [item for item in items if item.slot in draft.as_is and answer.places[item.slot] is None]:
        # no room for what they should become: they stay what they are, and their room is theirs
        refused |= {item.slot: answer for item in stuck}
        draft.absent -= {item.slot for item in stuck}
        items = [draft.as_is.pop(item.slot) if item in stuck else item for item in items]
        answer = _solve(draft, items, then=True)
    uncertain = _uncertain(draft, items, answer)
    return Arrangement(
        answer=answer,
        draft=draft,
        victims={victim.slot: victim for victim in answer.victims if victim.slot not in uncertain},
        refused=refused,
    )


def _uncertain(draft: Draft, items: Iterable[Item], answer: Answer) -> set[str]:
    """Those who would go for room that may not be there: soon it is known what comes back, and what loads takes."""
    stocks = (*draft.cards.values(), *(draft.rams().values() if draft.tight else ()))
    if not answer.victims or all(stock.now == stock.then for stock in stocks):
        return set()
    sure = {victim.slot for victim in _solve(draft, items, then=False, sure=True).victims}
    return {victim.slot for victim in answer.victims} - sure - draft.memory.draining.keys()


def _solve(draft: Draft, items: Iterable[Item], *, then: bool, sure: bool = False) -> Answer:
    """Places by what will be free, or by what is; with `sure` no home counts whose memory may not come back."""
    cards = [
        Card(
            node=stock.gpu.node,
            index=stock.gpu.index,
            uuid=uuid,
            model=stock.gpu.model,
            total=stock.gpu.memory,
            free=stock.then if then else stock.now,
            links=stock.gpu.links,
        )
        for uuid, stock in draft.cards.items()
    ]
    # a home is worth the wait for its memory
    free = {uuid: stock.now if sure else stock.then for uuid, stock in draft.cards.items()}
    ram = {name: stock.now if sure else stock.then for name, stock in draft.rams().items()}
    fitting = [draft.homeless(item, free, ram, items) if item.slot in draft.absent else item for item in items]
    if not then:
        fitting = [_now(draft, item, sure=sure) if item.memory is None else item for item in fitting]
    machines = tuple(
        Machine(name=name, host=stock.then if then else stock.now) if draft.tight else Machine(name=name, host=ENDLESS)
        for name, stock in draft.rams().items()
    )
    return _answer(Problem(machines=machines, cards=tuple(cards), items=tuple(fitting)))


def _now(draft: Draft, item: Item, *, sure: bool) -> Item:
    """One that takes its cards whole, on those alone that are free enough of others at this moment."""
    allowed = frozenset(uuid for uuid, stock in draft.cards.items() if stock.now >= stock.whole)
    absent = sure and item.slot in draft.absent
    gone = absent and item.at is not None and not allowed.issuperset(item.at.cards)
    if item.allowed is not None:
        allowed &= item.allowed
    return replace(item, allowed=allowed, at=None if gone else item.at)


@lru_cache(maxsize=8)
def _answer(problem: Problem) -> Answer:
    """The same for the same problem: while something starts or drains, pass after pass asks what was asked before."""
    return solve(problem)


__all__ = ["Arrangement", "arrange"]
