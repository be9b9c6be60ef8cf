"""What one workload does: its replicas, why they do so, what clients and its engine do, what it said last."""

from collections.abc import Iterator, Sequence
from datetime import tzinfo

from reconciler.model.metrics import ReplicaMetrics
from reconciler.model.routing import Traffic, Wanted
from reconciler.model.status import Condition, Event, Reason, Replica, ReplicaState
from tui.view.clean import line
from tui.view.clock import clock
from tui.view.entry import moment, traffic
from tui.view.flow import flow
from tui.view.grid import Column, fit, measure, row, titles
from tui.view.log_level import Level
from tui.view.log_line import LogLine
from tui.view.metrics import metric_lines
from tui.view.outlook import spans
from tui.view.paint import Cell, Style, cut, gib, span, wrap
from tui.view.picture import Line, Lines
from tui.view.plot import Meter, plot
from tui.view.status import explained, split_words
from tui.view.world import Row

_REPLICAS = (
    Column(title="SLOT", least=12, most=32),
    Column(title="STATE", least=10),
    Column(title="GPU", rank=1, least=3),
    Column(title="MEMORY", rank=2, least=17),
    Column(title="PORT", rank=1, least=5, right=True),
    Column(title="PID", rank=3, least=7, right=True),
    Column(title="UNDER", rank=6, least=7),
    Column(title="RUN", rank=4, least=3, right=True),
    Column(title="SINCE", rank=2, least=6, right=True),
    Column(title="RESTARTS", rank=5, least=8, right=True),
)
_STATES: dict[ReplicaState, tuple[str, Style]] = {
    "ready": ("●", "good"),
    "asleep": ("○", "dim"),
    "absent": ("○", "dim"),
    "recorded": ("◐", "busy"),
    "starting": ("◐", "busy"),
    "draining": ("◌", "busy"),
    "stopping": ("◌", "busy"),
    "failing": ("▲", "bad"),
    "exited": ("✖", "bad"),
    "unknown": ("?", "busy"),
}
_MARKS: dict[str, tuple[str, Style]] = {"info": ("·", "dim"), "warning": ("▲", "busy"), "error": ("✖", "bad")}
_LEVELS: dict[Level, Style] = {Level.ERROR: "bad", Level.WARNING: "busy", Level.DEBUG: "dim", Level.INFO: ""}
_ANSWERS = {"True": "yes", "False": "no", "Unknown": "unknown"}
_EVENTS = 6
"""Events that are shown."""
_LONG = 2000
"""Characters of a text that are shown."""
_CHART = 34
"""Columns that a chart needs."""
_NAMED = 2**30 // 20
"""Bytes that are worth naming: what would not print as 0.0 GiB."""


def unkeyed(lines: Sequence[Line]) -> Lines:
    """Lines that stand for nothing."""
    return [("", each) for each in lines]


def conditions(found: Row, width: int) -> Lines:
    """Why it is as it is, and where it answers; and its conditions, which stand for all of it."""
    workload = found.workload
    lines: list[Line] = []
    if told := explained(workload):
        style: Style = "bad" if workload.conditions[2].status == "True" and not workload.ready else ""
        lines += [(Cell(text=part, style=style),) for part in wrap(line(told[:_LONG]), width=width, indent="")]
    places: dict[str, list[str]] = {}
    for endpoint in workload.endpoints:
        places.setdefault(", ".join(map(line, endpoint.names)), []).append(line(endpoint.address))
    for names, addresses in places.items():
        text = f"answers to {names} at {', '.join(addresses)}"
        lines += [(Cell(text=part),) for part in wrap(text, width=width, indent="")]
    return [*unkeyed(lines), *((workload.name, each) for each in flow(_statement(workload.conditions), width))]


def _statement(three: Sequence[Condition]) -> Iterator[Cell]:
    """`Ready: no, probe failing · Reconciling: yes, starting · Stalled: no`."""
    for number, each in enumerate(three):
        good = each.status == ("True" if each.type == "Ready" else "False")
        told = "" if each.reason in (Reason.Ready, Reason.Converged) else f", {' '.join(split_words(each.reason))}"
        yield Cell(text=f"{' · ' if number else ''}{each.type}: ", style="dim")
        yield Cell(text=_ANSWERS[each.status] + told, style="good" if good else "busy")


def replicas(found: Row, width: int) -> Lines:
    """A row for each, and beneath it in full why it is not ready, or how it ended."""
    now = moment(found.machine)
    rows = [_replica(each, now) for each in found.workload.replicas]
    if not rows:
        return [("", (Cell(text="none are wanted", style="dim"),))]
    widths = fit(_REPLICAS, measure(rows, _REPLICAS), width)
    lines: Lines = [("", titles(_REPLICAS, widths))]
    for each, cells in zip(found.workload.replicas, rows, strict=True):
        lines.append((each.slot, row(cells, _REPLICAS, widths)))
        told = wrap(line(each.detail[:_LONG]), width=width, indent="    ") if each.detail else []
        lines += [(each.slot, (Cell(text=part, style="dim"),)) for part in told]
    return lines


