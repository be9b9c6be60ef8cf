"""The runs of which something is kept, and how each ended: written down beside their logs, and kept as long as those.

For people: nothing is decided by it, and a disk that takes nothing costs the note alone.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from reconciler.act import logfile, record
from reconciler.model.answers import Run
from reconciler.model.observation import Exited, Instance, Phase, Recorded, Running, Stopping, Unknown
from reconciler.model.slots import split_slot
from reconciler.plan.words import ended

_FILE = "endings.json"
_UNKNOWN = "how it ended is not known"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How one run ended; times by the wall clock, seconds since the epoch."""

    began: float | None
    ended: float
    outcome: str


_ENDINGS = TypeAdapter(dict[int, Ending])


class Runs:
    """Those of a state directory."""

    def __init__(
        self, state: str, *, clock: Callable[[], float] = time.monotonic, today: Callable[[], float] = time.time
    ) -> None:
        """`clock`: that of phases, seconds of CLOCK_MONOTONIC; `today`: seconds since the epoch."""
        self._logs = os.path.join(state, "logs")
        self._clock, self._today = clock, today
        self._noted: dict[str, tuple[int, Exited]] = {}

    def note(self, instance: Instance) -> None:
        """Write down how its run ended, if it did, once."""
        phase, run = instance.phase, instance.launch.run
        if not isinstance(phase, Exited) or self._noted.get(instance.slot) == (run, phase):
            return
        self._noted[instance.slot] = (run, phase)
        directory = self._directory(instance.slot)
        endings, outcome = _read(directory), ended(phase)
        if run in endings and endings[run].outcome == outcome:
            return  # by an earlier daemon, which was nearer to it
        began = self._at(phase.began) if phase.began is not None else None
        endings[run] = Ending(began=began, ended=self._at(phase.at), outcome=outcome)
        with contextlib.suppress(OSError):
            kept = {number for number, _ in logfile.pieces(directory)}
            _write(directory, {number: each for number, each in sorted(endings.items()) if number in {*kept, run}})

    def of(self, name: str, instances: Mapping[str, Instance]) -> tuple[Run, ...]:
        """All of a workload's, by slot, the newest first. `instances`: what there is of it now. Reads the disk."""
        slots = {slot for slot in (*self._slots(), *instances) if split_slot(slot)[0] == name}
        return tuple(run for slot in sorted(slots, key=split_slot) for run in self._of(slot, instances.get(slot)))

    def newest(self, slot: str) -> int:
        """The last run of which something is kept, 0 where there is none. Reads the disk."""
        directory = self._directory(slot)
        return max(*_sizes(directory), *_read(directory), 0, 0)

    def _of(self, slot: str, instance: Instance | None) -> Iterable[Run]:
        directory = self._directory(slot)
        sizes = _sizes(directory)
        endings, first = _read(directory), logfile.first_failure(directory)
        newest = instance.launch.run if instance is not None else 0
        for number in sorted(sizes.keys() | ({newest} if newest else set[int]()), reverse=True):
            phase = instance.phase if instance is not None and number == newest else None
            began, over, outcome = self._told(phase, endings.get(number))
            yield Run(
                slot=slot,
                run=number,
                began=began,
                ended=over,
                outcome=outcome,
                first_failure=number == first,
                size=sizes.get(number, 0),
            )

    def _told(self, phase: Phase | None, ending: Ending | None) -> tuple[float | None, float | None, str]:
        """When it began and ended, and how. `phase`: of the newest run."""
        match phase:
            case Running():
                return self._at(phase.since), None, "runs"
            case Stopping():
                return None, None, "is being stopped"
            case Recorded():
                return None, None, "is about to be started"
            case Unknown():
                return None, None, f"cannot be seen: {phase.reason}"
            case _ if ending is not None:
                return ending.began, ending.ended, ending.outcome
            case Exited():
                return None, self._at(phase.at), ended(phase)
            case None:
                return None, None, _UNKNOWN

    def _at(self, moment: float) -> float:
        """Seconds since the epoch."""
        return self._today() - (self._clock() - moment)

    def _slots(self) -> Iterable[str]:
        """Those that have logs."""
        with contextlib.suppress(OSError):
            for entry in os.listdir(self._logs):
                if (slot := record.slot_of(entry)) is not None:
                    yield slot

    def _directory(self, slot: str) -> str:
        return os.path.join(self._logs, record.folder(slot))


def _sizes(directory: str) -> dict[int, int]:
    """Bytes of each run's log."""
    sizes: dict[int, int] = {}
    with contextlib.suppress(OSError):
        for run, piece in logfile.pieces(directory):
            with contextlib.suppress(FileNotFoundError):  # it went while it was looked at
                sizes[run] = sizes.get(run, 0) + os.stat(f"{directory}/{run}.{piece}.log").st_size
    return sizes


def _read(directory: str) -> dict[int, Ending]:
    try:
        with open(f"{directory}/{_FILE}", "rb") as file:
            return _ENDINGS.validate_json(file.read())
    except (OSError, ValidationError):
        return {}


def _write(directory: str, endings: Mapping[int, Ending]) -> None:
    beside = f"{directory}/.{_FILE}"
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(_ENDINGS.dump_json(dict(endings)))
    os.rename(beside, f"{directory}/{_FILE}")
