"""A Status as a table: every workload in a line, and beneath it why it is not ready."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from reconciler.model.routing import Wanted
from reconciler.model.status import Event, GpuStatus, HostStatus, Meters, Reason, Status, WorkloadStatus
from tui.view.clean import line
from tui.view.paint import Cell, Style, bar, columns, cut, gib, paint, rate, span, wrap

_NAMED = 2**30 // 20
"""Bytes that are worth naming: what would not print as 0.0 GiB."""
STALE = 7.0
"""Seconds after which what a driver said is old: it is asked every two seconds, and may take five."""
_HEAD = ("NAME", "STATE", "READY", "ENGINE", "GPU", "PORT", "RESTARTS", "SINCE", "TRAFFIC")
_STUCK = "ready, stuck"
_OFF = ("paused", "stopped", "asleep", "none wanted")
"""What none of is meant to answer now, in words."""
_OPTIONAL = ("GPU", "TRAFFIC")
"""Columns that are left out where nothing is in them."""


class State(NamedTuple):
    """How a workload does, in a shape and a word."""

    shape: str
    word: str
    style: Style

    def __str__(self) -> str:
        return f"{self.shape} {self.word}"


def state(row: WorkloadStatus) -> State:
    """How it does."""
    ready, moving, stalled = row.conditions
    states = {replica.state for replica in row.replicas}
    if moving.status == "True" and moving.reason in (Reason.Stopping, Reason.Draining):
        return State("◌", "stopping", "busy")
    if row.ready and not row.wanted:
        words = {Reason.StopAsked: "stopped", Reason.Asleep: "asleep"}
        return State("○", words.get(ready.reason, "none wanted"), "dim")
    if row.paused or (stalled.status == "True" and stalled.reason is Reason.Paused):
        return State("‖", "paused, ready" if row.ready else "paused", "dim")
    if row.ready and stalled.status == "True":
        return State("◕", _STUCK, "bad")
    if row.ready:
        return State("●", "ready", "good")
    if stalled.status == "True":
        waits = stalled.reason is Reason.BackingOff
        return State("▲", "backing off", "bad") if waits else State("✖", "blocked", "bad")
    if "failing" in states:
        return State("▲", "failing", "bad")
    if ready.status == "Unknown":
        return State("?", "unknown", "busy")
    if moving.status == "True":
        return State("◐", "starting" if "starting" in states or not states & {"stopping"} else "stopping", "busy")
    return State("✖", "not ready", "bad")


def ready_count(row: WorkloadStatus) -> int:
    """How many of its instances answer."""
    return sum(replica.state == "ready" for replica in row.replicas)


def why(row: WorkloadStatus) -> str:
    """Why it is not as it should be, in words; empty where it is."""
    ready, _, stalled = row.conditions
    if row.ready:
        return row.note or (stalled.message if stalled.status == "True" else "")
    if row.paused and ready.reason is Reason.Paused:
        return row.note
    told = stalled if stalled.status == "True" else ready
    text = told.message or " ".join(split_words(told.reason))
    return f"{row.note}; {text}" if row.note else text


def explained(row: WorkloadStatus) -> str:
    """The same for who points at it: that its file pauses it, too, and what to change there."""
    pauses = f"its file pauses it: remove `paused: true` at {row.paused_at}" if row.paused_at and not row.note else ""
    return "; ".join(filter(None, (pauses, why(row))))


def status_text(status: Status, *, width: int, colour: bool, only: str | None = None) -> str:
    """The whole fleet, or one workload of it with each of its instances."""
    rows = [row for name, row in status.workloads.items() if only in (None, name)]
    lines = [_headline(status, colour=colour), *paused_lines(status, width=width, colour=colour)]
    lines += [*gateway_lines(status, width=width, colour=colour), ""]
    lines += _table(status, rows, width=width, colour=colour)
    if only is not None:
        lines += ["", *(_details(status, row, width=width, colour=colour) for row in rows)]
        return "\n".join(lines)
    if not rows:
        lines.append(f"nothing is declared in {line(status.root)}")
    if status.gpus or status.ram:
        lines += ["", *room(status, width=width, colour=colour)]
    warnings = (*map(str, status.problems), *status.degraded)
    lines += [""] if warnings else []
    for text in warnings:
        lines += [paint(part, "bad", colour=colour) for part in wrap(line(text), width=width, indent="! ")]
    return "\n".join(lines)


def paused_lines(status: Status, *, width: int, colour: bool) -> list[str]:
    """That the whole fleet is paused, and what ends that; nothing where it is not."""
    told = wrap(line(status.paused), width=width, indent="‖ ") if status.paused else []
    return [paint(part, "busy", colour=colour) for part in told]


def gateway_lines(status: Status, *, width: int, colour: bool) -> list[str]:
    """Where the gateway is and what it does, or that it is not up; nothing where there is to be none."""
    gateway = status.gateway
    if gateway is None:
        return []
    where = line(", ".join(gateway.listen))
    if gateway.connected:
        rated = rates(status.traffic.values())
        lines = wrap(f"gateway at {where}" + (f" · {rated}" if rated != "-" else ""), width=width, indent="")
        for problem in gateway.problems:
            lines += [paint(part, "bad", colour=colour) for part in wrap(line(problem), width=width, indent="▲ ")]
        return lines
    text = f"▲ the gateway at {where} is not up; start it with `holdfast up`"
    return [paint(part, "bad", colour=colour) for part in wrap(text, width=width, indent="")]


def rates(wanted: Iterable[Wanted]) -> str:
    """`12 req/s · 340 tok/s · 3 waiting`, all together; `-` where there is nothing."""
    some = list(wanted)
    rated = [one.traffic for one in some if one.traffic is not None]
    requests, tokens = sum(one.requests for one in rated), sum(one.tokens for one in rated)
    waiting = sum(one.waiting for one in some)
    parts = [f"{rate(requests)} req/s"] if requests else []
    parts += [f"{rate(tokens)} tok/s"] if tokens else []
    parts += [f"{waiting} waiting"] if waiting else []
    return " · ".join(parts) or "-"


def room(status: Status, *, width: int, colour: bool) -> list[str]:
    """Each GPU with what its sensors say, who holds it and why nothing may run on it; host memory where it is short."""
    held: list[tuple[str, str, GpuStatus | HostStatus, str, str]] = [
        (
            f"gpu {gpu.index}",
            line(gpu.model).removeprefix("NVIDIA "),
            gpu,
            metered(status.meters.get(gpu.uuid), status.now),
            gpu.cordoned,
        )
        for gpu in status.gpus
    ]
    held += [("host", "memory", status.ram, "", "")] if status.ram else []
    meters = any(said for *_, said, _ in held)
    rows = [_held(label, model, of, said if meters else None, cordoned) for label, model, of, said, cordoned in held]
    found: list[str] = []
    for (*_, cordoned), text in zip(held, columns(rows, width=width, colour=colour), strict=True):
        why = wrap(f"cordoned: {line(cordoned)}", width=width, indent="    ") if cordoned else []
        found += [text, *(paint(part, "bad", colour=colour) for part in why)]
    return found


def metered(meters: Meters | None, now: float) -> str:
    """`98 % 64 °C 310 W`, and how old that is where it is not of this moment."""
    if meters is None:
        return ""
    parts = [f"{meters.busy} %"] if meters.busy is not None else []
    parts += [f"{meters.celsius} °C"] if meters.celsius is not None else []
    parts += [f"{meters.watts:.0f} W"] if meters.watts is not None else []
    parts += [f"{span(now - meters.at)} ago"] if now - meters.at >= STALE else []
    return " ".join(parts)


def _held(label: str, model: str, of: GpuStatus | HostStatus, said: str | None, cordoned: str) -> list[Cell]:
    shares = ", ".join(f"{line(share.holder)} {gib(share.memory)}" for share in of.shares) or "free"
    held = max(of.used, sum(share.memory for share in of.shares))
    return [
        Cell(text=label, style="bad" if cordoned else ""),
        Cell(text=model),
        Cell(text=bar(held, of.memory)),
        Cell(text=f"{gib(of.used)} of {gib(of.memory)} GiB"),
        *([] if said is None else [Cell(text=said)]),
        Cell(text=shares, style="dim"),
    ]


def event_text(event: Event, *, clock: str, width: int | None, colour: bool) -> str:
    """One event in a line. `clock` is its time, already in words; a width of None leaves it as long as it is."""
    style: Style = {"info": "", "warning": "busy", "error": "bad"}[event.severity]  # type: ignore[assignment]
    mark = {"info": " ", "warning": "▲", "error": "✖"}[event.severity]
    text = f"{clock}  {mark} {line(event.subject):<12} {event.reason.value}: {line(event.message)}"
    return paint(text if width is None else cut(text, width), style, colour=colour)


def split_words(reason: Reason) -> list[str]:
    """`NoFreeGpu` → no, free, gpu."""
    text = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in reason.value)
    return text.split()


def transition(row: WorkloadStatus) -> str:
    """How it does now, in a line of its own."""
    where = ", ".join(endpoint.address for endpoint in row.endpoints)
    told = why(row) if not row.ready else f"at {where}" if where else ""
    return f"{row.name}: {state(row)} {ready_count(row)}/{row.wanted}" + (f"  {line(told)}" if told else "")


def _headline(status: Status, *, colour: bool) -> str:
    rows = status.workloads.values()
    words = Counter(state(row).word for row in rows)
    off = sum(words[word] for word in _OFF)
    ready = sum(row.ready and row.wanted > 0 for row in rows)
    revision = f" @ {status.revision}" if status.revision else ""
    text = f"{line(status.root)}{revision} on {line(status.host)}"
    parts = [paint(text, "bold", colour=colour), f"{ready} of {len(rows) - off} ready"]
    parts += [f"{words[word]} {word.removeprefix('ready, ')}" for word in (_STUCK, *_OFF) if words[word]]
    return " · ".join(parts)


def _table(status: Status, rows: Sequence[WorkloadStatus], *, width: int, colour: bool) -> list[str]:
    if not rows:
        return []
    cells = [[Cell(text=text, style="dim") for text in _HEAD], *(_row(row, status) for row in rows)]
    shown = [n for n, name in enumerate(_HEAD) if name not in _OPTIONAL or any(row[n].text != "-" for row in cells[1:])]
    for name in ("ENGINE", "SINCE"):  # of what does not fit, the least missed goes first
        needed = sum(max(len(row[n].text) for row in cells) + 2 for n in shown) - 2
        if needed > width:
            shown.remove(_HEAD.index(name))
    lines = columns([[row[n] for n in shown] for row in cells], width=width, colour=colour)
    found = [lines[0]]
    for row, text in zip(rows, lines[1:], strict=True):
        found.append(text)
        if told := why(row):
            found += [paint(part, "dim", colour=colour) for part in wrap(line(told), width=width, indent="    ")]
    return found


def _row(row: WorkloadStatus, status: Status) -> list[Cell]:
    how = state(row)
    indices = sorted({index for replica in row.replicas for index in replica.gpus})
    ports = sorted({replica.port for replica in row.replicas if replica.port is not None})
    since = [replica.since for replica in row.replicas if replica.since is not None]
    restarts = sum(replica.restarts for replica in row.replicas)
    return [
        Cell(text=row.name, style="bold"),
        Cell(text=str(how), style=how.style),
        Cell(text=f"{ready_count(row)}/{row.wanted}"),
        Cell(text=line(row.engine) or "-"),
        Cell(text=",".join(map(str, indices)) or "-"),
        Cell(text=",".join(map(str, ports)) or "-"),
        Cell(text=str(restarts), style="bad" if restarts else ""),
        Cell(text=span(status.now - max(since)) if since else "-"),
        Cell(text=rates([status.traffic[row.name]]) if row.name in status.traffic else "-"),
    ]


def _details(status: Status, row: WorkloadStatus, *, width: int, colour: bool) -> str:
    lines = [f"declared in {line(row.source)}" if row.source else "no longer in the fleet"]
    lines += [f"{one.slot} answers at {one.address} to {', '.join(map(line, one.names))}" for one in row.endpoints]
    for replica in row.replicas:
        parts = [f"{replica.slot}: {replica.state}"]
        parts += [f"run {replica.run}"] if replica.run else []
        parts += [f"under {replica.runtime}"] if replica.runtime != "process" else []
        parts += [f"pid {replica.pid}"] if replica.pid is not None else []
        parts += [f"port {replica.port}"] if replica.port is not None else []
        parts += [f"{gib(replica.memory)} GiB on each gpu"] if replica.memory is not None and replica.gpus else []
        parts += (
            [f"{gib(replica.host)} GiB of host memory"] if replica.host >= _NAMED and replica.pid is not None else []
        )
        parts += [f"for {span(status.now - replica.since)}"] if replica.since is not None else []
        lines.append(", ".join(parts))
        if replica.detail:
            lines += [
                paint(part, "dim", colour=colour) for part in wrap(line(replica.detail), width=width, indent="    ")
            ]
    return "\n".join(lines)
