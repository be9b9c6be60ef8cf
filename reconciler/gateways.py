"""Gateways, as the daemon sees them: the newest Table for them, and what they last reported, as demand and traffic.

A slot that drains is exposed until every gateway goes by a table in which it does: then none of them sends it anything
new, and only what it works on is left to wait for. The same holds of one name of a slot: an adapter that is detached.

A gateway that falls silent is not known to be gone: its workers may serve on by the table that they have (D103).
"""

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from reconciler.model.fleet import Fleet, Workload
from reconciler.model.observation import NOBODY, Demand, Observation, Unknown, Wish
from reconciler.model.routing import ENDED, LAPSE, Report, Table, Wanted, together
from reconciler.model.slots import split_slot
from reconciler.model.status import GatewayStatus, Reason, Status
from reconciler.plan.happenings import Happening
from reconciler.plan.routing import Routed, routed
from reconciler.plan.scaling import follows

HOLD = 3.0
"""Seconds for which the first table is held back while not everything was seen: nobody is told that engines are gone
which another daemon had told them of."""
FOUND = 6.0
"""Seconds in which all gateways that told the daemon before have found this one: until then nobody says which engines
they send requests to. Where it is known which they were, it is over with the last of them."""
_MOST = 16
"""Gateways that are known by name. Of more it is not known how many they are."""
SOON = 1.0
"""Seconds after which the planner hears that other numbers of requests are worked on. Of what waits, and of who is busy
at all, it hears at once."""
_HERE = Happening(severity="info", subject="gateway", reason=Reason.Ready, message="the gateway is connected")
_GONE = Happening(
    severity="error",
    subject="gateway",
    reason=Reason.Lost,
    message=f"the gateway is gone: not a word of it for {LAPSE:.0f} s; what clients want is not known until it is "
    "back, and what it may use drains for as long as is declared",
)
_ENDED = Happening(severity="info", subject="gateway", reason=Reason.Stopping, message="the gateway has ended")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heard:
    """A report."""

    report: Report
    at: float
    lapses: asyncio.TimerHandle


