"""What lies in the cache: who needs it, who has it open, what is shared, and what the daemon noted of it."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler import shelf
from reconciler.model.observation import Unknown
from reconciler.model.status import Reason
from reconciler.model.stored import Absent, Here, Kept
from reconciler.observe import shelves
from reconciler.observe.opened import opened
from reconciler.observe.sources import Sources, look
from tests.eventually import eventually
from tests.shelved import COMMIT, shelved

MIB = 2**20
ONE, TWO = bytes(MIB), b"2" * MIB


@pytest.fixture
def place(tmp_path: Path) -> shelf.Place:
    return shelf.place(str(tmp_path))


def kept(place: shelf.Place, source: str, **more) -> Kept:
    (found,) = [each for each in shelves.look(place, more.pop("needs", {}), **more).kept if each.source == source]
    return found


def test_a_source_is_told_with_who_needs_it_and_what_runs_with_it(place, tmp_path):
    made = shelved(place, "hf:org/x/a.gguf", {"a.gguf": ONE})
    path = str(tmp_path / f"hub/models--org--x/snapshots/{COMMIT}/a.gguf")
    found = kept(place, made.source, needs={made.source: ("chat", "code")}, held={path: ("chat/0",)})
    assert (found.state, found.revision, found.path) == ("whole", COMMIT, path)
    assert (found.size, found.total) == (MIB, MIB)
    assert (found.needed_by, found.held_by, found.unneeded_since) == (("chat", "code"), ("chat/0",), None)
    os.unlink(path)
    assert kept(place, made.source).state == "partial"


def test_what_two_share_counts_once_and_what_others_keep_is_not_ours(place, tmp_path):
    shelved(place, "hf:org/x@v1", {"model.safetensors": ONE})
    shelved(place, "hf:org/x@v2", {"model.safetensors": ONE, "b.safetensors": TWO}, revision="d" * 40)
    (tmp_path / "hub/models--other--y/blobs").mkdir(parents=True)
    (tmp_path / "hub/models--other--y/blobs/x").write_bytes(ONE)
    found = shelves.look(place, {}, limit=10 * MIB)
    assert [each.source for each in found.kept] == ["hf:org/x@v1", "hf:org/x@v2"]
    assert sum(blob.size for blob in found.blobs) == 2 * MIB
    assert found.size >= 3 * MIB
    assert [blob.sources for blob in found.blobs if len(blob.sources) > 1] == [("hf:org/x@v1", "hf:org/x@v2")]
    assert found.limit == 10 * MIB


def test_a_part_is_told_with_how_much_of_it_is_here(place):
    shelved(place, "hf:org/x/a.gguf", {"a.gguf": ONE}, ends=False)
    found = kept(place, "hf:org/x/a.gguf")
    assert (found.state, found.size, found.total, found.path) == ("partial", MIB, 10**6, "")


MAPPED = "fd = os.open(name, 0); ctypes.CDLL(None).mmap(None, 4096, 1, 2, fd, 0); os.close(fd)"


@pytest.mark.parametrize("how", ["held = open(name)", MAPPED])
def test_who_has_a_file_open_or_mapped_is_named(place, how):
    made = shelved(place, "https://h/a.gguf", {"a.gguf": ONE})
    path = made.shown("a.gguf")
    code = f"import sys, os, ctypes; name = sys.argv[1]; {how}; print(flush=True); sys.stdin.read()"
    reader = subprocess.Popen([sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert reader.stdout is not None
    assert reader.stdin is not None
    reader.stdout.readline()
    who = f"(pid {reader.pid})"
    assert [name.endswith(who) for name in opened([path])[path]] == [True]
    assert [name.endswith(who) for name in kept(place, made.source).held_by] == [True]
    reader.stdin.close()
    reader.wait()
    assert opened([path]) == {}


def test_an_empty_place_is_an_empty_shelf(tmp_path):
    found = shelves.look(shelf.place(str(tmp_path / "none/yet")), {})
    assert (found.kept, found.blobs, found.size) == ((), (), 0)
    assert found.free > 0


def test_since_when_nobody_needs_it_is_noted_but_not_while_a_file_is_broken(place, tmp_path):
    made = shelved(place, "hf:org/x", {"a.safetensors": ONE})
    sources = Sources(time.monotonic, lambda _: None)

    def noted() -> bool | None:
        found = shelf.need(made.directory)
        return found[0] if found is not None else None

    sources.want({made.source: ("chat",)}, str(tmp_path), sure=True)
    eventually(lambda: noted() is True)
    sources.want({}, str(tmp_path), sure=False)
    sources.look()
    assert noted() is True
    before = time.time()
    sources.want({}, str(tmp_path), sure=True)
    eventually(lambda: noted() is False)
    since = kept(place, made.source).unneeded_since
    assert since is not None
    assert before - 1 <= since <= time.time() + 1
    sources.look()
    assert kept(place, made.source).unneeded_since == since


def test_when_it_was_used_is_noted(place, tmp_path):
    made = shelved(place, "hf:org/x/a.gguf", {"a.gguf": ONE})
    sources = Sources(time.monotonic, lambda _: None)
    sources.want({}, str(tmp_path), sure=True)
    sources.look()
    assert kept(place, made.source).used is None
    sources.used(("/elsewhere", made.shown("a.gguf")))
    sources.look()
    used = kept(place, made.source).used
    assert used is not None
    assert abs(used - time.time()) < 60


def test_that_something_came_is_told_once(place, tmp_path):
    told: list[bool] = []
    sources = Sources(time.monotonic, told.append)
    sources.want({"hf:org/x": ("chat",)}, str(tmp_path), sure=True)
    eventually(lambda: sources()["hf:org/x"] == Absent())
    shelved(place, "hf:org/x", {"a.safetensors": ONE})
    sources.look()
    assert isinstance(sources()["hf:org/x"], Here)
    assert told == [False, True]


def test_where_there_is_no_room_what_could_go_is_named_exactly(place):
    for name, data in (("old", ONE), ("older", TWO), ("needed", ONE)):
        shelved(place, f"hf:org/{name}", {"a.safetensors": data})
    shelf.write_need(shelf.directory(place, "hf:org/older"), False, 50.0)
    shelf.write_need(shelf.directory(place, "hf:org/old"), False, 100.0)
    wanted = {"hf:org/needed": ("chat",), "hf:org/new": ("code",)}
    folder = shelf.directory(place, "hf:org/new")
    os.makedirs(folder)
    descriptor = os.open(f"{folder}/progress", os.O_RDWR | os.O_CREAT)

    def failed(short: int, at: float) -> str:
        told = shelf.Progress(
            source="hf:org/new", state="failed", reason="DiskFull", detail="no room", boot=shelf.boot()
        )
        told = replace(told, short=short, at=at)
        shelf.write_progress(descriptor, told)
        stored = look(wanted, place, 10.0)["hf:org/new"]
        assert isinstance(stored, Absent)
        assert stored.failure is not None
        assert stored.failure.reason is Reason.DiskFull
        return stored.failure.detail

    assert failed(MIB // 2, 1.0) == "no room; `holdfast models prune hf:org/older` gives back 1.0 MiB"
    assert failed(MIB + 1, 2.0) == "no room; `holdfast models prune hf:org/older hf:org/old` gives back 2.0 MiB"
    assert failed(9 * MIB, 3.0).endswith("gives back 2.0 MiB of the 9.0 MiB that it lacks")
    os.close(descriptor)


def test_whatever_goes_wrong_in_a_look_is_said_and_it_is_looked_again(tmp_path):
    odd = [True]

    def clock() -> float:
        if odd:
            raise RuntimeError("odd")
        return 0.0

    sources = Sources(clock, lambda _: None)
    sources.want({"hf:org/x": ("chat",)}, str(tmp_path), sure=True)
    eventually(lambda: isinstance(found := sources()["hf:org/x"], Unknown) and "odd" in found.reason)
    odd.clear()
    sources.want({"hf:org/x": ("chat", "draft")}, str(tmp_path), sure=True)
    eventually(lambda: sources()["hf:org/x"] == Absent(), what="the thread still looks")
