"""Hubs, caches and neighbours that mean ill, or are merely odd."""

import contextlib
import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping
from pathlib import Path

import pytest

from reconciler import shelf
from reconciler.act import fetch_file, fetching
from reconciler.act.discard import discard
from reconciler.act.fetch_ask import Asker, FetchError
from reconciler.act.fetch_list import Remote
from reconciler.model.errors import TransientError
from reconciler.model.plan import Fetch
from reconciler.model.status import Reason
from reconciler.model.stored import Absent, Here
from tests.act.fetches import GGUF, MIB, begun, failure, fetch, look
from tests.eventually import eventually
from tests.hub_server import COMMIT, Hub, hub_server, pattern
from tests.ollama_model import Tag, digest_of

LISTING = "/api/models/org/tiny-GGUF/revision/main"
BLOBS = "hub/models--org--tiny-GGUF/blobs"


def listed(*files: Mapping[str, object], sha: str = COMMIT) -> bytes:
    return json.dumps({"sha": sha, "siblings": list(files)}).encode()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("kind", ["lfs", "blobId"])
@pytest.mark.parametrize("to", ["relative", "absolute"])
def test_a_digest_that_a_hub_names_leads_nowhere_else(tmp_path, kind, to):
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    away = str(victim) if to == "absolute" else f"../../../../{victim.name}"
    one: dict[str, object] = {"rfilename": "tiny.gguf", "size": 10}
    one |= {"lfs": {"sha256": away, "size": 10}} if kind == "lfs" else {"blobId": away}
    with hub_server(plain={LISTING: listed(one)}, repos={"org/tiny-GGUF": {"tiny.gguf": b"x" * 10}}) as hub:
        fetch(hub, GGUF, tmp_path / "cache")
    assert sorted(os.listdir(tmp_path)) == ["cache", "victim"]
    assert victim.read_bytes() == b"mine"


def test_what_is_written_down_as_ours_outside_of_the_cache_is_not_deleted(tmp_path):
    victim, place = tmp_path / "victim", shelf.place(str(tmp_path / "cache"))
    victim.write_bytes(b"mine")
    folder = Path(shelf.directory(place, GGUF))
    for each in (folder, Path(place.hub)):
        each.mkdir(parents=True)
    (folder / "claimed").write_text(json.dumps([f"{place.hub}/../../victim", str(victim)]))
    discard(place, [GGUF])
    assert victim.read_bytes() == b"mine"
    assert not folder.exists()


@pytest.mark.parametrize("token", ["hf_SECRET\r", "hf_SECRET\nx", "hf_SECRET…"])
def test_a_token_that_is_no_header_is_not_told(tmp_path, token):
    with hub_server(repos={"org/tiny-GGUF": {"tiny.gguf": b"x"}}) as hub:
        told = failure(fetch(hub, GGUF, tmp_path, token=token))
    assert "its token holds what no token does" in told.detail
    assert "secret" not in told.detail.lower()


def test_two_files_of_a_repository_may_be_alike(tmp_path):
    alike = {"config.json": b"{}", "a/config.json": b"{}", "generation_config.json": b"{}", "model.safetensors": b"x"}
    with hub_server(repos={"org/m": alike}) as hub:
        found = fetch(hub, "hf:org/m", tmp_path)
        assert sum(hub.sent.values()) == len(b"{}x"), "what is alike is fetched once"
    assert isinstance(found, Here)
    assert {name: (Path(found.path) / name).read_bytes() for name in alike} == alike


def waits(process: subprocess.Popen[bytes]) -> bool:
    """Whether it waits for the lock of a file."""
    return any("->" in line and str(process.pid) in line.split() for line in open("/proc/locks", encoding="ascii"))


def test_sources_may_be_of_one_file_at_the_same_time(tmp_path):
    sources, data = ("hf:org/tiny-GGUF/*.gguf", GGUF), pattern(MIB)
    target = tmp_path / BLOBS / sha256(data)
    target.parent.mkdir(parents=True)
    with hub_server(repos={"org/tiny-GGUF": {"tiny.gguf": data}}) as hub:
        with fetch_file.alone(f"{target}{shelf.PARTIAL}") as descriptor:
            processes = [begun(hub, source, tmp_path) for source in sources]
            eventually(lambda: all(map(waits, processes)), what="both wait for a third")
            os.write(descriptor, data)
            os.replace(f"{target}{shelf.PARTIAL}", target)
        assert [process.wait(60) for process in processes] == [0, 0]
        assert not hub.sent
    found = [look(source, tmp_path) for source in sources]
    assert all(isinstance(each, Here) for each in found), found
    assert os.listdir(target.parent) == [target.name]


