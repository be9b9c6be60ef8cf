"""A file's bytes → what it declares, and everything that is wrong with it, each at its line and column."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import NamedTuple, cast

from pydantic import ValidationError

from reconciler.engines import Unfit, workload
from reconciler.model.fleet import Workload
from reconciler.model.kinds import KINDS, LATER_KINDS, AnyResource, Engine, Workable
from reconciler.model.source import Problem, Source
from reconciler.spec.document import MOST_PROBLEMS, Document, Keys, Plain, decode, read_fast, read_slow
from reconciler.spec.explain import Finding, dotted, every, explain, show
from reconciler.spec.params import schema_findings

Space = str
"""`runs` (models and services share their names), `engines`, `nodes`, `access` or `routes`."""
Key = tuple[Space, str]
"""What a resource is known by."""
_LONGEST_NAME = 253
SPACES: dict[str, Space] = {
    "Model": "runs",
    "Service": "runs",
    "Engine": "engines",
    "Node": "nodes",
    "Access": "access",
    "Route": "routes",
}


class Declared(NamedTuple):
    """One good document."""

    key: Key
    spec: AnyResource
    line: int
    number: int
    """Which document of its file, from 0."""
    pause: int = 0
    """The line that pauses what it declares; 0 where none does."""
    made: Workload | None = None
    """What comes of it where no `kind: Engine` of the fleet has a say, if it can be run: made while it is at hand."""


class Reading(NamedTuple):
    """What a file says now."""

    declared: tuple[Declared, ...] = ()
    problems: tuple[Problem, ...] = ()
    broken: tuple[Key, ...] = ()
    """Of documents with problems, those whose kind and name can be read."""
    opaque: bool = False
    """Whether it may declare more than could be read."""
    ended: bool = True
    """Whether its text ends in a newline: without one it may be only the first part of a text."""


class File(NamedTuple):
    """What was read of a file."""

    data: bytes
    path: str
    """How problems name it."""
    directory: str
    """Where it lies, absolute."""


def read(files: Sequence[File]) -> list[Reading]:
    """Read files' contents: stage by stage for all of them, as far as they are plain (see `read_fast`)."""
    texts = [decode(file.data, file.path) for file in files]
    plain = read_fast([text if isinstance(text, str) else "" for text in texts])
    specs = [None if found is None else _declare_all(found) for found in plain]
    declared = [None if good is None else _declared_all(good, file) for good, file in zip(specs, files, strict=True)]
    return [_reading(file, text, good) for file, text, good in zip(files, texts, declared, strict=True)]


def _reading(file: File, text: str | Problem, declared: tuple[Declared, ...] | None) -> Reading:
    if isinstance(text, Problem):
        return Reading(problems=(text,), opaque=True, ended=file.data.endswith(b"\n"))
    ended = text.endswith("\n") or not text
    return _read_slow(text, file, ended=ended) if declared is None else Reading(declared=declared, ended=ended)


def refused(problem: Problem) -> Reading:
    """What is said by a file that may not be read."""
    return Reading(problems=(problem,), opaque=True)


def locate(data: bytes, path: str, index: int, keys: Keys) -> tuple[int, int] | None:
    """Line and column of a key's value in a file's document, for what turns out to be wrong later."""
    text = decode(data, path)
    documents = () if isinstance(text, Problem) else read_slow(text, path).documents
    if index >= len(documents):
        return None
    return _place(documents[index], Finding(keys, ""))


def _declare_all(documents: list[tuple[Plain, int]]) -> list[tuple[AnyResource, int]] | None:
    """The resources of a file with their lines, or None where anything is wrong."""
    specs: list[tuple[AnyResource, int]] = []
    for content, line in documents:
        spec = _declare(content)
        if spec is None:
            return None
        specs.append((spec, line))
    return specs


def _declared_all(specs: list[tuple[AnyResource, int]], file: File) -> tuple[Declared, ...]:
    return tuple([_declared(spec, line, number, file) for number, (spec, line) in enumerate(specs)])


def _declare(content: Plain) -> AnyResource | None:
    """A resource, or None where anything is wrong."""
    if not isinstance(content, dict):
        return None
    name = content.get("kind")
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        return None
    try:
        spec = kind.__pydantic_validator__.validate_python(content)
    except ValidationError:
        return None
    return None if spec.kind == "Engine" and spec.params and schema_findings(spec.params) else spec


