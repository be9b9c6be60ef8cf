"""A bundle brings models whole to another cache, or says what is wrong with it and leaves nothing half there."""

import hashlib
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler import shelf
from reconciler.act.bundle import LIST, pack
from reconciler.act.unbundle import Taken, unpack
from reconciler.model.errors import HoldfastError
from reconciler.model.stored import Absent, Here
from tests.act.test_fetch import MODEL, fetch
from tests.hub_server import hub_server
from tests.ollama_model import Tag
from tests.shelved import COMMIT, every, shelved

A, B = b"a" * 3000, b"b" * 5000
SOURCE = "hf:org/x"
Edit = Callable[[dict[str, Any], dict[str, Any]], None]


@pytest.fixture
def far(tmp_path: Path) -> shelf.Place:
    """Where the models were fetched."""
    return shelf.place(str(tmp_path / "far"))


@pytest.fixture
def place(tmp_path: Path) -> shelf.Place:
    """Where they are brought to."""
    return shelf.place(str(tmp_path / "near"))


def packed(far: shelf.Place, *sources: str, fleet: dict[str, bytes] | None = None) -> bytes:
    wholes = [shelf.whole(shelf.directory(far, source)) for source in sources]
    out = io.BytesIO()
    pack(out, [each for each in wholes if each is not None], fleet or {})
    return out.getvalue()


def take(data: bytes, place: shelf.Place, taken: Taken | None = None, room=lambda _: None) -> list[str]:
    taken = taken if taken is not None else Taken()
    unpack(io.BytesIO(data).read, place, room, taken)
    return taken.whole


def refused(data: bytes, place: shelf.Place) -> str:
    with pytest.raises(HoldfastError) as error:
        take(data, place)
    return str(error.value)


def here(place: shelf.Place, source: str = SOURCE) -> bool:
    return isinstance(shelf.look(place, source, 0.0), Here)


def model(far: shelf.Place) -> bytes:
    shelved(far, SOURCE, {"model.safetensors": A, "config.json": B})
    return packed(far, SOURCE)


def test_everything_arrives_as_it_lay(far, place, tmp_path):
    shelved(far, SOURCE, {"model.safetensors": A, "config.json": B})
    shelved(far, "hf:org/x-GGUF/*.gguf", {"x.gguf": A})
    shelved(far, "modelscope:org/x@v1", {"a.safetensors": A}, revision="v1")
    shelved(far, "https://h/a.gguf", {"a.gguf": B})
    sources = [SOURCE, "hf:org/x-GGUF/*.gguf", "modelscope:org/x@v1", "https://h/a.gguf"]
    data = packed(far, *sources)
    assert sorted(take(data, place)) == sorted(sources)
    assert every(tmp_path / "near") == every(tmp_path / "far")
    for source in sources:
        assert here(place, source)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        names = tar.getnames()
    assert len(names) == 3, "what several models share is in it once"


def test_what_a_hub_gave_is_found_without_the_hub(tmp_path, place):
    with hub_server(repos={"org/model": MODEL}) as hub:
        assert isinstance(fetch(hub, "hf:org/model", tmp_path / "far"), Here)
    data = packed(shelf.place(str(tmp_path / "far")), "hf:org/model")
    assert take(data, place) == ["hf:org/model"]
    with hub_server(answers={"": (503, {})}) as gone:
        for same in ("hf:org/model", f"hf:org/model@{COMMIT}"):
            assert isinstance(fetch(gone, same, tmp_path / "near"), Here)


def test_an_ollama_source_arrives_with_its_manifest(tmp_path, far, place):
    tag = Tag(gguf=b"GGUF" + A)
    blobs = {f"blobs/{digest.replace(':', '-')}": data for digest, data in tag.blobs.items()}
    files = {f"blobs/sha256-{hashlib.sha256(tag.gguf).hexdigest()}": tag.gguf, **blobs, "manifest": tag.manifest}
    shelved(far, "ollama:tiny", files, revision=tag.digest)
    take(packed(far, "ollama:tiny"), place)
    assert here(place, "ollama:tiny")
    manifest = tmp_path / "near/ollama/manifests/registry.ollama.ai/library/tiny/latest"
    assert manifest.read_bytes() == tag.manifest


