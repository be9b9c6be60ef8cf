"""GPUs and hosts in a few lines: who holds their memory, how busy, warm and hungry they are, and how that went."""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import ceil, isfinite

from reconciler.model.status import GpuStatus, Meters
from tui.view.chart import history, stack
from tui.view.clean import line
from tui.view.entry import moment
from tui.view.hues import Hues, hue, hues, owner
from tui.view.paint import Cell, Style, counted, cut, pad, size, taken, width
from tui.view.picture import Line, Picture
from tui.view.status import STALE
from tui.view.world import Machine, World

_NARROW, _GAP = 36, 2
"""Columns that a card takes at least, and between two of them."""
_BAR, _HISTORY = 48, 30
"""Cells at most."""


def cards(world: World, *, room: int, lines: int) -> Picture:
    """Every GPU of every machine in `room` columns, in `lines` lines where that is possible.

    With a line for who holds what beneath each where there are enough, and several beside each other where there are
    not.
    """
    found = [(machine, gpu) for machine in world.machines.values() for gpu in _gpus(machine)]
    if not found:
        return Picture()
    told = {machine.name: hues(_gpus(machine)) for machine in world.machines.values()}
    labels = [_label(machine, gpu, several=len(world.machines) > 1) for machine, gpu in found]
    wide = max(map(width, labels))
    beside = across(room, lines=lines, count=len(found), label=wide)
    detailed = beside == 1 and lines >= 2 * len(found) and room >= 56
    each = (room - _GAP * (beside - 1)) // beside
    drawn = [
        card(machine, gpu, told[machine.name], label=pad(label, wide), room=each)
        for (machine, gpu), label in zip(found, labels, strict=True)
    ]
    rows = ceil(len(drawn) / beside)
    texts: list[Line] = []
    for at in range(rows):
        cells: list[Cell] = []
        for number in range(at, len(drawn), rows):  # down, then across
            cells += [Cell(text=" " * _GAP)] if cells else []
            cells += drawn[number]
        if at == lines - 1 and rows > lines:
            left = len(drawn) - beside * at
            cells = [Cell(text=f"and {left} more: 3 shows them all", style="dim")]
        texts.append(tuple(cells))
        if len(texts) == lines:
            break
        if detailed:
            machine, gpu = found[at]
            texts.append((Cell(text=" " * (wide + 1)), *holders(gpu, told[machine.name], room=each - wide - 1)))
    return Picture(lines=tuple(texts))


