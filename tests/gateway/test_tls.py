"""Certificates: the right one for each name, renewed when its files are, the last good one where they are broken."""

import os
import shutil
import ssl
import subprocess
import warnings
from pathlib import Path

import pytest

from reconciler.gateway.tls import Certificates
from reconciler.model.routing import Certificate, Site
from tests.gateway.certificates import client, common_name, make

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


class RefusedError(Exception):
    """A handshake that the server ended."""


def shaken(certificates: Certificates, name: str | None, version: ssl.TLSVersion | None = None) -> ssl.SSLObject:
    """The client's side of a handshake, done in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client(version).wrap_bio(to_client, to_server, server_hostname=name)
    its = certificates.context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(5):
        for side in (ours, its):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as error:
                raise RefusedError(error.reason) from None
    return ours


def shown(certificates: Certificates, name: str | None) -> str:
    """The name of the certificate that a client gets."""
    der = shaken(certificates, name).getpeercert(binary_form=True)
    assert der
    return common_name(der)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tls")
    return {name: make(directory, name) for name in ("one.example", "wild.example", "any.example")}


@pytest.fixture
def certificates(pairs):
    made = Certificates()
    made.take(
        (
            Site(name="plain", hosts=("plain.example",)),
            Site(name="any", tls=pairs["any.example"], prefix="/team"),
            Site(name="wild", hosts=("*.example.org",), tls=pairs["wild.example"]),
            Site(name="one", hosts=("one.example.org", "one.example.com"), tls=pairs["one.example"]),
        )
    )
    return made


@pytest.mark.parametrize(
    ("name", "which"),
    [
        ("one.example.org", "one.example"),
        ("ONE.example.com", "one.example"),
        ("two.example.org", "wild.example"),
        ("a.b.example.org", "wild.example"),
        ("example.org", "any.example"),
        ("plain.example", "any.example"),
        (None, "any.example"),
    ],
)
def test_the_certificate_is_that_of_the_name_a_client_asks_for(certificates, name, which):
    assert shown(certificates, name) == which


def test_a_name_that_nobody_has_is_refused(pairs):
    made = Certificates()
    made.take((Site(name="one", hosts=("one.example",), tls=pairs["one.example"]),))
    assert shown(made, "one.example") == "one.example"
    for name in ("other.example", None):
        with pytest.raises(RefusedError):
            shaken(made, name)
    made.take(())
    with pytest.raises(RefusedError):
        shaken(made, "one.example")


def test_only_what_is_safe_is_spoken(certificates):
    assert shaken(certificates, "one.example.org").version() == "TLSv1.3"
    assert shaken(certificates, "one.example.org", ssl.TLSVersion.TLSv1_2).version() == "TLSv1.2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with pytest.raises(RefusedError):
            shaken(certificates, "one.example.org", ssl.TLSVersion.TLSv1_1)
    assert shaken(certificates, "one.example.org").selected_alpn_protocol() == "http/1.1"


def test_a_renewed_pair_is_shown_from_the_next_look_on(tmp_path):
    pair = make(tmp_path, "first")
    made = Certificates()
    made.take((Site(name="a", tls=pair),))
    assert shown(made, None) == "first"
    second = make(tmp_path, "second")
    os.replace(second.key, pair.key)
    os.replace(second.certificate, pair.certificate)
    assert shown(made, None) == "first"
    made.look()
    assert shown(made, None) == "second"


def broken(pair: Certificate, how: str) -> None:
    other = make(Path(pair.key).parent / "other", "other")
    match how:
        case "gone":
            Path(pair.key).unlink()
        case "mismatch":
            shutil.copy(other.key, pair.key)
        case "rubbish":
            Path(pair.certificate).write_text("rubbish")
        case _:
            encrypted = ["openssl", "ec", "-aes128", "-passout", "pass:x", "-in", other.key, "-out", pair.key]
            shutil.copy(other.certificate, pair.certificate)
            subprocess.run(encrypted, check=True, capture_output=True)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("gone", "no such file"),
        ("mismatch", "the key is not that certificate's"),
        ("rubbish", "they are no certificate and its key in PEM"),
        ("encrypted", "the key is encrypted"),
    ],
)
def test_a_broken_pair_is_told_and_the_last_good_one_shown(tmp_path, how, told):
    pair = make(tmp_path, "good")
    made = Certificates()
    made.take((Site(name="a", tls=pair),))
    broken(pair, how)
    made.look()
    said = made.problems[pair]
    assert said.startswith(f"cannot use the certificate {pair.certificate} with the key {pair.key}: ")
    assert told in said
    assert "what was read before is used on" in said
    assert shown(made, None) == "good"
    fresh = Certificates()
    fresh.take((Site(name="a", tls=pair),))
    assert "clients of its hosts are refused" in fresh.problems[pair]
    with pytest.raises(RefusedError):
        shaken(fresh, None)
    renewed = make(tmp_path, "good")
    assert renewed == pair
    made.look()
    assert not made.problems
