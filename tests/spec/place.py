"""A fleet directory in a test, a clock that a test turns, and a loader that looks at both."""

import os
from collections.abc import Mapping
from pathlib import Path

from reconciler.model.fleet import Fleet
from reconciler.spec import check
from reconciler.spec.load import Loaded, Loader


def model(name: str, **more: object) -> str:
    lines = [f"kind: Model\nname: {name}\nsource: hf:org/repo\n", *(f"{key}: {value}\n" for key, value in more.items())]
    return "".join(lines)


def service(name: str) -> str:
    return f"kind: Service\nname: {name}\ncommand: [sleep, infinity]\n"


def read(data: bytes, path: str) -> check.Reading:
    """What one file says."""
    [reading] = check.read([check.File(data, path, "/etc/fleet.d")])
    return reading


def both(*documents: str) -> str:
    return "---\n".join(documents)


class Place:
    """`write`, `remove`, `look`: every look sees everything unless it is told where to look."""

    def __init__(self, root: Path, files: Mapping[str, str] | None = None, *, rest: float = 1.0) -> None:
        self.root = root
        self.now = 1000.0
        root.mkdir(exist_ok=True)
        for path, text in (files or {}).items():
            self.write(path, text)
        self.loader = Loader(str(root), clock=lambda: self.now, rest=rest)
        self.loaded = self.loader.load()

    def write(self, path: str, text: str | bytes) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode() if isinstance(text, str) else text)

    def remove(self, *paths: str) -> None:
        for path in paths:
            os.unlink(self.root / path)

    def look(self, *paths: str, after: float = 0.0) -> Fleet:
        """What is believed after so many seconds; only these files are looked at if any are named."""
        self.now += after
        self.loader.touch(frozenset(paths) if paths else None)
        self.loaded: Loaded = self.loader.load()
        return self.loaded.fleet

    def wait(self, seconds: float) -> Fleet:
        """What is believed when time passes and nothing is heard of."""
        self.now += seconds
        self.loaded = self.loader.load()
        return self.loaded.fleet


def names(fleet: Fleet) -> list[str]:
    return sorted(fleet.workloads)


def problems(fleet: Fleet) -> list[str]:
    return [str(problem) for problem in fleet.problems]
