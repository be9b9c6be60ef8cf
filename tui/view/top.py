"""What clients do and how models and GPUs bear it, as a table that is made again each second."""

from reconciler.model.live import HostMeters
from reconciler.model.routing import Traffic, Wanted
from reconciler.model.status import Status, WorkloadStatus
from tui.view.clean import line
from tui.view.paint import Cell, brief, columns, counted, cut, gib, paint, rate, wrap
from tui.view.status import gateway_lines, paused_lines, ready_count, room, state, why

_HEAD = ("MODEL", "READY", "IN FLIGHT", "WAITING", "REQ/S", "TOK/S", "FIRST BYTE", "ERR/S")
_QUIET = Wanted(traffic=Traffic())


def top_text(status: Status, host: HostMeters | None = None, *, width: int, colour: bool) -> str:
    """Every model, every GPU, and the machine itself."""
    lines = paused_lines(status, width=width, colour=colour)
    lines += gateway_lines(status, width=width, colour=colour) or ["no gateway here: nobody counts requests"]
    rows = [row for row in status.workloads.values() if row.kind == "Model"]
    if rows:
        cells = [[Cell(text=text, style="dim") for text in _HEAD], *(_row(row, status) for row in rows)]
        head, *texts = columns(cells, width=width, colour=colour)
        lines += ["", head]
        for row, text in zip(rows, texts, strict=True):
            told = "" if row.paused else why(row)
            lines += [
                text,
                *(paint(part, "dim", colour=colour) for part in wrap(line(told), width=width, indent="    ")),
            ]
    else:
        lines += ["", "no model is declared"]
    held = [*room(status, width=width, colour=colour), *([cut(_host(host), width)] if host is not None else [])]
    return "\n".join([*lines, *([""] if held else []), *held])


def _host(host: HostMeters) -> str:
    busy = "" if host.busy is None else f"{host.busy:.0f} % of "
    cores = counted(host.cores, "core")
    return f"host   {busy}{cores}, load {host.load:.1f}, {gib(host.used)} of {gib(host.memory)} GiB of memory"


def top_row(row: WorkloadStatus, status: Status) -> dict[str, object]:
    """One model, for programs."""
    wanted = status.traffic.get(row.name, _QUIET)
    traffic = wanted.traffic or Traffic()
    return {
        "state": state(row).word,
        "ready": ready_count(row),
        "wanted": row.wanted,
        "in_flight": sum(wanted.in_flight.values()),
        "waiting": wanted.waiting,
        "oldest": wanted.oldest,
        "requests": traffic.requests,
        "errors": traffic.errors,
        "tokens": traffic.tokens,
        "first_byte": traffic.first_byte,
        "total": traffic.total,
    }


def _row(row: WorkloadStatus, status: Status) -> list[Cell]:
    how, wanted = state(row), status.traffic.get(row.name, _QUIET)
    traffic = wanted.traffic or Traffic()
    return [
        Cell(text=f"{how.shape} {row.name}", style=how.style),
        Cell(text=f"{ready_count(row)}/{row.wanted}"),
        Cell(text=str(sum(wanted.in_flight.values()))),
        Cell(text=str(wanted.waiting), style="busy" if wanted.waiting else ""),
        Cell(text=rate(traffic.requests)),
        Cell(text=rate(traffic.tokens)),
        Cell(text="-" if traffic.first_byte is None else brief(traffic.first_byte)),
        Cell(text=rate(traffic.errors), style="bad" if traffic.errors else ""),
    ]
