"""A slot whose instance somebody else keeps, the container engine or the system manager: what is recorded of it.

`<state>/<where>/chat.0/` holds launch.json, written before anything is asked, and run.json, what became of it. What the
keeper says is believed; what it does not say is Unknown, as long as anything may run.
"""

import asyncio
import contextlib
import os
import shutil
from collections.abc import Callable, Mapping

from reconciler.act import logfile, phases, record, runfile
from reconciler.act.record import BrokenRecordError, Record
from reconciler.model.observation import Instance, Unknown
from reconciler.model.plan import Launch, Probe, Strikes
from reconciler.model.status import Reason

_BLAME = 10.0
"""Seconds for which what somebody else did explains an end, as Docker kills what has not ended by then."""
_FAILED = (None, Reason.NeverReady.value, Reason.ProbeFailing.value)


class Kept:
    """One slot. `instance` is None where nothing is recorded."""

    def __init__(
        self,
        name: str,
        state: str,
        where: str,
        *,
        on_change: Callable[[str], None],
        clock: Callable[[], float],
        boot: str,
    ) -> None:
        """`boot`: identity of this boot of the machine, or of what keeps it: nothing runs that began in another."""
        self.name = name
        self.path = f"{state}/{where}/{record.folder(name)}"
        self.logs = f"{state}/logs/{record.folder(name)}"
        self.instance: Instance | None = None
        self.record: Record | None = None
        self.run = runfile.Run()
        self.lock = asyncio.Lock()
        """Held while it is started or forgotten."""
        self.blank = False
        """Whether what is recorded is nothing at all: a start that was cut off, or a machine that was."""
        self._blamed: tuple[float, str] | None = None
        self.secrets: tuple[str, ...] | None = None
        """Those of its run; None where they are not known any more."""
        self.clock, self.boot = clock, boot
        self._on_change = on_change
        self.unseen: str | None = None
        """Why it cannot be seen now."""
        self._broken: str | None = None

    # -- what is recorded

    def read(self) -> None:
        """Take up what is on disk."""
        try:
            self.record, self._broken, self.blank = record.read(self.path), None, False
            run = None
            with contextlib.suppress(FileNotFoundError):
                run = runfile.read(f"{self.path}/run.json")
            self.run = run or runfile.Run()
        except (BrokenRecordError, OSError) as error:
            self._broken, self.blank = str(error), isinstance(error, BrokenRecordError) and error.empty
        if self.record is None and self._broken is None:
            shutil.rmtree(self.path, ignore_errors=True)  # a start that was cut off before it recorded anything
        self.refresh()

    def write(self, new: Record) -> None:
        """Record a launch. OSError."""
        os.makedirs(self.path, mode=0o700, exist_ok=True)
        record.rewrite(self.path, new)
        self.record, self._broken, self.blank = new, None, False
        self.refresh()

    def update(self, launch: Launch) -> None:
        """Record new live settings with the run that is there. OSError."""
        known = self.record
        if known is None:
            return
        self.write(Record(token=known.token, boot=known.boot, launch=launch))
        if known.launch.strikes != Strikes() and launch.strikes == Strikes():
            logfile.unmark_first_failure(self.logs)

    def save(self) -> None:
        """Write down how the run stands. A disk that takes nothing costs what only we know, and no engine."""
        with contextlib.suppress(OSError):
            descriptor = os.open(f"{self.path}/run.json", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                runfile.write(descriptor, self.run)
            finally:
                os.close(descriptor)

    def erase(self) -> None:
        """Nothing is recorded any more. OSError."""
        shutil.rmtree(self.path)
        self.record, self.run = None, runfile.Run()
        self._broken, self.blank = None, False
        self.refresh()

    # -- what is seen

    @property
    def pending(self) -> bool:
        """Whether anything of the recorded run may be there that is not known to have ended."""
        return self.record is not None and self.run.active

    @property
    def foreign(self) -> str:
        """What somebody else has just had done with it, in words."""
        return self._blamed[1] if self._blamed is not None and self.clock() < self._blamed[0] + _BLAME else ""

    def blame(self, text: str) -> None:
        """Somebody else had this done with it."""
        self._blamed = self.clock(), text

    def begin(self, secrets: Mapping[str, str]) -> None:
        """From now on it may run."""
        if self.record is None:
            return
        run = self.run = runfile.Run()
        run.run, run.token, run.boot = self.record.launch.run, self.record.token, self.boot
        run.phase, run.began = runfile.STARTING, self.clock()
        self._blamed = None
        self.secrets = tuple(value for value in secrets.values() if value)
        self.save()

    def retract(self) -> None:
        """It was not started after all."""
        self.run = runfile.Run()
        self.save()
        self.refresh()

    def asked(self, reason: Reason) -> None:
        """It is to end."""
        if self.run.phase != runfile.STOPPING:
            self.run.phase, self.run.asked, self.run.stopped = runfile.STOPPING, reason.value, self.clock()
            self.save()
        self.refresh()

    def hide(self, reason: str | None) -> None:
        """As long as there is a reason it cannot be seen."""
        self.unseen = reason
        self.refresh()

    def settle(
        self, *, detail: str, asked: Reason | None = None, at: float | None = None, code: int | None = None
    ) -> None:
        """The run is over."""
        run = self.run
        run.phase, run.detail = runfile.EXITED, detail
        run.code = run.code if code is None else code
        run.ended = self.clock() if at is None else at
        run.asked = run.asked or (asked.value if asked is not None else None)
        run.ready_before, run.ready_since = run.ready_for(run.ended), None
        if self.record is not None and run.asked in _FAILED and self.record.launch.strikes == Strikes():
            logfile.mark_first_failure(self.logs, run.run)
        self.save()
        self.refresh()

    @property
    def quotable(self) -> bool:
        """Whether all secrets that it may have said are known, so that none is told."""
        secretive = self.record is not None and any(
            not isinstance(value, str) for value in self.record.launch.env.values()
        )
        return self.secrets is not None or not secretive

    def note(self, since: float | None) -> None:
        """Remember since when it answers; None: it no longer does."""
        run = self.run
        if not run.active:
            return
        if since is None:
            run.ready_before, run.ready_since = run.ready_for(self.clock()), None
        elif run.ready_since is None:
            run.ready_since = since
        self.save()

    def refresh(self) -> None:
        """Make the instance anew; the same object where nothing changed."""
        new = self._compose()
        if new != self.instance:
            self.instance = new
            self._on_change(self.name)

    def _compose(self) -> Instance | None:
        if self._broken is not None:
            return Instance(slot=self.name, launch=_nothing_known(self.name), phase=Unknown(reason=self._broken))
        if self.record is None:
            return None
        launch = self.record.launch
        if self.unseen is not None and self.run.active:
            return Instance(slot=self.name, launch=launch, phase=Unknown(reason=self.unseen))
        return Instance(slot=self.name, launch=launch, phase=phases.phase_of(launch, self.run))


def _nothing_known(slot: str) -> Launch:
    """Stands in where a record cannot be read."""
    probe = Probe(path=None, interval=5.0, timeout=3.0, failures=3, start=300.0)
    return Launch(slot=slot, run=0, source="", engine="", argv=(), probe=probe, fingerprint="", live="", settings="")
