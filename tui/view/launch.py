"""What a workload is made of and what became of it: its files, how it was started, its runs."""

import shlex
from collections.abc import Iterator, Sequence
from datetime import tzinfo

from reconciler.model.answers import About, Launched, Run
from tui.view.clean import line
from tui.view.clock import clock
from tui.view.document import document_lines
from tui.view.grid import GAP, Column, fit, measure, row, titles
from tui.view.outlook import spans
from tui.view.paint import Cell, Style, size, span, wrap
from tui.view.paint import width as wide
from tui.view.picture import Line

_RUNS = (
    Column(title="SLOT", least=6, most=32),
    Column(title="RUN", least=3, right=True),
    Column(title="BEGAN", rank=2, least=19, most=19),
    Column(title="LASTED", rank=1, least=6, right=True),
    Column(title="LOG", rank=3, least=5, right=True),
    Column(title="HOW IT ENDED", least=20, most=400),
)
_FAILED = ("exited with status", "was killed", "could not")
_LONG = 16_384
"""Characters of one argument that are shown."""


def file_lines(about: About, *, width: int) -> list[Line]:
    """What declares it, as it is written."""
    lines: list[Line] = []
    for written in about.written:
        lines += [(), (Cell(text=f"{line(written.path)}:{written.line}", style="head"),)]
        lines += document_lines(written.text, first=written.line, columns=width)
    return lines[1:] or [(Cell(text="no file declares it", style="dim"),)]


def launch_lines(about: About, *, width: int) -> list[Line]:
    """What each instance was started from: an option a line, as a shell would take it."""
    lines: list[Line] = []
    for launched in about.launches:
        lines += [(), *_launched(launched, width)]
    return lines[1:] or [(Cell(text="nothing of it was started", style="dim"),)]


def _launched(launched: Launched, width: int) -> Iterator[Line]:
    told = [f"run {launched.run}", f"under {launched.runtime}"]
    told += [f"gpu {spans(launched.gpus)}"] if launched.gpus else []
    told += [f"port {launched.port}"] if launched.port is not None else []
    yield (Cell(text=line(launched.slot), style="bold"), Cell(text=f"  {', '.join(told)}", style="dim"))
    places = {"image": launched.image, "directory": launched.directory or ""}
    for label, text in places.items():
        if text:
            yield from _folded(f"  {label:<10} ", line(text), width)
    for number, option in enumerate(options(launched.argv)):
        yield from _folded("  " if not number else "    ", option, width, style="" if number else "accent")
    for name, value in launched.env.items():
        yield from _folded(f"  {line(name)}=", line(value[:_LONG]), width)


def options(argv: Sequence[str]) -> list[str]:
    """The program, then each option with its values, quoted where a shell would misread it."""
    found: list[list[str]] = [[]]
    for each in argv:
        if each.startswith("-") and not each[1:2].isdigit():
            found.append([])
        found[-1].append(shlex.quote(line(each[:_LONG])))
    return [" ".join(each) for each in found if each]


def _folded(indent: str, text: str, columns: int, *, style: Style = "") -> Iterator[Line]:
    """The text beneath itself, broken anywhere: a value of an option may have no spaces."""
    room = max(8, columns - wide(indent))
    while True:
        part = text[:room]
        while wide(part) > room:
            part = part[:-1]
        yield (Cell(text=indent, style="dim"), Cell(text=part, style=style))
        text = text[len(part) :]
        if not text:
            return
        indent = " " * wide(indent)


def run_lines(about: About, *, width: int, wall: float, zone: tzinfo | None = None) -> list[Line]:
    """Every run of which something is kept, the newest first, and how it ended. `zone` None: of this machine."""
    if not about.runs:
        return [(Cell(text="nothing of it has run yet", style="dim"),)]
    rows = [_run(run, wall, zone) for run in about.runs]
    widths = fit(_RUNS, measure(rows, _RUNS), width)
    return [titles(_RUNS, widths), *(part for cells in rows for part in _wrapped(cells, widths))]


def _run(run: Run, wall: float, zone: tzinfo | None) -> list[Cell]:
    failed = run.first_failure or run.outcome.startswith(_FAILED)
    end = run.ended if run.ended is not None else wall if run.outcome == "runs" else None
    lasted = span(end - run.began) if run.began is not None and end is not None else ""
    first = "the first failure of a row: " if run.first_failure else ""
    return [
        Cell(text=line(run.slot)),
        Cell(text=str(run.run)),
        Cell(text=clock(run.began, wall, zone) if run.began is not None else "-", style="dim"),
        Cell(text=lasted),
        Cell(text=size(run.size) if run.size >= 2**20 else f"{run.size / 1024:.0f}K", style="dim"),
        Cell(text=first + line(run.outcome), style="bad" if failed else "good" if run.outcome == "runs" else ""),
    ]


def _wrapped(cells: Sequence[Cell], widths: Sequence[int]) -> Iterator[Line]:
    """The last column in as many lines as it needs."""
    last = cells[-1]
    first, *more = wrap(last.text, width=widths[-1], indent="") or [""]
    yield row([*cells[:-1], Cell(text=first, style=last.style)], _RUNS, widths)
    indent = sum(size + GAP for size in widths[:-1] if size)
    yield from ((Cell(text=" " * indent), Cell(text=part, style=last.style)) for part in more)
