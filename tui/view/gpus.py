"""Each GPU in a block of its own: who holds what of it, how its meters went, and all that is wrong with it."""

from collections.abc import Iterator, Sequence
from math import isfinite
from typing import NamedTuple

from reconciler.model.live import HostMeters
from reconciler.model.status import GpuShare, GpuStatus, Meters
from tui.view.chart import history, stack
from tui.view.clean import line
from tui.view.entry import moment
from tui.view.hues import Hues, hue, hues, owner
from tui.view.meters import parts, sensors
from tui.view.paint import Cell, Style, counted, cut, gib, pad, span, width, wrap
from tui.view.picture import Line, Picture, beside, clipped, wide
from tui.view.status import STALE
from tui.view.world import Machine, Past, World

_BESIDE = 140
"""Columns from which the past stands beside who holds what."""
_ROWS = 2
"""Lines of a history."""
_BETWEEN = "\0"


_Keyed = tuple[str, Line]


class _Meter(NamedTuple):
    """A history and what stands above it."""

    name: str
    now: str
    samples: Sequence[float]
    top: float


def blocks(world: World, *, room: int) -> Picture:
    """Every GPU and every host, in `room` columns. Each holder of ours can be chosen."""
    lines: list[Line] = []
    keys: list[str] = []
    several = len(world.machines) > 1
    for machine in world.machines.values():
        title = f"{cut(line(machine.title), 16)} " if several else ""
        if machine.status is None:
            said = line(machine.away[:1000]) or "asking its daemon …"
            drawn: list[_Keyed] = [
                ("", text) for text in _told(f"{title or 'nothing is known yet: '}{said}", "bad", room)
            ]
        else:
            drawn = list(_machine(machine, title, room))
        for key, text in drawn:
            lines.append(tuple(Cell(text=cell.text, style="dim") for cell in text) if machine.away else text)
            keys.append(key)
    return Picture(lines=tuple(lines), keys=tuple(keys))


def workload(key: str) -> str:
    """The key of the workload that holds what has this key."""
    return key.partition(_BETWEEN)[0]


def _machine(machine: Machine, title: str, room: int) -> Iterator[_Keyed]:
    status = machine.status
    gpus = status.gpus if status is not None else ()
    known = hues(gpus)
    for gpu in gpus:
        yield from _gpu(machine, gpu, known, title, room)
        yield "", ()
    if not gpus:
        unseen = [text for text in (status.degraded if status is not None else ()) if "gpus" in text]
        said = unseen[0] if unseen else "no GPU was found here; what runs, runs on its processors"
        for text in _told(f"{title}{line(said[:1000])}", "bad" if unseen else "", room):
            yield "", text
        yield "", ()
    if machine.live is not None and machine.live.host is not None:
        yield from _host(machine, machine.live.host, title, room)
        yield "", ()


def _gpu(machine: Machine, gpu: GpuStatus, known: Hues, title: str, room: int) -> Iterator[_Keyed]:
    meters = sensors(machine, gpu)
    model = line(gpu.model).removeprefix("NVIDIA ")
    yield "", _head(f"{title}gpu {gpu.index}", model, _facts(meters, machine), room)
    for text in _told(f"✖ cordoned: {line(gpu.cordoned[:2000])}" if gpu.cordoned else "", "bad", room):
        yield "", text
    left = room // 2 if room >= _BESIDE else room
    amount = f"  {gib(gpu.used)} of {gib(gpu.memory)} GiB, {gib(max(0, gpu.memory - gpu.used))} free"
    bar = parts(gpu, known, cells=max(4, min(72, left - width(amount) - 5)))
    held: list[_Keyed] = [
        ("", (Cell(text="   "), *bar, Cell(text=cut(amount, left - 9)))),
        *(
            (_key(machine, share, gpu.uuid), _holder(machine, share, known, left))
            for share in sorted(gpu.shares, key=lambda share: not share.ours)  # as they stand in the bar
        ),
    ]
    charts = _charts(machine.past, _meters(machine.past, gpu, meters), room - left or room)
    yield from beside(held, charts, at=left) if left < room else (*held, *(("", text) for text in charts))


def _key(machine: Machine, share: GpuShare, where: str) -> str:
    return _BETWEEN.join((f"{machine.name}/{owner(share)}", where, share.holder)) if share.ours else ""


def _holder(machine: Machine, share: GpuShare, known: Hues, room: int) -> Line:
    """Who, how much, and to which other names it answers: aliases and adapters."""
    style = hue(share, known)
    row = machine.status.workloads.get(owner(share)) if machine.status is not None and share.ours else None
    names = [name for each in (row.endpoints if row else ()) if each.slot == share.holder for name in each.names]
    others = ", ".join(line(name) for name in names if row is not None and name != row.name)
    size = min(32, max(8, room - 20))
    return (
        Cell(text="   "),
        Cell(text="▒ " if style == "stranger" else "■ ", style=style),
        Cell(text=pad(line(share.holder), size), style="dim" if style == "stranger" else ""),
        Cell(text=pad(f"{gib(share.memory)} GiB", 11, right=True)),
        Cell(text=cut(f"  also {others}" if others else "", max(0, room - size - 18)), style="dim"),
    )