def across(room: int, *, lines: int, count: int, label: int = 1) -> int:
    """How many cards stand beside each other: as few as the lines allow, and as many as there is room for."""
    most = max(1, (room + _GAP) // (_NARROW + label + _GAP))
    return min(most, max(1, ceil(count / max(1, lines))))


def _gpus(machine: Machine) -> tuple[GpuStatus, ...]:
    return machine.status.gpus if machine.status is not None else ()


def _label(machine: Machine, gpu: GpuStatus, *, several: bool) -> str:
    index = cut(str(gpu.index), 6)
    return f"{cut(line(machine.title), 12)} {index}" if several else index


def card(machine: Machine, gpu: GpuStatus, told: Hues, *, label: str, room: int) -> Line:
    """One GPU in one line of exactly `room` columns: `0 ▇▇▇▇▒▁▁▁  62.0/80.0G  98%  64°C  310W ⣀⣤⣶`."""
    bad: Style = "bad" if gpu.cordoned else ""
    old: Style = "dim" if machine.away else ""
    amount = Cell(text=pad(taken(gpu.used, gpu.memory), 11, right=True), style=old)
    said = [Cell(text=" ✖ cordoned     ", style="bad")] if gpu.cordoned else readings(machine, gpu)
    left = room - width(label) - 1 - 11 - 16
    past = min(_HISTORY, left // 3) if left >= 26 else 0
    bar = min(_BAR, max(1, left - (past + 1 if past else 0)))
    cells = [Cell(text=f"{label} ", style=bad or "dim"), *_faded(parts(gpu, told, cells=bar), machine), amount, *said]
    if past:
        cells.append(Cell(text=" " + busy(machine, gpu, cells=past), style="dim" if old else "accent"))
    return (*cells, Cell(text=" " * (room - sum(width(cell.text) for cell in cells))))


def parts(gpu: GpuStatus, told: Hues, *, cells: int) -> Line:
    """Its memory as a bar: a hue for each model, strangers hatched, and what nobody is known to hold too."""
    return _bar(gpu, tuple([hue(share, told) for share in gpu.shares]), cells)


@lru_cache(256)
def _bar(gpu: GpuStatus, looks: tuple[Style, ...], cells: int) -> Line:
    shares: list[tuple[float, Style]] = [(memory, style) for (_, style), memory in held(gpu, looks).items()]
    unknown = gpu.used - sum(share.memory for share in gpu.shares)
    if unknown > gpu.memory // 50:
        shares.append((unknown, "stranger"))
    return stack(shares, gpu.memory, cells)


def held(gpu: GpuStatus, looks: Sequence[Style]) -> Counter[tuple[str, Style]]:
    """Bytes by who holds them and how that looks; the instances of a workload together."""
    found: Counter[tuple[str, Style]] = Counter()
    for share, look in zip(gpu.shares, looks, strict=True):
        found[line(owner(share) or share.holder), look] += share.memory
    return found


def _faded(cells: Line, machine: Machine) -> Line:
    """Of a machine that is away nothing stands out."""
    return tuple(Cell(text=cell.text, style="dim") for cell in cells) if machine.away else cells


def readings(machine: Machine, gpu: GpuStatus) -> list[Cell]:
    """` 98%  64°C  310W`: always as wide; dim where they are old, blank where they are not known."""
    meters = sensors(machine, gpu)
    if meters is None:
        return [Cell(text=" " * 16)]
    old = machine.away or not -STALE < moment(machine) - meters.at < STALE
    busy = "" if meters.busy is None else f"{meters.busy}%"
    celsius = "" if meters.celsius is None else f"{meters.celsius}°C"
    watts = "" if meters.watts is None else f"{meters.watts:.0f}W"
    hot = meters.celsius is not None and meters.celsius >= 90
    style: Style = "dim" if old else ""
    return [
        Cell(text=pad(busy, 5, right=True), style=style),
        Cell(text=pad(celsius, 5, right=True), style=style or ("bad" if hot else "dim")),
        Cell(text=pad(watts, 6, right=True), style="dim"),
    ]


def sensors(machine: Machine, gpu: GpuStatus) -> Meters | None:
    """What they said last."""
    if machine.live is not None and gpu.uuid in machine.live.meters:
        return machine.live.meters[gpu.uuid]
    return machine.status.meters.get(gpu.uuid) if machine.status is not None else None


def busy(machine: Machine, gpu: GpuStatus, *, cells: int) -> str:
    """How busy it was."""
    past = machine.past
    return history(past.series(f"busy {gpu.uuid}"), past.count, cells, top=100)[0]


def holders(gpu: GpuStatus, told: Hues, *, room: int) -> Line:
    """Who holds it, the greatest first, as far as there is room; of a cordoned one why it is."""
    if gpu.cordoned:
        return (Cell(text=cut(line(gpu.cordoned), room), style="bad"),)
    cells: list[Cell] = []
    some = held(gpu, [hue(share, told) for share in gpu.shares])
    for number, ((name, style), memory) in enumerate(some.most_common()):
        left = len(some) - number
        more = f"+{left}"
        if width(name) + 11 + (len(more) + 2 if left > 1 else 0) > room:
            cells.append(Cell(text=more if number else cut(name, room), style="dim"))
            break
        cells += [
            Cell(text="▒ " if style == "stranger" else "■ ", style=style),
            Cell(text=f"{name} ", style="dim" if style == "stranger" else ""),
            Cell(text=f"{size(memory)}   ", style="dim"),
        ]
        room -= width(name) + len(size(memory)) + 6
    return tuple(cells) or (Cell(text="free", style="dim"),)


def hosts(world: World, *, room: int) -> Iterator[Line]:
    """A line for each machine: its processors and its memory."""
    heard = [(machine, machine.live.host) for machine in world.machines.values() if machine.live is not None]
    labels = [cut(line(machine.title), 12) if len(world.machines) > 1 else "host" for machine, _ in heard]
    wide = max(map(width, labels), default=0)
    loaded = 30 if room >= 76 else 0
    past = 12 if room >= 110 else 0
    bar = max(1, min(_BAR, (room - wide - loaded - 33 - (2 * past + 2 if past else 0)) // 2))
    for (machine, host), label in zip(heard, labels, strict=True):
        if host is None:
            continue
        percent = "" if host.busy is None or not isfinite(host.busy) else f"{host.busy:.0f}%"
        load = f"   load {host.load:.1f} on {counted(host.cores, 'core')}" if isfinite(host.load) else ""
        cells = (
            Cell(text=f"{pad(label, wide)}  cpu ", style="dim"),
            *stack([((host.busy or 0.0), "accent")], 100, bar),
            Cell(text=pad(percent, 5, right=True)),
            *_went(machine, "cpu", 100, past),
            Cell(text="   ram ", style="dim"),
            *stack([(host.used, "accent")], host.memory, bar),
            Cell(text=pad(taken(host.used, host.memory), 12, right=True)),
            *_went(machine, "ram", host.memory, past),
            Cell(text=cut(load, loaded), style="dim"),
        )
        yield _faded(cells, machine)


def _went(machine: Machine, meter: str, top: float, cells: int) -> Sequence[Cell]:
    if not cells:
        return ()
    return (
        Cell(text=" " + history(machine.past.series(meter), machine.past.count, cells, top=top)[0], style="accent"),
    )
