"""What the table of the fleet says of one workload: its cells, and by what it is ordered, grouped and found."""

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.model.routing import Traffic, Wanted
from reconciler.model.status import WorkloadStatus
from tui.view.clean import line
from tui.view.grid import Column
from tui.view.paint import Cell, Style, rate, size, span
from tui.view.status import explained, ready_count, state, why
from tui.view.world import Machine, Row

COLUMNS = (
    Column(title="NAME", least=17, most=40),
    Column(title="MACHINE", rank=1, least=6, most=16),
    Column(title="STATE", least=14, most=16),
    Column(title="READY", least=5, most=7, right=True),
    Column(title="GPU", rank=3, least=3, most=9),
    Column(title="REQ/S", rank=2, least=6, most=6, right=True),
    Column(title="TOK/S", rank=4, least=5, most=5, right=True),
    Column(title="QUEUE", rank=5, least=5, most=5, right=True),
    Column(title="MEMORY", rank=6, least=7, most=7, right=True),
    Column(title="AGE", rank=7, least=5, most=6, right=True),
    Column(title="RESTARTS", rank=9, least=8, most=8, right=True),
    Column(title="ENGINE", rank=8, least=8, most=12),
    Column(title="PORT", rank=10, least=9, most=14),
)
"""In the order in which they stand."""
_REASON = 1000
"""Characters of a reason that are shown."""
_QUIET = Wanted()
_RANKS: Mapping[Style, int] = {"bad": 0, "busy": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lasting:
    """What stays until its status is another one."""

    cells: Mapping[str, Cell]
    """By title of the column; of what is missing there is nothing to say."""
    rank: int
    """How much it is in need of a person: 0 most."""
    word: str
    """How it does."""
    why: str
    explained: str
    """The same for who points at it."""
    memory: int
    """Bytes that it takes, all its instances together."""
    restarts: int
    since: float | None
    text: str
    """What a filter is looked for in, in lower case."""


def lasting(row: Row) -> Lasting:
    """Of that status."""
    workload = row.workload
    how, told = state(workload), line(why(workload)[:_REASON])
    name, engine = line(workload.name) or "?", line(workload.engine)
    indices = sorted({index for replica in workload.replicas for index in replica.gpus})
    ports = sorted({replica.port for replica in workload.replicas if replica.port is not None})
    restarts = sum(replica.restarts for replica in workload.replicas)
    ages = [(replica.state == "ready", replica.since) for replica in workload.replicas if replica.since is not None]
    serving = [since for ready, since in ages if ready]
    memory, text = _memory(workload)
    cells = {
        "NAME": Cell(text=name, style="" if workload.wanted else "dim"),
        "MACHINE": Cell(text=line(row.machine.title), style="dim"),
        "STATE": Cell(text=str(how), style=how.style),
        "READY": Cell(text=f"{ready_count(workload)}/{workload.wanted}", style="" if workload.ready else how.style),
        "GPU": Cell(text=spread(indices)),
        "MEMORY": Cell(text=text),
        "RESTARTS": Cell(text=str(restarts), style="busy") if restarts > 0 else Cell(text="0", style="dim"),
        "ENGINE": Cell(text=engine, style="dim"),
        "PORT": Cell(text=spread(ports), style="dim"),
    }
    labels = " ".join(f"{key}={value}" for key, value in workload.labels.items())
    return Lasting(
        cells=cells,
        rank=_RANKS.get(how.style, 2),
        word=how.word,
        why=told,
        explained=line(explained(workload)[:_REASON]),
        memory=memory,
        restarts=restarts,
        since=min(serving) if serving else max((since for _, since in ages), default=None),
        text=f"{name} {how.word} {engine} {line(row.machine.title)} {line(labels)} {told}".lower(),
    )


def figures(wanted: Wanted | None, *, served: bool) -> tuple[Cell, Cell, Cell]:
    """Requests and tokens in a second, and how many wait; blank where nobody counts them. `▲`: some of them fail."""
    if wanted is None and not served:
        return Cell(text=""), Cell(text=""), Cell(text="")
    wanted = wanted or _QUIET
    traffic = wanted.traffic or Traffic()
    failing = traffic.errors > 0
    return (
        Cell(
            text=("▲" if failing else "") + _some(traffic.requests),
            style="bad" if failing else "" if traffic.requests else "dim",
        ),
        Cell(text=_some(traffic.tokens), style="" if traffic.tokens else "dim"),
        Cell(text=str(wanted.waiting), style="busy" if wanted.waiting else "dim"),
    )


def _some(each_second: float) -> str:
    return rate(each_second) if each_second else "0"


def age(kept: Lasting, now: float) -> str:
    """Since when the youngest of its instances is as it is."""
    return span(now - kept.since) if kept.since is not None else ""


def moment(machine: Machine) -> float:
    """When what is known of a machine was so, by its own clock."""
    now = machine.status.now if machine.status is not None else 0.0
    return max(now, machine.live.now) if machine.live is not None else now


def traffic(machine: Machine) -> Mapping[str, Wanted]:
    """What clients want and do there, as it was told last."""
    if machine.live is not None:
        return machine.live.traffic
    return machine.status.traffic if machine.status is not None else {}


def spread(numbers: list[int]) -> str:
    """`0-3,6`."""
    parts: list[str] = []
    first = last = None
    for number in [*numbers, None]:
        if first is not None and last is not None and number != last + 1:
            parts.append(str(first) if first == last else f"{first}{',' if last == first + 1 else '-'}{last}")
            first = None
        first = number if first is None else first
        last = number
    return ",".join(parts)


def _memory(workload: WorkloadStatus) -> tuple[int, str]:
    """Bytes, and how they are shown: `~` where some were only estimated."""
    total, known = 0, True
    for replica in workload.replicas:
        taken = replica.memory * len(replica.gpus) if replica.memory is not None and replica.gpus else 0
        taken = taken or (replica.host if replica.pid is not None else 0)
        total += taken
        known = known and not (taken and replica.basis == "estimated")
    return total, ("" if known else "~") + size(total) if total else ""
