"""The decision: from everything that is known to the actions to start now. Reads nothing, logs nothing, raises nothing.

What differs is what is looked at: a slot that carries the right digest and is healthy costs one comparison.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from reconciler.model.fleet import Fleet, Workload
from reconciler.model.memory import Memory
from reconciler.model.observation import Demand, Exited, Instance, Observation, Ready, Recorded, Running, Unknown
from reconciler.model.plan import Action, Blocked, Plan, Start
from reconciler.model.slots import slot, split_slot
from reconciler.model.status import Reason
from reconciler.plan import fetches, pausing, prune, scaling
from reconciler.plan.arrange import Arrangement, arrange
from reconciler.plan.backoff import HEALTHY_AFTER
from reconciler.plan.draft import Draft
from reconciler.plan.facts import Facts
from reconciler.plan.rollout import Rollout, rollout
from reconciler.plan.scaling import Wanted, paused, wanted
from reconciler.plan.slots import Decision, Later, Removal, decide
from reconciler.plan.words import let_go

NO_ROOM = frozenset({Reason.NoFreeGpu, Reason.NoFreeMemory, Reason.PortTaken, Reason.NoFreePort, Reason.Unknown})


def plan(fleet: Fleet, observation: Observation, demand: Demand, memory: Memory, now: float) -> Plan:
    """What to do now. `now` is seconds of CLOCK_MONOTONIC."""
    decided = _decided(fleet, observation, demand, memory, now)
    return pausing.held_back(decided, now) if memory.paused else decided


def _decided(fleet: Fleet, observation: Observation, demand: Demand, memory: Memory, now: float) -> Plan:
    """What is to do, whether or not it may be done."""
    instances = observation.instances
    if isinstance(instances, Unknown):
        detail = f"cannot see what runs: {instances.reason}; nothing is started or stopped until it can be seen"
        blocked = Blocked(subject="fleet", reason=Reason.Unknown, detail=detail)
        return Plan(blocked=(blocked,), lulls=memory.lulls)
    healthy = observation.healthy
    unsettled = [text for text, digest in fleet.slots.items() if healthy.get(text) != digest]
    leftovers = _leftovers(fleet, instances, unsettled)
    stirred, forgiven_at = _stirred(fleet, instances, unsettled, now)
    stirred |= _stranded(fleet, observation, instances)
    names = sorted(stirred | leftovers.keys() | _asked_about(fleet, memory, demand))
    names.sort(key=lambda name: -_priority(fleet, name))
    facts = Facts(
        observation=observation,
        instances=instances,
        nodes={
            "": fleet.node(observation.host.name),
            **{host.name: fleet.other(host.name) for host in observation.others},
        },
        memory=memory,
        demand=demand,
        now=now,
    )
    verdict = _Verdict(fleet=fleet, facts=facts, held=prune.held(fleet, leftovers, instances, memory))
    verdict.wake_at = forgiven_at
    verdict.blocked.extend(blocked for name, blocked in verdict.held.items() if name in fleet.workloads)
    verdict.wish(names)
    names += verdict.arrange(names)
    verdict.actions.extend(fetches.unneeded(fleet, facts))
    for name in names:
        _decide(verdict, name, leftovers.get(name, ()))
    for problem in fleet.problems:
        for name in problem.names:
            verdict.blocked.append(Blocked(subject=name, reason=Reason.SpecInvalid, detail=str(problem)))
    return Plan(
        actions=tuple(verdict.actions),
        blocked=tuple(sorted(verdict.blocked, key=lambda blocked: (blocked.subject, blocked.reason, blocked.detail))),
        wake_at=verdict.wake_at,
        lulls=verdict.lulls,
    )


@dataclass(slots=True)
class _Verdict:
    """What has been decided so far in this pass."""

    fleet: Fleet
    facts: Facts
    held: Mapping[str, Blocked]
    """Workloads that are gone from the files, and may not be pruned."""
    wishes: dict[str, Wanted] = field(default_factory=dict[str, Wanted])
    """How many replicas are to run of each workload that is looked at."""
    actions: list[Action] = field(default_factory=list[Action])
    blocked: list[Blocked] = field(default_factory=list[Blocked])
    wake_at: float | None = None

    @property
    def lulls(self) -> Mapping[str, float]:
        """By slot: since when it is not needed."""
        return {text: since for wish in self.wishes.values() for text, since in wish.lulls.items()}

    def wish(self, names: Iterable[str]) -> None:
        """Say how many replicas these are to have, and how they get from what they were to what they are to be."""
        facts = self.facts
        for name in names:
            workload = self.fleet.workloads.get(name)
            if workload is None:
                continue
            present = facts.present(workload)
            wish = self.wishes[name] = wanted(workload, facts.memory, facts.demand, present=present, now=facts.now)
            self.wake(wish.until)
            turn = rollout(workload, wish.count, facts.instances, facts.memory) if facts.instances else None
            if turn is not None and not paused(workload, facts.memory):
                facts.rollouts[name] = turn

    def arrange(self, names: Iterable[str]) -> list[str]:
        """Find out where all belongs that takes what may be short, if any of these does. Who else has to go for it."""
        facts, workloads = self.facts, self.fleet.workloads
        asking = [name for name in names if name in workloads]
        if not asking or isinstance(facts.observation.gpus, Unknown):
            return []
        draft = self._draft()
        facts.roomy = not draft.tight
        if facts.roomy and all(workloads[name].needs.gpus == 0 for name in asking):
            return []
        passed: set[str] = set()
        while True:
            facts.arrangement = arrange(self._draft())
            if not self._turn(facts.arrangement, passed):
                break
        self.wake(facts.arrangement.until)
        victims = {split_slot(slot)[0] for slot in facts.arrangement.victims}
        more = sorted(victims - self.wishes.keys(), key=lambda name: (-_priority(self.fleet, name), name))
        self.wish(more)
        return more

    def _draft(self) -> Draft:
        """The problem of placement as it stands."""
        facts, workloads = self.facts, self.fleet.workloads
        turns = facts.rollouts.values()
        return Draft(
            fleet=self.fleet,
            observation=facts.observation,
            instances=facts.instances,
            memory=facts.memory,
            demand=facts.demand,
            cards=facts.cards(),
            rams=facts.rams,
            nodes=facts.nodes,
            counts={
                name: wish.count for name, wish in self.wishes.items() if not paused(workloads[name], facts.memory)
            },
            surges={turn.surge: name for name, turn in facts.rollouts.items() if turn.surge},
            # one more is started only where it fits beside all of them as they are to be
            waiting=frozenset(text for turn in turns if self._settled(turn) for text in turn.later),
            held=self.held.keys(),
            now=facts.now,
        )

    def _settled(self, turn: Rollout) -> bool:
        """Whether it is decided that one more serves meanwhile, or that none does."""
        return not turn.surge or _is_there(turn.surge, self.facts)

    def _turn(self, arrangement: Arrangement, passed: set[str]) -> bool:
        """Let others be replaced first than those for whom there is no room. Whether any turn is another now.

        `passed`: slots whose turn has been passed on in this pass.
        """
        facts, before = self.facts, dict(self.facts.rollouts)
        for name, turn in before.items():
            if not arrangement.draft.takes(self.fleet.workloads[name]):
                continue
            away = tuple(text for text in turn.away if not _is_nowhere(text, arrangement, facts))
            first = next(iter(turn.outdated), "")
            if not away and turn.away and turn.outdated == (turn.surge,):
                del facts.rollouts[name]  # what would serve meanwhile takes the room that others need
            elif turn.surge in arrangement.refused:
                # one of other settings that served meanwhile: there is no room for another in its slot
                rest = tuple(text for text in turn.outdated if text != turn.surge)
                facts.rollouts[name] = replace(turn, surge="", outdated=rest)
            elif away != turn.away and turn.outdated:
                facts.rollouts[name] = replace(turn, away=away)
            elif turn.surge and not _is_there(turn.surge, facts) and arrangement.place(turn.surge) is None:
                facts.rollouts[name] = replace(turn, surge="")
            elif first in arrangement.refused and first not in passed and len(turn.outdated) > 1:
                passed.add(first)
                facts.rollouts[name] = replace(turn, outdated=(*turn.outdated[1:], first))
            elif first in arrangement.refused and turn.surge:
                facts.rollouts[name] = replace(turn, surge="")  # it has the room that others need, or would take it
        return facts.rollouts != before

    def wake(self, at: float | None) -> None:
        """Look again then at the latest."""
        if at is not None:
            self.wake_at = at if self.wake_at is None else min(at, self.wake_at)

    def add(self, decision: Decision | None) -> None:
        """Take in what was decided about one slot."""
        if isinstance(decision, Later):
            self.wake(decision.at)
        elif isinstance(decision, Blocked):
            self.blocked.append(decision)
            self.wake(decision.until)
        elif decision is not None:
            self.actions.append(decision)


def _decide(verdict: _Verdict, name: str, leftovers: Iterable[str]) -> None:
    """Everything about one workload: its slots, and those it no longer has."""
    fleet, facts = verdict.fleet, verdict.facts
    workload = fleet.workloads.get(name)
    if workload is None:
        blocked = verdict.held.get(name)
        verdict.add(blocked)
        for gone in sorted(leftovers, key=split_slot):
            verdict.add(decide(gone, Removal(Reason.NotInFleet) if blocked is None else "keep", facts))
        return
    count = verdict.wishes[name].count
    extra = facts.slots_beyond(name, count, workload.replicas[0], leftovers)
    if paused(workload, facts.memory):
        slots = [slot(name, index) for index in range(count)]
        if extra or any(text not in facts.instances or facts.owes(text, workload) for text in slots):
            detail = f"paused: nothing is done to it; to go on, {let_go(workload)}"
            verdict.add(Blocked(subject=name, reason=Reason.Paused, detail=detail))
        return
    turn = facts.rollouts.get(name)
    if turn is not None and turn.surge:
        verdict.add(_surge(turn, workload, facts))
        turn = facts.rollouts[name]
    for gone in extra:
        if turn is None or gone != turn.surge:
            verdict.add(decide(gone, _removal(workload, facts), facts))
    for index in range(count):
        verdict.add(decide(slot(name, index), workload, facts))


def _surge(turn: Rollout, workload: Workload, facts: Facts) -> Decision | None:
    """Have one replica more; where there is no room for it, replicas are replaced in their place instead."""
    decision = decide(turn.surge, workload, facts)
    if isinstance(decision, Blocked) and not _is_there(turn.surge, facts) and _has_no_room(decision, facts):
        facts.rollouts[workload.name] = replace(turn, surge="")
        return None
    if isinstance(decision, Start) and decision.reason is Reason.NotRunning and turn.outdated:
        return replace(decision, reason=turn.reason, detail=f"serves while {turn.outdated[0]} is replaced")
    return decision


def _is_nowhere(text: str, arrangement: Arrangement, facts: Facts) -> bool:
    """Whether it has ended or sleeps, and there is no room for it."""
    instance = facts.instances[text]
    return (isinstance(instance.phase, Exited) or instance.asleep is not None) and arrangement.place(text) is None


def _is_there(text: str, facts: Facts) -> bool:
    instance = facts.instances.get(text)
    return instance is not None and not isinstance(instance.phase, Recorded | Exited) and instance.asleep is None


def _has_no_room(blocked: Blocked, facts: Facts) -> bool:
    """Whether there is none for a replica more, and none comes of itself: what is to be replaced waits in turn."""
    if blocked.reason is not Reason.Waiting:
        return blocked.reason in NO_ROOM
    return facts.arrangement is None or facts.arrangement.is_yielded(blocked.subject)


def _removal(workload: Workload, facts: Facts) -> Removal:
    """Why there are more replicas than are wanted, and how they go."""
    override = facts.memory.overrides.get(workload.name)
    if override is not None and override.stopped:
        return Removal(Reason.StopAsked, workload.update)
    if workload.replicas[0] == workload.replicas[1]:
        return Removal(Reason.ScaledDown, workload.update)
    returns = workload if scaling.by_command(workload, facts.memory) is None else None
    return Removal(Reason.Idle, workload.update, returns)


def _leftovers(fleet: Fleet, instances: Mapping[str, Instance], unsettled: Collection[str]) -> dict[str, list[str]]:
    """Slots that no file asks for, by workload."""
    # what is settled has an instance: where no instance is more than the fleet's, none has to be looked for
    seen = len(fleet.slots) - len(unsettled) + sum(text in instances for text in unsettled)
    names: dict[str, list[str]] = {}
    for text in instances.keys() - fleet.slots.keys() if seen < len(instances) else ():
        names.setdefault(split_slot(text)[0], []).append(text)
    return names


def _stirred(
    fleet: Fleet, instances: Mapping[str, Instance], unsettled: Iterable[str], now: float
) -> tuple[set[str], float | None]:
    """Workloads with a slot that is not as it should be; and when the next of the others is forgiven its failures."""
    names: set[str] = set()
    first: float | None = None
    for text in unsettled:
        instance = instances.get(text)
        at = _forgiven_at(instance, fleet.slots[text]) if instance is not None else None
        if at is None or now >= at:
            names.add(text.rpartition("/")[0])
        elif first is None or at < first:
            first = at
    return names, first


def _stranded(fleet: Fleet, observation: Observation, instances: Mapping[str, Instance]) -> set[str]:
    """Workloads with an instance on a GPU that is cordoned, however well it seems to be."""
    cordoned = {gpu.uuid for gpu in observation.cordoned}
    if not cordoned:
        return set()
    slots = (text for text, instance in instances.items() if not cordoned.isdisjoint(instance.launch.gpus))
    return {split_slot(text)[0] for text in slots} & fleet.workloads.keys()


def _forgiven_at(instance: Instance, digest: str) -> float | None:
    """When one that lacks nothing but a longer good time has had it; None where it lacks something else."""
    phase = instance.phase if instance.digest == digest else None
    if not isinstance(phase, Running) or not isinstance(phase.readiness, Ready):
        return None
    return phase.readiness.since + HEALTHY_AFTER


def _asked_about(fleet: Fleet, memory: Memory, demand: Demand) -> set[str]:
    """Workloads about which memory or clients have something to say."""
    names = {*memory.overrides, *(name for name in demand if scaling.follows(fleet.workloads.get(name)))}
    by_slot = (memory.restarts, memory.draining, memory.failures, memory.lulls)
    names.update(split_slot(text)[0] for slots in by_slot for text in slots)
    return names & fleet.workloads.keys()


def _priority(fleet: Fleet, name: str) -> int:
    workload = fleet.workloads.get(name)
    return workload.priority if workload is not None else 0