def _replica(each: Replica, now: float) -> list[Cell]:
    shape, style = _STATES[each.state]
    return [
        Cell(text=line(each.slot)),
        Cell(text=f"{shape} {each.state}", style=style),
        Cell(text=spans(each.gpus) or "-"),
        _memory(each),
        Cell(text=str(each.port) if each.port is not None else "-"),
        Cell(text=str(each.pid) if each.pid is not None else "-", style="dim"),
        Cell(text=each.runtime, style="dim"),
        Cell(text=str(each.run), style="dim"),
        Cell(text=span(now - each.since) if each.since is not None else "-"),
        Cell(text=str(each.restarts), style="busy" if each.restarts else "dim"),
    ]


def _memory(each: Replica) -> Cell:
    """What it takes of each of its GPUs, or of the host, and how that is known."""
    if each.gpus:
        taken = f"{gib(each.memory)} GiB" if each.memory is not None else "whole"
        if len(each.gpus) > 1:
            taken += " each"
    elif each.host >= _NAMED and each.pid is not None:
        taken = f"{gib(each.host)} GiB of host"
    else:
        return Cell(text="-")
    return Cell(text=f"{taken} {each.basis}".rstrip())


def clients(found: Row, width: int) -> list[Line]:
    """What is asked of it and how it bears that: in figures, and with its past."""
    machine, name = found.machine, found.workload.name
    if found.workload.kind != "Model" or machine.status is None:
        return []
    if machine.status.gateway is None:
        return [(Cell(text="no gateway here: nobody counts requests", style="dim"),)]
    past = machine.past
    times = past.series("now")
    seconds = times[-1] - times[0] if len(times) > 1 else 0.0
    first_byte = [sample * 1000 for sample in past.series(f"first_byte {name}")]
    meters = [
        Meter(title="requests/s", samples=past.series(f"requests {name}"), count=past.count, seconds=seconds),
        Meter(title="first byte, ms", samples=first_byte, count=past.count, seconds=seconds, style="hue1"),
        Meter(title="tokens/s", samples=past.series(f"tokens {name}"), count=past.count, seconds=seconds, style="hue2"),
    ]
    wanted = traffic(machine).get(name) or Wanted()
    if not (wanted.traffic and wanted.traffic.total) and not any(
        sample > 0 for each in meters for sample in each.samples
    ):
        return [_wanted(wanted), (Cell(text="nobody has asked it anything yet", style="dim"),)]
    across = max(1, min(len(meters), (width + 3) // (_CHART + 3)))
    columns = (width - 3 * (across - 1)) // across
    lines: list[Line] = [_wanted(wanted)]
    for first in range(0, len(meters), across):
        some = [plot(meter, columns=columns) for meter in meters[first : first + across]]
        lines.append(())
        lines += [tuple(_abreast(pieces)) for pieces in zip(*some, strict=True)]
    return lines


def _abreast(pieces: Sequence[Line]) -> Iterator[Cell]:
    """Lines that are all as wide, side by side."""
    for number, piece in enumerate(pieces):
        if number:
            yield Cell(text="   ")
        yield from piece


def _wanted(wanted: Wanted) -> Line:
    """`3 in flight · 2 waiting for 4s · 0.2 failed/s · 90412 answered`."""
    rates = wanted.traffic or Traffic()
    flying = sum(wanted.in_flight.values())
    waits = f"{wanted.waiting} waiting" + (f" for {span(wanted.oldest)}" if wanted.waiting else "")
    return (
        Cell(text=f"{flying} in flight · "),
        Cell(text=waits, style="busy" if wanted.waiting else ""),
        Cell(text=" · "),
        Cell(text=f"{rates.errors:.2g} failed/s", style="bad" if rates.errors else ""),
        Cell(text=f" · {rates.total} answered"),
    )


def engine(metrics: Sequence[ReplicaMetrics] | None, error: str, width: int) -> list[Line]:
    """What the engine itself measures."""
    if metrics is None:
        return [(Cell(text=cut(line(error), width) or "asking …", style="bad" if error else "dim"),)]
    return metric_lines(metrics, width=width)


def events(all_of: Sequence[Event], name: str, wall: float, width: int, zone: tzinfo | None) -> list[Line]:
    """The last ones that are about it, the newest first."""
    mine = [each for each in all_of if each.subject == name or each.subject.rpartition("/")[0] == name]
    lines: list[Line] = []
    for each in reversed(mine[-_EVENTS:]):
        shape, style = _MARKS.get(each.severity, ("·", "dim"))
        head = f"{clock(each.at, wall, zone)}  "
        told = f"{line(each.subject)}  {line(each.message[:_LONG])}"
        first, *more = wrap(told, width=width - len(head) - 2, indent="") or [""]
        lines.append((Cell(text=head, style="dim"), Cell(text=f"{shape} ", style=style), Cell(text=first)))
        lines += [(Cell(text=" " * (len(head) + 2) + part),) for part in more]
    return lines or [(Cell(text="nothing that is remembered", style="dim"),)]


def log_lines(log: Sequence[LogLine] | None, error: str, most: int, width: int) -> list[Line]:
    """The last of what it wrote."""
    if log is None or error:
        return [(Cell(text=cut(line(error), width) or "asking …", style="bad" if error else "dim"),)]
    if not log:
        return [(Cell(text="it has written nothing yet", style="dim"),)]
    return [(Cell(text=cut(each.text, width), style=_LEVELS[each.level]),) for each in log[-most:]]