def test_a_second_time_nothing_is_written_anew(far, place, tmp_path):
    data = model(far)
    take(data, place)
    before = {path: os.stat(path).st_ino for path in (tmp_path / "near").rglob("blobs/*")}
    asked: list[int] = []
    assert take(data, place, room=asked.append) == [SOURCE]
    assert asked == [0]
    assert {path: os.stat(path).st_ino for path in (tmp_path / "near").rglob("blobs/*")} == before


def test_a_file_that_has_gone_bad_here_is_put_right(far, place, tmp_path):
    data = model(far)
    take(data, place)
    for path in (tmp_path / "near").rglob("blobs/*"):
        path.write_bytes(b"?" * path.stat().st_size)
    take(data, place)
    assert {path.read_bytes() for path in (tmp_path / "near").rglob("blobs/*")} == {A, B}


@pytest.mark.parametrize("part", [0, 100, 600, 3000, 0.3, 0.4])
def test_a_bundle_that_was_cut_is_told_and_goes_on_with_a_whole_one(far, place, part):
    data = model(far)
    cut = data[: int(len(data) * part) if isinstance(part, float) else part]
    assert "it was cut; copy it again" in refused(cut, place)
    assert not here(place)
    assert not [name for name in every(Path(place.ours).parent) if name.endswith(shelf.PARTIAL)]
    take(data, place)
    assert here(place)


def test_what_came_whole_before_a_cut_stays(far, place):
    shelved(far, "https://h/a.gguf", {"a.gguf": A})
    shelved(far, "https://h/b.gguf", {"b.gguf": B})
    data, taken = packed(far, "https://h/a.gguf", "https://h/b.gguf"), Taken()
    with pytest.raises(HoldfastError):
        take(data[: data.index(B[:600]) + 700], place, taken)
    assert taken.whole == ["https://h/a.gguf"]
    assert here(place, "https://h/a.gguf")
    assert not here(place, "https://h/b.gguf")


# -- bundles that lie


