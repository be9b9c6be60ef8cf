"""The best layout that OR-tools' CP-SAT finds: the same figures as ours, one after the other."""

import time

from ortools.sat.python import cp_model

from reconciler.plan.layout import Card, Item, Place, Problem
from tests.bench.yardstick import Places


def cp_sat(problem: Problem, seconds: float, hint: Places) -> tuple[Places, bool]:
    """The best CP-SAT finds for the same figures, one after the other; and whether it proved every one of them."""
    model = _Model(problem)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 2
    proved = True
    begun = time.monotonic()
    places = hint
    goals = model.goals()
    for number, goal in enumerate(goals):
        rest = begun + seconds - time.monotonic()
        solver.parameters.max_time_in_seconds = max(0.05, rest / max(1, min(4, len(goals) - number)))
        model.cp.minimize(goal)
        model.hint(places)
        status = solver.solve(model.cp)
        if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            return places, False
        proved = proved and status == cp_model.OPTIMAL
        places = model.places(solver)
        model.cp.add(goal <= round(solver.objective_value))
    return places, proved


class _Model:
    """One variable for each replica on each card it may use, and on each machine."""

    def __init__(self, problem: Problem) -> None:
        self.cp = cp_model.CpModel()
        self.problem = problem
        self.on: dict[tuple[str, str], cp_model.IntVar] = {}
        self.node: dict[tuple[str, str], cp_model.IntVar] = {}
        self.stay: dict[str, cp_model.IntVar] = {}
        self.whole: dict[str, cp_model.IntVar] = {}
        cards: dict[str, list[Card]] = {machine.name: [] for machine in problem.machines}
        for card in problem.cards:
            cards[card.node].append(card)
        for item in problem.items:
            for name, there in cards.items():
                may = [card for card in there if self._may(item, card)]
                if len(may) < item.count:
                    continue
                chosen = self.node[item.slot, name] = self.cp.new_bool_var("")
                for card in may:
                    self.on[item.slot, card.uuid] = self.cp.new_bool_var("")
                self.cp.add(sum(self.on[item.slot, card.uuid] for card in may) == item.count * chosen)
            mine = [self.node[item.slot, name] for name in cards if (item.slot, name) in self.node]
            self.cp.add_at_most_one(mine)
            if item.at is not None:
                stay = self.stay[item.slot] = self.cp.new_bool_var("")
                self.cp.add(stay <= self.node[item.slot, item.at.node])
                for uuid in item.at.cards:
                    self.cp.add(stay <= self.on[item.slot, uuid])
        self._capacity()

    @staticmethod
    def _may(item: Item, card: Card) -> bool:
        return card.free >= (item.memory or 1) and (item.allowed is None or card.uuid in item.allowed)

    def _capacity(self) -> None:
        items = self.problem.items
        alone = {item.slot: item.memory is None or not item.share for item in items}
        for card in self.problem.cards:
            there = [(item, self.on[item.slot, card.uuid]) for item in items if (item.slot, card.uuid) in self.on]
            shared = [(item, var) for item, var in there if not alone[item.slot]]
            single = [var for item, var in there if alone[item.slot]]
            whole = self.whole[card.uuid] = self.cp.new_bool_var("")
            self.cp.add(sum(single) == whole) if single else self.cp.add(whole == 0)
            self.cp.add(sum((item.memory or 1) * var for item, var in shared) <= card.free - card.free * whole)
        for machine in self.problem.machines:
            asks = [
                item.host * self.node[item.slot, machine.name]
                for item in items
                if item.host and (item.slot, machine.name) in self.node
            ]
            self.cp.add(sum(asks) <= machine.host)

    def goals(self) -> list[cp_model.LinearExpr | int]:
        """Priority by priority, as `figures` counts them."""
        goals: list[cp_model.LinearExpr | int] = []
        names = [machine.name for machine in self.problem.machines]
        for priority in sorted({item.priority for item in self.problem.items}, reverse=True):
            mine = [item for item in self.problem.items if item.priority == priority]
            placed = {
                item.slot: sum(self.node[item.slot, name] for name in names if (item.slot, name) in self.node)
                for item in mine
            }
            ran = [item for item in mine if item.at is not None]
            new = [item for item in mine if item.at is None]
            if ran:
                goals.append(sum(1 - placed[item.slot] for item in ran))
                goals.append(sum((item.cost + 1) * (1 - self.stay[item.slot]) for item in ran))
            if new:
                goals.append(sum(1 - placed[item.slot] for item in new))
        return goals

    def hint(self, places: Places) -> None:
        """Begin from a layout."""
        self.cp.clear_hints()
        for (slot, uuid), var in self.on.items():
            place = places[slot]
            self.cp.add_hint(var, place is not None and uuid in place.cards)
        for (slot, name), var in self.node.items():
            place = places[slot]
            self.cp.add_hint(var, place is not None and name == place.node)
        for item in self.problem.items:
            if item.slot in self.stay:
                self.cp.add_hint(self.stay[item.slot], places[item.slot] == item.at)
        alone = {
            uuid
            for item in self.problem.items
            if (place := places[item.slot]) is not None and (item.memory is None or not item.share)
            for uuid in place.cards
        }
        for uuid, var in self.whole.items():
            self.cp.add_hint(var, uuid in alone)

    def places(self, solver: cp_model.CpSolver) -> Places:
        """The layout found."""
        found: Places = {item.slot: None for item in self.problem.items}
        for item in self.problem.items:
            for machine in self.problem.machines:
                var = self.node.get((item.slot, machine.name))
                if var is not None and solver.value(var):
                    cards = [
                        card.uuid
                        for card in self.problem.cards
                        if card.node == machine.name
                        and (item.slot, card.uuid) in self.on
                        and solver.value(self.on[item.slot, card.uuid])
                    ]
                    found[item.slot] = Place(node=machine.name, cards=tuple(cards))
        return found
