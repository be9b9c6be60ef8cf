"""The weights on a machine, and what may be deleted of them: shown, asked, done; with a daemon and without."""

import json
import os
import pty
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler import shelf
from reconciler.cli import main
from reconciler.model.stored import Here, Shelf
from tests.api.daemon import SHELF
from tests.shelved import shelved


def test_models_are_listed_with_who_needs_them(run, soon):
    done = run("models")
    assert done.status == 0
    lines = done.out.splitlines()
    assert lines[0].split() == ["SOURCE", "STATE", "SIZE", "NEEDED", "BY", "USED"]
    assert "hf:Qwen/Qwen3-8B" in lines[1]
    assert "● whole" in lines[1]
    assert "chat" in lines[1]
    assert "◐ fetching  1.0 GiB of 4.0 GiB" in lines[2]
    assert "nobody for " in lines[3]
    assert "30.0 GiB of 100.0 GiB in /data/models, 6.0 GiB of it of other tools; 12.0 GiB free on its disk" in done.out
    assert "`holdfast models prune` would give back 7.0 GiB, and asks first" in done.out


def test_models_as_json_are_the_whole_shelf(run, soon):
    from reconciler.model.decode import decode

    assert decode(Shelf, json.loads(run("models", "--json").out)) == SHELF


def test_no_escape_of_a_source_reaches_the_terminal(run, soon, recorder):
    evil = replace(SHELF.kept[3], source="https://h/\x1b]0;owned\x07")
    recorder.shelf = replace(SHELF, kept=(evil,), frozen="\x1b[2J")
    assert "\x1b" not in run("models").out


def test_a_prune_shows_what_goes_and_deletes_nothing_unasked(run, soon, recorder):
    done = run("models", "prune")
    assert done.status == 1
    assert "hf:o/old-GGUF/*.gguf" in done.out
    assert "that gives back 7.0 GiB" in done.out
    assert done.err == "holdfast: nothing was deleted: answer on a terminal, or give --yes\n"
    dry = run("models", "prune", "--dry-run")
    assert (dry.status, dry.out.splitlines()[0]) == (0, "would delete:")
    assert recorder.asked == []
    assert run("models", "prune", "--yes").out.endswith("deleted it\n")
    assert recorder.asked == [("prune", ("https://h/a.gguf", "hf:o/old-GGUF/*.gguf"))]


def test_a_prune_takes_names_and_ages(run, soon, recorder):
    assert run("models", "prune", "--yes", "hf:o/old-GGUF").status == 0
    recent = replace(SHELF.kept[2], used=time.time() - 60)
    recorder.shelf = replace(SHELF, kept=(recent, SHELF.kept[3]))
    assert run("models", "prune", "--yes", "--older-than", "1h").status == 0
    assert recorder.asked == [("prune", ("hf:o/old-GGUF/*.gguf",)), ("prune", ("https://h/a.gguf",))]


def test_what_is_needed_is_refused_by_name(run, soon, recorder):
    done = run("models", "prune", "--yes", "hf:Qwen/Qwen3-8B", "hf:o/old-GGUF")
    assert done == (1, "", "holdfast: cannot delete hf:Qwen/Qwen3-8B: chat needs it; nothing was deleted\n")
    recorder.shelf = replace(SHELF, frozen="it cannot be told what is needed: mend fleet.d/x.yaml first")
    done = run("models", "prune", "--yes")
    assert done.err == f"holdfast: cannot delete weights now: {recorder.shelf.frozen}\n"
    assert recorder.asked == []


# -- without a daemon


@pytest.fixture
def place(tmp_path: Path) -> shelf.Place:
    fleet = tmp_path / "fleet.d"
    fleet.mkdir()
    node = {"kind": "Node", "name": "local", "cache": {"path": str(tmp_path / "cache"), "size": "1GiB"}}
    (fleet / "node.yaml").write_text(json.dumps(node))
    model = {"kind": "Model", "name": "chat", "source": "hf:org/x-GGUF"}
    (fleet / "chat.yaml").write_text(json.dumps(model))
    place = shelf.place(str(tmp_path / "cache"))
    shelved(place, "hf:org/x-GGUF/*.gguf", {"a.gguf": b"x" * 5000})
    shelved(place, "hf:org/old", {"a.safetensors": b"y" * 3000})
    return place


def alone(tmp_path: Path, *words: str) -> int:
    return main([*words, "--fleet", str(tmp_path / "fleet.d"), "--state", str(tmp_path / "state")])


def test_without_a_daemon_the_files_say_what_is_needed(place, tmp_path, capsys):
    assert alone(tmp_path, "models", "--json") == 0
    found = {each["source"]: each["needed_by"] for each in json.loads(capsys.readouterr().out)["kept"]}
    assert found == {"hf:org/x-GGUF/*.gguf": ["chat"], "hf:org/old": []}
    assert alone(tmp_path, "models", "prune", "--yes") == 0
    assert capsys.readouterr().out.endswith("deleted 1 source: 2.9 KiB\n")
    assert isinstance(shelf.look(place, "hf:org/x-GGUF/*.gguf", 0.0), Here)
    assert not isinstance(shelf.look(place, "hf:org/old", 0.0), Here)
    assert alone(tmp_path, "models", "prune") == 0
    assert capsys.readouterr().out.startswith("nothing may go")


def test_with_a_broken_file_nothing_is_deleted(place, tmp_path, capsys):
    (tmp_path / "fleet.d/chat.yaml").write_text("kind: Model\nname: [")
    assert alone(tmp_path, "models", "prune", "--yes") == 1
    assert "it cannot be told what is needed: mend fleet.d/chat.yaml first" in capsys.readouterr().err
    assert isinstance(shelf.look(place, "hf:org/old", 0.0), Here)


@pytest.mark.parametrize("answer", ["y", "n", ""])
def test_on_a_terminal_it_asks(place, tmp_path, environment, answer):
    ours, theirs = pty.openpty()
    words = ["models", "prune", "--fleet", str(tmp_path / "fleet.d"), "--state", str(tmp_path / "state")]
    command = [sys.executable, "-m", "reconciler.cli", *words]
    asked = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    os.write(ours, f"{answer}\n".encode())
    assert asked.wait(60) == (0 if answer == "y" else 1)
    said = os.read(ours, 65536).decode()
    os.close(ours)
    assert "delete 1 source? [y/N]" in said
    assert isinstance(shelf.look(place, "hf:org/old", 0.0), Here) is (answer != "y")