def made(members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.GNU_FORMAT) as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def edited(data: bytes, edit: Edit) -> bytes:
    """The same bundle with another list and other members, by name."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]
    listed = json.loads(found.pop(LIST))
    members: dict[str, Any] = dict(found)
    edit(listed, members)
    text = json.dumps(listed).encode() if isinstance(listed, dict) else listed
    return made([(tarfile.TarInfo(LIST), text), *((tarfile.TarInfo(name), each) for name, each in members.items())])


def first(members: dict[str, Any]) -> str:
    return next(name for name in members if name.startswith("blobs/"))


def other_bytes(_: Any, members: dict[str, Any]) -> None:
    members[first(members)] = members[first(members)][:-1] + b"!"


def other_length(_: Any, members: dict[str, Any]) -> None:
    members[first(members)] += b"!"


def named(path: str) -> Edit:
    def edit(listed: dict[str, Any], _: Any) -> None:
        listed["models"][0]["files"][0]["path"] = path

    return edit


def sourced(source: str, **more: str) -> Edit:
    def edit(listed: dict[str, Any], _: Any) -> None:
        listed["models"][0].update(source=source, **more)

    return edit


def stray(name: str) -> Edit:
    def edit(_: Any, members: dict[str, Any]) -> None:
        rest = dict(members)
        members.clear()
        members.update({name: b"evil", **rest})

    return edit


def lacking(_: Any, members: dict[str, Any]) -> None:
    del members[first(members)]


def other_digest(listed: dict[str, Any], _: Any) -> None:
    listed["models"][0]["files"][0]["digest"] = f"git:{'0' * 40}"


def digest_that_leads_out(listed: dict[str, Any], _: Any) -> None:
    listed["models"][0]["files"][0]["digest"] = "sha256:../../../evil"


def newer(listed: dict[str, Any], _: Any) -> None:
    listed["version"] = 2


def fleet(name: str) -> Edit:
    def edit(listed: dict[str, Any], members: dict[str, Any]) -> None:
        listed["fleet"] = [{"path": name, "size": 1, "sha256": hashlib.sha256(b"x").hexdigest()}]
        members[f"fleet/{name}"] = b"x"

    return edit


LIES = {
    "a file is another": (other_bytes, "is not what its list says; it was discarded"),
    "a file is longer": (other_length, "bytes in it, and"),
    "a digest is another's": (other_digest, "is not what its list says"),
    "a digest leads out": (digest_that_leads_out, "it was not made by holdfast bundle"),
    "a file leads out": (named("../../evil"), "it was not made by holdfast bundle"),
    "a file is absolute": (named("/etc/evil"), "it was not made by holdfast bundle"),
    "a file is nothing": (named(""), "it was not made by holdfast bundle"),
    "a source is none": (sourced("hf:/evil"), "is no source of a model"),
    "a source leads out": (sourced("hf:org/evil@.."), "is no source of a model"),
    "a source is not fetched": (sourced("file:/etc/passwd"), "it was not made by holdfast bundle"),
    "a revision leads out": (sourced(SOURCE, revision="../../evil"), "it was not made by holdfast bundle"),
    "a pin is not met": (sourced(f"hf:org/x/a.gguf@sha256:{'0' * 64}"), "it has other files than"),
    "a member leads out": (stray("../evil"), "which its list does not name"),
    "a member is absolute": (stray("/etc/evil"), "which its list does not name"),
    "a file is missing": (lacking, "it lacks"),
    "it is of a later version": (newer, "another version of holdfast"),
    "a file of the fleet leads out": (fleet("../evil.yaml"), "which is no file of a fleet"),
    "a file of the fleet is none": (fleet("evil.sh"), "which is no file of a fleet"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_bundle_that_lies_is_refused_and_nothing_of_it_is_used(far, place, tmp_path, lie):
    edit, words = LIES[lie]
    assert words in refused(edited(model(far), edit), place)
    assert not here(place)
    names = {path.name for path in tmp_path.rglob("*")}
    assert not {name for name in names if "evil" in name or name.endswith(shelf.PARTIAL)}
    take(model(far), place)
    assert here(place)


KINDS = {
    "link": b"2",
    "hard link": b"1",
    "device": b"3",
    "fifo": b"6",
    "directory": b"5",
    "header": b"x",
    "sparse": b"S",
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_only_plain_files_are_taken(far, place, kind):
    shelved(far, SOURCE, {"model.safetensors": A, "config.json": B})
    data = model(far)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        listed = tar.extractfile(LIST)
        assert listed is not None
        odd = tarfile.TarInfo(tar.getnames()[1])
        odd.type, odd.linkname = kind, "/etc/passwd"
        evil = made([(tarfile.TarInfo(LIST), listed.read()), (odd, b"")])
    assert "which is no plain file" in refused(evil, place)
    assert not here(place)


@pytest.mark.parametrize("data", [b"not a tar at all" * 100, b"GGUF", made([(tarfile.TarInfo("x"), b"")])])
def test_what_is_no_bundle_is_said_to_be_none(place, data):
    assert refused(data, place).startswith(("it is damaged", "it ends within", "it is no bundle"))


def test_what_is_being_fetched_is_left_alone(far, place):
    data = model(far)
    folder = Path(shelf.directory(place, SOURCE))
    folder.mkdir(parents=True)
    hold = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); input()"
    other = subprocess.Popen(
        ["python3", "-c", hold, str(folder / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout is not None
    other.stdout.readline()
    assert refused(data, place) == f"{SOURCE} is being fetched now; let that end, or stop it"
    other.communicate(b"\n")
    take(data, place)


def test_what_was_left_of_an_import_can_be_named(far, place):
    data = model(far)
    refused(data[: len(data) // 2], place)
    assert shelf.look(place, SOURCE, 0.0) == Absent()
    told = shelf.progress(shelf.directory(place, SOURCE))
    assert told is not None
    assert (told.source, told.state, told.total) == (SOURCE, "cancelled", len(A) + len(B))


def test_a_file_that_its_disk_has_changed_is_not_bundled(far):
    made = shelved(far, SOURCE, {"model.safetensors": A})
    Path(made.shown("model.safetensors")).write_bytes(B[: len(A)])
    with pytest.raises(HoldfastError, match="is not what was fetched, its disk has changed it"):
        packed(far, SOURCE)


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(place)], check=False).returncode:
        pytest.skip("a small disk needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_fills_up_is_told_and_keeps_no_part(far, small_disk):
    shelved(far, SOURCE, {"model.safetensors": A * 100})
    near = shelf.place(str(small_disk))
    assert refused(packed(far, SOURCE), near).endswith("its disk is full")
    assert not [name for name in every(small_disk) if name.endswith(shelf.PARTIAL)]
