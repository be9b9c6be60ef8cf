"""Prints again what a document says that commands print: `python -m tests.cli.printed` writes it into the document."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.engines import gguf_files, shapes

ROOT = Path(__file__).resolve().parent.parent.parent
PLACES = {
    ROOT / "docs/pull-requests.md": "docs/example",
    ROOT / "docs/placement.md": "docs",
    ROOT / "docs/engines.md": "docs",
}
"""Where a reader of each document types its commands: a copy of this, under git."""
DOCUMENTS = tuple(PLACES)
_CONSOLE = re.compile(r"(?<=```console\n)(.*?)(?=```)", re.DOTALL)
_SHOWN = re.compile(r"(?<=<!-- )(holdfast [^\n]*)( -->\n).*?(?=<!-- end -->)", re.DOTALL)
_IDENTITY = {
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org",
    "GIT_AUTHOR_DATE": "2026-11-20T12:00:00Z",
    "GIT_COMMITTER_DATE": "2026-11-20T12:00:00Z",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}


def printed(document: Path, directory: Path) -> str:
    """A document with every output made again, by its own commands."""
    text = document.read_text()
    place, programs = directory / "example", directory / "bin"
    if PLACES[document] == "docs":
        for part in ("docs/placement", "docs/engines", "docs/inventories"):
            shutil.copytree(ROOT / part, place / part)
        shape = shapes.SHAPES["llama 8B"]
        weights = place / "docs/placement/models/llama-8b-q4.gguf"
        weights.parent.mkdir(exist_ok=True)
        gguf_files.write(weights, shapes.metadata(shape), shapes.tensors(shape))
        (place / ".gitignore").write_text("models\n")
    else:
        shutil.copytree(ROOT / PLACES[document], place)
    programs.mkdir()
    (programs / "holdfast").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m reconciler.cli "$@"\n')
    (programs / "holdfast").chmod(0o755)
    env = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("HOLDFAST_", "XDG_", "GIT_"))},
        **_IDENTITY,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(directory),
    }

    def run(command: str) -> str:
        done = subprocess.run(["bash", "-c", command], cwd=place, env=env, capture_output=True, text=True, check=True)
        return done.stdout

    run("git init -q -b main . && git add . && git commit -qm start")
    text = _CONSOLE.sub(
        lambda found: "".join(f"{line}\n{run(line[2:])}" for line in found[1].splitlines() if line.startswith("$ ")),
        text,
    )
    return _SHOWN.sub(lambda found: f"{found[1]}{found[2]}\n{run(found[1])}\n", text)


if __name__ == "__main__":
    for document in DOCUMENTS:
        with tempfile.TemporaryDirectory() as scratch:
            document.write_text(printed(document, Path(scratch)))
