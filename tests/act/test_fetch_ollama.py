"""`ollama:` sources are fetched like all others, into a store that Ollama can use, and from one that it has filled."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reconciler import shelf
from reconciler.act.discard import discard
from reconciler.model.status import Reason
from reconciler.model.stored import Absent, Here
from tests.hub_server import hub_server, pattern
from tests.ollama_model import Tag, digest_of

MIB = 2**20
SOURCE = "ollama:tiny"
TINY = Tag(gguf=b"GGUF" + pattern(3 * MIB))
GGUF = f"/v2/library/tiny/blobs/{digest_of(TINY.gguf)}"


@pytest.fixture
def own(tmp_path):
    """What Ollama itself has pulled: nothing yet."""
    return tmp_path / "own"


@pytest.fixture
def fetch(tmp_path, own):
    def fetch(base, source=SOURCE, **more):
        """Where it stands after one fetch."""
        said = {"source": source, "slot": "chat/0", "root": str(tmp_path / "cache"), "limit": None, "token": "secret"}
        subprocess.run(
            [sys.executable, "-m", "reconciler.act.fetch"],
            input=json.dumps({**said, "patience": 5.0, **more}).encode(),
            env={**os.environ, "OLLAMA_REGISTRY": base, "OLLAMA_MODELS": str(own)},
            timeout=60,
            check=True,
        )
        return shelf.look(shelf.place(str(tmp_path / "cache")), source, time.monotonic())

    return fetch


def failure(stored):
    assert isinstance(stored, Absent)
    assert stored.failure is not None
    return stored.failure


def test_it_lies_as_ollama_lays_it_out(tmp_path, fetch):
    with hub_server(plain=TINY.served) as hub:
        found = fetch(hub.base)
        assert hub.tokens == {""}, "a registry is shown no token"
    store = tmp_path / "cache" / "ollama"
    gguf = store / "blobs" / digest_of(TINY.gguf).replace(":", "-")
    sizes = sum(map(len, TINY.blobs.values())) + len(TINY.manifest)
    assert found == Here(path=str(gguf), size=sizes)
    assert (store / "manifests/registry.ollama.ai/library/tiny/latest").read_bytes() == TINY.manifest
    assert {digest_of(path.read_bytes()) for path in (store / "blobs").iterdir()} == TINY.blobs.keys()


def test_a_manifest_is_there_only_once_all_that_it_lists_is(tmp_path, fetch):
    with hub_server(plain=TINY.served, answers={GGUF: (503, {"Retry-After": "7"})}) as hub:
        failed = failure(fetch(hub.base))
        assert (failed.reason, failed.after) == (Reason.FetchFailed, 7)
        assert not list(tmp_path.glob("cache/ollama/manifests/*"))
        hub.answers.clear()
        assert isinstance(fetch(hub.base), Here)


def test_what_was_cut_goes_on_where_it_was(fetch):
    with hub_server(plain=TINY.served, cut_after=MIB) as hub:
        assert isinstance(fetch(hub.base), Here)
        assert hub.sent[GGUF] <= len(TINY.gguf) + 65536


def test_a_blob_of_another_digest_is_discarded_and_told(tmp_path, fetch):
    with hub_server(plain=TINY.served, lies={GGUF: b"FUGG" + TINY.gguf[4:]}) as hub:
        failed = failure(fetch(hub.base))
    assert failed.reason is Reason.DigestWrong
    assert "it was discarded" in failed.detail
    assert not list(tmp_path.glob(f"cache/ollama/blobs/{digest_of(TINY.gguf).replace(':', '-')}"))


@pytest.mark.parametrize(
    ("status", "headers", "reason", "said"),
    [
        (401, {}, Reason.SecretMissing, "HTTP 401: it is private, or gated; pull it with ollama itself: its store is"),
        (404, {}, Reason.SourceMissing, "HTTP 404; check its name"),
        (429, {"Retry-After": "3"}, Reason.FetchFailed, "HTTP 429, and asks to wait 3 s"),
    ],
)
def test_what_a_registry_refuses_is_told(fetch, status, headers, reason, said):
    with hub_server(plain=TINY.served, answers={"manifests": (status, headers)}) as hub:
        failed = failure(fetch(hub.base))
    assert failed.reason is reason
    assert said in failed.detail


def test_what_ollama_has_pulled_is_linked_and_not_fetched(own, fetch):
    blob = TINY.keep(own)
    with hub_server(plain=TINY.served) as hub:
        found = fetch(hub.base)
        assert [path for path, _ in hub.asked] == ["/v2/library/tiny/manifests/latest"]
    assert isinstance(found, Here)
    assert os.path.samefile(found.path, blob)


def test_what_cannot_be_linked_is_copied(own, fetch):
    blob = TINY.keep(own)
    away = subprocess.run(["mktemp", "-d", "-p", "/dev/shm"], capture_output=True, text=True, check=True).stdout.strip()
    try:
        subprocess.run(["cp", "-r", str(own), away], check=True)
        subprocess.run(["rm", "-r", str(own)], check=True)
        own.symlink_to(f"{away}/own")
        with hub_server(plain=TINY.served) as hub:
            found = fetch(hub.base)
            assert not hub.sent[GGUF]
        assert isinstance(found, Here)
        assert not os.path.samefile(found.path, blob)
    finally:
        subprocess.run(["rm", "-r", away], check=True)


def test_a_broken_file_of_ollama_is_left_to_it_and_fetched(own, fetch):
    blob = TINY.keep(own)
    broken = b"FUGG" + TINY.gguf[4:]
    blob.write_bytes(broken)
    with hub_server(plain=TINY.served) as hub:
        found = fetch(hub.base)
        assert hub.sent[GGUF] == len(TINY.gguf)
    assert isinstance(found, Here)
    assert blob.read_bytes() == broken


def test_without_a_network_what_ollama_has_pulled_is_enough(own, fetch):
    TINY.keep(own)
    assert isinstance(fetch("http://127.0.0.1:1"), Here)


def test_without_a_network_what_is_missing_is_told(fetch):
    assert "127.0.0.1:1: connection refused" in failure(fetch("http://127.0.0.1:1")).detail


def test_a_pinned_manifest_stays_though_its_tag_moves(tmp_path, fetch):
    other = Tag(gguf=b"GGUF" + pattern(MIB, 7))
    pinned = f"{SOURCE}:latest@{TINY.digest}"
    with hub_server(plain=TINY.served) as hub:
        assert isinstance(fetch(hub.base, pinned), Here)
        hub.plain.update(other.served)
        moved = fetch(hub.base)
        assert isinstance(moved, Here)
        assert Path(moved.path).read_bytes() == other.gguf
    kept = [path.read_bytes() for path in sorted(tmp_path.glob("cache/ollama/manifests/*/library/tiny/*"))]
    assert kept == [other.manifest, TINY.manifest]
    first = shelf.look(shelf.place(str(tmp_path / "cache")), pinned, time.monotonic())
    assert isinstance(first, Here)
    assert Path(first.path).read_bytes() == TINY.gguf


def test_a_tag_that_stands_for_another_manifest_than_the_pinned_one_is_refused(fetch):
    with hub_server(plain=TINY.served) as hub:
        failed = failure(fetch(hub.base, f"{SOURCE}:latest@sha256:{'0' * 64}"))
    assert failed.reason is Reason.DigestWrong
    assert f"its tag stands for {TINY.digest} now" in failed.detail


@pytest.mark.parametrize("manifest", [b"[]", b"{", b'{"layers": []}', b'{"layers": [{"digest": "sha256:../x"}]}'])
def test_what_is_no_manifest_is_told(fetch, manifest):
    with hub_server(plain={"/v2/library/tiny/manifests/latest": manifest}) as hub:
        failed = failure(fetch(hub.base))
    assert failed.reason is Reason.NotSupported
    assert "its manifest is none of one GGUF" in failed.detail


def test_what_would_not_fit_the_cache_does_not_begin(fetch):
    with hub_server(plain=TINY.served) as hub:
        assert failure(fetch(hub.base, limit=MIB)).reason is Reason.DiskFull
        assert not hub.sent[GGUF]


def blobs(store: Path) -> set[bytes]:
    return {path.read_bytes() for path in (store / "blobs").iterdir()}


def test_what_two_tags_share_goes_with_the_last_of_them(tmp_path, fetch):
    other = Tag(gguf=TINY.gguf, more={"template": b"another"}, tag="next")
    place, store = shelf.place(str(tmp_path / "cache")), tmp_path / "cache" / "ollama"
    with hub_server(plain={**TINY.served, **other.served}) as hub:
        assert isinstance(fetch(hub.base), Here)
        assert isinstance(fetch(hub.base, "ollama:tiny:next"), Here)
    discard(place, [SOURCE])
    assert blobs(store) == set(other.blobs.values())
    assert isinstance(shelf.look(place, "ollama:tiny:next", 0.0), Here)
    discard(place, ["ollama:tiny:next"])
    assert list(store.iterdir()) == []


def test_what_ollama_has_pulled_into_the_same_store_stays(tmp_path, fetch):
    place, store = shelf.place(str(tmp_path / "cache")), tmp_path / "cache" / "ollama"
    with hub_server(plain=TINY.served) as hub:
        assert isinstance(fetch(hub.base), Here)
    Tag(gguf=TINY.gguf, more={}, tag="mine").keep(store)
    discard(place, [SOURCE])
    assert blobs(store) == {TINY.gguf, TINY.config}


def test_what_was_linked_goes_here_and_stays_there(tmp_path, fetch, own):
    pulled = TINY.keep(own)
    assert isinstance(fetch("http://127.0.0.1:1"), Here)
    discard(shelf.place(str(tmp_path / "cache")), [SOURCE])
    assert pulled.read_bytes() == TINY.gguf
    assert list((tmp_path / "cache" / "ollama").iterdir()) == []
