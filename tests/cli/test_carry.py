"""Models carried from one machine to another as a file: what is typed, and what is said."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from reconciler import shelf
from reconciler.cli import main
from reconciler.model.stored import Here
from tests.shelved import COMMIT, shelved

CHAT = "kind: Model\nname: chat\nsource: hf:org/x-GGUF\ngpus: 0\nmemory: 1GiB\n"
SOURCE = "hf:org/x-GGUF/*.gguf"
DATA = b"x" * 300_000


class Machine:
    """One fleet, one cache, no daemon."""

    def __init__(self, root: Path, size: str = "1GiB") -> None:
        self.root, self.fleet = root, root / "fleet.d"
        self.fleet.mkdir(parents=True)
        self.place = shelf.place(str(root / "cache"))
        node = {"kind": "Node", "name": "local", "cache": {"path": str(root / "cache"), "size": size}}
        (self.fleet / "node.yaml").write_text(json.dumps(node))

    def types(self, *words: str) -> int:
        return main([*words, "--fleet", str(self.fleet), "--state", str(self.root / "state")])

    def has(self, source: str = SOURCE) -> bool:
        return isinstance(shelf.look(self.place, source, 0.0), Here)


@pytest.fixture
def far(tmp_path):
    made = Machine(tmp_path / "far")
    (made.fleet / "chat.yaml").write_text(CHAT)
    shelved(made.place, SOURCE, {"x-Q8_0.gguf": DATA})
    return made


@pytest.fixture
def near(tmp_path):
    return Machine(tmp_path / "near")


def test_a_declared_model_is_carried_with_its_file_and_starts_without_a_network(far, near, tmp_path, capsys):
    file = str(tmp_path / "chat.tar")
    assert far.types("bundle", "chat", "--yaml", "-o", file) == 0
    assert capsys.readouterr().out == f"{file}: 293.0 KiB: {SOURCE} at {COMMIT[:7]}, chat.yaml\n"
    assert near.types("import", file) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{SOURCE} is here, whole and checked",
        f"it carries chat.yaml too; `--yaml` puts that into {near.fleet}",
    ]
    assert near.types("import", file, "--yaml") == 0
    assert (near.fleet / "chat.yaml").read_text() == CHAT
    capsys.readouterr()
    assert near.types("import", file, "--yaml") == 0
    assert capsys.readouterr().err == f"holdfast: {near.fleet}/chat.yaml is there already; it was left as it is\n"
    assert near.has()
    assert near.types("plan") == 0
    planned = capsys.readouterr().out
    assert "+ chat/0  start" in planned
    assert "fetch" not in planned


def test_it_streams_through_a_pipe(far, near, environment):
    where = [["--fleet", str(each.fleet), "--state", str(each.root / "state")] for each in (far, near)]
    command = [sys.executable, "-m", "reconciler.cli"]
    out = subprocess.Popen([*command, "bundle", SOURCE, "-o", "-", *where[0]], stdout=subprocess.PIPE, env=environment)
    done = subprocess.run([*command, "import", "-", *where[1]], stdin=out.stdout, env=environment, check=False)
    assert (out.wait(60), done.returncode) == (0, 0)
    assert near.has()


def test_what_cannot_be_bundled_is_said(far, tmp_path, capsys):
    file = tmp_path / "chat.tar"

    def said(*words: str) -> str:
        assert far.types("bundle", *words, "-o", str(file)) == 1
        assert not [path for path in tmp_path.iterdir() if path.suffix == ".part"]
        return capsys.readouterr().err

    assert "nothing that was fetched for a model of that name is here" in said("other")
    shelved(far.place, "https://h/a.gguf", {"a.gguf": DATA}, ends=False)
    assert "cannot bundle https://h/a.gguf: it is not all here" in said("https://h/a.gguf")
    next((far.root / "cache/hub").rglob("blobs/*")).write_bytes(b"y" * len(DATA))
    assert "is not what was fetched, its disk has changed it" in said("chat")
    assert not file.exists()
    file.write_bytes(b"mine")
    assert "it is there already; remove it" in said("chat")
    assert file.read_bytes() == b"mine"


def test_without_room_it_is_said_what_to_delete(far, tmp_path, capsys):
    near = Machine(tmp_path / "full", size="1MiB")
    shelved(near.place, "hf:org/old", {"a.safetensors": b"o" * 900_000})
    file = str(tmp_path / "chat.tar")
    assert far.types("bundle", "chat", "-o", file) == 0
    assert near.types("import", file) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"holdfast: cannot import {file}: it needs 293.0 KiB more, and the cache holds ")
    assert told.endswith("; `holdfast models prune hf:org/old` gives back 878.9 KiB\n")
    assert near.types("models", "prune", "hf:org/old", "--yes") == 0
    assert near.types("import", file) == 0
    assert near.has()


def test_a_cut_bundle_is_told_by_its_name(far, near, tmp_path, capsys):
    file = tmp_path / "chat.tar"
    assert far.types("bundle", "chat", "-o", str(file)) == 0
    os.truncate(file, 3000)
    assert near.types("import", str(file)) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"holdfast: cannot import {file}: it ends within ")
    assert told.endswith("it was cut; copy it again\n")
    assert near.types("import", str(tmp_path / "none.tar")) == 1
    assert capsys.readouterr().err == f"holdfast: cannot use {tmp_path}/none.tar: no such file or directory\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_what_root_imports_belongs_to_whose_cache_it_is(far, tmp_path):
    file = str(tmp_path / "chat.tar")
    assert far.types("bundle", "chat", "-o", file) == 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        near = Machine(root / "near")
        (near.root / "cache").mkdir()
        os.chown(near.root / "cache", 65534, 65534)
        assert near.types("import", file) == 0
        assert {path.lstat().st_uid for path in (near.root / "cache").rglob("*")} == {65534}
        assert os.geteuid() == 0
