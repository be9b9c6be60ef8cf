"""The weights on a machine as a table: what is whole, who needs it, and when it was last used."""

from collections.abc import Sequence

from reconciler.model.quantity import print_size
from reconciler.model.stored import Kept, Shelf
from tui.view.clean import line
from tui.view.paint import Cell, Style, columns, paint, span, wrap

_HEAD = ("SOURCE", "STATE", "SIZE", "NEEDED BY", "USED")


def shelf_text(shelf: Shelf, *, now: float, width: int, colour: bool) -> str:
    """All of them, and how much room there is. `now`: seconds since the epoch."""
    lines = ["no weights are here that Holdfast fetched or imported"]
    if shelf.kept:
        head = [Cell(text=text, style="dim") for text in _HEAD]
        lines = columns([head, *(_row(kept, now) for kept in shelf.kept)], width=width, colour=colour)
    mine = sum(blob.size for blob in shelf.blobs)
    others = f", {print_size(shelf.size - mine)} of it of other tools" if shelf.size - mine > 2**20 else ""
    limit = f" of {print_size(shelf.limit)}" if shelf.limit is not None else ""
    lines += [
        "",
        f"{print_size(shelf.size)}{limit} in {_common(shelf)}{others}; {print_size(shelf.free)} free on its disk",
    ]
    if shelf.limit is not None and shelf.size > shelf.limit:
        lines.append(paint("more is here than size of the Node's cache allows", "bad", colour=colour))
    if shelf.frozen:
        lines += [paint(part, "bad", colour=colour) for part in wrap(line(shelf.frozen), width=width, indent="! ")]
    return "\n".join(lines)


def kept_lines(kept: Sequence[Kept], *, now: float, width: int, colour: bool) -> list[str]:
    """These in lines."""
    rows = [[Cell(text=" "), *_row(each, now)] for each in kept]
    return columns(rows, width=width, colour=colour, gap=2)


def _row(kept: Kept, now: float) -> list[Cell]:
    shapes: dict[str, tuple[str, Style]] = {"whole": ("●", "good"), "partial": ("◌", "dim"), "fetching": ("◐", "busy")}
    shape, style = shapes[kept.state]
    part = f" of {print_size(kept.total)}" if kept.state != "whole" and kept.total else ""
    need = line(", ".join(kept.needed_by))
    if not kept.needed_by:
        need = f"nobody for {span(now - kept.unneeded_since)}" if kept.unneeded_since is not None else "nobody"
    return [
        Cell(text=line(kept.source)),
        Cell(text=f"{shape} {kept.state}", style=style),
        Cell(text=f"{print_size(kept.size)}{part}"),
        Cell(text=need, style="" if kept.needed_by else "dim"),
        Cell(text=_used(kept, now), style="dim"),
    ]


def _used(kept: Kept, now: float) -> str:
    if kept.held_by:
        return f"now, by {line(', '.join(kept.held_by))}"
    return f"{span(now - kept.used)} ago" if kept.used is not None else "-"


def _common(shelf: Shelf) -> str:
    """The directory that holds both of its parts."""
    return line(shelf.path.rpartition("/")[0])