def test_a_commit_that_is_pinned_is_no_other_commit(tmp_path):
    pin = "a" * 40
    there = {LISTING.replace("main", pin): listed({"rfilename": "tiny.gguf", "size": 3}, sha="b" * 40)}
    with hub_server(plain=there, repos={"org/tiny-GGUF": {"tiny.gguf": b"old"}}) as hub:
        told = failure(fetch(hub, f"hf:org/tiny-GGUF@{pin}/tiny.gguf", tmp_path))
    assert told.reason is Reason.DigestWrong
    assert f"came as commit {'b' * 40}" in told.detail


def test_a_digest_that_is_pinned_counts_without_a_hub_too(tmp_path):
    data = pattern(1000)
    with hub_server(repos={"org/tiny-GGUF": {"tiny.gguf": data}}) as hub:
        assert isinstance(fetch(hub, "hf:org/tiny-GGUF/*.gguf", tmp_path), Here)
        refs = tmp_path / "hub/models--org--tiny-GGUF/refs"
        refs.mkdir(exist_ok=True)
        (refs / "main").write_text(COMMIT)
        wrong = f"{GGUF}@sha256:{'0' * 64}"
        assert failure(fetch(hub, wrong, tmp_path)).reason is Reason.DigestWrong
        hub.answers["/api/"] = (503, {})
        assert "HTTP 503" in failure(fetch(hub, wrong, tmp_path)).detail
        assert isinstance(fetch(hub, f"{GGUF}@sha256:{sha256(data)}", tmp_path), Here)


def test_what_other_tools_have_begun_is_left_to_them(tmp_path):
    """Hugging Face's own tools append to `*.incomplete`, under a lock of their own."""
    data = pattern(MIB)
    theirs = tmp_path / BLOBS / f"{sha256(data)}.incomplete"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(data[:1000])
    with hub_server(repos={"org/tiny-GGUF": {"tiny.gguf": data}}) as hub:
        found = fetch(hub, GGUF, tmp_path)
    assert isinstance(found, Here)
    assert Path(found.path).read_bytes() == data
    assert theirs.read_bytes() == data[:1000]


