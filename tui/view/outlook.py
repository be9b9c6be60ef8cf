"""What a plan comes to, for people: text, Markdown and JSON all say this, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from reconciler.model.container import RuntimeName
from reconciler.model.source import Problem, Revision
from reconciler.model.status import Reason
from tui.view.clean import line

if TYPE_CHECKING:
    from reconciler.model.plan import Basis, Plan

Mark = Literal["+", "±", "~", "!", "-"]
Verb = Literal[
    "start",
    "surge",
    "replace",
    "restart",
    "move",
    "stop",
    "sleep",
    "wake",
    "live",
    "drain",
    "forget",
    "fetch",
    "cancel",
    "blocked",
    "paused",
]
"""`surge`: it runs only while others of its workload are replaced."""
Downtime = Literal["none", "loading", "ended"]


def spans(indices: Sequence[int]) -> str:
    """0, 1, 2, 5, 6 → `0-2,5,6`."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and index == runs[-1][-1] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs)


def each_gpu(what: str) -> list[str]:
    """`needs …; gpu 0: a; gpu 1-3: b` → what is needed, then what stands in the way on each."""
    return re.split("; (?=(?:[a-z0-9-]+ )?gpu [0-9,-]+: )", what)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an instance runs."""

    engine: str
    runtime: RuntimeName = "process"
    """What it runs under."""
    node: str = ""
    """Its machine, where it is another than the first."""
    gpus: tuple[int, ...]
    """Indices; none on the CPU."""
    memory: int | None
    """Bytes on each of its GPUs; null: it takes them whole."""
    host: int
    """Bytes of host memory promised; 0 where that is not known."""
    port: int | None

    def __str__(self) -> str:
        under = " under systemd" if self.runtime == "systemd" else ""
        return f"{line(self.engine)}{under} on {self.where}" + (f", port {self.port}" if self.port is not None else "")

    @property
    def where(self) -> str:
        """`gpu 0,2`, `gpu 0-3`, or `cpu`; of another machine `box2 gpu 0`."""
        return f"{line(self.node)} {f'gpu {spans(self.gpus)}' if self.gpus else 'cpu'}".lstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Everything that happens to one slot, over all passes, or to one workload's live settings."""

    mark: Mark
    """`+` starts, `±` is replaced, `~` changes without a restart, `-` ends, `!` is blocked or paused."""
    subject: str
    """A slot (`chat/0`), or a workload's name."""
    verb: Verb
    reason: Reason
    what: str
    """Which fields change, as `context 8192 → 16384`; where it starts; why it is blocked."""
    note: str = ""
    """What it costs: why it starts, whether others serve meanwhile, how long it drains."""
    downtime: Downtime = "none"
    """`loading`: no instance of the workload answers until this one has loaded; `ended`: this one is not replaced."""
    before: Place | None = None
    """Where it runs now; null where it does not."""
    after: Place | None = None
    """Where it will run; null where it will not, or where nothing can be said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """Somebody's part of one GPU, or of a machine's own memory."""

    holder: str
    """A slot, `pid 4242 python` for a stranger, or `others` for what the driver attributes to nobody."""
    ours: bool
    memory: int
    """Bytes: promised, or held by a stranger."""
    whole: bool = False
    """Whether it takes all that strangers leave, however much it needs."""
    basis: Basis | None = None
    """How the figure of one of ours is known."""
    within: float | None = None
    """How far an estimate may be off, as a share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One GPU, or a machine's own memory, at one time."""

    used: int
    """Bytes."""
    holdings: tuple[Holding, ...]
    """Ours by slot, then others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuOutlook:
    """One GPU, before and after."""

    node: str = ""
    """Its machine, where it is another than the first."""
    index: int
    uuid: str
    model: str
    memory: int
    """Bytes in all."""
    cordoned: str = ""
    """Why nothing may run on it; empty where it is well."""
    before: Moment
    after: Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class HostOutlook:
    """A machine's own memory, before and after."""

    node: str = ""
    """The machine, where it is another than the first."""
    memory: int
    """Bytes in all."""
    before: Moment
    after: Moment
    tight: bool
    """Whether text and Markdown show it: somebody waits for it, or more than half of it is ours after."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """The git revision that the machine is taken to run now."""

    name: str
    """As it was typed."""
    commit: str
    """Its full hash."""
    problems: tuple[Problem, ...] = ()
    """What is wrong in its files; what they declare there is taken not to run."""

    def __str__(self) -> str:
        short = self.commit[:7]
        return short if self.commit.startswith(self.name) else f"{line(self.name)} ({short})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What would happen, and why."""

    root: str
    """The fleet's directory, as it was named."""
    revision: Revision | None
    """Its commit; null outside of git."""
    against: Against | None
    """Of `--against`."""
    machine: str | None
    """The node of `--inventory`; null for this machine."""
    models: int
    """Models that are declared."""
    services: int
    """Services that are declared."""
    changes: tuple[Change, ...]
    """In the order in which they begin; then what is blocked in the end."""
    gpus: tuple[GpuOutlook, ...]
    """Sorted by index."""
    hosts: tuple[HostOutlook, ...]
    """Machines whose memory is known, the first one first."""
    unseen: str | None
    """Why the GPUs or the instances cannot be seen; then `gpus` and `hosts` are empty."""
    paused: bool
    """Whether the fleet is paused as a whole: then this is what would happen once it is resumed."""
    missing: str | None
    """Why the directory as a whole cannot be believed."""
    problems: tuple[Problem, ...]
    """What is wrong in the files."""
    passes: tuple[Plan, ...]
    """The whole road: what each pass of the planner starts, until nothing is left to do."""

    @property
    def standing(self) -> str:
        """That nothing of it is done now, in words; empty where it is."""
        return "the fleet is paused: this is what `holdfast resume` would do" if self.paused else ""

    @property
    def changing(self) -> int:
        """How many slots or workloads something is done to."""
        return sum(change.mark != "!" for change in self.changes)
