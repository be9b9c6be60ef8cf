"""Readiness: asks every running instance again and again whether it answers, and says so when that changes.

A start is watched closely, what is ready every `interval`. A probe has a deadline of its own; one that this process
itself was too late for is not counted. Nothing counts as ready while a stranger listens on its port.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from reconciler.asking import Answer, Question, first_object, get, post
from reconciler.model.observation import Asleep, Failing, Instance, NotReady, Readiness, Ready, Running, Unknown
from reconciler.model.plan import Launch, Probe, Sleeper
from reconciler.model.status import Reason
from reconciler.observe import ports

Stranger = Callable[[int, int], str | Unknown | None]

_FIRST, _GROWTH, _LONGEST = 0.01, 1.01, 1.0
"""Seconds between two questions to one that loads: so it is seen to be ready within 1 % of what it took."""
_TURNS = 8
"""Into so many turns an interval is divided."""
_NO_SUCH_PATH = 404
_DOUBTS = 2
"""Failed probes in a row until one that may sleep is given up at the earliest."""
_AGAIN = 0.1
"""Seconds until a probe that was not counted is repeated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ended:
    """What is kept of a run that ended."""

    run: int
    ready_for: float | None


class Prober:
    """Watches instances from the event loop. Its callbacks are called there too, never from within `watch`."""

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        on_change: Callable[[str], None],
        stranger: Stranger = ports.stranger,
    ) -> None:
        self.clock = clock
        self.on_change = on_change
        self.stranger = stranger
        self._watches: dict[str, _Watch] = {}
        self._ended: dict[str, _Ended] = {}

    def watch(self, instance: Instance) -> None:
        """Ask this running instance from now on; an instance that is watched already only has its probe renewed."""
        phase, launch = instance.phase, instance.launch
        if not isinstance(phase, Running):
            return
        watch = self._watches.get(instance.slot)
        if watch is not None and (watch.run, watch.pid) == (launch.run, phase.pid):
            if watch.probe != launch.probe:
                watch.renew(launch.probe)
            return
        self.forget(instance.slot)
        self._watches[instance.slot] = _Watch(self, launch, phase)

    def end(self, slot: str, run: int) -> None:
        """Ask no more, as this run has ended or is about to; how long it was ready is kept."""
        watch = self._watches.get(slot)
        if watch is not None and watch.run == run:
            self._ended[slot] = _Ended(run=run, ready_for=watch.ready_for())
            watch.close()
            del self._watches[slot]

    def forget(self, slot: str) -> None:
        """Ask no more, and keep nothing."""
        watch = self._watches.pop(slot, None)
        if watch is not None:
            watch.close()
        self._ended.pop(slot, None)

    def close(self) -> None:
        """Ask nothing more."""
        for slot in list(self._watches):
            self.forget(slot)

    def readiness(self, slot: str) -> tuple[Readiness, bool] | None:
        """How it answers, and whether it has been ready in this run; None where it is not watched."""
        watch = self._watches.get(slot)
        return (watch.readiness, watch.was_ready) if watch is not None else None

    def rest(self, slot: str) -> None:
        """Ask nothing until `ask`: one that is falling asleep, or waking, may say too early that it is."""
        watch = self._watches.get(slot)
        if watch is not None:
            watch.rest()

    async def ask(self, slot: str) -> None:
        """Find out now whether an instance sleeps; returns when it is known, or known not to be told."""
        watch = self._watches.get(slot)
        if watch is not None:
            await watch.find_out()

    def ready_for(self, slot: str, run: int) -> float | None:
        """Seconds a run that ended had been ready; None where it never was, or that is not known."""
        ended = self._ended.get(slot)
        return ended.ready_for if ended is not None and ended.run == run else None