def test_what_others_write_to_at_the_same_time_is_not_taken_for_whole(tmp_path):
    data = pattern(2 * MIB)
    partial = tmp_path / BLOBS / f"{sha256(data)}{shelf.PARTIAL}"
    with hub_server(repos={"org/tiny-GGUF": {"tiny.gguf": data}}, holds=MIB + MIB // 2) as hub:
        process = begun(hub, GGUF, tmp_path)
        eventually(lambda: partial.exists() and partial.stat().st_size > MIB // 4)
        with open(partial, "r+b") as file:
            file.seek(len(data))
            file.write(b"more")
        hub.holds = None
        assert process.wait(60) == 0
        assert "another program writes to" in failure(look(GGUF, tmp_path)).detail
        assert isinstance(fetch(hub, GGUF, tmp_path), Here)


def test_a_blob_of_ollama_that_is_no_file_is_left_alone(tmp_path, monkeypatch):
    tiny = Tag(gguf=pattern(4096))
    own = tmp_path / "own/blobs" / digest_of(tiny.gguf).replace(":", "-")
    own.parent.mkdir(parents=True)
    os.mkfifo(own)
    monkeypatch.setenv("OLLAMA_MODELS", str(own.parent.parent))
    with hub_server(plain=tiny.served) as hub:
        monkeypatch.setenv("OLLAMA_REGISTRY", hub.base)
        assert isinstance(fetch(hub, "ollama:tiny", tmp_path / "c"), Here)
        os.unlink(found := tmp_path / "c/ollama/blobs" / own.name)
        os.mkfifo(found)
        assert "it is no file" in failure(fetch(hub, "ollama:tiny", tmp_path / "c")).detail


@contextlib.contextmanager
def disk(path: Path, options: str) -> Generator[None]:
    """Another file system there."""
    path.mkdir(exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(path)], check=False).returncode:
        pytest.skip("a disk of its own needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def asked(root: Path) -> Fetch:
    return Fetch(slot="chat/0", source=GGUF, cache=str(root), reason=Reason.NotFetched)


def test_a_cache_that_cannot_be_written_to_is_told():
    with pytest.raises(TransientError, match=f"cannot fetch {GGUF}: cannot write /proc/nowhere"):
        fetching.fetch(asked(Path("/proc/nowhere")), None)


def test_a_disk_that_is_full_from_the_beginning_is_told(tmp_path):
    with disk(tmp_path / "c", "size=64k"):
        (tmp_path / "c" / "fill").write_bytes(b"x" * 65536)
        with pytest.raises(TransientError, match="is full"):
            fetching.fetch(asked(tmp_path / "c"), None)


@pytest.mark.parametrize(
    ("ends", "told"),
    [
        ("echo 'No module named shelf' >&2; exit 1", "its process ended with status 1: No module named shelf"),
        ("exit 7", "its process ended with status 7"),
        ("kill -9 $$", "its process was killed by signal 9"),
    ],
)
def test_a_process_that_ends_before_it_reads_its_order_is_told_by_its_end(tmp_path, monkeypatch, ends, told):
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{ends}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    longer_than_a_pipe = "x" * 2**20  # so the order cannot be handed over without a reader
    with pytest.raises(TransientError) as caught:
        fetching.fetch(asked(tmp_path / "c"), longer_than_a_pipe)
    assert str(caught.value) == f"cannot fetch {GGUF}: {told}"


def test_room_is_looked_for_on_the_disk_that_the_weights_go_to(tmp_path):
    """`HF_HUB_CACHE` is often a mount of its own."""
    big = {"org/tiny-GGUF": {"tiny.gguf": pattern(3 * MIB)}}
    with hub_server(repos=big) as hub, disk(tmp_path / "holdfast", "size=1m"):
        assert isinstance(fetch(hub, GGUF, tmp_path), Here)
    (tmp_path / "c").mkdir()
    with hub_server(repos=big) as hub, disk(tmp_path / "c/hub", "size=1m"):
        told = failure(fetch(hub, GGUF, tmp_path / "c"))
        assert told.reason is Reason.DiskFull
        assert "it needs 3.0 MiB more" in told.detail


def test_what_vanished_and_cannot_be_had_again_says_why(tmp_path):
    with hub_server(repos={"org/tiny-GGUF": {"tiny.gguf": b"x"}}) as hub:
        found = fetch(hub, GGUF, tmp_path)
        assert isinstance(found, Here)
        os.unlink(found.path)
        assert look(GGUF, tmp_path) == Absent()
        hub.answers["/api/"] = (503, {})
        assert "HTTP 503" in failure(fetch(hub, GGUF, tmp_path)).detail


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("progress", {"source": GGUF, "state": "failed", "at": "soon"}),
        ("progress", {"source": GGUF, "state": ["failed"]}),
        ("whole", {"source": GGUF, "path": "x", "revision": "", "files": [{"path": "a", "size": 1, "digest": 1}]}),
        ("whole", {"source": GGUF, "path": 1, "revision": "", "files": []}),
        ("whole", "[" * 100_000),
    ],
)
def test_what_is_written_down_wrongly_counts_for_nothing(tmp_path, name, text):
    path = Path(shelf.directory(shelf.place(str(tmp_path)), GGUF))
    path.mkdir(parents=True)
    (path / "lock").touch()
    said = {**text, "boot": shelf.boot()} if isinstance(text, dict) and name == "progress" else text
    (path / name).write_text(said if isinstance(said, str) else json.dumps(said))
    assert look(GGUF, tmp_path) == Absent()


def test_a_path_that_is_none_leads_to_nothing(tmp_path):
    path = Path(shelf.directory(shelf.place(str(tmp_path)), GGUF))
    path.mkdir(parents=True)
    file = shelf.File(path="a", size=1, digest="", at="a\0b")
    shelf.write_whole(str(path), shelf.Whole(source=GGUF, path="x", revision="", files=(file,)))
    assert look(GGUF, tmp_path) == Absent()


def test_a_stray_file_beside_the_sources_hinders_nothing(tmp_path):
    (tmp_path / "holdfast").mkdir()
    for name in ("README", ".gone-README"):
        (tmp_path / "holdfast" / name).write_text("weights of the team")
    with hub_server(repos={"org/tiny-GGUF": {"tiny.gguf": b"x" * 100}}) as hub:
        assert isinstance(fetch(hub, GGUF, tmp_path), Here)
    discard(shelf.place(str(tmp_path)), [GGUF])
    assert look(GGUF, tmp_path) == Absent()


def test_a_wait_that_is_no_number_is_none(tmp_path):
    with hub_server(answers={"/api/": (429, {"Retry-After": "nan"})}) as hub:
        assert failure(fetch(hub, GGUF, tmp_path)).after == 0.0


