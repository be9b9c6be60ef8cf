"""`https:` sources by real TLS: who is trusted, what is pinned, and what may go on where it was cut."""

import hashlib
import os
import shutil
import signal
import ssl
import subprocess
from pathlib import Path

import pytest

from reconciler import shelf
from reconciler.model.status import Reason
from reconciler.model.stored import Fetching, Here
from tests.act.fetches import begun, failure, fetch, look
from tests.eventually import eventually
from tests.hub_server import Hub, hub_server, pattern

MIB = 2**20
DATA = b"GGUF" + pattern(3 * MIB)
PIN = f"sha256:{hashlib.sha256(DATA).hexdigest()}"


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Path:
    """A certificate for this machine that vouches for itself; its key lies beside it."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    made = tmp_path_factory.mktemp("tls") / "cert.pem"
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(made.with_name("key.pem"))]
    subject = ["-subj", "/CN=models", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    subprocess.run(["openssl", "req", "-x509", *key, *subject, "-out", str(made)], check=True, capture_output=True)
    return made


@pytest.fixture
def hub(authority: Path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, authority.with_name("key.pem"))
    with hub_server(plain={"/a.gguf": DATA}, tls=context) as made:
        yield made


def blobs(root: Path) -> list[bytes]:
    return [path.read_bytes() for path in root.rglob("*") if path.is_file() and path.stat().st_size > MIB]


def test_a_file_comes_by_tls_and_its_digest_is_noted(hub: Hub, authority: Path, tmp_path: Path) -> None:
    source = f"{hub.base}/a.gguf"
    found = fetch(hub, source, tmp_path, trusts=str(authority))
    assert isinstance(found, Here)
    assert Path(found.path).read_bytes() == DATA
    assert found.path.endswith("/tree/a.gguf")
    whole = shelf.whole(shelf.directory(shelf.place(str(tmp_path)), source))
    assert whole is not None
    assert [file.digest for file in whole.files] == [PIN]


def test_whom_nobody_vouches_for_is_not_believed(hub: Hub, tmp_path: Path) -> None:
    told = failure(fetch(hub, f"{hub.base}/a.gguf", tmp_path))
    assert told.reason is Reason.FetchFailed
    assert "certificate verify failed" in told.detail
    assert not hub.sent


def test_what_is_pinned_has_to_be_that(hub: Hub, authority: Path, tmp_path: Path) -> None:
    assert isinstance(fetch(hub, f"{hub.base}/a.gguf@{PIN}", tmp_path, trusts=str(authority)), Here)
    wrong = f"{hub.base}/a.gguf@sha256:{'0' * 64}"
    told = failure(fetch(hub, wrong, tmp_path / "wrong", trusts=str(authority)))
    assert told.reason is Reason.DigestWrong
    none = f"sha256:{'0' * 64}"
    assert told.detail == f"cannot use {wrong}: a.gguf came as {PIN}, not as {none}; it was discarded"
    assert blobs(tmp_path / "wrong") == []


@pytest.mark.parametrize("changed", [False, True], ids=["the same", "another"])
def test_cut_without_a_pin_it_goes_on_only_where_the_server_still_has_the_same(
    hub: Hub, authority: Path, tmp_path: Path, changed: bool
) -> None:
    source, newer = f"{hub.base}/a.gguf", b"GGUF" + pattern(3 * MIB, 9)
    hub.rate = 4 * MIB
    process = begun(hub, source, tmp_path, trusts=str(authority))
    eventually(lambda: isinstance(found := look(source, tmp_path), Fetching) and found.done > MIB)
    process.send_signal(signal.SIGKILL)
    process.wait()
    hub.rate = None
    if changed:
        hub.plain["/a.gguf"], hub.etag = newer, '"v2"'
    before = hub.sent["/a.gguf"]
    found = fetch(hub, source, tmp_path, trusts=str(authority))
    assert isinstance(found, Here)
    assert Path(found.path).read_bytes() == (newer if changed else DATA)
    assert hub.asked[-1][1].startswith("bytes="), "it asked to go on"
    assert (hub.sent["/a.gguf"] - before == len(newer)) is changed


@pytest.mark.parametrize("left", ["all of it", "more, of another file", "as much, of another file"])
def test_pinned_it_comes_though_what_an_earlier_fetch_left_is_as_long_as_all_of_it(
    hub: Hub, authority: Path, tmp_path: Path, left: str
) -> None:
    """Killed in the moment before it had its name: a server has nothing from there on, and says 416 to whoever asks."""
    source = f"{hub.base}/a.gguf@{PIN}"
    tree = Path(shelf.directory(shelf.place(str(tmp_path)), source)) / "tree"
    tree.mkdir(parents=True)
    others = {"more, of another file": pattern(4 * MIB, 9), "as much, of another file": pattern(len(DATA), 9)}
    (tree / "a.gguf.partial").write_bytes(others.get(left, DATA))
    found = fetch(hub, source, tmp_path, trusts=str(authority))
    assert isinstance(found, Here)
    assert Path(found.path).read_bytes() == DATA
    assert hub.sent["/a.gguf"] == (0 if left == "all of it" else len(DATA))


def test_what_is_there_and_cannot_be_read_is_told_as_that(hub: Hub, authority: Path, tmp_path: Path) -> None:
    source = f"{hub.base}/a.gguf"
    there = Path(shelf.directory(shelf.place(str(tmp_path)), source)) / "tree" / "a.gguf"
    there.parent.mkdir(parents=True)
    os.mkfifo(there)
    told = failure(fetch(hub, source, tmp_path, trusts=str(authority)))
    assert (
        told.detail == f"cannot fetch {source}: cannot read {there}, which is there: it is no file; mend or remove that"
    )
