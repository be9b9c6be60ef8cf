"""The documents that declare something, as they stand in their files now: for people. It blocks, and never writes."""

from collections.abc import Callable, Iterator

from reconciler.model.answers import Written
from reconciler.model.fleet import Fleet
from reconciler.spec.check import SPACES, Key
from reconciler.spec.document import Document, decode, read_slow
from reconciler.spec.files import Tree

Holders = Callable[[Key], tuple[str, ...]]
"""The files that declare a name, by path relative to the root."""


def written(root: str, holders: Holders, fleet: Fleet, name: str) -> tuple[Written, ...]:
    """What declares a workload: its own document, then that of its `kind: Engine`.

    Of a file in which none declares it any more, or that is no YAML now, all; nothing of one that cannot be read.
    """
    workload = fleet.workloads.get(name)
    template = workload.template if workload is not None else None
    keys: list[Key] = [("runs", name), *([("engines", template.name)] if template is not None else [])]
    try:
        with Tree(root) as tree:
            broken = [each.path.removeprefix(f"{tree.name}/") for each in fleet.problems if name in each.names]
            places = [(path, key) for key in keys for path in sorted(holders(key))]
            places += [(path, keys[0]) for path in broken]
            return tuple(each for path, key in dict.fromkeys(places) for each in _of(tree, path, key))
    except OSError:
        return ()


def _of(tree: Tree, path: str, key: Key) -> Iterator[Written]:
    found, shown = tree.read(path), f"{tree.name}/{path}"
    text = decode(found[1], shown) if isinstance(found, tuple) else None
    if not isinstance(text, str):
        return
    read = read_slow(text, shown)
    documents = [*read.documents, *([read.unfinished] if read.unfinished is not None else [])]
    lines = [one.line for one in documents if _declares(one, key)]
    parts = list(_parts(text))
    chosen = [part for part in parts if any(part[0] <= line < part[0] + len(part[1]) for line in lines)]
    for line, rows in chosen or [(1, text.split("\n"))]:
        yield Written(path=shown, line=line, text="\n".join(rows).rstrip())


def _declares(document: Document, key: Key) -> bool:
    data = document.data
    if not isinstance(data, dict):
        return False
    return (SPACES.get(str(data.get("kind"))), data.get("name")) == key


def _parts(text: str) -> Iterator[tuple[int, list[str]]]:
    """The lines between the marks that documents begin and end with, and the number of the first."""
    begin, rows = 1, list[str]()
    for number, row in enumerate(text.split("\n"), 1):
        opens = row[:3] == "---" and (len(row) == 3 or row[3] in " \t\r")
        if not opens and not (row[:3] == "..." and not row[3:].strip()):
            rows.append(row)
            continue
        yield begin, rows
        begin, rows = number + 1, []
        if opens and row[3:].strip():  # what the document begins with stands behind the mark
            begin, rows = number, [row]
    yield begin, rows
