"""How fast a model answers, as a table: a line for each number of requests at once."""

from reconciler.model.bench import Bench, Level, Times
from tui.view.clean import line
from tui.view.paint import Cell, columns, counted, paint, rate, wrap

_HEAD = ("AT ONCE", "FIRST TOKEN", "NEXT TOKEN", "TOK/S EACH", "TOK/S", "REQ/S", "FAILED")


def bench_text(bench: Bench, *, width: int, colour: bool) -> str:
    """What was measured, and how."""
    title = paint(f"{line(bench.model)} at {line(bench.url)}", "bold", colour=colour)
    rows = [[Cell(text=text, style="dim") for text in _HEAD], *map(_row, bench.levels)]
    lines = [title, *wrap(measured(bench), width=width, indent=""), "", *columns(rows, width=width, colour=colour)]
    for level in bench.levels:
        for error, count in level.errors:
            text = f"{level.concurrency} at once, {count} failed: {line(error)}"
            lines += [paint(part, "bad", colour=colour) for part in wrap(text, width=width, indent="! ")]
    return "\n".join([*lines, "", *wrap(_LEGEND, width=width, indent="")])


_LEGEND = (
    "Times: half, 90 % and 99 % of the requests took no longer; the next token's is the mean of an answer. "
    "TOK/S EACH: what a client gets while it waits, half of them more. TOK/S, REQ/S: all together."
)


def measured(bench: Bench) -> str:
    """What the requests were."""
    answered = [level for level in bench.levels if level.requests]
    read = {round(level.read) for level in answered if level.read is not None}
    written = {round(level.written) for level in answered if level.written is not None}
    prompts = f"of {_some(read)} tokens" if read else f"of {bench.prompt_tokens} words, as its engine counts no tokens"
    answers = f"answers of {_some(written)} tokens, at most {bench.max_tokens}" if written else "answers not counted"
    return f"prompts {prompts}, no two alike; {answers}; {counted(bench.warmup, 'request')} before were not counted"


def _some(numbers: set[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low}–{high}"


def _row(level: Level) -> list[Cell]:
    return [
        Cell(text=str(level.concurrency), style="bold"),
        Cell(text=_three(level.first_token)),
        Cell(text=_three(level.next_token)),
        Cell(text=_rate(level.tokens_each)),
        Cell(text=_rate(level.tokens_all)),
        Cell(text=_rate(level.requests_all if level.requests else None)),
        Cell(text=str(level.failed), style="bad" if level.failed else ""),
    ]


def _three(times: Times | None) -> str:
    """`12 14 19 ms`: all in the unit that suits the middle one."""
    if times is None:
        return "-"
    unit, scale = ("s", 1.0) if times.p50 >= 1 else ("ms", 1000.0)
    some = [times.p50 * scale, times.p90 * scale, times.p99 * scale]
    digits = 0 if some[0] >= 100 else 1 if some[0] >= 10 else 2
    return " ".join(f"{one:.{digits}f}" for one in some) + f" {unit}"


def _rate(each_second: float | None) -> str:
    return "-" if each_second is None else rate(each_second)
