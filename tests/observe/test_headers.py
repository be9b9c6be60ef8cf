"""Headers of model files: on disk and behind a real HTTP server, well-behaved or not; never in the way of a pass."""

import io
import json
import os
import urllib.request
from collections.abc import Generator
from dataclasses import replace
from http.client import HTTPMessage
from pathlib import Path
from typing import Any

import pytest

from reconciler import shelf
from reconciler.model.observation import Unknown
from reconciler.model.weights import Unreadable, Weights
from reconciler.observe import headers
from reconciler.observe.headers import Headers, Known
from reconciler.observe.headers_remote import Hub
from reconciler.web import Redirects
from tests.engines import gguf_files, shapes
from tests.engines.safetensors_files import LLAMA, header, llama
from tests.eventually import eventually
from tests.observe import hub as server
from tests.observe.hub import LocalHub, local_hub
from tests.ollama_model import Tag

SHAPE = replace(shapes.SHAPES["llama 1B, tied"], layers=2, vocab=600, width=1024, heads=16, kv_heads=4, inner=2048)
VALUES, TENSORS = shapes.metadata(SHAPE), shapes.tensors(SHAPE)
HEAD = gguf_files.header(VALUES, TENSORS)
TOTAL = sum(map(gguf_files.nbytes, TENSORS.values()))
BODY = HEAD + bytes(TOTAL + 32 * len(TENSORS))


@pytest.fixture
def hub() -> Generator[LocalHub]:
    with local_hub() as made:
        yield made


NOWHERE = shelf.Place(hub="/nowhere", ours="/nowhere", ollama="/nowhere")


def at(cache: Path) -> shelf.Place:
    return shelf.Place(hub=str(cache), ours=str(cache / "ours"), ollama=str(cache / "ollama"))


def ask(
    source: str, directory: object = "/", *, at: LocalHub | None = None, deadline: float = 20.0, **more: Any
) -> Known:
    base = at.base if at is not None else "http://127.0.0.1:1"
    given: dict[str, Any] = {"endpoint": base, "modelscope": base, "cache": NOWHERE, "ollama": (), **more}
    endpoint = Hub(**given)
    return headers.read(source, str(directory), deadline=deadline, hub=endpoint)


def why(found: Known) -> str:
    assert isinstance(found, Unknown | Unreadable), found
    return found.reason


def weights(found: Known | None) -> Weights:
    assert isinstance(found, Weights), found
    return found


def split(count: int = 2) -> list[bytes]:
    names = list(TENSORS)
    each = -(-len(names) // count)
    return [
        gguf_files.header(
            {**(VALUES if number == 0 else {}), "split.no": number, "split.count": count},
            {name: TENSORS[name] for name in names[number * each : (number + 1) * each]},
        )
        for number in range(count)
    ]


def holes(path: Path, head: bytes) -> None:
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + TOTAL + 32 * len(TENSORS))


# on disk


def test_a_gguf_is_read_beside_the_file_that_declares_it(tmp_path: Path) -> None:
    gguf_files.write(tmp_path / "a.gguf", VALUES, TENSORS)
    assert weights(ask("file:../a.gguf", tmp_path / "fleet.d")).total == TOTAL


def test_all_files_of_a_split_gguf_are_one_model(tmp_path: Path) -> None:
    for number, head in enumerate(split(), start=1):
        holes(tmp_path / f"a-0000{number}-of-00002.gguf", head)
    found = weights(ask("file:a-00001-of-00002.gguf", tmp_path))
    assert (found.total, found.files) == (TOTAL, 2)
    (tmp_path / "a-00002-of-00002.gguf").unlink()
    assert "a-00002-of-00002.gguf: No such file" in why(ask("file:a-00001-of-00002.gguf", tmp_path))


