"""Weights are deleted whole, with nothing that another source or another tool uses, whoever is killed in between."""

import json
import os
from pathlib import Path

import pytest

from reconciler import shelf
from reconciler.act.discard import discard, sweep
from reconciler.model.stored import Absent, Here
from tests.shelved import COMMIT, every, shelved

SHARED, ONE, TWO = b"shared" * 100, b"one" * 100, b"two" * 100
OTHER = "d" * 40
REPO = "hub/models--org--x"


@pytest.fixture
def place(tmp_path: Path) -> shelf.Place:
    return shelf.place(str(tmp_path))


def here(place: shelf.Place, source: str) -> bool:
    return isinstance(shelf.look(place, source, 0.0), Here)


def test_all_of_it_goes_and_no_directory_stays(place, tmp_path):
    for source in ("hf:org/x/a.gguf", "modelscope:org/x/a.gguf", "https://h/a.gguf"):
        shelved(place, source, {"a.gguf": ONE})
        assert here(place, source)
        discard(place, [source])
        assert shelf.look(place, source, 0.0) == Absent()
        assert every(tmp_path) == set()
        assert sorted(path.name for path in tmp_path.rglob("*")) in (["holdfast", "hub"], ["holdfast"])


def test_what_two_sources_share_goes_with_the_last(place, tmp_path):
    shelved(place, "hf:org/x@v1", {"model.safetensors": SHARED, "config.json": ONE})
    shelved(place, "hf:org/x@v2", {"model.safetensors": SHARED, "config.json": TWO}, revision=OTHER)
    discard(place, ["hf:org/x@v1"])
    assert here(place, "hf:org/x@v2")
    assert not (tmp_path / REPO / "snapshots" / COMMIT).exists()
    assert [path.name for path in (tmp_path / REPO / "refs").iterdir()] == ["v2"]
    assert {path.read_bytes() for path in (tmp_path / REPO / "blobs").iterdir()} == {SHARED, TWO}
    discard(place, ["hf:org/x@v2"])
    assert every(tmp_path) == set()


def test_two_sources_at_one_commit_keep_each_others_files(place, tmp_path):
    shelved(place, "hf:org/x", {"a.gguf": ONE, "b.gguf": TWO})
    shelved(place, "hf:org/x/a.gguf", {"a.gguf": ONE})
    discard(place, ["hf:org/x"])
    assert here(place, "hf:org/x/a.gguf")
    assert {path.name for path in (tmp_path / REPO / "snapshots" / COMMIT).iterdir()} == {"a.gguf"}
    assert (tmp_path / REPO / "refs/main").exists()


def tools(tmp_path: Path, name: str, data: bytes, blob: str, commit: str = COMMIT) -> Path:
    """A file as another tool keeps it in the same folder."""
    path = tmp_path / REPO / "blobs" / blob
    link = tmp_path / REPO / "snapshots" / commit / name
    for folder in (path.parent, link.parent):
        folder.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    link.symlink_to(f"../../blobs/{blob}")
    return link


def test_what_another_tool_brought_stays_though_we_used_it(place, tmp_path):
    import hashlib

    link = tools(tmp_path, "a.gguf", ONE, hashlib.sha256(ONE).hexdigest())
    shelved(place, "hf:org/x", {"a.gguf": ONE, "b.gguf": TWO})
    discard(place, ["hf:org/x"])
    assert link.read_bytes() == ONE
    assert not (link.parent / "b.gguf").is_symlink()


def test_what_another_tool_uses_of_ours_stays(place, tmp_path):
    shelved(place, "hf:org/x", {"a.gguf": ONE, "b.gguf": TWO})
    blob = os.path.basename(os.path.realpath(tmp_path / REPO / "snapshots" / COMMIT / "a.gguf"))
    link = tools(tmp_path, "a.gguf", ONE, blob, OTHER)
    discard(place, ["hf:org/x"])
    assert link.read_bytes() == ONE
    assert len(list((tmp_path / REPO / "blobs").iterdir())) == 1


def test_a_part_goes_with_what_was_noted_of_it(place, tmp_path):
    shelved(place, "hf:org/x/a.gguf", {"a.gguf": ONE}, ends=False)
    shelved(place, "hf:org/x/b.gguf", {"b.gguf": TWO}, ends=False)
    (partial,) = [path for path in (tmp_path / REPO / "blobs").iterdir() if path.read_bytes() == ONE]
    partial.with_name(f"{partial.name}.etag").write_text("9 x")
    discard(place, ["hf:org/x/a.gguf"])
    assert [path.read_bytes() for path in (tmp_path / REPO / "blobs").iterdir()] == [TWO]


@pytest.mark.parametrize("after", range(6))
def test_killed_at_any_step_it_is_never_whole_and_is_ended_by_the_next(place, tmp_path, after):
    shelved(place, "hf:org/x", {"a.gguf": ONE, "b.gguf": TWO})
    shelved(place, "hf:org/y", {"a.gguf": SHARED})
    left = every(tmp_path)
    steps = 0

    class Killed(BaseException):
        pass

    def unlink(path: str) -> None:
        nonlocal steps
        steps += 1
        if steps > after:
            raise Killed
        os.unlink(path)

    try:
        discard(place, ["hf:org/x"], unlink=unlink)
    except Killed:
        assert not here(place, "hf:org/x")
    sweep(place)
    assert not shelf.gone(place)
    assert every(tmp_path) == {path for path in left if "models--org--y" in path}
    assert here(place, "hf:org/y")


def test_a_record_that_leads_elsewhere_deletes_nothing_there(place, tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    made = shelved(place, "hf:org/x", {"a.gguf": ONE})
    shelf.write_whole(
        made.directory,
        shelf.Whole(
            source="hf:org/x",
            path=str(outside),
            revision=COMMIT,
            files=(shelf.File(path="a", size=4, digest="", at=str(outside)),),
        ),
    )
    (Path(made.directory) / "claimed").write_text(json.dumps([str(outside)]))
    discard(place, ["hf:org/x"])
    assert outside.exists()