def _declared(spec: AnyResource, line: int, number: int, file: File) -> Declared:
    space = SPACES[spec.kind]
    if space != "runs":
        return Declared((space, spec.name), spec, line, number)
    runs = cast("Workable", spec)
    pause = (locate(file.data, file.path, number, ("paused",)) or (line, 1))[0] if runs.paused else 0
    source = Source(path=file.path, line=line, pause=pause)
    made = workload(runs, source=source, directory=file.directory, engines={})
    return Declared((space, spec.name), spec, line, number, pause, None if isinstance(made, Unfit) else made)


def _read_slow(text: str, file: File, *, ended: bool) -> Reading:
    whole = read_slow(text, file.path)
    declared: list[Declared] = []
    problems: list[Problem] = []
    broken: list[Key] = []
    opaque = whole.problem is not None
    for index, document in enumerate(whole.documents):
        spec, found = _check(document, file.path)
        if spec is not None:
            declared.append(_declared(spec, document.line, index, file))
            continue
        key = _key(document.data)
        if key is None:
            opaque = True
        else:
            broken.append(key)
        problems.extend(found)
    if whole.problem is not None:
        key = None
        if whole.unfinished is not None:
            key = _key(whole.unfinished.data)
            problems.extend(_named(problem, key) for problem in whole.unfinished.problems)
        broken.extend(() if key is None else (key,))
        problems.append(_named(whole.problem, key))
    return Reading(declared=tuple(declared), problems=tuple(problems), broken=tuple(broken), opaque=opaque, ended=ended)


def _check(document: Document, path: str) -> tuple[AnyResource | None, list[Problem]]:
    key = _key(document.data)
    problems = [_named(problem, key) for problem in document.problems]
    findings: list[Finding] = []
    spec = _validate(document.data, findings)
    findings.sort(key=lambda finding: _place(document, finding))
    for finding in every(findings, MOST_PROBLEMS):
        line, column = _place(document, finding)
        problem = Problem(path=path, line=line, column=column, key=dotted(finding.keys), message=finding.message)
        if not any(problem.key == other.key and problem.line == other.line for other in document.problems):
            problems.append(_named(problem, key))
    return (None if problems else spec), problems


def _validate(content: Plain, findings: list[Finding]) -> AnyResource | None:
    if not isinstance(content, dict):
        what = "a list" if isinstance(content, list) else "a single value"
        findings.append(Finding((), f"cannot be {what}; write a mapping: kind, name …"))
        return None
    kind = content.get("kind")
    resource = KINDS.get(kind) if isinstance(kind, str) else None
    if resource is None:
        findings.append(_unknown_kind(kind, written="kind" in content))
        return None
    try:
        spec = resource.model_validate(content)
    except ValidationError as error:
        findings.extend(explain(error, content, resource))
        return None
    if isinstance(spec, Engine):
        findings.extend(schema_findings(spec.params))
    return spec


def _unknown_kind(kind: Plain, *, written: bool) -> Finding:
    known = ", ".join(KINDS)
    if not written:
        return Finding(("kind",), f"cannot be left out; write one of {known}")
    if not isinstance(kind, str):
        return Finding(("kind",), f"cannot be {show(kind)}; write one of {known}")
    if kind in LATER_KINDS:
        return Finding(("kind",), f"cannot be {kind} yet: this version knows {known}; remove the document")
    near = get_close_matches(kind.lower(), {name.lower() for name in KINDS}, n=1, cutoff=0.6)
    advice = f"did you mean {near[0].capitalize()}?" if near else f"write one of {known}"
    return Finding(("kind",), f"cannot be {show(kind)}; {advice}")


def _key(content: Plain) -> Key | None:
    """What a document with problems is about, if that much can be read."""
    if not isinstance(content, dict):
        return None
    kind = content.get("kind")
    name = content.get("name")
    if not isinstance(kind, str) or not isinstance(name, str) or kind not in SPACES:
        return None
    if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
        return None
    return SPACES[kind], name


def _named(problem: Problem, key: Key | None) -> Problem:
    names = (key[1],) if key is not None and key[0] == "runs" else ()
    return Problem(
        path=problem.path,
        line=problem.line,
        column=problem.column,
        key=problem.key,
        message=problem.message,
        names=names,
    )


def _place(document: Document, finding: Finding) -> tuple[int, int]:
    """The value's place, or the key's; of what is missing, the place of what should hold it."""
    keys = finding.keys
    while keys:
        place = document.places.get(keys)
        if place is not None:
            return place[:2] if finding.at_key and keys == finding.keys else place[2:]
        keys = keys[:-1]
    place = document.places.get((), (document.line, 1, document.line, 1))
    return place[2:]