def _head(name: str, model: str, facts: Line, room: int) -> Line:
    """What it is to the left, what is told of it to the right."""
    model = cut(model, max(0, room - width(name) - wide(facts) - 5))
    gap = room - width(name) - width(model) - wide(facts) - 4
    told = (Cell(text=f" {name}  ", style="bold"), Cell(text=model, style="head"), Cell(text=" " * max(1, gap)), *facts)
    return clipped(told, room)


def _facts(meters: Meters | None, machine: Machine) -> Line:
    """Clock, errors, and of when all that is where it is not of now."""
    if meters is None:
        return (Cell(text="its sensors tell nothing", style="dim"),)
    cells: list[Cell] = []
    if meters.mhz is not None:
        cells.append(Cell(text=f"{meters.mhz} MHz   ", style="dim"))
    if meters.ecc is not None:
        errors = counted(meters.ecc, "memory error")
        cells.append(Cell(text=f"{errors}   ", style="bad" if meters.ecc else "dim"))
    cells.append(
        Cell(text=f"XID {meters.xid}   ", style="bad")
        if meters.xid is not None
        else Cell(text="no XID   ", style="dim")
    )
    ago = moment(machine) - meters.at
    if not -STALE < ago < STALE:
        cells.append(Cell(text=f"as of {span(ago)} ago   ", style="busy"))
    return tuple(Cell(text=cut(cell.text, 40), style=cell.style) for cell in cells)


def _meters(past: Past, gpu: GpuStatus, meters: Meters | None) -> tuple[_Meter, ...]:
    meters = meters or Meters(at=0.0)
    watts = past.series(f"watts {gpu.uuid}")
    most = max(filter(isfinite, watts), default=0.0)
    return (
        _Meter("busy", _said(meters.busy, "%"), past.series(f"busy {gpu.uuid}"), 100),
        _Meter("memory", _percent(gpu.used, gpu.memory), past.series(f"memory {gpu.uuid}"), gpu.memory),
        _Meter("heat", _said(meters.celsius, "°C"), past.series(f"celsius {gpu.uuid}"), 100),
        _Meter("power", _said(meters.watts, "W"), watts, most),
    )


def _said(value: float | None, unit: str) -> str:
    if value is None:
        return "not told"
    return f"{value:.0f} {unit}" if isfinite(value) and abs(value) < 1e6 else "?"


def _charts(past: Past, meters: Sequence[_Meter], room: int) -> list[Line]:
    """Histories beside each other, each beneath its name and what it says now."""
    each = (room - 3) // len(meters) - 3
    if each < 4:
        return []
    heads: list[Cell] = [Cell(text="   ")]
    drawn: list[list[Cell]] = [[Cell(text="   ")] for _ in range(_ROWS)]
    for meter in meters:
        told = pad(meter.now, each - len(meter.name) - 1, right=True)
        heads += [Cell(text=f"{meter.name} ", style="dim"), Cell(text=f"{told}   ")]
        texts = history(meter.samples, past.count, each, top=meter.top, rows=_ROWS)
        for row, text in zip(drawn, texts, strict=True):
            row.append(Cell(text=f"{text}   ", style="accent"))
    return [tuple(heads), *map(tuple, drawn)]


def _host(machine: Machine, host: HostMeters, title: str, room: int) -> Iterator[_Keyed]:
    """The machine itself; who holds its memory, where that is told."""
    load = f"load {host.load:.1f}   " if isfinite(host.load) and host.load < 1e6 else ""
    yield "", _head(f"{title}host", counted(host.cores, "core"), (Cell(text=load, style="dim"),), room)
    left = room // 2 if room >= _BESIDE else room
    amount = f"  {gib(host.used)} of {gib(host.memory)} GiB of memory"
    bar = stack([(host.used, "accent")], host.memory, max(4, min(72, left - width(amount) - 5)))
    ram = machine.status.ram if machine.status is not None else None
    held: list[_Keyed] = [
        ("", (Cell(text="   "), *bar, Cell(text=cut(amount, left - 9)))),
        *(
            (_key(machine, share, "host"), _holder(machine, share, {}, left))
            for share in (ram.shares if ram is not None else ())
        ),
    ]
    past = machine.past
    meters = (
        _Meter("busy", _said(host.busy, "%"), past.series("cpu"), 100),
        _Meter("memory", _percent(host.used, host.memory), past.series("ram"), host.memory),
    )
    charts = _charts(past, meters, room - left or room)
    yield from beside(held, charts, at=left) if left < room else (*held, *(("", text) for text in charts))


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if 0 < whole < 2**60 and 0 <= part < 2**60 else "?"


def _told(text: str, style: Style, room: int) -> list[Line]:
    return [(Cell(text=part, style=style),) for part in wrap(text, width=room - 1, indent="   ")]
