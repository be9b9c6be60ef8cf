"""An outlook as Markdown for a pull request.

What is not ours to say stands in code spans: it cannot break a table, mark anything up, or call anybody.
"""

import re
from collections.abc import Iterable, Sequence

from reconciler.model.source import Problem
from tui.view.clean import line
from tui.view.outlook import Change, Outlook
from tui.view.paint import cut
from tui.view.plan import (
    alike,
    amount,
    bar,
    cordon,
    counted_parts,
    held,
    hosts,
    model,
    passes,
    several,
    tenants,
    together,
)

LONGEST = 65536
"""Characters that a comment may have where pull requests are usually discussed."""
_CELL = 600
_CHANGES, _GPUS, _BLOCKED, _PROBLEMS, _STEPS = 24_000, 9_000, 10_000, 6_000, 6_000
"""Characters of each section; what is left out is counted."""
_PLAIN = re.compile(r"(?:(?!(?i:www\.|gh-))[^\W_]|[-+.,;/()'\"=→±…–·?])+:?|%|&")
"""A word that Markdown leaves as it is wherever it stands in a line."""
_ENTITIES = {code: f"&#{code};" for code in range(0x21, 0x7F) if not chr(code).isalnum() and chr(code) not in "/-.,"}


def plan_markdown(seen: Outlook, *, steps: bool = False) -> str:
    """The whole outlook, in at most as many characters as a comment may have. With `steps` every one too."""
    lines = [f"### Plan of {_title(seen)}", "", " · ".join(counted_parts(seen))]
    lines += ["", f"**{prose(seen.standing)}**"] if seen.standing else []
    rows = together(seen.changes)
    lines += _changes([row for row in rows if row.mark != "!"])
    if any(row.verb != "paused" for row in rows):
        lines += _room(seen)
    for heading, verb in (("Blocked", "blocked"), ("Paused", "paused")):
        told = [f"- {code(row.subject)}: {prose(row.what)}" for row in rows if row.verb == verb]
        lines += _section(heading, told, _BLOCKED)
    missing = [f"- {prose(seen.missing)}"] if seen.missing is not None else []
    lines += _section("Problems", [*missing, *map(_problem, seen.problems)], _PROBLEMS)
    if seen.against:
        told = list(map(_problem, seen.against.problems))
        lines += _section(f"Problems at {code(str(seen.against))}, whose models are taken not to run", told, _PROBLEMS)
    if steps:
        lines += _steps(seen)
    return "\n".join(lines)


def code(text: str) -> str:
    """Any text, as code: in one line, and safe in a table."""
    text = cut(line(text), _CELL)
    if not text:
        return ""
    if not set(text) & {"`", "|"}:
        return f"`{text}`"
    # within backticks, in a table, neither can be written; as entities both can, and nothing else has a meaning either
    return f"<code>{text.translate(_ENTITIES)}</code>"


def prose(text: str) -> str:
    """Any text, in one line: plain words as they are, what stands in backticks and all the rest as code."""
    text = cut(line(text), _CELL)
    pieces = text.split("`")
    if len(pieces) % 2 == 0:  # one of them has no other
        return _words(text)
    said = [code(piece) if number % 2 else _spaced(piece) for number, piece in enumerate(pieces)]
    return "".join(said).replace("``", "` `")


def _spaced(text: str) -> str:
    """Words, with a space before and after where the text has one."""
    said = _words(text)
    if not said:
        return text[:1]
    return " " * text.startswith(" ") + said + " " * text.endswith(" ")


def _words(text: str) -> str:
    parts: list[str] = []
    strange: list[str] = []
    for word in text.split():
        bare = word.rstrip(",;.)")
        plain = _PLAIN.fullmatch(word) is not None
        if not plain:
            strange.append(bare or word)
        if strange and (plain or bare not in ("", word)):
            parts.append(code(" ".join(strange)) + ("" if plain else word[len(bare) :]))
            strange = []
        if plain:
            parts.append(word)
    return " ".join((*parts, code(" ".join(strange))) if strange else parts)


def _title(seen: Outlook) -> str:
    text = code(seen.root)
    text += f" @ {code(str(seen.revision))}" if seen.revision else ""
    text += f" against {code(str(seen.against))}" if seen.against else ""
    return text + (f" on {code(seen.machine)}" if seen.machine is not None else "")


def _problem(problem: Problem) -> str:
    key = f"{code(problem.key)}: " if problem.key else ""
    return f"- {code(f'{problem.path}:{problem.line}:{problem.column}')} {key}{prose(problem.message)}"


def _changes(rows: Sequence[Change]) -> list[str]:
    if not rows:
        return []
    cells = [
        f"| {row.mark} | {code(row.subject)} | **{row.verb}** | {prose(row.what)} | {prose(row.note)} |" for row in rows
    ]
    return [
        "",
        "| | instance | does | what | why, and at what cost |",
        "|---|---|---|---|---|",
        *_within(cells, _CHANGES, "|"),
    ]


def _room(seen: Outlook) -> list[str]:
    if seen.unseen is not None:
        return ["", prose(seen.unseen)]
    groups = [*alike(seen.gpus), *hosts(seen)]
    if not groups:
        return []
    cells: list[str] = []
    for label, gpu in groups:
        who = ", ".join(f"{code(holding.holder)} {held(holding)}" for holding in tenants(gpu))
        who = "; ".join(filter(None, [who, prose(cordon(gpu))])) or "free"
        each = " each" if several(label) else ""
        which = label.removeprefix("gpu ")
        cells.append(f"| {which} | {code(model(gpu))} | `{bar(gpu)}` | {amount(gpu)}{each} | {who} |")
    return ["", "| gpu | model | | memory | held after, GiB |", "|---|---|---|---|---|", *_within(cells, _GPUS, "|")]


def _section(heading: str, items: list[str], most: int) -> list[str]:
    return ["", f"**{heading}**", "", *_within(items, most, "-")] if items else []


def _steps(seen: Outlook) -> list[str]:
    texts = [
        text for heading, each in passes(seen.passes) for text in (heading, *(f"  {cut(one, _CELL)}" for one in each))
    ]
    texts = _within(texts, _STEPS, "")
    fence = "`" * max(3, 1 + max((len(run) for text in texts for run in re.findall("`+", text)), default=0))
    return ["", "<details><summary>Every step</summary>", "", f"{fence}text", *texts, fence, "", "</details>"]


def _within(rows: Iterable[str], most: int, mark: str) -> list[str]:
    """The first of the rows, in so many characters; then how many are left out."""
    kept, left, size = list[str](), 0, 0
    for row in rows:
        size += len(row) + 1
        if size > most:
            left += 1
        else:
            kept.append(row)
    if left:
        kept.append(f"{mark} … and {left} more; `holdfast plan` prints all".strip())
    return kept
