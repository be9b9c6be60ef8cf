"""An inventory file: the GPUs of a machine written down, to plan for one that is not this one, or to simulate it."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NoReturn

import yaml
from pydantic import BeforeValidator, Field, ValidationError

from reconciler.model.errors import SpecError
from reconciler.model.fields import Name, Size, Spec
from reconciler.model.observation import Gpu, Host, Maker
from reconciler.model.quantity import write_size
from reconciler.model.source import Problem
from reconciler.observe import host

_LIMIT = 256 * 1024
_INTEGER = re.compile(r"-?(0|[1-9]\d{0,18})")
_WORDS: dict[str, Any] = {"": None, "null": None, "~": None, "true": True, "false": False}


def _written(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Text = Annotated[str, BeforeValidator(_written), Field(min_length=1, max_length=200)]


class _Card(Spec):
    index: int = Field(ge=0, le=1023)
    uuid: Text
    model: Text
    memory: Size
    used: Size = 0
    maker: Maker = "nvidia"
    part: bool = False
    numa: int | None = Field(default=None, ge=0, le=1023)
    cordoned: str = Field(default="", max_length=500)
    links: Annotated[tuple[int, ...], Field(strict=False)] = ()


class _File(Spec):
    node: Name
    driver: Text | None = None
    memory: Size
    gpus: Annotated[tuple[_Card, ...], Field(strict=False, max_length=1024)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """A machine written down."""

    node: str
    memory: int
    """Bytes of the host."""
    driver: str | None = None
    gpus: tuple[Gpu, ...] = ()
    """Sorted by index."""


def read(path: str) -> Inventory:
    """Read an inventory file. Raises SpecError with every problem of it as `path:line:col: key: cannot …`."""
    try:
        with open(path, "rb") as file:
            data = file.read(_LIMIT + 1)
    except OSError as error:
        _refuse(path, f"cannot read the inventory: {error.strerror}")
    return parse(data, path)


def read_all(paths: Sequence[str]) -> list[Inventory]:
    """Read several machines, which may not be one another. Raises SpecError."""
    found: list[Inventory] = []
    for path in paths:
        machine = read(path)
        twice = next((other for other in found if other.node == machine.node), None)
        if twice is not None:
            _refuse(path, f"cannot be {machine.node} too: another inventory has that name; give each its own node")
        uuids = {gpu.uuid for other in found for gpu in other.gpus}
        shared = sorted(gpu.uuid for gpu in machine.gpus if gpu.uuid in uuids)
        if shared:
            _refuse(path, f"cannot have gpu {shared[0]}: another inventory has it; give each its own uuid")
        found.append(machine)
    return found


def parse(data: bytes, path: str) -> Inventory:
    """The same of a file's bytes."""
    if len(data) > _LIMIT:
        _refuse(path, "cannot read more than 256 KiB; an inventory is one machine")
    root = _compose(path, data)
    try:
        written = _File.model_validate(_value(path, root))
    except ValidationError as error:
        problems = [_problem(path, root, entry["loc"], entry["type"], _said(dict(entry))) for entry in error.errors()]
        raise SpecError(tuple(sorted(problems, key=lambda problem: (problem.line, problem.column)))) from None
    for at, card in enumerate(written.gpus):
        for key in ("index", "uuid"):
            same = [other for other in written.gpus if getattr(other, key) == getattr(card, key)]
            if len(same) > 1:
                said = f"cannot be {getattr(card, key)} on {len(same)} gpus; give each its own"
                raise SpecError((_problem(path, root, ("gpus", at, key), "value_error", said),))
    cards = sorted(written.gpus, key=lambda card: card.index)
    return Inventory(
        node=written.node,
        memory=written.memory,
        driver=written.driver,
        gpus=tuple(
            Gpu(
                index=card.index,
                uuid=card.uuid,
                model=card.model,
                memory=card.memory,
                used=card.used,
                links=card.links,
                maker=card.maker,
                part=card.part,
                numa=card.numa,
                cordoned=card.cordoned,
            )
            for card in cards
        ),
    )


def write(machine: Inventory) -> str:
    """The file's text, which `read` turns back into the same."""
    lines = [f"node: {_quoted(machine.node)}"]
    lines += [f"driver: {_quoted(machine.driver)}"] if machine.driver is not None else []
    lines += [f"memory: {write_size(machine.memory)}            # of the host", "gpus:" if machine.gpus else "gpus: []"]
    for gpu in machine.gpus:
        rest = [f"maker: {gpu.maker}"] if gpu.maker != "nvidia" else []
        rest += ["part: true"] if gpu.part else []
        rest += [f"numa: {gpu.numa}"] if gpu.numa is not None else []
        rest += [f"links: [{', '.join(map(str, gpu.links))}]"] if gpu.links else []
        rest += [f"cordoned: {_quoted(gpu.cordoned)}"] if gpu.cordoned else []
        lines.append(
            f"  - {{index: {gpu.index}, uuid: {_quoted(gpu.uuid)}, model: {_quoted(gpu.model)}, "
            f"memory: {write_size(gpu.memory)}, used: {', '.join([write_size(gpu.used), *rest])}}}"
        )
    return "\n".join(lines) + "\n"


