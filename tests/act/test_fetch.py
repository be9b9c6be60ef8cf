"""A source is fetched by a process of its own: resumed, checked, and never taken for whole before it is."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from reconciler.model.status import Reason
from reconciler.model.stored import Absent, Fetching, Here
from tests.act.fetches import GGUF, MIB, begun, failure, fetch, look
from tests.eventually import eventually
from tests.hub_server import COMMIT, hub_server, pattern

INDEX = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
MODEL = {
    "model.safetensors.index.json": json.dumps(INDEX).encode(),
    "config.json": b"{}",
    "tokenizer.json": b"[1]",
    "README.md": b"read me",
    "model-00001-of-00002.safetensors": pattern(3 * MIB, 2),
    "model-00002-of-00002.safetensors": pattern(2 * MIB, 3),
    "original/consolidated.00.pth": pattern(MIB, 4),
    "pytorch_model.bin": pattern(MIB, 5),
}


def test_one_file_of_a_repository_lies_where_hugging_face_tools_look_for_it(tmp_path):
    data = pattern(3 * MIB)
    with hub_server(repos={"org/tiny-GGUF": {"tiny.gguf": data}}) as hub:
        found = fetch(hub, GGUF, tmp_path)
    path = tmp_path / f"hub/models--org--tiny-GGUF/snapshots/{COMMIT}/tiny.gguf"
    assert found == Here(path=str(path), size=len(data))
    assert path.read_bytes() == data
    assert [file.name for file in (tmp_path / "hub/models--org--tiny-GGUF/blobs").iterdir()] == [path.resolve().name]


@pytest.mark.parametrize("scheme", ["hf", "modelscope"])
def test_of_a_repository_its_settings_and_its_weights_once(tmp_path, scheme):
    with hub_server(repos={"org/model": MODEL}) as hub:
        found = fetch(hub, f"{scheme}:org/model", tmp_path)
    assert isinstance(found, Here)
    assert sorted(os.listdir(found.path)) == [
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
    ]
    for name in os.listdir(found.path):
        assert (Path(found.path) / name).read_bytes() == MODEL[name]


def test_of_several_gguf_files_the_one_that_llama_server_takes(tmp_path):
    files = {
        name: name.encode() * 100 for name in ("a-Q2_K.gguf", "a-Q4_K_M.gguf", "mmproj-Q4_K_M.gguf", "a-Q8_0.gguf")
    }
    with hub_server(repos={"org/x-GGUF": files}) as hub:
        found = fetch(hub, "hf:org/x-GGUF/*.gguf", tmp_path)
    assert isinstance(found, Here)
    assert found.path.endswith("/a-Q4_K_M.gguf")


def test_what_was_cut_goes_on_where_it_was(tmp_path):
    data = pattern(10 * MIB)
    with hub_server(repos={"org/tiny-GGUF": {"tiny.gguf": data}}, cut_after=3 * MIB) as hub:
        found = fetch(hub, GGUF, tmp_path)
        sent = hub.sent[f"/org/tiny-GGUF/resolve/{COMMIT}/tiny.gguf"]
    assert isinstance(found, Here)
    assert sent <= len(data) + 65536
    assert [wish for path, wish in hub.asked if path.endswith(".gguf")] == [
        "",
        f"bytes={3 * MIB}-",
        f"bytes={6 * MIB}-",
        f"bytes={9 * MIB}-",
    ]


def test_killed_in_the_middle_it_goes_on_where_it_was(tmp_path):
    data = pattern(16 * MIB)
    with hub_server(repos={"org/tiny-GGUF": {"tiny.gguf": data}}, holds=8 * MIB) as hub:
        process = begun(hub, GGUF, tmp_path)
        eventually(lambda: isinstance(found := look(GGUF, tmp_path), Fetching) and found.done > 4 * MIB)
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed = failure(look(GGUF, tmp_path))
        assert killed.reason is Reason.FetchFailed
        assert killed.count == 1
        assert not list(tmp_path.glob("hub/models--org--tiny-GGUF/snapshots/*/*"))
        hub.holds = None
        assert isinstance(fetch(hub, GGUF, tmp_path), Here)
        sent = hub.sent[f"/org/tiny-GGUF/resolve/{COMMIT}/tiny.gguf"]
    assert sent <= len(data) + 4 * MIB  # what was on its way when it was killed


def test_a_wrong_digest_is_discarded_and_told(tmp_path):
    data = pattern(2 * MIB)
    lie = data[:-1] + b"!"
    with hub_server(repos={"org/tiny-GGUF": {"tiny.gguf": data}}, lies={"tiny.gguf": lie}) as hub:
        wrong = failure(fetch(hub, GGUF, tmp_path))
        assert wrong.reason is Reason.DigestWrong
        assert "it was discarded" in wrong.detail
        assert wrong.after >= 60
        assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size >= 2 * MIB]
        hub.lies.clear()
        assert isinstance(fetch(hub, GGUF, tmp_path), Here)


def test_truncated_at_the_source_is_not_taken(tmp_path):
    data = pattern(2 * MIB)
    with hub_server(repos={"org/tiny-GGUF": {"tiny.gguf": data}}, lies={"tiny.gguf": data[:MIB]}) as hub:
        short = failure(fetch(hub, GGUF, tmp_path))
    assert short.reason is Reason.FetchFailed
    assert f"has {MIB} bytes" in short.detail


SAYS = {
    "it is gated": (401, {}, Reason.SecretMissing, "give a token: env: {HF_TOKEN: {secret: hf-token}}", 300.0),
    "the token may not": (403, {}, Reason.SecretMissing, "accept its terms at", 300.0),
    "there is none": (404, {}, Reason.SourceMissing, "check its name", 300.0),
    "too many ask": (429, {"Retry-After": "37"}, Reason.FetchFailed, "asks to wait 37 s", 37.0),
    "the server is down": (503, {"Retry-After": "120"}, Reason.FetchFailed, "HTTP 503", 120.0),
    "it broke": (500, {}, Reason.FetchFailed, "HTTP 500", 0.0),
}


@pytest.mark.parametrize("name", SAYS)
@pytest.mark.parametrize("where", ["/api/models", "/resolve/"])
def test_what_a_server_says_is_what_a_person_reads(tmp_path, name, where):
    status, headers, reason, words, after = SAYS[name]
    with hub_server(repos={"org/tiny-GGUF": {"tiny.gguf": b"x"}}, answers={where: (status, headers)}) as hub:
        told = failure(fetch(hub, GGUF, tmp_path))
    assert (told.reason, told.after) == (reason, after)
    assert words in told.detail
    assert told.detail.startswith(f"cannot fetch {GGUF}: ")


def test_a_token_goes_to_the_hub_and_nowhere_else(tmp_path):
    secret = "hf_canary"
    with hub_server(plain={"/cdn/x": b"GGUFxyz"}) as cdn, hub_server(token=secret) as hub:
        hub.repos["org/tiny-GGUF"] = {"tiny.gguf": b"GGUFxyz"}
        process = begun(hub, GGUF, tmp_path, token=secret)
        assert secret not in Path(f"/proc/{process.pid}/cmdline").read_text()
        process.wait()
        assert isinstance(look(GGUF, tmp_path), Here)
        hub.answers["/resolve/"] = (302, {"Location": f"{cdn.base}/cdn/x"})
        hub.repos["org/other"] = {"tiny.gguf": b"GGUFxyz"}
        assert isinstance(fetch(hub, "hf:org/other/tiny.gguf", tmp_path, token=secret), Here)
    assert cdn.tokens == {""}
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(secret.encode() in data for data in written)


def test_one_that_is_ended_leaves_no_failure(tmp_path):
    data = pattern(2 * MIB)
    with hub_server(repos={"org/tiny-GGUF": {"tiny.gguf": data}}, rate=20) as hub:
        process = begun(hub, GGUF, tmp_path)
        eventually(lambda: isinstance(look(GGUF, tmp_path), Fetching))
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(60) == 0
        assert look(GGUF, tmp_path) == Absent()


def test_names_that_lead_out_of_the_cache_are_refused(tmp_path):
    with hub_server(repos={"org/evil": {"config.json": b"{}", "../../../x.safetensors": b"x"}}) as hub:
        told = failure(fetch(hub, "hf:org/evil", tmp_path))
    assert "cannot be trusted" in told.detail


def test_two_that_fetch_the_same_are_one(tmp_path):
    data = pattern(4 * MIB)
    with hub_server(repos={"org/tiny-GGUF": {"tiny.gguf": data}}, rate=8 * MIB) as hub:
        both = [begun(hub, GGUF, tmp_path) for _ in range(2)]
        assert [process.wait(60) for process in both] == [0, 0]
        assert isinstance(look(GGUF, tmp_path), Here)
        assert hub.sent[f"/org/tiny-GGUF/resolve/{COMMIT}/tiny.gguf"] == len(data)


def test_what_hugging_faces_tools_fetched_is_checked_and_used_without_a_byte_more(tmp_path):
    def forget() -> None:
        shutil.rmtree(tmp_path / "holdfast")

    with hub_server(repos={"org/model": MODEL}) as hub:
        assert isinstance(fetch(hub, "hf:org/model", tmp_path), Here)
        forget()
        before = dict(hub.sent)
        assert isinstance(fetch(hub, "hf:org/model", tmp_path), Here)
        assert dict(hub.sent) == before
        hub.answers[""] = (503, {})  # and where the hub cannot be asked
        forget()
        assert isinstance(fetch(hub, "hf:org/model", tmp_path), Here)
        forget()
        next(tmp_path.glob("hub/*/snapshots/*/model-00002*")).unlink()
        assert failure(fetch(hub, "hf:org/model", tmp_path)).reason is Reason.FetchFailed


def test_no_room_is_told_before_a_byte_comes(tmp_path):
    data = pattern(2 * MIB)
    with hub_server(repos={"org/tiny-GGUF": {"tiny.gguf": data}}) as hub:
        told = failure(fetch(hub, GGUF, tmp_path, limit=MIB))
        assert told.reason is Reason.DiskFull
        assert "the cache holds" in told.detail
        assert not hub.sent
        assert isinstance(fetch(hub, GGUF, tmp_path, limit=8 * MIB), Here)


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "none", str(place)], check=False).returncode:
        pytest.skip("a small disk needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_too_small_is_told_before_and_one_that_fills_up_meanwhile(small_disk):
    data = pattern(8 * MIB)
    with hub_server(repos={"org/tiny-GGUF": {"tiny.gguf": data}}) as hub:
        told = failure(fetch(hub, GGUF, small_disk))
        assert told.reason is Reason.DiskFull
        assert "it needs 8.0 MiB more" in told.detail
        assert not hub.sent
    data = pattern(5 * MIB)
    with hub_server(repos={"org/tiny-GGUF": {"tiny.gguf": data}}, holds=2 * MIB + MIB // 2) as hub:
        process = begun(hub, GGUF, small_disk)
        eventually(lambda: isinstance(found := look(GGUF, small_disk), Fetching) and found.done > MIB)
        (small_disk / "other").write_bytes(bytes(3 * MIB))
        hub.holds = None
        process.wait(60)
        full = failure(look(GGUF, small_disk))
        assert full.reason is Reason.DiskFull
        (small_disk / "other").unlink()
        assert isinstance(fetch(hub, GGUF, small_disk), Here)