def test_a_directory_of_safetensors_is_read_by_its_index_or_whole(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    tensors = list(llama().items())
    for number, part in enumerate((dict(tensors[:6]), dict(tensors[6:])), start=1):
        data = header(part)
        with (tmp_path / f"model-{number}.safetensors").open("wb") as file:
            file.write(data)
            file.truncate(len(data) + 10**6)
    whole = weights(ask(f"file:{tmp_path}"))
    assert (len(whole.layers), whole.files) == (2, 2)
    index = {"weight_map": {"a": "model-1.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert weights(ask(f"file:{tmp_path}")).total < whole.total


def test_a_directory_with_one_gguf_is_that_model(tmp_path: Path) -> None:
    gguf_files.write(tmp_path / "a.gguf", VALUES, TENSORS)
    gguf_files.write(tmp_path / "mmproj-a.gguf", VALUES, TENSORS)
    assert weights(ask(f"file:{tmp_path}")).total == TOTAL
    gguf_files.write(tmp_path / "b.gguf", VALUES, TENSORS)
    assert "there is no GGUF and no safetensors" in why(ask(f"file:{tmp_path}"))


def test_what_is_no_model_file_is_told_and_blocks_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    (tmp_path / "cut.gguf").write_bytes(HEAD[:-100])
    (tmp_path / "short.gguf").write_bytes(HEAD)
    (tmp_path / "page.gguf").write_bytes(b"<html>" * 10)
    assert "no regular file" in why(ask("file:pipe.gguf", tmp_path))
    assert "ends within its own header" in why(ask("file:cut.gguf", tmp_path))
    assert "bytes are there; fetch it again" in why(ask("file:short.gguf", tmp_path))
    assert why(ask("file:page.gguf", tmp_path)) == f"{tmp_path}/page.gguf: cannot be read: it is no GGUF file"
    assert why(ask("file:none.gguf", tmp_path)) == f"cannot read {tmp_path}/none.gguf: No such file or directory"


# far away


def test_a_file_of_a_repository_is_read_as_far_as_its_header(hub: LocalHub) -> None:
    big = replace(SHAPE, tied=False, vocab=200_000)
    head = gguf_files.header(shapes.metadata(big), shapes.tensors(big))
    data = head + bytes(sum(map(gguf_files.nbytes, shapes.tensors(big).values())) + 4096)
    hub.put("org/repo-GGUF", "q4/a.gguf", data, revision="v1")
    assert weights(ask("hf:org/repo-GGUF@v1/q4/a.gguf", at=hub)).vocab == 200_000
    assert [path for path, _, _ in hub.asked] == ["/org/repo-GGUF/resolve/v1/q4/a.gguf"]
    assert hub.sent < len(data) // 4


def test_a_server_that_knows_no_ranges_is_left_as_soon_as_the_header_is_there(hub: LocalHub) -> None:
    hub.way = server.whole
    hub.put("org/repo", "a.gguf", BODY + bytes(2**26))
    assert weights(ask("hf:org/repo/a.gguf", at=hub)).total == TOTAL
    assert hub.sent < 2**25


def test_all_files_of_a_split_gguf_are_asked_for(hub: LocalHub) -> None:
    for number, head in enumerate(split(3), start=1):
        hub.put("org/repo", f"a-0000{number}-of-00003.gguf", head + bytes(TOTAL))
    found = weights(ask("hf:org/repo/a-00001-of-00003.gguf", at=hub))
    assert (found.total, found.files) == (TOTAL, 3)


def test_a_repository_of_safetensors_is_read_with_its_configuration(hub: LocalHub) -> None:
    hub.put("org/repo", "config.json", LLAMA)
    hub.put("org/repo", "model.safetensors", header(llama()) + bytes(10**6))
    assert len(weights(ask("hf:org/repo", at=hub)).layers) == 2


def test_files_are_found_by_the_index_and_of_very_many_its_sum_is_taken(hub: LocalHub) -> None:
    hub.put("org/repo", "config.json", LLAMA)
    tensors = list(llama().items())
    hub.put("org/repo", "m-1.safetensors", header(dict(tensors[:6])) + bytes(10**6))
    hub.put("org/repo", "m-2.safetensors", header(dict(tensors[6:])) + bytes(10**6))
    index = {"metadata": {"total_size": 10**9}, "weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}
    hub.put("org/repo", "model.safetensors.index.json", index)
    assert weights(ask("hf:org/repo", at=hub)).files == 2
    many = {**index, "weight_map": {str(number): f"m-{number}.safetensors" for number in range(100)}}
    hub.put("org/repo", "model.safetensors.index.json", many)
    hub.asked.clear()
    assert weights(ask("hf:org/repo", at=hub)).total == 10**9
    assert len(hub.asked) == 3


def test_a_repository_without_either_says_to_name_the_file(hub: LocalHub) -> None:
    assert why(ask("hf:org/repo", at=hub)).endswith("name the file, as hf:org/repo/file.gguf")
    hub.put("org/repo", "config.json", LLAMA)
    assert why(ask("hf:org/repo", at=hub)).endswith("name the file, as hf:org/repo/file.gguf")


def test_modelscope_is_read_by_its_own_addresses_and_newest_revision(hub: LocalHub) -> None:
    hub.put("models/org/repo", "dir/a.gguf", BODY, revision="master")
    hub.put("models/org/repo", "dir/a.gguf", HEAD, revision="v1")
    assert weights(ask("modelscope:org/repo/dir/a.gguf", at=hub, token="secret")).total == TOTAL
    assert hub.asked[0][0] == "/models/org/repo/resolve/master/dir/a.gguf"
    assert "fetch it again" in why(ask("modelscope:org/repo@v1/dir/a.gguf", at=hub))
    hub.put("models/org/safe", "config.json", LLAMA, revision="master")
    assert why(ask("modelscope:org/safe", at=hub)).endswith("name the file, as modelscope:org/repo/file.gguf")
    hub.put("models/org/safe", "model.safetensors", header(llama()) + bytes(10**6), revision="master")
    assert len(weights(ask("modelscope:org/safe", at=hub)).layers) == 2


# fetched by others

COMMIT = "0123456789" * 4


def fetched(cache: Path, name: str, data: bytes, *, refs: str = COMMIT) -> Path:
    """A file of org/repo as the Hugging Face tools keep it."""
    folder = cache / "models--org--repo"
    file = folder / "snapshots" / COMMIT / name
    for made in (folder / "refs", folder / "blobs", file.parent):
        made.mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text(refs)
    blob = folder / "blobs" / name.replace("/", "-")
    blob.write_bytes(data)
    file.symlink_to(blob)
    return file


def test_what_is_in_the_cache_of_the_hub_is_not_asked_for(hub: LocalHub, tmp_path: Path) -> None:
    fetched(tmp_path, "dir/a.gguf", BODY)
    for source in ("hf:org/repo/dir/a.gguf", f"hf:org/repo@{COMMIT}/dir/a.gguf"):
        assert weights(ask(source, at=hub, cache=at(tmp_path))).total == TOTAL
    assert hub.asked == []
    (tmp_path / "models--org--repo" / "a.gguf").write_bytes(BODY)
    for source in ("hf:org/repo@other/dir/a.gguf", "hf:org/repo/b.gguf", "hf:org/repo/../../a.gguf"):
        assert "404" in why(ask(source, at=hub, cache=at(tmp_path)))
    assert len(hub.asked) == 3


def test_a_repository_that_is_fetched_in_part_is_asked_for(hub: LocalHub, tmp_path: Path) -> None:
    """Without the index nobody knows how many shards there are."""
    tensors = list(llama().items())
    first, second = (header(dict(part)) + bytes(10**6) for part in (tensors[:6], tensors[6:]))
    index = {"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}
    far = {"config.json": LLAMA, "m-1.safetensors": first, "m-2.safetensors": second}
    for name, data in {**far, "model.safetensors.index.json": index}.items():
        hub.put("org/repo", name, data)
    source, cache = "hf:org/repo", at(tmp_path)
    for name, data in (
        ("m-1.safetensors", first),
        ("config.json", json.dumps(LLAMA).encode()),
        ("model.safetensors.index.json", json.dumps(index).encode()),
    ):
        fetched(tmp_path, name, data)
        assert weights(ask(source, at=hub, cache=cache)).files == 2
        assert hub.asked, name
        hub.asked.clear()
    fetched(tmp_path, "m-2.safetensors", second)
    assert weights(ask(source, at=hub, cache=cache)).files == 2
    assert hub.asked == []


@pytest.mark.parametrize("refs", ["../../other", "", "main", COMMIT[:-1], "\0"])
def test_a_cache_that_names_no_commit_is_passed_over(hub: LocalHub, tmp_path: Path, refs: str) -> None:
    fetched(tmp_path, "a.gguf", BODY, refs=refs)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.gguf").write_bytes(BODY)
    hub.put("org/repo", "a.gguf", BODY)
    assert weights(ask("hf:org/repo/a.gguf", at=hub, cache=at(tmp_path))).total == TOTAL
    assert hub.asked


@pytest.mark.parametrize("source", ["hf:org/x-GGUF", "modelscope:org/x-GGUF", "https://h/a.gguf", "hf:org/x@v1/a.gguf"])
def test_what_was_fetched_is_read_where_it_lies_and_nobody_is_asked(hub: LocalHub, tmp_path: Path, source: str) -> None:
    file = tmp_path / "a.gguf"
    file.write_bytes(BODY)
    place = shelf.place(str(tmp_path))
    folder = shelf.directory(place, f"{source}/*.gguf" if source.endswith("GGUF") else source)
    Path(folder).mkdir(parents=True)
    shelf.write_whole(folder, shelf.Whole(source=source, path=str(file), revision="", files=()))
    assert weights(ask(source, at=hub, cache=place)).total == TOTAL
    assert hub.asked == []


def test_what_could_not_be_read_is_looked_for_again_once_something_came(hub: LocalHub, tmp_path: Path) -> None:
    observer = Headers(clock=Clock(), hub=Hub(endpoint=hub.base))
    observer.keep({("hf:org/repo/a.gguf", "/")}, str(tmp_path))

    def look() -> Known | None:
        return observer.look("hf:org/repo/a.gguf", "/")

    assert isinstance(eventually(look), Unknown)
    fetched(tmp_path / "hub", "a.gguf", BODY)
    observer.arrived()
    weights(eventually(lambda: found if isinstance(found := look(), Weights) else None))


DIGEST = "sha256:" + "ab" * 32


def pulled(store: Path, name: str, manifest: object, data: bytes = BODY) -> None:
    """A model as Ollama keeps it."""
    file = store / "manifests" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(manifest if isinstance(manifest, str) else json.dumps(manifest))
    (store / "blobs").mkdir(exist_ok=True)
    (store / "blobs" / DIGEST.replace(":", "-")).write_bytes(data)


def layers(*digests: object) -> dict[str, object]:
    """A manifest with a model by each of these digests."""
    kind = "application/vnd.ollama.image."
    parts = [{"mediaType": f"{kind}model", "digest": digest, "size": 1} for digest in digests]
    return {"schemaVersion": 2, "layers": [{"mediaType": f"{kind}template", "digest": DIGEST}, *parts]}


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("ollama:qwen3:4b", "registry.ollama.ai/library/qwen3/4b"),
        ("ollama:qwen3", "registry.ollama.ai/library/qwen3/latest"),
        ("ollama:me/qwen3:4b", "registry.ollama.ai/me/qwen3/4b"),
        ("ollama:hf.co/org/repo:Q4_K_M", "hf.co/org/repo/Q4_K_M"),
    ],
)
def test_what_ollama_has_pulled_is_read_in_its_store(tmp_path: Path, source: str, name: str) -> None:
    pulled(tmp_path / "second", name, layers(DIGEST))
    stores = (str(tmp_path / "first"), str(tmp_path / "second"))
    assert weights(ask(source, ollama=stores)).total == TOTAL


def test_newer_ollamas_keep_manifests_elsewhere(tmp_path: Path) -> None:
    pulled(tmp_path, "registry.ollama.ai/library/qwen3/4b", layers(DIGEST))
    (tmp_path / "manifests").rename(tmp_path / "manifests-v2")
    assert weights(ask("ollama:qwen3:4b", ollama=(str(tmp_path),))).total == TOTAL


def test_what_no_store_has_is_read_of_its_registry(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_REGISTRY", hub.base)
    assert why(ask("ollama:tiny")) == "cannot read ollama:tiny: HTTP 404; check the name and the revision"
    hub.files.update(Tag(gguf=BODY).served)
    assert weights(ask("ollama:tiny")).total == TOTAL
    assert hub.sent < len(BODY)


@pytest.mark.parametrize("manifest", [b"{", b'{"layers": []}'], ids=range(2))
def test_a_registry_without_a_gguf_is_told(hub: LocalHub, monkeypatch: pytest.MonkeyPatch, manifest: bytes) -> None:
    monkeypatch.setenv("OLLAMA_REGISTRY", hub.base)
    hub.files["/v2/library/tiny/manifests/latest"] = manifest
    assert why(ask("ollama:tiny")) == "ollama:tiny: its manifest is none of one GGUF"


@pytest.mark.parametrize(
    "manifest",
    [
        layers("sha256:../../../../etc/passwd"),
        layers("sha256-" + "ab" * 32),
        layers(DIGEST + "/../x"),
        layers(DIGEST + "\n"),
        layers(DIGEST.upper()),
        layers(7),
        layers(),
        layers(DIGEST, DIGEST),
        {"layers": [1]},
        {"layers": None},
        [],
        "{",
        "[" * 100_000,
    ],
    ids=range(13),
)
def test_a_manifest_leads_nowhere_but_to_a_blob(tmp_path: Path, manifest: object) -> None:
    pulled(tmp_path, "registry.ollama.ai/library/qwen3/4b", manifest)
    assert why(ask("ollama:qwen3:4b", ollama=(str(tmp_path),))).endswith("it is no manifest of one GGUF; write memory")


@pytest.mark.parametrize("name", ["../../x", "a/b/c/d", "..", "a//b", "a:..", "/etc/passwd"])
def test_a_name_leads_nowhere_but_to_a_manifest(tmp_path: Path, name: str) -> None:
    assert "it is no name of a model" in why(ask(f"ollama:{name}", ollama=(str(tmp_path),)))


def test_what_ollama_pulls_later_is_seen(tmp_path: Path) -> None:
    clock = Clock()
    observer = Headers(clock=clock, hub=Hub(ollama=(str(tmp_path),)), interval=60.0)

    def look() -> Known | None:
        return observer.look("ollama:qwen3", "/")

    eventually(lambda: isinstance(look(), Unknown))
    pulled(tmp_path, "registry.ollama.ai/library/qwen3/latest", layers(DIGEST))
    clock.now += 61.0
    eventually(lambda: isinstance(look(), Weights))
    pulled(tmp_path, "registry.ollama.ai/library/qwen3/latest", layers())
    clock.now += 61.0
    eventually(lambda: isinstance(look(), Unknown))


def test_a_redirect_is_followed_and_takes_no_token_along(hub: LocalHub) -> None:
    with local_hub() as elsewhere:
        hub.way = server.redirect(elsewhere.base)
        elsewhere.put("org/repo", "a.gguf", BODY)
        found = ask("hf:org/repo/a.gguf", at=hub, token="canary-5f1e")
        assert weights(found).total == TOTAL
        assert [token for _, _, token in hub.asked] == ["Bearer canary-5f1e"]
        assert [token for _, _, token in elsewhere.asked] == [""]


def test_a_redirect_on_the_same_host_keeps_the_token(hub: LocalHub) -> None:
    hub.ways["/org/old/resolve/main/a.gguf"] = lambda ask: ask.head(
        302, {"Location": "/org/new/resolve/main/a.gguf", "Content-Length": "0"}
    )
    hub.put("org/new", "a.gguf", BODY)
    assert weights(ask("hf:org/old/a.gguf", at=hub, token="canary-5f1e")).total == TOTAL
    assert [token for _, _, token in hub.asked] == ["Bearer canary-5f1e"] * 2


def test_a_redirect_never_leads_from_https_to_http() -> None:
    request = urllib.request.Request("https://127.0.0.1/a")
    with pytest.raises(Exception, match="it redirects from https to http"):
        Redirects().redirect_request(request, io.BytesIO(), 302, "Found", HTTPMessage(), "http://127.0.0.1/a")


def test_a_circle_of_redirects_ends(hub: LocalHub) -> None:
    hub.way = server.redirect(hub.base)
    assert why(ask("hf:org/repo/a.gguf", at=hub)).startswith("cannot read hf:org/repo/a.gguf: HTTP 302")
    assert len(hub.asked) < 12


@pytest.mark.parametrize(
    ("to", "said"),
    [("file:///etc/passwd", "HTTP 302"), ("ftp://127.0.0.1/a", "it redirects from http to ftp")],
)
def test_a_redirect_leads_to_http_only(hub: LocalHub, to: str, said: str) -> None:
    hub.way = server.redirect(to)
    assert why(ask("hf:org/repo/a.gguf", at=hub)) == f"cannot read hf:org/repo/a.gguf: {said}"


WAYS = {
    "another part": (server.other_part, "another part was sent than the one from byte 0"),
    "cut off": (server.cut, "ends within its own header"),
    "compressed": (server.compressed, "it is sent compressed"),
    "a page for people": (server.page, "it is no GGUF file"),
    "no end": (server.endless, "it is no GGUF file"),
    "401": (server.refused(401), "HTTP 401; it needs a token"),
    "404": (server.refused(404), "HTTP 404; check the name and the revision"),
    "500": (server.refused(500), "HTTP 500"),
    "204": (server.refused(204), "HTTP 204"),
}


@pytest.mark.parametrize("name", WAYS)
def test_a_server_that_misbehaves_is_told_in_words(hub: LocalHub, name: str) -> None:
    way, said = WAYS[name]
    hub.way = way
    hub.put("org/repo", "a.gguf", BODY)
    found = why(ask("hf:org/repo/a.gguf", at=hub, token="canary-5f1e"))
    assert said in found
    assert "canary" not in found


@pytest.mark.parametrize("way", [server.hang, server.drip])
def test_a_server_that_hangs_is_left_at_the_deadline(hub: LocalHub, way: server.Way) -> None:
    hub.way = way
    hub.put("org/repo", "a.gguf", BODY)
    told = why(ask("hf:org/repo/a.gguf", at=hub, deadline=0.5))
    assert "nothing came" in told or "timed out" in told  # whichever of the two deadlines is noticed first


def test_a_header_that_says_it_is_huge_is_not_fetched(hub: LocalHub) -> None:
    key = gguf_files.text("k") + b"\x09\0\0\0\x08\0\0\0" + (2**21).to_bytes(8, "little")
    strings = gguf_files.text("x" * 200) * 2**10
    hub.way = server.whole
    hub.put("org/repo", "a.gguf", b"GGUF\x03\0\0\0" + bytes(8) + (1).to_bytes(8, "little") + key + strings * 400)
    assert "longer than 64 MiB" in why(ask("hf:org/repo/a.gguf", at=hub))


@pytest.mark.parametrize("way", [server.ranges, server.whole])
def test_what_is_passed_over_is_not_fetched_where_the_server_knows_ranges(hub: LocalHub, way: server.Way) -> None:
    hub.way = way
    long = gguf_files.header({**VALUES, **{f"note.{number}": "x" * 10_000_000 for number in range(4)}}, TENSORS)
    hub.put("org/repo", "a.gguf", long + bytes(TOTAL + 32 * len(TENSORS)))
    assert weights(ask("hf:org/repo/a.gguf", at=hub)).total == TOTAL
    assert len(hub.asked) == (5 if way is server.ranges else 1)


def test_nobody_there_and_what_is_not_understood_is_told() -> None:
    assert why(ask("hf:org/repo/a.gguf")).startswith("cannot read hf:org/repo/a.gguf: ")
    assert "no http address" in why(headers.read("hf:o/r/a.gguf", "/", hub=Hub(endpoint="file:///etc", cache=NOWHERE)))


# in the daemon


class Clock:
    """Time as the test says."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_look_answers_at_once_and_the_loop_is_woken_when_it_is_known(tmp_path: Path) -> None:
    gguf_files.write(tmp_path / "a.gguf", VALUES, TENSORS)
    woken: list[int] = []
    observer = Headers(clock=Clock(), on_change=lambda: woken.append(1))
    assert observer.look("file:a.gguf", str(tmp_path)) is None
    eventually(lambda: woken)
    assert weights(observer.look("file:a.gguf", str(tmp_path))).total == TOTAL
    assert woken == [1]


def test_a_file_is_read_again_only_when_it_changed(tmp_path: Path) -> None:
    path = gguf_files.write(tmp_path / "a.gguf", VALUES, TENSORS)
    clock, woken = Clock(), list[int]()
    observer = Headers(clock=clock, on_change=lambda: woken.append(1))

    def look() -> Known | None:
        return observer.look("file:a.gguf", str(tmp_path))

    first = weights(eventually(look))
    clock.now += 61
    look()
    clock.now += 61
    assert look() is first
    gguf_files.write(path, {**VALUES, "llama.context_length": 77}, TENSORS)

    def renewed() -> bool:
        clock.now += 61
        found = look()  # for a moment half of it is written
        return isinstance(found, Weights) and found.context_length == 77

    eventually(renewed)
    assert 2 <= len(woken) <= 3  # half of the file may have been an answer, too
    path.unlink()

    def gone() -> bool:
        clock.now += 61
        return isinstance(look(), Unknown)

    eventually(gone)


def test_what_is_far_away_is_asked_for_once_and_after_a_failure_ever_later(hub: LocalHub) -> None:
    clock = Clock()
    observer = Headers(clock=clock, hub=Hub(endpoint=hub.base, cache=NOWHERE))

    def look() -> Known | None:
        return observer.look("hf:org/repo/a.gguf", "/")

    assert isinstance(eventually(look), Unknown)
    assert len(hub.asked) == 1
    hub.put("org/repo", "a.gguf", BODY)
    clock.now += 14
    look()
    assert len(hub.asked) == 1
    clock.now += 2
    look()
    first = weights(eventually(lambda: found if isinstance(found := look(), Weights) else None))
    clock.now += 10**6
    assert look() is first
    assert len(hub.asked) == 2


def test_a_reading_that_hangs_is_unknown_after_the_deadline_and_keeps_nobody_waiting(
    hub: LocalHub, tmp_path: Path
) -> None:
    hub.way = server.hang
    clock = Clock()
    observer = Headers(clock=clock, hub=Hub(endpoint=hub.base, cache=NOWHERE), deadline=30.0)
    assert observer.look("hf:org/repo/a.gguf", "/") is None
    eventually(lambda: hub.asked)
    gguf_files.write(tmp_path / "a.gguf", VALUES, TENSORS)
    weights(eventually(lambda: observer.look("file:a.gguf", str(tmp_path))))
    clock.now += 31
    found = observer.look("hf:org/repo/a.gguf", "/")
    assert found == Unknown(reason="cannot read hf:org/repo/a.gguf: nothing came for 31s")


def test_more_sources_than_threads_are_all_read(tmp_path: Path) -> None:
    names = [f"{number}.gguf" for number in range(40)]
    for name in names:
        gguf_files.write(tmp_path / name, VALUES, TENSORS)
    observer = Headers(clock=Clock())

    def known() -> bool:
        answers = [observer.look(f"file:{name}", str(tmp_path)) for name in names]
        return None not in answers

    eventually(known)
    observer.keep({("file:0.gguf", str(tmp_path))}, None)
    assert observer.look("file:0.gguf", str(tmp_path)) is not None
    assert observer.look("file:1.gguf", str(tmp_path)) is None