def of(machine: Host, gpus: tuple[Gpu, ...]) -> Inventory:
    """What was observed of a machine, as an inventory: for `holdfast inventory`."""
    return Inventory(node=machine.name, memory=machine.memory, driver=machine.driver, gpus=gpus)


def simulated_host(machine: Inventory) -> Host:
    """The host of an inventory. Its engine programs cannot be known from here, and are taken to be installed."""
    here = host.look()
    return Host(
        name=machine.node,
        cpus=here.cpus,
        memory=machine.memory,
        available=machine.memory,
        programs={name: name for name in host.PROGRAMS},
        python=here.python,
        driver=machine.driver,
    )


def _quoted(text: str) -> str:
    if text not in _WORDS and re.fullmatch(r"[A-Za-z][A-Za-z0-9 ._/-]*[A-Za-z0-9]", text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _refuse(path: str, message: str, line: int = 1, column: int = 1) -> NoReturn:
    raise SpecError((Problem(path=os.fspath(path), line=line, column=column, message=message),))


def _compose(path: str, data: bytes) -> Any:
    try:
        # the pure loader: the one in C crashes the whole process on deep nesting
        loader: Any = yaml.SafeLoader(data.decode())
        root: Any = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        _refuse(path, f"cannot be read as YAML: {error.problem}", line, column)
    except yaml.YAMLError as error:
        _refuse(path, f"cannot be read as YAML: {' '.join(str(error).split())}")
    except (RecursionError, UnicodeDecodeError):
        _refuse(path, "cannot be read as YAML: it is nested too deep, or no UTF-8 text")
    if root is None:
        _refuse(path, "cannot be empty; `holdfast inventory` prints this machine's")
    return root


def _value(path: str, node: Any) -> Any:
    """Plain values. Aliases are refused: nothing here needs them, and they can grow without bound."""
    seen = set[int]()

    def plain(node: Any) -> Any:
        line, column = node.start_mark.line + 1, node.start_mark.column + 1
        if id(node) in seen:
            _refuse(path, "cannot use an alias here; write the value again", line, column)
        seen.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            text = str(node.value)
            if node.style is not None:
                return text
            return int(text) if _INTEGER.fullmatch(text) else _WORDS.get(text, text)
        if isinstance(node, yaml.SequenceNode):
            items: list[Any] = node.value
            return [plain(item) for item in items]
        found: dict[str, Any] = {}
        pairs: list[tuple[Any, Any]] = node.value
        for key, value in pairs:
            line, column = key.start_mark.line + 1, key.start_mark.column + 1
            if not isinstance(key, yaml.ScalarNode):
                _refuse(path, "cannot use this as a key; write a word", line, column)
            name = str(key.value)
            if name in found:
                _refuse(path, f"cannot give {name} twice; remove one", line, column)
            found[name] = plain(value)
        return found

    try:
        return plain(node)
    except RecursionError:
        _refuse(path, "cannot be nested so deep")


def _said(entry: dict[str, Any]) -> str:
    """What pydantic found, in our words."""
    match entry["type"]:
        case "missing":
            return "is missing; give it"
        case "extra_forbidden":
            return "is not known; remove it"
        case "model_type":
            return "cannot be this; write `key: value` pairs as `holdfast inventory` prints them"
        case "string_pattern_mismatch":
            return f"cannot be {entry['input']!r}; choose a-z, 0-9 and '-', at most 63 characters"
        case _:
            given = entry["input"] if isinstance(entry["input"], str | int | float) else "this"
            said = str(entry["msg"]).removeprefix("Value error, ")
            return f"cannot be {given!r}; {said[:1].lower()}{said[1:]}"


def _problem(path: str, root: Any, loc: tuple[int | str, ...], kind: str, message: str) -> Problem:
    """Where a value stands in the file; where it is missing, what it is missing from."""
    node, mark = root, root.start_mark
    for key in loc:
        if isinstance(node, yaml.MappingNode):
            entries: list[tuple[Any, Any]] = [pair for pair in node.value if pair[0].value == key]
            if not entries:
                break
            name, node = entries[0]
            mark = name.start_mark if kind == "extra_forbidden" else node.start_mark
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
            mark = node.start_mark
    dotted = ".".join(map(str, loc))
    return Problem(path=os.fspath(path), line=mark.line + 1, column=mark.column + 1, key=dotted, message=message)