def plain(hub: Hub, root: Path, tell: Callable[[int], None] = lambda _: None) -> Path:
    """A file of no hub; as a source it would have to be of `https:`."""
    target = root / "a.gguf"
    remote = Remote(path="a.gguf", url=f"{hub.base}/a.gguf", size=None, digest="")
    fetch_file.fetch(remote, str(target), Asker("https://x/a.gguf", None, 5.0), tell)
    return target


@pytest.mark.parametrize("etag", ["", '"v1"'])
def test_a_file_that_becomes_another_between_two_connections_is_no_mixture(tmp_path, etag):
    one, two = pattern(3 * MIB, 1), pattern(3 * MIB, 2)
    with hub_server(plain={"/a.gguf": one}, cut_after=MIB, etag=etag) as hub:
        hub.becomes["/a.gguf"] = (two, '"v2"' if etag else "")

        def cut_no_more(more: int) -> None:
            hub.cut_after = None if more else hub.cut_after

        if etag:
            with pytest.raises(FetchError, match="another file there"):
                plain(hub, tmp_path, cut_no_more)
            assert not (tmp_path / "a.gguf").exists()
        assert plain(hub, tmp_path, cut_no_more).read_bytes() == one


def test_what_was_packed_on_the_way_is_not_taken_for_the_file(tmp_path):
    packed = {"Content-Encoding": "gzip"}
    with (
        hub_server(plain={"/a.gguf": gzip.compress(b"GGUF")}, headers=packed) as hub,
        pytest.raises(FetchError, match="packed, unasked"),
    ):
        plain(hub, tmp_path)


def test_it_is_told_how_far_the_check_of_what_is_here_is(tmp_path):
    data, told = pattern(3 * MIB), list[int]()
    (tmp_path / "a.gguf").write_bytes(data)
    with hub_server() as hub:
        plain(hub, tmp_path, told.append)
    assert told == [MIB] * 3


@pytest.mark.parametrize("what", ["listing", "file"])
def test_a_hub_that_drips_does_not_hold_a_fetch_for_ever(tmp_path, what):
    data = b"x" * 4000
    there = {LISTING: listed({"rfilename": "tiny.gguf", "size": len(data)}) + b" " * 4000 * (what == "listing")}
    with hub_server(plain=there, repos={"org/tiny-GGUF": {"tiny.gguf": data}}, rate=100) as hub:
        if what == "file":
            hub.plain.clear()
        told = failure(fetch(hub, GGUF, tmp_path, patience=0.5))
    assert ("does not come to an end" if what == "listing" else "less than 1024 bytes a second") in told.detail


def test_a_long_listing_is_read_and_one_that_is_too_long_told_as_that(tmp_path):
    of_one = listed({"rfilename": "tiny.gguf", "size": 4})
    with hub_server(plain={LISTING: of_one + b" " * 20 * MIB}, repos={"org/tiny-GGUF": {"tiny.gguf": b"GGUF"}}) as hub:
        assert isinstance(fetch(hub, GGUF, tmp_path), Here)
        hub.plain[LISTING] = of_one + b" " * 40 * MIB
        told = failure(fetch(hub, GGUF, tmp_path / "other"))
    assert told.reason is Reason.NotSupported
    assert "says of its files is 40.0 MiB long, and 32.0 MiB are read; give the one file by its https" in told.detail


@pytest.mark.parametrize("name", ["a" * 300 + ".gguf", "a\x1b[31m.gguf", "../a.gguf", "/a.gguf"])
def test_names_that_can_be_none_of_files_are_refused(tmp_path, name):
    with hub_server(plain={LISTING: listed({"rfilename": name, "size": 3})}) as hub:
        assert "files that cannot be trusted" in failure(fetch(hub, "hf:org/tiny-GGUF/*.gguf", tmp_path)).detail


def test_too_many_files_are_told_as_such(tmp_path):
    many = listed(*({"rfilename": f"{number}.gguf", "size": 3} for number in range(20001)))
    with hub_server(plain={LISTING: many}) as hub:
        assert "it is of 20001 files" in failure(fetch(hub, GGUF, tmp_path)).detail


@pytest.mark.parametrize("to", [LISTING, "file:///etc/passwd"])
def test_a_redirect_that_leads_nowhere_is_told(tmp_path, to):
    with hub_server(answers={LISTING: (302, {"Location": to})}) as hub:
        told = failure(fetch(hub, GGUF, tmp_path))
    assert re.search("redirects (in circles|from http to file)", told.detail), told.detail


def test_an_endpoint_without_a_scheme_is_told_in_words(tmp_path):
    with hub_server() as hub:
        hub.base = "mirror.example"
        assert "mirror.example/api" in (detail := failure(fetch(hub, GGUF, tmp_path)).detail)
    assert "is no http address" in detail