@dataclass(slots=True, kw_only=True)
class Gateways:
    """What they are told, and what they tell. Of one event loop, whose time is the clock."""

    today: Callable[[], float]
    """Seconds since the epoch."""
    wake: Callable[[], None]
    """Look again, as demand is another."""
    tell: Callable[[Happening], None]
    began: float
    _routed: Routed = field(default_factory=lambda: Routed(table=Table(epoch=uuid.uuid4().hex)))
    _newer: asyncio.Event = field(default_factory=asyncio.Event)
    _workloads: Mapping[str, Workload] = field(default_factory=dict[str, Workload])
    _open: frozenset[str] = frozenset()
    """Slots that the newest table sends requests to, and by `_key` the names for which it does."""
    _closed: dict[str, int] = field(default_factory=dict[str, int])
    """By what is not open any more: the first table which says so."""
    _stirred: asyncio.Event = field(default_factory=asyncio.Event)
    """Set, and another, with each table and each report."""
    _heard: dict[str, _Heard] = field(default_factory=dict[str, _Heard])
    _silent: dict[str, Report] = field(default_factory=dict[str, Report])
    """What was last heard of those whose workers may go on without a word."""
    _draining: tuple[str, ...] = ()
    """Slots that the planner lets go."""
    _told: Demand = field(default_factory=dict[str, Wish])
    """What was wanted when this was asked last."""
    _later: asyncio.TimerHandle | None = None
    _until: float = 0.0
    """Until when somebody may come who told the daemon before."""
    _known: set[str] = field(default_factory=set[str])
    _missing: set[str] = field(default_factory=set[str])
    """Of those who told the daemon before, who has not come yet."""

    @property
    def known(self) -> frozenset[str]:
        """Who may go by a table of ours; also who has ended, as it may be back while nobody is here. Empty: unknown."""
        return frozenset(self._known) if len(self._known) <= _MOST else frozenset()

    def inherit(self, names: frozenset[str]) -> None:
        """Gateways told the daemon before what clients want: these, or nobody knows which."""
        self._until = self.began + FOUND
        self._known, self._missing = {*names}, {*names}
        asyncio.get_running_loop().call_at(self._until, self._give_up)

    def _give_up(self) -> None:
        """Who has not come by now does not run."""
        self._known -= self._missing
        self._missing.clear()
        self.wake()

    def _comes(self, gateway: str) -> None:
        if len(self._known) <= _MOST:
            self._known.add(gateway)
        if gateway in self._missing:
            self._missing.remove(gateway)
            if not self._missing:
                self._until = 0.0

    def _awaits(self) -> bool:
        return asyncio.get_running_loop().time() < self._until

    def look(self, fleet: Fleet, observation: Observation, status: Status) -> None:
        """Take in how things are after a pass."""
        self._workloads = fleet.workloads
        if isinstance(observation.instances, Unknown):
            return
        if self._is_early(fleet, status):
            asyncio.get_running_loop().call_at(self.began + HOLD, self.wake)
            return
        before = self._routed.table
        self._routed = routed(fleet, status, self._routed, now=int(self.today()))
        if self._routed.table is before and before.seq:
            return
        table = replace(self._routed.table, seq=before.seq + 1)
        self._routed = replace(self._routed, table=table)
        served = table.models.values()
        places = [place for one in served for place in one.places if not place.draining]
        open_ = frozenset(place.slot for place in places)
        open_ |= {_key(place.slot, name) for place in places for name in place.names}
        self._closed |= dict.fromkeys(self._open - open_, table.seq)
        for key in open_ & self._closed.keys():
            del self._closed[key]
        self._open = open_
        self._stir()
        self._newer.set()
        self._newer = asyncio.Event()

    def _is_early(self, fleet: Fleet, status: Status) -> bool:
        """Whether the first table would leave out what is only not seen yet."""
        if self._routed.table.seq or asyncio.get_running_loop().time() >= self.began + HOLD:
            return False
        rows = status.workloads.values()
        return bool(fleet.missing) or any(one.state == "unknown" for row in rows for one in row.replicas)

    async def next_table(self, after: int) -> Table:
        """The newest table, once there is one with a higher number."""
        while self._routed.table.seq <= after:
            await self._newer.wait()
        return self._routed.table

    def report(self, report: Report) -> None:
        """Take in what one of them tells."""
        running = asyncio.get_running_loop()
        before, known = self._told, self._heard.get(report.gateway)
        self._comes(report.gateway)
        if known is not None:
            known.lapses.cancel()
        self._silent.pop(report.gateway, None)
        if report.seen == ENDED:
            self._leave(report.gateway)
            return
        lapses = running.call_later(LAPSE, self._lapse, report.gateway)
        self._heard[report.gateway] = _Heard(report=report, at=running.time(), lapses=lapses)
        self._stir()
        after = self.demand(self._draining)
        if known is None:
            self.tell(_HERE)
        if known is None or self._matters(before) != self._matters(after):
            self.wake()
        elif self._later is None and self._numbers(before) != self._numbers(after):
            self._later = running.call_later(SOON, self._wake_later)

    def _leave(self, gateway: str) -> None:
        if self._heard.pop(gateway, None) is not None:
            self.tell(_ENDED)
        self._stir()
        self.wake()

    def _lapse(self, gateway: str) -> None:
        """Believe nothing of what it told, but what its workers may go on with."""
        report = self._silent[gateway] = self._heard.pop(gateway).report
        # where the master is dead, its workers end within that time
        asyncio.get_running_loop().call_later(self._routed.table.front.drain, self._forget, gateway, report)
        self._stir()
        self.tell(_GONE)
        self.wake()

    def _forget(self, gateway: str, report: Report) -> None:
        if self._silent.get(gateway) is report:
            del self._silent[gateway]
            self._stir()
            self.wake()

    def _wake_later(self) -> None:
        self._later = None
        self.wake()

    def _varying(self, demand: Demand) -> dict[str, Wish]:
        """Of models whose number of replicas follows it."""
        return {name: wish for name, wish in demand.items() if follows(self._workloads.get(name))}

    def _matters(self, demand: Demand) -> object:
        """What the planner is to hear of at once."""
        busy = {slot for slot in self._draining if demand.get(split_slot(slot)[0], Wish()).busy(slot)}
        return busy, {name: (wish.waiting, wish.in_flight.keys()) for name, wish in self._varying(demand).items()}

    def _numbers(self, demand: Demand) -> object:
        """What it is to hear of soon."""
        return {name: wish.working for name, wish in self._varying(demand).items()}

    def demand(self, draining: Iterable[str]) -> Demand:
        """What clients want; nothing where there is no gateway. `draining`: slots that are being let go."""
        self._draining = tuple(draining)
        self._told = self._wishes() if self._heard or self._silent or self._awaits() else {}
        return self._told

    def _wishes(self) -> Demand:
        found: dict[str, Wish] = {}
        leaving = {split_slot(slot)[0] for slot in self._draining}
        for heard in self._heard.values():
            for name, wanted in heard.report.models.items():
                busy = _busy(wanted)
                if (wanted.waiting or busy) and (name in self._workloads or name in leaving):
                    since = heard.at - wanted.oldest if wanted.waiting else None
                    wish = Wish(waiting=wanted.waiting, in_flight=busy, since=since)
                    found[name] = _both(found[name], wish) if name in found else wish
        for report in self._silent.values():
            for name, wanted in report.models.items():
                if (busy := _busy(wanted)) and (name in self._workloads or name in leaving):
                    found[name] = _both(found.get(name, Wish()), Wish(in_flight=busy))
        for slot in self._draining:
            name = split_slot(slot)[0]
            if not self._is_closed(slot):
                found[name] = _both(found.get(name, Wish()), Wish(exposed=frozenset({slot})))
        if self._is_unheard():
            open_ = {split_slot(slot)[0] for slot in self._open if " " not in slot}
            for name in filter(lambda name: follows(self._workloads.get(name)), leaving | open_):
                found[name] = replace(found.get(name, Wish()), unheard=True)
        return found or {NOBODY: Wish()}

    def _is_unheard(self) -> bool:
        """Whether workers of a gateway may serve of which nobody tells: their master is silent, or was another."""
        return bool(self._silent) or any(heard.report.seen < 0 for heard in self._heard.values())

    def _stir(self) -> None:
        self._stirred.set()
        self._stirred = asyncio.Event()

    async def dropped(self, slot: str, name: str) -> None:
        """Once no gateway sends a slot requests for this name any more; at the latest after `LAPSE` s."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAPSE):
                while not self._is_closed(_key(slot, name)):
                    await self._stirred.wait()

    def _is_closed(self, key: str) -> bool:
        """Whether no gateway sends it anything new."""
        if key in self._open or self._awaits():
            return False
        seq, epoch = self._closed.get(key, 0), self._routed.table.epoch
        reports = (*(heard.report for heard in self._heard.values()), *self._silent.values())
        return all(report.epoch == epoch and report.seen >= seq for report in reports)

    def traffic(self) -> Mapping[str, Wanted]:
        """What clients of each model want and do."""
        return together(heard.report.models for heard in self._heard.values())

    def status(self) -> GatewayStatus:
        """Whether there is one, and where it is to be found."""
        problems = {problem for heard in self._heard.values() for problem in heard.report.problems}
        listen = self._routed.table.front.listen
        return GatewayStatus(connected=bool(self._heard), listen=listen, problems=tuple(sorted(problems)))


def _key(slot: str, name: str) -> str:
    return f"{slot} {name}"


def _busy(wanted: Wanted) -> dict[str, int]:
    return {slot: count for slot, count in wanted.in_flight.items() if count}


def _both(one: Wish, other: Wish) -> Wish:
    slots = sorted({*one.in_flight, *other.in_flight})
    return Wish(
        waiting=one.waiting + other.waiting,
        in_flight={slot: one.in_flight.get(slot, 0) + other.in_flight.get(slot, 0) for slot in slots},
        exposed=one.exposed | other.exposed,
        since=min((since for since in (one.since, other.since) if since is not None), default=None),
    )
