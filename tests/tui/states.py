"""How workloads do, in all the ways that there are: each as the daemon tells of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from reconciler.model.status import Condition, Reason, Replica

GIB = 2**30
NOW = 500_000.0
"""CLOCK_MONOTONIC of every machine at tick 0."""
STATES = (
    *("ready", "ready", "pair", "ready", "starting", "ready", "backing off", "blocked", "ready", "asleep"),
    *("fetching", "ready", "paused", "rolling", "ready", "stopped", "ready", "draining", "unknown", "failing"),
)
"""How the first twenty models of a fleet do; the next twenty again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """Where a replica is, or would be."""

    name: str
    index: int
    gpus: tuple[int, ...]
    memory: int
    number: int
    """Of all replicas: ports and pids come of it."""

    def replica(self, state: Any, *, ago: float = 4000.0, **more: Any) -> Replica:
        """It, in that state for so many seconds."""
        given: dict[str, Any] = {
            "run": 1,
            "pid": 40_000 + self.number,
            "port": 9000 + self.number,
            "gpus": self.gpus,
            "memory": self.memory if self.gpus else None,
            "host": 3 * GIB,
            "basis": ("measured", "declared", "estimated")[self.number % 3] if self.gpus else "",
            "since": NOW - ago - self.number * 37,
        }
        return Replica(slot=f"{self.name}/{self.index}", state=state, **known(Replica, given | more))


def known(kind: type[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    there = {field.name for field in fields(kind)}
    return {key: value for key, value in given.items() if key in there}


def _conditions(
    ready: Reason, text: str, *, yes: bool | None = False, moving: Reason | None = None, stalled: Reason | None = None
) -> tuple[Condition, Condition, Condition]:
    told = "Unknown" if yes is None else "True" if yes else "False"
    return (
        Condition(type="Ready", status=told, reason=ready, message=text),
        Condition(
            type="Reconciling",
            status="True" if moving else "False",
            reason=moving or Reason.Converged,
            message=text if moving else "",
        ),
        Condition(
            type="Stalled",
            status="True" if stalled else "False",
            reason=stalled or Reason.Converged,
            message=text if stalled else "",
        ),
    )


OOM = (
    "CUDA out of memory. Tried to allocate 2.10 GiB. GPU 3 has a total capacity of 79.10 GiB of which 1.45 GiB is free"
)
NO_ROOM = (
    "needs 44.0 GiB on each of 2 gpus; gpu 0: 9.1 GiB free, llama-3.3-70b/0 holds 70.9; gpu 1: 12.4 GiB free; "
    "gpu 2: 31.0 GiB free, pid 7714 python holds 38.2; gpu 5 is cordoned; make its memory smaller, or lower its rank"
)
_FETCHING = "fetching hf:Qwen/Qwen3-Coder-30B-A3B-Instruct, 12.4 of 56.9 GiB"
NOT_HELD = ("backing off", "blocked", "fetching", "stopped", "paused")
"""States in which nothing of it runs."""


def how(state: str, name: str, seats: Sequence[Seat]) -> dict[str, Any]:
    """What of a row says that it does so."""
    first = seats[0]
    here = tuple(seat.replica("ready") for seat in seats)
    serving: dict[str, Any] = {
        "replicas": here,
        "conditions": _conditions(Reason.Ready, f"{len(here)} of {len(here)} ready", yes=True),
    }
    gone = tuple(Replica(slot=f"{name}/{seat.index}", state="absent") for seat in seats)
    backing = f"{first.name}/0 {OOM}; the 4th failure in a row, starts again in 38 s"
    told: dict[str, Any]
    match state:
        case "starting":
            told = {
                "replicas": (first.replica("starting", ago=21.0, run=2, detail="loads: 9 of 17 shards"),),
                "conditions": _conditions(Reason.Starting, f"{name}/0 loads: 9 of 17 shards", moving=Reason.Starting),
            }
        case "backing off":
            told = {
                "replicas": (first.replica("exited", ago=22.0, run=5, pid=None, restarts=4, detail=OOM),),
                "conditions": _conditions(Reason.BackingOff, backing, stalled=Reason.BackingOff),
            }
        case "blocked":
            told = {
                "replicas": gone,
                "conditions": _conditions(Reason.NoFreeMemory, NO_ROOM, stalled=Reason.NoFreeMemory),
            }
        case "asleep":
            told = {
                "wanted": 0,
                "replicas": (first.replica("asleep", memory=GIB),),
                "conditions": _conditions(Reason.Asleep, "0 of 0 ready, 1 asleep", yes=True),
            }
        case "fetching":
            told = {
                "replicas": gone,
                "conditions": _conditions(Reason.Fetching, _FETCHING, moving=Reason.Fetching),
            }
        case "paused":
            told = {
                "replicas": gone,
                "paused": True,
                "note": f"paused by command; `holdfast resume {name}` goes on",
                "conditions": _conditions(Reason.Paused, "paused"),
            }
        case "stopped":
            told = {
                "wanted": 0,
                "replicas": (),
                "note": f"stopped by command; `holdfast resume {name}` starts it again",
                "conditions": _conditions(Reason.StopAsked, "0 of 0 ready", yes=True),
            }
        case "draining":
            told = {
                "wanted": 0,
                "replicas": (first.replica("draining", ago=3.0),),
                "conditions": _conditions(Reason.Idle, "0 of 0 ready", yes=True, moving=Reason.Draining),
            }
        case "rolling":
            told = {
                "wanted": 2,
                "replicas": (seats[0].replica("ready", ago=8000.0), seats[-1].replica("starting", ago=12.0, run=3)),
                "conditions": _conditions(
                    Reason.SpecChanged, f"{name}/1 context 16384 → 32768", moving=Reason.SpecChanged
                ),
            }
        case "unknown":
            told = {
                "replicas": (first.replica("unknown", detail="its keeper does not answer"),),
                "conditions": _conditions(Reason.Unknown, f"{name}/0 its keeper does not answer", yes=None),
            }
        case "failing":
            told = {
                "replicas": (first.replica("failing", ago=31.0, detail="3 failed probes: no answer within 3 s"),),
                "conditions": _conditions(Reason.ProbeFailing, f"{name}/0 3 failed probes: no answer within 3 s"),
            }
        case _:
            told = serving
    return {"wanted": len(seats), "paused": False, **told}