class _Watch:
    """One run of an instance: its timers, its questions under way, and what they came to."""

    __slots__ = (
        "_asked_at",
        "_asking",
        "_asleep",
        "_closed",
        "_delay",
        "_found_out",
        "_generating",
        "_generation_timer",
        "_prober",
        "_published",
        "_ready_before",
        "_request",
        "_since",
        "_sleeper",
        "_timer",
        "_verified",
        "not_generated",
        "pid",
        "port",
        "probe",
        "readiness",
        "run",
        "slot",
        "unanswered",
        "was_ready",
    )

    def __init__(self, prober: Prober, launch: Launch, phase: Running) -> None:
        self._prober = prober
        self.slot, self.run, self.pid, self.port, self.probe = (
            launch.slot,
            launch.run,
            phase.pid,
            launch.port,
            launch.probe,
        )
        self.readiness: Readiness = phase.readiness
        self._sleeper = launch.sleeper
        self._asleep: bool | None = None if launch.sleeper is not None else False
        """Whether it sleeps; None where that is not known."""
        self._since: float | None = None
        """Since when it was ready when we found it."""
        self._found_out: list[asyncio.Future[None]] = []
        self.was_ready = phase.was_ready or isinstance(phase.readiness, Ready)
        self._closed = False
        self._ready_before = 0.0
        self._delay = _FIRST
        self._verified = False
        """Whether what listens on its port was seen to be its own."""
        self._published = launch.container is not None
        """Whether the container engine holds the port for it, and would not have started it without."""
        self.unanswered = self.not_generated = 0
        """Failures in a row: of probes, of tiny requests."""
        self._asked_at = 0.0
        self._asking: Question | None = None
        self._generating: Question | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._generation_timer: asyncio.TimerHandle | None = None
        self._request: bytes | None = None
        if self._sleeper is not None and isinstance(phase.readiness, Ready):
            self._since, self.readiness = phase.readiness.since, Unknown(reason="not asked yet whether it sleeps")
        self._begin()
        if self.port is None and not isinstance(self.readiness, Ready):
            # nothing to ask: it is ready as long as it runs
            self.readiness, self.was_ready = Ready(since=prober.clock()), True

    def renew(self, probe: Probe) -> None:
        """Go on with other settings, and ask at once."""
        self.probe = probe
        self._drop()
        self._begin()

    def _begin(self) -> None:
        if self.port is not None:
            self._request = get(self.probe.path, self.port) if self.probe.path is not None else None
            self._ask_in(0.0)
            self._generate_in(self.probe.inference)

    def close(self) -> None:
        """Ask nothing more."""
        self._closed = True
        self._drop()

    def rest(self) -> None:
        """Ask nothing until `find_out`."""
        if self._sleeper is not None:
            self._drop()

    def _drop(self) -> None:
        for pending in (self._timer, self._generation_timer, self._asking, self._generating):
            if pending is not None:
                pending.cancel()
        self._timer = self._generation_timer = self._asking = self._generating = None
        for waiting in self._found_out:
            if not waiting.done():
                waiting.set_result(None)
        self._found_out.clear()

    def ready_for(self) -> float | None:
        """Seconds it has been ready in this run, all times together."""
        if not self.was_ready:
            return None
        since = self.readiness.since if isinstance(self.readiness, Ready) else self._prober.clock()
        return self._ready_before + self._prober.clock() - since

    def _ask_in(self, seconds: float) -> None:
        if not self._closed:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._ask)

    def _until_next(self) -> float:
        """Seconds to its next turn. Turns of one interval are taken together: half of what they cost is waking up."""
        tick, now = self.probe.interval / _TURNS, self._prober.clock()
        return max(0.0, ceil((self._asked_at + self.probe.interval) / tick - 0.5) * tick - now)

    def _ask(self) -> None:
        port = self.port
        if port is None:
            return
        self._asked_at = self._prober.clock()
        if self._asleep:
            self._ask_asleep(port, self._sleeper)  # as it sleeps, what it serves proves nothing
        else:
            self._asking = Question(port, self._request, self.probe.timeout, self._answered)

    def _ask_asleep(self, port: int, sleeper: Sleeper | None) -> None:
        if sleeper is not None:
            self._asking = Question(port, get(sleeper.asleep, port), self.probe.timeout, self._told)

    async def find_out(self) -> None:
        """Ask at once whether it sleeps, and wait until that is settled."""
        if self._sleeper is None or self.port is None or self._closed:
            return
        found = asyncio.get_running_loop().create_future()
        self._drop()
        self._found_out.append(found)
        self._asleep = None
        self._ask_in(0.0)
        self._generate_in(self.probe.inference)
        await found

    def _answered(self, answer: Answer) -> None:
        self._asking = None
        if answer.late:
            self._ask_in(_AGAIN)
            return
        good, detail, reason = answer.good, answer.detail, Reason.ProbeFailing
        if not answer.connected:
            self._verified = False
        elif not self._verified and not self._published:
            good, detail, reason = self._verify(good, detail)
        self.unanswered = 0 if good else self.unanswered + 1
        if good and self._sleeper is not None and self.port is not None:
            self._ask_asleep(self.port, self._sleeper)
        else:
            self._conclude(detail, reason)

    def _told(self, answer: Answer) -> None:
        """Whether it sleeps. One that is known to be awake stays so where there is no answer: it may be busy."""
        self._asking = None
        if answer.late:
            self._ask_in(_AGAIN)
            return
        if not answer.connected:
            self._verified = False
        told = self._sleeper.told(first_object(answer.body) or {}) if self._sleeper is not None else None
        if told is not None:
            self._asleep = told
        elif answer.status == _NO_SUCH_PATH:
            self._asleep = False  # it cannot be put to sleep at all
        elif self._asleep:
            self._asleep = None
        self._conclude(f"cannot tell whether it sleeps: {answer.detail or 'an answer without it'}", Reason.ProbeFailing)

    def _conclude(self, detail: str, reason: Reason) -> None:
        self._settle(detail, reason)
        for waiting in self._found_out:
            if not waiting.done():
                waiting.set_result(None)
        self._found_out.clear()
        if isinstance(self.readiness, NotReady):
            self._ask_in(self._delay)
            self._delay = min(self._delay * _GROWTH, _LONGEST, self.probe.interval)
        else:
            self._ask_in(self._until_next())

    def _verify(self, good: bool, detail: str) -> tuple[bool, str, Reason]:
        """What an answer is worth, by who listens there: a stranger on the port may answer as well as ours."""
        who = self._prober.stranger(self.port or 0, self.pid)
        if isinstance(who, str):
            return False, f"port {self.port} is held by {who}", Reason.PortTaken
        if isinstance(who, Unknown):
            return False, f"cannot tell who listens on port {self.port}: {who.reason}", Reason.ProbeFailing
        self._verified = True
        return good, detail, Reason.ProbeFailing

    def _generate_in(self, seconds: float | None) -> None:
        if seconds is not None and not self._closed:
            self._generation_timer = asyncio.get_running_loop().call_later(seconds, self._generate)

    def _generate(self) -> None:
        allowed, tiny, port = self.probe.inference, self.probe.tiny, self.port
        if allowed is None or tiny is None or port is None:
            return
        if not self.was_ready or self.unanswered or self._asleep is not False:
            # it sleeps, or does not even answer its probe: that is being dealt with
            self._generate_in(min(allowed, self.probe.interval))
            return
        self._generating = Question(port, post(tiny.path, port, dict(tiny.body)), tiny.within, self._generated)

    def _generated(self, answer: Answer) -> None:
        self._generating = None
        allowed = self.probe.inference or 0.0
        if answer.late:
            self._generate_in(_AGAIN)
            return
        self.not_generated = 0 if answer.good else self.not_generated + 1
        self._settle(f"a tiny request got {answer.detail}", Reason.ProbeFailing)
        self._generate_in(allowed if answer.good else min(allowed, self.probe.interval))

    def _settle(self, detail: str, reason: Reason) -> None:
        """Draw the conclusion, and tell whom it concerns if it is another than before."""
        before, now = self.readiness, self._prober.clock()
        failures = max(self.unanswered, self.not_generated)
        after: Readiness
        if self._asleep:
            after = before if isinstance(before, Asleep) else Asleep(since=now)
            self._since, self.not_generated = None, 0
        elif self._asleep is None and self.was_ready and failures < max(self.probe.failures, _DOUBTS):
            after = Unknown(reason=detail)
        elif failures == 0 and self._asleep is False:
            if isinstance(before, Ready):
                return
            woken = isinstance(before, Asleep | Unknown) and self.was_ready
            after = Ready(since=now if self._since is None else self._since, woken=woken)
            self.was_ready, self._since = True, None
        elif self.was_ready:
            if failures == getattr(before, "failures", 0):
                return
            after = Failing(
                since=before.since if isinstance(before, Failing) else now, failures=failures, detail=detail
            )
        else:
            after = NotReady(detail=detail, reason=reason)
        if after != before:
            if isinstance(before, Ready):
                self._ready_before += now - before.since
            self.readiness = after
            self._prober.on_change(self.slot)
