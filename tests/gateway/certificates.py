"""Certificates as a person makes them with openssl, and what a client sees of them."""

import ssl
import subprocess
from pathlib import Path

from reconciler.model.routing import Certificate


def make(directory: Path, name: str, *hosts: str) -> Certificate:
    """A pair for these hosts, signed by itself; made again, it replaces the one before as `certbot` does."""
    directory.mkdir(exist_ok=True)
    certificate, key = directory / f"{name}.pem", directory / f"{name}.key"
    names = ",".join(f"DNS:{host}" for host in hosts or (name,))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", f"/CN={name}", "-addext", f"subjectAltName={names}",
         "-keyout", f"{key}.new", "-out", f"{certificate}.new"],
        check=True, capture_output=True,
    )  # fmt: skip
    Path(f"{key}.new").replace(key)
    Path(f"{certificate}.new").replace(certificate)
    return Certificate(certificate=str(certificate), key=str(key))


def client(version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """A client that takes any certificate, so that it can be looked at; of this version of TLS alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def common_name(der: bytes) -> str:
    """The name of a certificate."""
    text = subprocess.run(
        ["openssl", "x509", "-inform", "der", "-noout", "-subject", "-nameopt", "multiline"],
        input=der,
        capture_output=True,
        check=True,
    )
    return text.stdout.decode().partition("commonName")[2].strip(" =\n")
