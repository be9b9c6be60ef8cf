"""`python -m tests.bench [NAME …] [--quick]`: runs the benchmarks, prints one table, writes it to bench-out/."""

import argparse
import gc
import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from tests.bench.rows import Row

HERE = Path(__file__).parent
OUT = HERE.parent.parent / "bench-out"
HEADS = ("bench", "measure", "ours", "peer", "ratio", "target", "verdict")


def known() -> dict[str, set[str]]:
    """Names a person may type → modules: `load` and `b8_load` one, `b8` all with that number."""
    names: dict[str, set[str]] = {}
    for path in HERE.glob("b[0-9]*_*.py"):
        number, _, word = path.stem.partition("_")
        for name in (path.stem, number, word):
            names.setdefault(name, set()).add(path.stem)
    return names


def number(value: float) -> str:
    """Three digits, as a person reads them."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def line(row: Row) -> tuple[str, ...]:
    """A row's cells."""
    peer = row.peer_name if row.peer is None else f"{number(row.peer)} {row.peer_name}".rstrip()
    ratio = "" if row.peer is None or not row.peer else f"{row.ours / row.peer:.2f}"
    verdict = {True: "good", False: "MISSED", None: "-"}[row.good]
    return row.bench, row.measure, number(row.ours), peer, ratio, row.target, verdict


def table(lines: Sequence[tuple[str, ...]]) -> str:
    """Aligned columns under their heads."""
    widths = [max(len(cells[column]) for cells in (HEADS, *lines)) for column in range(len(HEADS))]
    rules = tuple("-" * width for width in widths)
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        for cells in (HEADS, rules, *lines)
    )


def main(arguments: Sequence[str]) -> int:
    """Run what was named, or all. 1 where a benchmark crashed, 2 where a name is unknown."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="b8, load …; all when none is named")
    parser.add_argument("--quick", action="store_true", help="only prove that each still runs: smaller, no verdict")
    chosen = parser.parse_args(arguments)
    names = known()
    unknown = [name for name in chosen.names if name.lower() not in names]
    if unknown:
        there = ", ".join(sorted(set[str]().union(*names.values())))
        sys.stderr.write(f"cannot find benchmark {', '.join(unknown)}; there are {there}\n")
        return 2
    wanted = [names[name.lower()] for name in chosen.names] or names.values()
    modules = sorted(set[str]().union(*wanted), key=lambda name: (int(name[1:].partition("_")[0]), name))
    rows: list[Row] = []
    crashed: list[str] = []
    for module in modules:
        sys.stderr.write(f"{module} …\n")
        gc.collect()
        try:
            run: Callable[[bool], list[Row]] = importlib.import_module(f"tests.bench.{module}").rows
            rows += run(chosen.quick)
        except Exception:
            traceback.print_exc()
            crashed.append(module)
    text = table([line(row) for row in rows])
    print(text)
    OUT.mkdir(exist_ok=True)
    (OUT / "table.txt").write_text(text + "\n")
    facts = {"quick": chosen.quick, "cpus": os.cpu_count(), "python": sys.version.split()[0], "crashed": crashed}
    (OUT / "table.json").write_text(json.dumps({**facts, "rows": [asdict(row) for row in rows]}, indent=2) + "\n")
    for module in crashed:
        sys.stderr.write(f"{module} crashed\n")
    return 1 if crashed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
